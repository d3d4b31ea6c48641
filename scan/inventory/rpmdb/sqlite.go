package rpmdb

import (
	"encoding/binary"
	"fmt"
	"math"
)

// sqlite is a database file, of which tables are read from end to end.
type sqlite struct {
	source
	page   int64 // bytes of a page
	usable int64 // of these, without the reserved tail
	budget int64 // pages still to be read: a tree visits each at most once
}

// readSQLite reads the column "blob" of the table "Packages". What a
// write-ahead log beside the file still holds is not seen; rpm empties it at
// the end of every transaction.
func readSQLite(s source, fn func([]byte) error) error {
	var head [100]byte
	if err := s.at(head[:], 0); err != nil {
		return err
	}
	be := binary.BigEndian
	size := int64(be.Uint16(head[16:]))
	if size == 1 {
		size = 65536
	}
	if size < 512 || size&(size-1) != 0 || size-int64(head[20]) < 480 {
		return fmt.Errorf("%w: pages of %d bytes", ErrFormat, size)
	}
	d := &sqlite{source: s, page: size, usable: size - int64(head[20]), budget: s.size/size + 1}
	root := int64(0)
	err := d.table(1, 0, func(row []byte) error {
		// sqlite_schema: type, name, tbl_name, rootpage, sql
		col, err := columns(row, 4)
		if err != nil {
			return err
		}
		if len(col) == 4 && string(col[0].data) == "table" && string(col[1].data) == "Packages" {
			root = col[3].number
		}
		return nil
	})
	if err != nil {
		return err
	}
	if root == 0 {
		return fmt.Errorf("%w: SQLite database has no table Packages", ErrFormat)
	}
	d.budget = s.size/size + 1
	return d.table(root, 0, func(row []byte) error {
		// Packages: hnum, blob
		col, err := columns(row, 2)
		if err != nil {
			return err
		}
		if len(col) < 2 {
			return fmt.Errorf("%w: row of %d columns", ErrFormat, len(col))
		}
		return fn(col[1].data)
	})
}

// table hands over every row of a table b-tree.
func (d *sqlite) table(number int64, depth int, fn func([]byte) error) error {
	if depth > 20 {
		return fmt.Errorf("%w: tree is too deep", ErrFormat)
	}
	p, err := d.read(number)
	if err != nil {
		return err
	}
	h := p
	if number == 1 {
		h = p[100:] // the first page begins with the header of the file
	}
	be := binary.BigEndian
	cells := int(be.Uint16(h[3:]))
	array := 8
	if h[0] == 5 {
		array = 12
	} else if h[0] != 13 {
		return fmt.Errorf("%w: page %d is of type %d", ErrFormat, number, h[0])
	}
	if array+2*cells > len(h) {
		return fmt.Errorf("%w: page %d has %d cells", ErrFormat, number, cells)
	}
	for i := range cells {
		at := int64(be.Uint16(h[array+2*i:]))
		if at+4 > d.usable {
			return fmt.Errorf("%w: cell beyond page %d", ErrFormat, number)
		}
		if h[0] == 5 {
			if err := d.table(int64(be.Uint32(p[at:])), depth+1, fn); err != nil {
				return err
			}
			continue
		}
		row, err := d.row(p[at:d.usable])
		if err != nil {
			return err
		}
		if err := fn(row); err != nil {
			return err
		}
	}
	if h[0] == 5 {
		return d.table(int64(be.Uint32(h[8:])), depth+1, fn)
	}
	return nil
}

// read reads a page; pages count from 1.
func (d *sqlite) read(number int64) ([]byte, error) {
	if d.budget--; d.budget < 0 {
		return nil, fmt.Errorf("%w: pages run in a circle", ErrFormat)
	}
	if number < 1 || number > d.size/d.page {
		return nil, fmt.Errorf("%w: page %d is beyond the end", ErrFormat, number)
	}
	p := make([]byte, d.page)
	return p, d.at(p, (number-1)*d.page)
}

// row puts the payload of a leaf cell together: what is in the cell, and the
// chain of overflow pages.
func (d *sqlite) row(cell []byte) ([]byte, error) {
	size, n := varint(cell)
	_, m := varint(cell[n:]) // the row's number
	if n == 0 || m == 0 || size > MaxHeader {
		return nil, fmt.Errorf("%w: cell of %d bytes", ErrFormat, size)
	}
	cell = cell[n+m:]
	total, local := int64(size), int64(size)
	if most := d.usable - 35; total > most {
		least := (d.usable-12)*32/255 - 23
		if local = least + (total-least)%(d.usable-4); local > most {
			local = least
		}
	}
	if local > int64(len(cell)) || local < total && local+4 > int64(len(cell)) {
		return nil, fmt.Errorf("%w: cell is cut off", ErrFormat)
	}
	if local == total {
		return cell[:local], nil
	}
	if total > d.size {
		return nil, fmt.Errorf("%w: row of %d bytes in a file of %d", ErrFormat, total, d.size)
	}
	out := append(make([]byte, 0, total), cell[:local]...)
	next := int64(binary.BigEndian.Uint32(cell[local:]))
	for int64(len(out)) < total {
		p, err := d.read(next)
		if err != nil {
			return nil, err
		}
		next = int64(binary.BigEndian.Uint32(p))
		out = append(out, p[4:4+min(d.usable-4, total-int64(len(out)))]...)
	}
	return out, nil
}

// column is one value of a row: a number, or bytes.
type column struct {
	number int64
	data   []byte
}

// columns takes the first columns of a row apart.
func columns(row []byte, most int) ([]column, error) {
	bad := fmt.Errorf("%w: row is cut off", ErrFormat)
	size, n := varint(row)
	if n == 0 || size > uint64(len(row)) || size < uint64(n) {
		return nil, bad
	}
	types, data := row[n:size], row[size:]
	var out []column
	for len(types) > 0 && len(out) < most {
		t, n := varint(types)
		if n == 0 || t > math.MaxInt32 {
			return nil, bad
		}
		types = types[n:]
		width := [...]int{0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0}
		w := 0
		if t < 12 {
			w = width[t]
		} else {
			w = int(t-12) / 2
		}
		if w > len(data) {
			return nil, bad
		}
		c := column{data: data[:w]}
		if t >= 1 && t <= 6 {
			c.number = int64(int8(data[0]))
			for _, b := range data[1:w] {
				c.number = c.number<<8 | int64(b)
			}
			c.data = nil
		} else if t == 9 {
			c.number = 1
		}
		out, data = append(out, c), data[w:]
	}
	return out, nil
}

// varint reads SQLite's big-endian number of up to nine bytes; 0 bytes read
// means that it is cut off.
func varint(b []byte) (v uint64, n int) {
	for i := range min(len(b), 9) {
		if i == 8 {
			return v<<8 | uint64(b[i]), 9
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
