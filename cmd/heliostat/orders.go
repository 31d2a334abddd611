package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"heliostat/configs"
	"heliostat/engine"
	"heliostat/web"
)

// daemon reaches the daemon over its socket: the one that is given, or the
// configuration's. Giving it spares an order the secrets that the configuration names.
func (g *globals) daemon(ctx context.Context) (*web.Client, error) {
	if g.socket != "" {
		return dialDaemon(ctx, g.socket)
	}
	cfg, err := g.load()
	if err != nil {
		return nil, err
	}
	return dialDaemon(ctx, cfg.State.Socket)
}

// order makes a command that gives the daemon one order. why is the help text of
// its reason, "" when it takes none.
func order(g *globals, why, use, short, long, example, done string, args cobra.PositionalArgs, give func(context.Context, *web.Client, []string, string) error) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.daemon(cmd.Context())
			if err != nil {
				return err
			}
			if err := give(cmd.Context(), c, args, reason); err != nil {
				return err
			}
			return carriedOut(g, cmd, args, done)
		},
	}
	if why != "" {
		cmd.Flags().StringVar(&reason, "reason", "", why)
	}
	return cmd
}

// reasoned are the arguments of an order that nobody gives without saying why.
func reasoned(args cobra.PositionalArgs) cobra.PositionalArgs {
	return cobra.MatchAll(args, func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("reason") {
			return errors.New("--reason is missing: why? the journal keeps it")
		}
		return nil
	})
}

// carriedOut says that the daemon has taken an order, and what it was of, if anything.
func carriedOut(g *globals, cmd *cobra.Command, args []string, done string) error {
	if g.json {
		said := map[string]string{"done": cmd.Name()}
		if len(args) > 0 {
			said["of"] = strings.Join(args, " ")
		}
		return printJSON(cmd.OutOrStdout(), said)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), done)
	return err
}

func newReject(g *globals) *cobra.Command {
	return order(g, "why, for the journal", "reject HASH", "Drop an advised plan",
		`Drop the plan that waits. A plan of the same actions is not offered again for as long
as an approval is waited for (schedule.approval_ttl).`,
		"  heliostat reject 3f9a0c --reason 'month end'", "rejected", cobra.ExactArgs(1),
		func(ctx context.Context, c *web.Client, args []string, reason string) error {
			return c.Reject(ctx, args[0], reason)
		})
}

func newPause(g *globals) *cobra.Command {
	return order(g, "why, for the journal (required)", "pause --reason TEXT", "Start no more actions until resumed",
		`Start no more actions, from now on and over restarts. Actions in flight go on to their
end. The plan that waits, and the rest of approved ones, are dropped. A reason must be given.`,
		"  heliostat pause --reason 'storage maintenance'", "paused: nothing more is started until 'heliostat resume'", reasoned(cobra.NoArgs),
		func(ctx context.Context, c *web.Client, _ []string, reason string) error { return c.Pause(ctx, reason) })
}

func newResume(g *globals) *cobra.Command {
	return order(g, "", "resume", "End a pause", "End a pause. The next cycle begins at once.", "  heliostat resume", "resumed", cobra.NoArgs,
		func(ctx context.Context, c *web.Client, _ []string, _ string) error { return c.Resume(ctx) })
}

func newVersion(g *globals) *cobra.Command {
	var sbom bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version, or what this binary was built from",
		Example: "  heliostat version --json\n  heliostat version --sbom > heliostat.cdx.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if sbom {
				return writeBill(cmd.OutOrStdout())
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "heliostat %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	cmd.Flags().BoolVar(&sbom, "sbom", false, "print the modules in this binary (CycloneDX 1.6, JSON)")
	return cmd
}

func newCheck(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and the policies, as the daemon would load them",
		Long: `Check loads the configuration and the policies exactly as the daemon does, and
prints their faults as file:line:column. The tests of your own policies are run too. It
connects to nothing but the server that signed policies come from (policy.url).

It exits with 0 when the daemon would start, and with 3 otherwise.`,
		Example: "  heliostat check --config heliostat.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			policies, err := loadPolicies(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: sound: %s, %s; policies %s\n", g.config, engine.Count(len(cfg.Sites), "site"), engine.Count(len(cfg.VCenters), "vCenter"), policies.Revision()[:12])
			return err
		},
	}
}

func newInit() *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		Short:   "Print a commented configuration to start from",
		Long:    "Print a configuration in which every key is explained and every default is shown.",
		Example: "  heliostat init > heliostat.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(configs.Example)
			return err
		},
	}
}

func newStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show what the daemon is doing",
		Long:    "Show what the daemon is doing: first what needs you (a pause, a failure, a plan that waits), then sites, actions under way, holds and gaps.",
		Example: "  heliostat status\n  heliostat status --json | jq .open",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.daemon(cmd.Context())
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return codeError{exitDaemon, err}
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), s)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), statusText(s))
			return err
		},
	}
}

// approvedBy names who has approved a plan that waits for more.
func approvedBy(p *web.PendingPlan) string {
	if len(p.Approved) == 0 {
		return ""
	}
	return fmt.Sprintf(" more, by others than %s", strings.Join(p.Approved, " and "))
}

// statusText is the status for people: what needs them first.
func statusText(s *web.Status) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if s.Paused != nil {
		line("PAUSED by %s: %s", s.Paused.Who, s.Paused.Reason)
	}
	for i := range s.Rails {
		line("HELD BACK: %s", s.Rails[i])
	}
	for _, g := range s.Doubted() {
		line("NOT BELIEVED, nothing is done there: %s: %s", g.Subject, g.Reason)
	}
	for i := range s.Quarantine {
		q := &s.Quarantine[i]
		line("QUARANTINE: %s %s: %s", q.Subject.Kind, q.Name, q.Text())
	}
	for i := range s.Swings {
		x := &s.Swings[i]
		line("SWINGS: %s %s %s", x.Subject.Kind, x.Name, x.Text())
	}
	if s.Error != "" {
		line("LAST CYCLE FAILED: %s", s.Error)
	}
	if s.Refused != "" {
		line("POLICY EDIT REFUSED, revision %.12s serves on: %s", s.Revision, s.Refused)
	}
	if s.Waits != "" {
		line("POLICY EDIT WAITS, revision %.12s serves on: %s: 'heliostat policy approve %.8s'", s.Revision, s.Waits, s.Newest)
	}
	if s.Held {
		line("POLICIES ROLLED BACK to revision %.12s, until they change or 'heliostat policy rollback --resume'", s.Revision)
	}
	for i := range s.Hazards {
		h := &s.Hazards[i]
		line("HAZARD: %s %s %s may reach %s from %s to %s (%s)", h.Severity, h.Kind, h.ID, h.Site, h.Earliest, h.End, h.Source)
	}
	for i := range s.Alerts {
		if a := &s.Alerts[i]; a.Status != "resolved" {
			line("ALERT: %s (%s) at %s is %s since %s", a.Name, a.Kind, cmp.Or(string(a.Site), "no site"), a.Status, a.StartsAt)
		}
	}
	for i := range s.Evacuations {
		line("EVACUATION: %s", s.Evacuations[i].Headline)
	}
	for _, o := range s.Ordered {
		line("ORDERED by %s, who does not approve it: evacuate %s %s by %s ('heliostat evacuate %s --cancel' ends it)", o.Who, o.Subject.Kind, o.Subject.ID, o.By, o.Subject.ID)
	}
	if p := s.Pending; p != nil { // the longest is the last
		line("PLAN %.12s WAITS for %s%s, until %s: 'heliostat approve %.8s'", p.Hash, engine.Count(int(p.Approvers)-len(p.Approved), "approval"), approvedBy(p), p.Expires.UTC().Format("15:04:05"), p.Hash)
		if p.Doubt != "" {
			line("    NOT NOW: %s", p.Doubt)
		}
		for i := range p.Plan.Actions {
			line("    %s", p.Plan.Actions[i].String())
		}
	}
	line("heliostat %s, cycle %d at %s took %d ms, next at %s; policies %.12s; journal %s",
		s.Version, s.Cycle, s.At.UTC().Format("15:04:05"), s.TookMS, s.Next.UTC().Format("15:04:05"), s.Revision, engine.Count(s.Journal.Entries, "entry"))
	line("")
	line("%-14s %-8s %6s %8s %6s %9s %7s", "SITE", "MODE", "ON", "STANDBY", "VMS", "POWER", "SUN")
	for _, x := range s.Sites {
		line("%-14s %-8s %6d %8d %6d %7s kW %7s", x.Site, x.Mode, x.Hosts.On, x.Hosts.Standby, x.VMs, x.KW(), x.Sun(" deg"))
	}
	if len(s.Open) > 0 {
		line("")
		for i := range s.Open {
			line("%3d %%  %s  %s", s.Open[i].Percent, s.Open[i].Record.Action.ID, s.Open[i].Record.Action.String())
		}
	}
	for _, src := range s.Sources {
		if !src.Up {
			line("source %s is silent: %s", src.Name, src.Error)
		}
	}
	if len(s.Holds) > 0 {
		var counts []string
		for _, c := range web.HoldCounts(s.Holds) {
			counts = append(counts, fmt.Sprintf("%d %s", c.N, c.Name))
		}
		line("")
		line("held: %s ('heliostat explain vm NAME' says why)", strings.Join(counts, ", "))
	}
	for i, gap := range s.Gaps {
		if i == 10 {
			line("... and %d more gaps", len(s.Gaps)-i)
			break
		}
		line("not seen: %s: %s (%s)", gap.Subject, gap.Reason, gap.Source)
	}
	return b.String()
}
