package check

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// words of a command, without the options and wrappers in front of its name.
func words(command string) []string {
	w := strings.Fields(command)
	for len(w) > 0 {
		switch first := w[0]; {
		case strings.Contains(first, "=") && !strings.HasPrefix(first, "-"), first == "sudo", first == "env", first == "exec", first == "then", first == "do", first == "else", first == "if", first == "!", first == "time":
			w = w[1:]
			continue
		}
		w[0] = path.Base(w[0])
		return w
	}
	return nil
}

// manager is what a package manager was told to do in one command.
type manager struct {
	name   string
	update bool // of the index
	all    bool // upgrade of everything
	adds   bool // installs something
}

// managers reads a command as one of a package manager that has an index of
// its own to update. apk and dnf refresh theirs by themselves when installing.
func managers(command string) (manager, bool) {
	w := words(command)
	if len(w) < 2 {
		return manager{}, false
	}
	name := w[0]
	if !slices.Contains([]string{"apt-get", "apt", "aptitude", "apk", "yum", "dnf", "microdnf", "zypper", "pacman"}, name) {
		return manager{}, false
	}
	m := manager{name: name}
	if name == "pacman" {
		for _, o := range w[1:] {
			if strings.HasPrefix(o, "-S") {
				m.update = strings.Contains(o, "y")
				m.all = strings.Contains(o, "u")
				m.adds = len(w) > 2 && !strings.HasPrefix(w[len(w)-1], "-")
			}
		}
		return m, true
	}
	operands := 0
	for _, o := range w[1:] {
		if strings.HasPrefix(o, "-") {
			continue
		}
		operands++
		if operands > 1 {
			continue
		}
		switch o {
		case "update":
			// For yum and dnf it means upgrade, with names as operands.
			m.update = name == "apt-get" || name == "apt" || name == "aptitude" || name == "apk"
			m.all = !m.update
		case "refresh", "makecache":
			m.update = true
		case "upgrade", "dist-upgrade", "full-upgrade", "dup", "distro-sync":
			m.all = true
		case "install", "add", "in", "groupinstall", "build-dep", "reinstall":
			m.adds = true
		}
	}
	if m.all && operands > 1 {
		m.all, m.adds = false, true // named packages only
	}
	return m, true
}

// updateAlone finds steps that update an index and install nothing.
func updateAlone(s *subject) (a answer) {
	for _, st := range s.steps {
		if st.verb != "RUN" {
			continue
		}
		update, adds := false, false
		for _, c := range commands(st.args) {
			if m, ok := managers(c); ok {
				update = update || m.update
				adds = adds || m.adds || m.all
			}
		}
		// A script or a heredoc may install; only what is seen counts.
		if update && !adds {
			a.against = append(a.against, st.String())
		}
	}
	return a
}

func upgrade(s *subject) (a answer) {
	for _, st := range s.steps {
		if st.verb != "RUN" {
			continue
		}
		for _, c := range commands(st.args) {
			if m, ok := managers(c); ok && m.all {
				a.against = append(a.against, st.String())
			}
		}
	}
	return a
}

// add leaves out the step that lays a distribution's files on nothing: the
// first one of an image that begins "FROM scratch", for which ADD is meant.
func add(s *subject) (a answer) {
	first := true
	for _, st := range s.steps {
		root := first && strings.HasSuffix(strings.Trim(st.args, ` "[]`), " /")
		if !st.empty {
			first = false
		}
		if st.verb == "ADD" && !root && !remote(st.args) {
			a.against = append(a.against, st.String())
		}
	}
	return a
}

func addRemote(s *subject) (a answer) {
	for _, st := range s.steps {
		if st.verb == "ADD" && remote(st.args) && !strings.Contains(st.args, "--checksum=") {
			a.against = append(a.against, st.String())
		}
	}
	return a
}

func remote(args string) bool {
	for _, w := range strings.Fields(args) {
		w = strings.Trim(w, `",[]`)
		for _, scheme := range []string{"http://", "https://", "ftp://", "git://", "git@"} {
			if strings.HasPrefix(w, scheme) {
				return true
			}
		}
	}
	return false
}

// Expressions over the text of a RUN. Each stays within one pipeline, and is
// compiled when the first RUN that can match it is judged.
var (
	pipe     = expression(`\b(?:curl|wget|fetch)\b[^;&|\n]{0,400}\|\s*(?:sudo\s+(?:-\S+\s+)*)?(?:[A-Za-z_]+=\S+\s+)*(?:env\s+)?(?:/\S*/)?(?:ba|da|a|z|k)?sh\b`)
	inline   = expression(`\b(?:ba|da|a|z|k)?sh\s+-c\s+["']?(?:\$\(|` + "`" + `)\s*(?:curl|wget)\b`)
	substit  = expression(`\b(?:ba|z|k)?sh\s+<\(\s*(?:curl|wget)\b`)
	language = expression(`\b(?:curl|wget)\b[^;&|\n]{0,400}\|\s*(?:sudo\s+)?(?:/\S*/)?(?:python[0-9.]*|perl|ruby|node|php)\b`)
	loose    = expression(`\bchmod\s+(?:-\S+\s+)*(?:0?777|a\+w|a\+rwx?|o\+w|ugo\+rwx|o=rwx)\b`)
)

func expression(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

func pipeToShell(s *subject) answer {
	return matching(s, func(c string) bool {
		if !strings.Contains(c, "curl") && !strings.Contains(c, "wget") && !strings.Contains(c, "fetch") {
			return false
		}
		return pipe().MatchString(c) || inline().MatchString(c) || substit().MatchString(c) || language().MatchString(c)
	})
}

func chmodAll(s *subject) answer {
	return matching(s, func(c string) bool { return strings.Contains(c, "chmod") && loose().MatchString(c) })
}

// matching finds RUN steps by their whole text.
func matching(s *subject, bad func(string) bool) (a answer) {
	for _, st := range s.steps {
		if st.verb == "RUN" && bad(st.args) {
			a.against = append(a.against, st.String())
		}
	}
	return a
}

// unverified knows the options by which tools stop to verify, by tool.
func unverified(s *subject) (a answer) {
	options := map[string][]string{
		"curl": {"-k", "--insecure"}, "wget": {"--no-check-certificate"}, "git": {"http.sslVerify=false", "http.sslverify=false"},
		"apt-get": {"--allow-unauthenticated", "--force-yes", "--allow-insecure-repositories"}, "apt": {"--allow-unauthenticated", "--force-yes", "--allow-insecure-repositories"},
		"apk": {"--allow-untrusted"}, "yum": {"--nogpgcheck"}, "dnf": {"--nogpgcheck"}, "microdnf": {"--nogpgcheck"}, "rpm": {"--nosignature", "--nodigest"},
		"zypper": {"--no-gpg-checks", "--gpg-auto-import-keys"}, "pip": {"--trusted-host"}, "pip3": {"--trusted-host"},
		"npm": {"strict-ssl=false", "--strict-ssl=false"}, "gem": {"--no-verify-ssl"}, "helm": {"--insecure-skip-tls-verify"},
	}
	for _, st := range s.steps {
		if st.verb != "RUN" {
			continue
		}
		for _, c := range commands(st.args) {
			for part := range strings.SplitSeq(c, "|") {
				w := words(part)
				if len(w) == 0 {
					continue
				}
				for _, o := range options[w[0]] {
					if slices.Contains(w[1:], o) || w[0] == "curl" && o == "-k" && slices.ContainsFunc(w[1:], shortK) {
						a.against = append(a.against, st.String())
					}
				}
			}
		}
	}
	return a
}

// shortK finds -k among joined options of curl, such as -fsSLk.
func shortK(o string) bool {
	return len(o) > 1 && o[0] == '-' && o[1] != '-' && strings.Contains(o, "k") && strings.Trim(o[1:], "fsSLkgIvO#4610") == ""
}
