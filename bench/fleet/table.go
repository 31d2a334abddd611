package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// table prints the report for people.
func (r *report) table(out io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s on %s, %d cores, seed %d, %d sites\n", r.Go, r.Arch, r.Cores, r.Seed, r.Sites)
	for i := range r.Runs {
		r.Runs[i].table(&b)
	}
	for i := range r.Growth {
		g := &r.Growth[i]
		fmt.Fprintf(&b, "\n%.1f times the VMs: cold %.1f times the CPU", g.VMs, g.Cold)
		if g.Warm > 0 {
			fmt.Fprintf(&b, ", warm %.1f", g.Warm)
		}
		fmt.Fprint(&b, "; by stage:")
		for _, s := range g.Stages {
			fmt.Fprintf(&b, " %s %.1f", s.Name, s.Ratio)
			if s != g.Stages[len(g.Stages)-1] {
				fmt.Fprint(&b, ",")
			}
		}
		fmt.Fprintln(&b)
	}
	_, err := b.WriteTo(out)
	return err
}

func (r *run) table(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n%d hosts, %d VMs, %d clusters; generated in %.0f ms, policies loaded in %.0f ms; heap peak %.0f MiB, RSS peak %.0f MiB\n",
		r.Hosts, r.VMs, r.Clusters, r.GenerateMS, r.PoliciesMS, r.HeapPeakMB, r.RSSPeakMB)
	cold, last := &r.Cycles[0], warm(r)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) {
		_, _ = w.Write([]byte(strings.Join(cells, "\t") + "\t\n")) // to a buffer
	}
	times := func(s *stage) []string { return []string{fmt.Sprintf("%.0f", s.WallMS), fmt.Sprintf("%.0f", s.CPUMS)} }
	line := func(name string, cold, warm *stage) {
		cells := append([]string{name}, times(cold)...)
		if warm != nil {
			cells = append(cells, times(warm)...)
		}
		row(cells...)
	}
	if last == nil {
		row("stage", "cold wall ms", "CPU ms")
	} else {
		row("stage", "cold wall ms", "CPU ms", "warm wall ms", "CPU ms")
	}
	total := func(c *oneCycle) *stage { return &stage{"all", c.WallMS, c.CPUMS} }
	for i := range cold.Stages {
		if last == nil {
			line(cold.Stages[i].Name, &cold.Stages[i], nil)
		} else {
			line(cold.Stages[i].Name, &cold.Stages[i], last.stage(cold.Stages[i].Name))
		}
	}
	if last == nil {
		line("all", total(cold), nil)
	} else {
		line("all", total(cold), total(last))
	}
	_ = w.Flush() // to a buffer
	for i := range r.Cycles {
		c := &r.Cycles[i]
		fmt.Fprintf(b, "cycle %d: %d actions, %d holds, %d candidates evaluated, %d rounds;", i+1, c.Actions, c.Holds, c.Evaluated, c.Rounds)
		for _, x := range c.Blobs {
			fmt.Fprintf(b, " %s %.1f -> %.1f MB", x.Part, float64(x.RawBytes)/1e6, float64(x.StoredBytes)/1e6)
		}
		fmt.Fprintln(b)
	}
}

// stage finds a stage by name; one that was not run took no time.
func (c *oneCycle) stage(name string) *stage {
	for i := range c.Stages {
		if c.Stages[i].Name == name {
			return &c.Stages[i]
		}
	}
	return &stage{Name: name}
}
