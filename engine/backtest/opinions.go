package backtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"heliostat/engine"
	"heliostat/engine/cycle"
)

// A Rule counts where two decisions about the same snapshots part, an opinion of a
// cycle each.
type Rule struct {
	Policy   string    `json:"policy"`
	Rule     string    `json:"rule"`
	Both     int       `json:"both"`
	Reworded int       `json:"reworded"` // the same opinion for another reason; counted in Both too
	OnlyA    int       `json:"only_a"`
	OnlyB    int       `json:"only_b"`
	Examples []Example `json:"examples,omitempty"` // the first of each kind
}

// Differs reports whether the rule said different things.
func (r *Rule) Differs() bool { return r.OnlyA+r.OnlyB+r.Reworded > 0 }

// An Example is an opinion that only one side has, or has for another reason.
type Example struct {
	Cycle uint64 `json:"cycle"`
	Only  string `json:"only"` // a, b, or "" where the reasons differ
	What  string `json:"what"`
	A     string `json:"reason_a,omitempty"`
	B     string `json:"reason_b,omitempty"`
}

// examples is how many of each kind are kept: enough to see what it is about.
const examples = 3

// tally counts by rule.
type tally struct{ rules map[[2]string]*Rule }

func (t *tally) rule(policy, rule string) *Rule {
	if t.rules == nil {
		t.rules = map[[2]string]*Rule{}
	}
	k := [2]string{policy, rule}
	if t.rules[k] == nil {
		t.rules[k] = &Rule{Policy: policy, Rule: rule}
	}
	return t.rules[k]
}

func (t *tally) sorted() []Rule {
	out := make([]Rule, 0, len(t.rules))
	for _, r := range t.rules {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Rule) int {
		return cmp.Or(strings.Compare(a.Policy, b.Policy), strings.Compare(a.Rule, b.Rule))
	})
	return out
}

// compare counts what a and b say about the moment. vetoes are those of both, or nil.
func (t *tally) compare(number uint64, s *engine.Snapshot, a, b *engine.Decision, vetoes [2][]engine.Veto) {
	x, y := opinions(s, a, vetoes[0]), opinions(s, b, vetoes[1])
	for _, o := range slices.SortedFunc(maps.Keys(x), opinion.order) {
		r := t.rule(o.policy, o.rule)
		other, ok := y[o]
		switch {
		case !ok:
			r.OnlyA++
			r.example(Example{number, "a", o.what, x[o], ""}, r.OnlyA)
		case other != x[o]:
			r.Both++
			r.Reworded++
			r.example(Example{number, "", o.what, x[o], other}, r.Reworded)
		default:
			r.Both++
		}
	}
	for _, o := range slices.SortedFunc(maps.Keys(y), opinion.order) {
		if _, ok := x[o]; !ok {
			r := t.rule(o.policy, o.rule)
			r.OnlyB++
			r.example(Example{number, "b", o.what, "", y[o]}, r.OnlyB)
		}
	}
}

// example keeps e, the n-th of its kind.
func (r *Rule) example(e Example, n int) {
	if n <= examples {
		r.Examples = append(r.Examples, e)
	}
}

// An opinion is what a rule says, in words.
type opinion struct{ policy, rule, what string }

func (o opinion) order(p opinion) int {
	return cmp.Or(strings.Compare(o.policy, p.policy), strings.Compare(o.rule, p.rule), strings.Compare(o.what, p.what))
}

// opinions puts a decision into words, with the reasons. What the rails added is
// left out.
func opinions(s *engine.Snapshot, d *engine.Decision, vetoes []engine.Veto) map[opinion]string {
	out := make(map[opinion]string, d.Opinions())
	own := map[string]bool{}
	for _, v := range cycle.BundleVoices(d) {
		own[v.Policy] = true
	}
	say := func(b engine.By, format string, args ...any) {
		if v := d.Voices[b.Voice]; own[v.Policy] {
			out[opinion{v.Policy, v.Rule, fmt.Sprintf(format, args...)}] = d.Reasons[b.Reason]
		}
	}
	vm := func(i int32) string { return s.VMs[i].Name }
	host := func(i int32) string { return s.Hosts[i].Name }
	place := func(p engine.Subject) string { return p.Kind + " " + s.NameOf(p) }
	for _, x := range d.SiteScores {
		say(x.By, "site %s scores %.3f", s.Sites[x.Site].ID, float64(x.Milli)/1000)
	}
	for _, x := range d.Prefers {
		say(x.By, "vm %s to %s for %.4f EUR/h", vm(x.VM), place(x.To), euros(x.MicroEUR))
	}
	for _, x := range d.Evacuations {
		say(x.By, "evacuate %s%s", place(x.Place), by(x.Deadline))
	}
	for _, x := range d.Drains {
		say(x.By, "drain host %s for %s%s", host(x.Host), x.Then, by(x.Deadline))
	}
	for _, x := range d.Wakes {
		say(x.By, "wake host %s", host(x.Host))
	}
	for _, x := range d.Priorities {
		say(x.By, "vm %s in tier %d", vm(x.VM), x.Tier)
	}
	for _, x := range d.Groups {
		for _, v := range x.VMs {
			say(x.By, "vm %s %s at %s scope in group %s%s", vm(v), x.Kind, x.Scope, x.Name, limits(&x))
		}
	}
	for _, x := range d.AllowSites {
		say(x.By, "vm %s only at %s", vm(x.VM), siteNames(s, x.Sites))
	}
	for _, x := range d.AllowHosts {
		say(x.By, "vm %s only on %s", vm(x.VM), hostNames(s, x.Hosts))
	}
	for _, x := range d.Pins {
		say(x.By, "pin vm %s", vm(x.VM))
	}
	for _, x := range d.KeepOns {
		say(x.By, "keep host %s on", host(x.Host))
	}
	for _, x := range d.Freezes {
		say(x.By, "freeze %s%s", place(x.Place), by(x.Until))
	}
	for _, x := range d.Sheds {
		say(x.By, "shed vm %s", vm(x.VM))
	}
	for _, x := range d.Failures {
		v := d.Voices[x.Voice]
		out[opinion{v.Policy, v.Rule, "fails on " + place(x.Scope)}] = x.Error
	}
	for _, x := range vetoes {
		v, _ := s.FindVM(x.VM)
		out[opinion{x.Policy, engine.RuleDeny, fmt.Sprintf("vm %s not to %s (%s)", vm(v), s.NameOf(engine.Subject{Kind: "host", ID: string(x.To)}), x.Code)}] = x.Reason
	}
	return out
}

func by(t engine.Unix) string {
	if t == 0 {
		return ""
	}
	return " until " + t.String()
}

func limits(g *engine.Group) string {
	if g.Kind != engine.GroupNear {
		return ""
	}
	return fmt.Sprintf(", %.1f ms", float64(g.MaxRTTMicros)/1000)
}

func siteNames(s *engine.Snapshot, m engine.SiteMask) string {
	var names []string
	for i := range s.Sites {
		if m.Has(int32(i)) {
			names = append(names, string(s.Sites[i].ID))
		}
	}
	return cmp.Or(strings.Join(names, ", "), "no site")
}

func hostNames(s *engine.Snapshot, hosts []int32) string {
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = s.Hosts[h].Name
	}
	return cmp.Or(strings.Join(names, ", "), "no host")
}

func euros(micro int64) float64 { return float64(micro) / 1e6 }
