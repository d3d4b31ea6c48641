package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scenario/lab"
)

// from is where ordinary people, probes and attackers speak from.
type from struct {
	place *lab.Place
	addr  netip.Addr // the local address; none: the place's own choice
}

func (f from) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return f.place.Dial(ctx, network, address, f.addr)
}

// client is an HTTP client that speaks from there.
func (f from) client(timeout time.Duration) *http.Client {
	jar, _ := cookiejar.New(nil) // its error is always nil
	return &http.Client{Timeout: timeout, Jar: jar, Transport: &http.Transport{DialContext: f.dial}}
}

// opTimeout bounds one ordinary operation but for the start of containers.
const opTimeout = 5 * time.Second

// operation is one ordinary thing that must go on working.
type operation struct {
	title string
	// restarts is set when it replaces a container.
	restarts bool
	run      func(context.Context, *people) error
}

// people are the ordinary users of one stack.
type people struct {
	stack  *stack
	mode   string // that new replicas are to be covered in
	edge   from   // customers, behind one proxy
	edge6  from
	office from // who may use the dashboard
	node   from // health probes
}

// operations are the fifty.
func operations() []operation {
	var ops []operation
	add := func(n int, title string, run func(context.Context, *people) error) {
		for range n {
			ops = append(ops, operation{title: title, run: run})
		}
	}
	// First of all what a person does after an attack, and on any other day:
	// replace the dashboard's container.
	ops = append(ops, operation{"restart the dashboard, use the new replica", true, restartDashboard})
	add(8, "browse the catalogue", func(ctx context.Context, p *people) error { return browse(ctx, p.edge, p.stack.get("shop"), false) })
	add(4, "browse the catalogue over IPv6", func(ctx context.Context, p *people) error { return browse(ctx, p.edge6, p.stack.get("shop"), true) })
	add(6, "fill a cart", func(ctx context.Context, p *people) error {
		_, err := cart(ctx, p.edge, p.stack.get("shop"))
		return err
	})
	add(12, "check out (JSON-RPC login and submit to payments, order to the database)", func(ctx context.Context, p *people) error {
		return checkout(ctx, p.edge, p.stack.get("shop"))
	})
	add(4, "use the dashboard", useDashboard)
	add(4, "run diagnostics on the dashboard", func(ctx context.Context, p *people) error { return diagnose(ctx, p.office, p.stack.get("dashboard")) })
	for _, svc := range services() {
		add(1, "health probe of "+svc.name, func(ctx context.Context, p *people) error {
			i := p.stack.get(svc.name)
			return probe(ctx, p.node, &i.service, i.address(false))
		})
	}
	add(2, "batch job that fills one processor", func(ctx context.Context, p *people) error {
		return post(ctx, p.edge, p.stack.get("shop"), "/jobs/report", "checksum")
	})
	add(2, "reload the shop's configuration", func(ctx context.Context, p *people) error {
		return post(ctx, p.edge, p.stack.get("shop"), "/-/reload", "ok")
	})
	add(1, "twenty requests over one connection", func(ctx context.Context, p *people) error { return keepAlive(ctx, p.edge, p.stack.get("shop")) })
	ops = append(ops, operation{"restart the shop, buy from the new replica", true, restartShop})
	return ops
}

// get fetches a page and gives it back when it holds want.
func get(ctx context.Context, c *http.Client, url, want string) (string, error) {
	return ask(ctx, c, http.MethodGet, url, nil, want)
}

func ask(ctx context.Context, c *http.Client, method, url string, body io.Reader, want string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return "", err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(data), want) {
		return "", fmt.Errorf("%s %s: status %d, %.200q does not hold %q", method, url, resp.StatusCode, data, want)
	}
	return string(data), nil
}

func browse(ctx context.Context, f from, shop *instance, v6 bool) error {
	c := f.client(opTimeout)
	defer c.CloseIdleConnections()
	base := "http://" + shop.address(v6)
	if _, err := get(ctx, c, base+"/", "Basket shop"); err != nil {
		return err
	}
	if _, err := get(ctx, c, base+"/products", "Wicker chair"); err != nil {
		return err
	}
	_, err := get(ctx, c, base+"/products/3", "Gabion planter")
	return err
}

// cart fills a cart and gives the client back that owns it.
func cart(ctx context.Context, f from, shop *instance) (*http.Client, error) {
	c := f.client(opTimeout)
	defer c.CloseIdleConnections()
	base := "http://" + shop.address(false)
	for _, id := range []string{"1", "3"} {
		if _, err := ask(ctx, c, http.MethodPost, base+"/cart", strings.NewReader(url.Values{"product": {id}}.Encode()), "items"); err != nil {
			return nil, err
		}
	}
	_, err := get(ctx, c, base+"/cart", "[1,3]")
	return c, err
}

func checkout(ctx context.Context, f from, shop *instance) error {
	c, err := cart(ctx, f, shop)
	if err != nil {
		return err
	}
	defer c.CloseIdleConnections()
	_, err = ask(ctx, c, http.MethodPost, "http://"+shop.address(false)+"/checkout", nil, `"total":30800`)
	return err
}

func useDashboard(ctx context.Context, p *people) error {
	return dashboardPages(ctx, p.office, p.stack.get("dashboard"))
}

func dashboardPages(ctx context.Context, f from, i *instance) error {
	c := f.client(opTimeout)
	defer c.CloseIdleConnections()
	if _, err := get(ctx, c, "http://"+i.address(false)+"/", "Cluster dashboard"); err != nil {
		return err
	}
	_, err := get(ctx, c, "http://"+i.address(false)+"/pods", "PodList")
	return err
}

func diagnose(ctx context.Context, f from, i *instance) error {
	c := f.client(opTimeout)
	defer c.CloseIdleConnections()
	out, err := ask(ctx, c, http.MethodPost, "http://"+i.address(false)+"/diagnostics", strings.NewReader("id; ls /var/log"), "uid=0")
	if err == nil && !strings.Contains(out, "setup.log") {
		err = fmt.Errorf("diagnostics: ls printed nothing: %q", out)
	}
	return err
}

func post(ctx context.Context, f from, i *instance, path, want string) error {
	c := f.client(opTimeout)
	defer c.CloseIdleConnections()
	_, err := ask(ctx, c, http.MethodPost, "http://"+i.address(false)+path, nil, want)
	return err
}

func keepAlive(ctx context.Context, f from, shop *instance) error {
	c := f.client(opTimeout)
	defer c.CloseIdleConnections()
	for range 20 {
		if _, err := get(ctx, c, "http://"+shop.address(false)+"/products", "Hazel rods"); err != nil {
			return err
		}
	}
	return nil
}

// probe asks a service for its health as a node's agent does.
func probe(ctx context.Context, f from, svc *service, address string) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if !svc.lines {
		c := f.client(opTimeout)
		defer c.CloseIdleConnections()
		_, err := get(ctx, c, "http://"+address+"/healthz", "ok")
		return err
	}
	conn, err := f.dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(opTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, `{"op":"ping"}`+"\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 4096)).ReadBytes('\n')
	if err != nil {
		return err
	}
	var a struct{ Error string }
	if err := json.Unmarshal(line, &a); err != nil {
		return err
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

func restartDashboard(ctx context.Context, p *people) error {
	return p.stack.replace(ctx, "dashboard", p.mode, func(ctx context.Context, i *instance) error {
		if err := dashboardPages(ctx, p.office, i); err != nil {
			return err
		}
		return diagnose(ctx, p.office, i)
	})
}

func restartShop(ctx context.Context, p *people) error {
	return p.stack.replace(ctx, "shop", p.mode, func(ctx context.Context, i *instance) error {
		return checkout(ctx, p.edge, i)
	})
}
