package firewall

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
)

func TestLoad(t *testing.T) {
	var o netObjects
	if err := loadNetObjects(&o, &ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}}); err != nil {
		var v *ebpf.VerifierError
		if errors.As(err, &v) {
			n := len(v.Log)
			t.Fatalf("%v", v.Log[max(0, n-60):])
		}
		t.Fatal(err)
	}
	defer o.Close()
	t.Log(o.NetConnect4.VerifierLog)
	t.Log(o.NetFloorIn.VerifierLog)
}
