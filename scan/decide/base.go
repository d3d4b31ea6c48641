package decide

import (
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// How the base image was found out.
const (
	HowGiven        = "given"         // the base image's layers are the lowest ones
	HowLabel        = "label"         // named by a label; which layers are its is unknown
	HowLabelHistory = "label+history" // named by a label, layers as HowHistory
	HowHistory      = "history"       // guessed from the history, see FindBase
)

// Labels that name the base image (OCI image annotations).
const (
	labelBaseName   = "org.opencontainers.image.base.name"
	labelBaseDigest = "org.opencontainers.image.base.digest"
)

// FindBase finds the base image of img. With base (nil: unknown) its layers
// must be the lowest ones of img: otherwise the answer is nil, and the caller
// says that it is not the base.
//
// Without it, labels name the base, and the history tells its layers: steps
// before the first one of BuildKit are of another build, and so is everything
// up to the last CMD or ENTRYPOINT that further layers follow. Labels are
// inherited: one that the base image brought names the base's own base. nil:
// nothing is known.
func FindBase(img scan.Image, base *scan.Image) *scan.Base {
	if base != nil {
		n := len(base.Layers)
		if n == 0 || n > len(img.Layers) {
			return nil
		}
		for i := range base.Layers {
			if !sameLayer(&img.Layers[i], &base.Layers[i]) {
				return nil
			}
		}
		return &scan.Base{Name: base.Name, Digest: base.Digest, Layers: n, How: HowGiven}
	}
	b := scan.Base{
		Name: img.Config.Labels[labelBaseName], Digest: img.Config.Labels[labelBaseDigest],
		Layers: layersByHistory(&img),
	}
	switch named := b.Name != "" || b.Digest != ""; {
	case named && b.Layers > 0:
		b.How = HowLabelHistory
	case named:
		b.How = HowLabel
	case b.Layers > 0:
		b.How = HowHistory
	default:
		return nil
	}
	return &b
}

// sameLayer compares by content; blobs of one content may differ in compression.
func sameLayer(a, b *scan.Layer) bool {
	if a.DiffID != "" && b.DiffID != "" {
		return a.DiffID == b.DiffID
	}
	return a.Digest != "" && a.Digest == b.Digest
}

// layersByHistory guesses how many of the lowest layers are the base image's.
// A history that does not fit the layers tells nothing.
func layersByHistory(img *scan.Image) int {
	layers, entry, foreign := 0, 0, 0
	buildKit := false
	for _, h := range img.Config.History {
		if strings.HasPrefix(h.Comment, "buildkit.") && !buildKit {
			buildKit, foreign = true, layers
		}
		switch {
		case !h.Empty:
			layers++
		case startsWith(h.Command, "CMD") || startsWith(h.Command, "ENTRYPOINT"):
			if layers < len(img.Layers) {
				entry = layers
			}
		}
	}
	if layers != len(img.Layers) {
		return 0
	}
	return max(entry, foreign)
}

// startsWith reports whether a step of the history is this instruction, as
// BuildKit ("CMD [...]") and the classic builder ("/bin/sh -c #(nop)  CMD
// [...]") write it.
func startsWith(command, instruction string) bool {
	if _, rest, ok := strings.Cut(command, "#(nop)"); ok {
		command = rest
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(command), instruction)
	return ok && (rest == "" || strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "["))
}
