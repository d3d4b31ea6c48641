package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/test/live"
)

// only lets the container sleep and nothing else; %s is its selector.
func only(name, selector string) string {
	return fmt.Sprintf(`apiVersion: gabion.dev/v1alpha1
kind: ClusterWorkloadPolicy
metadata: {name: %s}
spec:
  selector: %s
  mode: Protect
  process:
    drift: Deny
    allow:
      - {path: /bin/sleep}
      - {path: /bin/sh}
      - {path: /bin/cp}
`, name, selector)
}

// find waits for the running container of the workload that ok accepts.
func (m *machine) find(ns, name string, ok func(console.WorkloadDetail) bool) console.WorkloadDetail {
	m.t.Helper()
	var d console.WorkloadDetail
	if err := live.Await(m.ctx, ns+"/"+name+" is as wanted", func() (bool, error) {
		out, err := m.g.Run(m.ctx, "workloads", ns+"/"+name, "-o", "json")
		if err != nil {
			return false, nil // not known yet
		}
		if err := json.Unmarshal(out, &d); err != nil {
			return false, err
		}
		return ok(d), nil
	}); err != nil {
		m.t.Fatalf("%v; it is %+v", err, d)
	}
	return d
}

func enforced(d console.WorkloadDetail) bool { return d.State == "enforced" && len(d.Running) == 1 }

// loaded waits until the policy is in force.
func (m *machine) loaded(id string) {
	m.t.Helper()
	if err := live.Await(m.ctx, id+" is loaded", func() (bool, error) {
		list, err := m.g.Events(m.ctx, "--kind", "policy", "--limit", "1000")
		for _, e := range list {
			if strings.Contains(e.Message, id) {
				return true, nil
			}
		}
		return false, err
	}); err != nil {
		m.t.Fatal(err)
	}
}

func TestContainerd(t *testing.T) {
	ctd := testkit.StartContainerd(t)
	m := need(t, "--runtime", "containerd="+ctd.Socket)
	m.policy("web.yaml", only("web", "{matchLabels: {app: web}}"))
	m.loaded("ClusterWorkloadPolicy/web")
	label := func(kv ...string) (args []string) {
		for _, x := range kv {
			args = append(args, "--label", x)
		}
		return args
	}
	run := func(id string, labels []string, cmd ...string) (string, error) {
		args := append([]string{"run", "-d"}, labels...)
		return ctd.TryCtr(append(append(args, testkit.BusyboxImage, id), cmd...)...)
	}
	shop := label("gabion.dev/namespace=shop", "gabion.dev/workload=web", "app=web")
	if _, err := run("web-1", shop, "sleep", "600"); err != nil {
		t.Fatal(err)
	}
	d := m.find("shop", "web", enforced)
	c := d.Running[0]
	if c.ID != "web-1" || c.Runtime != "containerd" || c.RuntimeNamespace != "default" || c.Image != testkit.BusyboxImage || !strings.HasPrefix(c.ImageDigest, "sha256:") {
		t.Errorf("found as %+v", c.Container)
	}
	// Covered before its first instruction: held there, or known already when
	// the runtime had only created it.
	m.policy("locked.yaml", strings.NewReplacer("/bin/sleep", "/opt/a", "/bin/sh", "/opt/b", "/bin/cp", "/opt/c").Replace(only("locked", "{matchLabels: {app: locked}}")))
	m.loaded("ClusterWorkloadPolicy/locked")
	for i := range 20 {
		out, err := ctd.TryCtr("run", "--rm", "--label", "app=locked", testkit.BusyboxImage, fmt.Sprint("locked-", i), "/bin/echo", "first-instruction")
		if err == nil || strings.Contains(out, "first-instruction\n") {
			t.Errorf("an unlisted entrypoint ran: %q %v", out, err)
		}
	}

	t.Run("exec of an unlisted program", func(t *testing.T) {
		// ls is busybox too, which is listed by the names of sleep, sh and cp:
		// the same file object. An own copy is another.
		out, err := ctd.TryCtr("tasks", "exec", "--exec-id", "x", "web-1", "/bin/sh", "-c", "cp /bin/busybox /tmp/busybox; /tmp/busybox echo got-through")
		if err == nil || strings.Contains(out, "got-through\n") && !strings.Contains(out, "exit") {
			t.Errorf("drift ran: %q %v", out, err)
		}
		m.event("the drift", func(e event.Event) bool {
			return e.Kind == event.ProcessDrift && e.Effect == event.Blocked && e.ContainerID == "web-1"
		})
	})

	t.Run("a container that lives 200 ms", func(t *testing.T) {
		out, err := ctd.TryCtr("run", "--rm", "--label", "gabion.dev/workload=short", "--label", "app=web", testkit.BusyboxImage, "short-1",
			"/bin/sh", "-c", "cp /bin/busybox /tmp/busybox; /tmp/busybox echo got-through; sleep 0.2")
		if strings.Contains(out, "got-through\n") && err == nil {
			t.Errorf("drift ran: %q", out)
		}
		m.event("its drift", func(e event.Event) bool {
			return e.Kind == event.ProcessDrift && e.Effect == event.Blocked && e.ContainerID == "short-1"
		})
	})

	t.Run("the same image without policy", func(t *testing.T) {
		out, err := ctd.TryCtr("run", "--rm", "--label", "gabion.dev/workload=free", testkit.BusyboxImage, "free-1",
			"/bin/sh", "-c", "cp /bin/busybox /tmp/busybox; /tmp/busybox echo got-through")
		if err != nil || !strings.Contains(out, "got-through") {
			t.Errorf("a container without policy was hindered: %q %v", out, err)
		}
	})

	t.Run("the runtime restarts", func(t *testing.T) {
		ctd.Stop(t)
		ctd.Start(t)
		if _, err := run("later-1", label("gabion.dev/workload=later", "app=web"), "sleep", "600"); err != nil {
			t.Fatal(err)
		}
		m.find("default", "later", enforced)
		if d := m.find("shop", "web", enforced); d.Running[0].ID != "web-1" {
			t.Errorf("the container from before is %+v", d.Running)
		}
		out, _ := ctd.TryCtr("tasks", "exec", "--exec-id", "y", "web-1", "/bin/sh", "-c", "cp /bin/busybox /tmp/busybox; /tmp/busybox echo got-through")
		if strings.Contains(out, "got-through\n") {
			t.Errorf("after the restart drift ran: %q", out)
		}
	})

	t.Run("selected by image", func(t *testing.T) {
		m.policy("image.yaml", only("image", `{images: ["docker.io/gabiontest/*"]}`))
		m.loaded("ClusterWorkloadPolicy/image")
		if _, err := run("img-1", label("gabion.dev/workload=img"), "sleep", "600"); err != nil {
			t.Fatal(err)
		}
		m.find("default", "img", enforced)
		if err := m.g.RemovePolicy("image.yaml"); err != nil {
			t.Fatal(err)
		}
		m.find("default", "img", func(d console.WorkloadDetail) bool { return d.State == "learning" })
	})
}

// dockerExec runs a program in a container and gives its output and exit code.
func dockerExec(t *testing.T, d *testkit.Dockerd, id string, args ...string) (string, int) {
	t.Helper()
	var made struct{ ID string }
	answer, err := d.Do(http.MethodPost, "/containers/"+id+"/exec", map[string]any{"AttachStdout": true, "AttachStderr": true, "Cmd": args})
	if err == nil {
		err = json.Unmarshal(answer, &made)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.Do(http.MethodPost, "/exec/"+made.ID+"/start", map[string]any{"Detach": false})
	if err != nil {
		t.Logf("start exec: %v", err) // killed while starting
	}
	var state struct {
		Running  bool
		ExitCode *int
	}
	testkit.Eventually(t, "the exec has ended", func() bool {
		answer, err := d.Do(http.MethodGet, "/exec/"+made.ID+"/json", nil)
		return err == nil && json.Unmarshal(answer, &state) == nil && !state.Running
	})
	code := -1
	if state.ExitCode != nil {
		code = *state.ExitCode
	}
	return string(out), code
}

func TestDocker(t *testing.T) {
	dock := testkit.StartDockerd(t)
	m := need(t, "--runtime", "docker="+dock.Socket)
	m.policy("web.yaml", `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {com.docker.compose.service: web}}
  mode: Protect
  process:
    drift: Deny
    allow:
      - {path: /bin/sleep}
      - {path: /bin/sh}
      - {path: /bin/cp}
    deny: [{path: /tmp/unlisted}]
`)
	m.loaded("WorkloadPolicy/shop/web")
	compose := func(service string) map[string]string {
		return map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": service}
	}
	id := dock.Run(t, "gt-web-1", compose("web"), "sleep", "600")
	free := dock.Run(t, "gt-free-1", compose("free"), "sleep", "600")
	d := m.find("shop", "web", enforced)
	c := d.Running[0]
	if c.ID != id || c.Name != "gt-web-1" || c.Runtime != "docker" || c.Image != testkit.BusyboxImage || c.Workload.Kind != "Service" {
		t.Errorf("found as %+v", c.Container)
	}
	drift := []string{"/bin/sh", "-c", "cp /bin/busybox /tmp/busybox && /tmp/busybox echo got-through"}
	check := func(t *testing.T, when string) {
		t.Helper()
		if out, code := dockerExec(t, dock, id, drift...); code != 137 || strings.Contains(out, "got-through") {
			t.Errorf("%s: drift ended with %d: %q", when, code, out)
		}
		if out, code := dockerExec(t, dock, id, "/bin/sh", "-c", "sleep 0; echo fine"); code != 0 || !strings.Contains(out, "fine") {
			t.Errorf("%s: a listed program ended with %d: %q", when, code, out)
		}
	}
	check(t, "at first")
	m.event("the drift", func(e event.Event) bool {
		return e.Kind == event.ProcessDrift && e.Effect == event.Blocked && e.ContainerID == id && e.Image == testkit.BusyboxImage
	})
	if out, code := dockerExec(t, dock, free, drift...); code != 0 || !strings.Contains(out, "got-through") {
		t.Errorf("a container without policy: %d %q", code, out)
	}

	t.Run("restart keeps the policy", func(t *testing.T) {
		if _, err := dock.Do(http.MethodPost, "/containers/"+id+"/restart?t=0", nil); err != nil {
			t.Fatal(err)
		}
		m.find("shop", "web", func(n console.WorkloadDetail) bool { return enforced(n) && n.Running[0].PID != c.PID })
		check(t, "after docker restart")
	})

	t.Run("a container that lives 200 ms", func(t *testing.T) {
		short := dock.Run(t, "gt-short", compose("web"), "/bin/sh", "-c", "cp /bin/busybox /tmp/busybox; /tmp/busybox echo got-through; sleep 0.2")
		if _, err := dock.Do(http.MethodPost, "/containers/"+short+"/wait", nil); err != nil {
			t.Fatal(err)
		}
		logs, err := dock.Do(http.MethodGet, "/containers/"+short+"/logs?stdout=1&stderr=1", nil)
		if err != nil || strings.Contains(string(logs), "got-through") {
			t.Errorf("it printed %q (%v)", logs, err)
		}
		m.event("its drift", func(e event.Event) bool {
			return e.Kind == event.ProcessDrift && e.Effect == event.Blocked && e.ContainerID == short
		})
	})

	t.Run("the runtime restarts", func(t *testing.T) {
		dock.Stop(t)
		check2 := m.find("shop", "web", func(d console.WorkloadDetail) bool { return d.State == "enforced" })
		if len(check2.Running) == 0 {
			t.Error("without its runtime the container is forgotten")
		}
		dock.Start(t)
		check(t, "after the daemon restarted")
		later := dock.Run(t, "gt-web-2", compose("web"), "sleep", "600")
		m.find("shop", "web", func(d console.WorkloadDetail) bool {
			for _, c := range d.Running {
				if c.ID == later {
					return d.State == "enforced"
				}
			}
			return false
		})
	})
}
