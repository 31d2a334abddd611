package strict

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// XML parses one XML document with the root element, in its namespace. Elements
// of other namespaces have keys {namespace}name, so that they are not taken for
// ours. An element without attributes and children is its text, without the space around.
func XML(data []byte, root xml.Name, o Options) *Document {
	d := newDocument(o, data)
	d.bare = true
	if !d.valid(data) {
		return d
	}
	p := &xmlParser{d: d, dec: xml.NewDecoder(bytes.NewReader(data)), space: root.Space}
	n, err := p.document(root)
	if err != nil {
		d.fault(p.node(text), "", "not XML: %v", err)
	}
	if len(d.faults) == 0 {
		d.root = n
	}
	return d
}

type xmlParser struct {
	d            *Document
	dec          *xml.Decoder
	space        string // the namespace that is ours
	line, column int    // where the last token begins
}

func (p *xmlParser) node(k kind) *node { return &node{kind: k, line: p.line, column: p.column} }

// token reads the next token that means something. What declares types,
// entities or a style is refused: it could change what the rest means.
func (p *xmlParser) token() (xml.Token, error) {
	for {
		p.line, p.column = p.dec.InputPos()
		tok, err := p.dec.Token()
		if e, ok := errors.AsType[*xml.SyntaxError](err); ok {
			p.line, p.column = p.dec.InputPos()
			return nil, errors.New(e.Msg)
		}
		switch t := tok.(type) {
		case xml.Comment:
			continue
		case xml.Directive:
			return nil, errors.New("a DTD is not supported; remove the <!...>")
		case xml.ProcInst:
			if t.Target == "xml" && p.line == 1 && p.column == 1 {
				continue
			}
			return nil, errors.New("processing instructions are not supported; remove the <?" + t.Target + "...?>")
		}
		if p.d.values++; p.d.values > maxValues {
			return nil, errors.New("too many values")
		}
		return tok, err
	}
}

func (p *xmlParser) document(root xml.Name) (n *node, err error) {
	for {
		tok, err := p.token()
		if errors.Is(err, io.EOF) && n == nil {
			return nil, errors.New("no element in it")
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if n != nil {
				return nil, errors.New("a second element after the end; there must be one")
			}
			if t.Name != root {
				return nil, errors.New("want <" + root.Local + "> of namespace \"" + root.Space + "\", not <" + t.Name.Local + "> of \"" + t.Name.Space + "\"")
			}
			if n, err = p.element(t, 0); err != nil {
				return nil, err
			}
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return nil, errors.New("text outside the element")
			}
		}
	}
}

// key names an element or attribute.
func (p *xmlParser) key(name xml.Name, space string) *node {
	k := p.node(text)
	k.value = name.Local
	if name.Space != space {
		k.value = "{" + name.Space + "}" + name.Local
	}
	return k
}

// element reads up to the element's end.
func (p *xmlParser) element(start xml.StartElement, depth int) (*node, error) {
	n := p.node(mapping)
	if depth == maxDepth {
		return nil, errors.New("nested deeper than 32 levels")
	}
	for _, a := range start.Attr {
		if a.Name.Space == "xmlns" || (a.Name.Space == "" && a.Name.Local == "xmlns") {
			continue // the decoder has made names of it
		}
		k, v := p.key(a.Name, ""), p.node(text)
		k.value, v.value = "@"+k.value, a.Value
		n.keys, n.items = append(n.keys, k), append(n.items, v)
	}
	var said strings.Builder
	children := false
	for {
		tok, err := p.token()
		if err != nil {
			return nil, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			children = true
			k := p.key(t.Name, p.space)
			v, err := p.element(t, depth+1)
			if err != nil {
				return nil, err
			}
			n.keys, n.items = append(n.keys, k), append(n.items, v)
		case xml.CharData:
			said.Write(t)
		case xml.EndElement:
			return p.ended(n, strings.TrimSpace(said.String()), children)
		}
	}
}

// ended gives the element its text.
func (p *xmlParser) ended(n *node, said string, children bool) (*node, error) {
	switch {
	case children && said != "":
		return nil, errors.New("text between elements")
	case children:
	case len(n.keys) > 0:
		k, v := *n, *n
		k.kind, k.value, k.keys, k.items = text, "#text", nil, nil
		v.kind, v.value, v.keys, v.items = text, said, nil, nil
		n.keys, n.items = append(n.keys, &k), append(n.items, &v)
	case said == "":
		n.kind = null
	default:
		n.kind, n.value = text, said
	}
	return n, nil
}
