package epss_test

import (
	"testing"

	"github.com/gabion-dev/gabion/scan/vuln/feed/epss"
	"github.com/gabion-dev/gabion/scan/vuln/feed/feedtest"
)

func TestGolden(t *testing.T) { feedtest.GoldenExtras(t, "*", epss.Import) }

func FuzzImport(f *testing.F) { feedtest.FuzzExtras(f, epss.Import) }
