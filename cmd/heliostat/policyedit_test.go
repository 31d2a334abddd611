package main

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"heliostat/engine"
)

// TestPolicyEdit edits a policy under a running daemon: well, badly, and well again.
func TestPolicyEdit(t *testing.T) {
	t.Parallel()
	const first, second = "tyo-b-db002", "fra-a-web040"
	r := startLab(t, "--speed", "1000")
	file := r.withGather(t, first)
	// Only an edit may bring the next cycle, not the schedule.
	r.edit(t, "every: 1s", "every: 10m")
	r.run(t)
	before := r.status(t)
	eventually(t, "the first VM moves", func() bool { return len(r.entriesOf(t, engine.EntryEnded, first)) == 1 })

	write(t, file, gather(first, second))
	eventually(t, "the second VM moves", func() bool { return len(r.entriesOf(t, engine.EntryEnded, second)) == 1 })
	good := r.status(t)
	if good.Revision == before.Revision || good.Refused != "" {
		t.Errorf("after a good edit: revision %s, before %s; refused: %s", good.Revision, before.Revision, good.Refused)
	}

	// No VM has such a field.
	broken := strings.Replace(gather(first), "vm.name in wanted", "vm.nam in wanted", 1)
	where := filepath.Base(file) + ":" + lineOf(t, broken, "vm.nam ")
	write(t, file, broken)
	eventually(t, "the broken edit is refused", func() bool { return r.status(t).Refused != "" })
	bad := r.status(t)
	if bad.Revision != good.Revision || !strings.Contains(bad.Refused, where) {
		t.Errorf("after a broken edit revision %s serves, want %s; status says %q, want %s", bad.Revision, good.Revision, bad.Refused, where)
	}
	if bad.Error != "" {
		t.Errorf("error %q: the daemon is to go on undisturbed", bad.Error)
	}
	if out := r.ask(t, "status"); !strings.Contains(out, "POLICY EDIT REFUSED, revision "+good.Revision[:12]+" serves on: ") || !strings.Contains(out, where) {
		t.Errorf("status says:\n%s", out)
	}
	if log := r.daemon.log.String(); !strings.Contains(log, `msg="policy refused"`) || !strings.Contains(log, where) {
		t.Errorf("the log does not say %s", where)
	}

	write(t, file, gather(first, second)+"\n# mended\n")
	eventually(t, "the mended text serves", func() bool { s := r.status(t); return s.Refused == "" && s.Revision != good.Revision })
	var revisions []engine.RevisionRecord
	for _, e := range r.journal(t, engine.EntryRevision) {
		var rec engine.RevisionRecord
		if err := json.Unmarshal(e.Data, &rec); err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, rec)
	}
	if len(revisions) < 3 || !strings.Contains(revisions[len(revisions)-2].Refused, where) || revisions[len(revisions)-1].Refused != "" {
		t.Errorf("revisions in the journal: %+v", revisions)
	}
	r.daemon.interrupt(t)
}

// lineOf is the number of the line that holds the text.
func lineOf(t *testing.T, text, part string) string {
	t.Helper()
	before, _, ok := strings.Cut(text, part)
	if !ok {
		t.Fatalf("no %q", part)
	}
	return strconv.Itoa(1 + strings.Count(before, "\n"))
}
