package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

const npmPlugin = "npm-package"

// errMinor marks files that are damaged on purpose more often than not, such
// as those in the tests of a package.
var errMinor = errors.New("file is not where an installed package has it")

// readPackageJSON reads the package.json of an installed package. Those without
// name or version only set options for a folder.
func readPackageJSON(f *file, out *result) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	var v struct {
		Name        json.RawMessage `json:"name"`
		Version     json.RawMessage `json:"version"`
		License     json.RawMessage `json:"license"`
		Licenses    json.RawMessage `json:"licenses"`
		Engines     json.RawMessage `json:"engines"`
		Contributes json.RawMessage `json:"contributes"`
		Unity       json.RawMessage `json:"unity"`
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if err := json.Unmarshal(b, &v); err != nil {
		if !installedNPM(f.path) {
			return fmt.Errorf("%w: %w", errMinor, err)
		}
		return err
	}
	name, version := text(v.Name), text(v.Version)
	if name == "" || version == "" {
		return nil
	}
	// Extensions of editors and packages of Unity have the same file but come
	// from other registries.
	var engines struct {
		VSCode json.RawMessage `json:"vscode"`
	}
	if v.Contributes != nil || v.Unity != nil || json.Unmarshal(v.Engines, &engines) == nil && engines.VSCode != nil {
		return nil
	}
	p := language("npm", name, version)
	p.Licenses = npmLicenses(v.License, v.Licenses)
	out.add(p)
	return nil
}

// installedNPM reports whether p is node_modules/NAME/package.json or
// node_modules/@SCOPE/NAME/package.json.
func installedNPM(p string) bool {
	dir := path.Dir(path.Dir(p))
	if strings.HasPrefix(path.Base(dir), "@") {
		dir = path.Dir(dir)
	}
	return path.Base(dir) == "node_modules"
}

// text is a JSON string, or "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return strings.TrimSpace(s)
}

// npmLicenses reads the licence in the four shapes it has had over the years.
func npmLicenses(license, licenses json.RawMessage) []string {
	var out []string
	one := func(raw json.RawMessage) {
		var v struct {
			Type string `json:"type"`
		}
		if s := text(raw); s != "" {
			out = addOnce(out, s)
		} else if json.Unmarshal(raw, &v) == nil {
			out = addOnce(out, v.Type)
		}
	}
	for _, raw := range []json.RawMessage{license, licenses} {
		var many []json.RawMessage
		if json.Unmarshal(raw, &many) == nil {
			for _, m := range many {
				one(m)
			}
		} else if raw != nil {
			one(raw)
		}
	}
	return out
}
