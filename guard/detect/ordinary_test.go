package detect

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
)

// ordinary gives the happenings of every ordinary workload by its name.
func ordinary(t testing.TB) map[string][]Happening {
	t.Helper()
	out := map[string][]Happening{}
	data, err := os.ReadFile("testdata/recorded.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := content.ParseCases("recorded.jsonl", data)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range cases {
		for _, raw := range c.Happenings {
			h, err := ParseHappening(raw, start)
			if err != nil {
				t.Fatalf("recorded.jsonl:%d: %v", c.Line, err)
			}
			h.Container = "recorded " + c.Name
			out[h.Container] = append(out[h.Container], h)
		}
	}
	files, err := filepath.Glob("testdata/ordinary/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := "told " + strings.TrimSuffix(filepath.Base(f), ".txt")
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s := &story{container: name, pids: map[string]int{}, exe: map[string]string{}, now: start}
		n := 0
		for line := range strings.Lines(string(data)) {
			n++
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			h, err := s.line(line)
			if err != nil {
				t.Fatalf("%s:%d: %v", f, n, err)
			}
			out[name] = append(out[name], h)
		}
	}
	return out
}

// story reads the lines that testdata/ordinary/README.md describes.
type story struct {
	container string
	pids      map[string]int    // of the last process of a program
	exe       map[string]string // its path
	next      int
	now       time.Time
}

func (s *story) line(line string) (h Happening, err error) {
	words, err := split(line)
	if err != nil {
		return h, err
	}
	s.now = s.now.Add(200 * time.Millisecond)
	h = Happening{Container: s.container, Time: s.now, Kind: event.ProcessExec, Protocol: "tcp", Workload: "shop/" + s.container}
	for strings.HasPrefix(words[0], "[") {
		word := strings.Trim(words[0], "[]")
		switch {
		case word == "dropped":
			h.Dropped = true
		case word == "udp":
			h.Protocol = word
		case strings.HasPrefix(word, "uid="):
			uid, err := strconv.Atoi(word[4:])
			if err != nil {
				return h, err
			}
			h.UID = uint32(uid)
		default:
			h.Signals = append(h.Signals, word)
		}
		words = words[1:]
	}
	if len(words) < 3 {
		return h, fmt.Errorf("%q has %d words", line, len(words))
	}
	switch words[1] {
	case ">":
		h.Protocol = ""
		h.Exe, h.Args = words[2], append([]string{filepath.Base(words[2])}, words[3:]...)
		if words[0] != "-" {
			h.Parent, h.PPID = words[0], s.pids[words[0]]
		}
		s.next++
		h.PID = 1000 + s.next
		name := filepath.Base(words[2])
		s.pids[name], s.exe[name] = h.PID, h.Exe
		return h, nil
	case "->", "<-":
		if len(words) != 4 {
			return h, fmt.Errorf("%q: write PROGRAM -> ADDRESS PORT", line)
		}
		port, err := strconv.ParseUint(words[3], 10, 16)
		if err != nil {
			return h, err
		}
		if h.Peer, err = netip.ParseAddr(words[2]); err != nil {
			return h, err
		}
		h.PID, h.Exe = s.pids[words[0]], s.exe[words[0]]
		if h.Exe == "" {
			h.Exe = "/usr/bin/" + words[0]
		}
		if h.Kind, h.Port = event.NetworkConnect, uint16(port); words[1] == "<-" {
			h.Kind, h.Port, h.LocalPort = event.NetworkAccept, 0, uint16(port)
		}
		return h, nil
	}
	return h, fmt.Errorf("%q: the second word is >, -> or <-", line)
}

// split cuts at spaces outside of single quotes; '\” is a quote within them.
func split(line string) (words []string, err error) {
	var b strings.Builder
	quoted, some := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'':
			quoted, some = !quoted, true
		case c == '\\' && !quoted && i+1 < len(line):
			i++
			b.WriteByte(line[i])
			some = true
		case c == ' ' && !quoted:
			if some {
				words = append(words, b.String())
			}
			b.Reset()
			some = false
		default:
			b.WriteByte(c)
			some = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("%q: a quote is open", line)
	}
	if some {
		words = append(words, b.String())
	}
	// Words in brackets before the rest stand alone.
	for i, w := range words {
		if !strings.HasPrefix(w, "[") && (i == 0 || strings.HasSuffix(words[i-1], "]")) {
			break
		}
		if !strings.HasPrefix(w, "[") {
			words[i] = "[" + w
		}
	}
	return words, nil
}

// TestQuietOnOrdinaryWorkloads: the pack finds nothing of weight in what
// ordinary workloads do, neither alone nor on a node with all of them.
func TestQuietOnOrdinaryWorkloads(t *testing.T) {
	pack, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	workloads := ordinary(t)
	if len(workloads) < 24 {
		t.Errorf("only %d ordinary workloads", len(workloads))
	}
	node, all, low := New(pack), 0, map[string]int{}
	for name, list := range workloads {
		alone := New(pack)
		for _, h := range list {
			all++
			for _, e := range []*Engine{alone, node} {
				for _, m := range e.Handle(h) {
					if m.Severity.Rank() >= event.Medium.Rank() {
						t.Errorf("%s: %s (%s): %s", name, m.Detection, m.Severity, m.Words())
					}
					low[m.Detection]++
				}
			}
		}
	}
	s := node.Stats()
	if len(s.Failed) > 0 {
		t.Errorf("expressions without an answer: %v", s.Failed)
	}
	t.Logf("%d workloads, %d happenings; low: %v", len(workloads), all, low)
}
