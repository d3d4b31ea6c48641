package kernel

import "encoding/binary"

// exitELF is a program that ends at once.
func exitELF() []byte {
	return elf(62, []byte{
		0xb8, 60, 0, 0, 0, // mov eax, 60 (exit)
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05, // syscall
	}, binary.LittleEndian)
}
