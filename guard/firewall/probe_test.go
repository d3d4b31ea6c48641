package firewall

import (
	"os"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/internal/testkit"
)

func TestProbe(t *testing.T) {
	testkit.RequireRoot(t)
	features := Probe(t.Context())
	if len(features) != 7 {
		t.Errorf("%d features, want 7: %+v", len(features), features)
	}
	for _, f := range features {
		t.Logf("%-20s %v %s", f.Name, f.Works, f.Detail)
		if !f.Works && (f.Detail == "" || f.Remedy == "") {
			t.Errorf("%s does not work and does not say why and what to do: %+v", f.Name, f)
		}
		if f.Name != "vsock guard" {
			t.Run(f.Name, func(t *testing.T) { testkit.Require(t, f.Name, f.Works, f.Detail) })
		}
	}
}

func TestCgroupRoot(t *testing.T) {
	for _, tt := range []struct{ mounts, want string }{
		{"tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", "/sys/fs/cgroup/unified"},
		{"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "/sys/fs/cgroup"},
		{"proc /proc proc rw 0 0\n", ""},
	} {
		file := t.TempDir() + "/mounts"
		must(t, os.WriteFile(file, []byte(tt.mounts), 0o600))
		got, err := cgroupRoot(file)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: got %q, %v", tt.mounts, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "mount -t cgroup2") {
			t.Errorf("error does not say what to do: %v", err)
		}
	}
}
