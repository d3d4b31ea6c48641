package walk_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/scan/walk"
)

// TestLost: what loses a layer, and how it is told.
func TestLost(t *testing.T) {
	plain := tarOf(t, reg("a", strings.Repeat("content ", 100_000)), reg("b", "x"))
	packed := gz(t, plain)
	flipped := bytes.Clone(plain)
	flipped[0] ^= 1
	checksum := bytes.Clone(packed)
	checksum[len(checksum)-6] ^= 1
	bomb := gz(t, tarOf(t, reg("zeros", strings.Repeat("\x00", 4<<20))))
	many := make([]file, 50)
	for i := range many {
		many[i] = reg(fmt.Sprint(i), "")
	}
	var wide bytes.Buffer
	w, err := zstd.NewWriter(&wide, zstd.WithWindowSize(8<<20))
	if err == nil {
		_, err = w.Write(bytes.Repeat(plain, 20))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		blob []byte
		want walk.Want
		lim  walk.Limits
		kind error
	}{
		"cut tar":              {blob: plain[:70_000], kind: walk.ErrCorrupt},
		"cut gzip":             {blob: packed[:len(packed)-500], kind: walk.ErrCorrupt},
		"cut gzip trailer":     {blob: packed[:len(packed)-3], kind: walk.ErrCorrupt},
		"gzip checksum":        {blob: checksum, kind: walk.ErrCorrupt},
		"gzip header only":     {blob: packed[:5], kind: walk.ErrCorrupt},
		"second member cut":    {blob: append(bytes.Clone(packed), packed[:5]...), kind: walk.ErrCorrupt},
		"cut zstd":             {blob: zst(t, plain)[:60], kind: walk.ErrCorrupt},
		"garbage behind zstd":  {blob: append(zst(t, plain), "garbage"...), kind: walk.ErrCorrupt},
		"tar checksum":         {blob: flipped, kind: walk.ErrCorrupt},
		"text":                 {blob: []byte(strings.Repeat("not a tar ", 200)), kind: walk.ErrCorrupt},
		"nothing":              {blob: nil, kind: walk.ErrCorrupt},
		"gzip of nothing":      {blob: gz(t, nil), kind: walk.ErrCorrupt},
		"bzip2":                {blob: []byte("BZh91AY&SY"), kind: walk.ErrUnsupported},
		"xz":                   {blob: []byte("\xfd7zXZ\x00more"), kind: walk.ErrUnsupported},
		"encrypted":            {blob: packed, want: walk.Want{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"}, kind: walk.ErrUnsupported},
		"no file system":       {blob: packed, want: walk.Want{MediaType: "application/vnd.wasm.content.layer.v1+wasm"}, kind: walk.ErrUnsupported},
		"other digest":         {blob: packed, want: walk.Want{Digest: sum(plain)}, kind: walk.ErrMismatch},
		"other diff id":        {blob: packed, want: walk.Want{DiffID: sum(packed)}, kind: walk.ErrMismatch},
		"longer than promised": {blob: packed, want: walk.Want{Size: 100}, kind: walk.ErrMismatch},
		"shorter":              {blob: packed, want: walk.Want{Size: int64(len(packed)) + 1}, kind: walk.ErrMismatch},
		"ratio":                {blob: bomb, lim: walk.Limits{RatioFrom: 1 << 20}, kind: walk.ErrBomb},
		"bytes":                {blob: bomb, lim: walk.Limits{Bytes: 1 << 20}, kind: walk.ErrTooBig},
		"entries":              {blob: gz(t, tarOf(t, many...)), lim: walk.Limits{Entries: 49}, kind: walk.ErrTooMany},
		"zstd window":          {blob: wide.Bytes(), lim: walk.Limits{Window: 1 << 20}, kind: walk.ErrTooBig},
		"name with NUL":        {blob: paxPath("a\x00b"), kind: walk.ErrCorrupt},
		"negative size":        {blob: rawHeader("x", "-0000000001"), kind: walk.ErrCorrupt},
		"no such size":         {blob: rawHeader("x", "77777777777"), kind: walk.ErrCorrupt},
		"sparse bomb":          {blob: sparse(1 << 40), lim: walk.Limits{RatioFrom: 1 << 20}, kind: walk.ErrBomb},
	} {
		_, res, err := layer(t, c.blob, c.want, c.lim)
		if !errors.Is(err, c.kind) || res.Digest != "" {
			t.Errorf("%s: %v; want %v", name, err, c.kind)
		}
	}
}

// rawHeader is a header that no writer makes.
func rawHeader(name, size string) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], size)
	copy(b[136:], "00000000000\x00")
	b[156] = '0'
	copy(b[257:], "ustar\x0000")
	return seal(b)
}

// seal writes the checksum of a header.
func seal(b []byte) []byte {
	copy(b[148:156], "        ")
	n := 0
	for _, c := range b[:512] {
		n += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", n))
	return b
}

// paxPath is an extended header that names the next entry.
func paxPath(p string) []byte {
	rec := " path=" + p + "\n"
	n := len(rec) + 1
	for n != len(rec)+len(fmt.Sprint(n)) {
		n = len(rec) + len(fmt.Sprint(n))
	}
	rec = fmt.Sprint(n) + rec
	h := rawHeader("PaxHeaders/x", fmt.Sprintf("%011o", len(rec)))
	h[156] = 'x'
	b := append(seal(h), rec...)
	b = append(b, make([]byte, (512-len(rec)%512)%512)...)
	b = append(b, rawHeader("short", "00000000000")...)
	return append(b, make([]byte, 1024)...)
}

// sparse is a file of GNU's sparse form: 512 bytes of data, the rest a hole.
func sparse(size int64) []byte {
	h := rawHeader("sparse", "00000001000")
	h[156] = 'S'
	copy(h[257:], "ustar  \x00")
	copy(h[386:], fmt.Sprintf("%011o\x00%011o\x00", 0, 512)) // one piece
	copy(h[410:], sparseNumber(size)+"00000000000\x00")      // and the end
	copy(h[483:], sparseNumber(size))
	b := append(seal(h), bytes.Repeat([]byte("d"), 512)...)
	b = append(b, rawHeader("next", "00000000000")...)
	return append(b, make([]byte, 1024)...)
}

// sparseNumber is a size of twelve bytes, in base 256 when it must be.
func sparseNumber(n int64) string {
	b := make([]byte, 12)
	b[0] = 0x80
	for i := 11; n > 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	return string(b)
}

// TestSparse: holes are read as zeros, and what follows is found.
func TestSparse(t *testing.T) {
	got, res, err := layer(t, sparse(100_000), walk.Want{}, walk.Limits{})
	want := []string{`regular sparse 100000 "dddddddddddddddddddd"`, `regular next 0 ""`}
	if err != nil || !slices.Equal(got, want) || len(res.Gaps) != 0 {
		t.Errorf("%q %v %+v", got, err, res)
	}
}

// TestGaps: what loses one entry, or nothing that counts, is told.
func TestGaps(t *testing.T) {
	plain := tarOf(t, reg("a", "x"))
	unknown := rawHeader("u", "00000000000")
	unknown[156] = 'Z'
	unknown = append(seal(unknown), plain...)
	for name, c := range map[string]struct {
		blob  []byte
		lim   walk.Limits
		where string
		minor bool
		want  []string
	}{
		"leaves the root": {blob: tarOf(t, reg("../../etc/passwd", "p")), where: "etc/passwd", minor: true, want: []string{`regular etc/passwd 1 "p"`}},
		"link leaves":     {blob: tarOf(t, link(tar.TypeLink, "l", "../x")), where: "l"},
		"long path":       {blob: tarOf(t, reg(strings.Repeat("p", 300), "x"), reg("a", "x")), lim: walk.Limits{PathBytes: 200}, where: strings.Repeat("p", 256) + "... (300 bytes)", want: []string{`regular a 1 "x"`}},
		"long link":       {blob: tarOf(t, link(tar.TypeSymlink, "l", strings.Repeat("p", 300))), lim: walk.Limits{PathBytes: 200}, where: "l"},
		"deep path":       {blob: tarOf(t, reg(strings.Repeat("d/", 30)+"x", "x")), lim: walk.Limits{Depth: 20}, where: strings.Repeat("d/", 30) + "x"},
		"removes nothing": {blob: tarOf(t, reg("a/.wh.", "")), where: "a/.wh."},
		"removes above":   {blob: tarOf(t, reg("a/.wh...", "")), where: "a/.wh..."},
		"big file":        {blob: tarOf(t, reg("big", "12345"), reg("a", "x")), lim: walk.Limits{FileBytes: 4}, where: "big", want: []string{`regular big 5 "" file too big to read`, `regular a 1 "x"`}},
		"unknown type":    {blob: unknown, where: "u", want: []string{`regular a 1 "x"`}},
		"behind the tar":  {blob: append(bytes.Clone(plain), "hidden"...), where: "layer", minor: true, want: []string{`regular a 1 "x"`}},
		"behind the gzip": {blob: append(gz(t, plain), "hidden"...), where: "layer", minor: true, want: []string{`regular a 1 "x"`}},
	} {
		got, res, err := layer(t, c.blob, walk.Want{Digest: sum(c.blob)}, c.lim)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
			continue
		}
		if len(res.Gaps) != 1 || res.Gaps[0].Where != c.where || res.Gaps[0].Minor != c.minor || res.Gaps[0].Means == "" {
			t.Errorf("%s: gaps %+v", name, res.Gaps)
		}
	}
}

// TestManyGaps: the list of gaps is bounded, and says so.
func TestManyGaps(t *testing.T) {
	var files []file
	for i := range 30 {
		files = append(files, reg(fmt.Sprintf("d%d/.wh.", i), ""))
	}
	_, res, err := layer(t, tarOf(t, files...), walk.Want{}, walk.Limits{Gaps: 10})
	if err != nil || len(res.Gaps) != 11 || !strings.HasPrefix(res.Gaps[10].What, "20 more") || res.Gaps[10].Minor {
		t.Errorf("%v: %+v", err, res.Gaps)
	}
}

// TestOddTars: forms of tar that are right, if unusual.
func TestOddTars(t *testing.T) {
	plain := tarOf(t, reg("a", "x"))
	global := file{h: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "c"}}}
	star := rawHeader("base", "0")
	copy(star[345:], "prefix")
	for name, blob := range map[string][]byte{
		"no end":          plain[:1024],
		"global header":   tarOf(t, global, reg("a", "x")),
		"much padding":    append(bytes.Clone(plain), make([]byte, 1<<20)...),
		"extended header": bytes.Replace(paxPath("a"), []byte("short"), []byte("short"), 1),
	} {
		got, res, err := layer(t, blob, walk.Want{}, walk.Limits{})
		if err != nil || len(got) != 1 || !strings.HasPrefix(got[0], "regular a ") || len(res.Gaps) != 0 {
			t.Errorf("%s: %q, %v, %+v", name, got, err, res.Gaps)
		}
	}
	if got, _, err := layer(t, append(seal(star), make([]byte, 1024)...), walk.Want{}, walk.Limits{}); err != nil || got[0] != `regular prefix/base 0 ""` {
		t.Errorf("prefix: %q %v", got, err)
	}
	empty := make([]byte, 1024)
	if _, res, err := layer(t, empty, walk.Want{DiffID: sum(empty)}, walk.Limits{}); err != nil || res.Entries != 0 {
		t.Errorf("empty layer: %v %+v", err, res)
	}
}

// endless is a layer that never ends; its headers are sealed once.
type endless struct {
	block []byte
	off   int
}

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.block[e.off:])
	e.off = (e.off + n) % len(e.block)
	return n, nil
}

// TestEndless: layers without an end stop at a limit, and memory stays flat.
func TestEndless(t *testing.T) {
	pax := rawHeader("x", fmt.Sprintf("%011o", 512))
	pax[156] = 'x'
	rec := "512 comment=" + strings.Repeat("c", 499) + "\n"
	for name, c := range map[string]struct {
		block []byte
		lim   walk.Limits
		kind  error
	}{
		"entries": {rawHeader("x", "0"), walk.Limits{Entries: 300_000}, walk.ErrTooMany},
		// Extended headers that no entry follows: each replaces the last.
		"headers": {append(seal(pax), rec...), walk.Limits{Bytes: 64 << 20}, walk.ErrTooBig},
		"content": {append(rawHeader("x", "77777777777"), make([]byte, 511*512)...), walk.Limits{Bytes: 64 << 20}, walk.ErrTooBig},
		"time":    {append(rawHeader("x", "77777777777"), make([]byte, 511*512)...), walk.Limits{Time: 50 * time.Millisecond}, walk.ErrTimeout},
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var peak uint64
		n := 0
		_, err := walk.Layer(context.Background(), &endless{block: c.block}, walk.Want{}, c.lim, walk.VisitorFunc(func(*walk.Entry, io.Reader) error {
			if n++; n%100_000 == 0 {
				runtime.ReadMemStats(&after)
				peak = max(peak, after.HeapAlloc)
			}
			return nil
		}))
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
		if peak > before.HeapAlloc+32<<20 {
			t.Errorf("%s: %d MB of memory", name, (peak-before.HeapAlloc)>>20)
		}
	}
}
