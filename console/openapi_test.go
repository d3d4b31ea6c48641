package console_test

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
)

var update = flag.Bool("update", false, "write openapi.json anew")

// TestOpenAPIDescription compares the committed description with what the
// routes say; `go generate ./console` writes it.
func TestOpenAPIDescription(t *testing.T) {
	w := consoletest.NewWorld(time.Now)
	s, err := console.New(console.Config{DataDir: t.TempDir(), Listen: "off", Socket: "off"}, w.Deps(slog.New(slog.DiscardHandler), time.Now))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Describe()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("openapi.json is not what the routes say: run go generate ./console and look at the difference")
	}
	doc, err := openapi3.NewLoader().LoadFromData(want)
	if err != nil {
		t.Fatalf("read openapi.json: %v", err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Errorf("openapi.json is no valid description: %v", err)
	}
	for _, p := range console.Permissions() {
		item := doc.Paths.Value(p.Path)
		if item == nil || item.GetOperation(p.Method) == nil || item.GetOperation(p.Method).OperationID != p.ID {
			t.Errorf("%s %s (%s) is not described", p.Method, p.Path, p.ID)
		}
	}
}
