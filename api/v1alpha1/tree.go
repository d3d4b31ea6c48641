package v1alpha1

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// join makes the path of a field in a map. Names that would be mistaken for a
// path of their own (labels) are put in brackets.
func join(path, name string) string {
	if strings.ContainsAny(name, ".[]/") || name == "" {
		return path + "[" + clip(name) + "]"
	}
	if path == "" {
		return clip(name)
	}
	return path + "." + clip(name)
}

// clip keeps what is quoted in an error short.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:77], "") + "..."
	}
	return s
}

// child gives a field of a map: its text and its value.
func child(n *yaml.Node, name string) (string, *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1].Value, n.Content[i+1]
		}
	}
	return "", nil
}

// locate finds the node of a field path: the value for scalars and list
// entries, the key for maps and lists; the last one found when the path leads
// on to something that is not there.
func locate(root *yaml.Node, path string) *yaml.Node {
	at, shown := root, root
	for path != "" && at != nil {
		var segment string
		index := false
		switch {
		case path[0] == '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return shown
			}
			segment, path, index = path[1:end], path[end+1:], true
		default:
			path = strings.TrimPrefix(path, ".")
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			segment, path = path[:end], path[end:]
			if segment == "" {
				return shown
			}
		}
		var next *yaml.Node
		switch {
		case at.Kind == yaml.SequenceNode && index:
			if i, err := strconv.Atoi(segment); err == nil && i >= 0 && i < len(at.Content) {
				next = at.Content[i]
				shown = next
			}
		case at.Kind == yaml.MappingNode:
			for i := 0; i+1 < len(at.Content); i += 2 {
				if at.Content[i].Value == segment {
					next, shown = at.Content[i+1], at.Content[i]
					if next.Kind == yaml.ScalarNode {
						shown = next
					}
					break
				}
			}
		}
		at = next
	}
	return shown
}

// describe names what a node is, in words for people.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!str":
			return "text"
		case "!!int", "!!float":
			return "the number " + clip(n.Value)
		case "!!bool":
			return "the truth value " + clip(n.Value)
		case "!!timestamp":
			return "the time " + clip(n.Value)
		case "!!null":
			return "nothing"
		}
	}
	return "something else"
}

func find(fields []field, name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
