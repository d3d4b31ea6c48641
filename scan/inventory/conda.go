package inventory

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

const condaPlugin = "conda-meta"

func isConda(p string) bool {
	return path.Base(path.Dir(p)) == "conda-meta" && strings.HasSuffix(p, ".json")
}

// readConda reads conda-meta/NAME-VERSION-BUILD.json. Nobody issues advisories
// for conda's packages; those of Python that it installs have their own
// metadata.
func readConda(f *file, out *result) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	var v struct{ Name, Version, License string }
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Name == "" || v.Version == "" {
		return fmt.Errorf("package has no name or no version (%q, %q)", v.Name, v.Version)
	}
	p := language("conda", v.Name, v.Version)
	p.Licenses = addOnce(nil, v.License)
	out.add(p)
	return nil
}
