package pack

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	bitlen "math/bits"

	"github.com/klauspost/compress/zstd"
)

// A delta turns one file into another. After a magic word come three sections,
// each a length (8 bytes, little endian) and zstd data:
//
//	control  per step, as varints: bytes to take from "extra", where to go on in
//	         the old file (relative to the last step's end), bytes to take there
//	diff     what to add to each byte taken from the old file
//	extra    bytes that are new
//
// Adding instead of copying lets one step run across tables whose numbers have
// all grown by the same amount: their differences are mostly zero and compress
// to nearly nothing. It is the scheme of bsdiff (C. Percival, "Naive
// differences of executable code") with a table of blocks in place of a suffix
// array.
const deltaMagic = "GABDELT1"

const (
	seedSize = 6  // bytes that must agree for a step to begin: short, since references into tables lie close together
	slack    = 96 // mismatches in excess of matches before a step is ended
)

// makeDelta writes a delta that turns old into new.
func makeDelta(old, new []byte) ([]byte, error) {
	if len(old) > maxDeltaBase || len(new) > maxDeltaBase {
		return nil, fmt.Errorf("make delta of %d and %d bytes: %w", len(old), len(new), ErrTooBig)
	}
	seeds := newSeeds(old)
	var control, diff, extra []byte
	at, done := 0, 0 // in old; in new
	step := func(literal, from, n int) {
		control = binary.AppendUvarint(control, uint64(literal))
		control = binary.AppendVarint(control, int64(from-at))
		control = binary.AppendUvarint(control, uint64(n))
		extra = append(extra, new[done:done+literal]...)
		for i := range n {
			diff = append(diff, new[done+literal+i]-old[from+i])
		}
		at, done = from+n, done+literal+n
	}
	for pos := 0; pos+seedSize <= len(new); {
		a, b := seeds.find(new[pos:]), pos
		if a < 0 {
			pos++
			continue
		}
		for a > 0 && b > done && old[a-1] == new[b-1] {
			a, b = a-1, b-1
		}
		n := extend(old[a:], new[b:])
		step(b-done, a, n)
		pos = done
	}
	if done < len(new) {
		step(len(new)-done, at, 0)
	}
	out := []byte(deltaMagic)
	for _, s := range [][]byte{control, diff, extra} {
		z, err := compress(s)
		if err != nil {
			return nil, err
		}
		out = binary.LittleEndian.AppendUint64(out, uint64(len(z)))
		out = append(out, z...)
	}
	return out, nil
}

// seeds finds blocks of a file by their content: a table by hash, without
// chains, since one place to go on from is enough.
type seeds struct {
	file  []byte
	table []int32 // position + 1
	shift int
}

func newSeeds(file []byte) *seeds {
	bits := max(8, bitlen.Len(uint(len(file)/seedSize)*2))
	s := &seeds{file: file, table: make([]int32, 1<<bits), shift: 64 - bits}
	for i := len(file)/seedSize*seedSize - seedSize; i >= 0; i -= seedSize {
		s.table[s.slot(file[i:])] = int32(i + 1) // the first of equal blocks stays
	}
	return s
}

// slot hashes the first seedSize bytes.
func (s *seeds) slot(b []byte) uint64 {
	v := uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint16(b[4:]))<<32
	return v * 0x9e3779b97f4a7c15 >> s.shift
}

// find gives where the first seedSize bytes of b lie in the file, or -1.
func (s *seeds) find(b []byte) int {
	at := int(s.table[s.slot(b)]) - 1
	if at < 0 || !bytes.Equal(s.file[at:at+seedSize], b[:seedSize]) {
		return -1
	}
	return at
}

// extend tells how far two pieces are worth keeping together: as long as
// matches outweigh mismatches.
func extend(a, b []byte) int {
	best, bestScore, score := 0, 0, 0
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			score++
		} else {
			score--
		}
		if score >= bestScore {
			best, bestScore = i+1, score
		} else if bestScore-score > slack {
			break
		}
	}
	return best
}

func compress(b []byte) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	defer z.Close()
	return z.EncodeAll(b, nil), nil
}

// applyDelta writes what delta makes of old to w, at most max bytes.
func applyDelta(old io.ReaderAt, oldSize int64, delta []byte, max int64, w io.Writer) error {
	sections, err := split(delta)
	if err != nil {
		return err
	}
	var readers [3]*bufio.Reader
	for i, s := range sections {
		z, err := zstd.NewReader(bytes.NewReader(s), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return fmt.Errorf("apply delta: %w: %w", err, ErrCorrupt)
		}
		defer z.Close()
		readers[i] = bufio.NewReaderSize(z, 64<<10)
	}
	p := &patch{old: old, oldSize: oldSize, diff: readers[1], extra: readers[2], left: max, w: w}
	for {
		literal, err := binary.ReadUvarint(readers[0])
		if err == io.EOF {
			return nil
		}
		move, err2 := binary.ReadVarint(readers[0])
		n, err3 := binary.ReadUvarint(readers[0])
		if err := errors.Join(err, err2, err3); err != nil {
			return fmt.Errorf("apply delta: %w: %w", err, ErrCorrupt)
		}
		if err := p.step(literal, move, n); err != nil {
			return fmt.Errorf("apply delta: %w", err)
		}
	}
}

func split(delta []byte) (out [3][]byte, err error) {
	rest, ok := bytes.CutPrefix(delta, []byte(deltaMagic))
	if !ok {
		return out, fmt.Errorf("apply delta: not a delta: %w", ErrCorrupt)
	}
	for i := range out {
		if len(rest) < 8 {
			return out, fmt.Errorf("apply delta: truncated: %w", ErrCorrupt)
		}
		n := binary.LittleEndian.Uint64(rest)
		if rest = rest[8:]; n > uint64(len(rest)) {
			return out, fmt.Errorf("apply delta: truncated: %w", ErrCorrupt)
		}
		out[i], rest = rest[:n], rest[n:]
	}
	if len(rest) > 0 {
		return out, fmt.Errorf("apply delta: %d bytes too many: %w", len(rest), ErrCorrupt)
	}
	return out, nil
}

type patch struct {
	old         io.ReaderAt
	oldSize, at int64
	diff, extra io.Reader
	left        int64 // bytes that may still be written
	w           io.Writer
}

func (p *patch) step(literal uint64, move int64, n uint64) error {
	if literal > uint64(p.left) || n > uint64(p.left)-literal {
		return fmt.Errorf("more bytes than announced: %w", ErrCorrupt)
	}
	p.left -= int64(literal + n)
	if _, err := io.CopyN(p.w, p.extra, int64(literal)); err != nil {
		return fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	from := p.at + move
	if from < 0 || from > p.oldSize || int64(n) > p.oldSize-from {
		return fmt.Errorf("step outside the old file: %w", ErrCorrupt)
	}
	p.at = from + int64(n)
	var a, d [32 << 10]byte
	for done := int64(0); done < int64(n); {
		k := min(int64(len(a)), int64(n)-done)
		if _, err := p.old.ReadAt(a[:k], from+done); err != nil {
			return fmt.Errorf("read the old file: %w", err)
		}
		if _, err := io.ReadFull(p.diff, d[:k]); err != nil {
			return fmt.Errorf("%w: %w", err, ErrCorrupt)
		}
		for i := range k {
			a[i] += d[i]
		}
		if _, err := p.w.Write(a[:k]); err != nil {
			return err
		}
		done += k
	}
	return nil
}
