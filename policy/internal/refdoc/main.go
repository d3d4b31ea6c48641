// Command refdoc writes the reference of the policy language from the comments
// of the Go types, so that the page cannot say what the types do not.
//
// It knows nothing of meaning: words live in api/v1alpha1, classes in content,
// findings in policy. The one idea: a field's documentation is its comment.
package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/policy"
)

//go:embed sections.md
var sections string

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: refdoc SOURCE-DIRECTORY OUTPUT")
		os.Exit(2)
	}
	page, err := generate(os.Args[1])
	if err == nil {
		err = os.MkdirAll(filepath.Dir(os.Args[2]), 0o755)
	}
	if err == nil {
		err = os.WriteFile(os.Args[2], page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "refdoc:", err)
		os.Exit(1)
	}
}

// generate makes the page from the Go sources in a directory.
func generate(dir string) ([]byte, error) {
	types, err := readTypes(dir)
	if err != nil {
		return nil, err
	}
	library, err := content.Load()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString(`# The policy language

Written from the comments of the Go types by ` + "`make generate`" + `; do not edit.

Every document starts with ` + "`apiVersion: " + v1alpha1.APIVersion + "`" + `, a kind and metadata (name, namespace, labels,
annotations). A file holds one or more documents in YAML, separated by lines ` + "`---`" + `, or one in JSON. What is
unknown, given twice, of the wrong type or contradictory is refused with file, line, column, field, reason and hint;
anchors, aliases and tags are no part of the language. A fault takes down its own document only.

`)
	fmt.Fprintf(&b, "Limits: a file has at most %d bytes and %d documents, a document %d bytes, a list %d entries, a path %d bytes, nesting %d levels.\n\n",
		v1alpha1.MaxFileBytes, v1alpha1.MaxDocuments, v1alpha1.MaxDocumentBytes, v1alpha1.MaxItems, v1alpha1.MaxPathBytes, v1alpha1.MaxDepth)
	b.WriteString(sections)
	var queue []string
	queue = append(queue, v1alpha1.Kinds()...)
	done := map[string]bool{}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		t, ok := types[name]
		if !ok || done[name] {
			continue
		}
		done[name] = true
		level := "###"
		if slices.Contains(v1alpha1.Kinds(), name) {
			level = "##"
		}
		fmt.Fprintf(&b, "%s %s\n\n%s\n\n", level, name, t.doc)
		if len(t.fields) > 0 {
			b.WriteString("| field | type | meaning |\n|---|---|---|\n")
		}
		var inner []string
		for _, f := range t.fields {
			required := ""
			if f.required {
				required = " (required)"
			}
			fmt.Fprintf(&b, "| `%s`%s | %s | %s |\n", f.name, required, f.shown(types), cell(f.doc))
			if types[f.base] != nil {
				inner = append(inner, f.base)
			}
		}
		if len(t.fields) > 0 {
			b.WriteByte('\n')
		}
		queue = append(inner, queue...)
	}
	b.WriteString("## Reserved\n\nThe language has names for these; nothing in this version enforces them, so they are refused by name:\n\n")
	for _, r := range v1alpha1.Reserved() {
		fmt.Fprintf(&b, "- `%s`\n", r)
	}
	b.WriteString("\n## Switches of hardening\n\nRestricted has every switch, Baseline those marked so: what no ordinary image needs.\n\n")
	b.WriteString("| switch | preset | forbids | because | techniques |\n|---|---|---|---|---|\n")
	for _, s := range policy.Switches() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.Name, s.Preset, cell(s.What), cell(s.Why), strings.Join(s.Technique, ", "))
	}
	b.WriteString("\n## Capabilities\n\nIn the order of their numbers, as in linux/capability.h: " + strings.Join(v1alpha1.CapabilityNames(), ", ") + ".\n")
	b.WriteString("\n## Classes of programs\n\nA class is known by the names of programs, wherever they lie, and by the names a multi-call program acts under.\n\n")
	b.WriteString("| class | what | why | techniques | names |\n|---|---|---|---|---|\n")
	for _, c := range library.Classes() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", c.Name, cell(c.Description), cell(c.Why), strings.Join(c.Techniques, ", "), strings.Join(c.Names, " "))
	}
	b.WriteString("\n## What lint reports\n\n| code | meaning |\n|---|---|\n")
	codes := policy.Codes()
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", code, cell(codes[code]))
	}
	return []byte(b.String()), nil
}

type typeDoc struct {
	doc    string
	words  []string // of a text type with constants
	fields []fieldDoc
}

type fieldDoc struct {
	name, doc string
	base      string // name of the Go type without pointers, lists and maps
	prefix    string // "list of ", "map of "
	required  bool
}

func (f *fieldDoc) shown(types map[string]*typeDoc) string {
	if f.base == "AccessList" {
		return "one or a list of " + strings.Join(types["AccessWord"].words, ", ")
	}
	switch t := types[f.base]; {
	case t != nil && len(t.words) > 0:
		return f.prefix + strings.Join(t.words, ", ")
	case t != nil && len(t.fields) == 0:
		return f.prefix + "[" + f.base + "](#" + strings.ToLower(f.base) + ")"
	case t != nil:
		return f.prefix + "[" + f.base + "](#" + strings.ToLower(f.base) + ")"
	}
	names := map[string]string{
		"string": "text", "int": "number", "uint32": "number", "uint64": "number", "bool": "true or false", "Time": "time (RFC 3339)",
		"LabelSelectorRequirement": "{key, operator, values}", "ObjectMeta": "metadata",
	}
	return f.prefix + cmp.Or(names[f.base], f.base)
}

func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
}

// readTypes collects the exported types of a directory's Go files.
func readTypes(dir string) (map[string]*typeDoc, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	types := map[string]*typeDoc{}
	words := map[string][]string{}
	for _, p := range paths {
		if strings.HasSuffix(p, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if t := readType(s, g); t != nil {
						types[s.Name.Name] = t
					}
				case *ast.ValueSpec:
					if name, ok := s.Type.(*ast.Ident); ok && g.Tok == token.CONST && len(s.Values) == 1 {
						if v, ok := s.Values[0].(*ast.BasicLit); ok && v.Kind == token.STRING {
							words[name.Name] = append(words[name.Name], strings.Trim(v.Value, `"`))
						}
					}
				}
			}
		}
	}
	for name, w := range words {
		if types[name] != nil {
			types[name].words = w
		}
	}
	return types, nil
}

func readType(s *ast.TypeSpec, g *ast.GenDecl) *typeDoc {
	if !s.Name.IsExported() {
		return nil
	}
	doc := s.Doc
	if doc == nil {
		doc = g.Doc
	}
	t := &typeDoc{doc: strings.TrimSpace(doc.Text())}
	st, ok := s.Type.(*ast.StructType)
	if !ok {
		if id, ok := s.Type.(*ast.Ident); !ok || id.Name != "string" {
			return nil
		}
		return t
	}
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			return nil // not part of the language
		}
		name, options, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		if name == "" {
			continue
		}
		base, prefix := baseType(f.Type)
		text := f.Doc.Text()
		if name == "metadata" {
			text = "The name and, except for cluster scope, the namespace; labels and annotations are for people."
		}
		t.fields = append(t.fields, fieldDoc{name: name, doc: text, base: base, prefix: prefix, required: !strings.Contains(options, "omit")})
	}
	return t
}

func baseType(e ast.Expr) (base, prefix string) {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name, ""
	case *ast.StarExpr:
		return baseType(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name, ""
	case *ast.ArrayType:
		base, prefix = baseType(e.Elt)
		return base, "list of " + prefix
	case *ast.MapType:
		base, prefix = baseType(e.Value)
		return base, "map of " + prefix
	}
	return "?", ""
}
