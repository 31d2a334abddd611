package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// Encode is the canonical encoding: JSON with the fields in their declared
// order, no map anywhere in the nouns, no HTML escaping, no trailing newline.
// Equal values give equal bytes. It fails on a number that is not finite.
// Long lists are encoded on all processors; the bytes are the same.
func Encode(v any) ([]byte, error) {
	ps := split(v)
	if len(ps) == 0 {
		return encode(v)
	}
	if err := encodeAll(ps); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	size := 2
	for i := range ps {
		size += len(ps[i].before) + len(ps[i].bytes) + len(ps[i].after)
	}
	out := append(make([]byte, 0, size), '{')
	for i := range ps {
		p := &ps[i]
		inner := p.bytes[1 : len(p.bytes)-1] // without its own brackets
		if len(inner) == 0 {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, p.before...), inner...), p.after...)
	}
	return append(out, '}'), nil
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// pieceLen is how many elements of a list make a piece: of VMs, half a megabyte.
const pieceLen = 1024

// A piece is a run of fields, or a part of a long list, that is encoded by
// itself. Joined by commas and without their brackets, pieces make the object.
type piece struct {
	value         any
	before, after string // opens the list in its first piece, closes it in its last
	bytes         []byte
}

// split cuts a struct with long lists into pieces; others give none. Which
// fields appear, and how, is left to encoding/json: a run of fields is a struct
// of those fields with their tags.
func split(v any) []piece {
	x := reflect.Indirect(reflect.ValueOf(v))
	if x.Kind() != reflect.Struct || encodesItself(v) {
		return nil
	}
	var ps []piece
	long, from := false, 0
	run := func(to int) {
		if p, ok := fields(x, from, to); ok {
			ps = append(ps, p)
		}
		from = to + 1
	}
	for i := range x.NumField() {
		f := x.Type().Field(i)
		if f.Anonymous {
			return nil // its fields are not one run
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "" || name == "-" || f.Type.Kind() != reflect.Slice || f.Type.Elem().Kind() != reflect.Struct || x.Field(i).Len() <= pieceLen {
			continue
		}
		run(i)
		long = true
		list := x.Field(i)
		for at := 0; at < list.Len(); at += pieceLen {
			p := piece{value: list.Slice(at, min(at+pieceLen, list.Len())).Interface()}
			if at == 0 {
				p.before = `"` + name + `":[`
			}
			if at+pieceLen >= list.Len() {
				p.after = "]"
			}
			ps = append(ps, p)
		}
	}
	if !long {
		return nil
	}
	run(x.NumField())
	return ps
}

// encodesItself reports whether v encodes itself.
func encodesItself(v any) bool {
	switch v.(type) {
	case json.Marshaler, encoding.TextMarshaler:
		return true
	}
	return false
}

// fields is the piece of the exported ones of the fields from..to-1.
func fields(x reflect.Value, from, to int) (piece, bool) {
	var types []reflect.StructField
	var values []reflect.Value
	for i := from; i < to; i++ {
		if f := x.Type().Field(i); f.IsExported() {
			types = append(types, reflect.StructField{Name: f.Name, Type: f.Type, Tag: f.Tag})
			values = append(values, x.Field(i))
		}
	}
	if len(types) == 0 {
		return piece{}, false
	}
	run := reflect.New(reflect.StructOf(types)).Elem()
	for i := range values {
		run.Field(i).Set(values[i])
	}
	return piece{value: run.Addr().Interface()}, true
}

// encodeAll encodes the pieces on all processors. The error is that of the first
// piece that has one.
func encodeAll(ps []piece) error {
	errs := make([]error, len(ps))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(len(ps), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(ps) {
					return
				}
				ps[i].bytes, errs[i] = encode(ps[i].value)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// DigestBytes is the SHA-256 of b in hex: the name of a content-addressed file.
func DigestBytes(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
