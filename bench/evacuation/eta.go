package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"

	"golang.org/x/sync/errgroup"

	"heliostat/bench/internal/run"
)

// A coverage says how often evacuations ended inside the interval that was to hold
// so many of a hundred.
type coverage struct {
	Evacuations int     `json:"evacuations"`
	Left        int     `json:"left_before_percent"`
	In50        float64 `json:"in_50_percent"`
	In80        float64 `json:"in_80_percent"`
	In90        float64 `json:"in_90_percent"`
	Width       float64 `json:"width_90_percent"` // of the interval for 90, of the time it takes, on average
	Off         float64 `json:"median_off_percent"`
}

// cover foresees so many evacuations, each of a fleet and under a truth of its own.
func cover(f *run.Flags, n, left int, out io.Writer) error {
	type result struct {
		ends []float64
		at   float64
		ok   bool
	}
	results := make([]result, n)
	g := errgroup.Group{}
	g.SetLimit(f.Threads)
	for i := range results {
		g.Go(func() error {
			x := &results[i]
			x.ends, x.at, x.ok = foresee(f.Seed+uint64(i), left)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c := coverage{Left: left}
	for _, x := range results {
		if !x.ok {
			continue
		}
		c.Evacuations++
		at := func(q float64) float64 { return x.ends[int(math.Round(q*float64(len(x.ends)-1)))] }
		for _, k := range []struct {
			in   *float64
			part float64
		}{{&c.In50, 0.5}, {&c.In80, 0.8}, {&c.In90, 0.9}} {
			if x.at >= at((1-k.part)/2) && x.at <= at((1+k.part)/2) {
				*k.in++
			}
		}
		c.Width += (at(0.95) - at(0.05)) / x.at
		c.Off += math.Abs(at(0.5)-x.at) / x.at
	}
	for _, v := range []*float64{&c.In50, &c.In80, &c.In90, &c.Width, &c.Off} {
		*v *= 100 / float64(max(c.Evacuations, 1))
	}
	if f.JSON {
		return json.NewEncoder(out).Encode(c)
	}
	_, err := fmt.Fprintf(out, "%d evacuations, once %d %% of the VMs have left: the interval for 50 %% holds %.1f %%, for 80 %% %.1f %%, for 90 %% %.1f %% (%.1f %% of the time wide); the median is off by %.1f %%\n", c.Evacuations, c.Left, c.In50, c.In80, c.In90, c.Width, c.Off)
	return err
}
