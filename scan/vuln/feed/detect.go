package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

const (
	detectHead = 64 << 10 // bytes looked at of each document
	detectDocs = 20       // documents looked at
)

var errFound = errors.New("found")

// Detect finds out the format of a file, archive or directory by the beginning
// of its first documents.
func Detect(ctx context.Context, path string) (Format, error) {
	var name string
	docs := 0
	_, err := intake.Documents(ctx, path, intake.Limits{}, func(_ string, r io.Reader) error {
		head, err := io.ReadAll(io.LimitReader(r, detectHead))
		if err != nil {
			return err
		}
		if name = sniff(head); name != "" {
			return errFound
		}
		if docs++; docs == detectDocs {
			return errFound
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return Format{}, fmt.Errorf("detect format of %s: %w", path, err)
	}
	if f, ok := ByName(name); ok {
		return f, nil
	}
	var known []string
	for _, f := range All() {
		known = append(known, f.Name)
	}
	return Format{}, fmt.Errorf("detect format of %s: its content looks like none of %s; name the format", path, strings.Join(known, ", "))
}

// sniff tells the format of a document by its head, or "".
func sniff(head []byte) string {
	head = bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")))
	switch {
	case bytes.HasPrefix(head, []byte("#cve\t")):
		return "ssvc"
	case bytes.HasPrefix(head, []byte("#model_version")), bytes.HasPrefix(head, []byte("cve,epss")):
		return "epss"
	case len(head) == 0 || (head[0] != '{' && head[0] != '['):
		return ""
	}
	keys, ids := outline(head)
	has := func(path string) bool { return keys[path] }
	switch {
	case has("cveMetadata") || has("containers"):
		return "ssvc"
	case has("catalogVersion") || has("dateReleased"):
		return "kev"
	case has("document.csaf_version") || has("document.tracking") || has("product_tree.branches"):
		return "csaf"
	case has("distroversion") || has("packages.pkg"):
		return "alpine"
	case has("affected") || has("schema_version") || (has("id") && has("modified")):
		if strings.HasPrefix(ids, "USN-") || strings.HasPrefix(ids, "UBUNTU-") || strings.HasPrefix(ids, "LSN-") ||
			(bytes.Contains(head, []byte(`"Ubuntu:`)) && strings.HasPrefix(ids, "CVE-")) {
			return "ubuntu"
		}
		return "osv"
	}
	for k := range keys {
		if p := strings.Split(k, "."); len(p) == 3 && p[2] == "releases" {
			return "debian"
		}
	}
	return ""
}

// outline gives the paths of object keys, up to three deep, and the value of
// the first "id". Arrays do not count as a step.
func outline(head []byte) (keys map[string]bool, id string) {
	keys = map[string]bool{}
	d := json.NewDecoder(bytes.NewReader(head))
	type level struct {
		object bool
		key    string
		isKey  bool
	}
	var stack []level
	for range 100_000 {
		t, err := d.Token()
		if err != nil {
			return keys, id
		}
		top := len(stack) - 1
		if top >= 0 && stack[top].object && stack[top].isKey {
			if key, ok := t.(string); ok {
				stack[top].key, stack[top].isKey = key, false
				var path []string
				for _, l := range stack {
					if l.object {
						path = append(path, l.key)
					}
				}
				if len(path) <= 3 {
					keys[strings.Join(path, ".")] = true
				}
				continue
			}
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			stack = append(stack, level{object: t == json.Delim('{'), isKey: true})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
			top--
		default:
			if s, ok := t.(string); ok && id == "" && top >= 0 && stack[top].key == "id" {
				id = s
			}
		}
		if top >= 0 {
			stack[top].isKey = true
		}
	}
	return keys, id
}
