package attacks

import (
	"bytes"
	"encoding/binary"
)

// word is code that writes Effect and a newline to standard output, and falls
// through to what follows.
func word() []byte {
	text := Effect + "\n"
	code := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, 1 (write)
		0xbf, 1, 0, 0, 0, // mov edi, 1
		0x48, 0x8d, 0x35, 0x09, 0, 0, 0, // lea rsi, [rip+9]
		0xba, byte(len(text)), 0, 0, 0, // mov edx, length
		0x0f, 0x05, // syscall
		0xeb, byte(len(text)), // jmp over the text
	}
	return append(code, text...)
}

// returning is the word as a function.
func returning() []byte { return append(word(), 0xc3) }

// Program is the smallest program that says Effect: static, one segment.
func Program() []byte {
	code := append(word(), 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05) // exit(0)
	const base, head = 0x400000, 64 + 56
	var b bytes.Buffer
	elfHeader(&b, 2, base+head, 1)
	segment(&b, 1, 5, 0, base, uint64(head+len(code)))
	b.Write(code)
	return b.Bytes()
}

// Forged is a program that says Effect too, with other bytes.
func Forged() []byte { return append(Program(), 0) }

// Library is the smallest library that says Effect when it is loaded: its
// DT_INIT is the word.
func Library() []byte { return linked(returning(), false) }

// Linked is the smallest program for the loader that says Effect; quiet, it
// ends without a word.
func Linked(quiet bool) []byte {
	exit := []byte{0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05}
	if quiet {
		return linked(exit, true)
	}
	return linked(append(word(), exit...), true)
}

// linked makes a position-independent file. Code and data have a segment each,
// so that nothing is writable and code at once.
func linked(code []byte, program bool) []byte {
	const headers, data = 5, 0x1000
	const head = 64 + headers*56
	const dynamic = data + 32 // behind one symbol and one byte of names
	interpreter := loader + "\x00"
	at := head + len(code)
	var b bytes.Buffer
	entry := uint64(0)
	if program {
		entry = head
	}
	elfHeader(&b, 3, entry, headers)
	if program {
		segment(&b, 6, 4, 64, 64, headers*56)
		segment(&b, 3, 4, uint64(at), uint64(at), uint64(len(interpreter)))
	} else {
		segment(&b, 0, 0, 0, 0, 0)
		segment(&b, 0, 0, 0, 0, 0)
	}
	segment(&b, 1, 5, 0, 0, uint64(at+len(interpreter)))
	segment(&b, 1, 6, data, data, 32+6*16)
	segment(&b, 2, 6, dynamic, dynamic, 6*16)
	b.Write(code)
	b.WriteString(interpreter)
	b.Write(make([]byte, dynamic-b.Len()))
	init := [2]uint64{12, head} // DT_INIT
	if program {
		init = [2]uint64{21, 0} // DT_DEBUG
	}
	for _, d := range [][2]uint64{
		init, {5, data + 24}, {10, 1}, {6, data}, {11, 24}, {0, 0}, // DT_STRTAB, DT_STRSZ, DT_SYMTAB, DT_SYMENT, DT_NULL
	} {
		_ = binary.Write(&b, binary.LittleEndian, d) // a buffer takes everything
	}
	return b.Bytes()
}

func elfHeader(b *bytes.Buffer, kind uint16, entry uint64, segments uint16) {
	b.WriteString("\x7fELF\x02\x01\x01" + string(make([]byte, 9)))
	for _, v := range []any{kind, uint16(62), uint32(1), entry, uint64(64), uint64(0), uint32(0),
		uint16(64), uint16(56), segments, uint16(64), uint16(0), uint16(0)} {
		_ = binary.Write(b, binary.LittleEndian, v)
	}
}

func segment(b *bytes.Buffer, kind, flags uint32, offset, addr, size uint64) {
	for _, v := range []any{kind, flags, offset, addr, addr, size, size, uint64(0x1000)} {
		_ = binary.Write(b, binary.LittleEndian, v)
	}
}
