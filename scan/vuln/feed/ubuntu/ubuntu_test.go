package ubuntu_test

import (
	"testing"

	"github.com/gabion-dev/gabion/scan/vuln/feed/feedtest"
	"github.com/gabion-dev/gabion/scan/vuln/feed/ubuntu"
)

func TestGolden(t *testing.T) { feedtest.Golden(t, "*", ubuntu.Import) }

func TestRefusing(t *testing.T) { feedtest.Refusing(t, "testdata/records.json", ubuntu.Import) }

func FuzzImport(f *testing.F) { feedtest.Fuzz(f, ubuntu.Import) }
