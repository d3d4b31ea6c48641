//go:build !linux

package walk

import "os"

// Other systems have neither file systems made up by Linux nor overlays.
func kernelFS(*os.File) string { return "" }

func opaque(*os.File) bool { return false }
