package policy

import "testing"

func TestDecideFiles(t *testing.T) {
	node, curl := []ExecRule{{Match: MatchFile, Path: "/usr/bin/node"}}, []ExecRule{{Match: MatchNames, Names: []string{"curl"}}}
	p := &FilesPlan{
		Rules: []FileRule{
			{Rule: 1, Match: MatchTree, Path: "/secrets", Access: AccessRead, By: node},
			{Rule: 2, Match: MatchTree, Path: "/etc", Access: AccessWrite, Deny: true},
			{Rule: 3, Match: MatchFile, Path: "/etc/shadow", Access: AccessRead, Deny: true},
			{Rule: 4, Match: MatchDir, Path: "/var/log", Access: AccessAppend | AccessCreate},
			{Rule: 5, Match: MatchTree, Path: "/var", Access: AccessModify, By: node},
			{Rule: 6, Match: MatchTree, Path: "/home", Access: AccessRead, Deny: true, By: curl},
			{Rule: 7, Match: MatchTree, Path: "/ceiling", Access: AccessRead, Ceiling: true, By: node},
			{Rule: 8, Match: MatchTree, Path: "/ceiling", Access: AccessRead, By: []ExecRule{{Match: MatchTree, Path: "/usr"}}},
			{Rule: 9, Match: MatchFile, Path: "/asks", Access: AccessRead, By: []ExecRule{{Match: MatchFile, Path: "/usr/bin/node", Args: []string{"x"}}}},
			{Rule: 10, Match: MatchFile, Path: "/asked", Access: AccessRead, Deny: true, By: []ExecRule{{Match: MatchFile, Path: "/usr/bin/node", Users: []uint32{1}}}},
		},
		Waive: []FileRule{{Rule: 11, Match: MatchFile, Path: "/etc/resolv.conf", Access: AccessModify, By: node}},
	}
	isNode, isCurl, isCat := Exec{Path: "/usr/bin/node"}, Exec{Path: "/usr/bin/curl"}, Exec{Path: "/bin/busybox", Applet: "cat"}
	for _, tt := range []struct {
		name   string
		path   string
		access Access
		exec   Exec
		want   Decision
	}{
		{"free", "/tmp/x", AccessWrite, isCat, Decision{}},
		{"guarded, by whom it is for", "/secrets/a/b", AccessRead, isNode, Decision{}},
		{"guarded, by another", "/secrets/a/b", AccessRead, isCat, Decision{true, ReasonNotListed, 1}},
		{"the tree itself", "/secrets", AccessRead, isCat, Decision{true, ReasonNotListed, 1}},
		{"beside the tree", "/secretsx", AccessRead, isCat, Decision{}},
		{"guarded for another access only", "/secrets/a", AccessModify, isCat, Decision{}},
		{"denied", "/etc/passwd", AccessModify, isNode, Decision{true, ReasonDenied, 2}},
		{"every kind of write", "/etc/passwd", AccessChmod, isNode, Decision{true, ReasonDenied, 2}},
		{"reading is free", "/etc/passwd", AccessRead, isNode, Decision{}},
		{"both, one denied", "/etc/passwd", AccessRead | AccessModify, isNode, Decision{true, ReasonDenied, 2}},
		{"another rule for the other", "/etc/shadow", AccessRead, isNode, Decision{true, ReasonDenied, 3}},
		{"waived", "/etc/resolv.conf", AccessModify, isNode, Decision{}},
		{"waived for another access", "/etc/resolv.conf", AccessDelete, isNode, Decision{true, ReasonDenied, 2}},
		{"waived for another program", "/etc/resolv.conf", AccessModify, isCat, Decision{true, ReasonDenied, 2}},
		{"allow for all", "/var/log/x", AccessAppend, isCat, Decision{}},
		{"deeper than the directory", "/var/log/a/x", AccessAppend, isCat, Decision{}},
		{"one of two guarded", "/var/log/x", AccessAppend | AccessModify, isCat, Decision{true, ReasonNotListed, 5}},
		{"denied to some", "/home/a", AccessRead, isCurl, Decision{true, ReasonDenied, 6}},
		{"not to others", "/home/a", AccessRead, isNode, Decision{}},
		{"both scopes", "/ceiling/x", AccessRead, isNode, Decision{}},
		{"one scope only", "/ceiling/x", AccessRead, isCurl, Decision{true, ReasonNotListed, 7}},
		{"a rule that asks for more allows nobody", "/asks", AccessRead, isNode, Decision{true, ReasonNotListed, 9}},
		{"and denies all the same", "/asked", AccessRead, isNode, Decision{true, ReasonDenied, 10}},
		{"nameless programs are nobody", "/secrets/a", AccessRead, Exec{Path: "/usr/bin/node", Fileless: true}, Decision{true, ReasonNotListed, 1}},
	} {
		if got := p.Decide(FileUse{Path: tt.path, Access: tt.access, Exec: tt.exec}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	applet := &FilesPlan{Rules: []FileRule{{Rule: 1, Match: MatchFile, Path: "/x", Access: AccessRead, By: []ExecRule{{Match: MatchFile, Path: "/bin/cat"}}}}}
	if applet.Decide(FileUse{"/x", AccessRead, isCat}).Deny || !applet.Decide(FileUse{"/x", AccessRead, isNode}).Deny {
		t.Error("a multi-call program is the applet that is named")
	}
}
