package feed

import (
	_ "embed"
	"fmt"

	"sigs.k8s.io/yaml"
)

//go:embed sources.yaml
var sourcesYAML []byte

// Public lists the public data sets that a database may be built from without
// any input at hand. It is data in this package (sources.yaml).
func Public() ([]Input, error) {
	in, err := ParseSources(sourcesYAML)
	if err != nil {
		return nil, fmt.Errorf("embedded sources.yaml: %w", err)
	}
	return in, nil
}

// ParseSources reads a list of inputs in YAML, for those who keep their own:
// entries with name, url or path, format, licence, data, partial.
func ParseSources(text []byte) ([]Input, error) {
	var list []Input
	if err := yaml.UnmarshalStrict(text, &list); err != nil {
		return nil, fmt.Errorf("parse sources: %w", err)
	}
	for i, in := range list {
		if in.URL == "" && in.Path == "" {
			return nil, fmt.Errorf("parse sources: entry %d (%s) has neither url nor path", i+1, in.Name)
		}
		if _, ok := ByName(in.Format); !ok && in.Format != "" {
			return nil, fmt.Errorf("parse sources: entry %d (%s): unknown format %q", i+1, in.Name, in.Format)
		}
	}
	return list, nil
}
