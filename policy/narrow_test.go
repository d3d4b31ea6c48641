package policy

import "testing"

func TestNarrowed(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule ExecRule
		exec Exec
		want bool
	}{
		{"nothing", ExecRule{}, Exec{Args: []string{"x"}, UID: 3}, true},
		{"user", ExecRule{Users: []uint32{0, 5}}, Exec{UID: 5}, true},
		{"another user", ExecRule{Users: []uint32{5}}, Exec{UID: 6}, false},
		{"no arguments", ExecRule{Args: []string{}}, Exec{}, true},
		{"no arguments wanted", ExecRule{Args: []string{}}, Exec{Args: []string{""}}, false},
		{"same", ExecRule{Args: []string{"-sf", "http://h/"}}, Exec{Args: []string{"-sf", "http://h/"}}, true},
		{"one more", ExecRule{Args: []string{"-s"}}, Exec{Args: []string{"-s", "x"}}, false},
		{"one less", ExecRule{Args: []string{"-s", "*"}}, Exec{Args: []string{"-s"}}, false},
		{"any text", ExecRule{Args: []string{"*"}}, Exec{Args: []string{""}}, true},
		{"middle", ExecRule{Args: []string{"a*b*c"}}, Exec{Args: []string{"axbbyc"}}, true},
		{"parts must not overlap", ExecRule{Args: []string{"ab*ba"}}, Exec{Args: []string{"aba"}}, false},
		{"order", ExecRule{Args: []string{"*a*b"}}, Exec{Args: []string{"ba"}}, false},
		{"rest", ExecRule{Args: []string{"a", "**"}}, Exec{Args: []string{"a"}}, true},
		{"more rest", ExecRule{Args: []string{"a", "**"}}, Exec{Args: []string{"a", "b", "c"}}, true},
		{"rest is last only", ExecRule{Args: []string{"**", "a"}}, Exec{Args: []string{"x", "a"}}, true},
		{"entrypoint", ExecRule{Parents: []string{Entrypoint}}, Exec{}, true},
		{"not entrypoint", ExecRule{Parents: []string{Entrypoint}}, Exec{Parent: "/bin/sh"}, false},
		{"parent", ExecRule{Parents: []string{"/bin/a", "/bin/sh"}}, Exec{Parent: "/bin/sh"}, true},
		{"parent's directory", ExecRule{Parents: []string{"/bin/*"}}, Exec{Parent: "/bin/sh"}, true},
		{"not deeper", ExecRule{Parents: []string{"/bin/*"}}, Exec{Parent: "/bin/x/sh"}, false},
		{"tree", ExecRule{Parents: []string{"/opt/**"}}, Exec{Parent: "/opt/x/sh"}, true},
		{"everything is not outside", ExecRule{Parents: []string{"/**"}}, Exec{}, false},
		{"script", ExecRule{Scripts: []string{"/app/*"}}, Exec{Script: "/app/run"}, true},
		{"no script", ExecRule{Scripts: []string{"/**"}}, Exec{}, false},
		{"all must hold", ExecRule{Users: []uint32{1}, Args: []string{"x"}}, Exec{UID: 1, Args: []string{"y"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.rule.Match, tt.rule.Path, tt.exec.Path, tt.exec.InImage = MatchFile, "/bin/x", "/bin/x", true
			tt.rule.Rule = 7
			allow := ProcessPlan{Listed: true, Allow: []ExecRule{tt.rule}}
			if d := allow.Decide(tt.exec); d.Deny == tt.want {
				t.Errorf("allow: %+v", d)
			}
			deny := ProcessPlan{Deny: []ExecRule{tt.rule}}
			if d := deny.Decide(tt.exec); d.Deny != tt.want || d.Deny && d.Rule != 7 {
				t.Errorf("deny: %+v", d)
			}
		})
	}
}
