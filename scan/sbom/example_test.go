package sbom_test

import (
	"fmt"
	"strings"

	"github.com/gabion-dev/gabion/scan/sbom"
)

func ExampleRead() {
	const document = `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [
	  {"type": "library", "name": "lodash", "version": "4.17.20", "purl": "pkg:npm/lodash@4.17.20"}]}`
	inventory, _, err := sbom.Read(strings.NewReader(document))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range inventory.Packages {
		fmt.Println(p.Ecosystem, p.Name, p.Version)
	}
	// Output: npm lodash 4.17.20
}
