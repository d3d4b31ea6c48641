package folder

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/policy"
)

// separator is the line between two documents of a file.
var separator = regexp.MustCompile(`(?m)^---[ \t]*(#.*)?$\n?`)

// Put writes documents into the folder: a document that is there already is
// replaced where it stands, a new one gets a file of its own. Nothing is
// written unless everything is valid. It returns the documents' identifiers.
func (f *Folder) Put(data []byte) ([]string, error) {
	if _, problems := policy.Load([]policy.File{{Name: "input", Data: data}}, f.cfg.Checks...); len(problems) > 0 {
		return nil, &Refused{Problems: problems}
	}
	var ids []string
	for _, doc := range split(data) {
		id := identify(doc)
		if id == "" {
			continue
		}
		name, docs, at, err := f.find(id)
		if err != nil {
			return ids, err
		}
		if name == "" {
			name, docs, at = fileName(id), [][]byte{doc}, 0
		}
		docs[at] = doc
		if err := f.write(name, docs); err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Refused is the error of documents that are not valid.
type Refused struct{ Problems []error }

// Error lists the problems, one a line.
func (r *Refused) Error() string {
	lines := make([]string, len(r.Problems))
	for i, p := range r.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Source gives a document as it is written, its file and the line it begins at.
func (f *Folder) Source(id string) (doc []byte, file string, line int, err error) {
	name, docs, at, err := f.find(id)
	if err != nil {
		return nil, "", 0, err
	}
	if name == "" {
		return nil, "", 0, fmt.Errorf("find %s: %w", id, ErrNoDocument)
	}
	line = 1
	for _, d := range docs[:at] {
		line += bytes.Count(d, []byte("\n")) + 1
	}
	return docs[at], name, line, nil
}

// Delete removes a document, and its file when nothing else is in it.
func (f *Folder) Delete(id string) error {
	name, docs, at, err := f.find(id)
	if err != nil {
		return err
	}
	if name == "" {
		return fmt.Errorf("delete %s: %w", id, ErrNoDocument)
	}
	docs = slices.Delete(docs, at, at+1)
	if !slices.ContainsFunc(docs, func(d []byte) bool { return len(bytes.TrimSpace(d)) > 0 }) {
		return os.Remove(filepath.Join(f.cfg.Dir, name))
	}
	return f.write(name, docs)
}

// SetMode writes spec.mode of a document, leaving everything else as it is.
func (f *Folder) SetMode(id, mode string) error {
	name, docs, at, err := f.find(id)
	if err != nil {
		return err
	}
	if name == "" {
		return fmt.Errorf("set mode of %s: %w", id, ErrNoDocument)
	}
	edited, err := setMode(docs[at], mode)
	if err != nil {
		return fmt.Errorf("set mode of %s: %w", id, err)
	}
	if _, problems := policy.Load([]policy.File{{Name: name, Data: edited}}, f.cfg.Checks...); len(problems) > 0 {
		return &Refused{Problems: problems}
	}
	docs[at] = edited
	return f.write(name, docs)
}

func (f *Folder) find(id string) (name string, docs [][]byte, at int, err error) {
	names, err := f.names()
	if err != nil {
		return "", nil, 0, err
	}
	for _, n := range names {
		data, err := readBounded(filepath.Join(f.cfg.Dir, n))
		if err != nil {
			return "", nil, 0, fmt.Errorf("read %s: %w", n, err)
		}
		docs := split(data)
		for i, d := range docs {
			if identify(d) == id {
				return n, docs, i, nil
			}
		}
	}
	return "", nil, 0, nil
}

func (f *Folder) write(name string, docs [][]byte) error {
	var b bytes.Buffer
	for i, d := range docs {
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(d)
		if len(d) > 0 && d[len(d)-1] != '\n' {
			b.WriteByte('\n')
		}
	}
	path := filepath.Join(f.cfg.Dir, name)
	if err := writeAtomic(path, b.Bytes()); err != nil {
		return fmt.Errorf("write policy %s: %w", path, err)
	}
	return nil
}

func split(data []byte) [][]byte {
	var out [][]byte
	at := 0
	for _, m := range separator.FindAllIndex(data, -1) {
		if m[0] > 0 {
			out = append(out, data[at:m[0]])
		}
		at = m[1]
	}
	return append(out, data[at:])
}

// identify gives the identifier of a valid document, empty for anything else.
func identify(doc []byte) string {
	docs, _ := v1alpha1.Decode("", doc)
	if len(docs) != 1 {
		return ""
	}
	return v1alpha1.ID(docs[0].Object)
}

func fileName(id string) string {
	return strings.ToLower(strings.ReplaceAll(id, "/", "-")) + ".yaml"
}

// setMode edits text, not the tree, so that comments and order stay.
func setMode(doc []byte, mode string) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(doc, &root); err != nil {
		return nil, err
	}
	if len(root.Content) == 0 {
		return nil, ErrNoDocument
	}
	spec := child(root.Content[0], "spec")
	if spec == nil || len(spec.Content) == 0 || spec.Style&yaml.FlowStyle != 0 {
		return nil, fmt.Errorf("spec is not written as a block; edit the file by hand")
	}
	lines := strings.SplitAfter(string(doc), "\n")
	if m := child(spec, "mode"); m != nil {
		l := lines[m.Line-1]
		rest := l[m.Column-1:]
		end := strings.IndexAny(rest, " \t\r\n#")
		if end < 0 {
			end = len(rest)
		}
		lines[m.Line-1] = l[:m.Column-1] + mode + rest[end:]
	} else {
		first := spec.Content[0]
		lines = slices.Insert(lines, first.Line-1, strings.Repeat(" ", first.Column-1)+"mode: "+mode+"\n")
	}
	return []byte(strings.Join(lines, "")), nil
}

func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
