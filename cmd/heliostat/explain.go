package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/whatif"
)

func newExplain(g *globals) *cobra.Command {
	var state string
	var when moment
	cmd := &cobra.Command{
		Use:   "explain vm|host|site NAME",
		Short: "Say what the policies said about one VM, host or site, and what came of it",
		Long: `Explain reads the journal: which rule said what about the object, whether it is to
move or held and why, with the ledger, and what was done with it of late. Of a VM that
stays it says what would have had to be different; see also why-not.

The revision of the policies that was in force is asked once more, and says where each
rule is written and which values it read. The journal keeps it.`,
		Example: `  heliostat explain vm web-017
  heliostat explain site houston
  heliostat explain vm web-017 --at 2026-11-25T14:30:00Z
  heliostat explain host esx-04 --cycle 118 --state /var/lib/heliostat`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: []string{"vm", "host", "site"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"vm", "host", "site"}, args[0]) {
				return codeError{exitUsage, fmt.Errorf("explain what? vm, host or site, not %q", args[0])}
			}
			j, err := g.openJournal(cmd.Context(), state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			last, in, err := when.plan(j)
			if err != nil {
				return err
			}
			e, err := explain(cmd.Context(), j, args[0], args[1], last, in)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), e)
			}
			return e.print(cmd.OutOrStdout())
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	when.flags(cmd)
	return cmd
}

// explanation is all that a journal says about one object in one cycle.
type explanation struct {
	Cycle    uint64                `json:"cycle"`
	At       engine.Unix           `json:"at"`
	Kind     string                `json:"kind"`
	ID       string                `json:"id"`
	Name     string                `json:"name"`
	Revision string                `json:"revision"`
	Policies *force                `json:"policies"`
	Facts    []string              `json:"facts"`
	Said     []said                `json:"said"`
	Actions  []engine.Action       `json:"actions"`
	Holds    []held                `json:"holds"`
	Recent   []engine.ActionRecord `json:"recent"`               // newest first
	Evacuate *engine.Certificate   `json:"evacuation,omitempty"` // of a site with a deadline
	Nearest  *whatif.Answer        `json:"nearest,omitempty"`    // of a VM that stays: the site that it would soonest move to

	host func(engine.HostID) string // names a host
}

// explain reads the plan, and what was said and done in its cycle.
func explain(ctx context.Context, j journal, kind, name string, last planned, in engine.Input) (*explanation, error) {
	p, err := readPlan(j, last.record.Digest)
	if err != nil {
		return nil, err
	}
	d, err := decisionOf(j, last.input)
	if err != nil {
		return nil, err
	}
	rails, err := railsOf(j, last.cycle)
	if err != nil {
		return nil, err
	}
	f, err := inForce(ctx, j, &d, &in)
	if err != nil {
		return nil, err
	}
	e := &explanation{Cycle: last.cycle, At: in.Now, Kind: kind, Revision: d.Revision, Policies: f, host: hostNamer(in.Snapshot)}
	if err := e.fill(ctx, &in, &d, p, rails, name); err != nil {
		return nil, err
	}
	if kind == "site" {
		if e.Evacuate, err = certificateIn(j, &d, last, e.ID); err != nil {
			return nil, err
		}
	}
	return e, e.recent(j, last.cycle)
}

// fill says what decision and plan, and the rails beside them, have to do with the object.
func (e *explanation) fill(ctx context.Context, in *engine.Input, d *engine.Decision, p *engine.Plan, rails []engine.Hold, name string) error {
	o, err := e.find(in, name)
	if err != nil {
		return err
	}
	e.opinions(in, d, o)
	for i := range p.Actions {
		a := &p.Actions[i]
		if e.concerns(string(a.VM), string(a.From.Host), string(a.To.Host), string(a.From.Site), string(a.To.Site)) {
			e.Actions = append(e.Actions, *a)
		}
	}
	// What is said of the object itself comes before what is said of where it is.
	var around []held
	for _, h := range slices.Concat(p.Holds, rails) {
		x := held{h, until[h.Code]}
		if about := (engine.Subject{Kind: e.Kind, ID: e.ID}); h.Subject == about || h.Demand == about {
			e.Holds = append(e.Holds, x)
		} else if e.about(in.Snapshot, o, h.Subject) {
			around = append(around, x)
		}
	}
	wanted := e.wanted()
	e.Holds = append(e.Holds, around...)
	if err := e.Policies.read(ctx, in, o, wanted, e.Said); err != nil {
		return err
	}
	if e.Kind == "vm" && len(e.Actions) == 0 {
		e.Nearest = nearest(in, o.vm, e.Policies.deny(ctx, in.Level))
	}
	return nil
}

// wanted is who wanted the actions on the object, held ones included: it is what rules
// about moves were told.
func (e *explanation) wanted() (all []engine.Why) {
	add := func(whys []engine.Why) {
		for _, w := range whys {
			if !slices.Contains(all, w) {
				all = append(all, w)
			}
		}
	}
	for i := range e.Actions {
		add(e.Actions[i].Why)
	}
	for _, h := range e.Holds {
		add(h.Why)
	}
	return all
}

// railsOf are what was held back at the end of the cycle beside the plans' holds.
func railsOf(j journal, number uint64) ([]engine.Hold, error) {
	entries, err := j.Cycle(number)
	if err != nil {
		return nil, err
	}
	var r engine.CycleRecord
	for i := range entries {
		if e := &entries[i]; e.Kind == engine.EntryCycle {
			if err := json.Unmarshal(e.Data, &r); err != nil {
				return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
			}
		}
	}
	return r.Rails, nil
}

// recent finds the last actions on the object up to the cycle.
func (e *explanation) recent(j journal, until uint64) error {
	entries, err := j.Kind(engine.EntryEnded)
	if err != nil {
		return err
	}
	for _, x := range slices.Backward(entries) {
		if x.Cycle > until || len(e.Recent) == 5 {
			continue
		}
		var r engine.ActionRecord
		if err := json.Unmarshal(x.Data, &r); err != nil {
			return fmt.Errorf("entry %d: %w", x.Seq, err)
		}
		a := &r.Action
		if e.concerns(string(a.VM), string(a.From.Host), string(a.To.Host), string(a.From.Site), string(a.To.Site)) {
			e.Recent = append(e.Recent, r)
		}
	}
	return nil
}
