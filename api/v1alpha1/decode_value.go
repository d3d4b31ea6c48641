package v1alpha1

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// field is a Go field as the language sees it.
type field struct {
	name     string
	index    []int
	required bool
}

func (d *decoder) fieldsOf(t reflect.Type) []field {
	if f, ok := d.fields[t]; ok {
		return f
	}
	f := fieldsOf(t)
	d.fields[t] = f
	return f
}

func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "-" || !sf.IsExported() {
			continue
		}
		if name == "" && sf.Anonymous {
			for _, inner := range fieldsOf(sf.Type) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
			continue
		}
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		fields = append(fields, field{name: name, index: []int{i}, required: !optional})
	}
	// People write apiVersion before kind; the Go type has them the other way.
	for i := 1; i < len(fields); i++ {
		if fields[i].name == "apiVersion" && fields[i-1].name == "kind" {
			fields[i], fields[i-1] = fields[i-1], fields[i]
		}
	}
	return fields
}

// value reads n into v and reports everything in it that does not fit.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		d.add(n, path, "give it a value, or leave the field out; write [] for a list with nothing in it", "has no value")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
		return
	}
	if t, ok := v.Addr().Interface().(*metav1.Time); ok {
		d.time(n, t, path)
		return
	}
	if _, ok := v.Addr().Interface().(json.Unmarshaler); ok {
		d.json(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if d.wants(n, yaml.MappingNode, "a map of fields", path) {
			d.structure(n, v, path)
		}
	case reflect.Map:
		if !d.wants(n, yaml.MappingNode, "a map", path) {
			return
		}
		v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
		for i := 0; i+1 < len(n.Content); i += 2 {
			item := reflect.New(v.Type().Elem()).Elem()
			d.value(n.Content[i+1], item, join(path, n.Content[i].Value))
			v.SetMapIndex(reflect.ValueOf(n.Content[i].Value).Convert(v.Type().Key()), item)
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[AccessList]() && n.Kind == yaml.ScalarNode {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			d.value(n, v.Index(0), path)
			return
		}
		if !d.wants(n, yaml.SequenceNode, "a list", path) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(c, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.String:
		if !d.scalar(n, "text", path, "!!str") {
			return
		}
		if words := enums()[v.Type()]; words != nil && !contains(words, n.Value) {
			d.add(n, path, didYouMean(n.Value, words), "%q is not one of %s", clip(n.Value), strings.Join(words, ", "))
			return
		}
		v.SetString(n.Value)
	case reflect.Bool:
		if d.scalar(n, "true or false", path, "!!bool") {
			v.SetBool(strings.EqualFold(n.Value, "true"))
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if d.scalar(n, "a whole number", path, "!!int") {
			i, err := strconv.ParseInt(n.Value, 0, v.Type().Bits())
			if err != nil {
				d.add(n, path, "", "%s is not a whole number in range", clip(n.Value))
				return
			}
			v.SetInt(i)
		}
	case reflect.Uint32:
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && strings.Contains(path, ".users[") {
			d.add(n, path, "give the number that /etc/passwd in the image has for it; root is 0", "%q is a name; users are told apart by number", clip(n.Value))
			return
		}
		if d.scalar(n, "a whole number", path, "!!int") {
			i, err := strconv.ParseUint(n.Value, 0, 32)
			if err != nil {
				d.add(n, path, "", "%s is not a whole number from 0 to 4294967295", clip(n.Value))
				return
			}
			v.SetUint(i)
		}
	case reflect.Uint64:
		if d.scalar(n, "a whole number", path, "!!int") {
			i, err := strconv.ParseUint(n.Value, 0, 64)
			if err != nil {
				d.add(n, path, "", "%s is not a whole number from 0", clip(n.Value))
				return
			}
			v.SetUint(i)
		}
	default:
		d.add(n, path, "", "cannot be given in a file")
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	fields := d.fieldsOf(v.Type())
	given := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		given[key.Value] = true
		p := join(path, key.Value)
		f := find(fields, key.Value)
		if f == nil {
			if hint, ok := reservedFields(v.Type())[key.Value]; ok {
				d.add(key, p, hint, "reserved: nothing in this version enforces it yet")
				continue
			}
			if slices.Contains(literals(v.Type()), key.Value) {
				d.add(key, p, "name variables with usernameEnv and passwordEnv, or a file with file; policies are no place for passwords", "refused: a password would lie here for everyone to read")
				continue
			}
			names := make([]string, len(fields))
			for i := range fields {
				names[i] = fields[i].name
			}
			d.add(key, p, didYouMean(key.Value, names), "unknown field")
			continue
		}
		d.value(value, v.FieldByIndex(f.index), p)
	}
	for _, f := range fields {
		if f.required && !given[f.name] {
			d.add(n, join(path, f.name), "", "is missing")
		}
	}
}

func (d *decoder) time(n *yaml.Node, t *metav1.Time, path string) {
	if !d.scalar(n, "a time", path, "!!str", "!!timestamp") {
		return
	}
	parsed, err := time.Parse(time.RFC3339, n.Value)
	if err != nil {
		d.add(n, path, "write it as 2027-01-31T12:00:00Z", "%q is not a time in RFC 3339", clip(n.Value))
		return
	}
	t.Time = parsed.UTC()
}

// json hands what this package does not know to the type's own decoder.
func (d *decoder) json(n *yaml.Node, v reflect.Value, path string) {
	var plain any
	if err := n.Decode(&plain); err != nil {
		d.add(n, path, "", "cannot be read: %v", err)
		return
	}
	raw, err := json.Marshal(plain)
	if err == nil {
		err = json.Unmarshal(raw, v.Addr().Interface())
	}
	if err != nil {
		d.add(n, path, "", "cannot be read: %v", err)
	}
}

func (d *decoder) wants(n *yaml.Node, kind yaml.Kind, what, path string) bool {
	if n.Kind == kind {
		return true
	}
	d.add(n, path, "", "wants %s, has %s", what, describe(n))
	return false
}

func (d *decoder) scalar(n *yaml.Node, what, path string, tags ...string) bool {
	if n.Kind != yaml.ScalarNode {
		d.add(n, path, "", "wants %s, has %s", what, describe(n))
		return false
	}
	if contains(tags, n.ShortTag()) {
		return true
	}
	hint := ""
	if what == "text" {
		hint = fmt.Sprintf("put it in quotes: %q", clip(n.Value))
		if strings.Contains(path, ".ports[") {
			hint = fmt.Sprintf("name the protocol: tcp/%s", clip(n.Value))
		}
	}
	d.add(n, path, hint, "wants %s, has %s", what, describe(n))
	return false
}
