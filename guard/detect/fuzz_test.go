package detect

import (
	"encoding/json"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
)

func fakeFS(t testing.TB, files map[string]string) fs.FS {
	t.Helper()
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// FuzzHandle feeds hostile names and arguments to the whole pack: whatever a
// container does, the engine answers within its bounds.
func FuzzHandle(f *testing.F) {
	pack, err := Default()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/bin/sh", "sh\x00-c\x00curl x|sh", "nginx", uint8(0), uint16(443), []byte{10, 0, 0, 1})
	f.Add("", "", "", uint8(1), uint16(0), []byte{})
	f.Add("/a/\xff\xfe", "\xff\x00", "..", uint8(4), uint16(22), make([]byte, 16))
	e := New(pack)
	n := 0
	f.Fuzz(func(t *testing.T, exe, args, parent string, kind uint8, port uint16, peer []byte) {
		n++
		h := Happening{Container: "c", Time: t0.Add(time.Duration(n) * time.Second), Kind: Kinds()[int(kind)%len(Kinds())], Exe: exe, Parent: parent,
			PID: n%50 + 2, PPID: n % 7, Port: port, Args: splitNUL(args), Path: exe, Operation: parent}
		switch len(peer) {
		case 4, 16:
			_ = h.Peer.UnmarshalBinary(peer)
		}
		for _, m := range e.Handle(h) {
			if len(m.Steps) == 0 || m.ID == "" || m.Count == 0 || m.Words() == "" {
				t.Errorf("match %+v", m)
			}
		}
		if s := e.Stats(); len(s.Failed) > 0 {
			t.Errorf("expressions without an answer: %v", s.Failed)
		}
	})
}

func splitNUL(s string) (out []string) {
	last := 0
	for i := range len(s) {
		if s[i] == 0 {
			out = append(out, s[last:i])
			last = i + 1
		}
	}
	return append(out, s[last:])
}

// FuzzParseHappening: what is read can be written and read again.
func FuzzParseHappening(f *testing.F) {
	f.Add([]byte(`{"at":1.5,"kind":"process.exec","exe":"/bin/sh","args":["sh"],"signals":["tty"]}`))
	f.Add([]byte(`{"kind":"network.connect","peer":"10.0.0.1","port":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ParseHappening(data, t0)
		if err != nil {
			return
		}
		again, err := json.Marshal(recorded{Happening: h})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseHappening(again, t0); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// FuzzCompile reads detections of strangers: refused or compiled, never worse.
func FuzzCompile(f *testing.F) {
	f.Add([]byte("name: x\nsteps: [{on: [process.exec], programs: [sh], when: 'uid == 0'}]\n"))
	f.Add([]byte("name: y\nwithin: 5s\nburst: {count: 3, distinct: peer}\nsteps: [{on: [network.connect], when: 'port == 1'}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := content.ParseDetection("x/detection.yaml", data)
		if err != nil {
			return
		}
		d.Title, d.What, d.FalsePositives, d.Remedy, d.Severity, d.Name = "t", "w", "f", "r", "low", "x"
		p, err := Compile([]content.Detection{d})
		if err != nil {
			return
		}
		New(p).Handle(Happening{Container: "c", Kind: event.ProcessExec, Exe: "/bin/sh", Args: []string{"sh"}})
	})
}

func TestRecordedCasesComeBack(t *testing.T) {
	list := []Happening{
		exec("a", 0, 5, 1, "/bin/sh", "-c", "id"),
		connect("a", 1.25, 5, "/bin/sh", "203.0.113.1", 443),
	}
	c, err := Record("both", list)
	if err != nil {
		t.Fatal(err)
	}
	for i, raw := range c.Happenings {
		h, err := ParseHappening(raw, t0)
		if err != nil {
			t.Fatal(err)
		}
		if !h.Time.Equal(list[i].Time) || h.Exe != list[i].Exe || h.Peer != list[i].Peer || len(h.Args) != len(list[i].Args) {
			t.Errorf("%s came back as %+v", raw, h)
		}
	}
}
