package main

import (
	"encoding/json"
	"errors"
	"io"
	"runtime/debug"
)

// A component is a module, as CycloneDX lists it.
type component struct {
	Type    string `json:"type"`
	BOMRef  string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
}

// A note is what the format has no name for.
type note struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// bill is a CycloneDX 1.6 document.
type bill struct {
	Format   string `json:"bomFormat"`
	Spec     string `json:"specVersion"`
	Version  int    `json:"version"`
	Metadata struct {
		Component component `json:"component"`
	} `json:"metadata"`
	Components []component `json:"components"`
	Properties []note      `json:"properties"`
}

// writeBill writes the bill of materials of this very binary: what the linker
// put into it, and nothing that was only needed to build or test it. The same
// binary gives the same text.
func writeBill(w io.Writer) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("this binary does not say what it was built from: build it with modules")
	}
	b := bill{Format: "CycloneDX", Spec: "1.6", Version: 1, Components: []component{}}
	b.Metadata.Component = asComponent("application", info.Main.Path, version)
	b.Components = append(b.Components, asComponent("library", "std", info.GoVersion))
	for _, m := range info.Deps {
		sum := m.Sum
		if m.Replace != nil {
			m, sum = m.Replace, m.Replace.Sum
		}
		c := asComponent("library", m.Path, m.Version)
		b.Components = append(b.Components, c)
		// Go's h1 hash is over a list of hashes of files: no algorithm of CycloneDX.
		b.Properties = append(b.Properties, note{"go:sum:" + c.BOMRef, sum})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(b)
}

func asComponent(kind, path, version string) component {
	purl := "pkg:golang/" + path + "@" + version
	return component{Type: kind, BOMRef: purl, Name: path, Version: version, PURL: purl}
}
