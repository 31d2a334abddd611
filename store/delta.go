package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A delta says what of a value is as in its base, a value that is much like it,
// and holds the rest. Both are cut into chunks, each of which begins with a brace,
// and these into fields, each of which ends with a comma: of canonical JSON that
// makes of each object a chunk. A chunk is compared with the one of the base that
// begins with the same field, which is as a rule the next; field by field, since
// what changes from one cycle to the next is numbers in nearly every object. What
// is not in the base goes to a column for each field's place in its chunk, so that
// like stands by like, and compresses well.
//
// Nothing but the size depends on what the bytes are. Matching by content, as
// zstd does against a dictionary, was tried: its tables do not reach over a
// snapshot, and gained nothing.
const (
	columns = 64
	// reach is how many fields may be new or gone at one place before the rest of
	// the chunk counts as new.
	reach = 12
)

// How a field that is not in the base is written in its column.
const (
	fieldWhole = iota // up to its comma
	fieldValue        // likewise, behind the name that the field in its place has too
	fieldOpen         // it ends without a comma: its length is said
)

// The parts of a delta, which are written one after the other, each behind its length.
type delta struct {
	steps []byte
	cols  [columns][]byte
}

// diff returns a delta of b to its base.
func diff(base, b []byte) []byte {
	var d delta
	size := len(b)
	var index map[string]int // where a chunk of the base begins, by its first field
	var old, now [][]byte
	next := 0 // the chunk of the base that follows the last
	for len(b) > 0 {
		n := chunkLen(b)
		now = fields(now[:0], b[:n])
		b = b[n:]
		at := next
		// The first chunk has no place but the first, whatever is in it.
		if at > 0 && !bytes.HasPrefix(base[at:], now[0]) {
			if index == nil {
				index = byFirst(base)
			}
			if found, ok := index[string(now[0])]; ok {
				at = found
			}
		}
		d.steps = binary.AppendVarint(d.steps, int64(at-next))
		next = at + chunkLen(base[at:])
		old = fields(old[:0], base[at:next])
		d.chunk(old, now)
	}
	out := binary.AppendUvarint(nil, uint64(size))
	for _, part := range append([][]byte{d.steps}, d.cols[:]...) {
		out = append(binary.AppendUvarint(out, uint64(len(part))), part...)
	}
	return out
}

// byFirst finds the chunks of a base by their first fields; of several the last.
func byFirst(base []byte) map[string]int {
	index := map[string]int{}
	for at := 0; at < len(base); {
		n := chunkLen(base[at:])
		first, _, _ := bytes.Cut(base[at:at+n], []byte(","))
		index[string(first)+","] = at
		at += n
	}
	return index
}

// chunk writes the steps from one chunk's fields to another's: how many are the
// same, how many of the old are left out, how many new come in their place; again
// and again, until neither is the end.
func (d *delta) chunk(old, now [][]byte) {
	place := 0
	for {
		same := 0
		for same < min(len(old), len(now)) && bytes.Equal(old[same], now[same]) {
			same++
		}
		old, now, place = old[same:], now[same:], place+same
		gone, fresh := resync(old, now)
		d.steps = binary.AppendUvarint(d.steps, uint64(same))
		d.steps = binary.AppendUvarint(d.steps, uint64(gone))
		d.steps = binary.AppendUvarint(d.steps, uint64(fresh))
		if gone+fresh == 0 {
			return
		}
		for i, f := range now[:fresh] {
			var was []byte
			if i < gone {
				was = old[i]
			}
			d.field(min(place+i, columns-1), was, f)
		}
		old, now, place = old[gone:], now[fresh:], place+gone
	}
}

func (d *delta) field(column int, was, f []byte) {
	name := nameLen(was)
	switch {
	case f[len(f)-1] != ',':
		d.steps = binary.AppendUvarint(append(d.steps, fieldOpen), uint64(len(f)))
	case name > 0 && len(f) > name && bytes.HasPrefix(f, was[:name]):
		d.steps = append(d.steps, fieldValue)
		f = f[name:]
	default:
		d.steps = append(d.steps, fieldWhole)
	}
	d.cols[column] = append(d.cols[column], f...)
}

// resync says how many fields of each come before they agree again.
func resync(old, now [][]byte) (gone, fresh int) {
	agree := func(i, j int) bool { return i < len(old) && j < len(now) && bytes.Equal(old[i], now[j]) }
	for n := range reach {
		if agree(n, n) {
			return n, n
		}
	}
	for n := range reach {
		for m := range n {
			if agree(n, m) {
				return n, m
			}
			if agree(m, n) {
				return m, n
			}
		}
	}
	return len(old), len(now)
}

// chunkLen is how long the first chunk is.
func chunkLen(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	if i := bytes.IndexByte(b[1:], '{'); i >= 0 {
		return i + 1
	}
	return len(b)
}

// fields appends a chunk's fields.
func fields(to [][]byte, chunk []byte) [][]byte {
	for len(chunk) > 0 {
		n := bytes.IndexByte(chunk, ',') + 1
		if n == 0 {
			n = len(chunk)
		}
		to, chunk = append(to, chunk[:n]), chunk[n:]
	}
	return to
}

// nameLen is how much of a field is its name; 0 for one without.
func nameLen(field []byte) int { return bytes.IndexByte(field, ':') + 1 }

var errDelta = errors.New("not a delta to its base")

// patch returns what the delta was made of.
func patch(base, from []byte) ([]byte, error) {
	r := reader{b: from}
	size := r.number()
	if size > maxBlob {
		return nil, fmt.Errorf("%d bytes, at most %d: %w", size, maxBlob, errDelta)
	}
	steps := reader{b: r.take(r.number())}
	var cols [columns]reader
	for i := range cols {
		cols[i].b = r.take(r.number())
	}
	out := make([]byte, 0, min(size, uint64(len(base)+len(from))))
	var old [][]byte
	next := 0
	for !r.bad && uint64(len(out)) < size {
		at := next + int(steps.signed())
		if at < 0 || at > len(base) {
			return nil, errDelta
		}
		next = at + chunkLen(base[at:])
		old = fields(old[:0], base[at:next])
		var ok bool
		if out, ok = steps.chunk(out, old, &cols, int(size)); !ok {
			return nil, errDelta
		}
	}
	if r.bad || uint64(len(out)) != size {
		return nil, errDelta
	}
	return out, nil
}

// chunk appends the chunk that the next steps make of the old one's fields; false
// when they do not, or make more than is to come.
func (r *reader) chunk(out []byte, old [][]byte, cols *[columns]reader, size int) ([]byte, bool) {
	for place := 0; ; {
		same, gone, fresh := r.number(), r.number(), r.number()
		if r.bad || same > uint64(len(old)) || gone > uint64(len(old))-same {
			return nil, false
		}
		for _, f := range old[:same] {
			out = append(out, f...)
		}
		if gone+fresh == 0 {
			return out, len(out) <= size
		}
		old, place = old[same:], place+int(same)
		for i := range fresh {
			var was []byte
			if i < gone {
				was = old[i]
			}
			column := &cols[min(uint64(place)+i, columns-1)]
			switch r.number() {
			case fieldOpen:
				out = append(out, column.take(r.number())...)
			case fieldValue:
				out = append(append(out, was[:nameLen(was)]...), column.field()...)
			default:
				out = append(out, column.field()...)
			}
			if r.bad || column.bad || len(out) > size {
				return nil, false
			}
		}
		old, place = old[gone:], place+int(gone)
	}
}

// A reader reads the parts of a delta; bad once there was less than was asked for.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) signed() int64 {
	x, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	var out []byte
	out, r.b = r.b[:n], r.b[n:]
	return out
}

// field takes what comes up to a comma.
func (r *reader) field() []byte { return r.take(uint64(bytes.IndexByte(r.b, ',') + 1)) }
