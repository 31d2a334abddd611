package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// The bill names the program and each module in it with its version, and is the
// same again.
func TestBillOfMaterials(t *testing.T) {
	t.Parallel()
	text := must(t, "version", "--sbom")
	var b bill
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.Spec != "1.6" || b.Metadata.Component.Name != "heliostat" {
		t.Errorf("head: %+v", b.Metadata)
	}
	for _, want := range []string{"std", "github.com/vmware/govmomi", "go.etcd.io/bbolt", "github.com/open-policy-agent/opa"} {
		i := slices.IndexFunc(b.Components, func(c component) bool { return c.Name == want })
		if i < 0 || b.Components[i].Version == "" || b.Components[i].PURL != "pkg:golang/"+want+"@"+b.Components[i].Version {
			t.Errorf("%s: not listed well", want)
		}
	}
	var again bytes.Buffer
	if err := writeBill(&again); err != nil || again.String() != text {
		t.Errorf("another text the second time: %v", err)
	}
}
