package main

import (
	"cmp"
	"runtime/metrics"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A run is one fleet and its cycles.
type run struct {
	Hosts      int        `json:"hosts"`
	VMs        int        `json:"vms"`
	Clusters   int        `json:"clusters"`
	GenerateMS float64    `json:"generate_ms"`
	PoliciesMS float64    `json:"load_policies_ms"`
	Cycles     []oneCycle `json:"cycles"`
	HeapPeakMB float64    `json:"heap_peak_mb"` // live and not yet collected objects
	RSSPeakMB  float64    `json:"rss_peak_mb"`  // of the process, smaller runs before it included
}

// A oneCycle is what one cycle cost and came to.
type oneCycle struct {
	Cold      bool    `json:"cold"`
	WallMS    float64 `json:"wall_ms"`
	CPUMS     float64 `json:"cpu_ms"`
	Stages    []stage `json:"stages"`
	Blobs     []blob  `json:"blobs"`
	Actions   int     `json:"actions"`
	Holds     int     `json:"holds"`
	Evaluated int64   `json:"evaluated"` // candidates that the planner looked at
	Rounds    int     `json:"rounds"`    // of vetoes
	Wishes    float64 `json:"wishes"`    // granted, percent of what any plan could grant
}

// A stage is one step of a cycle. CPU is that of all threads, user and system,
// the garbage collector's included.
type stage struct {
	Name   string  `json:"stage"`
	WallMS float64 `json:"wall_ms"`
	CPUMS  float64 `json:"cpu_ms"`
}

// A blob is one journaled part.
type blob struct {
	Part        string `json:"part"`
	RawBytes    int64  `json:"raw_bytes"`
	StoredBytes int64  `json:"stored_bytes"`
}

// A ratio compares two runs: by how much the fleet grew, and by how much the
// time on the processors did. A stage that is
// quadratic grows by the square of VMs.
type ratio struct {
	VMs    float64       `json:"vms"`
	Cold   float64       `json:"cold"`
	Warm   float64       `json:"warm,omitzero"` // 0 without warm cycles
	Stages []stageGrowth `json:"stages"`        // warm, else cold; of ten milliseconds or more; the fastest growing first
}

type stageGrowth struct {
	Name  string  `json:"stage"`
	Ratio float64 `json:"ratio"`
}

// growth leaves out what is too short to be measured.
func growth(small, large *run) ratio {
	const least = 10 // ms
	r := ratio{VMs: float64(large.VMs) / float64(small.VMs), Cold: large.Cycles[0].CPUMS / small.Cycles[0].CPUMS}
	a, b := &small.Cycles[0], &large.Cycles[0]
	if x, y := small.warm(), large.warm(); x != nil && y != nil {
		a, b = x, y
		r.Warm = b.CPUMS / a.CPUMS
	}
	for _, x := range a.Stages {
		if y := b.stage(x.Name); x.CPUMS >= least {
			r.Stages = append(r.Stages, stageGrowth{x.Name, y.CPUMS / x.CPUMS})
		}
	}
	slices.SortStableFunc(r.Stages, func(a, b stageGrowth) int { return cmp.Compare(b.Ratio, a.Ratio) })
	return r
}

// warm is the warm cycles in one, each stage's the least of its times: what other
// processes take away is not the stage's. It is nil where all are cold.
func (r *run) warm() *oneCycle {
	if len(r.Cycles) < 2 {
		return nil
	}
	var out oneCycle
	for _, x := range r.Cycles[1].Stages {
		for i := range r.Cycles[2:] {
			y := r.Cycles[2+i].stage(x.Name)
			x.WallMS, x.CPUMS = min(x.WallMS, y.WallMS), min(x.CPUMS, y.CPUMS)
		}
		out.add(x)
	}
	return &out
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

// add counts a stage; one that is run again, in a later round, adds up.
func (c *oneCycle) add(s stage) {
	c.WallMS += s.WallMS
	c.CPUMS += s.CPUMS
	i := slices.IndexFunc(c.Stages, func(x stage) bool { return x.Name == s.Name })
	if i < 0 {
		c.Stages = append(c.Stages, s)
		return
	}
	c.Stages[i].WallMS += s.WallMS
	c.Stages[i].CPUMS += s.CPUMS
}

// A watch measures from one lap to the next.
type watch struct {
	wall time.Time
	cpu  time.Duration
}

func startWatch() *watch { return &watch{time.Now(), cpuTime()} }

func (w *watch) lap(name string) stage {
	wall, cpu := time.Now(), cpuTime()
	s := stage{name, ms(wall.Sub(w.wall)), ms(cpu - w.cpu)}
	w.wall, w.cpu = wall, cpu
	return s
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func usage() syscall.Rusage {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("getrusage: " + err.Error()) // it fails for wrong arguments alone
	}
	return u
}

func cpuTime() time.Duration {
	u := usage()
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// maxRSS is the most that was ever resident; Linux counts it in KiB.
func maxRSS() float64 {
	u := usage()
	return float64(u.Maxrss) / 1024
}

// A heapWatch keeps the highest amount of memory that objects took.
type heapWatch struct {
	done chan struct{}
	once sync.Once
	wg   sync.WaitGroup
	peak uint64 // owned by the sampling goroutine until done is closed
}

func watchHeap() *heapWatch {
	h := &heapWatch{done: make(chan struct{})}
	h.wg.Go(func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		tick := time.NewTicker(10 * time.Millisecond) // often enough to see the peak of a stage
		defer tick.Stop()
		for {
			metrics.Read(sample)
			h.peak = max(h.peak, sample[0].Value.Uint64())
			select {
			case <-tick.C:
			case <-h.done:
				return
			}
		}
	})
	return h
}

// stop ends the watch and returns the peak in MiB. It may be called again.
func (h *heapWatch) stop() float64 {
	h.once.Do(func() { close(h.done) })
	h.wg.Wait()
	return float64(h.peak) / (1 << 20)
}
