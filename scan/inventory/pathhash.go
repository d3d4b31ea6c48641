package inventory

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Paths are compared by the first 62 bits of their SHA-256: a layer needs no
// more than eight bytes per path to tell which files of lower layers it hides,
// and nobody can choose a path that hides another one by accident of hashing.
// The two low bits say how a path hides others.
const (
	covers = 0 // a file, link, device or whiteout: the path and all below it
	isDir  = 1 // a directory: a file of that path, but nothing below it
	opaque = 2 // everything below the path, not the path
	kinds  = 3
)

// hashPath hashes a clean relative path.
func hashPath(path string) uint64 {
	var stack [256]byte
	sum := sha256.Sum256(append(stack[:0], path...))
	return binary.BigEndian.Uint64(sum[:]) &^ kinds
}

// hides is the sorted set of path hashes of a layer.
type hides []uint64

// has reports which kinds of entries a layer has at a path, as bits.
func (h hides) has(hash uint64) (bits uint) {
	i, _ := slices.BinarySearch(h, hash)
	for ; i < len(h) && h[i]&^kinds == hash; i++ {
		bits |= 1 << (h[i] & kinds)
	}
	return bits
}
