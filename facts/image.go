package facts

// Image is what the supply chain found in one image, as far as other rooms
// need it: admission asks whether it may start, the node whether an executable
// is the image's own, the audit what is exploitable.
type Image struct {
	// Digest is that of the manifest, "sha256:...". ConfigID is the digest of
	// the configuration, which some runtimes call the image id.
	Digest, ConfigID string
	// Names are the references it was scanned under, sorted.
	Names []string
	// Complete is false when something could not be examined: what the other
	// fields do not tell is then unknown, not absent.
	Complete bool
	// Open counts the findings that no decision has settled, by severity word
	// ("critical", "high", ...). Exploited counts those with known exploitation.
	Open      map[string]int
	Exploited int
	// Secrets counts credentials that no decision has settled.
	Secrets int
	// Root says that the configuration leaves the user to be root.
	Root bool
	// Signers are the identities of valid signatures, sorted.
	Signers []string
	// Database is the digest of the advisory database it was matched against.
	Database string
}

// Images is what is known of images. Implementations are safe for concurrent
// use and answer from memory.
type Images interface {
	// Image finds an image by manifest digest or configuration id.
	Image(digest string) (Image, bool)
	// Executables gives the digest of every executable and library of the image
	// by absolute path ("/usr/bin/curl" -> "sha256:..."), or false when the
	// image was never scanned.
	Executables(digest string) (map[string]string, bool)
}

// ImageUse is what the node saw of an image's containers.
type ImageUse interface {
	// ExecutedIn lists the programs (absolute paths) that containers of the image
	// were seen to run; watched is false when none was ever watched, and then
	// the list means nothing.
	ExecutedIn(digest string) (programs []string, watched bool)
	// ExposedTo lists the "protocol/port" on which containers of the image were
	// reached from outside their own workload.
	ExposedTo(digest string) (ports []string, watched bool)
}
