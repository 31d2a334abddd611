package main

import (
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/web"
)

// What needs a person stands first, each in a line of its own.
func TestStatusTextNamesWhatSwings(t *testing.T) {
	got := statusText(&web.Status{Swings: []engine.Swing{
		{Subject: engine.Subject{Kind: "vm", ID: "5001"}, Name: "app-17", Returns: 2, Left: "esx-12", Foreign: true},
		{Subject: engine.Subject{Kind: "host", ID: "va/h1"}, Name: "esx-1", Returns: 3},
	}})
	want := "SWINGS: vm app-17 was moved back to esx-12 by somebody else, 2 times in a row: it is left alone longer each time\n" +
		"SWINGS: host esx-1 was woken soon after it was put to sleep 3 times in a row: it rests longer each time\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got:\n%s", got)
	}
}
