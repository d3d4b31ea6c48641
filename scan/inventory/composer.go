package inventory

import (
	"encoding/json"
	"fmt"
)

const composerPlugin = "composer-installed"

// readComposer reads vendor/composer/installed.json: a list in the first
// version of Composer, an object around it in the second.
func readComposer(f *file, out *result) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	type entry struct {
		Name    string   `json:"name"`
		Version string   `json:"version"`
		License []string `json:"license"`
	}
	var list []entry
	var v struct {
		Packages []entry  `json:"packages"`
		DevNames []string `json:"dev-package-names"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
		list = v.Packages
	}
	dev := map[string]bool{}
	for _, n := range v.DevNames {
		dev[n] = true
	}
	for _, e := range list {
		if e.Name == "" || e.Version == "" {
			return fmt.Errorf("a package has no name or no version (%q, %q)", e.Name, e.Version)
		}
		p := language("composer", e.Name, e.Version)
		p.Licenses, p.Dev = e.License, dev[e.Name]
		out.add(p)
	}
	return nil
}
