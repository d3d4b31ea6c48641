package kernel

import "encoding/binary"

// elf makes a static 64-bit program of code that is loaded at one page.
func elf(machine uint16, code []byte, order binary.AppendByteOrder) []byte {
	const base, header = 0x400000, 64 + 56
	size := uint64(header + len(code))
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = order.AppendUint16(b, 2) // executable
	b = order.AppendUint16(b, machine)
	b = order.AppendUint32(b, 1)
	b = order.AppendUint64(b, base+header) // entry
	b = order.AppendUint64(b, 64)          // program headers
	b = order.AppendUint64(b, 0)           // no sections
	b = order.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		b = order.AppendUint16(b, v)
	}
	b = order.AppendUint32(b, 1) // load
	b = order.AppendUint32(b, 5) // read, execute
	b = order.AppendUint64(b, 0)
	b = order.AppendUint64(b, base)
	b = order.AppendUint64(b, base)
	b = order.AppendUint64(b, size)
	b = order.AppendUint64(b, size)
	b = order.AppendUint64(b, 0x1000)
	return append(b, code...)
}
