package osv_test

import (
	"testing"

	"github.com/gabion-dev/gabion/scan/vuln/feed/feedtest"
	"github.com/gabion-dev/gabion/scan/vuln/feed/osv"
)

func TestGolden(t *testing.T) { feedtest.Golden(t, "*", osv.Import) }

func TestRefusing(t *testing.T) { feedtest.Refusing(t, "testdata/records.ndjson", osv.Import) }

func FuzzImport(f *testing.F) { feedtest.Fuzz(f, osv.Import) }
