package ssvc_test

import (
	"testing"

	"github.com/gabion-dev/gabion/scan/vuln/feed/feedtest"
	"github.com/gabion-dev/gabion/scan/vuln/feed/ssvc"
)

func TestGolden(t *testing.T) { feedtest.GoldenExtras(t, "*", ssvc.Import) }

func FuzzImport(f *testing.F) { feedtest.FuzzExtras(f, ssvc.Import) }
