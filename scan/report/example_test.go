package report_test

import (
	"fmt"
	"os"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report"
)

func ExampleWrite() {
	r := &scan.Report{
		Image: scan.Image{Name: "shop/web:2"},
		Gaps:  []scan.Gap{{Where: "layer 3", What: "unexpected EOF", Means: "nothing in this layer was examined"}},
	}
	if err := report.Write(os.Stdout, "github", r, report.Options{}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ::error title=INCOMPLETE%3A shop/web%3A2::layer 3: unexpected EOF; nothing in this layer was examined
	// gabion: shop/web:2: INCOMPLETE, 0 vulnerabilities open (none), 0 secrets, 0 failed checks
}
