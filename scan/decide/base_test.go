package decide

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/scan"
)

func layers(ids ...string) []scan.Layer {
	var out []scan.Layer
	for _, id := range ids {
		out = append(out, scan.Layer{DiffID: id, Digest: "blob-" + id})
	}
	return out
}

func TestFindBaseGiven(t *testing.T) {
	img := scan.Image{Layers: layers("a", "b", "c"), Config: scan.Config{Labels: map[string]string{labelBaseName: "other"}}}
	base := &scan.Image{Name: "debian:12", Digest: "sha256:d", Layers: layers("a", "b")}
	want := &scan.Base{Name: "debian:12", Digest: "sha256:d", Layers: 2, How: HowGiven}
	if diff := cmp.Diff(want, FindBase(img, base)); diff != "" {
		t.Error(diff)
	}
	// Compressed otherwise, the content is the same.
	base.Layers[0].Digest = "blob-x"
	if diff := cmp.Diff(want, FindBase(img, base)); diff != "" {
		t.Error(diff)
	}
	for name, l := range map[string][]scan.Layer{
		"another": layers("a", "x"), "longer": layers("a", "b", "c", "d"), "none": nil, "shifted": layers("b"), "nameless": {{}},
	} {
		if got := FindBase(img, &scan.Image{Layers: l}); got != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// Without the digests of the content those of the blobs tell.
	blob := []scan.Layer{{Digest: "blob-a"}}
	if got := FindBase(scan.Image{Layers: layers("a")}, &scan.Image{Layers: blob}); got == nil || got.Layers != 1 {
		t.Errorf("%+v", got)
	}
}

func TestFindBaseGuessed(t *testing.T) {
	step := func(command string) scan.History { return scan.History{Command: command} }
	empty := func(command string) scan.History { return scan.History{Command: command, Empty: true} }
	kit := func(h scan.History) scan.History { h.Comment = "buildkit.dockerfile.v0"; return h }
	label := map[string]string{labelBaseName: "docker.io/library/debian:12", labelBaseDigest: "sha256:d"}
	for _, tt := range []struct {
		name    string
		layers  int
		history []scan.History
		labels  map[string]string
		want    *scan.Base
	}{
		{name: "nothing", layers: 2},
		{name: "label", layers: 2, labels: label, want: &scan.Base{Name: "docker.io/library/debian:12", Digest: "sha256:d", How: HowLabel}},
		{name: "classic builder", layers: 3, history: []scan.History{
			step("/bin/sh -c #(nop) ADD file:1 in / "), empty(`/bin/sh -c #(nop)  CMD ["bash"]`),
			step("/bin/sh -c apt-get install x"), step("/bin/sh -c #(nop) COPY dir:2 in /app "), empty(`/bin/sh -c #(nop)  ENTRYPOINT ["/app"]`),
		}, want: &scan.Base{Layers: 1, How: HowHistory}},
		{name: "chain of images", layers: 4, labels: label, history: []scan.History{
			step("ADD rootfs.tar /"), empty(`CMD ["sh"]`), step("RUN make python"), step("RUN pip"), empty(`CMD ["python3"]`), step("COPY . ."), empty(`CMD ["app"]`),
		}, want: &scan.Base{Name: "docker.io/library/debian:12", Digest: "sha256:d", Layers: 3, How: HowLabelHistory}},
		{name: "own command only", layers: 1, history: []scan.History{step("ADD x /"), empty(`CMD ["x"]`)}},
		{name: "foreign builder", layers: 3, history: []scan.History{
			{Command: "# debian.sh", Comment: "debuerreotype 0.15"}, kit(step("RUN apt-get")), kit(step("COPY . .")), kit(empty(`CMD ["x"]`)),
		}, want: &scan.Base{Layers: 1, How: HowHistory}},
		{name: "buildkit alone", layers: 2, history: []scan.History{kit(step("COPY a /")), kit(step("COPY b /"))}},
		{name: "history does not fit", layers: 1, history: []scan.History{step("ADD x"), empty("CMD [x]"), step("COPY y")}},
		{name: "a program called CMDER", layers: 2, history: []scan.History{step("ADD x"), empty("CMDER x"), step("COPY y")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := scan.Image{Layers: make([]scan.Layer, tt.layers), Config: scan.Config{History: tt.history, Labels: tt.labels}}
			if diff := cmp.Diff(tt.want, FindBase(img, nil)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
