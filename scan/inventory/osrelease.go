package inventory

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// releaseFiles name the operating system, best first: the last ones are from
// the time before os-release, and from images that removed it.
var releaseFiles = []string{
	"etc/os-release", "usr/lib/os-release", "etc/redhat-release", "etc/alpine-release", "etc/debian_version",
}

// readOSRelease reads os-release (os-release(5)).
func readOSRelease(f *file, out *result) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	r := parseOSRelease(string(b))
	if r.ID == "" && r.Name == "" {
		return fmt.Errorf("neither ID nor PRETTY_NAME is set")
	}
	out.release = &r
	return nil
}

// parseOSRelease understands every file: what it does not know is left out.
func parseOSRelease(text string) scan.Release {
	v := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			v[name] = unquote(value)
		}
	}
	r := scan.Release{
		ID: strings.ToLower(v["ID"]), Version: v["VERSION_ID"], Codename: v["VERSION_CODENAME"],
		Name: v["PRETTY_NAME"], Like: strings.Fields(v["ID_LIKE"]),
	}
	if r.Name == "" {
		r.Name = v["NAME"]
	}
	if r.Codename == "" && r.ID == "debian" {
		// "Debian GNU/Linux trixie/sid" is all that testing says of itself.
		if f := strings.Fields(r.Name); len(f) > 0 {
			r.Codename, _, _ = strings.Cut(f[len(f)-1], "/")
		}
	}
	r.Ecosystem = ecosystem(&r, v["NAME"])
	return r
}

// unquote undoes the quoting of shells as far as os-release(5) allows it.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		s = s[1 : len(s)-1]
	}
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// redhatRelease matches "CentOS Linux release 7.9.2009 (Core)".
var redhatRelease = regexp.MustCompile(`^(.+?) release ([0-9][0-9.]*)`)

// readOldRelease reads the one-line files that came before os-release.
func readOldRelease(f *file, out *result) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	r := scan.Release{Version: line, Name: line}
	name := ""
	switch f.path {
	case "etc/alpine-release":
		r.ID, r.Name = "alpine", "Alpine Linux "+line
	case "etc/debian_version":
		// Ubuntu has this file too, with a name such as "bookworm/sid".
		if line == "" || line[0] < '0' || line[0] > '9' {
			return nil
		}
		r.ID, r.Name = "debian", "Debian GNU/Linux "+line
	default:
		m := redhatRelease.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("%q names no release", line)
		}
		name, r.Version = m[1], m[2]
		for prefix, id := range map[string]string{
			"CentOS": "centos", "Red Hat": "rhel", "Fedora": "fedora", "Oracle": "ol", "Rocky": "rocky", "AlmaLinux": "almalinux", "Amazon": "amzn",
		} {
			if strings.HasPrefix(name, prefix) {
				r.ID = id
			}
		}
	}
	r.Ecosystem = ecosystem(&r, name)
	out.release = &r
	return nil
}

// readPasswd reads the users of /etc/passwd.
func readPasswd(f *file, out *result) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	out.users = map[string]int{}
	bad := 0
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		field := strings.Split(line, ":")
		if len(field) < 4 || field[0] == "" {
			bad++
			continue
		}
		var id int
		if _, err := fmt.Sscanf(field[2], "%d", &id); err != nil || id < 0 {
			bad++
			continue
		}
		if _, twice := out.users[field[0]]; !twice { // the first one counts for getpwnam(3)
			out.users[field[0]] = id
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d lines are not users", bad)
	}
	return nil
}
