package check

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// judges are the judgements, by the ids in content/imagechecks.
var judges = map[string]func(*subject) answer{
	"IMG-USER-ROOT":        userRoot,
	"IMG-USER-NAME":        userName,
	"IMG-BASE-UNKNOWN":     labels("org.opencontainers.image.base.name"),
	"IMG-LABELS":           labels("org.opencontainers.image.source", "org.opencontainers.image.revision"),
	"IMG-PACKAGE-MANAGER":  programs("package-manager"),
	"IMG-SHELL":            programs("shell"),
	"IMG-COMPILER":         programs("compiler"),
	"IMG-DEBUGGER":         programs("debugger"),
	"IMG-NETWORK-TOOL":     programs("network-tool", "download-tool"),
	"IMG-CLUSTER-CLIENT":   programs("cluster-client"),
	"IMG-SUDO":             named("sudo", "doas"),
	"IMG-SSHD":             named("sshd", "dropbear"),
	"IMG-HEALTHCHECK":      healthcheck,
	"IMG-UPDATE-ALONE":     updateAlone,
	"IMG-UPGRADE":          upgrade,
	"IMG-SETUID":           setuid,
	"IMG-ADD":              add,
	"IMG-ADD-REMOTE":       addRemote,
	"IMG-SECRET-CONFIG":    secrets(false),
	"IMG-SECRET-FILE":      secrets(true),
	"IMG-UNVERIFIED":       unverified,
	"IMG-PIPE-TO-SHELL":    pipeToShell,
	"IMG-TLS-OFF":          tlsOff,
	"IMG-TAG-LATEST":       latest,
	"IMG-WORLD-WRITABLE":   worldWritable,
	"IMG-CHMOD-ALL":        chmodAll,
	"IMG-TMP-PROGRAM":      temporary,
	"IMG-PORT-LOGIN":       ports(func(p int) bool { return p == 22 || p == 23 || p == 513 || p == 514 || p == 3389 || p == 5900 }),
	"IMG-PORT-PRIVILEGED":  ports(func(p int) bool { return p < 1024 }),
	"IMG-VOLUME-SENSITIVE": volumes,
	"IMG-PATH-WRITABLE":    searchPath,
	"IMG-PRELOAD":          preload,
	"IMG-MANY-LAYERS":      manyLayers,
}

// userRoot resolves the user the way an engine does: nothing is root, a number
// is itself, a name is looked up in the image's /etc/passwd.
func userRoot(s *subject) answer {
	if s.lacks("config") != "" {
		return answer{}
	}
	user, _, _ := strings.Cut(s.img.Config.User, ":")
	user = strings.TrimSpace(user)
	switch id, err := strconv.Atoi(user); {
	case user == "":
		return answer{against: []string{"no USER is set, so it is root"}}
	case err == nil && id == 0:
		return answer{against: []string{"USER is " + s.img.Config.User}}
	case err == nil:
		return answer{}
	}
	id, known := s.inv.Users[user]
	switch {
	case known && id == 0:
		return answer{against: []string{"USER " + user + " has the number 0 in /etc/passwd"}}
	case known:
		return answer{}
	case user == "root":
		return answer{against: []string{"USER is root"}}
	}
	return answer{unknown: "USER " + user + " is not in the image's /etc/passwd"}
}

func userName(s *subject) answer {
	user, _, _ := strings.Cut(s.img.Config.User, ":")
	if _, err := strconv.Atoi(user); user == "" || err == nil {
		return answer{}
	}
	return answer{against: []string{"USER is " + s.img.Config.User}}
}

func labels(names ...string) func(*subject) answer {
	return func(s *subject) (a answer) {
		if s.lacks("config") != "" {
			return a
		}
		for _, n := range names {
			if s.img.Config.Labels[n] == "" {
				a.against = append(a.against, "no label "+n)
			}
		}
		return a
	}
}

// programs finds files of classes of programs.
func programs(classes ...string) func(*subject) answer {
	return func(s *subject) (a answer) {
		for _, name := range classes {
			class := s.lib.Class(name)
			if class == nil {
				return answer{unknown: "the class " + name + " of programs is not known"}
			}
			for i := range s.inv.Files {
				f := &s.inv.Files[i]
				switch base := path.Base(f.Path); {
				case f.Kind == "library" || !inPath(f.Path):
				case class.Has(f.Path):
					a.against = append(a.against, f.Path)
				case (base == "busybox" || base == "toybox") && slices.ContainsFunc(manyInOne, class.Has):
					a.against = append(a.against, f.Path+" has one in it")
				}
			}
		}
		return a
	}
}

// manyInOne are names under which busybox and toybox act; in images they are
// links, and only the one file is in the inventory.
var manyInOne = []string{"sh", "wget", "nc"}

func named(names ...string) func(*subject) answer {
	return func(s *subject) (a answer) {
		for i := range s.inv.Files {
			f := &s.inv.Files[i]
			for _, n := range names {
				if f.Kind != "library" && inPath(f.Path) && path.Base(f.Path) == n {
					a.against = append(a.against, f.Path)
				}
			}
		}
		return a
	}
}

// inPath leaves out files with the name of a program where nobody looks for
// programs, such as the source trees of languages.
func inPath(p string) bool {
	dir := path.Base(path.Dir(p))
	return dir == "bin" || dir == "sbin" || dir == "libexec" || dir == "busybox"
}

func healthcheck(s *subject) answer {
	if s.lacks("config") != "" {
		return answer{}
	}
	switch h := s.img.Config.Healthcheck; {
	case len(h) == 0:
		return answer{against: []string{"there is no HEALTHCHECK"}}
	case h[0] == "NONE":
		return answer{against: []string{"HEALTHCHECK is NONE"}}
	}
	return answer{}
}

func setuid(s *subject) (a answer) {
	for i := range s.inv.Files {
		f := &s.inv.Files[i]
		switch {
		case f.Mode&0o4000 != 0:
			a.against = append(a.against, f.Path+" setuid to user "+strconv.Itoa(f.UID))
		case f.Mode&0o2000 != 0:
			a.against = append(a.against, f.Path+" setgid")
		}
	}
	return a
}

func worldWritable(s *subject) (a answer) {
	for i := range s.inv.Files {
		if f := &s.inv.Files[i]; f.Mode&0o002 != 0 {
			a.against = append(a.against, f.Path+" has mode 0"+strconv.FormatUint(uint64(f.Mode&0o7777), 8))
		}
	}
	return a
}

func temporary(s *subject) (a answer) {
	for i := range s.inv.Files {
		f := &s.inv.Files[i]
		for _, dir := range []string{"/tmp/", "/var/tmp/", "/dev/", "/run/lock/", "/var/run/lock/"} {
			if strings.HasPrefix(f.Path, dir) {
				a.against = append(a.against, f.Path)
			}
		}
	}
	return a
}

func secrets(files bool) func(*subject) answer {
	return func(s *subject) (a answer) {
		for i := range s.inv.Secrets {
			if x := &s.inv.Secrets[i]; strings.HasPrefix(x.Where, "/") == files && x.Severity > scan.Low {
				e := x.Where + ": " + x.Title
				if x.Deleted {
					e += " (deleted later, still in its layer)"
				}
				a.against = append(a.against, e)
			}
		}
		return a
	}
}

// latest looks at the name as it was asked for: a digest or a version pins it.
func latest(s *subject) answer {
	if s.lacks("name") != "" || s.img.Kind == scan.Container || strings.Contains(s.img.Name, "@sha") {
		return answer{}
	}
	last := s.img.Name[strings.LastIndexByte(s.img.Name, '/')+1:]
	switch _, tag, tagged := strings.Cut(last, ":"); {
	case !tagged:
		return answer{against: []string{s.img.Name + " has no tag, which means latest"}}
	case tag == "latest":
		return answer{against: []string{s.img.Name}}
	}
	return answer{}
}

func ports(bad func(int) bool) func(*subject) answer {
	return func(s *subject) (a answer) {
		for _, e := range s.img.Config.ExposedPorts {
			number, _, _ := strings.Cut(e, "/")
			from, to, ranged := strings.Cut(number, "-")
			first, err := strconv.Atoi(from)
			last := first
			if ranged && err == nil {
				last, err = strconv.Atoi(to)
			}
			if err != nil || last < first || last > 65535 || first < 0 {
				a.unknown = "port " + strconv.Quote(e) + " cannot be read"
				continue
			}
			for p := first; p <= last; p++ {
				if bad(p) {
					a.against = append(a.against, "EXPOSE "+e)
					break
				}
			}
		}
		return a
	}
}

func volumes(s *subject) (a answer) {
	for _, v := range s.img.Config.Volumes {
		switch clean := path.Clean(v); {
		case clean == "/", strings.HasSuffix(clean, ".sock"):
			a.against = append(a.against, "VOLUME "+v)
		default:
			for _, dir := range []string{"/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr", "/var/run", "/run", "/var/lib/docker", "/var/lib/containerd", "/var/lib/kubelet"} {
				if clean == dir {
					a.against = append(a.against, "VOLUME "+v)
				}
			}
		}
	}
	return a
}

// env gives the values of variables, the last one of a name counts.
func (s *subject) env() map[string]string {
	m := map[string]string{}
	for _, e := range s.img.Config.Env {
		name, v, _ := strings.Cut(e, "=")
		m[name] = v
	}
	return m
}

func searchPath(s *subject) (a answer) {
	value, set := s.env()["PATH"]
	if !set {
		return a
	}
	for _, dir := range strings.Split(value, ":") {
		clean := path.Clean(dir)
		if !strings.HasPrefix(dir, "/") || clean == "/tmp" || clean == "/var/tmp" || clean == "/dev/shm" || strings.HasPrefix(clean, "/tmp/") {
			a.against = append(a.against, "PATH has "+strconv.Quote(dir))
		}
	}
	return a
}

func preload(s *subject) (a answer) {
	env := s.env()
	for _, name := range []string{"LD_PRELOAD", "LD_AUDIT"} {
		if v := env[name]; v != "" {
			a.against = append(a.against, name+"="+v)
		}
	}
	return a
}

// tlsOff knows the variables by which languages and tools stop to verify.
func tlsOff(s *subject) (a answer) {
	env := s.env()
	for _, bad := range []struct{ name, value string }{
		{"NODE_TLS_REJECT_UNAUTHORIZED", "0"}, {"PYTHONHTTPSVERIFY", "0"}, {"GIT_SSL_NO_VERIFY", "1"}, {"GIT_SSL_NO_VERIFY", "true"},
		{"NPM_CONFIG_STRICT_SSL", "false"}, {"npm_config_strict_ssl", "false"}, {"CURL_INSECURE", "1"}, {"GOINSECURE", "*"}, {"GONOSUMDB", "*"}, {"GOFLAGS", "-insecure"},
	} {
		if strings.EqualFold(env[bad.name], bad.value) && env[bad.name] != "" {
			a.against = append(a.against, bad.name+"="+env[bad.name])
		}
	}
	return a
}

// Engines that stack layers stop at 127; half of it is far from any need.
const tooManyLayers = 64

func manyLayers(s *subject) answer {
	if n := len(s.img.Layers); n > tooManyLayers {
		return answer{against: []string{strconv.Itoa(n) + " layers"}}
	}
	return answer{}
}
