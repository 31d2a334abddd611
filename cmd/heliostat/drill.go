package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/cycle"
	"heliostat/engine/plan"
)

func newDrill(g *globals) *cobra.Command {
	var when byWhen
	var state string
	var then moment
	cmd := &cobra.Command{
		Use: "drill SITE --by TIME | --in DURATION", Short: "Say what an evacuation would come to, without doing it",
		Long: `Drill plans the evacuation of a site by a deadline on the fleet as the daemon last saw it,
and prints what would be saved and what not, and why. It changes nothing. The daemon
journals that there was a drill, and what it came to.

With --state or --journal it is done on a journaled snapshot instead, of the last cycle
or of --cycle or --at, and --in counts from then; nothing is journaled.`,
		Example: `  heliostat drill houston --in 12h
  heliostat drill houston --by 18:00 --json | jq .not_out
  heliostat drill houston --in 6h --state /var/lib/heliostat --cycle 118`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var c engine.Certificate
			var err error
			if state != "" || g.export != "" {
				c, err = drillJournaled(cmd, g, state, then, when, args[0])
			} else {
				c, err = drillLive(cmd, g, then, when, args[0])
			}
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), c)
			}
			var b strings.Builder
			b.WriteString("DRILL: nothing is moved\n")
			writeCertificate(&b, &c)
			_, err = fmt.Fprint(cmd.OutOrStdout(), b.String())
			return err
		},
	}
	when.flags(cmd)
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon, in place of the running one")
	then.flags(cmd)
	return cmd
}

func drillLive(cmd *cobra.Command, g *globals, then moment, when byWhen, site string) (engine.Certificate, error) {
	if then != (moment{}) {
		return engine.Certificate{}, codeError{exitUsage, errors.New("--cycle and --at go with --state or --journal")}
	}
	by, err := when.at(time.Now())
	if err != nil {
		return engine.Certificate{}, err
	}
	d, err := g.daemon(cmd.Context())
	if err != nil {
		return engine.Certificate{}, err
	}
	return d.Drill(cmd.Context(), site, engine.At(by), false)
}

// drillJournaled plans on what a cycle in the journal was made from.
func drillJournaled(cmd *cobra.Command, g *globals, state string, then moment, when byWhen, site string) (engine.Certificate, error) {
	var none engine.Certificate
	j, err := g.openJournal(cmd.Context(), state)
	if err != nil {
		return none, err
	}
	defer func() { _ = j.Close() }()
	_, in, err := then.plan(j)
	if err != nil {
		return none, err
	}
	if _, ok := in.Snapshot.FindSite(engine.SiteID(site)); !ok {
		return none, fmt.Errorf("site %s: %w", site, errNotThere)
	}
	by, err := when.at(in.Now.Time())
	if err != nil {
		return none, err
	}
	if !by.After(in.Now.Time()) {
		return none, codeError{exitUsage, fmt.Errorf("--by: %s is not after the cycle, which was at %s", by.UTC().Format(time.RFC3339), in.Now)}
	}
	in = cycle.Drilled(in, site, engine.At(by), "drill")
	in.Level, in.Paused = engine.Advise, ""
	p := plan.Build(in)
	if err := check.Plan(in, p); err != nil {
		return none, fmt.Errorf("the check refuses the plan: %w", err)
	}
	return cycle.Certified(in, p, site)
}
