package v1alpha1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Bounds of what is read. What is over a bound is refused with an Error that
// names the bound, never cut.
const (
	MaxFileBytes     = 10_000_000 // a file, all its documents together
	MaxDocumentBytes = 1 << 20    // one document: what a cluster would store
	MaxDocuments     = 4096       // documents of one file
	MaxDepth         = 24         // nesting of a document
	MaxItems         = 4096       // entries of one list or map
	MaxPathBytes     = 4096       // a path in a rule (PATH_MAX)
	MaxErrors        = 100        // errors reported for one file
)

// Document is one decoded, valid document and where it was written.
type Document struct {
	File   string
	Line   int // of the document's first key
	Object Object
	// Source is the document's text as it was written.
	Source []byte

	root   *yaml.Node
	offset int // lines of the file before the document
}

// Validator checks a document further than this package can, for example by
// compiling its expressions. Its errors need only Field, Reason and Hint.
type Validator func(Object) []*Error

// Decode reads every document of a YAML or JSON file. Documents without a
// fault are returned even when others of the file have some; every fault is
// reported, sorted by place. An empty file has no documents and no faults.
func Decode(file string, data []byte, checks ...Validator) ([]*Document, []*Error) {
	if len(data) > MaxFileBytes {
		return nil, []*Error{{
			File: file, Reason: fmt.Sprintf("file has %d bytes, more than the limit of %d", len(data), MaxFileBytes),
			Hint: "split it into several files",
		}}
	}
	chunks := split(data)
	if len(chunks) > MaxDocuments {
		return nil, []*Error{{
			File: file, Reason: fmt.Sprintf("file has more than %d documents", MaxDocuments), Hint: "split it into several files",
		}}
	}
	var docs []*Document
	var errs []*Error
	for _, c := range chunks {
		d := &decoder{file: file, offset: c.line, fields: map[reflect.Type][]field{}}
		doc := d.document(c.text)
		if doc != nil {
			d.unless(doc, validate(doc.Object))
		}
		if doc != nil && len(d.errs) == 0 {
			for _, check := range checks {
				for _, e := range check(doc.Object) {
					d.at(doc, e)
				}
			}
		}
		if doc != nil && len(d.errs) == 0 {
			docs = append(docs, doc)
		}
		sortErrors(d.errs)
		errs = append(errs, d.errs...)
	}
	if len(errs) > MaxErrors {
		more := len(errs) - MaxErrors
		errs = append(errs[:MaxErrors:MaxErrors], &Error{File: file, Reason: fmt.Sprintf("%d more errors", more)})
	}
	return docs, errs
}

// Position is where a field was written. For a field that is not there it is
// the nearest thing around it that is. After Trim it is the document's start.
func (d *Document) Position(fieldPath string) (line, column int) {
	if d.root == nil {
		return d.Line, 1
	}
	n := locate(d.root, fieldPath)
	return n.Line + d.offset, n.Column
}

// Trim drops the parsed tree, which is many times larger than the document.
func (d *Document) Trim() { d.root = nil }

type chunk struct {
	text []byte
	line int // lines before it
}

// split cuts a file into documents at its "---" lines, which YAML reserves for
// this in every context, so that a syntax error spoils one document only. It
// stops soon after the limit of documents.
func split(data []byte) []chunk {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var chunks []chunk
	start, startLine, line := 0, 0, 0
	for at := 0; at < len(data) && len(chunks) <= MaxDocuments; line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		l := data[at:end]
		if bytes.HasPrefix(l, []byte("---")) && (len(l) == 3 || strings.ContainsRune(" \t\r\n", rune(l[3]))) && at > start {
			chunks = append(chunks, chunk{data[start:at], startLine})
			start, startLine = at, line
		}
		at = end
	}
	return append(chunks, chunk{data[start:], startLine})
}

// decoder reads one document.
type decoder struct {
	file   string
	offset int
	errs   []*Error
	fields map[reflect.Type][]field
}

func (d *decoder) add(n *yaml.Node, fieldPath, hint, format string, args ...any) {
	if len(d.errs) > MaxErrors {
		return
	}
	e := &Error{File: d.file, Field: fieldPath, Reason: fmt.Sprintf(format, args...), Hint: hint}
	if n != nil && n.Line > 0 {
		e.Line, e.Column = n.Line+d.offset, n.Column
	}
	d.errs = append(d.errs, e)
}

func (d *decoder) at(doc *Document, e *Error) {
	placed := *e
	placed.File = d.file
	placed.Line, placed.Column = doc.Position(e.Field)
	d.errs = append(d.errs, &placed)
}

// unless adds errors about fields that could be read: about others there is
// something to say already, and what is missing may only have been misspelt.
func (d *decoder) unless(doc *Document, found []*Error) {
	unread := len(d.errs)
	for _, e := range found {
		if !slices.ContainsFunc(d.errs[:unread], func(u *Error) bool {
			return strings.HasPrefix(u.Field, e.Field) || strings.HasPrefix(e.Field, u.Field)
		}) {
			d.at(doc, e)
		}
	}
}

func (d *decoder) document(text []byte) *Document {
	if len(text) > MaxDocumentBytes {
		if rest := bytes.TrimSpace(text); len(rest) == 0 {
			return nil
		}
		d.errs = append(d.errs, &Error{
			File: d.file, Line: d.offset + 1, Column: 1,
			Reason: fmt.Sprintf("document has %d bytes, more than the limit of %d", len(text), MaxDocumentBytes),
			Hint:   "split it into several policies; what they allow adds up",
		})
		return nil
	}
	root := d.parse(text)
	if root == nil {
		return nil
	}
	d.guard(root, "", 0)
	if len(d.errs) > 0 {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		d.add(root, "", "a document starts with apiVersion, kind and metadata", "document is %s, not a map of fields", describe(root))
		return nil
	}
	object := d.header(root)
	if object == nil {
		return nil
	}
	d.value(root, reflect.ValueOf(object).Elem(), "")
	return &Document{
		File: d.file, Line: root.Line + d.offset, Object: object,
		Source: bytes.Clone(text), root: root, offset: d.offset,
	}
}

// parse gives the document's tree, nil when it is empty or cannot be parsed.
func (d *decoder) parse(text []byte) *yaml.Node {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		d.add(nil, "", "", "read YAML: %v", err)
		return nil
	}
	var doc yaml.Node
	if err := loader.Load(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		e := &Error{File: d.file, Line: d.offset + 1, Column: 1, Reason: "not valid YAML: " + err.Error()}
		if le, ok := errors.AsType[*yaml.LoadError](err); ok {
			e.Reason = "not valid YAML: " + le.Message
			if le.Mark.Line > 0 {
				e.Line, e.Column = le.Mark.Line+d.offset, max(1, le.Mark.Column)
			}
		}
		d.errs = append(d.errs, e)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil
	}
	var second yaml.Node
	if err := loader.Load(&second); !errors.Is(err, io.EOF) {
		d.add(root, "", `separate documents with a line "---"`, "text follows the end of the document")
		return nil
	}
	return root
}

// guard refuses what no document needs and what costs or confuses: aliases,
// tags, depth, long lists, repeated keys.
func (d *decoder) guard(n *yaml.Node, path string, depth int) {
	if depth > MaxDepth {
		d.add(n, path, "", "nested deeper than %d levels", MaxDepth)
		return
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.add(n, path, "write the value out", "anchors and aliases are not part of the policy language")
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.add(n, path, "leave the tag out", "tags (%s) are not part of the policy language", n.Tag)
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		if len(n.Content) > MaxItems {
			d.add(n, path, "split the policy", "has %d entries, more than the limit of %d", len(n.Content), MaxItems)
			return
		}
		for i, c := range n.Content {
			d.guard(c, fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
	case yaml.MappingNode:
		if len(n.Content) > 2*MaxItems {
			d.add(n, path, "", "has %d entries, more than the limit of %d", len(n.Content)/2, MaxItems)
			return
		}
		seen := make(map[string]int, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind != yaml.ScalarNode || key.Anchor != "" {
				d.add(key, path, "", "a field's name must be plain text")
				continue
			}
			p := join(path, key.Value)
			if first, ok := seen[key.Value]; ok {
				d.add(key, p, "keep one of them", "is given twice, first at line %d", first)
				continue
			}
			seen[key.Value] = key.Line + d.offset
			d.guard(value, p, depth+1)
		}
	}
}

// header reads apiVersion and kind, and makes the object they name.
func (d *decoder) header(root *yaml.Node) Object {
	version, vn := child(root, "apiVersion")
	kind, kn := child(root, "kind")
	switch {
	case vn == nil:
		d.add(root, "apiVersion", "write apiVersion: "+APIVersion, "is missing")
	case version != APIVersion && strings.HasPrefix(version, Group+"/"):
		d.add(vn, "apiVersion", "this version reads "+APIVersion, "version %q is not known", clip(version))
	case version != APIVersion:
		d.add(vn, "apiVersion", "write apiVersion: "+APIVersion, "%q is not the policy language", clip(version))
	}
	if kn == nil {
		d.add(root, "kind", "one of "+strings.Join(Kinds(), ", "), "is missing")
	}
	if len(d.errs) > 0 {
		return nil
	}
	object := newObject(kind)
	if object == nil {
		if hint, ok := reservedKinds()[kind]; ok {
			d.add(kn, "kind", hint, "%s is reserved: nothing in this version enforces it yet", kind)
		} else {
			d.add(kn, "kind", didYouMean(kind, Kinds()), "%q is not a kind of the policy language", clip(kind))
		}
	}
	return object
}
