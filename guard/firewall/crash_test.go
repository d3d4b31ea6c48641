package firewall

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// agentEnv makes the test binary an agent: it opens the firewall with pinned
// shared maps, applies one plan, says so and waits to be killed.
const agentEnv = "GABION_FIREWALL_AGENT"

type agentOrder struct {
	Pins, Cgroup string
	Container    workload.Container
	CID          uint32
	Plan         *policy.Plan
}

func runAgent(raw string) error {
	var o agentOrder
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		return err
	}
	m, err := pinnedShared(o.Pins)
	if err != nil {
		return err
	}
	fw, err := Open(Config{PinDir: o.Pins, CgroupRoot: o.Cgroup}, Deps{Sink: &sink{}, Maps: m, CID: func(string) (uint32, bool) { return o.CID, true }})
	if err != nil {
		return err
	}
	if _, err := fw.apply(context.Background(), o.Container, o.Plan, nil); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	return fw.Run(context.Background())
}

func (m *Maps) byName() map[string]**ebpf.Map {
	return map[string]**ebpf.Map{
		"settings": &m.Settings, "tasks": &m.Tasks, "cgroups": &m.Cgroups,
		"containers": &m.Containers, "counts": &m.Counts, "overflow": &m.Overflow,
	}
}

func pinnedShared(pins string) (Maps, error) {
	var m Maps
	for name, to := range m.byName() {
		var err error
		if *to, err = ebpf.LoadPinnedMap(filepath.Join(pins, name), nil); err != nil {
			return m, err
		}
	}
	return m, nil
}

// An agent that is killed at any moment leaves enforcement as it was, and the
// next one counts on from where the kernel is.
func TestAgentKilled(t *testing.T) {
	b := newBench(t)
	for name, m := range b.maps.byName() {
		must(t, (*m).Pin(filepath.Join(b.pins, name)))
	}
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5001"})
	plan := &policy.Plan{Network: egress(v1alpha1.Protect, rule(1, []string{"10.200.1.0/24"}, tcp(5000, 5000)))}
	raw, err := json.Marshal(agentOrder{Pins: b.pins, Cgroup: b.cgroup, Container: c.c, CID: 1, Plan: plan})
	must(t, err)
	const rounds, each = 4, 250
	denied := 0
	for range rounds {
		agent := exec.Command("/proc/self/exe")
		agent.Env = []string{agentEnv + "=" + string(raw)}
		agent.Stderr = os.Stderr
		out, err := agent.StdoutPipe()
		must(t, err)
		must(t, agent.Start())
		t.Cleanup(func() { _ = agent.Process.Kill() })
		ready := make([]byte, 6)
		if _, err := out.Read(ready); err != nil {
			t.Fatalf("agent did not start: %v", err)
		}
		if denied == 0 {
			c.want("", order{Op: "open", Net: "tcp", To: "10.200.1.1:5000", ID: 1})
		}
		// Killed while connections are tried.
		answers := make(chan answer)
		go func() { answers <- c.do(order{Op: "dials", Net: "tcp", To: "10.200.1.1:5001", N: each}) }()
		must(t, agent.Process.Kill())
		_ = agent.Wait()
		denied += (<-answers).N
		c.want("", order{Op: "talk", ID: 1})
	}
	if denied != rounds*each {
		t.Errorf("%d of %d connections were refused", denied, rounds*each)
	}
	b.open()
	_, err = b.fw.apply(t.Context(), c.c, plan, nil)
	must(t, err)
	if d := b.denials(c); len(d) != 1 || d[0].Count != rounds*each || d[0].PeerPort != 5001 || d[0].Process.PID != c.pid {
		t.Errorf("denials after %d attempts: %+v", rounds*each, d)
	}
	c.want("", order{Op: "talk", ID: 1})
}
