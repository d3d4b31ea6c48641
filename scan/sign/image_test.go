package sign

import (
	"context"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan/image"
)

// openImage opens an image as the scanner does.
func openImage(t *testing.T, ref string) *image.Image {
	t.Helper()
	img, err := image.Open(context.Background(), ref, image.Options{PlainHTTP: true, Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	})
	return img
}

// TestVerifyOpenedImages: signatures are found for images as they are opened,
// under every name, by the list of platforms too, and in a layout.
func TestVerifyOpenedImages(t *testing.T) {
	for kind, host := range map[string]string{"in process": inProcess(t, true), "real": testkit.StartRegistry(t, "").Host} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, host)
			base, err := remote.Image(w.digest)
			w.must(err)
			cfg, err := base.ConfigFile()
			w.must(err)
			cfg = cfg.DeepCopy()
			cfg.OS, cfg.Architecture = "linux", "amd64"
			img, err := mutate.ConfigFile(base, cfg)
			w.must(err)
			index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
			w.must(remote.WriteIndex(w.repo.Tag("multi"), index))
			w.must(remote.Write(w.repo.Tag("one"), img))
			h, err := index.Digest()
			w.must(err)
			list := w.repo.Digest(h.String())
			child, err := img.Digest()
			w.must(err)

			unsigned := openImage(t, w.repo.Name()+":one")
			if sigs, gaps := Verify(context.Background(), unsigned, w.byKey()); len(sigs)+len(gaps) != 0 {
				t.Fatalf("unsigned: %+v %+v", sigs, gaps)
			}
			w.push(tagOf(list, ".sig"), "", "", w.keySigned(w.key, payloadFor(list.DigestStr())))
			for _, ref := range []string{w.repo.Name() + ":multi", "registry:" + w.repo.Name() + "@" + h.String()} {
				sigs, gaps := Verify(context.Background(), openImage(t, ref), w.byKey())
				if len(gaps) != 0 || len(sigs) != 1 || !sigs[0].Valid {
					t.Errorf("%s: %+v %+v", ref, sigs, gaps)
				}
			}
			// By its own digest nothing leads to the list.
			if sigs, _ := Verify(context.Background(), openImage(t, w.repo.Name()+"@"+child.String()), w.byKey()); len(sigs) != 0 {
				t.Errorf("%+v", sigs)
			}

			dir := t.TempDir()
			p, err := ocilayout.Write(dir, empty.Index)
			w.must(err)
			w.must(p.AppendImage(img, ocilayout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "one"})))
			own := w.repo.Digest(child.String())
			w.push(tagOf(own, ".sig"), "", "", w.keySigned(w.key, payloadFor(child.String())))
			sig, err := remote.Image(w.repo.Tag(tagOf(own, ".sig")))
			w.must(err)
			w.must(p.AppendImage(sig, ocilayout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tagOf(own, ".sig")})))
			sigs, gaps := Verify(context.Background(), openImage(t, "oci:"+dir+":one"), w.byKey())
			if len(gaps) != 0 || len(sigs) != 1 || !sigs[0].Valid {
				t.Errorf("layout: %+v %+v", sigs, gaps)
			}
		})
	}
	// A folder carries no signatures: told, and a hole only where some are needed.
	folder := openImage(t, "dir:"+t.TempDir())
	for _, require := range []int{0, 1} {
		sigs, gaps := Verify(context.Background(), folder, Policy{Require: require})
		if len(sigs) != 0 || len(gaps) != 1 || gaps[0].Minor != (require == 0) {
			t.Errorf("require %d: %+v %+v", require, sigs, gaps)
		}
	}
}
