// Protocol shows that actions take effect exactly once. It plays runs in which
// calls are lost, answered late, wrongly or not at all, and in which the daemon
// crashes at each durable step, and counts from outside what was started twice,
// what was lost, and what never came to an end.
//
//	go run ./bench/protocol -runs 200
//
// Each run is a lab of two vCenters on virtual time, the real executor and
// actuator over SOAP and TLS, and a real journal. After it, the same runs are
// played with a naive executor, as a control: a harness in which that one does
// well would show nothing. One line of JSON is printed for each executor.
//
// The lab, the errands and the odds of faults come from the seed. Which call
// meets which fault depends on how goroutines are scheduled, so that the same
// seed gives a like run and not the same.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"heliostat/internal/bubble"
)

// options are the flags.
type options struct {
	runs     int
	seed     uint64
	executor string
	verbose  bool
}

func main() {
	err := mainErr(os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "protocol:", err)
		os.Exit(1)
	}
}

func mainErr(args []string, out io.Writer) (err error) {
	o := options{}
	fs := flag.NewFlagSet("protocol", flag.ContinueOnError)
	fs.IntVar(&o.runs, "runs", 200, "runs of each executor")
	fs.Uint64Var(&o.seed, "seed", 1, "of the first run; the others count up from it")
	fs.StringVar(&o.executor, "executor", "both", "heliostat, naive, or both")
	fs.BoolVar(&o.verbose, "v", false, "also count the crashes at each point, on standard error")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.runs < 1 || (o.executor != "both" && o.executor != "heliostat" && o.executor != "naive") {
		return errors.New("there is at least one run, and executor is heliostat, naive or both")
	}
	log.SetOutput(io.Discard) // the simulator's
	dir, err := os.MkdirTemp("", "heliostat-protocol-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var worlds []func(context.Context) error
	sums := map[bool]*result{false: {Executor: "heliostat"}, true: {Executor: "naive"}}
	for _, naive := range []bool{false, true} {
		if o.executor != "both" && (o.executor == "naive") != naive {
			continue
		}
		sum := sums[naive]
		for i := range o.runs {
			worlds = append(worlds, func(ctx context.Context) error {
				seed := o.seed + uint64(i)
				r, err := run(ctx, seed, naive, filepath.Join(dir, fmt.Sprintf("%s-%d", sum.Executor, seed)))
				if err != nil {
					return fmt.Errorf("%s, seed %d: %w", sum.Executor, seed, err)
				}
				sum.add(&r)
				return nil
			})
		}
		worlds = append(worlds, func(context.Context) error { return sum.print(out, o.verbose) })
	}
	return bubble.Run(worlds...)
}

func (r *result) print(out io.Writer, verbose bool) error {
	if verbose {
		fmt.Fprintf(os.Stderr, "%s: %d actions, %d steps left; crashes", r.Executor, r.actions, r.left)
		for p := beforeIntent; p < points; p++ {
			fmt.Fprintf(os.Stderr, " %s %d", pointNames[p], r.points[p])
		}
		fmt.Fprintln(os.Stderr)
	}
	return json.NewEncoder(out).Encode(r)
}
