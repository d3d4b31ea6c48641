package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Comments are put beside fields when a document is written, by field path.
// Several lines are put above the field, one line behind it.
type Comments map[string]string

// Encode writes a document as YAML: fields in the order of the language, no
// fields that say nothing. Decode reads it back to an equal document.
func Encode(o Object, comments Comments) ([]byte, error) {
	t, _ := o.Meta()
	if t.APIVersion == "" {
		t.APIVersion = APIVersion
	}
	if t.Kind == "" {
		t.Kind = reflect.TypeOf(o).Elem().Name()
	}
	root, err := encodeValue(reflect.ValueOf(o).Elem(), "", comments)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", ID(o), err)
	}
	if c := comments[""]; c != "" {
		root.HeadComment = c
	}
	var buf bytes.Buffer
	d, err := yaml.NewDumper(&buf, yaml.WithIndent(2), yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(-1))
	if err == nil {
		err = d.Dump(root)
	}
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", ID(o), err)
	}
	return buf.Bytes(), nil
}

func encodeValue(v reflect.Value, path string, comments Comments) (*yaml.Node, error) {
	if v.Kind() == reflect.Pointer {
		return encodeValue(v.Elem(), path, comments)
	}
	switch x := v.Interface().(type) {
	case metav1.Time:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: x.UTC().Format(time.RFC3339)}, nil
	case json.Marshaler:
		raw, err := json.Marshal(x)
		if err != nil {
			return nil, err
		}
		var n yaml.Node
		if err := yaml.Unmarshal(raw, &n); err != nil {
			return nil, err
		}
		return n.Content[0], nil
	}
	switch v.Kind() {
	case reflect.Struct:
		return encodeStruct(v, path, comments)
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
		for _, k := range keys {
			item, err := encodeValue(v.MapIndex(k), join(path, k.String()), comments)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, text(k.String()), item)
		}
		return n, nil
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[AccessList]() && v.Len() == 1 {
			return encodeValue(v.Index(0), path, comments)
		}
		n := &yaml.Node{Kind: yaml.SequenceNode}
		scalars := true
		for i := range v.Len() {
			p := at(path, i)
			item, err := encodeValue(v.Index(i), p, comments)
			if err != nil {
				return nil, err
			}
			if flat(item) {
				item.Style = yaml.FlowStyle
			}
			comment(item, item, comments[p])
			scalars = scalars && item.Kind == yaml.ScalarNode
			n.Content = append(n.Content, item)
		}
		if scalars && flat(n) {
			n.Style = yaml.FlowStyle
		}
		return n, nil
	case reflect.String:
		return text(v.String()), nil
	case reflect.Bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatBool(v.Bool())}, nil
	case reflect.Int, reflect.Int32, reflect.Int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatInt(v.Int(), 10)}, nil
	case reflect.Uint32, reflect.Uint64:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatUint(v.Uint(), 10)}, nil
	}
	return nil, fmt.Errorf("field %s has a type that cannot be written", path)
}

func encodeStruct(v reflect.Value, path string, comments Comments) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	if v.NumField() == 0 {
		n.Style = yaml.FlowStyle
	}
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if !f.required && !says(fv) {
			continue
		}
		p := join(path, f.name)
		item, err := encodeValue(fv, p, comments)
		if err != nil {
			return nil, err
		}
		key := text(f.name)
		comment(key, item, comments[p])
		n.Content = append(n.Content, key, item)
	}
	return n, nil
}

// says reports whether a field carries meaning. An empty list that is not nil
// does: it is the list with nothing in it.
func says(v reflect.Value) bool {
	if z, ok := v.Interface().(interface{ IsZero() bool }); ok && v.Kind() != reflect.Pointer {
		return !z.IsZero()
	}
	switch v.Kind() {
	case reflect.Map:
		return v.Len() > 0
	case reflect.Slice:
		return !v.IsNil()
	}
	return !v.IsZero()
}

// flat is true for what reads best on one line: short, and without comments.
func flat(n *yaml.Node) bool {
	length := 0
	return flatter(n, &length) && length <= 80
}

func flatter(n *yaml.Node, length *int) bool {
	if n.HeadComment != "" || n.LineComment != "" || n.Style&yaml.LiteralStyle != 0 {
		return false
	}
	*length += len(n.Value) + 3
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !flatter(c, length) })
}

func comment(key, value *yaml.Node, c string) {
	switch {
	case c == "":
	case bytes.ContainsRune([]byte(c), '\n'):
		key.HeadComment = c
	case value.Kind == yaml.ScalarNode || value.Style&yaml.FlowStyle != 0:
		value.LineComment = c
	default:
		key.HeadComment = c
	}
}

// text makes a scalar that is read back as text whatever it looks like.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}
