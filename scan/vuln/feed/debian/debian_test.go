package debian_test

import (
	"testing"

	"github.com/gabion-dev/gabion/scan/vuln/feed/debian"
	"github.com/gabion-dev/gabion/scan/vuln/feed/feedtest"
)

func TestGolden(t *testing.T) { feedtest.Golden(t, "*", debian.Import) }

func TestRefusing(t *testing.T) { feedtest.Refusing(t, "testdata/tracker.json", debian.Import) }

func FuzzImport(f *testing.F) { feedtest.Fuzz(f, debian.Import) }
