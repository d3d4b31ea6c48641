package decide

import "github.com/gabion-dev/gabion/scan"

// How the base image was found out.
const (
	HowGiven        = "given"         // the base image's layers are the lowest ones
	HowLabel        = "label"         // named by a label; which layers are its is unknown
	HowLabelHistory = "label+history" // named by a label, layers as HowHistory
	HowHistory      = "history"       // guessed: up to the last CMD or ENTRYPOINT that further layers follow
)

// FindBase finds the base image of img. With base (nil: unknown) its layers
// must be the lowest ones of img: otherwise nil, and the caller says that it is
// not the base. Without it, labels and the history are asked; nil: not known.
func FindBase(img scan.Image, base *scan.Image) *scan.Base { return nil }
