package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"heliostat/configs"
	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/engine/plan"
	"heliostat/store"
)

func newPlan(g *globals) *cobra.Command {
	var drain []string
	var state string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what would be done now, without doing it",
		Long: `Plan runs one dry cycle: it collects, asks the policies, plans and checks, and
prints the plan. It changes nothing and journals nothing. What is advised counts
as well as what is enforced.

With --drain it also asks to empty a host, and says of each VM on it where it
would go or why it cannot.`,
		Example: "  heliostat plan --config heliostat.yaml\n  heliostat plan --drain esx-04.example.net",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if slices.Contains(drain, "") {
				return codeError{exitUsage, errors.New("--drain: the name of a host is empty")}
			}
			cfg, err := g.load()
			if err != nil {
				return err
			}
			in, p, err := dryPlan(cmd.Context(), cfg, drain)
			if p == nil {
				return err
			}
			if err != nil {
				err = fmt.Errorf("the check refuses this plan, so the daemon would not carry it out: %w", err)
			}
			if g.json {
				return errors.Join(err, printJSON(cmd.OutOrStdout(), p))
			}
			return errors.Join(err, printPlan(cmd.OutOrStdout(), in, p))
		},
	}
	cmd.Flags().StringArrayVar(&drain, "drain", nil, "empty this host, by name or ID (may be repeated)")
	show := &cobra.Command{
		Use: "show", Short: "Show the last plan in the journal", Args: cobra.NoArgs,
		Example: "  heliostat plan show\n  heliostat plan show --state /var/lib/heliostat --json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return showLastPlan(cmd, g, state) },
	}
	show.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	cmd.AddCommand(show)
	return cmd
}

// dryPlan runs one dry cycle in a state folder of its own, since the daemon may
// own the real one: what it needs is what the fleet looks like now.
func dryPlan(ctx context.Context, cfg *configs.Config, drain []string) (engine.Input, *engine.Plan, error) {
	dir, err := os.MkdirTemp("", "heliostat-plan-")
	if err != nil {
		return engine.Input{}, nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	j, err := store.Open(dir, store.Options{})
	if err != nil {
		return engine.Input{}, nil, err
	}
	defer func() { _ = j.Close() }()
	d, err := newDaemon(ctx, cfg, j, surroundings{noSockets: true})
	if err != nil {
		return engine.Input{}, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range d.watches {
		g.Go(func() error { return quiet(ctx, w.Run(ctx)) })
	}
	d.ready(ctx)
	memory, err := remembered(cfg)
	if err == nil {
		d.loop.Restore(ctx, memory)
	}
	var in engine.Input
	var p *engine.Plan
	if err == nil {
		in, p, err = d.loop.Dry(ctx, engine.Advise, func(s *engine.Snapshot) ([]engine.HostID, error) { return hostsNamed(s, drain) })
	}
	cancel()
	return in, p, errors.Join(err, g.Wait(), d.close())
}

// remembered is the history in the configured state folder, empty when there is
// none or the daemon is using it.
func remembered(cfg *configs.Config) (cycle.Memory, error) {
	empty := cycle.Memory{History: &engine.History{}}
	j, err := store.Open(cfg.State.Dir, store.Options{ReadOnly: true})
	if err != nil {
		return empty, nil
	}
	defer func() { _ = j.Close() }()
	m, err := cycle.Remember(j)
	m.Open, m.Unseen = nil, nil // a dry run adopts nothing
	return m, err
}

// hostsNamed finds hosts by ID or by name.
func hostsNamed(s *engine.Snapshot, names []string) ([]engine.HostID, error) {
	var ids []engine.HostID
	for _, name := range names {
		i, err := hostNamed(s, name)
		if errors.Is(err, errNotThere) {
			return nil, fmt.Errorf("--drain: no host %q; there %s", name, hostNames(s))
		}
		if err != nil {
			return nil, fmt.Errorf("--drain: %w", err)
		}
		ids = append(ids, s.Hosts[i].ID)
	}
	return ids, nil
}

// hostNames lists the hosts there are, after "there".
func hostNames(s *engine.Snapshot) string {
	var names []string
	for i := range s.Hosts {
		if i == 8 {
			names = append(names, fmt.Sprintf("and %d more", len(s.Hosts)-i))
			break
		}
		names = append(names, s.Hosts[i].Name)
	}
	switch len(names) {
	case 0:
		return "is none"
	case 1:
		return "is only " + names[0]
	}
	return "are " + strings.Join(names, ", ")
}

// printPlan writes a plan for people.
func printPlan(w io.Writer, in engine.Input, p *engine.Plan) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	s := in.Snapshot
	on := 0
	for i := range s.VMs {
		if s.VMs[i].Power == engine.VMOn {
			on++
		}
	}
	line("%s, %s, %s (%d running), %s, %s, as of %s", engine.Count(len(s.Sites), "site"), engine.Count(len(s.Hosts), "host"), engine.Count(len(s.VMs), "VM"), on, countRules(s.Rules), engine.Count(len(s.Gaps), "gap"), s.At)
	for i := range s.Sites {
		line("  %s", siteLoad(s, int32(i)))
	}
	for i, gap := range s.Gaps {
		if i == 10 {
			line("  ... and %d more gaps", len(s.Gaps)-i)
			break
		}
		line("  not seen: %s: %s (%s)", gap.Subject, gap.Reason, gap.Source)
	}
	writeActions(&b, p, hostNamer(s))
	if x := p.Effect.Power; x.Start > x.Bound {
		line("power where hosts may sleep: %.4f EUR/h now, %.4f with this plan, at least %.4f: %.1f %% of the possible saving, cost at most %.2f %% above the least",
			float64(x.Start)/1e6, float64(x.Planned)/1e6, float64(x.Bound)/1e6, x.SharePct(), x.GapPct())
	}
	if x := p.Effect.Wishes; x.Bound > 0 {
		line("wishes for places: %.4f EUR while they are expected to hold, of at most %.4f that any plan could grant now: %.1f %%", float64(x.Granted)/1e6, float64(x.Bound)/1e6, x.SharePct())
	}
	for _, c := range plan.Certify(in, p) {
		b.WriteString("\n")
		writeCertificate(&b, &c)
	}
	if len(p.Actions) == 0 && len(p.Holds) == 0 {
		line("nothing to do: no policy asks for anything, and nothing is violated")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// countRules counts the clusters' own rules, and those of them that are disabled.
func countRules(rules []engine.Rule) string {
	disabled := 0
	for i := range rules {
		if rules[i].Disabled {
			disabled++
		}
	}
	if disabled == 0 {
		return engine.Count(len(rules), "rule")
	}
	return fmt.Sprintf("%s (%d disabled)", engine.Count(len(rules), "rule"), disabled)
}

// siteLoad sums up what the hosts of a site that are on are loaded with. One
// host whose load is unknown makes the sum unknown.
func siteLoad(s *engine.Snapshot, site int32) string {
	hosts, on := 0, 0
	var cpu, cpuOf, mem, memOf int64
	watts, loads := int64(0), true
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if h.Site != site {
			continue
		}
		hosts++
		if h.Power != engine.HostOn {
			continue
		}
		on++
		cpu, cpuOf, mem, memOf = cpu+int64(h.UsedMHz), cpuOf+int64(h.CPUMHz), mem+int64(h.UsedMiB), memOf+int64(h.MemoryMiB)
		loads = loads && h.UsedMHz != engine.Unknown && h.UsedMiB != engine.Unknown
		if h.PowerW == engine.Unknown || watts < 0 {
			watts = -1
		} else {
			watts += int64(h.PowerW)
		}
	}
	text := fmt.Sprintf("%s: %d of %s on", s.Sites[site].ID, on, engine.Count(hosts, "host"))
	if loads {
		text += fmt.Sprintf(", CPU %d of %d MHz, memory %d of %d MiB", cpu, cpuOf, mem, memOf)
	} else {
		text += ", load unknown"
	}
	if watts < 0 {
		return text + ", power unknown"
	}
	return text + fmt.Sprintf(", %d W", watts)
}

// hostNamer gives hosts the names that people know.
func hostNamer(s *engine.Snapshot) func(engine.HostID) string {
	return func(id engine.HostID) string {
		if i, ok := s.FindHost(id); ok {
			return s.Hosts[i].Name
		}
		return string(id)
	}
}

// actionText says what an action does, with the names that people know.
func actionText(a *engine.Action, host func(engine.HostID) string) string {
	if a.Kind != engine.Move {
		return fmt.Sprintf("%s %s", a.Kind, a.Name)
	}
	text := fmt.Sprintf("move %s from %s to %s", a.Name, host(a.From.Host), host(a.To.Host))
	if a.From.Site != a.To.Site {
		text += fmt.Sprintf(" (%s to %s)", a.From.Site, a.To.Site)
	}
	return text
}

func writeActions(b *strings.Builder, p *engine.Plan, host func(engine.HostID) string) {
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	if len(p.Actions) > 0 {
		line("\nto do, in this order (plan %.12s):", p.Hash())
	}
	for i := range p.Actions {
		a := &p.Actions[i]
		line("  %-10s %s, about %v", a.ID, actionText(a, host), time.Duration(a.Estimate.Seconds)*time.Second)
		if mib := a.Estimate.MemoryMiB + a.Estimate.DiskMiB; mib > 0 {
			line("             %d MiB of memory, %d MiB of disks; %s", a.Estimate.MemoryMiB, a.Estimate.DiskMiB, a.Ledger)
		}
		if len(a.After) > 0 {
			var after []string
			for _, j := range a.After {
				after = append(after, p.Actions[j].ID)
			}
			line("             after %s", strings.Join(after, ", "))
		}
		for _, y := range a.Why {
			line("             %s", y)
		}
	}
	if len(p.Holds) > 0 {
		line("\nheld:")
	}
	for _, h := range p.Holds {
		line("  %-24s %s: %s (%s)", h.Name, h.Want, h.Detail, h.Code)
		for _, x := range h.Because() {
			line("  %-24s   %s", "", x)
		}
	}
}

func showLastPlan(cmd *cobra.Command, g *globals, state string) error {
	j, err := g.openJournal(cmd.Context(), state)
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }()
	e, ok, err := j.LastOf(engine.EntryPlan)
	if err != nil || !ok {
		return errors.Join(err, errors.New("the journal has no plan yet"))
	}
	for p, err := range plans(j, e.Cycle) {
		if err != nil {
			return err
		}
		in, err := cycle.ReadInput(j, p.input)
		if err != nil {
			return err
		}
		body, err := readPlan(j, p.record.Digest)
		if err != nil {
			return err
		}
		if g.json {
			err = printJSON(cmd.OutOrStdout(), body)
		} else {
			err = printPlan(cmd.OutOrStdout(), in, body)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
