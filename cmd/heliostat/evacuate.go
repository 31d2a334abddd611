package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
)

// byWhen is a deadline on the command line: a moment, or from now.
type byWhen struct {
	by string
	in time.Duration
}

func (w *byWhen) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.by, "by", "", "when all must be out, such as 2026-11-25T18:00:00Z or 18:00 (the next, local time)")
	cmd.Flags().DurationVar(&w.in, "in", 0, "or how long from now, such as 12h")
	cmd.MarkFlagsMutuallyExclusive("by", "in")
}

// at is the deadline, seen from now.
func (w *byWhen) at(now time.Time) (time.Time, error) {
	switch {
	case w.in > 0:
		return now.Add(w.in), nil
	case w.in < 0:
		return now, codeError{exitUsage, fmt.Errorf("--in: %v is past", w.in)}
	case w.by == "":
		return now, codeError{exitUsage, errors.New("by when? give --by 2026-11-25T18:00:00Z, or --in 12h")}
	}
	if t, err := time.Parse(time.RFC3339, w.by); err == nil {
		return t, nil
	}
	clock, err := time.Parse("15:04", w.by)
	if err != nil {
		return now, codeError{exitUsage, fmt.Errorf("--by: %q is no time such as 2026-11-25T18:00:00Z or 18:00", w.by)}
	}
	t := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location())
	if !t.After(now) {
		t = t.AddDate(0, 0, 1)
	}
	return t, nil
}

// orderedEvacuation is what an order to evacuate is answered with.
const orderedEvacuation = "ordered: the next cycle plans it; 'heliostat status' says whose approval it waits for"

func newEvacuate(g *globals) *cobra.Command {
	var when byWhen
	var cancel, dry bool
	var reason string
	cmd := &cobra.Command{
		Use: "evacuate SITE --by TIME", Short: "Order a site to be emptied by a deadline",
		Long: `Evacuate orders the daemon to empty a site by a deadline, and prints what that can save
and what it cannot. The order stays in force, over restarts, until --cancel; what is in
flight then goes on to its end.

The order alone moves nothing where the tiers ask for persons: a plan waits for their
approval ('heliostat status', 'heliostat approve'), and who gave the order is not one of
them. With --dry-run nothing is ordered and nothing is journaled.`,
		Example: `  heliostat evacuate houston --by 2026-11-25T18:00:00Z --dry-run
  heliostat evacuate houston --by 18:00 --reason 'hurricane warning'
  heliostat evacuate houston --cancel --reason 'it turned away'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cancel && (when.by != "" || when.in != 0 || dry) {
				return codeError{exitUsage, errors.New("--cancel takes no deadline and no --dry-run")}
			}
			by, err := when.at(time.Now())
			if err != nil && !cancel {
				return err
			}
			c, err := g.daemon(cmd.Context())
			if err != nil {
				return err
			}
			if cancel {
				if err := c.CancelEvacuation(cmd.Context(), args[0], reason); err != nil {
					return err
				}
				return carriedOut(g, cmd, args, fmt.Sprintf("cancelled: site %s is no longer emptied by order; what is in flight goes on", args[0]))
			}
			cert, unsaid := c.Drill(cmd.Context(), args[0], engine.At(by), true)
			if err = unsaid; !dry { // an order does not depend on what can be said of it
				err = c.Evacuate(cmd.Context(), args[0], engine.At(by), reason)
			}
			switch {
			case err != nil:
				return err
			case unsaid != nil:
				_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "what it will come to cannot be said now:", unsaid)
				return carriedOut(g, cmd, args, orderedEvacuation)
			case g.json:
				return printJSON(cmd.OutOrStdout(), cert)
			}
			var b strings.Builder
			writeCertificate(&b, &cert)
			if !dry {
				b.WriteString(orderedEvacuation + "\n")
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), b.String())
			return err
		},
	}
	when.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "take the order back")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "order nothing, only say what it would come to")
	return cmd
}

// certificateIn finds the certificate of a site's evacuation in a cycle. While a plan
// waits or is carried out no other is made, and its own certificate is the one that counts.
func certificateIn(j journal, d *engine.Decision, at planned, site string) (*engine.Certificate, error) {
	place := engine.Subject{Kind: "site", ID: site}
	if !slices.ContainsFunc(d.Evacuations, func(e engine.Evacuation) bool { return e.Place == place && e.Deadline != 0 }) {
		return nil, nil
	}
	if at.record.Certificates != "" {
		return certificateOf(j, at.record.Certificates, site)
	}
	entries, err := j.Kind(engine.EntryPlan)
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(entries) {
		var p engine.PlanRecord
		if err := json.Unmarshal(e.Data, &p); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		if e.Cycle <= at.cycle && p.Level >= engine.Advise && p.Certificates != "" {
			return certificateOf(j, p.Certificates, site)
		}
	}
	return nil, nil
}

// certificateOf reads a site's certificate from the journal, nil where it has none.
func certificateOf(j journal, digest, site string) (*engine.Certificate, error) {
	if digest == "" {
		return nil, nil
	}
	b, err := j.Get(digest)
	if err != nil {
		return nil, fmt.Errorf("read the certificates: %w", err)
	}
	var cs []engine.Certificate
	if err := json.Unmarshal(b, &cs); err != nil {
		return nil, fmt.Errorf("read the certificates: %w", err)
	}
	for i := range cs {
		if cs[i].Demand == (engine.Subject{Kind: "site", ID: site}) {
			return &cs[i], nil
		}
	}
	return nil, nil
}

// writeCertificate writes a certificate for people: first the answer, then what can
// be done about the rest, then the figures.
func writeCertificate(b *strings.Builder, c *engine.Certificate) {
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	line("%s", c.Headline())
	if c.Gone > 0 {
		line("  already away      %s, brought out before", engine.Count(c.Gone, "VM"))
	}
	if c.VMs == 0 {
		writeLeft(line, c)
		return
	}
	if c.ETA.At != 0 {
		how := fmt.Sprintf("learned from %s", engine.Count(c.ETA.Learned, "finished move"))
		if c.ETA.Learned < 10 {
			how = "too few moves have finished to know better than 20 %"
		}
		line("  last one out      %s; 9 times in 10 between %s and %s (%s)", clock(c.ETA.At), clock(c.ETA.From), clock(c.ETA.To), how)
	}
	line("  no plan can do    better than %s of the value (this one: %s)", percent(c.Value.Bound, c.Value.All), percent(c.Value.Reached, c.Value.All))
	for _, t := range c.Tiers {
		name := fmt.Sprintf("tier %d", t.Tier)
		if t.Other {
			name = "in no tier"
		}
		line("  %-17s %d of %s out, %d working; with the tiers before it %d of at most %d", name, t.Leave, engine.Count(t.VMs, "VM"), t.Work, t.UpTo, t.Bound)
	}
	if o := c.Other; o != nil {
		name := "strict tiers"
		if o.Traded {
			name = "trading tiers"
		}
		line("  %-17s would bring %d out, %d working: %s of the value", name, o.Leave, o.Work, percent(o.Value, c.Value.All))
	}
	if c.Traded {
		line("  ORDER             tiers are traded: a VM of a higher tier may be left for several of lower ones")
	}
	for _, p := range c.Prices {
		line("  scarce            %s: %d %s until then", p.What, p.Has, p.Unit)
	}
	line("  duration          %v, at least %v%s", time.Duration(c.Makespan.Seconds)*time.Second, time.Duration(c.Makespan.BoundS)*time.Second, because(c.Makespan.Binds))
	line("  harm              %.1f s of stun in all, %.1f s at most for one VM; %.1f VM-hours slowed while memory is copied", float64(c.Harm.StunMS)/1000, float64(c.Harm.WorstMS)/1000, float64(c.Harm.SlowS)/3600)
	writeStranded(line, "NOT OUT", c.Out)
	writeStranded(line, "OUT, NOT WORKING", c.Unreachable)
	writeLeft(line, c)
}

func because(what string) string {
	if what == "" {
		return ""
	}
	return ": " + what
}

func percent(n, of int64) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(max(of, 1))) }

func clock(t engine.Unix) string { return t.Time().Format("15:04 MST on 2 Jan") }

func writeStranded(line func(string, ...any), title string, vms []engine.Stranded) {
	if len(vms) > 0 {
		line("%s: %s", title, engine.Count(len(vms), "VM"))
	}
	for i := range vms {
		s := &vms[i]
		tier := fmt.Sprintf("tier %d", s.Tier)
		if s.Other {
			tier = "no tier"
		}
		line("  %s (%s, %s): %s", s.Name, tier, s.Cause, s.Detail)
		if len(s.Buys) > 0 {
			line("      would help: %s", strings.Join(s.Buys, "; or "))
		}
		if s.Proof != "" {
			line("      proof: %s", s.Proof)
		}
	}
}

func writeLeft(line func(string, ...any), c *engine.Certificate) {
	if len(c.Left) == 0 {
		return
	}
	var kinds []string
	names := map[string][]string{}
	for _, l := range c.Left {
		if names[l.What] == nil {
			kinds = append(kinds, l.What)
		}
		names[l.What] = append(names[l.What], l.Name)
	}
	for _, k := range kinds {
		line("left behind, %s: %s", k, strings.Join(names[k], ", "))
	}
}
