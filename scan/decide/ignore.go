package decide

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// IgnoreName is what an ignore file is called.
const IgnoreName = ".gabionignore.yaml"

// Bounds of an ignore file.
const (
	MaxIgnoreBytes = 1 << 20
	MaxIgnoreRules = 4096
)

// IgnoreFile is a valid ignore file. It is not changed by use.
type IgnoreFile struct {
	Name  string
	rules []rule
}

// Rules is how many rules the file has.
func (f *IgnoreFile) Rules() int { return len(f.rules) }

// ParseIgnore reads an ignore file:
//
//	vulnerabilities:
//	  - id: CVE-2021-44228     # or any alias; "*" with a package
//	    package: log4j-core    # glob, optional
//	    path: /app/**          # glob, optional
//	    untilFixed: true       # counts only while there is no fix, optional
//	    owner: team-payments
//	    reason: lookups are off
//	    expires: 2027-01-31    # start of that day in UTC, or a time (RFC 3339)
//	secrets:  # detector, path, fingerprint: at least one
//	checks:   # id
//	licenses: # license, package
//
// Every rule has an owner, a reason and the moment from which it counts no
// more. The error joins one *v1alpha1.Error for every fault, with its line; the
// file is then nil, since half of somebody's decisions are not their decision.
func ParseIgnore(name string, data []byte) (*IgnoreFile, error) {
	p := &ignoreParser{file: &IgnoreFile{Name: name}}
	p.parse(data)
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return p.file, nil
}

type ignoreParser struct {
	file *IgnoreFile
	errs []error
}

func (p *ignoreParser) add(n *yaml.Node, field, hint, format string, args ...any) {
	if len(p.errs) > v1alpha1.MaxErrors {
		return
	}
	e := &v1alpha1.Error{File: p.file.Name, Field: field, Reason: fmt.Sprintf(format, args...), Hint: hint}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	p.errs = append(p.errs, e)
}

// plainID is a line of the ignore files that are lists of ids.
var plainID = regexp.MustCompile(`^(?:CVE|GHSA|GO|PYSEC|RUSTSEC|DSA|DLA|USN|RHSA|ALAS|AVD|TEMP|OSV)-?[A-Za-z0-9:._-]+(?:\s+exp:\S+)?\s*(?:#.*)?$`)

func (p *ignoreParser) parse(data []byte) {
	if len(data) > MaxIgnoreBytes {
		p.add(nil, "", "remove what has expired", "file has %d bytes, more than the limit of %d", len(data), MaxIgnoreBytes)
		return
	}
	line := 0
	for l := range strings.Lines(string(data)) {
		line++
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		if plainID.MatchString(l) {
			id := strings.Fields(l)[0]
			p.add(&yaml.Node{Line: line, Column: 1}, "",
				fmt.Sprintf("write each as: vulnerabilities: [{id: %s, owner: NAME, reason: WHY, expires: DATE}]", id),
				"is a plain list of ids; here every rule has an owner, a reason and a date")
			return
		}
		break
	}
	doc, ok := p.load(data)
	if !ok {
		return
	}
	if doc.Kind == 0 || len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" {
		return
	}
	sections := map[string]func(*yaml.Node, string){
		"vulnerabilities": p.vulnerability, "secrets": p.secret, "checks": p.check, "licenses": p.license,
	}
	names := []string{"vulnerabilities", "secrets", "checks", "licenses"}
	p.fields(doc.Content[0], "", names, func(key string, v *yaml.Node) {
		if !p.want(v, yaml.SequenceNode, key, "a list of rules") {
			return
		}
		for i, item := range v.Content {
			if len(p.file.rules) >= MaxIgnoreRules {
				p.add(item, key, "remove what has expired", "more than %d rules", MaxIgnoreRules)
				return
			}
			sections[key](item, fmt.Sprintf("%s[%d]", key, i))
		}
	})
}

// load gives the one document of the file.
func (p *ignoreParser) load(data []byte) (doc yaml.Node, ok bool) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err == nil {
		err = loader.Load(&doc)
	}
	if errors.Is(err, io.EOF) {
		return doc, true
	}
	if err != nil {
		at := &yaml.Node{Line: 1, Column: 1}
		reason := err.Error()
		if le, isLoad := errors.AsType[*yaml.LoadError](err); isLoad {
			reason = le.Message
			if le.Mark.Line > 0 {
				at.Line, at.Column = le.Mark.Line, max(1, le.Mark.Column)
			}
		}
		p.add(at, "", "", "not valid YAML: %s", reason)
		return doc, false
	}
	var second yaml.Node
	if err := loader.Load(&second); !errors.Is(err, io.EOF) {
		at := &second
		if at.Line == 0 {
			at = &yaml.Node{Line: 1, Column: 1}
		}
		p.add(at, "", "put all rules into one document", "more follows the end of the document")
		return doc, false
	}
	return doc, true
}

// fields calls f for every field of a map, and reports what does not belong.
func (p *ignoreParser) fields(n *yaml.Node, path string, known []string, f func(key string, v *yaml.Node)) {
	if !p.want(n, yaml.MappingNode, path, "a map of fields") {
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		field := strings.TrimPrefix(path+"."+k.Value, ".")
		if first, ok := seen[k.Value]; ok {
			p.add(k, field, "keep one of them", "is given twice, first at line %d", first)
			continue
		}
		seen[k.Value] = k.Line
		ok := false
		for _, name := range known {
			ok = ok || name == k.Value
		}
		if !ok {
			hint := "known here: " + strings.Join(known, ", ")
			if near := v1alpha1.Nearest(k.Value, known); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			p.add(k, field, hint, "unknown field")
			continue
		}
		f(k.Value, v)
	}
}

func (p *ignoreParser) want(n *yaml.Node, kind yaml.Kind, field, what string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0:
		p.add(n, field, "write the value out", "anchors, aliases and tags are not part of the format")
	case n.Kind != kind:
		p.add(n, field, "", "wants %s", what)
	default:
		return true
	}
	return false
}

// rule reads the fields of one entry: the common ones here, the others by set.
func (p *ignoreParser) rule(n *yaml.Node, path string, r *rule, set map[string]*string, flags map[string]*bool) {
	before := len(p.errs)
	r.local = true
	r.by = fmt.Sprintf("ignore file %s:%d", p.file.Name, n.Line)
	var expires string
	texts := map[string]*string{"owner": &r.owner, "reason": &r.reason, "expires": &expires}
	known := []string{}
	for _, name := range []string{"id", "detector", "license", "package", "path", "fingerprint"} {
		if set[name] != nil {
			texts[name] = set[name]
			known = append(known, name)
		}
	}
	for name := range flags {
		known = append(known, name)
	}
	known = append(known, "owner", "reason", "expires")
	where := map[string]*yaml.Node{}
	p.fields(n, path, known, func(key string, v *yaml.Node) {
		where[key] = v
		field := path + "." + key
		if !p.want(v, yaml.ScalarNode, field, "text") {
			return
		}
		if b := flags[key]; b != nil {
			if v.ShortTag() != "!!bool" {
				p.add(v, field, "", "wants true or false")
				return
			}
			*b = strings.EqualFold(v.Value, "true")
			return
		}
		if tag := v.ShortTag(); tag != "!!str" && tag != "!!timestamp" {
			p.add(v, field, fmt.Sprintf("put it in quotes: %.80q", v.Value), "wants text")
			return
		}
		if strings.ContainsFunc(v.Value, func(c rune) bool { return c < ' ' || c == 0x7f }) || len(v.Value) > v1alpha1.MaxPathBytes {
			p.add(v, field, "", "is too long or has control characters")
			return
		}
		*texts[key] = v.Value
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	for _, need := range []struct{ key, hint string }{
		{"owner", "name the person or team that answers for it"},
		{"reason", "say why it is needed"},
		{"expires", "write it as 2027-01-31 or 2027-01-31T12:00:00Z"},
	} {
		if strings.TrimSpace(*texts[need.key]) == "" {
			p.add(cmpNode(where[need.key], n), path+"."+need.key, need.hint, "is missing")
		}
	}
	if expires != "" {
		t, err := time.Parse(time.RFC3339, expires)
		if err != nil {
			t, err = time.Parse(time.DateOnly, expires)
		}
		if err != nil {
			p.add(where["expires"], path+".expires", "write it as 2027-01-31 or 2027-01-31T12:00:00Z", "%.80q is neither a date nor a time in RFC 3339", expires)
		}
		r.expires = t.UTC()
	}
	// What the rule is about has to hold what it holds in an Exception.
	for _, e := range validRule(r) {
		_, field, _ := strings.Cut(e.Field, "]")
		p.add(cmpNode(where[strings.TrimPrefix(field, ".")], n), path+field, e.Hint, "%s", e.Reason)
	}
	if len(p.errs) == before {
		p.file.rules = append(p.file.rules, *r)
	}
}

func cmpNode(a, b *yaml.Node) *yaml.Node {
	if a != nil {
		return a
	}
	return b
}

// validRule asks the policy language what is wrong with the rule's object.
func validRule(r *rule) []*v1alpha1.Error {
	e := &v1alpha1.Exception{}
	s := &e.Spec.Rules
	switch {
	case r.vuln != nil:
		s.Vulnerabilities = []v1alpha1.VulnerabilityRule{*r.vuln}
	case r.secret != nil:
		s.Secrets = []v1alpha1.SecretRule{*r.secret}
	case r.check != nil:
		s.Checks = []v1alpha1.CheckRule{*r.check}
	case r.license != nil:
		s.Licenses = []v1alpha1.LicenseRule{*r.license}
	}
	var out []*v1alpha1.Error
	for _, err := range v1alpha1.Validate(e) {
		if strings.HasPrefix(err.Field, "spec.rules.") {
			out = append(out, err)
		}
	}
	return out
}

func (p *ignoreParser) vulnerability(n *yaml.Node, path string) {
	v := &v1alpha1.VulnerabilityRule{}
	p.rule(n, path, &rule{vuln: v}, map[string]*string{"id": &v.ID, "package": &v.Package, "path": &v.Path}, map[string]*bool{"untilFixed": &v.UntilFixed})
}

func (p *ignoreParser) secret(n *yaml.Node, path string) {
	v := &v1alpha1.SecretRule{}
	p.rule(n, path, &rule{secret: v}, map[string]*string{"detector": &v.Detector, "path": &v.Path, "fingerprint": &v.Fingerprint}, nil)
}

func (p *ignoreParser) check(n *yaml.Node, path string) {
	v := &v1alpha1.CheckRule{}
	p.rule(n, path, &rule{check: v}, map[string]*string{"id": &v.ID}, nil)
}

func (p *ignoreParser) license(n *yaml.Node, path string) {
	v := &v1alpha1.LicenseRule{}
	p.rule(n, path, &rule{license: v}, map[string]*string{"license": &v.License, "package": &v.Package}, nil)
}
