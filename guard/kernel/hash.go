package kernel

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// hasher makes the same keyed hashes as bpf/process_judge.h (SipHash-1-3, by
// Aumasson and Bernstein). The key is secret, so that nobody inside a
// container can look for two paths that collide.
type hasher struct{ k0, k1 uint64 }

// bytes hashes at most 255 bytes; more are cut, as the kernel cuts them.
func (h hasher) bytes(b []byte) uint64 {
	if len(b) > 255 {
		b = b[:255]
	}
	v0 := h.k0 ^ 0x736f6d6570736575
	v1 := h.k1 ^ 0x646f72616e646f6d
	v2 := h.k0 ^ 0x6c7967656e657261
	v3 := h.k1 ^ 0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	size := len(b)
	for len(b) >= 8 {
		m := binary.LittleEndian.Uint64(b)
		v3 ^= m
		round()
		v0 ^= m
		b = b[8:]
	}
	m := uint64(size) << 56
	for i, c := range b {
		m |= uint64(c) << (8 * i)
	}
	v3 ^= m
	round()
	v0 ^= m
	v2 ^= 0xff
	round()
	round()
	round()
	return v0 ^ v1 ^ v2 ^ v3
}

func (h hasher) name(s string) uint64 { return h.bytes([]byte(s)) }

func (h hasher) pair(a, b uint64) uint64 {
	var buf [16]byte
	binary.LittleEndian.PutUint64(buf[:], a)
	binary.LittleEndian.PutUint64(buf[8:], b)
	return h.bytes(buf[:])
}

// place is a path below the root of its own file system: what the kernel sees
// of a file, however it was reached.
type place struct {
	dev    uint32 // the kernel's s_dev
	atRoot bool   // path is below the container's root, not the file system's
	path   string // absolute and clean
}

// hash is the hash of a place as the kernel programs compute it.
func (h hasher) place(p place) uint64 {
	var seed uint64
	if p.atRoot {
		seed = 1
	}
	sum := h.pair(uint64(p.dev), seed)
	for part := range strings.SplitSeq(p.path, "/") {
		if part != "" {
			sum = h.pair(sum, h.name(part))
		}
	}
	return sum
}
