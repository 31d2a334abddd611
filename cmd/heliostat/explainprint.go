package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"heliostat/engine"
	"heliostat/policy"
)

func (e *explanation) print(w io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s %s (%s), cycle %d at %s, policies %.12s", e.Kind, e.Name, e.ID, e.Cycle, e.At, e.Revision)
	for _, f := range e.Facts {
		line("  %s", f)
	}
	if n := e.Policies.note(); n != "" {
		line("%s", n)
	}
	line("said:")
	for _, x := range e.Said {
		if e.saidOfAll(&x) {
			continue
		}
		line("  %s.%s (%s): %s: %s", x.Policy, x.Rule, x.Mode, x.What, x.Reason)
		if x.At != "" {
			line("    %s%s", x.At, readText(x.Read))
		}
	}
	if len(e.Said) == 0 {
		line("  nothing: no policy has an opinion on it")
	}
	if len(e.Actions) > 0 {
		line("planned:")
	}
	for i := range e.Actions {
		a := &e.Actions[i]
		line("  %s %s: about %d s%s, %d MiB", a.ID, actionText(a, e.host), a.Estimate.Expected(), rangeText(&a.Estimate), a.Estimate.MemoryMiB+a.Estimate.DiskMiB)
		if a.Ledger != (engine.Ledger{}) {
			line("    %s", a.Ledger)
		}
		for _, y := range a.Why {
			line("    %s", y)
		}
	}
	if len(e.Holds) > 0 {
		line("held:")
	}
	for _, h := range e.Holds {
		of := ""
		if h.Subject != (engine.Subject{Kind: e.Kind, ID: e.ID}) {
			of = h.Name + ": "
		}
		line("  %s%s: %s (%s)", of, h.Want, h.Detail, h.Code)
		for _, x := range h.Because() {
			line("    %s", x)
		}
		for _, y := range h.Why {
			line("    %s", y)
		}
		line("    until %s", h.Until)
	}
	if len(e.Actions) == 0 && len(e.Holds) == 0 {
		line("nothing is planned for it and nothing is held: it may stay as it is")
	}
	if e.Nearest != nil {
		var told []engine.Hold
		for _, h := range e.Holds {
			told = append(told, h.Hold)
		}
		_ = printAnswer(&b, e.Nearest, told...) // a builder takes everything
	}
	if e.Evacuate != nil {
		if e.Evacuate.At != e.At {
			line("as planned at %s:", e.Evacuate.At)
		}
		writeCertificate(&b, e.Evacuate)
	}
	if len(e.Recent) > 0 {
		line("of late:")
	}
	for i := range e.Recent {
		r := &e.Recent[i]
		line("  %s %s: %s%s", r.Ended, actionText(&r.Action, e.host), strings.TrimSpace(string(r.State)+" "+r.Error), tookText(r))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// saidOfAll reports whether what was said of one destination was said of every one too.
func (e *explanation) saidOfAll(x *said) bool {
	return x.to != "" && slices.ContainsFunc(e.Said, func(y said) bool {
		return y.Rule == x.Rule && y.to == "" && y.Policy == x.Policy && y.Reason == x.Reason
	})
}

// readText lists what a rule read.
func readText(values []policy.Value) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = v.Name + " " + v.Value
	}
	if len(parts) == 0 {
		return ""
	}
	return " read " + strings.Join(parts, ", ")
}

// rangeText is where nine of ten such moves end, where that is known.
func rangeText(e *engine.Estimate) string {
	if e.HighS == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d to %d)", e.LowS, e.HighS)
}

// tookText holds how long an action took against what was expected.
func tookText(r *engine.ActionRecord) string {
	if r.TookS == 0 {
		return ""
	}
	return fmt.Sprintf(" in %d s, %d%s expected", r.TookS, r.Action.Estimate.Expected(), rangeText(&r.Action.Estimate))
}
