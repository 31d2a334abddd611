package strict

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// CBOR parses one item in the core deterministic encoding of RFC 8949, section
// 4.2.1, except for the order of keys: lengths are definite and as short as can
// be. Keys are texts. Tags, byte strings and undefined are refused. A fault's
// column is the offset of its byte, from 1.
func CBOR(data []byte, o Options) *Document {
	d := newDocument(o, data)
	if len(d.faults) > 0 {
		return d
	}
	p := &cborParser{d: d, data: data}
	n, err := p.item(0)
	if err == nil && p.at < len(data) {
		err = fmt.Errorf("%d bytes after the end", len(data)-p.at)
	}
	if err != nil {
		d.fault(p.node(text), "", "not CBOR as it is read here: %v", err)
		return d
	}
	d.root = n
	return d
}

type cborParser struct {
	d    *Document
	data []byte
	at   int
}

func (p *cborParser) node(k kind) *node { return &node{kind: k, line: 1, column: p.at + 1} }

// take returns the next n bytes.
func (p *cborParser) take(n uint64) ([]byte, error) {
	if n > uint64(len(p.data)-p.at) {
		return nil, fmt.Errorf("ends %d bytes early", n-uint64(len(p.data)-p.at))
	}
	b := p.data[p.at : p.at+int(n)]
	p.at += int(n)
	return b, nil
}

// argument reads the number that goes with a type: small ones are in the type's byte.
func (p *cborParser) argument(info byte) (uint64, error) {
	if info < 24 {
		return uint64(info), nil
	}
	if info > 27 {
		return 0, fmt.Errorf("length %d is indefinite or reserved", info)
	}
	size := uint64(1) << (info - 24)
	b, err := p.take(size)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[8-size:], b)
	return binary.BigEndian.Uint64(wide[:]), nil
}

// shortest reports whether the argument could not have been shorter.
func shortest(info byte, arg uint64) bool {
	least := map[byte]uint64{24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
	return arg >= least[info]
}

func (p *cborParser) item(depth int) (*node, error) {
	n := p.node(integer)
	b, err := p.take(1)
	if err != nil {
		return nil, err
	}
	if p.d.values++; p.d.values > maxValues {
		return nil, fmt.Errorf("more than %d values", maxValues)
	}
	major, info := b[0]>>5, b[0]&31
	arg, err := p.argument(info)
	if err != nil {
		return nil, err
	}
	if major != 7 && !shortest(info, arg) {
		return nil, fmt.Errorf("%d is not in its shortest form", arg)
	}
	switch major {
	case 0:
		n.value = strconv.FormatUint(arg, 10)
	case 1:
		if arg > math.MaxInt64 {
			return nil, fmt.Errorf("-1-%d does not fit 64 bits", arg)
		}
		n.value = strconv.FormatInt(-1-int64(arg), 10)
	case 3:
		n.kind = text
		s, err := p.take(arg)
		if err != nil {
			return nil, err
		}
		if n.value = string(s); !utf8.ValidString(n.value) {
			return nil, fmt.Errorf("text %q is not UTF-8", n.value)
		}
	case 4, 5:
		return n, p.nested(n, major == 5, arg, depth)
	case 7:
		return n, simple(n, info, arg)
	default:
		return nil, fmt.Errorf("type %d (byte string or tag) is not supported", major)
	}
	return n, nil
}

// nested reads the items of a list or mapping.
func (p *cborParser) nested(n *node, isMap bool, length uint64, depth int) error {
	if depth == maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	n.kind = list
	if isMap {
		n.kind = mapping
	}
	for range length {
		if isMap {
			k, err := p.item(depth + 1)
			if err != nil {
				return err
			}
			if k.kind != text {
				return fmt.Errorf("the key %q is not a text", k.value)
			}
			n.keys = append(n.keys, k)
		}
		v, err := p.item(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	return nil
}

// simple reads what is no whole number, text or container: floats are of 64 or
// 32 bits, and are refused as every number is when they are not finite.
func simple(n *node, info byte, arg uint64) error {
	switch info {
	case 20, 21:
		n.kind, n.value = boolean, strconv.FormatBool(info == 21)
	case 22:
		n.kind = null
	case 26:
		n.kind, n.value = number, strconv.FormatFloat(float64(math.Float32frombits(uint32(arg))), 'g', -1, 64)
	case 27:
		n.kind, n.value = number, strconv.FormatFloat(math.Float64frombits(arg), 'g', -1, 64)
	default:
		return fmt.Errorf("simple value %d is not supported", info)
	}
	return nil
}
