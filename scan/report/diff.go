package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/report/page"
	"github.com/gabion-dev/gabion/scan/report/table"
)

// WriteDiff prints what changed between two reports: as "table", "markdown" or
// "json". Nothing is written when it fails, except by a failing writer.
func WriteDiff(w io.Writer, format string, d decide.Difference, o Options) error {
	var b bytes.Buffer
	var err error
	switch format {
	case "table":
		err = table.WriteDiff(&b, &d, table.Options{Colour: o.Colour, Width: o.Width, All: o.All})
	case "markdown":
		err = page.DiffMarkdown(&b, &d, o.All)
	case "json":
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		err = e.Encode(d)
	default:
		err = fmt.Errorf("unknown format: use table, markdown or json")
	}
	if err != nil {
		return fmt.Errorf("print difference as %s: %w", format, err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write difference: %w", err)
	}
	return nil
}
