package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// YAML parses the one document of a YAML text. Anchors, aliases and tags are
// refused, where they are looked at.
func YAML(data []byte, o Options) *Document {
	d := newDocument(o, data)
	if !d.valid(data) { // the library would take UTF-16, too, and count its lines otherwise
		return d
	}
	if at := oddBreak(data); at >= 0 {
		before := data[:at]
		d.fault(&node{line: 1 + bytes.Count(before, []byte("\n")), column: len(before) - bytes.LastIndexByte(before, '\n')}, "",
			"a line ends here that editors show going on: end lines with a line feed")
		return d
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		d.syntax(err)
		return d
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		d.fault(&node{}, "", "the file is empty")
		return d
	case err != nil:
		d.syntax(err)
		return d
	}
	d.root = d.fromYAML(doc.Content[0], 0)
	if err := loader.Load(&next); err == nil {
		d.fault(&node{line: next.Line, column: next.Column}, "", "a second document; there must be one")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	return d
}

// oddBreak finds what ends a line in YAML and in few other places: a carriage
// return alone, and three characters of Unicode. -1: nothing.
func oddBreak(data []byte) int {
	for i, b := range data {
		if b == '\r' && (i+1 == len(data) || data[i+1] != '\n') {
			return i
		}
	}
	return bytes.IndexAny(data, "\u0085\u2028\u2029")
}

func (d *Document) syntax(err error) {
	n, what := &node{}, err.Error()
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		n.line, n.column, what = e.Mark.Line, e.Mark.Column, e.Message
	}
	if strings.Contains(what, "cannot start any token") {
		what += ": a tab? indent with spaces, and quote what begins with @ or `"
	}
	d.fault(n, "", "not YAML: %s", what)
}

var yamlKinds = map[string]kind{"!!null": null, "!!bool": boolean, "!!int": integer, "!!float": number, "!!str": text, "!!map": mapping, "!!seq": list}

// fromYAML makes a tree of what the library read.
func (d *Document) fromYAML(y *yaml.Node, depth int) *node {
	n := &node{kind: other, line: y.Line, column: y.Column, value: y.Value}
	switch {
	case y.Kind == yaml.AliasNode || y.Anchor != "":
		n.refused = "anchors and aliases are not supported; write the value out"
		return n
	case y.Style&yaml.TaggedStyle != 0:
		n.refused = fmt.Sprintf("tags such as %s are not supported", y.ShortTag())
		return n
	case depth >= maxDepth && y.Kind != yaml.ScalarNode:
		d.tooDeep(n)
		return n
	}
	if k, ok := yamlKinds[y.ShortTag()]; ok {
		n.kind = k
	}
	for i, c := range y.Content {
		item := d.fromYAML(c, depth+1)
		if y.Kind == yaml.MappingNode && i%2 == 0 {
			if c.Kind != yaml.ScalarNode || c.ShortTag() == "!!merge" {
				item.refused = "want a plain key"
			}
			n.keys = append(n.keys, item)
		} else {
			n.items = append(n.items, item)
		}
	}
	return n
}
