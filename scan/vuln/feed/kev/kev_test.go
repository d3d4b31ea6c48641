package kev_test

import (
	"testing"

	"github.com/gabion-dev/gabion/scan/vuln/feed/feedtest"
	"github.com/gabion-dev/gabion/scan/vuln/feed/kev"
)

func TestGolden(t *testing.T) { feedtest.GoldenExtras(t, "*", kev.Import) }

func FuzzImport(f *testing.F) { feedtest.FuzzExtras(f, kev.Import) }
