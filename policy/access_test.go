package policy

import (
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

func TestAccessWords(t *testing.T) {
	for _, tt := range []struct {
		access Access
		want   string
	}{
		{0, "nothing"},
		{AccessRead, "Read"},
		{AccessModify, "Write"},
		{AccessWrite, "Write"},
		{AccessRead | AccessWrite | AccessExecute, "Read, Write, Execute"},
		{AccessModify | AccessDelete, "Write, Delete"},
		{AccessWrite &^ AccessModify, "Append, Create, Delete, Rename, Link, Chmod"},
	} {
		if got := tt.access.String(); got != tt.want {
			t.Errorf("%b is %q, want %q", tt.access, got, tt.want)
		}
	}
	// What happened is read back as it was; a rule's Write stands for more.
	for bit := AccessRead; bit <= AccessExecute; bit <<= 1 {
		if got := parseAccess(bit.String()); got != bit {
			t.Errorf("%s is read back as %s (%b)", bit, got, got)
		}
	}
	if got := parseAccess("Read|Write, Nonsense"); got != AccessRead|AccessModify {
		t.Errorf("got %b", got)
	}
	var all Access
	for _, w := range v1alpha1.AccessWords() {
		if accessOf(w) == 0 {
			t.Errorf("%s stands for nothing", w)
		}
		all |= accessOf(w)
	}
	if all != AccessExecute<<1-1 {
		t.Errorf("words for %b, want every bit", all)
	}
}
