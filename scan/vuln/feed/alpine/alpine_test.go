package alpine_test

import (
	"testing"

	"github.com/gabion-dev/gabion/scan/vuln/feed/alpine"
	"github.com/gabion-dev/gabion/scan/vuln/feed/feedtest"
)

func TestGolden(t *testing.T) { feedtest.Golden(t, "*", alpine.Import) }

func TestRefusing(t *testing.T) { feedtest.Refusing(t, "testdata/main.json", alpine.Import) }

func FuzzImport(f *testing.F) { feedtest.Fuzz(f, alpine.Import) }
