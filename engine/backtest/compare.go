package backtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"heliostat/engine"
	"heliostat/engine/cycle"
)

// A Comparison is what a policy or a bundle in shadow would have done, cycle by cycle,
// against what was enforced. Nothing of it was carried out, so the same wish comes
// again in every cycle until the fleet changes: it counts once here.
type Comparison struct {
	Name    string      `json:"name"`
	From    engine.Unix `json:"from"`
	To      engine.Unix `json:"to"`
	Cycles  int         `json:"cycles"` // in which it made a plan
	Refused int         `json:"refused"`
	Same    int         `json:"same"` // cycles in which both plans do the same
	Shadow  Side        `json:"shadow"`
	Enforce Side        `json:"enforced"`
	Both    int         `json:"actions_in_both"`
	// Only in one, by how often they were planned.
	OnlyShadow []Wish `json:"only_shadow"`
	OnlyForce  []Wish `json:"only_enforced"`
}

// A Side is one of the two.
type Side struct {
	Actions   int                     `json:"actions"` // different ones
	Moves     int                     `json:"moves"`
	PowerW    float64                 `json:"power_w"`   // change of power that a plan promises, on average of all cycles; negative saves
	EURPerH   float64                 `json:"eur_per_h"` // what a plan promises to save, on average of all cycles
	CostEUR   float64                 `json:"cost_eur"`  // what it costs once, on average of all cycles
	KWh       float64                 `json:"kwh"`       // the change of power times the time to the next cycle, over all cycles; negative saves
	Across    int                     `json:"moves_across_vcenters"`
	GB        float64                 `json:"gb_copied"` // by the moves, each once
	Holds     map[engine.HoldCode]int `json:"holds"`     // objects held, once for each code
	actions   map[string]*Wish
	held      map[engine.HoldCode]map[engine.Subject]bool
	power     int64
	saves     int64
	costs     int64
	promised  int64 // W, by the last plan
	lastCycle map[string]bool
}

// A Wish is an action that was planned in some cycles.
type Wish struct {
	What   string `json:"what"`
	Cycles int    `json:"cycles"`
	First  uint64 `json:"first"` // cycle
	Why    string `json:"why,omitempty"`
}

// wishes is how many actions of each side are named.
const wishes = 15

// Compare reads the plans of the policy, or of the bundle, in shadow from a moment on.
func Compare(r cycle.Reader, name string, since time.Time) (*Comparison, error) {
	c := &Comparison{Name: name}
	read := &Record{r: r}
	var enforced *engine.PlanRecord
	var shadows []string
	for e, err := range r.Entries(1) {
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		if e.At.Before(since) || e.Kind != engine.EntryPlan {
			continue
		}
		var rec engine.PlanRecord
		if err := json.Unmarshal(e.Data, &rec); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		switch {
		case rec.Level == engine.Enforce:
			enforced = &rec
		case rec.Level != engine.Shadow || enforced == nil:
		case rec.Shadow != name && rec.Shadow != cycle.ShadowOf(name):
			if !slices.Contains(shadows, rec.Shadow) {
				shadows = append(shadows, rec.Shadow)
			}
		default:
			if err := c.add(read, e.Cycle, enforced, &rec); err != nil {
				return nil, fmt.Errorf("cycle %d: %w", e.Cycle, err)
			}
		}
	}
	if c.Cycles == 0 {
		slices.Sort(shadows)
		return nil, fmt.Errorf("%s made no plan in shadow since %s; these did: %s", name, since.Format(time.RFC3339), cmp.Or(strings.Join(shadows, ", "), "none"))
	}
	c.close()
	return c, nil
}

func (c *Comparison) add(r *Record, number uint64, enforced, shadow *engine.PlanRecord) error {
	var a, b engine.Plan
	if err := r.read("plan", shadow.Digest, &a); err != nil {
		return err
	}
	if err := r.read("plan", enforced.Digest, &b); err != nil {
		return err
	}
	c.Cycles++
	if shadow.Refused != "" {
		c.Refused++
	}
	if c.From == 0 {
		c.From, c.To = a.At, a.At
	}
	for _, s := range []*Side{&c.Shadow, &c.Enforce} {
		s.KWh += float64(s.promised) * float64(a.At-c.To) / 3.6e6
	}
	c.To = a.At
	c.Shadow.add(number, &a)
	c.Enforce.add(number, &b)
	if maps.Equal(c.Shadow.lastCycle, c.Enforce.lastCycle) {
		c.Same++
	}
	return nil
}

func (s *Side) add(number uint64, p *engine.Plan) {
	if s.actions == nil {
		s.actions, s.held = map[string]*Wish{}, map[engine.HoldCode]map[engine.Subject]bool{}
	}
	s.lastCycle = map[string]bool{}
	for i := range p.Actions {
		a := &p.Actions[i]
		what := a.String()
		w := s.actions[what]
		if w == nil {
			w = &Wish{What: what, First: number, Why: strings.TrimPrefix(why(a), ": ")}
			s.actions[what] = w
			if a.Kind == engine.Move {
				s.Moves++
				s.GB += float64(a.Estimate.MemoryMiB+a.Estimate.DiskMiB) / 1024
				if a.Across {
					s.Across++
				}
			}
		}
		w.Cycles++
		s.lastCycle[what] = true
	}
	for _, h := range p.Holds {
		if s.held[h.Code] == nil {
			s.held[h.Code] = map[engine.Subject]bool{}
		}
		s.held[h.Code][h.Subject] = true
	}
	s.promised = p.Effect.PowerW
	s.power, s.saves, s.costs = s.power+p.Effect.PowerW, s.saves+p.Effect.MicroEURPerH, s.costs+p.Effect.CostMicroEUR
}

func (c *Comparison) close() {
	c.OnlyShadow, c.OnlyForce = only(&c.Shadow, &c.Enforce), only(&c.Enforce, &c.Shadow)
	for what := range c.Shadow.actions {
		if c.Enforce.actions[what] != nil {
			c.Both++
		}
	}
	for _, s := range []*Side{&c.Shadow, &c.Enforce} {
		n := float64(c.Cycles)
		s.Actions, s.PowerW, s.EURPerH, s.CostEUR = len(s.actions), round(float64(s.power)/n, 1), round(euros(s.saves)/n, 4), round(euros(s.costs)/n, 4)
		s.KWh, s.GB = round(s.KWh, 3), round(s.GB, 1)
		s.Holds = map[engine.HoldCode]int{}
		for code, subjects := range s.held {
			s.Holds[code] = len(subjects)
		}
	}
}

// only is what a planned and b never did.
func only(a, b *Side) []Wish {
	out := []Wish{}
	for what, w := range a.actions {
		if b.actions[what] == nil {
			out = append(out, *w)
		}
	}
	slices.SortFunc(out, func(x, y Wish) int { return cmp.Or(cmp.Compare(y.Cycles, x.Cycles), strings.Compare(x.What, y.What)) })
	return out
}

// Text writes the comparison for a terminal.
func (c *Comparison) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s in shadow, %s to %s: the same as what was enforced in %d of %d cycles", c.Name, c.From, c.To, c.Same, c.Cycles)
	if c.Refused > 0 {
		line("The check refused %d of its plans.", c.Refused)
	}
	line("%-36s %12s %12s", "", "in shadow", "enforced")
	for _, x := range []struct {
		name         string
		format       string
		shadow, real any
	}{
		{"different actions planned", "%12d", c.Shadow.Actions, c.Enforce.Actions},
		{"  of these moves", "%12d", c.Shadow.Moves, c.Enforce.Moves},
		{"    across vCenters", "%12d", c.Shadow.Across, c.Enforce.Across},
		{"  GB to be copied by them", "%12.0f", c.Shadow.GB, c.Enforce.GB},
		{"power promised, W on average", "%12.1f", c.Shadow.PowerW, c.Enforce.PowerW},
		{"energy promised, kWh in all", "%12.2f", c.Shadow.KWh, c.Enforce.KWh},
		{"saving promised, EUR/h on average", "%12.4f", c.Shadow.EURPerH, c.Enforce.EURPerH},
		{"cost, EUR a cycle on average", "%12.4f", c.Shadow.CostEUR, c.Enforce.CostEUR},
	} {
		line("%-36s "+x.format+" "+x.format, x.name, x.shadow, x.real)
	}
	codes := maps.Clone(c.Shadow.Holds)
	maps.Copy(codes, c.Enforce.Holds)
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		if s, e := c.Shadow.Holds[code], c.Enforce.Holds[code]; s != e {
			line("%-36s %12d %12d", "held: "+string(code), s, e)
		}
	}
	for _, x := range []struct {
		title string
		list  []Wish
	}{{"only in shadow", c.OnlyShadow}, {"only enforced", c.OnlyForce}} {
		if len(x.list) == 0 {
			continue
		}
		line("%s %s:", engine.Count(len(x.list), "action"), x.title)
		for _, w := range x.list[:min(len(x.list), wishes)] {
			line("  %s: in %s from %d on: %s", w.What, engine.Count(w.Cycles, "cycle"), w.First, w.Why)
		}
		if n := len(x.list) - wishes; n > 0 {
			line("  and %d more: --json has them all", n)
		}
	}
	return b.String()
}
