package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/event"
)

func TestPrepareCoversBeforeTheStart(t *testing.T) {
	a, n := start(t)
	a.SetPolicies(context.Background(), load(t, protectWeb))
	if err := a.Prepare(context.Background(), shop); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(n.said(), "kernel apply "+shop.ID+" true") {
		t.Errorf("answered before the plan was applied: %v", n.said())
	}
	st, err := a.Container(shop.ID)
	if err != nil || st.State != Enforced || !st.Held || st.HeldBy != "NRI" {
		t.Errorf("status %+v, %v", st, err)
	}
	if !strings.Contains(st.Coverage[0].Guarantee, "held by NRI") {
		t.Errorf("coverage %+v", st.Coverage)
	}
	if ev := n.seen(event.ContainerStart); len(ev) != 1 || ev[0].Evidence["heldBy"] != "NRI" || ev[0].Evidence["coveredAfterMs"] == "" {
		t.Errorf("start events %+v", ev)
	}
	await(t, "discovery is told whom to ask", func() bool { return slices.Contains(n.said(), "on start") })
}

func TestPrepareWithoutCover(t *testing.T) {
	closed := strings.Replace(protectWeb, "  mode: Protect\n", "  mode: Protect\n  whenBlind: Closed\n", 1)
	slow := func(n *node, t *testing.T) {
		goOn := make(chan struct{})
		t.Cleanup(func() { close(goOn) })
		n.applying = func() { <-goOn }
	}
	for name, tc := range map[string]struct {
		policy string
		damage func(*node, *testing.T)
		pid    int
		starts bool
		effect event.Effect // of the event; "" for none
		says   string
	}{
		"slow, open":             {protectWeb, slow, 42, true, event.NotBlocked, "within the time that the runtime waits"},
		"slow, closed":           {closed, slow, 42, false, event.Blocked, "within the time that the runtime waits"},
		"fails, open":            {protectWeb, func(n *node, _ *testing.T) { n.applyErr = errors.New("maps are full") }, 42, true, event.NotBlocked, "maps are full"},
		"fails, closed":          {closed, func(n *node, _ *testing.T) { n.applyErr = errors.New("maps are full") }, 42, false, event.Blocked, "maps are full"},
		"no process, closed":     {closed, func(*node, *testing.T) {}, 0, false, event.Blocked, "could not be found"},
		"no policy of its own":   {strings.ReplaceAll(closed, "app: web", "app: other"), slow, 42, true, "", ""},
		"works, closed":          {closed, func(*node, *testing.T) {}, 42, true, "", ""},
		"no process, no policy":  {strings.ReplaceAll(closed, "app: web", "app: other"), func(*node, *testing.T) {}, 0, true, "", ""},
		"fails without a policy": {strings.ReplaceAll(closed, "app: web", "app: other"), func(n *node, _ *testing.T) { n.applyErr = errors.New("maps are full") }, 42, true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, n := start(t)
			a.SetPolicies(context.Background(), load(t, tc.policy))
			tc.damage(n, t)
			c := shop
			c.PID = tc.pid
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			err := a.Prepare(ctx, c)
			if time.Since(began) > 3*time.Second {
				t.Error("the runtime was kept waiting")
			}
			if (err == nil) != tc.starts || err != nil && !errors.Is(err, ErrNotCovered) {
				t.Errorf("error %v, starts %v", err, tc.starts)
			}
			var found []event.Event
			for _, ev := range n.seen(event.AgentHealth) {
				if slices.Contains(ev.Reasons, "uncovered-start") {
					found = append(found, ev)
				}
			}
			switch {
			case tc.effect == "" && len(found) > 0:
				t.Errorf("events %+v", found)
			case tc.effect != "" && (len(found) != 1 || found[0].Effect != tc.effect || !strings.Contains(found[0].Message, tc.says)):
				t.Errorf("events %+v", found)
			}
		})
	}
}
