package csaf_test

import (
	"testing"

	"github.com/gabion-dev/gabion/scan/vuln/feed/csaf"
	"github.com/gabion-dev/gabion/scan/vuln/feed/feedtest"
)

func TestGolden(t *testing.T) { feedtest.Golden(t, "*", csaf.Import) }

func TestRefusing(t *testing.T) { feedtest.Refusing(t, "testdata/vex.json", csaf.Import) }

func FuzzImport(f *testing.F) { feedtest.Fuzz(f, csaf.Import) }
