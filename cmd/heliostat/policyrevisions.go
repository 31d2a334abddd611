package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/configs"
	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/policy"
	"heliostat/rego"
	"heliostat/web"
)

// examiner is the command line of the process that examines changed policies.
var examiner = []string{"heliostat", "policy", "examine"}

// loadPolicies loads the bundle as it is, and those in shadow. What is wrong with one
// is a fault of the configuration.
func loadPolicies(ctx context.Context, cfg *configs.Config) (*policy.Service, error) {
	for _, b := range cfg.Policy.ShadowBundles {
		if err := policy.NewShadow(rego.FS, cfg.Policy, b, policy.Options{Examiner: examiner}).Reload(ctx); err != nil {
			return nil, codeError{exitConfig, cfg.Place("policy.shadow_bundles", fmt.Errorf("%s: %w", b.Name, err))}
		}
	}
	return startPolicies(ctx, cfg, policy.Options{Examiner: examiner})
}

func startPolicies(ctx context.Context, cfg *configs.Config, opts policy.Options) (*policy.Service, error) {
	s, err := policy.Start(ctx, rego.FS, cfg.Policy, opts)
	if err != nil {
		return nil, codeError{exitConfig, cfg.Place("policy", err)}
	}
	return s, nil
}

// startPolicies goes on with the revision that served before, where the newest one
// may not serve.
func (d *daemon) startPolicies(ctx context.Context) (*policy.Service, error) {
	opts := policy.Options{Log: d.log, Within: d.cfg.Schedule.Every, Get: d.journal.Get}
	if !d.at.noSockets {
		opts.Examiner = examiner
	}
	e, ok, err := d.journal.LastOf(engine.EntryRevision)
	if err != nil {
		return nil, err
	}
	if ok {
		opts.Last = &engine.RevisionRecord{}
		if err := json.Unmarshal(e.Data, opts.Last); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
	}
	return startPolicies(ctx, d.cfg, opts)
}

// settle has the loop take up what was found of changed policies.
func (d *daemon) settle(ctx context.Context) {
	err := d.loop.Revise(ctx, func(context.Context) error { return nil })
	if err != nil && ctx.Err() == nil {
		d.log.ErrorContext(ctx, "take up changed policies", "err", err)
	}
}

// revising adds the orders about policies to the loop's.
type revising struct {
	*cycle.Loop
	d *daemon
}

// ApprovePolicies implements web.Control.
func (r revising) ApprovePolicies(ctx context.Context, revision, who string) error {
	return r.Revise(ctx, func(ctx context.Context) error { return r.d.policies.Approve(ctx, revision, who) })
}

// RollBackPolicies implements web.Control.
func (r revising) RollBackPolicies(ctx context.Context, revision, who string) error {
	entries, err := r.d.journal.Kind(engine.EntryRevision)
	if err != nil {
		return err
	}
	rec, err := revisionNamed(entries, revision)
	if err != nil {
		return err
	}
	kept, err := r.d.journal.Get(rec.Bundle)
	if err != nil {
		return fmt.Errorf("revision %.12s is not kept any more (state.keep): %w", rec.Serving, err)
	}
	return r.Revise(ctx, func(ctx context.Context) error { return r.d.policies.RollBack(ctx, kept, who) })
}

// ResumePolicies implements web.Control.
func (r revising) ResumePolicies(ctx context.Context, who string) error {
	return r.Revise(ctx, func(ctx context.Context) error { return r.d.policies.Resume(ctx, who) })
}

// revisionNamed finds the one revision that has served whose digest begins so.
func revisionNamed(entries []engine.Entry, revision string) (engine.RevisionRecord, error) {
	var found engine.RevisionRecord
	if len(revision) < 4 {
		return found, fmt.Errorf("%q: give at least four characters of the revision's digest", revision)
	}
	for i := range entries {
		var rec engine.RevisionRecord
		if err := json.Unmarshal(entries[i].Data, &rec); err != nil {
			return found, fmt.Errorf("entry %d: %w", entries[i].Seq, err)
		}
		if rec.Bundle == "" || !strings.HasPrefix(rec.Serving, revision) {
			continue
		}
		if found.Serving != "" && found.Serving != rec.Serving {
			return found, fmt.Errorf("%s is the beginning of several revisions: give more of it", revision)
		}
		found = rec
	}
	if found.Serving == "" {
		return found, fmt.Errorf("no revision %s has served: 'heliostat policy revisions' lists them", revision)
	}
	return found, nil
}

// A revised is one line of the list of revisions.
type revised struct {
	Revision string    `json:"revision"` // "" of an edit that could not be read
	At       time.Time `json:"at"`
	Cycle    uint64    `json:"cycle"`
	By       string    `json:"by,omitempty"`
	State    string    `json:"state"` // in force, served, refused, waited, waits
	Why      string    `json:"why,omitempty"`
	Kept     bool      `json:"kept"` // it can be gone back to
}

// revisions lists what came into service and what did not, the newest first.
func revisions(entries []engine.Entry) ([]revised, error) {
	out := []revised{}
	var last engine.RevisionRecord
	for i := range entries {
		e := &entries[i]
		var rec engine.RevisionRecord
		if err := json.Unmarshal(e.Data, &rec); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		line := revised{Revision: rec.Serving, At: e.At, Cycle: e.Cycle, By: rec.By, State: "served", Kept: rec.Bundle != ""}
		// The same once more, with nothing new beside it, is another start.
		again := rec.By == "start" && rec.Candidate == last.Candidate && rec.Refused == last.Refused && rec.Waits == last.Waits
		if rec.Serving != last.Serving || rec.By != last.By || again {
			out = append(out, line)
		}
		line = revised{Revision: rec.Candidate, At: e.At, Cycle: e.Cycle}
		switch {
		case rec.Refused != "" && rec.Refused != last.Refused:
			line.State, line.Why = "refused", rec.Refused
			out = append(out, line)
		case rec.Waits != "" && rec.Candidate != last.Candidate:
			line.State, line.Why = "waited", rec.Waits
			out = append(out, line)
		}
		last = rec
	}
	slices.Reverse(out)
	force := slices.IndexFunc(out, func(r revised) bool { return r.State == "served" })
	if force >= 0 {
		out[force].State = "in force"
	}
	if len(out) > 0 && out[0].State == "waited" && last.Waits != "" {
		out[0].State = "waits"
	}
	return out, nil
}

func newPolicyRevisions(g *globals) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   "revisions",
		Short: "List the policies that were in force, and the edits that were refused",
		Long: `List each revision of the policies with when and by what it came into service, and
the edits that were refused, with the reason. The newest comes first.`,
		Example: "  heliostat policy revisions\n  heliostat policy revisions --json | jq '.[0]'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			j, err := g.openJournal(cmd.Context(), state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			entries, err := j.Kind(engine.EntryRevision)
			if err != nil {
				return err
			}
			list, err := revisions(entries)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printRevisions(cmd.OutOrStdout(), list)
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	return cmd
}

func printRevisions(w io.Writer, list []revised) error {
	for i := range list {
		r := &list[i]
		name := r.Revision
		if name == "" {
			name = "-"
		}
		what := r.State
		switch {
		case r.By == "start":
			what += ", since a start"
		case strings.Contains(r.By, " by "):
			what += ", " + r.By
		case r.By != "":
			what += ", by " + r.By
		}
		if _, err := fmt.Fprintf(w, "%-12.12s  %s  cycle %-6d  %s\n", name, r.At.UTC().Format(time.DateTime), r.Cycle, what); err != nil {
			return err
		}
		if r.Why != "" {
			if _, err := fmt.Fprintf(w, "\t%s\n", strings.ReplaceAll(r.Why, "\n", "\n\t")); err != nil {
				return err
			}
		}
	}
	if len(list) == 0 {
		return errors.New("the journal knows of no policies: has a daemon run with it?")
	}
	return nil
}

func newPolicyRollback(g *globals) *cobra.Command {
	var resume bool
	cmd := order(g, "", "rollback REVISION", "Go back to policies that were in force before",
		`Go back to a revision that has served, named by the beginning of its digest. It serves,
over restarts too, until the policies change again, or until --resume takes the newest
into service. The journal says who did it.`,
		"  heliostat policy revisions\n  heliostat policy rollback aebfcbd4\n  heliostat policy rollback --resume", "done: 'heliostat policy revisions' says what is in force",
		func(_ *cobra.Command, args []string) error {
			if resume == (len(args) == 1) || len(args) > 1 {
				return errors.New("give one revision, or --resume")
			}
			return nil
		},
		func(ctx context.Context, c *web.Client, args []string, _ string) error {
			if resume {
				return c.ResumePolicies(ctx)
			}
			return c.RollBackPolicies(ctx, args[0])
		})
	cmd.Flags().BoolVar(&resume, "resume", false, "take the newest policies into service again")
	return cmd
}

func newPolicyApprove(g *globals) *cobra.Command {
	return order(g, "", "approve REVISION", "Take policies into service that wait for it",
		`Take an edit of the policies into service that waits, because it changes the opinions
about more VMs or hosts than policy.validate.approve_above permits. It is named by the
beginning of its digest, as 'heliostat status' shows it.`,
		"  heliostat policy approve 3f9a0c11", "approved", cobra.ExactArgs(1),
		func(ctx context.Context, c *web.Client, args []string, _ string) error {
			return c.ApprovePolicies(ctx, args[0])
		})
}

func newPolicyExamine() *cobra.Command {
	return &cobra.Command{
		Use:    "examine",
		Short:  "Examine changed policies, for the daemon",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return policy.Examine(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), os.Stderr)
		},
	}
}
