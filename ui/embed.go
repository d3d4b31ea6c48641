// Package ui carries the built web UI of the console.
//
// The source is in src (Svelte, TypeScript); `npm ci && npm run build` in this
// folder writes dist, which is committed so that building Gabion needs no
// Node. The one idea: the UI talks to nothing but the console's own API, and
// its page may run nothing that is not in dist.
package ui

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Dist is the folder dist: index.html, theme.js, favicon.svg and assets.
func Dist() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil { // only for an invalid name
		return dist
	}
	return sub
}
