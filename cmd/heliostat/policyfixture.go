package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/backtest"
	"heliostat/policy"
	"heliostat/rego"
)

// A scene is a recorded cycle as rules see it, and the scope that a command is about.
type scene struct {
	state, cluster, move, to string
	when                     moment
}

func (s *scene) flags(g *globals, cmd *cobra.Command) {
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&s.state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	cmd.Flags().StringVar(&s.cluster, "cluster", "", "of this cluster, by name or ID")
	cmd.Flags().StringVar(&s.move, "move", "", "of a move of this VM; with --to")
	cmd.Flags().StringVar(&s.to, "to", "", "the host that it moves to")
	cmd.MarkFlagsMutuallyExclusive("cluster", "move")
	cmd.MarkFlagsRequiredTogether("move", "to")
	s.when.flags(cmd)
}

// A shown is what rules see in the scene.
type shown struct {
	cycle uint64
	docs  *policy.Documents
	input policy.Input
	scope string // for people
}

// show reads the scene from the journal, or from the daemon that owns it.
func (s *scene) show(ctx context.Context, g *globals) (*shown, error) {
	j, err := g.openJournal(ctx, s.state)
	if err != nil {
		return nil, err
	}
	defer func() { _ = j.Close() }()
	p, in, err := s.when.plan(j)
	if err != nil {
		return nil, err
	}
	x := &shown{cycle: p.cycle, docs: policy.Show(backtest.ViewOf(&in)), scope: "the fleet"}
	switch {
	case s.cluster != "":
		c, err := clusterNamed(in.Snapshot, s.cluster)
		if err != nil {
			return nil, err
		}
		x.input, x.scope = x.docs.Cluster(c), "cluster "+in.Snapshot.Clusters[c].Name
	case s.move != "":
		plan, err := readPlan(j, p.record.Digest)
		if err != nil {
			return nil, err
		}
		a, err := moveNamed(in.Snapshot, plan, s.move, s.to)
		if err != nil {
			return nil, err
		}
		x.scope = a.String()
		var ok bool
		if x.input, ok = x.docs.Move(a); !ok {
			return nil, fmt.Errorf("vm %s runs on no host that is seen", s.move)
		}
	}
	return x, nil
}

func clusterNamed(s *engine.Snapshot, name string) (int32, error) {
	var names []string
	for c := range s.Clusters {
		k := &s.Clusters[c]
		if k.Name == name || string(k.ID) == name {
			return int32(c), nil
		}
		names = append(names, k.Name)
	}
	return 0, fmt.Errorf("no cluster %s: one of %s", name, strings.Join(names, ", "))
}

// moveNamed is the planned move of the VM to the host, or one as a plan could have it.
func moveNamed(s *engine.Snapshot, p *engine.Plan, vm, host string) (engine.Action, error) {
	v, err := vmNamed(s, vm)
	if err != nil {
		return engine.Action{}, err
	}
	h, err := hostNamed(s, host)
	if err != nil {
		return engine.Action{}, err
	}
	for i := range p.Actions {
		if a := &p.Actions[i]; a.Kind == engine.Move && a.VM == s.VMs[v].ID && a.To.Host == s.Hosts[h].ID {
			return *a, nil
		}
	}
	return moveOf(s, v, h), nil
}

// moveOf is a move of the VM to the host as a plan could have it.
func moveOf(s *engine.Snapshot, v, h int32) engine.Action {
	a := engine.Action{ID: "fixture", Kind: engine.Move, VM: s.VMs[v].ID, Name: s.VMs[v].Name, Moid: s.VMs[v].Moid, To: placeOf(s, h), Why: []engine.Why{}}
	if from := s.VMs[v].Host; from >= 0 {
		a.From = placeOf(s, from)
	}
	a.Across = a.From.VCenter != a.To.VCenter
	a.Storage = a.Across
	return a
}

func placeOf(s *engine.Snapshot, h int32) engine.Place {
	x := &s.Hosts[h]
	p := engine.Place{VCenter: s.VCenters[x.VCenter].ID, Cluster: s.Clusters[x.Cluster].ID, Host: x.ID, Name: x.Name}
	if x.Site >= 0 {
		p.Site = s.Sites[x.Site].ID
	}
	return p
}

func newPolicyFixture(g *globals) *cobra.Command {
	var sc scene
	var asRego bool
	var rule, dir string
	cmd := &cobra.Command{
		Use:   "fixture [--cluster X | --move VM --to HOST]",
		Short: "Print what rules saw in a recorded cycle, as the input of a test",
		Long: `Fixture prints what a rule sees in input, and in data.fleet, of one cluster or one move in
a recorded cycle, the last unless another is named; of the fleet alone without either. It
reads a journal, an export of one, or asks the daemon that runs.

With --rego it writes a test for a rule: one that passes, in which the rule says about
that input what it says now. Edit it from there.`,
		Example: `  heliostat policy fixture --cluster prod-a --config heliostat.yaml > fixture.json
  heliostat policy fixture --move web-017 --to esx-04 --journal week.tar.zst --cycle 118
  heliostat policy fixture --cluster prod-a --rego --rule dpm.drain > placement/dpm_recorded_test.rego`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, of, named := strings.Cut(rule, ".")
			if asRego && !named {
				return codeError{exitUsage, errors.New("--rego: of which rule? --rule POLICY.RULE, such as dpm.drain")}
			}
			x, err := sc.show(cmd.Context(), g)
			if err != nil {
				return err
			}
			if !asRego {
				f, err := x.docs.Fixture(x.input)
				if err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), f)
			}
			d, err := draftOrShipped(dir)
			if err != nil {
				return err
			}
			q, err := d.Ask(cmd.Context(), x.docs)
			if err != nil {
				return err
			}
			text, err := q.TestSkeleton(cmd.Context(), name, of, fmt.Sprintf("as_recorded_in_cycle_%d", x.cycle), x.input)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	sc.flags(g, cmd)
	cmd.Flags().BoolVar(&asRego, "rego", false, "write a test for a rule")
	cmd.Flags().StringVar(&rule, "rule", "", "with --rego: POLICY.RULE")
	cmd.Flags().StringVar(&dir, "bundle", shippedBundle, "with --rego: folder of the policies, or shipped")
	return cmd
}

// draftOrShipped reads a folder of policies, or those that ship.
func draftOrShipped(dir string) (*policy.Draft, error) {
	if dir == shippedBundle {
		return policy.Shipped(rego.FS), nil
	}
	return policy.ReadDraft(rego.FS, dir)
}
