package rpmdb

import (
	"encoding/binary"
	"fmt"
)

// Page types and magic of Berkeley DB's hash access method.
const (
	bdbHashMagic    = 0x061561
	bdbHashUnsorted = 2
	bdbOverflow     = 7
	bdbHash         = 13
	bdbOffPage      = 3 // an item that is a reference to overflow pages
	bdbPageHeader   = 26
)

// readBDB reads the values of a hash table. Headers are so large that they
// always are on overflow pages; small items are rpm's own counters.
func readBDB(s source, order binary.ByteOrder, fn func([]byte) error) error {
	var meta [72]byte
	if err := s.at(meta[:], 0); err != nil {
		return err
	}
	size := int64(order.Uint32(meta[20:]))
	last := int64(order.Uint32(meta[32:]))
	if size < 512 || size > 65536 || size&(size-1) != 0 || last*size > s.size {
		return fmt.Errorf("%w: %d pages of %d bytes do not fit the file", ErrFormat, last+1, size)
	}
	page, over := make([]byte, size), make([]byte, size)
	var blob []byte
	budget := last + 1 // overflow pages belong to one item each
	for n := range last + 1 {
		if err := s.at(page, n*size); err != nil {
			return err
		}
		if t := page[25]; t != bdbHash && t != bdbHashUnsorted {
			continue
		}
		items := int64(order.Uint16(page[20:]))
		if items%2 != 0 || bdbPageHeader+2*items > size {
			return fmt.Errorf("%w: page %d has %d items", ErrFormat, n, items)
		}
		for i := int64(1); i < items; i += 2 { // keys and values take turns
			at := int64(order.Uint16(page[bdbPageHeader+2*i:]))
			if at+12 > size || page[at] != bdbOffPage {
				continue
			}
			blob = blob[:0]
			for next := int64(order.Uint32(page[at+4:])); next != 0; {
				if budget--; budget < 0 {
					return fmt.Errorf("%w: overflow pages run in a circle", ErrFormat)
				}
				if next > last {
					return fmt.Errorf("%w: overflow page %d is beyond the end", ErrFormat, next)
				}
				if err := s.at(over, next*size); err != nil {
					return err
				}
				used := int64(order.Uint16(over[22:]))
				if over[25] != bdbOverflow || bdbPageHeader+used > size || len(blob) > MaxHeader {
					return fmt.Errorf("%w: overflow page %d is damaged", ErrFormat, next)
				}
				blob = append(blob, over[bdbPageHeader:bdbPageHeader+used]...)
				next = int64(order.Uint32(over[16:]))
			}
			if want := order.Uint32(page[at+8:]); uint32(len(blob)) != want {
				return fmt.Errorf("%w: item on page %d has %d bytes of %d", ErrFormat, n, len(blob), want)
			}
			if err := fn(blob); err != nil {
				return err
			}
		}
	}
	return nil
}
