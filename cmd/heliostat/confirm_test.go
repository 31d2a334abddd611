package main

import (
	"io"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/web"
)

// A plan that empties a site is approved by a person who says how large it is.
func TestConfirm(t *testing.T) {
	flight := engine.Action{Demand: engine.Subject{Kind: "site", ID: "houston"}}
	for name, c := range map[string]struct {
		actions []engine.Action
		count   int
		yes     bool
		person  bool
		types   string
		want    int
		err     string
	}{
		"no site":                  {make([]engine.Action, 3), 0, false, false, "", 0, ""},
		"no site, counted":         {make([]engine.Action, 3), 3, true, false, "", 3, ""},
		"off a terminal":           {[]engine.Action{flight}, 0, false, false, "1\n", 0, "empties site houston: approve it at a terminal"},
		"off a terminal, yes":      {[]engine.Action{flight}, 1, true, false, "1\n", 0, "--yes does not count off one"},
		"typed":                    {[]engine.Action{flight, flight}, 0, false, true, "2\n", 2, ""},
		"typed y":                  {[]engine.Action{flight}, 0, false, true, "y\n", 0, "not approved"},
		"nothing typed":            {[]engine.Action{flight}, 0, false, true, "", 0, "not approved"},
		"yes without a count":      {[]engine.Action{flight}, 0, true, true, "", 0, "--expect-count is missing"},
		"yes with a count":         {[]engine.Action{flight}, 1, true, true, "", 1, ""},
		"typed, whatever was said": {[]engine.Action{flight}, 7, false, true, "1\n", 1, ""},
	} {
		got, err := confirm(&web.PendingPlan{Hash: "3f9a0c", Plan: &engine.Plan{Actions: c.actions}}, c.count, c.yes, strings.NewReader(c.types), c.person, io.Discard)
		if got != c.want && err == nil || (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

// Who approves first of two is told that nothing begins yet.
func TestApprovedSaid(t *testing.T) {
	waits := &web.Status{Pending: &web.PendingPlan{Hash: "3f9a0c77", Approvers: 2, Approved: []string{"ann"}}}
	if got, want := approvedSaid(waits, "3f9a0c"), "approved; the plan waits for 1 approval more, by others than ann, until 00:00:00 UTC"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, hash := range []string{"3f9a0d", "aaaaaa"} {
		if got := approvedSaid(waits, hash); got != "approved" {
			t.Errorf("%s: %q", hash, got)
		}
	}
	if got := approvedSaid(&web.Status{}, "3f9a0c"); got != "approved" {
		t.Errorf("nothing waits: %q", got)
	}
}
