package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/backtest"
	"heliostat/policy"
	"heliostat/rego"
)

// What can be named in the place of a folder of policies, beside a revision.
const (
	shippedBundle  = "shipped"  // those that ship
	recordedBundle = "recorded" // those that were in force
)

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

// bundle is a loader of policies: those in a folder, those that ship, those that were
// in force in each cycle (recorded), or a revision that the journal keeps. They are
// heard as the record says; a policy of which it says nothing is off if it ships, and
// enforced if it is the folder's own.
func (h *hearing) bundle(j journal, name string) (backtest.Load, error) {
	cfg := policy.DefaultConfig()
	cfg.Deadline = ruleDeadline
	var err error
	if cfg.Params, err = h.parameters(); err != nil {
		return nil, err
	}
	asked, err := h.asked()
	if err != nil {
		return nil, err
	}
	open, err := bundleNamed(j, name)
	if err != nil {
		return nil, err
	}
	ships := policy.Shipped(rego.FS).Policies()
	return func(ctx context.Context, revision string, voices []engine.Voice) (backtest.Policy, error) {
		c := cfg
		b, err := open(ctx, revision, c)
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
		return open(ctx, revision, c)
	}, nil
}

// An opening loads a bundle; revision is that which was in force.
type opening func(ctx context.Context, revision string, cfg policy.Config) (*policy.Bundle, error)

func bundleNamed(j journal, name string) (opening, error) {
	fromFiles := func(ctx context.Context, _ string, cfg policy.Config) (*policy.Bundle, error) {
		return policy.Load(ctx, rego.FS, cfg)
	}
	if name == shippedBundle {
		return fromFiles, nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return func(ctx context.Context, _ string, cfg policy.Config) (*policy.Bundle, error) {
			cfg.Dir = name
			b, err := policy.Load(ctx, rego.FS, cfg)
			if d, unread := policy.ReadDraft(rego.FS, name); unread == nil && err != nil {
				err = d.Explain(err)
			}
			return b, err
		}, nil
	}
	entries, err := j.Kind(engine.EntryRevision)
	if err != nil {
		return nil, err
	}
	kept := func(ctx context.Context, revision string, cfg policy.Config) (*policy.Bundle, error) {
		rec, err := revisionNamed(entries, revision)
		if err != nil {
			return nil, err
		}
		raw, err := j.Get(rec.Bundle)
		if err != nil {
			return nil, fmt.Errorf("revision %.12s is not kept any more (state.keep): %w", rec.Serving, err)
		}
		if len(cfg.Params) > 0 {
			return nil, codeError{exitUsage, errors.New("a kept revision has its parameters in it: --params is for a folder")}
		}
		return policy.LoadKept(ctx, raw, cfg)
	}
	if name == recordedBundle {
		return func(ctx context.Context, revision string, cfg policy.Config) (*policy.Bundle, error) {
			if _, err := revisionNamed(entries, revision); err != nil {
				return fromFiles(ctx, revision, cfg) // older journals keep none: the report says so where it is another
			}
			return kept(ctx, revision, cfg)
		}, nil
	}
	if _, err := revisionNamed(entries, name); err != nil {
		return nil, fmt.Errorf("%s is no folder of policies, nor %s: %w", name, shippedBundle, err)
	}
	return func(ctx context.Context, _ string, cfg policy.Config) (*policy.Bundle, error) {
		return kept(ctx, name, cfg)
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
--mode says otherwise. Parameters that the configuration gave then are to be given
again, with --params; a kept revision has them in it.`,
		Example: `  heliostat policy replay --journal week.tar.zst --bundle policies
  heliostat policy replay --journal week.tar.zst --bundle shipped --params dpm.target_pct=50 --html report.html
  heliostat policy replay --state /var/lib/heliostat --bundle policies --from 2026-11-25 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return codeError{exitUsage, errors.New("--bundle: which policies? a folder, shipped, or a revision")}
			}
			var l engine.Mode
			if err := l.UnmarshalText([]byte(level)); err != nil || l < engine.Advise {
				return codeError{exitUsage, fmt.Errorf("--level %s: enforce or advise", level)}
			}
			j, err := g.openJournal(cmd.Context(), state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			fresh, err := trial.bundle(j, dir)
			if err != nil {
				return err
			}
			old, err := force.bundle(j, base)
			if err != nil {
				return err
			}
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
	cmd.Flags().StringVar(&dir, "bundle", "", "the policies under test: a folder, shipped, or a revision that the journal keeps")
	cmd.Flags().StringVar(&base, "base", recordedBundle, "the policies that were in force: as the journal keeps them, or a folder, or shipped")
	cmd.Flags().StringVar(&level, "level", "enforce", "what is carried out in the simulation: enforce, or advise, as if every advised plan were approved")
	cmd.Flags().StringVar(&html, "html", "", "write a report for a browser to this file, in place of the one that is there")
	cmd.Flags().StringArrayVar(&force.params, "base-params", nil, "a parameter of --base; may be given again")
	when.flags(cmd)
	trial.flags(cmd)
	return cmd
}
