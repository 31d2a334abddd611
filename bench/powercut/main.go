// Powercut shows that what the journal acknowledges survives a power cut. It
// mounts an ext4 file system from a file, lets a process write to a journal on
// it, shuts the file system down without a flush while that goes on (what has
// not been synced is gone, as in a power cut), mounts it again and looks, with
// the real store, for every record that was acknowledged.
//
//	go run ./bench/powercut -rounds 100
//
// The same is done with a control: the same writer, whose syncs the kernel is
// kept from seeing. If that one lost nothing, the test could not fail.
//
// It needs root, loop devices, and mkfs.ext4. One line of JSON says in how many
// rounds something was lost.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
)

// result is what is printed.
type result struct {
	Rounds        int `json:"rounds"`
	Lost          int `json:"lost"` // rounds in which an acknowledged record was not there or not whole
	ControlRounds int `json:"control_rounds"`
	ControlLost   int `json:"control_lost"`
}

// leastControl is the share of rounds, in per cent, in which the control must
// lose something: below that, the cuts do not cut.
const leastControl = 90

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := mainErr(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		os.Exit(1)
	}
}

func mainErr(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("powercut", flag.ContinueOnError)
	rounds := fs.Int("rounds", 100, "power cuts, and as many of the control")
	seed := fs.Uint64("seed", 1, "of the moments at which power is cut, as far as a writer's speed allows")
	state := fs.String("write", "", "be the writer: append to the journal in this folder until it fails")
	forgetful := fs.Bool("forgetful", false, "as the writer: without syncing")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *state != "" {
		return write(ctx, *state, *forgetful, out)
	}
	if *rounds < 1 {
		return errors.New("there is at least one round")
	}
	r := result{Rounds: *rounds, ControlRounds: *rounds}
	var err error
	rnd := rand.New(rand.NewPCG(*seed, 0))
	if r.Lost, err = cuts(ctx, *rounds, rnd, false); err != nil {
		return err
	}
	if r.ControlLost, err = cuts(ctx, *rounds, rnd, true); err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(r); err != nil {
		return err
	}
	return r.judge()
}

func (r *result) judge() error {
	switch {
	case r.Lost > 0:
		return fmt.Errorf("acknowledged records were lost in %d of %d rounds", r.Lost, r.Rounds)
	case r.ControlLost*100 < r.ControlRounds*leastControl:
		return fmt.Errorf("the control, which does not sync, lost something in only %d of %d rounds: the cuts do not cut", r.ControlLost, r.ControlRounds)
	}
	return nil
}
