package vex_test

import (
	"fmt"
	"os"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide/vex"
)

func ExampleParse() {
	doc, err := vex.Parse("vex.json", []byte(`{
		"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://vex.example/1", "author": "vendor", "timestamp": "2026-10-01T00:00:00Z", "version": 1,
		"statements": [
			{"vulnerability": {"name": "CVE-2026-1"}, "products": [{"@id": "pkg:npm/lodash@4.17.20"}], "status": "not_affected", "justification": "vulnerable_code_not_present"},
			{"vulnerability": {"name": "CVE-2026-2"}, "products": [{"@id": "pkg:npm/lodash@4.17.20"}], "status": "not_affected"}
		]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range doc.Statements {
		fmt.Println(s.IDs, s.Status, s.Justification)
	}
	fmt.Println(doc.Skipped[0])
	// Output:
	// [CVE-2026-1] not_affected vulnerable_code_not_present
	// the statement on CVE-2026-2 says not_affected and gives no justification
}

func ExampleWrite() {
	r := &scan.Report{
		Packages: []scan.Package{{Name: "lodash", Version: "4.17.20", PURL: "pkg:npm/lodash@4.17.20"}},
		Findings: []scan.Finding{{
			Advisory: scan.Advisory{ID: "CVE-2026-1"}, State: scan.NotAffected,
			Decision: &scan.Decision{By: "VEX vendor.json", Reason: "vulnerable_code_not_present"},
		}},
	}
	err := vex.Write(os.Stdout, r, vex.Options{Author: "web team", Time: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), ID: "https://vex.example/web"})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// {
	//   "@context": "https://openvex.dev/ns/v0.2.0",
	//   "@id": "https://vex.example/web",
	//   "author": "web team",
	//   "version": 1,
	//   "statements": [
	//     {
	//       "vulnerability": {
	//         "name": "CVE-2026-1"
	//       },
	//       "products": [
	//         {
	//           "@id": "pkg:npm/lodash@4.17.20"
	//         }
	//       ],
	//       "status": "not_affected",
	//       "justification": "vulnerable_code_not_present"
	//     }
	//   ],
	//   "timestamp": "2026-11-24T00:00:00Z"
	// }
}
