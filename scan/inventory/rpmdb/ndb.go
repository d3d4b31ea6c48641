package rpmdb

import (
	"encoding/binary"
	"fmt"
)

// readNDB reads rpm's own format: pages of 16-byte slots that point to blobs.
func readNDB(s source, fn func([]byte) error) error {
	var head [32]byte
	if err := s.at(head[:], 0); err != nil {
		return err
	}
	le := binary.LittleEndian
	if v := le.Uint32(head[4:]); v != 0 {
		return fmt.Errorf("%w: ndb version %d is unknown", ErrFormat, v)
	}
	pages := int64(le.Uint32(head[12:]))
	if pages == 0 || pages*4096 > s.size {
		return fmt.Errorf("%w: %d slot pages do not fit the file", ErrFormat, pages)
	}
	page := make([]byte, 4096)
	var blob []byte
	for p := range pages {
		if err := s.at(page, p*4096); err != nil {
			return err
		}
		first := 0
		if p == 0 {
			first = 32 // the header takes two slots
		}
		for i := first; i < len(page); i += 16 {
			slot := page[i : i+16]
			if string(slot[:4]) != "Slot" {
				return fmt.Errorf("%w: slot without its magic on page %d", ErrFormat, p)
			}
			id, off := le.Uint32(slot[4:]), int64(le.Uint32(slot[8:]))*16
			if id == 0 {
				continue
			}
			var bh [16]byte
			if err := s.at(bh[:], off); err != nil {
				return err
			}
			n := int64(le.Uint32(bh[12:]))
			if string(bh[:4]) != "BlbS" || le.Uint32(bh[4:]) != id || n > MaxHeader || off+16+n > s.size {
				return fmt.Errorf("%w: blob of package %d is damaged", ErrFormat, id)
			}
			if int64(cap(blob)) < n {
				blob = make([]byte, n)
			}
			if err := s.at(blob[:n], off+16); err != nil {
				return err
			}
			if err := fn(blob[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}
