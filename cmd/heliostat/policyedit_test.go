package main

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/internal/race"
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

// TestPolicyRevisions has a running daemon refuse a bundle that would fill its
// memory and one that contradicts itself, wait with one that changes much, and go
// back to what was in force before.
func TestPolicyRevisions(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector takes more memory than the process that tries policies may have")
	}
	t.Parallel()
	r := startLab(t, "--speed", "1000")
	file := r.withGather(t, "tyo-b-db002")
	r.edit(t, "policy:\n", "policy:\n  validate: {memory_mib: 512, time: 1m, approve_above: 0.5}\n")
	r.edit(t, "every: 1s", "every: 30s") // what the policies may take, on a slow machine too
	r.run(t)
	before := r.status(t)

	rule := func(text string) string {
		return gather("tyo-b-db002") + "\n# METADATA\n# entrypoint: true\n# custom:\n#   reads: cluster\n" + text + "\n"
	}
	for name, x := range map[string]struct{ text, want string }{
		"memory":        {rule("pin contains {\"vm\": vm.id, \"reason\": \"large\"} if {\n\tsome vm in input.vms\n\tcount(numbers.range(1, 4000000000)) == 0\n}"), "takes more than 512 MiB of memory"},
		"contradiction": {rule("allow_sites contains {\"vm\": vm.id, \"sites\": [site], \"reason\": \"at home\"} if {\n\tsome vm in input.vms\n\tsome site in {\"houston\", \"tokyo\"}\n}"), "gather.allow_sites contradicts gather.allow_sites"},
	} {
		write(t, file, x.text)
		eventually(t, name+" is refused", func() bool { return strings.Contains(r.status(t).Refused, x.want) })
		if s := r.status(t); s.Revision != before.Revision || s.Error != "" || !strings.Contains(s.Refused, filepath.Base(file)+":") {
			t.Errorf("%s: revision %s, error %q, %s", name, s.Revision, s.Error, s.Refused)
		}
	}

	write(t, file, rule("pin contains {\"vm\": vm.id, \"reason\": \"all stay\"} if some vm in input.vms"))
	eventually(t, "a large edit waits", func() bool { return r.status(t).Waits != "" })
	waits := r.status(t)
	if waits.Revision != before.Revision || waits.Refused != "" {
		t.Errorf("revision %s serves, %s", waits.Revision, waits.Refused)
	}
	if out := r.ask(t, "status"); !strings.Contains(out, "'heliostat policy approve "+waits.Newest[:8]) {
		t.Errorf("status says:\n%s", out)
	}
	r.orders(t, "policy", "approve", waits.Newest[:8])
	if s := r.status(t); s.Revision != waits.Newest || s.Waits != "" {
		t.Errorf("after the approval: %s, %s", s.Revision, s.Waits)
	}
	r.orders(t, "policy", "rollback", before.Revision[:8])
	r.daemon.interrupt(t)
	r.run(t)
	if s := r.status(t); s.Revision != before.Revision || !s.Held {
		t.Errorf("a rollback and a start later: %s, held %v", s.Revision, s.Held)
	}
	if out := r.ask(t, "policy", "rollback", "--resume", "--json"); out != "{\n  \"done\": \"rollback\"\n}\n" {
		t.Errorf("the end of a rollback: %s", out)
	}
	if s := r.status(t); s.Revision != waits.Newest || s.Held {
		t.Errorf("after its end: %s, held %v", s.Revision, s.Held)
	}

	var list []revised
	if err := json.Unmarshal([]byte(r.ask(t, "policy", "revisions", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, x := range list {
		by, _, _ := strings.Cut(x.By, " by ")
		said = append(said, strings.TrimSpace(x.State+" "+by))
		if x.At.IsZero() || (x.State != "refused" && x.Revision == "") || (x.State == "in force") != (x.Revision == waits.Newest && by == "resumed") {
			t.Errorf("%+v", x)
		}
	}
	got := strings.Join(said, ", ")
	if want := "in force resumed, served rolled back, served approved, waited"; !strings.HasPrefix(got, want) || strings.Count(got, "refused") != 2 {
		t.Errorf("revisions: %s, want %s, and two refused", got, want)
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
