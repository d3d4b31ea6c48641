package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
)

var t0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// pack compiles detections given as YAML, with the texts that every one needs.
func pack(t testing.TB, docs ...string) *Pack {
	t.Helper()
	var list []content.Detection
	for i, doc := range docs {
		list = append(list, parse(t, fmt.Sprintf("d%d", i), doc))
	}
	p, err := Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(t testing.TB, name, doc string) content.Detection {
	t.Helper()
	d, err := content.ParseDetection(name+"/detection.yaml",
		[]byte("name: "+name+"\ntitle: T\nseverity: high\nwhat: w\nfalsePositives: f\nremedy: r\n"+doc))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func at(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }

func exec(c string, when float64, pid, ppid int, exe string, args ...string) Happening {
	return Happening{Container: c, Time: at(when), Kind: event.ProcessExec, PID: pid, PPID: ppid, Exe: exe, Args: append([]string{exe}, args...)}
}

func connect(c string, when float64, pid int, exe, peer string, port uint16) Happening {
	return Happening{Container: c, Time: at(when), Kind: event.NetworkConnect, PID: pid, Exe: exe, Peer: netip.MustParseAddr(peer), Port: port, Protocol: "tcp"}
}

// matches gives how many matches each happening completed.
func matches(e *Engine, list ...Happening) (n []int) {
	for _, h := range list {
		n = append(n, len(e.Handle(h)))
	}
	return n
}

const readThenConnect = `
within: 60s
steps:
  - {on: [process.exec], programs: [cat]}
  - {on: [network.connect], when: 'reach == "public"'}
`

func TestSequences(t *testing.T) {
	for name, c := range map[string]struct {
		doc  string
		list []Happening
		want []int
	}{
		"in order":          {readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), connect("a", 10, 9, "/app", "203.0.113.1", 443)}, []int{0, 1}},
		"in the other":      {readThenConnect, []Happening{connect("a", 0, 9, "/app", "203.0.113.1", 443), exec("a", 10, 5, 1, "/bin/cat")}, []int{0, 0}},
		"any order":         {"anyOrder: true" + readThenConnect, []Happening{connect("a", 0, 9, "/app", "203.0.113.1", 443), exec("a", 10, 5, 1, "/bin/cat")}, []int{0, 1}},
		"too late":          {readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), connect("a", 61, 9, "/app", "203.0.113.1", 443)}, []int{0, 0}},
		"the later one":     {readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), exec("a", 50, 6, 1, "/bin/cat"), connect("a", 100, 9, "/app", "203.0.113.1", 443)}, []int{0, 0, 1}},
		"two containers":    {readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), connect("b", 1, 9, "/app", "203.0.113.1", 443)}, []int{0, 0}},
		"another peer":      {readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), connect("a", 1, 9, "/app", "10.0.0.1", 443)}, []int{0, 0}},
		"once each":         {readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), connect("a", 1, 9, "/app", "203.0.113.1", 443), connect("a", 2, 9, "/app", "203.0.113.2", 443)}, []int{0, 1, 0}},
		"same process":      {"by: process" + readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), connect("a", 1, 5, "/bin/cat", "203.0.113.1", 443)}, []int{0, 1}},
		"another process":   {"by: process" + readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), connect("a", 1, 6, "/app", "203.0.113.1", 443)}, []int{0, 0}},
		"descendant":        {"by: process" + readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), exec("a", 1, 6, 5, "/bin/sh"), exec("a", 2, 7, 6, "/usr/bin/curl"), connect("a", 3, 7, "/usr/bin/curl", "203.0.113.1", 443)}, []int{0, 0, 0, 1}},
		"two by process":    {"by: process" + readThenConnect, []Happening{exec("a", 0, 5, 1, "/bin/cat"), exec("a", 1, 6, 1, "/bin/cat"), connect("a", 2, 5, "/bin/cat", "203.0.113.1", 1), connect("a", 3, 6, "/bin/cat", "203.0.113.1", 2)}, []int{0, 0, 1, 1}},
		"unknown processes": {"by: process" + readThenConnect, []Happening{exec("a", 0, 0, 0, "/bin/cat"), connect("a", 1, 0, "/bin/cat", "203.0.113.1", 443)}, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := matches(New(pack(t, c.doc)), c.list...); !slices.Equal(got, c.want) {
				t.Errorf("matches %v, want %v", got, c.want)
			}
		})
	}
}

func TestBursts(t *testing.T) {
	doc := "within: 10s\nburst: {count: 3, distinct: program}\nsteps:\n  - {on: [process.exec], programs: [id, w, ps, who]}\n"
	for name, c := range map[string]struct {
		list []Happening
		want []int
	}{
		"three":        {[]Happening{exec("a", 0, 1, 0, "/bin/id"), exec("a", 1, 2, 0, "/bin/w"), exec("a", 2, 3, 0, "/bin/ps")}, []int{0, 0, 1}},
		"one repeated": {[]Happening{exec("a", 0, 1, 0, "/bin/id"), exec("a", 1, 2, 0, "/bin/id"), exec("a", 2, 3, 0, "/bin/id")}, []int{0, 0, 0}},
		"spread":       {[]Happening{exec("a", 0, 1, 0, "/bin/id"), exec("a", 6, 2, 0, "/bin/w"), exec("a", 12, 3, 0, "/bin/ps")}, []int{0, 0, 0}},
		"refreshed":    {[]Happening{exec("a", 0, 1, 0, "/bin/id"), exec("a", 6, 2, 0, "/bin/w"), exec("a", 9, 2, 0, "/bin/id"), exec("a", 14, 3, 0, "/bin/ps")}, []int{0, 0, 0, 1}},
		"anew":         {[]Happening{exec("a", 0, 1, 0, "/bin/id"), exec("a", 1, 2, 0, "/bin/w"), exec("a", 2, 3, 0, "/bin/ps"), exec("a", 3, 4, 0, "/bin/who")}, []int{0, 0, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := matches(New(pack(t, doc)), c.list...); !slices.Equal(got, c.want) {
				t.Errorf("matches %v, want %v", got, c.want)
			}
		})
	}
}

func TestWhoIsAbove(t *testing.T) {
	p := pack(t, `steps: [{on: [process.exec], programs: [curl], when: '"web-server" in aboveClasses && above[0] == "sh" && parentLine == "sh -c x"'}]`)
	e := New(p)
	nginx := exec("a", 0, 10, 1, "/usr/sbin/nginx")
	shell := Happening{Container: "a", Time: at(1), Kind: event.ProcessExec, PID: 11, PPID: 10, Exe: "/bin/busybox", Applet: "sh", Args: []string{"sh", "-c", "x"}, Parent: "nginx"}
	curl := exec("a", 2, 12, 11, "/usr/bin/curl")
	curl.Parent = "busybox" // the kernel knows the file, the engine the applet
	if got := matches(e, nginx, shell, curl); !slices.Equal(got, []int{0, 0, 1}) {
		t.Errorf("matches %v", got)
	}
	curl.PPID = 99
	if n := len(e.Handle(curl)); n != 0 {
		t.Errorf("found below a process that nobody saw")
	}
}

func TestNamesWithVersions(t *testing.T) {
	e := New(pack(t, `steps: [{on: [process.exec], programs: [python], parents: [php-fpm]}]`))
	for exe, parent := range map[string]string{"/usr/bin/python": "php-fpm", "/usr/bin/python3.11": "php-fpm8.2", "/usr/bin/python3": "/usr/sbin/php-fpm"} {
		h := exec("a", 0, 1, 0, exe)
		h.Parent = parent
		if len(e.Handle(h)) != 1 {
			t.Errorf("%s started by %s is not found", exe, parent)
		}
	}
	h := exec("a", 0, 1, 0, "/usr/bin/python3-config")
	h.Parent = "php-fpm"
	if len(e.Handle(h)) != 0 {
		t.Error("python3-config is taken for python")
	}
}

func TestMatchesCountByObjectAndEngine(t *testing.T) {
	p := pack(t, `steps: [{on: [process.exec], programs: [sh]}]`)
	e := New(p)
	a := e.Handle(exec("a", 0, 1, 0, "/bin/sh"))[0]
	b := e.Handle(exec("a", 5, 2, 0, "/bin/sh"))[0]
	other := e.Handle(exec("a", 6, 3, 0, "/usr/bin/sh"))[0]
	if a.ID != b.ID || b.Count != 2 || !b.First.Equal(at(0)) || !b.Last.Equal(at(5)) {
		t.Errorf("first %+v, second %+v", a, b)
	}
	if other.ID == a.ID || other.Count != 1 {
		t.Errorf("another object %+v", other)
	}
	if c := e.Handle(exec("b", 0, 1, 0, "/bin/sh"))[0]; c.ID == a.ID {
		t.Error("two containers share an id")
	}
	if again := New(p).Handle(exec("a", 60, 9, 0, "/bin/sh"))[0]; again.ID == a.ID {
		t.Error("a later engine's match would look like the earlier one with a smaller count")
	}
}

// Whatever a container does, what is remembered of it is bounded and matches
// are counted on.
func TestMemoryIsBounded(t *testing.T) {
	p := pack(t, readThenConnect, "by: process"+readThenConnect,
		"within: 60s\nburst: {count: 200, distinct: exe}\nsteps:\n  - {on: [process.exec], programs: [cat]}\n",
		`steps: [{on: [process.exec], programs: [cat]}]`)
	e := New(p)
	last := uint64(0)
	for i := range 20_000 {
		h := exec("a", float64(i)/1000, i+2, i+1, fmt.Sprintf("/opt/%d/cat", i), strings.Repeat("x", 5000))
		for _, m := range e.Handle(h) {
			if m.Object == "others" {
				if m.Count != last+1 {
					t.Fatalf("count %d after %d", m.Count, last)
				}
				last = m.Count
			}
		}
	}
	c := e.containers["a"]
	if len(c.procs) > maxProcesses || len(c.order) > maxProcesses {
		t.Errorf("%d processes", len(c.procs))
	}
	for rule, list := range c.begun {
		if len(list) > maxBegun {
			t.Errorf("%d begun of rule %d", len(list), rule)
		}
	}
	for rule, objects := range c.seen {
		if len(objects) > maxObjects+1 {
			t.Errorf("%d objects of rule %d", len(objects), rule)
		}
	}
	for _, w := range c.bursts {
		if len(w.keys) > 200 || len(w.shown) > maxShown {
			t.Errorf("a window of %d and %d", len(w.keys), len(w.shown))
		}
	}
	if last != 20_000-maxObjects {
		t.Errorf("%d counted as others", last)
	}
	if e.Stats().Forgotten == 0 {
		t.Error("sequences that made room are not counted")
	}
	for i := range maxContainers + 10 {
		e.Handle(exec(fmt.Sprint("c", i), 100+float64(i), 2, 1, "/bin/true"))
	}
	if s := e.Stats(); s.Containers > maxContainers {
		t.Errorf("%d containers", s.Containers)
	}
	e.Forget("c5000")
}

func TestAnExpressionThatFailsIsCounted(t *testing.T) {
	e := New(pack(t, `steps: [{on: [process.exec], programs: [cat], when: 'args[7] == "x"'}]`))
	if n := len(e.Handle(exec("a", 0, 1, 0, "/bin/cat"))); n != 0 {
		t.Errorf("%d matches of an expression without an answer", n)
	}
	if s := e.Stats(); s.Failed["d0"] != 1 {
		t.Errorf("failed %v", s.Failed)
	}
}

func TestRefusedDetections(t *testing.T) {
	for name, c := range map[string]struct{ doc, want string }{
		"no steps":         {"", "steps: 0 of them"},
		"matches all":      {"steps: [{on: [process.exec]}]", "matches everything"},
		"no kind":          {"steps: [{programs: [sh]}]", "steps[0].on is missing"},
		"unknown kind":     {"steps: [{on: [process.start], programs: [sh]}]", `"process.start" is no kind`},
		"path for a name":  {"steps: [{on: [process.exec], programs: [/bin/sh]}]", `"/bin/sh" is no class`},
		"no bool":          {"steps: [{on: [process.exec], when: program}]", "d:7: the expression gives string, not true or false"},
		"unknown word":     {"steps:\n  - on: [process.exec]\n    when: |\n      true &&\n      prog == \"x\"", "d:11: column 1 of the expression: undeclared reference to 'prog'"},
		"bad pattern":      {"steps: [{on: [process.exec], when: 'line.matches(\"(\")'}]", "d:7"},
		"no time":          {"steps: [{on: [process.exec], programs: [a]}, {on: [process.exec], programs: [b]}]", "within is missing"},
		"time for nothing": {"within: 5s\nsteps: [{on: [process.exec], programs: [a]}]", "within means nothing"},
		"long time":        {"within: 5h\nsteps: [{on: [process.exec], programs: [a]}, {on: [process.exec], programs: [b]}]", "at most 1h0m0s"},
		"large burst":      {"within: 5s\nburst: {count: 9999, distinct: exe}\nsteps: [{on: [process.exec], programs: [a]}]", "burst.count 9999"},
		"burst of steps":   {"within: 5s\nburst: {count: 3, distinct: exe}\nsteps: [{on: [process.exec], programs: [a]}, {on: [process.exec], programs: [a]}]", "one step only"},
		"burst of ints":    {"within: 5s\nburst: {count: 3, distinct: port}\nsteps: [{on: [network.connect], programs: [a]}]", "not a text"},
		"by":               {"by: user\nsteps: [{on: [process.exec], programs: [a]}]", `by "user"`},
		"costly":           {"steps: [{on: [process.exec], when: 'args.exists(a, args.exists(b, args.exists(c, a + b == c)))'}]", "may cost"},
		"technique":        {"techniques: [X1]\nsteps: [{on: [process.exec], programs: [a]}]", `"X1" is no ATT&CK id`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile([]content.Detection{parse(t, "d", c.doc)})
			want := strings.Replace(c.want, "d:", "d/detection.yaml:", 1)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		})
	}
}

func TestWithAFolderOfOnesOwn(t *testing.T) {
	p, err := With(fakeFS(t, map[string]string{
		"reverse-shell/detection.yaml": "name: reverse-shell\ntitle: T\nseverity: low\nwhat: w\nfalsePositives: f\nremedy: r\ndisabled: true\nsteps: [{on: [process.exec], programs: [sh]}]\n",
		"mine/detection.yaml":          "name: mine\ntitle: T\nseverity: low\nwhat: w\nfalsePositives: f\nremedy: r\nsteps: [{on: [process.exec], programs: [mytool]}]\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	e := New(p)
	sh := exec("a", 0, 5, 1, "/bin/sh")
	sh.Signals = []string{"stdin-socket"}
	if n := len(e.Handle(sh)); n != 0 {
		t.Errorf("what was turned off is found %d times", n)
	}
	if n := len(e.Handle(exec("a", 0, 5, 1, "/opt/mytool"))); n != 1 {
		t.Errorf("the user's own is found %d times", n)
	}
	if _, err := With(fakeFS(t, map[string]string{"x/readme": ""})); err == nil {
		t.Error("a folder without detections is accepted")
	}
}
