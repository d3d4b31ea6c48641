package main

import (
	"testing"

	"github.com/gabion-dev/gabion/test/vm"
)

func TestAnswers(t *testing.T) {
	m := vm.Module{Name: "sch_ingress", Aliases: []string{"net-sch-ingress", "pci:v00001AF4d*sv*"}}
	for name, want := range map[string]bool{
		"sch_ingress": true, "sch-ingress": true, "net-sch-ingress": true, "pci:v00001AF4d00001000sv00": true,
		"sch_ingres": false, "net-sch": false, "": false,
	} {
		if got := answers(m, name); got != want {
			t.Errorf("answers to %q: %v, want %v", name, got, want)
		}
	}
	if answers(vm.Module{Name: "x", Aliases: []string{"["}}, "[") {
		t.Error("answers by an alias that is no pattern")
	}
}
