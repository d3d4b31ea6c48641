package secret

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// maxConfigText bounds one text of the configuration, in bytes; image
// configurations are a few kilobytes.
const maxConfigText = 1 << 20

// configPath is the file that configurations are made of: detectors that
// are for it are for them.
const configPath = "Dockerfile"

// setting is one text of an image's configuration.
type setting struct {
	where string
	text  string
	named bool // the text is one name=value
}

// settings lists the texts in the order of the configuration.
func settings(c *scan.Config) []setting {
	var list []setting
	for _, e := range c.Env {
		name, _, _ := strings.Cut(e, "=")
		list = append(list, setting{where: "env " + name, text: e, named: true})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		list = append(list, setting{where: "label " + name, text: name + "=" + c.Labels[name], named: true})
	}
	for i, h := range c.History {
		list = append(list, setting{where: fmt.Sprintf("history %d", i+1), text: h.Command})
		if h.Comment != "" {
			list = append(list, setting{where: fmt.Sprintf("history %d", i+1), text: h.Comment})
		}
	}
	for where, words := range map[string][]string{"entrypoint": c.Entrypoint, "cmd": c.Cmd, "healthcheck": c.Healthcheck} {
		if len(words) > 0 {
			list = append(list, setting{where: where, text: strings.Join(words, " ")})
		}
	}
	return list
}

// Config finds the secrets of an image's configuration: environment, labels,
// history (the first step is "history 1"), entrypoint, command and health
// check. Besides what Scan looks for, names like PASSWORD with a value count.
func (s *Scanner) Config(c scan.Config) []scan.Secret {
	list := settings(&c)
	if !s.mentioned(list) {
		return nil
	}
	r, err := s.ready()
	if err != nil {
		return broken(err, "image configuration")
	}
	return r.configured(list)
}

// maxQuick bounds the texts that are searched for every keyword, in bytes.
// Reading the detectors costs less than searching more.
const maxQuick = 64 << 10

// mentioned reports whether any text may hold a secret: no detector finds one
// in a configuration without one of its keywords.
func (s *Scanner) mentioned(list []setting) bool {
	var all []byte
	for _, set := range list {
		if len(all)+len(set.text) > maxQuick {
			return true
		}
		all = append(append(all, set.text...), '\n')
	}
	all = lower(all)
	return len(all) > 0 && (s.words == nil || slices.ContainsFunc(s.words, func(w []byte) bool { return bytes.Contains(all, w) }))
}

func (s *ready) configured(list []setting) []scan.Secret {
	var out []scan.Secret
	for _, set := range list {
		t, f := s.configText(set)
		for _, sec := range f.secrets(s, t, set.where) {
			sec.Line = 0
			out = append(out, sec)
		}
	}
	slices.SortFunc(out, func(a, b scan.Secret) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.Detector, b.Detector), cmp.Compare(a.Fingerprint, b.Fingerprint), cmp.Compare(a.Masked, b.Masked))
	})
	return slices.CompactFunc(out, func(a, b scan.Secret) bool {
		return a.Where == b.Where && a.Detector == b.Detector && a.Fingerprint == b.Fingerprint
	})
}

// configText finds the secrets of one text.
func (s *ready) configText(set setting) (*text, findings) {
	t := &text{data: []byte(set.text), path: configPath, base: configPath, words: s.words}
	if len(t.data) > maxConfigText {
		return t, findings{more: map[int]string{s.config[0]: fmt.Sprintf("the text is longer than the %d bytes that are looked at", maxConfigText)}}
	}
	f := s.find(t)
	var pairs []value // with the whole name as suffix
	if set.named {
		if i := strings.IndexByte(set.text, '='); i > 0 {
			pairs = append(pairs, value{start: i + 1, end: len(set.text), suffix: t.data[:i]})
		}
	} else {
		pairs = assignments(t.data)
	}
	for _, p := range pairs {
		for _, n := range s.config {
			r := &s.rules[n]
			if !r.named(p.suffix) || !r.matches(t.data[p.start:p.end]) {
				continue
			}
			if h := (hit{rule: n, start: p.start, end: p.end}); r.accept(t, h, p.start) {
				f.hits = append(f.hits, h)
			}
		}
	}
	f.hits = s.distinct(f.hits)
	return t, f
}

// named reports whether a whole name is one for a secret.
func (r *rule) named(name []byte) bool {
	folded := lower(name)
	for _, k := range r.Keywords {
		if i := bytes.LastIndex(folded, []byte(k)); i >= 0 && names(folded[i+len(k):]) {
			return true
		}
	}
	return false
}

// assignments lists the NAME=value words of a command and the "ENV NAME value"
// of old builders. The name is in suffix.
func assignments(text []byte) []value {
	var out []value
	for i := 0; i < len(text); {
		if !isWord(text[i]) {
			i++
			continue
		}
		start := i
		for i < len(text) && isName(text[i]) {
			i++
		}
		if i >= len(text) || text[i] != '=' || i-start > 128 {
			continue
		}
		name := text[start:i]
		i++
		if i < len(text) && text[i] == '=' {
			continue
		}
		v := value{suffix: name, start: i}
		if i < len(text) && (text[i] == '"' || text[i] == '\'') {
			end := bytes.IndexByte(text[i+1:], text[i])
			if end < 0 {
				continue
			}
			v.start, v.end = i+1, i+1+end
			i = v.end + 1
		} else {
			for i < len(text) && !endsValue(text[i]) {
				i++
			}
			v.end = i
		}
		if v.end > v.start {
			out = append(out, v)
		}
	}
	words := bytes.Fields(text)
	for n := 0; n+2 < len(words) && n < 16; n++ {
		if w := words[n+1]; bytes.Equal(words[n], []byte("ENV")) && !bytes.ContainsRune(w, '=') {
			at := bytes.Index(text, w) + len(w)
			at += len(text[at:]) - len(bytes.TrimLeft(text[at:], " \t"))
			out = append(out, value{suffix: w, start: at, end: len(bytes.TrimRight(text, " \t\r\n"))})
			break
		}
	}
	return out
}

// Redact gives an image whose configuration and layers do not tell the secrets
// that Config finds in it, wherever they are repeated: for reports. Where secrets
// cannot be looked for, no text of the configuration is told.
func (s *Scanner) Redact(img scan.Image) scan.Image {
	list := settings(&img.Config)
	if !s.mentioned(list) {
		return img
	}
	r, err := s.ready()
	if err != nil {
		c := &img.Config
		c.Env, c.Entrypoint, c.Cmd, c.Labels, c.Healthcheck, c.History = nil, nil, nil, nil, nil, nil
		img.Layers = slices.Clone(img.Layers)
		for i := range img.Layers {
			img.Layers[i].Command = ""
		}
		return img
	}
	return r.redact(img, list)
}

func (s *ready) redact(img scan.Image, list []setting) scan.Image {
	var secrets []string
	for _, set := range list {
		t, f := s.configText(set)
		for _, h := range f.hits {
			v := string(t.data[h.start:h.end])
			if k, ok := pemAt(t.data, h.start); ok {
				v = string(t.data[h.start:k.end])
			}
			secrets = append(secrets, v)
		}
		if len(f.more) > 0 { // not all of it was looked at
			secrets = append(secrets, set.text)
		}
	}
	if len(secrets) == 0 {
		return img
	}
	// Longer ones first: a shorter one may be part of them.
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	secrets = slices.Compact(secrets)
	clean := func(text string) string {
		for _, v := range secrets {
			text = replace(text, v, mask([]byte(v)))
		}
		return text
	}
	all := func(list []string) []string {
		out := slices.Clone(list)
		for i := range out {
			out[i] = clean(out[i])
		}
		return out
	}
	c := &img.Config
	c.Env, c.Entrypoint, c.Cmd, c.Healthcheck = all(c.Env), all(c.Entrypoint), all(c.Cmd), all(c.Healthcheck)
	c.Labels = maps.Clone(c.Labels)
	for name, v := range c.Labels {
		c.Labels[name] = clean(v)
	}
	c.History = slices.Clone(c.History)
	for i := range c.History {
		c.History[i].Command, c.History[i].Comment = clean(c.History[i].Command), clean(c.History[i].Comment)
	}
	img.Layers = slices.Clone(img.Layers)
	for i := range img.Layers {
		img.Layers[i].Command = clean(img.Layers[i].Command)
	}
	return img
}

// longSecret is the length from which a secret is replaced wherever it stands;
// shorter ones, which may be words, only where no letter or digit is beside.
const longSecret = 8

func replace(text, secret, with string) string {
	if len(secret) >= longSecret {
		return strings.ReplaceAll(text, secret, with)
	}
	var b strings.Builder
	for {
		i := strings.Index(text, secret)
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		end := i + len(secret)
		inside := i > 0 && isWord(text[i-1]) || end < len(text) && isWord(text[end])
		b.WriteString(text[:i])
		if inside {
			b.WriteString(secret)
		} else {
			b.WriteString(with)
		}
		text = text[end:]
	}
}
