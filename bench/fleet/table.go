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
		b.WriteString("; by stage:")
		for j, s := range g.Stages {
			fmt.Fprintf(&b, "%s %s %.1f", [2]string{"", ","}[min(j, 1)], s.Name, s.Ratio)
		}
		b.WriteString("\n")
	}
	b.WriteString(r.text())
	if r.Merge != nil {
		b.WriteString(r.Merge.text())
	}
	_, err := b.WriteTo(out)
	return err
}

func (r *run) table(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n%d hosts, %d VMs, %d clusters; generated in %.0f ms, policies loaded in %.0f ms; heap peak %.0f MiB, RSS peak %.0f MiB\n",
		r.Hosts, r.VMs, r.Clusters, r.GenerateMS, r.PoliciesMS, r.HeapPeakMB, r.RSSPeakMB)
	cold, last := &r.Cycles[0], r.warm()
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) {
		_, _ = w.Write([]byte(strings.Join(cells, "\t") + "\t\n")) // to a buffer
	}
	line := func(cold, warm *stage) {
		cells := []string{cold.Name, fmt.Sprintf("%.0f", cold.WallMS), fmt.Sprintf("%.0f", cold.CPUMS)}
		if warm != nil {
			cells = append(cells, fmt.Sprintf("%.0f", warm.WallMS), fmt.Sprintf("%.0f", warm.CPUMS))
		}
		row(cells...)
	}
	all := func(c *oneCycle) *stage { return &stage{"all", c.WallMS, c.CPUMS} }
	if last == nil {
		row("stage", "cold: wall ms", "CPU ms")
		for i := range cold.Stages {
			line(&cold.Stages[i], nil)
		}
		line(all(cold), nil)
	} else {
		row("stage", "cold: wall ms", "CPU ms", "warm: wall ms", "CPU ms")
		for i := range cold.Stages {
			line(&cold.Stages[i], last.stage(cold.Stages[i].Name))
		}
		line(all(cold), all(last))
	}
	_ = w.Flush() // to a buffer
	for i := range r.Cycles {
		c := &r.Cycles[i]
		fmt.Fprintf(b, "cycle %d: %d actions, %d holds, %d candidates evaluated, %d rounds, %.2f %% of the wishes that could be granted;", i+1, c.Actions, c.Holds, c.Evaluated, c.Rounds, c.Wishes)
		for _, x := range c.Blobs {
			fmt.Fprintf(b, " %s %.1f -> %.1f MB", x.Part, float64(x.RawBytes)/1e6, float64(x.StoredBytes)/1e6)
		}
		fmt.Fprintln(b)
	}
}
