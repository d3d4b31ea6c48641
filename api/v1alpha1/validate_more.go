package v1alpha1

import (
	"net"
	"net/url"
	"path"
	"strings"
	"time"
)

// Bounds of a ResponsePolicy.
const (
	MaxMatchBytes = 8192 // the CEL expression of one policy
	MaxActions    = 16   // of one policy
	MaxPerMinute  = 60_000
)

func (c *checker) exception(s *ExceptionSpec, namespaced bool) {
	r := &s.Rules
	c.reach(s, namespaced)
	c.processRules("spec.rules.process", r.Process)
	for i := range r.Drift {
		field := at("spec.rules.drift", i)
		if r.Drift[i].Path == "" {
			c.add(field, "give it a path", "names no program")
			continue
		}
		c.path(field+".path", r.Drift[i].Path)
	}
	c.waivers(r)
	for i := range r.Ingress {
		c.ingress(at("spec.rules.ingress", i), &r.Ingress[i])
	}
	for i := range r.Egress {
		c.egress(at("spec.rules.egress", i), &r.Egress[i])
	}
	c.imageRules(r)
	if strings.TrimSpace(s.Owner) == "" {
		c.add("spec.owner", "name the person or team that answers for it", "is empty")
	}
	if strings.TrimSpace(s.Reason) == "" {
		c.add("spec.reason", "say why it is needed", "is empty")
	}
	if s.ExpiresAt.IsZero() {
		c.add("spec.expiresAt", "write it as 2027-01-31T12:00:00Z", "is missing")
	}
}

func (c *checker) response(s *ResponsePolicySpec, namespaced bool) {
	if s.Selector != nil {
		c.selector("spec.selector", s.Selector, namespaced)
	}
	if strings.TrimSpace(s.Match) == "" {
		c.add("spec.match", `for example: event.verdict == "deny"`, "is empty")
	}
	if len(s.Match) > MaxMatchBytes {
		c.add("spec.match", "", "has %d bytes, more than the limit of %d", len(s.Match), MaxMatchBytes)
	}
	if s.Mode == Learn {
		c.add("spec.mode", "use Monitor for a dry run", "a response cannot be in mode Learn")
	}
	if r := s.RateLimit; r != nil {
		if r.PerMinute < 1 || r.PerMinute > MaxPerMinute {
			c.add("spec.rateLimit.perMinute", "", "%d is not from 1 to %d", r.PerMinute, MaxPerMinute)
		}
		if r.Burst < 0 || r.Burst > MaxPerMinute {
			c.add("spec.rateLimit.burst", "", "%d is not from 0 to %d", r.Burst, MaxPerMinute)
		}
	}
	if len(s.Actions) == 0 {
		c.add("spec.actions", "name at least one of notify, quarantine, pause, kill", "is empty")
	}
	if len(s.Actions) > MaxActions {
		c.add("spec.actions", "", "has %d entries, more than the limit of %d", len(s.Actions), MaxActions)
	}
	for i := range s.Actions {
		c.action(at("spec.actions", i), &s.Actions[i])
	}
}

func (c *checker) action(field string, a *ResponseAction) {
	given := count(a.Notify != nil, a.Quarantine != nil, a.Pause != nil, a.Kill != nil)
	if given != 1 {
		c.add(field, "an action is one of notify, quarantine, pause, kill", "has %d actions, wants one", given)
	}
	if q := a.Quarantine; q != nil && q.For != "" {
		d, err := time.ParseDuration(q.For)
		if err != nil || d < time.Second {
			c.add(field+".quarantine.for", `write it as "90s", "15m" or "2h"`, "%q is not a duration of at least a second", clip(q.For))
		}
	}
	n := a.Notify
	if n == nil {
		return
	}
	field += ".notify"
	if given := count(n.Webhook != nil, n.Syslog != nil, n.File != nil); given != 1 {
		c.add(field, "a notification is one of webhook, syslog, file", "has %d sinks, wants one", given)
	}
	if w := n.Webhook; w != nil {
		u, err := url.Parse(w.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			c.add(field+".webhook.url", "", "%q is not an http or https address", clip(w.URL))
		} else if u.User != nil {
			c.add(field+".webhook.url", "use secretFile; policies are no place for passwords", "has a user name or password in it")
		}
		c.file(field+".webhook.secretFile", w.SecretFile, true)
	}
	if s := n.Syslog; s != nil {
		if host, port, err := net.SplitHostPort(s.Address); err != nil || host == "" || port == "" {
			c.add(field+".syslog.address", `write it as "log.example:6514"`, "%q is not host:port", clip(s.Address))
		} else if _, err := portNumber(port); err != nil {
			c.add(field+".syslog.address", "", "%s", err)
		}
		if s.CAFile != "" && s.Network != SyslogTLS {
			c.add(field+".syslog.caFile", "set network: tls, or leave caFile out", "certificates are used with tls only")
		}
		c.file(field+".syslog.caFile", s.CAFile, true)
	}
	if f := n.File; f != nil {
		c.file(field+".file.path", f.Path, false)
	}
}

func (c *checker) file(field, p string, optional bool) {
	if p == "" && optional {
		return
	}
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || p == "/" || len(p) > MaxPathBytes || strings.ContainsRune(p, 0) {
		c.add(field, "", "%q is not an absolute, clean path of a file", clip(p))
	}
}

func (c *checker) profile(s *ProfileSpec) {
	for i := range s.Processes {
		if p := s.Processes[i].Path; p != "" && strings.HasPrefix(p, "/") {
			c.path(at("spec.processes", i)+".path", p)
		}
	}
	for _, l := range []struct {
		field string
		peers []LearnedPeer
	}{{"spec.egress", s.Egress}, {"spec.ingress", s.Ingress}} {
		for i := range l.peers {
			p, field := &l.peers[i], at(l.field, i)
			if count(p.Workload != nil, p.Address != "") != 1 {
				c.add(field, "", "wants either a workload or an address")
			}
			if p.Address != "" {
				if _, err := ParseCIDR(p.Address); err != nil {
					c.add(field+".address", "", "%s", err)
				}
			}
			if _, err := p.Port.Ranges(); err != nil {
				c.add(field+".port", "", "%s", err)
			}
		}
	}
}

func count(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}
