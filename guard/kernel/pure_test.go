package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// Sizes are what the compiled object says, so that both sides read the same.
func TestLayoutsMatch(t *testing.T) {
	spec, err := loadProcess()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]int{
		processMapSettings:   {4, binary.Size(settings{})},
		processMapContainers: {4, binary.Size(Container{})},
		processMapCounts:     {binary.Size(CountKey{}), binary.Size(Count{})},
		processMapExecRules:  {binary.Size(ruleKey{}), binary.Size(ruleValue{})},
		processMapFiles:      {binary.Size(fileKey{}), 4},
		processMapDetails:    {binary.Size(CountKey{}), binary.Size(execDetail{})},
		processMapHeld:       {4, binary.Size(heldValue{})},
		processMapNames:      {4, binary.Size(nameValue{})},
		processMapExecConds:  {binary.Size(condKey{}), binary.Size(condValue{})},
		processMapCallers:    {4, binary.Size(callerValue{})},
		processMapAccounts:   {4, binary.Size(account{})},
	} {
		m := spec.Maps[name]
		if int(m.KeySize) != want[0] || int(m.ValueSize) != want[1] {
			t.Errorf("%s: kernel has %d and %d bytes, we have %v", name, m.KeySize, m.ValueSize, want)
		}
	}
	if got := binary.Size(execDetail{}) - pathBuf; got != detailFixed {
		t.Errorf("detailFixed is %d, is %d", detailFixed, got)
	}
	var maps Maps
	for name := range spec.Maps {
		if _, shared := maps.fields()[name]; !shared && name != processMapScratch && !strings.HasPrefix(name, ".rodata") {
			t.Errorf("map %s is neither pinned nor one load's own", name)
		}
	}
}

func TestParseMounts(t *testing.T) {
	got := parseMounts("36 35 98:0 / / rw master:1 - overlay overlay rw,lowerdir=/a:/b,upperdir=/u\n" +
		"37 36 0:22 /sub\\040dir /data\\040x rw shared:2 shared:3 - tmpfs tmpfs rw\n" +
		"broken line\n1 2 x:y / / rw - a b c\n")
	want := []mount{
		{id: 36, dev: 98 << 20, root: "/", point: "/", fstype: "overlay", super: "rw,lowerdir=/a:/b,upperdir=/u"},
		{id: 37, dev: 22, root: "/sub dir", point: "/data x", fstype: "tmpfs", super: "rw"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("36 35 98:0 / / rw master:1 - overlay overlay rw,lowerdir=/a:/b,upperdir=/u\n")
	f.Add("\\134 \\999 - -")
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range parseMounts(s) {
			_, _ = parseLayers(m.super)
			_ = showPlace([]mount{m}, m, place{dev: m.dev, path: m.root})
		}
	})
}

func TestParseLayers(t *testing.T) {
	for _, tt := range []struct {
		in     string
		upper  string
		lowers []string
		bad    bool
	}{
		{in: "rw,lowerdir=/l1:/l2,upperdir=/u/fs,workdir=/w", upper: "/u/fs", lowers: []string{"/l1", "/l2"}},
		{in: `rw,lowerdir=/with\134:colon:/l2,upperdir=/u/fs`, upper: "/u/fs", lowers: []string{"/with:colon", "/l2"}},
		{in: "rw,lowerdir+=/a,lowerdir+=/b,upperdir=/u/fs", upper: "/u/fs", lowers: []string{"/a", "/b"}},
		{in: "rw,lowerdir=1/fs:2/fs,upperdir=/snap/3/fs", upper: "/snap/3/fs", lowers: []string{"/snap/1/fs", "/snap/2/fs"}},
		{in: "ro,lowerdir=/a:/b", lowers: []string{"/a", "/b"}},
		{in: "ro,lowerdir=a:b", bad: true},
		{in: "rw", bad: true},
	} {
		l, err := parseLayers(tt.in)
		if (err != nil) != tt.bad || !tt.bad && (l.upper != tt.upper || !slices.Equal(l.lowers, tt.lowers)) {
			t.Errorf("%s: %+v %v", tt.in, l, err)
		}
	}
}

func TestLayers(t *testing.T) {
	testkit.RequireRoot(t) // whiteouts are devices
	dir := t.TempDir()
	l := layers{upper: filepath.Join(dir, "u"), lowers: []string{filepath.Join(dir, "1"), filepath.Join(dir, "2")}}
	write := func(layer, name, content string) {
		t.Helper()
		p := filepath.Join(dir, layer, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("1", "bin/a", "a")
	write("2", "bin/b", "b")
	write("2", "bin/gone", "x")
	write("2", "opaque/c", "c")
	write("1", "opaque/d", "d")
	write("2", "blocked/e", "e")
	write("1", "blocked", "a file")
	write("2", "etc/secret", "outside")
	if err := unix.Mknod(filepath.Join(dir, "1/bin/gone"), unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Join(dir, "1/opaque"), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		testkit.Require(t, "trusted xattrs", false, err.Error())
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "1/link")); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"bin/a", "bin/b", "bin/gone", "opaque/c", "opaque/d", "blocked/e", "only/upper", "link/passwd"} {
		write("u", n, "a")
	}
	write("u", "bin/b", "bb")
	now := func() time.Time { return time.Now().Add(time.Second) }
	for name, want := range map[string]uint32{
		"/bin/a": fileImage, "/bin/b": fileChanged, "/bin/gone": fileNew, "/opaque/c": fileNew, "/opaque/d": fileChanged,
		"/blocked/e": fileNew, "/only/upper": fileNew, "/link/passwd": fileNew,
	} {
		got, key, own, err := l.verify(name, 7, now)
		if err != nil || got != want || !own || key.Dev != 7 || key.Ino == 0 {
			t.Errorf("%s: %d %+v %v %v, want %d", name, got, key, own, err, want)
		}
	}
	for _, name := range []string{"/etc/secret", "/nothing", "/bin/a/below", "/../../etc/passwd"} {
		if got, _, own, err := l.verify(name, 7, now); err != nil || own || got != fileImage {
			t.Errorf("%s: %d %v %v", name, got, own, err)
		}
	}
	if err := l.reachable(); err != nil {
		t.Error(err)
	}
	if err := (layers{lowers: []string{dir + "/none"}}).reachable(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unreachable: %v", err)
	}
}

func TestAppletOf(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"/bin/sh", "-c", "x"}, "sh"}, {[]string{"-sh"}, "sh"}, {[]string{"busybox", "wget", "x"}, "wget"},
		{[]string{"busybox", "busybox", "/x/nc"}, "nc"}, {[]string{"busybox"}, ""}, {[]string{"busybox", "--list"}, ""},
		{[]string{"coreutils", "--coreutils-prog=ls", "-l"}, "ls"}, {[]string{""}, ""}, {nil, ""},
		{[]string{"busybox.static", "id"}, "id"}, {[]string{"busybox", "busybox", "busybox", "busybox", "id"}, ""},
	} {
		if got, _ := appletOf("busybox", tt.args); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestJoinPath(t *testing.T) {
	for _, tt := range []struct {
		in   string
		cut  bool
		want string
	}{
		{"sh\x00bin\x00usr\x00", false, "/usr/bin/sh"}, {"sh\x00bin\x00", true, "/.../bin/sh"}, {"", false, ""},
		{"no end", false, ""}, {"\xff\x00", false, "/\uFFFD"},
	} {
		if got := joinPath([]byte(tt.in), tt.cut); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(make([]byte, 8+detailFixed+10))
	seen := make([]byte, 8+detailFixed+16)
	seen[0] = recSeen
	copy(seen[8+detailFixed:], "sh\x00bin\x00")
	f.Add(seen)
	f.Add([]byte{recStart, 0, 0, 0})
	mapped := make([]byte, binary.Size(mapRecord{}))
	mapped[0], mapped[12] = recMapped, 8
	copy(mapped[56:], "x.so\x00lib\x00")
	f.Add(mapped)
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := &Engine{now: time.Now, byCID: map[uint32]*managed{}}
		if _, d, ok := parseSeen(raw); ok {
			_, _, _ = e.process(1, &d)
		}
		_, _ = parseStart(raw)
		if r, ok := parseMapped(raw); ok {
			_ = joinPath(r.Path[:r.PathLen], false)
		}
		_, _ = parseFanEvents(raw)
	})
}

func TestParseMapped(t *testing.T) {
	want := mapRecord{Type: recMapped, PID: 7, CID: 3, PathLen: 9, Key: fileKey{Ino: 5, Dev: 4, Size: 6, CtimeSec: 8, CtimeNsec: 9}}
	copy(want.Path[:], "x.so\x00lib\x00")
	raw, err := binary.Append(nil, binary.LittleEndian, want)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := parseMapped(raw)
	if !ok || got != want || joinPath(got.Path[:got.PathLen], false) != "/lib/x.so" {
		t.Errorf("%+v %v", got, ok)
	}
	if _, ok := parseMapped(raw[:len(raw)-1]); ok {
		t.Error("a record cut short is accepted")
	}
	binary.LittleEndian.PutUint32(raw[12:], pathBuf+1)
	if _, ok := parseMapped(raw); ok {
		t.Error("a path longer than the record is accepted")
	}
}

func TestParseFanEvents(t *testing.T) {
	ev := make([]byte, fanEventSize)
	binary.NativeEndian.PutUint32(ev, uint32(fanEventSize))
	ev[4] = unix.FANOTIFY_METADATA_VERSION
	binary.NativeEndian.PutUint64(ev[8:], unix.FAN_OPEN_EXEC_PERM)
	binary.NativeEndian.PutUint32(ev[16:], 9)
	binary.NativeEndian.PutUint32(ev[20:], 42)
	got, ok := parseFanEvents(append(slices.Clone(ev), ev...))
	if !ok || len(got) != 2 || got[1] != (fanEvent{fd: 9, pid: 42, mask: unix.FAN_OPEN_EXEC_PERM}) {
		t.Errorf("%+v %v", got, ok)
	}
	ev[4] = 99
	if _, ok := parseFanEvents(ev); ok {
		t.Error("unknown version accepted")
	}
}

func TestProbe(t *testing.T) {
	testkit.RequireRoot(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	pinDir := pins(t)
	features := Probe(context.Background(), pinDir)
	// What only programs of the refused types could do.
	needTypes := map[string]bool{}
	for _, set := range hookSets() {
		for _, h := range set.hooks {
			needTypes["refusing "+h.name] = !slices.ContainsFunc(h.variants, func(v variant) bool {
				m := v.mechanism()
				return m != "lsm" && m != "fmod_ret" && m != "fexit"
			})
		}
	}
	for _, f := range features {
		t.Logf("%-34s %-5v %s", f.Name, f.Works, f.Detail)
		if !f.Works && (f.Detail == "" || f.Remedy == "") {
			t.Errorf("%s says neither why not nor what helps", f.Name)
		}
		switch f.Name {
		case FeatureLSM, FeatureFmodRet: // one is enough
		default:
			if !f.Works && !(typesRefused() && needTypes[f.Name]) {
				t.Errorf("%s does not work: %s", f.Name, f.Detail)
			}
		}
	}
	if _, err := os.Stat(pinDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("probe left something: %v", err)
	}
}

func TestNothingStays(t *testing.T) {
	testkit.RequireRoot(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	pinDir := pins(t)
	e := start(t, Config{PinDir: pinDir})
	if st, err := Installed(pinDir); err != nil || !st.Present || !st.Enforcing || !st.AgentAlive && st.AgentPID != os.Getpid() {
		t.Errorf("installed: %+v %v", st, err)
	}
	e.stop()
	if err := Remove(pinDir); err != nil {
		t.Fatal(err)
	}
	if st, err := Installed(pinDir); err != nil || st.Present {
		t.Errorf("after removal: %+v %v", st, err)
	}
	if _, err := os.Stat(pinDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removal left something: %v", err)
	}
	if err := Remove(pinDir); err != nil {
		t.Errorf("second removal: %v", err)
	}
}
