package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"
)

// JSON parses one JSON value.
func JSON(data []byte, o Options) *Document {
	d := newDocument(o, data)
	d.json = true
	p := &jsonParser{d: d, data: data, line: 1, column: 1}
	var raw json.RawMessage
	if !d.valid(data) {
		return d
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		at := int64(len(data))
		if e, ok := errors.AsType[*json.SyntaxError](err); ok && at > 0 {
			at = min(at, e.Offset-1) // it counts the byte that is wrong
			if e.Error() == "unexpected end of JSON input" {
				at++
			}
		}
		p.at = int(at)
		d.fault(p.node(null), "", "not JSON: %v", err)
		return d
	}
	// encoding/json has found the grammar kept: from here on it need not be checked.
	d.root = p.value(0)
	if len(d.faults) > 0 {
		d.root = nil
	}
	return d
}

// valid refuses what is too large or not UTF-8, by its first bad byte.
func (d *Document) valid(data []byte) bool {
	for i, line := 0, 1; i < len(data) && len(d.faults) == 0; {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			d.fault(&node{line: line, column: 1 + utf8.RuneCount(data[1+bytes.LastIndexByte(data[:i], '\n'):i])}, "", "byte %#02x is not UTF-8; save the text as UTF-8", data[i])
		}
		if r == '\n' {
			line++
		}
		i += n
	}
	return len(d.faults) == 0
}

// A jsonParser walks over a value that is known to be JSON.
type jsonParser struct {
	d            *Document
	data         []byte
	at           int
	count        int // the byte up to which lines and columns were counted
	line, column int // of that byte
}

// node makes a node of what begins at p.at.
func (p *jsonParser) node(k kind) *node {
	for ; p.count < p.at; p.count++ {
		switch b := p.data[p.count]; {
		case b == '\n':
			p.line, p.column = p.line+1, 1
		case utf8.RuneStart(b):
			p.column++
		}
	}
	if p.d.values++; p.d.values == maxValues+1 {
		p.d.fault(&node{}, "", "more than %d values", maxValues)
	}
	return &node{kind: k, line: p.line, column: p.column}
}

// space goes to the next token.
func (p *jsonParser) space() byte {
	for strings.IndexByte(" \t\r\n,:", p.data[p.at]) >= 0 {
		p.at++
	}
	return p.data[p.at]
}

func (p *jsonParser) value(depth int) *node {
	c := p.space()
	n := p.node(text)
	switch c {
	case '{', '[':
		p.nested(n, c, depth)
	case '"':
		n.value = p.text(n)
	default:
		n.value = string(p.word())
		switch {
		case c == 'n':
			n.kind = null
		case c == 't' || c == 'f':
			n.kind = boolean
		case strings.ContainsAny(n.value, ".eE"):
			n.kind = number
		default:
			n.kind = integer
		}
	}
	return n
}

// nested reads an object or a list. What is nested too deep is not read: there
// is a fault then, and nobody looks at the values.
func (p *jsonParser) nested(n *node, open byte, depth int) {
	if depth == maxDepth || p.d.values > maxValues {
		p.d.tooDeep(n)
		p.at = len(p.data) - 1
		return
	}
	end := byte('}')
	n.kind = mapping
	if open == '[' {
		n.kind, end = list, ']'
	}
	p.at++
	for len(p.d.faults) == 0 && p.space() != end {
		if n.kind == mapping {
			k := p.node(text)
			k.value = p.text(k)
			n.keys = append(n.keys, k)
		}
		n.items = append(n.items, p.value(depth+1))
	}
	p.at++
}

func (d *Document) tooDeep(n *node) {
	if len(d.faults) == 0 {
		d.fault(n, "", "nested deeper than %d levels", maxDepth)
	}
}

// word reads a number, true, false or null.
func (p *jsonParser) word() []byte {
	from := p.at
	for p.at < len(p.data) && strings.IndexByte(" \t\r\n,:]}", p.data[p.at]) < 0 {
		p.at++
	}
	return p.data[from:p.at]
}

// surrogate finds an escape that is half a character.
var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// text reads what is in quotes. Half a surrogate pair would become U+FFFD.
func (p *jsonParser) text(n *node) string {
	from := p.at
	for p.at++; p.data[p.at] != '"'; p.at++ {
		if p.data[p.at] == '\\' {
			p.at++
		}
	}
	p.at++
	raw := p.data[from:p.at]
	if !bytes.ContainsRune(raw, '\\') {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		n.refused = err.Error() // cannot be: the whole was checked
	}
	if strings.ContainsRune(s, utf8.RuneError) && surrogate.Match(raw) {
		n.refused = "half a surrogate pair is no character"
	}
	return s
}
