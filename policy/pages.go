package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A Page is what there is to say about one policy, from its annotations, its
// parameters and their schema.
type Page struct {
	Policy      string      `json:"policy"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Rules       []PageRule  `json:"rules"`
	Params      []PageParam `json:"params"`
	Tests       int         `json:"tests"`
}

// A PageRule is a rule that is asked.
type PageRule struct {
	Name   string `json:"name"`
	Scope  string `json:"scope"`
	Veto   bool   `json:"veto"`
	Yields bool   `json:"yields"` // to an evacuation
	Title  string `json:"title"`
}

// A PageParam is a parameter; Type, Limits and About are empty without a schema.
type PageParam struct {
	Name    string `json:"name"`
	Default string `json:"default"` // JSON
	Type    string `json:"type"`
	Limits  string `json:"limits"`
	About   string `json:"about"`
}

// Pages documents the author's policies, by name. A draft that does not load has
// none; the error is its [Faults].
func (d *Draft) Pages(ctx context.Context) ([]Page, error) {
	c, err := compile(ctx, d.whole)
	if err != nil {
		return nil, d.point(asFaults(err)).err()
	}
	var out []Page
	for _, name := range d.Policies() {
		p := Page{Policy: name, Title: name, Params: d.whole.pageParams(name)}
		for _, m := range d.own.modules {
			switch {
			case policyPackage(m) != name:
			case isTest(m.name):
				p.Tests += countTests(m.parsed)
			default:
				for _, a := range m.parsed.Annotations {
					if a.Scope == "package" {
						p.Title, p.Description = cmp.Or(a.Title, p.Title), strings.TrimSpace(a.Description)
					}
				}
			}
		}
		for _, e := range c.entries {
			if e.policy == name {
				p.Rules = append(p.Rules, PageRule{Name: e.rule, Scope: string(e.spec.scope), Veto: e.spec.veto, Yields: e.yields, Title: e.title})
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func countTests(m *ast.Module) int {
	seen := map[string]bool{}
	for _, r := range m.Rules {
		if name := r.Head.Ref()[0].Value.String(); strings.HasPrefix(name, "test_") {
			seen[name] = true
		}
	}
	return len(seen)
}

func (f *files) pageParams(policy string) []PageParam {
	params, _ := f.params[policy].(map[string]any)
	schema, _ := f.schemas[policy].(map[string]any)
	props, _ := schema["properties"].(map[string]any)
	var out []PageParam
	for _, key := range slices.Sorted(maps.Keys(params)) {
		value, _ := json.Marshal(params[key]) // it was JSON
		p := PageParam{Name: key, Default: string(value)}
		of, _ := props[key].(map[string]any)
		p.About, _ = of["description"].(string)
		switch t := of["type"].(type) {
		case string:
			p.Type = t
		case []any:
			p.Type = strings.Trim(fmt.Sprint(t...), "[]")
		}
		p.Limits = limits(of)
		out = append(out, p)
	}
	return out
}

// limits words the bounds of a schema that people ask for.
func limits(schema map[string]any) string {
	var out []string
	for _, b := range [][2]string{{"minimum", "at least %v"}, {"exclusiveMinimum", "above %v"}, {"maximum", "at most %v"}, {"exclusiveMaximum", "below %v"}} {
		if v, ok := schema[b[0]]; ok {
			out = append(out, fmt.Sprintf(b[1], v))
		}
	}
	if list, ok := schema["enum"].([]any); ok {
		names := make([]string, len(list))
		for i, v := range list {
			names[i] = fmt.Sprint(v)
		}
		out = append(out, "one of "+strings.Join(names, ", "))
	}
	return strings.Join(out, ", ")
}

// Markdown is the page for people.
func (p *Page) Markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	cell := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "|", "\\|"), "\n", " ") }
	line("# %s\n", p.Title)
	line("Policy `%s`.", p.Policy)
	if p.Description != "" {
		line("\n%s", p.Description)
	}
	line("\n## Rules\n\n| rule | asked | kind | what |\n| --- | --- | --- | --- |")
	for _, r := range p.Rules {
		kind := "wish"
		switch {
		case r.Yields:
			kind = "veto, yields to an evacuation"
		case r.Veto:
			kind = "veto"
		}
		asked := "for each " + r.Scope
		if r.Scope == string(scopeFleet) {
			asked = "once a cycle"
		}
		line("| `%s` | %s | %s | %s |", r.Name, asked, kind, cell(r.Title))
	}
	if len(p.Params) > 0 {
		line("\n## Parameters\n\n| parameter | default | type | limits | what |\n| --- | --- | --- | --- | --- |")
		for _, x := range p.Params {
			line("| `%s` | `%s` | %s | %s | %s |", x.Name, cell(x.Default), x.Type, x.Limits, cell(x.About))
		}
	}
	line("\nTests: %d.", p.Tests)
	return b.String()
}
