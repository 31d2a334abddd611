package backtest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"heliostat/engine"
)

// A row is one figure of the three courses.
type row struct {
	Name              string
	Recorded, Base    string
	New, Difference   string
	recorded, base, n float64
}

// figures are the rows of a report.
func (r *Report) figures() []row {
	a, b, n := &r.Actual.Totals, &r.Base.Totals, &r.New.Totals
	var out []row
	add := func(name, format string, get func(*Totals) float64) {
		x := row{Name: name, recorded: get(a), base: get(b), n: get(n)}
		text := func(v float64) string { return fmt.Sprintf(format, v) }
		x.Recorded, x.Base, x.New = text(x.recorded), text(x.base), text(x.n)
		if x.Difference = "="; x.Base != x.New {
			x.Difference = fmt.Sprintf("%+"+strings.TrimPrefix(format, "%"), x.n-x.base)
		}
		out = append(out, x)
	}
	add("moves", "%.0f", func(t *Totals) float64 { return float64(t.Moves) })
	add("  across vCenters", "%.0f", func(t *Totals) float64 { return float64(t.Across) })
	add("GB copied", "%.0f", func(t *Totals) float64 { return t.GB })
	add("hosts put in standby", "%.0f", func(t *Totals) float64 { return float64(t.Standby) })
	add("hosts woken", "%.0f", func(t *Totals) float64 { return float64(t.Wake) })
	add("kWh", "%.1f", func(t *Totals) float64 { return t.KWh })
	add("EUR", "%.2f", func(t *Totals) float64 { return t.EUR })
	add("kg CO2", "%.1f", func(t *Totals) float64 { return t.CO2Kg })
	add("latency violations, min", "%.0f", func(t *Totals) float64 { return t.LatencyMin })
	add("hosts overloaded, min", "%.0f", func(t *Totals) float64 { return t.OverMin })
	add("VMs left at a deadline", "%.0f", func(t *Totals) float64 { return float64(t.Missed) })
	add("plans that wait for a person", "%.0f", func(t *Totals) float64 { return float64(t.Waiting) })
	if b.Refused+n.Refused > 0 {
		add("plans that are refused", "%.0f", func(t *Totals) float64 { return float64(t.Refused) })
	}
	codes := map[engine.HoldCode]bool{}
	for _, t := range []*Totals{a, b, n} {
		for c := range t.Holds {
			codes[c] = true
		}
	}
	for _, c := range slices.Sorted(maps.Keys(codes)) {
		add("held: "+string(c), "%.0f", func(t *Totals) float64 { return float64(t.Holds[c]) })
	}
	return out
}

// basis is where the first two columns of a report part.
const basis = "Simulated, actions take as long as was expected of them and end well; recorded, as they did."

// Note says what a reader must know before comparing, "" for nothing.
func (r *Report) Note() string {
	if n := r.New; n.Totals.Refused > 0 {
		return strings.TrimSpace(r.otherBase() + fmt.Sprintf(" Of the new policies' plans %d are refused as a whole, and nothing of them is carried out; the first because %s", n.Totals.Refused, n.Refused))
	}
	return r.otherBase()
}

// otherBase says that what is compared with is not what was in force.
func (r *Report) otherBase() string {
	if slices.Contains(r.Revisions, r.Base.Revision) {
		return ""
	}
	return fmt.Sprintf("The policies that were in force are revision %s; those simulated as such are %.8s: name their folder and parameters with --base and --base-params.", revisions(r.Revisions), r.Base.Revision)
}

func revisions(all []string) string {
	short := make([]string, len(all))
	for i, x := range all {
		short[i] = fmt.Sprintf("%.8s", x)
	}
	return strings.Join(short, ", ")
}

// Summary is the report in a sentence.
func (r *Report) Summary() string {
	p := r.Replayed
	if p.Differences == 0 {
		return fmt.Sprintf("On the recorded inputs of %s the policies %.8s say what was recorded, and plan the same, to the byte: %s.", engine.Count(p.Cycles, "cycle"), r.New.Revision, engine.Count(p.Plans, "plan"))
	}
	return fmt.Sprintf("On the recorded inputs of %s the policies %.8s decide otherwise in %d; %d of %d plans are not the recorded ones. The first is of cycle %d.",
		engine.Count(p.Cycles, "cycle"), r.New.Revision, p.Decisions, p.PlansDiffer, p.Plans, p.First)
}

// Text writes the report for a terminal.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s to %s, policies in force: %s", r.From, r.To, revisions(r.Revisions))
	line("%s", r.Summary())
	if n := r.Note(); n != "" {
		line("%s", n)
	}
	line("")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "\trecorded\tin force, simulated\tnew, simulated\tdifference\t") // a strings.Builder takes everything
	for _, x := range r.figures() {
		_, _ = fmt.Fprintf(t, "%-28s\t%s\t%s\t%s\t%s\t\n", x.Name, x.Recorded, x.Base, x.New, x.Difference)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	line(basis)
	WriteRules(&b, r.Replayed.Rules, "recorded", "new")
	for _, x := range []struct {
		title string
		list  []Change
	}{{"VMs", r.VMs}, {"Hosts", r.Hosts}} {
		if len(x.list) == 0 {
			continue
		}
		line("\n%s that fare most differently, in force -> new:", x.title)
		for _, c := range x.list {
			line("  %s: %s -> %s", c.Name, c.Base, c.New)
			if c.Why != "" {
				line("    %s", c.Why)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteRules writes where decisions part, with examples; nothing where they do not.
func WriteRules(w io.Writer, rules []Rule, a, b string) {
	for _, r := range rules {
		if !r.Differs() {
			continue
		}
		_, _ = fmt.Fprintf(w, "\n%s.%s: %d the same, %d only %s, %d only %s, %d for another reason\n", r.Policy, r.Rule, r.Both-r.Reworded, r.OnlyA, a, r.OnlyB, b, r.Reworded)
		for _, e := range r.Examples {
			switch e.Only {
			case "a":
				_, _ = fmt.Fprintf(w, "  cycle %d, only %s: %s: %s\n", e.Cycle, a, e.What, e.A)
			case "b":
				_, _ = fmt.Fprintf(w, "  cycle %d, only %s: %s: %s\n", e.Cycle, b, e.What, e.B)
			default:
				_, _ = fmt.Fprintf(w, "  cycle %d: %s\n    %s: %s\n    %s: %s\n", e.Cycle, e.What, a, e.A, b, e.B)
			}
		}
	}
}
