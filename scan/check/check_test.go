package check

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/scan"
)

// image is one that passes everything.
func image() (scan.Image, scan.Inventory) {
	img := scan.Image{Name: "registry.local/web:1.2", Kind: scan.Registry, Layers: make([]scan.Layer, 3), Config: scan.Config{
		User: "10001", Env: []string{"PATH=/usr/local/bin:/usr/bin"}, Entrypoint: []string{"/app"}, ExposedPorts: []string{"8080/tcp"}, Volumes: []string{"/data"},
		Healthcheck: []string{"CMD", "/app", "-check"},
		Labels: map[string]string{"org.opencontainers.image.base.name": "debian:12", "org.opencontainers.image.source": "https://git.local/web",
			"org.opencontainers.image.revision": "abc"},
		History: []scan.History{{Command: "/bin/sh -c #(nop) ADD file:0a1b in / "}, {Command: "COPY app /app # buildkit"}, {Command: `CMD ["/app"]`, Empty: true}},
	}}
	inv := scan.Inventory{Users: map[string]int{"root": 0, "toor": 0, "app": 10001}, Files: []scan.File{{Path: "/app", Mode: 0o755, Kind: "elf"}, {Path: "/usr/lib/libc.so.6", Mode: 0o755, Kind: "library"}}}
	return img, inv
}

func judge(t *testing.T, img scan.Image, inv scan.Inventory) map[string]scan.Check {
	t.Helper()
	list, err := Judge(img, inv)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]scan.Check{}
	for _, c := range list {
		m[c.ID] = c
	}
	return m
}

// cases change the good image so that one check fails, or still passes.
var cases = []struct {
	id, name, want string
	change         func(*scan.Image, *scan.Inventory)
	evidence       string // part of it
}{
	{"IMG-USER-ROOT", "none", Fail, user(""), "no USER"},
	{"IMG-USER-ROOT", "zero", Fail, user("0"), "USER is 0"},
	{"IMG-USER-ROOT", "zero with group", Fail, user("0:1000"), "0:1000"},
	{"IMG-USER-ROOT", "zeros", Fail, user("000"), "000"},
	{"IMG-USER-ROOT", "name", Fail, user("root"), "root"},
	{"IMG-USER-ROOT", "other name of root", Fail, user("toor:app"), "number 0"},
	{"IMG-USER-ROOT", "name of another", Pass, user("app"), ""},
	{"IMG-USER-ROOT", "unknown name", Unknown, user("ghost"), "not in the image"},
	{"IMG-USER-NAME", "name", Fail, user("app"), "app"},
	{"IMG-USER-NAME", "number", Pass, user("10001:10001"), ""},
	{"IMG-BASE-UNKNOWN", "no label", Fail, func(i *scan.Image, _ *scan.Inventory) { i.Config.Labels = nil }, "base.name"},
	{"IMG-LABELS", "no label", Fail, func(i *scan.Image, _ *scan.Inventory) { i.Config.Labels = nil }, "revision"},
	{"IMG-PACKAGE-MANAGER", "apt-get", Fail, file("/usr/bin/apt-get", 0o755), "/usr/bin/apt-get"},
	{"IMG-SHELL", "sh", Fail, file("/bin/sh", 0o755), "/bin/sh"},
	{"IMG-SHELL", "a source file of that name", Pass, file("/usr/src/x/sh", 0o755), ""},
	{"IMG-SHELL", "busybox", Fail, file("/bin/busybox", 0o755), "has one in it"},
	{"IMG-NETWORK-TOOL", "busybox", Fail, file("/bin/busybox", 0o755), "has one in it"},
	{"IMG-COMPILER", "busybox has none", Pass, file("/bin/busybox", 0o755), ""},
	{"IMG-COMPILER", "gcc", Fail, file("/usr/bin/gcc", 0o755), "gcc"},
	{"IMG-DEBUGGER", "gdb", Fail, file("/usr/bin/gdb", 0o755), "gdb"},
	{"IMG-NETWORK-TOOL", "curl", Fail, file("/usr/bin/curl", 0o755), "curl"},
	{"IMG-CLUSTER-CLIENT", "kubectl", Fail, file("/usr/local/bin/kubectl", 0o755), "kubectl"},
	{"IMG-SUDO", "sudo", Fail, file("/usr/bin/sudo", 0o755), "sudo"},
	{"IMG-SSHD", "sshd", Fail, file("/usr/sbin/sshd", 0o755), "sshd"},
	{"IMG-SSHD", "client", Pass, file("/usr/bin/ssh", 0o755), ""},
	{"IMG-HEALTHCHECK", "none", Fail, func(i *scan.Image, _ *scan.Inventory) { i.Config.Healthcheck = nil }, "no HEALTHCHECK"},
	{"IMG-HEALTHCHECK", "switched off", Fail, func(i *scan.Image, _ *scan.Inventory) { i.Config.Healthcheck = []string{"NONE"} }, "NONE"},
	{"IMG-UPDATE-ALONE", "apt", Fail, run("apt-get update"), "history 4"},
	{"IMG-UPDATE-ALONE", "apt with clean", Fail, run("apt-get -qq update && apt-get clean"), "history 4"},
	{"IMG-UPDATE-ALONE", "apt with install", Pass, run("apt-get update && apt-get install -y curl"), ""},
	{"IMG-UPDATE-ALONE", "apk with add", Pass, run("apk update; apk add curl"), ""},
	{"IMG-UPDATE-ALONE", "quoted", Pass, run(`echo "apt-get update; x"`), ""},
	{"IMG-UPDATE-ALONE", "yum update is an upgrade", Pass, run("yum -y update"), ""},
	{"IMG-UPGRADE", "apt", Fail, run("apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -y dist-upgrade"), "dist-upgrade"},
	{"IMG-UPGRADE", "apk", Fail, run("apk --no-cache upgrade"), "apk"},
	{"IMG-UPGRADE", "yum", Fail, run("yum update -y"), "yum"},
	{"IMG-UPGRADE", "pacman", Fail, run("pacman -Syu --noconfirm"), "pacman"},
	{"IMG-UPGRADE", "named only", Pass, run("apk upgrade openssl"), ""},
	{"IMG-UPGRADE", "pip", Pass, run("pip install --upgrade pip"), ""},
	{"IMG-SETUID", "setuid", Fail, file("/usr/bin/passwd", 0o4755), "setuid to user 0"},
	{"IMG-SETUID", "setgid", Fail, file("/usr/bin/wall", 0o2755), "setgid"},
	{"IMG-ADD", "file", Fail, step1("ADD app.tar.gz /opt # buildkit"), "app.tar.gz"},
	{"IMG-ADD", "old form", Fail, step1("/bin/sh -c #(nop) ADD dir:00aa in /opt "), "dir:00aa"},
	{"IMG-ADD", "copy", Pass, step1("COPY app.tar.gz /opt # buildkit"), ""},
	{"IMG-ADD-REMOTE", "https", Fail, step1("ADD https://files.local/x.tgz /opt/ # buildkit"), "https://"},
	{"IMG-ADD-REMOTE", "with checksum", Pass, step1("ADD --checksum=sha256:00 https://files.local/x.tgz /opt/ # buildkit"), ""},
	{"IMG-SECRET-CONFIG", "env", Fail, secretAt("env TOKEN", scan.High), "env TOKEN"},
	{"IMG-SECRET-CONFIG", "file", Pass, secretAt("/root/.netrc", scan.High), ""},
	{"IMG-SECRET-FILE", "file", Fail, secretAt("/root/.netrc", scan.High), "/root/.netrc"},
	{"IMG-SECRET-FILE", "test key", Pass, secretAt("/app/test/key.pem", scan.Low), ""},
	{"IMG-UNVERIFIED", "curl", Fail, run("curl -fsSLk https://x.local/y -o y"), "curl"},
	{"IMG-UNVERIFIED", "wget in pipe", Fail, run("cat x | wget --no-check-certificate -i -"), "wget"},
	{"IMG-UNVERIFIED", "apk", Fail, run("apk add --allow-untrusted x.apk"), "untrusted"},
	{"IMG-UNVERIFIED", "curl with other options", Pass, run("curl -fsSL --retry 3 -o k https://x.local/-k"), ""},
	{"IMG-PIPE-TO-SHELL", "curl", Fail, run("curl -fsSL https://x.local/i.sh | bash -"), "bash"},
	{"IMG-PIPE-TO-SHELL", "wget with sudo", Fail, run("wget -qO- https://x.local/i.sh | sudo -E sh"), "sudo"},
	{"IMG-PIPE-TO-SHELL", "substitution", Fail, run(`sh -c "$(curl -fsSL https://x.local/i.sh)"`), "curl"},
	{"IMG-PIPE-TO-SHELL", "python", Fail, run("curl https://x.local/get.py | python3 -"), "python3"},
	{"IMG-PIPE-TO-SHELL", "checksum", Pass, run("curl -fsSLO https://x.local/i.sh && sha256sum -c sums && sh i.sh"), ""},
	{"IMG-PIPE-TO-SHELL", "pipe to tar", Pass, run("curl https://x.local/a.tgz | tar xz; echo sh"), ""},
	{"IMG-TLS-OFF", "node", Fail, env("NODE_TLS_REJECT_UNAUTHORIZED=0"), "NODE_TLS"},
	{"IMG-TLS-OFF", "node on", Pass, env("NODE_TLS_REJECT_UNAUTHORIZED=1"), ""},
	{"IMG-TLS-OFF", "empty", Pass, env("GIT_SSL_NO_VERIFY="), ""},
	{"IMG-TAG-LATEST", "latest", Fail, name("registry.local:5000/web:latest"), "latest"},
	{"IMG-TAG-LATEST", "no tag", Fail, name("registry.local:5000/web"), "no tag"},
	{"IMG-TAG-LATEST", "digest", Pass, name("web@sha256:" + strings.Repeat("0", 64)), ""},
	{"IMG-TAG-LATEST", "archive", Unknown, kind(scan.DockerArchive), "no reference"},
	{"IMG-WORLD-WRITABLE", "program", Fail, file("/usr/local/bin/run", 0o777), "0777"},
	{"IMG-CHMOD-ALL", "777", Fail, run("mkdir /d && chmod -R 777 /d"), "777"},
	{"IMG-CHMOD-ALL", "a+w", Fail, run("chmod a+w /d"), "a+w"},
	{"IMG-CHMOD-ALL", "755", Pass, run("chmod 755 /d7770"), ""},
	{"IMG-TMP-PROGRAM", "tmp", Fail, file("/tmp/x", 0o755), "/tmp/x"},
	{"IMG-PORT-LOGIN", "ssh", Fail, ports1("22/tcp"), "22/tcp"},
	{"IMG-PORT-LOGIN", "in a range", Fail, ports1("20-25/tcp"), "20-25"},
	{"IMG-PORT-LOGIN", "unreadable", Unknown, ports1("http"), "cannot be read"},
	{"IMG-PORT-LOGIN", "backwards", Unknown, ports1("25-20"), "cannot be read"},
	{"IMG-PORT-PRIVILEGED", "80", Fail, ports1("80/tcp"), "80"},
	{"IMG-PORT-PRIVILEGED", "1024", Pass, ports1("1024"), ""},
	{"IMG-VOLUME-SENSITIVE", "socket", Fail, volume("/var/run/docker.sock"), "docker.sock"},
	{"IMG-VOLUME-SENSITIVE", "etc", Fail, volume("/etc/"), "/etc"},
	{"IMG-VOLUME-SENSITIVE", "below etc", Pass, volume("/etc/nginx/conf.d"), ""},
	{"IMG-PATH-WRITABLE", "dot", Fail, env("PATH=/usr/bin:."), `"."`},
	{"IMG-PATH-WRITABLE", "empty", Fail, env("PATH=/usr/bin:"), `""`},
	{"IMG-PATH-WRITABLE", "tmp", Fail, env("PATH=/usr/bin:/tmp/bin"), "/tmp/bin"},
	{"IMG-PRELOAD", "preload", Fail, env("LD_PRELOAD=/usr/lib/x.so"), "x.so"},
	{"IMG-MANY-LAYERS", "65", Fail, func(i *scan.Image, _ *scan.Inventory) { i.Layers = make([]scan.Layer, 65) }, "65"},
	{"IMG-MANY-LAYERS", "64", Pass, func(i *scan.Image, _ *scan.Inventory) { i.Layers = make([]scan.Layer, 64) }, ""},
}

func user(u string) func(*scan.Image, *scan.Inventory) {
	return func(i *scan.Image, _ *scan.Inventory) { i.Config.User = u }
}
func env(e string) func(*scan.Image, *scan.Inventory) {
	return func(i *scan.Image, _ *scan.Inventory) { i.Config.Env = append(i.Config.Env, e) }
}
func name(n string) func(*scan.Image, *scan.Inventory) {
	return func(i *scan.Image, _ *scan.Inventory) { i.Name = n }
}
func kind(k scan.Kind) func(*scan.Image, *scan.Inventory) {
	return func(i *scan.Image, _ *scan.Inventory) { i.Kind = k }
}
func ports1(p string) func(*scan.Image, *scan.Inventory) {
	return func(i *scan.Image, _ *scan.Inventory) { i.Config.ExposedPorts = []string{p} }
}
func volume(v string) func(*scan.Image, *scan.Inventory) {
	return func(i *scan.Image, _ *scan.Inventory) { i.Config.Volumes = []string{v} }
}
func step1(command string) func(*scan.Image, *scan.Inventory) {
	return func(i *scan.Image, _ *scan.Inventory) {
		i.Config.History = append(i.Config.History, scan.History{Command: command})
	}
}

// run is one step in each of the forms that builders write.
func run(script string) func(*scan.Image, *scan.Inventory) {
	return func(i *scan.Image, _ *scan.Inventory) {
		for _, form := range []string{"RUN /bin/sh -c %s # buildkit", "/bin/sh -c %s", "|2 A=b C=d /bin/sh -c %s", "RUN |1 A=b /bin/sh -c %s # buildkit", "RUN %s"} {
			i.Config.History = append(i.Config.History, scan.History{Command: fmt.Sprintf(form, script)})
		}
	}
}
func file(path string, mode uint32) func(*scan.Image, *scan.Inventory) {
	return func(_ *scan.Image, v *scan.Inventory) {
		v.Files = append(v.Files, scan.File{Path: path, Mode: mode, Kind: "elf"})
	}
}
func secretAt(where string, severity scan.Severity) func(*scan.Image, *scan.Inventory) {
	return func(_ *scan.Image, v *scan.Inventory) {
		v.Secrets = append(v.Secrets, scan.Secret{Where: where, Title: "Password", Severity: severity})
	}
}

func TestGoodImagePasses(t *testing.T) {
	for id, c := range judge(t, first(image()), second(image())) {
		if c.Status != Pass || c.Evidence != nil {
			t.Errorf("%s is %s: %v", id, c.Status, c.Evidence)
		}
	}
}

func first(a scan.Image, _ scan.Inventory) scan.Image      { return a }
func second(_ scan.Image, b scan.Inventory) scan.Inventory { return b }

func TestCases(t *testing.T) {
	failing := map[string]bool{}
	for _, c := range cases {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			img, inv := image()
			c.change(&img, &inv)
			got := judge(t, img, inv)[c.id]
			if got.Status != c.want {
				t.Fatalf("is %s, want %s: %v", got.Status, c.want, got.Evidence)
			}
			if c.want == Fail && strings.Contains(c.evidence, "history") && len(got.Evidence) != 5 {
				t.Errorf("not every form was read: %q", got.Evidence)
			}
			if c.evidence != "" && !strings.Contains(strings.Join(got.Evidence, "\n"), c.evidence) {
				t.Errorf("evidence %q does not tell %q", got.Evidence, c.evidence)
			}
		})
		if c.want == Fail {
			failing[c.id] = true
		}
	}
	list, err := content.LoadImageChecks()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if !failing[c.ID] {
			t.Errorf("no case makes %s fail", c.ID)
		}
	}
	if len(list) != len(judges) {
		t.Errorf("%d checks and %d judges", len(list), len(judges))
	}
}

// TestForms: every form of a RUN is read alike.
func TestForms(t *testing.T) {
	img, inv := image()
	run("chmod 777 /d")(&img, &inv)
	if got := judge(t, img, inv)["IMG-CHMOD-ALL"].Evidence; len(got) != 5 {
		t.Errorf("%d of 5 forms were read: %q", len(got), got)
	}
}

// TestNothingPassesUnseen: what the source cannot tell is unknown.
func TestNothingPassesUnseen(t *testing.T) {
	list, err := content.LoadImageChecks()
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string][]string{}
	for _, c := range list {
		needs[c.ID] = c.Needs
	}
	got := judge(t, scan.Image{Kind: scan.SBOM}, scan.Inventory{})
	for id, c := range got {
		if c.Status != Unknown || len(c.Evidence) != 1 {
			t.Errorf("%s of an SBOM is %s: %v", id, c.Status, c.Evidence)
		}
	}
	_, inv := image()
	for id, c := range judge(t, scan.Image{Kind: scan.Directory}, inv) {
		want := Unknown
		if n := needs[id]; n[0] == "files" {
			want = Pass
		}
		if c.Status != want {
			t.Errorf("%s of a directory is %s, want %s: %v", id, c.Status, want, c.Evidence)
		}
	}
	img, inv := image()
	inv.Gaps = []scan.Gap{{Where: "sha256:0a", What: "truncated"}}
	file("/bin/su", 0o4755)(&img, &inv)
	for id, c := range judge(t, img, inv) {
		seen := needs[id][0] == "files" || len(needs[id]) > 1
		switch {
		case id == "IMG-SETUID" && c.Status != Fail:
			t.Errorf("what was seen does not count: %v", c)
		case id != "IMG-SETUID" && seen && c.Status != Unknown:
			t.Errorf("%s is %s although a layer was lost", id, c.Status)
		case !seen && c.Status != Pass:
			t.Errorf("%s is %s although its layer does not matter", id, c.Status)
		}
	}
	inv.Gaps[0].Minor = true
	if c := judge(t, img, inv)["IMG-SHELL"]; c.Status != Pass {
		t.Errorf("a minor gap makes %s", c.Status)
	}
	img.Config.History = nil
	if c := judge(t, img, inv)["IMG-ADD"]; c.Status != Unknown {
		t.Errorf("without a history ADD is %s", c.Status)
	}
}

// TestUnseen: what nobody looked for is not passed, in any of the ways.
func TestUnseen(t *testing.T) {
	img, inv := image()
	list, err := Judge(img, inv, "secrets")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		want := Pass
		if strings.HasPrefix(c.ID, "IMG-SECRET") {
			want = Unknown
		}
		if c.Status != want {
			t.Errorf("%s is %s, want %s: %v", c.ID, c.Status, want, c.Evidence)
		}
	}
}

func TestEvidenceIsBounded(t *testing.T) {
	img, inv := image()
	for i := range 5000 {
		inv.Files = append(inv.Files, scan.File{Path: fmt.Sprintf("/bin/%04d%s", i, strings.Repeat("ä", 300)), Mode: 0o4755})
	}
	got := judge(t, img, inv)["IMG-SETUID"].Evidence
	if len(got) != maxEvidence+1 || got[maxEvidence] != "and 4980 more" {
		t.Errorf("%d pieces, the last %q", len(got), got[len(got)-1])
	}
	for _, e := range got {
		if len(e) > maxEvidenceText+4 {
			t.Errorf("%d bytes", len(e))
		}
	}
}

func TestData(t *testing.T) {
	list, err := content.LoadImageChecks()
	if err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`^IMG(-[A-Z]+)+$`)
	for i, c := range list {
		if !id.MatchString(c.ID) || i > 0 && list[i-1].ID == c.ID {
			t.Errorf("%s: the id has a wrong form or is there twice", c.ID)
		}
		if c.Title == "" || c.Why == "" || c.Remedy == "" || len(c.Refs) == 0 || len(c.Needs) == 0 {
			t.Errorf("%s: something is missing", c.ID)
		}
		for _, n := range c.Needs {
			switch n {
			case "config", "history", "files", "secrets", "name":
			default:
				t.Errorf("%s needs %q, which nobody knows", c.ID, n)
			}
		}
		if judges[c.ID] == nil {
			t.Errorf("%s has no judge", c.ID)
		}
	}
}

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		script string
		want   []string
	}{
		{"a && b || c; d", []string{"a", "b", "c", "d"}},
		{"a | b & c", []string{"a | b & c"}},
		{`echo "a; b" 'c && d'; e`, []string{`echo "a; b" 'c && d'`, "e"}},
		{`a \; b; c`, []string{`a \; b`, "c"}},
		{"(a; b)\nc", []string{"a", "b", "c"}},
		{`a "unclosed; b`, []string{`a "unclosed; b`}},
		{`a \`, []string{`a \`}},
		{"", nil},
	} {
		if d := cmp.Diff(c.want, commands(c.script)); d != "" {
			t.Errorf("%q: %s", c.script, d)
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add("RUN /bin/sh -c apt-get update # buildkit", "0:0", "22-80/tcp", "PATH=.:/x")
	f.Add("|1 A=b /bin/sh -c curl x | sh", "root", "http", "LD_PRELOAD=x")
	f.Add(`/bin/sh -c #(nop)  ADD file:0 in / `, "", "99999999999", "=")
	f.Add(`RUN echo "\`, ":", "-1", "")
	f.Fuzz(func(t *testing.T, command, user, port, env string) {
		img, inv := image()
		img.Config = scan.Config{User: user, ExposedPorts: []string{port}, Env: []string{env}, Volumes: []string{port}, History: []scan.History{{Command: command}, {Command: env}}}
		list, err := Judge(img, inv)
		if err != nil || len(list) != len(judges) {
			t.Fatalf("%d checks, %v", len(list), err)
		}
		for _, c := range list {
			if (c.Status == Pass) != (len(c.Evidence) == 0) {
				t.Fatalf("%s is %s with %v", c.ID, c.Status, c.Evidence)
			}
		}
	})
}

func ExampleJudge() {
	img := scan.Image{Name: "registry.local/web:1.2", Kind: scan.Registry, Config: scan.Config{
		History: []scan.History{{Command: "RUN /bin/sh -c curl https://x.local/i | sh # buildkit"}},
	}}
	list, err := Judge(img, scan.Inventory{})
	if err != nil {
		panic(err)
	}
	for _, c := range list {
		if c.Status == Fail && c.Severity >= scan.Medium {
			fmt.Println(c.ID, c.Severity, c.Evidence)
		}
	}
	// Output:
	// IMG-PIPE-TO-SHELL medium [history 1: RUN curl https://x.local/i | sh]
	// IMG-USER-ROOT medium [no USER is set, so it is root]
}
