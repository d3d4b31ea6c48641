package v1alpha1

import (
	"net"
	"path"
	"slices"
	"strings"
	"time"
)

// Bounds of a ScanTarget.
const (
	MaxParallelScans = 64
	MaxNewestTags    = 10_000
)

// reach checks what an exception is about: each of its two sides has both the
// choice and the rules, or neither.
func (c *checker) reach(s *ExceptionSpec, namespaced bool) {
	containers, images := s.Rules.ForContainers(), s.Rules.ForImages()
	if !containers && !images {
		c.add("spec.rules", "name at least one of process, drift, files, capabilities, hardening, ingress, egress, vulnerabilities, secrets, checks, licenses", "waives nothing")
	}
	switch {
	case s.Selector != nil:
		c.selector("spec.selector", s.Selector, namespaced)
		if !containers && images {
			c.add("spec.selector", "remove it; images are chosen by spec.images", "chooses containers, but no rule is about containers")
		}
	case containers || !images:
		c.add("spec.selector", `choose the containers; "{}" means all of them`, "is missing")
	}
	if s.Policy != "" && images && !containers {
		c.add("spec.policy", "remove it", "names a policy, but no rule loosens policies")
	}
	switch {
	case s.Images != nil && !images:
		c.add("spec.images", "remove it; containers are chosen by spec.selector", "chooses images, but no rule is about images")
	case s.Images == nil && images:
		c.add("spec.images", `choose the images; ["**"] means all of them`, "is missing")
	case s.Images != nil && len(s.Images) == 0:
		c.add("spec.images", `write ["**"] to mean all of them`, "is empty")
	}
	c.globs("spec.images", s.Images)
	if images && namespaced {
		c.add("metadata.namespace", "leave it out; images belong to no namespace", "an exception for images has cluster scope")
	}
}

func (c *checker) globs(field string, patterns []string) {
	for i, p := range patterns {
		c.glob(at(field, i), p)
		if p == "" {
			c.add(at(field, i), "", "is empty and would match nothing")
		}
	}
}

func (c *checker) glob(field, p string) {
	switch {
	case len(p) > MaxPathBytes:
		c.add(field, "", "has %d bytes, more than the limit of %d", len(p), MaxPathBytes)
	case strings.ContainsFunc(p, control):
		c.add(field, "", "%q has control characters", clip(p))
	}
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// imageRules checks what an exception waives of images.
func (c *checker) imageRules(r *ExceptionRules) {
	for i := range r.Vulnerabilities {
		v, field := &r.Vulnerabilities[i], at("spec.rules.vulnerabilities", i)
		c.id(field+".id", v.ID, "the vulnerability")
		if v.ID == "*" && strings.Trim(v.Package, "*") == "" {
			c.add(field+".id", "name the package whose vulnerabilities are meant", "waives every vulnerability of every package")
		}
		c.glob(field+".package", v.Package)
		c.glob(field+".path", v.Path)
	}
	for i := range r.Secrets {
		v, field := &r.Secrets[i], at("spec.rules.secrets", i)
		if v.Detector == "" && v.Path == "" && v.Fingerprint == "" {
			c.add(field, "give it a fingerprint, a path or a detector", "names no secret")
		}
		if strings.Trim(v.Path, "*/") == "" && v.Path != "" && v.Detector == "" && v.Fingerprint == "" {
			c.add(field+".path", "name the place, or the detector", "waives every secret")
		}
		if v.Fingerprint != "" && (len(v.Fingerprint) != 16 || strings.Trim(v.Fingerprint, "0123456789abcdef") != "") {
			c.add(field+".fingerprint", "copy it from the report", "%q is not 16 hex digits", clip(v.Fingerprint))
		}
		c.glob(field+".path", v.Path)
	}
	for i := range r.Checks {
		c.id(at("spec.rules.checks", i)+".id", r.Checks[i].ID, "the check")
	}
	for i := range r.Licenses {
		field := at("spec.rules.licenses", i)
		if strings.TrimSpace(r.Licenses[i].License) == "" {
			c.add(field+".license", "name the licence as the report does", "is empty")
		}
		c.glob(field+".license", r.Licenses[i].License)
		c.glob(field+".package", r.Licenses[i].Package)
	}
}

func (c *checker) id(field, id, what string) {
	switch {
	case id == "":
		c.add(field, "name "+what+" as the report does", "is empty")
	case len(id) > 256 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		c.add(field, "name "+what+" as the report does", "%q is not an id", clip(id))
	case id != "*" && strings.Contains(id, "*"):
		c.add(field, "name each of them", "%q has a wildcard; an exception names what it waives", clip(id))
	}
}

func (c *checker) scanTarget(s *ScanTargetSpec) {
	c.registryHost("spec.registry", s.Registry)
	if (len(s.Repositories) > 0) == (s.Catalog != nil) {
		c.add("spec", "list repositories, or write catalog: {} to take all that the registry has",
			"wants exactly one of repositories and catalog")
	}
	for i, r := range s.Repositories {
		if r == "" || path.Clean(r) != r || strings.HasPrefix(r, "/") || strings.HasPrefix(r, "..") || strings.ContainsAny(r, "*:@ \t") || strings.ToLower(r) != r || strings.ContainsFunc(r, control) {
			c.add(at("spec.repositories", i), `write it as "team/app", without registry and tag`, "%q is not a repository", clip(r))
		}
	}
	if k := s.Catalog; k != nil {
		c.globs("spec.catalog.include", k.Include)
		c.globs("spec.catalog.exclude", k.Exclude)
	}
	if t := s.Tags; t != nil {
		c.globs("spec.tags.include", t.Include)
		c.globs("spec.tags.exclude", t.Exclude)
		if t.Newest < 0 || t.Newest > MaxNewestTags {
			c.add("spec.tags.newest", "leave it out to mean all", "%d is not from 1 to %d", t.Newest, MaxNewestTags)
		}
		if t.Order != "" && t.Newest == 0 {
			c.add("spec.tags.order", "say how many with newest, or leave it out", "orders tags, but none is left out")
		}
	}
	for i, p := range s.Platforms {
		parts := strings.Split(p, "/")
		if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") || strings.ToLower(p) != p || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == '*' || r == 0x7f }) {
			c.add(at("spec.platforms", i), `write it as "linux/amd64" or "linux/arm64/v8"`, "%q is not a platform", clip(p))
		}
	}
	if s.Schedule != "" {
		if err := checkSchedule(s.Schedule); err != "" {
			c.add("spec.schedule", `write it as "0 3 * * *", "@daily" or "@every 6h"`, "%q is not a schedule: %s", clip(s.Schedule), err)
		}
	}
	c.credentials(s.Credentials)
	c.webhook(s.Webhook)
	if t := s.TLS; t != nil {
		c.file("spec.tls.caFile", t.CAFile, true)
		if t.PlainHTTP && (t.CAFile != "" || t.InsecureSkipVerify) {
			c.add("spec.tls.plainHTTP", "keep one of them", "contradicts the other fields: without TLS there is nothing to verify")
		}
		if t.CAFile != "" && t.InsecureSkipVerify {
			c.add("spec.tls.insecureSkipVerify", "keep one of them", "contradicts caFile: any certificate would do")
		}
	}
	if l := s.Limits; l != nil {
		if l.Parallel < 0 || l.Parallel > MaxParallelScans {
			c.add("spec.limits.parallel", "", "%d is not from 1 to %d", l.Parallel, MaxParallelScans)
		}
		if l.BytesPerSecond < 0 || l.BytesPerSecond > 0 && l.BytesPerSecond < 1024 {
			c.add("spec.limits.bytesPerSecond", "leave it out to mean unbounded", "%d is not at least 1024", l.BytesPerSecond)
		}
		if l.Timeout != "" {
			if d, err := time.ParseDuration(l.Timeout); err != nil || d < time.Second || d > 24*time.Hour {
				c.add("spec.limits.timeout", `write it as "90s" or "10m"`, "%q is not a duration from a second to a day", clip(l.Timeout))
			}
		}
	}
	for i, w := range s.FailOn {
		if n, ok := strings.CutPrefix(w, PriorityWord); ok {
			if p, ok := decimal(n); !ok || p < 1 || p > 100 {
				c.add(at("spec.failOn", i), "write it as priority:70", "%q is not a priority from 1 to 100", clip(w))
			}
			continue
		}
		if !slices.Contains(FailOnWords(), w) {
			c.add(at("spec.failOn", i), didYouMean(w, FailOnWords()), "%q is not one of %s", clip(w), strings.Join(FailOnWords(), ", "))
		}
	}
}

// PriorityWord starts the word for a priority in a list of FailOnWords:
// "priority:70".
const PriorityWord = "priority:"

// FailOnWords are the words for what an image is reported for: severities (that
// and worse), and what narrows or adds to them. Their meaning is that of
// scan/decide.
func FailOnWords() []string {
	return []string{
		"negligible", "low", "medium", "high", "critical", "unknown", "kev", "fixable", "new",
		"secrets", "checks", "licenses", "unsigned",
	}
}

func (c *checker) registryHost(field, host string) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ""
	}
	bad := strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r == '-' || r == '.' || r == ':' && err == nil)
	})
	switch {
	case host == "":
		c.add(field, `write it as "registry.example:5000"`, "is empty")
	case strings.Contains(host, "@"):
		c.add(field, "use credentials; policies are no place for passwords", "has a user name or password in it")
	case bad || name == "" || strings.Contains(host, "/") || len(host) > 256:
		c.add(field, `write it as "registry.example:5000", without https:// and path`, "%q is not host or host:port", clip(host))
	case port != "":
		if _, err := portNumber(port); err != nil {
			c.add(field, "", "%s", err)
		}
	}
}

func (c *checker) credentials(k *RegistryCredentials) {
	if k == nil {
		return
	}
	const field = "spec.credentials"
	if n := count(k.UsernameEnv != "" || k.PasswordEnv != "", k.File != "", k.Anonymous); n != 1 {
		c.add(field, "give usernameEnv and passwordEnv, or file, or anonymous: true", "names %d ways, wants one", n)
	}
	if (k.UsernameEnv == "") != (k.PasswordEnv == "") {
		c.add(field, "give both usernameEnv and passwordEnv", "names one variable of two")
	}
	for _, v := range []struct{ name, value string }{{"usernameEnv", k.UsernameEnv}, {"passwordEnv", k.PasswordEnv}} {
		if v.value != "" && !variable(v.value) {
			// The value may be a password written in the wrong place: it is not repeated.
			c.add(field+"."+v.name, "give the variable's name, such as REGISTRY_PASSWORD; policies are no place for passwords", "is not the name of an environment variable")
		}
	}
	c.file(field+".file", k.File, true)
}

func (c *checker) webhook(w *ScanWebhook) {
	const field = "spec.webhook"
	if w == nil {
		return
	}
	if (w.SecretEnv == "") == (w.SecretFile == "") {
		c.add(field, "name the variable or the file that holds the shared secret", "wants exactly one of secretEnv and secretFile")
	}
	if w.SecretEnv != "" && !variable(w.SecretEnv) {
		// It may be the secret written in the wrong place: it is not repeated.
		c.add(field+".secretEnv", "give the variable's name, such as REGISTRY_HOOK_SECRET; policies are no place for secrets", "is not the name of an environment variable")
	}
	c.file(field+".secretFile", w.SecretFile, true)
}

func variable(s string) bool {
	return len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_')
	}) && !(s[0] >= '0' && s[0] <= '9')
}
