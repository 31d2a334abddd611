package main

import (
	"errors"
	"strings"
	"testing"

	"heliostat/engine"
)

// A name that two vCenters use names neither VM: an ID does.
func TestNamed(t *testing.T) {
	s := &engine.Snapshot{
		VMs:   []engine.VM{{ID: "u1", Name: "db1"}, {ID: "u2", Name: "db1"}, {ID: "u3", Name: "u1"}},
		Hosts: []engine.Host{{ID: "a/host-1", Name: "esx-1"}},
	}
	if i, err := vmNamed(s, "u1"); i != 0 || err != nil {
		t.Errorf("by its ID: %d, %v", i, err)
	}
	if _, err := vmNamed(s, "db1"); err == nil || !strings.Contains(err.Error(), "2 vms are named db1: give the ID, one of u1, u2") {
		t.Errorf("by a name of two: %v", err)
	}
	if _, err := vmNamed(s, "db2"); !errors.Is(err, errNotThere) {
		t.Errorf("by no name: %v", err)
	}
	if i, err := hostNamed(s, "esx-1"); i != 0 || err != nil {
		t.Errorf("a host: %d, %v", i, err)
	}
	if p, err := placeNamed(s, "esx-1"); err != nil || p != (engine.Subject{Kind: "host", ID: "a/host-1"}) {
		t.Errorf("a place: %v, %v", p, err)
	}
}
