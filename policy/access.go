package policy

import (
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// accessOf gives what an access word of the language stands for; 0 for a word
// that the language does not have.
func accessOf(w v1alpha1.AccessWord) Access {
	switch w {
	case v1alpha1.FileRead:
		return AccessRead
	case v1alpha1.FileWrite:
		return AccessWrite
	case v1alpha1.FileAppend:
		return AccessAppend
	case v1alpha1.FileCreate:
		return AccessCreate
	case v1alpha1.FileDelete:
		return AccessDelete
	case v1alpha1.FileRename:
		return AccessRename
	case v1alpha1.FileLink:
		return AccessLink
	case v1alpha1.FileChmod:
		return AccessChmod
	case v1alpha1.FileExecute:
		return AccessExecute
	}
	return 0
}

func accessesOf(list v1alpha1.AccessList) Access {
	var a Access
	for _, w := range list {
		a |= accessOf(w)
	}
	return a
}

// usesOf gives what words for a use that happened stand for: there, Write is
// the change of content alone, because the other changes have their own words.
func usesOf(list v1alpha1.AccessList) Access {
	var a Access
	for _, w := range list {
		if w == v1alpha1.FileWrite {
			a |= AccessModify
			continue
		}
		a |= accessOf(w)
	}
	return a
}

// Words gives the words of the language for the access: what Write stands for
// as a whole is that one word, and so is a change of content alone.
func (a Access) Words() []string {
	var out []string
	if a&AccessRead != 0 {
		out = append(out, string(v1alpha1.FileRead))
	}
	rest := a
	if a&AccessModify != 0 {
		out = append(out, string(v1alpha1.FileWrite))
	}
	if a&AccessWrite == AccessWrite {
		rest &^= AccessWrite
	}
	for _, w := range v1alpha1.AccessWords() {
		if bit := accessOf(w); bit&(bit-1) == 0 && bit != AccessRead && rest&bit != 0 {
			out = append(out, string(w))
		}
	}
	return out
}

// String gives the words with ", " between them, "nothing" for none.
func (a Access) String() string {
	if words := a.Words(); len(words) > 0 {
		return strings.Join(words, ", ")
	}
	return "nothing"
}
