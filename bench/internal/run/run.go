// Package run is what the benchmarks of the core share: flags, and how time is
// turned into evaluations.
package run

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"heliostat/engine/search"
)

// Flags are those of every benchmark, and some of those that search.
type Flags struct {
	Data    string // a folder
	Time    Seconds
	Threads int
	Seed    uint64
	JSON    bool

	CPU    bool   // Time is that of the processors, not that of the wall
	Rounds Rounds // spend these instead of time
}

// Main runs a program from its start to its exit code. Who asks for help has made
// no mistake.
func Main(name string, program func(clock Clock, args []string, out io.Writer) error) {
	if err := program(Start(), os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Parse adds the flags to those of a program, reads them, and reports one that
// makes no sense.
func (f *Flags) Parse(fs *flag.FlagSet, timeLimit Seconds, args []string) error {
	f.Time = timeLimit
	fs.StringVar(&f.Data, "data", ".", "the folder of the instances")
	fs.Var(&f.Time, "time", "time to spend, as 300 or 5m")
	fs.IntVar(&f.Threads, "threads", cmp.Or(f.Threads, 2), "threads; they change nothing but how long it takes")
	fs.Uint64Var(&f.Seed, "seed", 1, "of the dice")
	fs.BoolVar(&f.JSON, "json", false, "print one line of JSON for each run")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if f.Threads < 1 || f.Time <= 0 {
		return errors.New("-threads is at least 1, and -time is more than 0")
	}
	return nil
}

// ParseSearch is Parse for a program that searches until the time is up.
func (f *Flags) ParseSearch(fs *flag.FlagSet, timeLimit Seconds, args []string) error {
	fs.BoolVar(&f.CPU, "cpu", false, "count processor time / threads against -time, not the wall's: for a machine that does other things, too")
	fs.Var(&f.Rounds, "rounds", "evaluations of each round, as 1000,50000: spend these instead of -time, which repeats a run exactly")
	return f.Parse(fs, timeLimit, args)
}

// Seconds is a duration as a number of seconds, or as Go writes durations.
type Seconds float64

func (s *Seconds) String() string { return strconv.FormatFloat(float64(*s), 'g', -1, 64) }

// Set parses a flag.
func (s *Seconds) Set(text string) error {
	if x, err := strconv.ParseFloat(text, 64); err == nil {
		*s = Seconds(x)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no time: write 300, 300s or 5m", text)
	}
	*s = Seconds(d.Seconds())
	return nil
}

// Rounds are evaluations, round by round.
type Rounds []int64

func (r *Rounds) String() string {
	var b strings.Builder
	for i, n := range *r {
		fmt.Fprintf(&b, "%s%d", [2]string{"", ","}[min(i, 1)], n)
	}
	return b.String()
}

// Set parses a flag.
func (r *Rounds) Set(text string) error {
	for x := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseInt(x, 10, 64)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no count of evaluations", x)
		}
		*r = append(*r, n)
	}
	return nil
}

// Spent is what a search took.
type Spent struct {
	Rounds      Rounds  `json:"rounds"` // of evaluations: -rounds repeats the run with them
	Evaluations int64   `json:"evaluations"`
	WallSeconds float64 `json:"wall_seconds"` // of the whole program until now
	CPUSeconds  float64 `json:"cpu_seconds"`
}

// A Clock has run since the program began.
type Clock struct{ start time.Time }

// Start starts the clock.
func Start() Clock { return Clock{time.Now()} }

// Search improves an assignment: in the rounds given, or until the time is up.
// Time does no more than choose the rounds. Short ones, each twice as long as the
// last, measure how many evaluations a second there are; one long round takes the
// better part of what is left, since one slow cooling beats several fast ones; and
// ever shorter ones take the rest.
func (f *Flags) Search(clock Clock, p *search.Problem, at []int32) ([]int32, search.Result, Spent, error) {
	var spent Spent
	s, err := search.New(p, at, search.Options{Seed: f.Seed, Workers: f.Threads})
	if err != nil {
		return nil, search.Result{}, spent, err
	}
	round := func(n int64) {
		s.Anneal(n)
		spent.Rounds = append(spent.Rounds, n)
	}
	for _, n := range f.Rounds {
		round(n)
	}
	if len(f.Rounds) == 0 {
		f.fill(clock, s, round)
	}
	best, result := s.Best()
	spent.Evaluations = s.Spent()
	spent.WallSeconds, spent.CPUSeconds = hundredths(clock.wall()), hundredths(cpuSeconds())
	return best, result, spent, nil
}

const (
	first     = 50_000 // evaluations of the first round: less than a tenth of a second
	probing   = 0.02   // of the time goes into rounds that measure
	longRound = 0.7    // of what is left then goes into the next round
	enough    = 0.01   // of the time may be left over: a round that short gains nothing
)

func (f *Flags) fill(clock Clock, s *search.Search, round func(int64)) {
	now := func() float64 {
		if f.CPU {
			return cpuSeconds() / float64(f.Threads)
		}
		return clock.wall()
	}
	limit := float64(f.Time)
	start := now()
	for n := int64(first); now()-start < probing*limit && now() < limit/2; n *= 2 {
		round(n)
	}
	for {
		left := limit - now()
		if left < enough*limit {
			return
		}
		rate := float64(s.Spent()) / (now() - start)
		round(max(1, int64(longRound*left*rate)))
	}
}

// CPU is the processor time of the whole program until now, in seconds.
func (c Clock) CPU() float64 { return hundredths(cpuSeconds()) }

func (c Clock) wall() float64 { return time.Since(c.start).Seconds() }

func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("getrusage: " + err.Error()) // it fails for wrong arguments alone
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func hundredths(x float64) float64 { return math.Round(x*100) / 100 }
