package backtest

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"heliostat/engine"
)

//go:embed report.html
var page string

// HTML writes the report as one page that needs nothing else.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("report").Parse(page)
	if err != nil {
		return err
	}
	var rules []Rule
	for _, x := range r.Replayed.Rules {
		if x.Differs() {
			rules = append(rules, x)
		}
	}
	return t.Execute(w, map[string]any{
		"R": r, "Figures": r.figures(), "Rules": rules, "Revisions": revisions(r.Revisions), "Note": r.Note(), "Summary": r.Summary(), "Basis": basis,
		"Charts": []chart{
			r.chart("Power at the meter", "W", func(p *Point) float64 { return float64(p.Watts) }),
			r.chart("Moves so far", "", func(p *Point) float64 { return float64(p.Moves) }),
		},
	})
}

// A chart is lines over time, in the units of its drawing.
type chart struct {
	Title string
	Unit  string
	Ticks []tick // of the value
	Hours []tick // of the time
	Lines []curve
}

type tick struct {
	At   float64
	Text string
}

type curve struct{ Name, Class, Points string }

// The drawing's inner size.
const chartW, chartH = 800.0, 200.0

func (r *Report) chart(title, unit string, get func(*Point) float64) chart {
	c := chart{Title: title, Unit: unit}
	runs := []struct {
		name, class string
		run         *Run
	}{{"recorded", "recorded", r.Actual}, {"in force, simulated", "base", r.Base}, {"new, simulated", "new", r.New}}
	top := 1.0
	for _, x := range runs {
		for i := range x.run.Points {
			top = max(top, get(&x.run.Points[i]))
		}
	}
	step := 1.0 // the largest of 1, 2, 5 times a power of ten that gives three lines or more
	for top/step > 5 {
		for _, f := range []float64{2, 2.5, 2} {
			if step *= f; top/step <= 5 {
				break
			}
		}
	}
	y := func(v float64) float64 { return chartH - v/top*chartH }
	for v := 0.0; v <= top; v += step {
		c.Ticks = append(c.Ticks, tick{y(v), fmt.Sprintf("%.0f", v)})
	}
	long := float64(max(r.To-r.From, 1))
	x := func(at engine.Unix) float64 { return float64(at-r.From) / long * chartW }
	every := engine.Unix(3600)
	for _, h := range []engine.Unix{3, 6, 12, 24, 24 * 7} { // at most about ten
		if long/float64(every) > 10 {
			every = h * 3600
		}
	}
	for at := (r.From/every + 1) * every; at < r.To; at += every {
		text := at.Time().Format("15:04")
		if every >= 24*3600 {
			text = at.Time().Format("01-02")
		}
		c.Hours = append(c.Hours, tick{x(at), text})
	}
	for _, l := range runs {
		var b strings.Builder
		for i := range l.run.Points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(l.run.Points[i].At), y(get(&l.run.Points[i])))
		}
		c.Lines = append(c.Lines, curve{l.name, l.class, strings.TrimSpace(b.String())})
	}
	return c
}
