package detect

import (
	"testing"

	"github.com/gabion-dev/gabion/content"
)

func TestEveryDetectionAndItsCases(t *testing.T) {
	list, err := content.Detections()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 40 {
		t.Errorf("only %d detections", len(list))
	}
	library, err := content.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		t.Run(d.Name, func(t *testing.T) {
			if err := Try(d); err != nil {
				t.Error(err)
			}
			if len(d.Techniques) == 0 {
				t.Error("no ATT&CK id")
			}
			for _, id := range d.Techniques {
				if library.TechniqueName(id) == "" {
					t.Errorf("technique %s has no name in techniques.yaml", id)
				}
			}
		})
	}
}
