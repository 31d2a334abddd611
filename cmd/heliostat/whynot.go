package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/engine/whatif"
)

// nearestVMs is the largest fleet for which explain looks for the nearest place
// by itself: each place takes 30 to 80 plans, and a plan of so many VMs 20 ms.
const nearestVMs = 5_000

func newWhyNot(g *globals) *cobra.Command {
	var state, to string
	var when moment
	cmd := &cobra.Command{
		Use:   "why-not vm NAME --to PLACE",
		Short: "Say what keeps a VM from a site, cluster or host, and what would have to be different",
		Long: `Why-not takes a journaled cycle and asks the planner what would have had to be
different for the VM to be moved: it lifts the constraint that binds, builds the plan
again, lifts the next, and at last finds the least that the move would have to be
worth. The policies that were in force are asked about each move that this proposes; the
journal keeps them. What it answers is what the planner would do. Nothing is changed.`,
		Example: `  heliostat why-not vm web-017 --to frankfurt
  heliostat why-not vm web-017 --to esx-04 --at 2026-11-25T14:30:00Z --state /var/lib/heliostat`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: []string{"vm"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "vm" {
				return codeError{exitUsage, fmt.Errorf("why not what? vm, not %q", args[0])}
			}
			if to == "" {
				return codeError{exitUsage, errors.New("--to: name a site, a cluster or a host")}
			}
			j, err := g.openJournal(cmd.Context(), state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			p, in, err := when.plan(j)
			if err != nil {
				return err
			}
			d, err := decisionOf(j, p.input)
			if err != nil {
				return err
			}
			f, err := inForce(cmd.Context(), j, &d, &in)
			if err != nil {
				return err
			}
			a, err := whyNot(in, args[1], to, f.deny(cmd.Context(), in.Level))
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), struct {
					*whatif.Answer
					Policies *force `json:"policies"`
				}{a, f})
			}
			_, _ = fmt.Fprintf(cmd.OutOrStdout(), "vm %s, cycle %d at %s, level %s, policies %.12s\n", a.Name, p.cycle, in.Now, in.Level, f.Revision)
			if n := f.note(); n != "" {
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), n)
			}
			return printAnswer(cmd.OutOrStdout(), a)
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	cmd.Flags().StringVar(&to, "to", "", "a site, a cluster or a host")
	when.flags(cmd)
	return cmd
}

var errNotThere = errors.New("not in the snapshot of that cycle")

var errNoPlan = errors.New("the journal has no plan yet")

// A moment is the cycle that a command is about: given by its number or by a time.
type moment struct {
	number uint64
	at     string
}

func (m *moment) flags(cmd *cobra.Command) {
	cmd.Flags().Uint64Var(&m.number, "cycle", 0, "as of this cycle (default: the last)")
	cmd.Flags().StringVar(&m.at, "at", "", "as of this time, such as 2026-11-25T14:30:00Z")
	cmd.MarkFlagsMutuallyExclusive("cycle", "at")
}

// cycle is the last one that made a plan until then.
func (m *moment) cycle(j journal) (uint64, error) {
	if m.number != 0 {
		return m.number, nil
	}
	if m.at == "" {
		e, ok, err := j.LastOf(engine.EntryPlan)
		if err == nil && !ok {
			err = errNoPlan
		}
		return e.Cycle, err
	}
	at, err := time.Parse(time.RFC3339, m.at)
	if err != nil {
		return 0, codeError{exitUsage, fmt.Errorf("--at: %q is no time such as 2026-11-25T14:30:00Z", m.at)}
	}
	entries, err := j.Kind(engine.EntryPlan)
	if err != nil {
		return 0, err
	}
	var number uint64
	for i := range entries {
		if !entries[i].At.After(at) {
			number = entries[i].Cycle
		}
	}
	if number == 0 {
		if len(entries) == 0 {
			return 0, errNoPlan
		}
		return 0, fmt.Errorf("--at: the journal has no plan of %s or before: its first is of %s, cycle %d", m.at, entries[0].At.UTC().Format(time.RFC3339), entries[0].Cycle)
	}
	return number, nil
}

// plan is the plan of that cycle, of the widest level, and what it was made from.
func (m *moment) plan(j journal) (planned, engine.Input, error) {
	number, err := m.cycle(j)
	if err != nil {
		return planned{}, engine.Input{}, err
	}
	p, err := lastPlan(j, number)
	if err != nil {
		return planned{}, engine.Input{}, err
	}
	in, err := cycle.ReadInput(j, p.input)
	return p, in, err
}

// lastPlan is the plan of the widest level that the cycle made, shadows apart.
func lastPlan(j journal, number uint64) (planned, error) {
	var last planned
	found := false
	for p, err := range plans(j, number) {
		if err != nil {
			return last, err
		}
		if p.input.Level != engine.Shadow {
			last, found = p, true
		}
	}
	if !found {
		return last, fmt.Errorf("cycle %d has no plan in the journal", number)
	}
	return last, nil
}

func whyNot(in engine.Input, name, to string, deny whatif.Deny) (*whatif.Answer, error) {
	s := in.Snapshot
	v, err := vmNamed(s, name)
	if err != nil {
		return nil, err
	}
	place, err := placeNamed(s, to)
	if err != nil {
		return nil, err
	}
	a := whatif.WhyNot(in, v, place, deny)
	return &a, nil
}

// vmNamed finds a VM by its ID or its name.
func vmNamed(s *engine.Snapshot, name string) (int32, error) {
	return named("vm", name, len(s.VMs), func(i int) (string, string) { return string(s.VMs[i].ID), s.VMs[i].Name })
}

// hostNamed finds a host by its ID or its name.
func hostNamed(s *engine.Snapshot, name string) (int32, error) {
	return named("host", name, len(s.Hosts), func(i int) (string, string) { return string(s.Hosts[i].ID), s.Hosts[i].Name })
}

// named finds the one of n things that has an ID or a name. Several may share a name,
// in different vCenters: then the ID must be given.
func named(kind, name string, n int, of func(i int) (id, name string)) (int32, error) {
	var found []int32
	var ids []string
	for i := range n {
		switch id, called := of(i); name {
		case id:
			return int32(i), nil
		case called:
			found, ids = append(found, int32(i)), append(ids, id)
		}
	}
	switch len(found) {
	case 0:
		return engine.None, fmt.Errorf("%s %s: %w", kind, name, errNotThere)
	case 1:
		return found[0], nil
	}
	return engine.None, fmt.Errorf("%d %ss are named %s: give the ID, one of %s", len(found), kind, name, strings.Join(ids, ", "))
}

// placeNamed finds a site, a cluster or a host by its ID or its name.
func placeNamed(s *engine.Snapshot, name string) (engine.Subject, error) {
	if _, ok := s.FindSite(engine.SiteID(name)); ok {
		return engine.Subject{Kind: "site", ID: name}, nil
	}
	for i := range s.Clusters {
		if c := &s.Clusters[i]; c.Name == name || string(c.ID) == name {
			return engine.Subject{Kind: "cluster", ID: string(c.ID)}, nil
		}
	}
	i, err := hostNamed(s, name)
	if errors.Is(err, errNotThere) {
		return engine.Subject{}, fmt.Errorf("no site, cluster or host %q in that cycle", name)
	}
	if err != nil {
		return engine.Subject{}, err
	}
	return engine.Subject{Kind: "host", ID: string(s.Hosts[i].ID)}, nil
}

// printAnswer writes an answer for people, without details that they have read already.
func printAnswer(w io.Writer, a *whatif.Answer, told ...engine.Hold) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	to := cmp.Or(a.ToName, a.To.ID)
	switch {
	case a.There:
		line("it is at %s already", to)
	case a.Moves:
		line("it is planned to move to %s", to)
	case !a.Possible:
		line("it could not move to %s:", to)
		for _, x := range a.Binds {
			line("  %s (%s)\n    until %s", x.Detail, x.Code, until[x.Code])
		}
	default:
		line("it would move to %s if", to)
		and := ""
		for _, x := range a.Binds {
			line("  %s%s", and, x.Unless)
			if !slices.ContainsFunc(told, func(h engine.Hold) bool { return h.Code == x.Code && h.Detail == x.Detail }) {
				line("    now: %s (%s)", x.Detail, x.Code)
			}
			and = "and "
		}
		if a.ShortMicro > 0 {
			line("  %sit were worth %.4f EUR/h more there", and, roundedUp(a.ShortMicro))
		}
	}
	for i, s := range a.Scores {
		that, beyond := "that is", ""
		if i > 0 {
			that = "or"
		}
		if s.Beyond {
			beyond = ": more than scores can say, so raise its weight"
		}
		line("    %s a site score of %s %s that of here, now %s%s", that, s.Policy, above(s.Now+s.More), above(s.Now), beyond)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// above puts the difference of two scores into words.
func above(x float64) string {
	if x < 0 {
		return fmt.Sprintf("%.3f below", -x)
	}
	return fmt.Sprintf("%.3f above", x)
}

// roundedUp is micro-euros in euros with four decimals: what is said to be enough is.
func roundedUp(micro int64) float64 { return float64((micro+99)/100) / 1e4 }

// nearest is the answer for the site that the VM is least kept from, nil where there
// is none. A site that it is worth moving to already comes before others.
func nearest(in *engine.Input, v int32, deny whatif.Deny) *whatif.Answer {
	if len(in.Snapshot.VMs) > nearestVMs {
		return nil
	}
	var best *whatif.Answer
	for i := range in.Snapshot.Sites {
		if in.Snapshot.VMSite(v) == int32(i) {
			continue
		}
		a := whatif.WhyNot(*in, v, engine.Subject{Kind: "site", ID: string(in.Snapshot.Sites[i].ID)}, deny)
		if a.Possible && (best == nil || nearer(&a, best) < 0) {
			best = &a
		}
	}
	return best
}

func nearer(a, b *whatif.Answer) int {
	return cmp.Or(cmp.Compare(min(a.ShortMicro, 1), min(b.ShortMicro, 1)), cmp.Compare(len(a.Binds), len(b.Binds)), cmp.Compare(a.ShortMicro, b.ShortMicro))
}

// decisionOf is all that the policies said in the cycle: what is only advised, or
// in shadow, too.
func decisionOf(j journal, in engine.InputRecord) (engine.Decision, error) {
	var d engine.Decision
	b, err := j.Get(in.Decision)
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(b, &d)
}
