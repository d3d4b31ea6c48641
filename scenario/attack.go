package scenario

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scenario/lab"
	"github.com/gabion-dev/gabion/scenario/program"
	"github.com/gabion-dev/gabion/scenario/stratum"
)

// attack is the attacker in one phase of the story: where he speaks from, what
// he has left behind, and what he tried in the step that is going on.
//
// He is stubborn. When his own network no longer reaches the dashboard he goes
// on from a foothold inside of it (its loopback), as if he had got in on
// another way; when a file is refused he tries memory, then an interpreter.
type attack struct {
	stack    *stack
	attacker *lab.Place
	pool     *stratum.Pool
	binary   string
	secret   string // what A2 is after
	now      func() time.Time

	// patience is how long he waits for the front page from outside.
	patience time.Duration
	foothold bool            // the way from outside is closed
	dropped  map[string]bool // files that lie in the dashboard's container by now
	trace    trace
}

// trace is what a step tried and when, to find the events that belong to it.
type trace struct {
	began    time.Time
	attempts []attempt
	peers    map[netip.Addr]bool // other ends of connections
}

// attempt is one decisive action: when it began and which programs it starts,
// by base name.
type attempt struct {
	at       time.Time
	programs []string
}

func (t *trace) reset(now time.Time) { *t = trace{began: now, peers: map[netip.Addr]bool{}} }

// try notes that a decisive action follows, with the programs it starts.
func (a *attack) try(programs ...string) {
	a.trace.attempts = append(a.trace.attempts, attempt{a.now(), programs})
}

// toward notes other ends that the step speaks to.
func (a *attack) toward(peers ...netip.Addr) {
	for _, p := range peers {
		a.trace.peers[p.Unmap()] = true
	}
}

// Times that the attacker gives things.
const (
	requestTimeout = 15 * time.Second
	// maxPatience is for the first attack. The second waits in vain when the
	// firewall drops packets in silence, so it gives what the first needed,
	// many times over, and at least minPatience.
	maxPatience = 5 * time.Second
	minPatience = 700 * time.Millisecond
)

// patienceAfter is the patience that suits a front page which took so long.
func patienceAfter(took time.Duration) time.Duration {
	return min(max(50*took, minPatience), maxPatience)
}

// reach is where the attacker's requests to the dashboard are made from.
func (a *attack) reach() (from, string) {
	d := a.stack.get("dashboard")
	if a.foothold {
		return from{place: d.place}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), d.port).String()
	}
	return from{place: a.attacker}, d.address(false)
}

// outside tries the dashboard's front page from the attacker's own network.
func (a *attack) outside(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	d := a.stack.get("dashboard")
	c := from{place: a.attacker}.client(a.patience)
	defer c.CloseIdleConnections()
	_, err := get(ctx, c, "http://"+d.address(false)+"/", "Cluster dashboard")
	return err
}

// request makes one request to the dashboard.
func (a *attack) request(ctx context.Context, target string, body io.Reader) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	f, address := a.reach()
	c := f.client(requestTimeout)
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+target, body)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("dashboard: status %d: %.200s", resp.StatusCode, out)
	}
	return string(out), err
}

// shell runs a line in the dashboard's shell. The programs in it are noted.
func (a *attack) shell(ctx context.Context, line string) (string, error) {
	programs := []string{"sh"}
	for command := range strings.SplitSeq(line, ";") {
		if words := strings.Fields(command); len(words) > 0 {
			programs = append(programs, path.Base(words[0]))
		}
	}
	a.try(programs...)
	return a.request(ctx, "/diagnostics", strings.NewReader(line))
}

// drop uploads the attacker's program to a place in the dashboard's container,
// once.
func (a *attack) drop(ctx context.Context, name string) error {
	if a.dropped[name] {
		return nil
	}
	f, err := os.Open(a.binary)
	if err != nil {
		return fmt.Errorf("open own program: %w", err)
	}
	defer f.Close()
	if err := a.upload(ctx, name, f); err != nil {
		return err
	}
	a.dropped[name] = true
	return nil
}

func (a *attack) upload(ctx context.Context, name string, body io.Reader) error {
	_, err := a.request(ctx, "/upload?path="+url.QueryEscape(name), body)
	return err
}

// inMemory makes the dashboard run the attacker's program from memory.
func (a *attack) inMemory(ctx context.Context, args ...string) (string, error) {
	f, err := os.Open(a.binary)
	if err != nil {
		return "", fmt.Errorf("open own program: %w", err)
	}
	defer f.Close()
	a.try(inMemory)
	return a.request(ctx, "/plugin?"+url.Values{"arg": args}.Encode(), f)
}

// insist runs the attacker's program with args in every way he knows until one
// does what he wants: as the dropped file, from memory, as arguments of the
// image's own interpreter.
func (a *attack) insist(ctx context.Context, file string, args []string, wanted func(output string) bool) (bool, string, error) {
	var said []string
	ways := []struct {
		name string
		run  func() (string, error)
	}{
		{"file " + file, func() (string, error) {
			if err := a.drop(ctx, file); err != nil {
				return "", err
			}
			return a.shell(ctx, file+" "+strings.Join(args, " "))
		}},
		{"memory", func() (string, error) { return a.inMemory(ctx, args...) }},
		{"interpreter", func() (string, error) {
			return a.shell(ctx, "python3 -c '"+strings.Join(args, " ")+"'")
		}},
	}
	for _, w := range ways {
		out, err := w.run()
		if ctx.Err() != nil {
			return false, "", ctx.Err()
		}
		if err != nil {
			out = err.Error()
		}
		if wanted(out) {
			return true, "by " + w.name, nil
		}
		said = append(said, w.name+": "+brief(out))
	}
	return false, strings.Join(said, "; "), nil
}

// mine tries to earn shares and judges by what the pool counted.
func (a *attack) mine(ctx context.Context, file, pool string, options ...string) (bool, string, error) {
	before := a.pool.Shares()
	args := append([]string{"mine", pool}, options...)
	ok, detail, err := a.insist(ctx, file, args, func(string) bool { return a.pool.Shares() > before })
	if ok {
		detail = fmt.Sprintf("%d shares %s", a.pool.Shares()-before, detail)
	}
	return ok, detail, err
}

// proven tells whether output holds the proof that hostile code ran.
func proven(nonce string) func(string) bool {
	proof := program.Proof(nonce)
	return func(out string) bool { return strings.Contains(out, proof) }
}

func newNonce() (string, error) {
	b := make([]byte, 8)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make nonce: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// brief is the last line of an output, for details.
func brief(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	if len(last) > 120 {
		last = last[:120] + "..."
	}
	return last
}

// trojan is the attacker's copy of the executable whose ls hides files.
func (a *attack) trojan() (io.ReadCloser, error) {
	f, err := os.Open(a.binary)
	if err != nil {
		return nil, fmt.Errorf("open own program: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(f, strings.NewReader(program.HideMark)), f}, nil
}

// errBroken: the story itself does not work, whatever the protection.
var errBroken = errors.New("the re-enactment is broken")
