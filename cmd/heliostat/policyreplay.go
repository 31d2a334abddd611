package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/backtest"
	"heliostat/policy"
	"heliostat/rego"
)

// shippedBundle names the policies that ship where a folder could be given.
const shippedBundle = "shipped"

// period are the flags that choose a part of a journal.
type period struct{ from, to string }

func (p *period) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.from, "from", "", "from this moment on: 2026-11-25 or 2026-11-25T04:00:00Z, UTC (default: the first cycle)")
	cmd.Flags().StringVar(&p.to, "to", "", "up to this moment (default: the last cycle)")
}

// read reads that part.
func (p *period) read(j journal) (*backtest.Record, error) {
	from, err := parseMoment(p.from)
	if err != nil {
		return nil, codeError{exitUsage, fmt.Errorf("--from: %w", err)}
	}
	to, err := parseMoment(p.to)
	if err != nil {
		return nil, codeError{exitUsage, fmt.Errorf("--to: %w", err)}
	}
	return backtest.Read(j, from, to)
}

// A hearing is how far the policies of a bundle on trial are heard, beyond what is
// recorded of the policies that were in force.
type hearing struct {
	params []string
	modes  []string
}

func (h *hearing) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&h.params, "params", nil, "a parameter of the bundle under test, POLICY.NAME=VALUE as JSON; may be given again")
	cmd.Flags().StringArrayVar(&h.modes, "mode", nil, "the mode of a policy of the bundle under test, POLICY=off|shadow|advise|enforce; may be given again")
}

// ruleDeadline bounds a rule in a backtest: longer than in a daemon, so that a busy
// machine changes no result.
const ruleDeadline = time.Minute

// bundle is a loader of the policies in a folder, or of those that ship. Policies are
// heard as the record says; one of which it says nothing is off if it ships, and
// enforced if it is the folder's own.
func (h *hearing) bundle(dir string) (backtest.Load, error) {
	cfg := policy.DefaultConfig()
	cfg.Deadline = ruleDeadline
	if dir != shippedBundle {
		cfg.Dir = dir
	}
	var err error
	if cfg.Params, err = h.parameters(); err != nil {
		return nil, err
	}
	asked, err := h.asked()
	if err != nil {
		return nil, err
	}
	ships := policy.Shipped(rego.FS).Policies()
	return func(ctx context.Context, voices []engine.Voice) (backtest.Policy, error) {
		c := cfg
		b, err := policy.Load(ctx, rego.FS, c)
		if err != nil {
			return nil, err
		}
		c.Modes, c.Weights = map[string]engine.Mode{}, map[string]float64{}
		for _, name := range b.Policies {
			c.Modes[name] = engine.Enforce
			if slices.Contains(ships, name) {
				c.Modes[name] = engine.Off
			}
		}
		for _, v := range voices {
			if !slices.Contains(b.Policies, v.Policy) {
				continue
			}
			c.Modes[v.Policy] = v.Mode
			if v.Rule == engine.RuleSiteScore {
				c.Weights[v.Policy] = float64(v.WeightMicroEUR) / 1e6
			}
		}
		maps.Copy(c.Modes, asked)
		return policy.Load(ctx, rego.FS, c)
	}, nil
}

func (h *hearing) parameters() (map[string]map[string]any, error) {
	out := map[string]map[string]any{}
	for _, p := range h.params {
		name, text, ok := strings.Cut(p, "=")
		of, key, named := strings.Cut(name, ".")
		if !ok || !named {
			return nil, codeError{exitUsage, fmt.Errorf("--params %s: give POLICY.NAME=VALUE, such as dpm.target_pct=50", p)}
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text // a word without quotes
		}
		if out[of] == nil {
			out[of] = map[string]any{}
		}
		out[of][key] = value
	}
	return out, nil
}

func (h *hearing) asked() (map[string]engine.Mode, error) {
	out := map[string]engine.Mode{}
	for _, m := range h.modes {
		name, text, ok := strings.Cut(m, "=")
		var mode engine.Mode
		if err := mode.UnmarshalText([]byte(text)); !ok || err != nil {
			return nil, codeError{exitUsage, fmt.Errorf("--mode %s: give POLICY=off, shadow, advise or enforce", m)}
		}
		out[name] = mode
	}
	return out, nil
}

func newPolicyReplay(g *globals) *cobra.Command {
	var state, dir, base, level, html string
	var when period
	var trial, force hearing
	cmd := &cobra.Command{
		Use:   "replay --bundle DIR",
		Short: "Try policies on recorded history, and say what would have come of them",
		Long: `Replay takes a journal, or an export of one, and a folder of policies, and does two things.

It lays every recorded input before the policies and counts the cycles in which their
decision, or a plan made of it, is not the recorded one: "differences". The policies
that were in force give 0, byte for byte.

And it lets the fleet go its own way from the first cycle on: loads, prices, sun, hazards
and what persons did follow the record, where VMs stand and which hosts sleep follow the
simulated actions. The policies that were in force (--base) and those under test go
through the same model, so that the two can be compared; what was really done stands
beside them.

Policies are heard as the record says: the modes and weights of then. A policy of which
the record says nothing is enforced if it is the folder's own, and off if it ships;
--mode says otherwise. Parameters that the configuration gave then are to be
given again, with --params and --base-params.`,
		Example: `  heliostat policy replay --journal week.tar.zst --bundle policies
  heliostat policy replay --journal week.tar.zst --bundle shipped --params dpm.target_pct=50 --html report.html
  heliostat policy replay --state /var/lib/heliostat --bundle policies --from 2026-11-25 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return codeError{exitUsage, errors.New("--bundle: which policies? a folder, or shipped")}
			}
			var l engine.Mode
			if err := l.UnmarshalText([]byte(level)); err != nil || l < engine.Advise {
				return codeError{exitUsage, fmt.Errorf("--level %s: enforce or advise", level)}
			}
			fresh, err := trial.bundle(dir)
			if err != nil {
				return err
			}
			old, err := force.bundle(base)
			if err != nil {
				return err
			}
			j, err := g.openJournal(cmd.Context(), state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			record, err := when.read(j)
			if err != nil {
				return err
			}
			r, err := record.Run(cmd.Context(), old, fresh, l)
			if err != nil {
				return err
			}
			if html != "" {
				if err := writeWhole(html, r.HTML); err != nil {
					return err
				}
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), r)
			}
			return r.Text(cmd.OutOrStdout())
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	cmd.Flags().StringVar(&dir, "bundle", "", "folder of the policies under test, or shipped")
	cmd.Flags().StringVar(&base, "base", shippedBundle, "folder of the policies that were in force, or shipped")
	cmd.Flags().StringVar(&level, "level", "enforce", "what is carried out in the simulation: enforce, or advise, as if every advised plan were approved")
	cmd.Flags().StringVar(&html, "html", "", "write a report for a browser to this file")
	cmd.Flags().StringArrayVar(&force.params, "base-params", nil, "a parameter of --base; may be given again")
	when.flags(cmd)
	trial.flags(cmd)
	return cmd
}
