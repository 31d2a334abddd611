package policy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
	"heliostat/internal/child"
)

// What the process that examines a bundle is given: a brief, in one line of JSON,
// the packed bundle, and the fleet, in JSON. It answers with an answer.
type brief struct {
	Modes     map[string]engine.Mode `json:"modes"`
	Weights   map[string]float64     `json:"weights"`
	Deadline  time.Duration          `json:"deadline"`
	Label     string                 `json:"label"`
	Within    time.Duration          `json:"within"`
	MemoryMiB int64                  `json:"memory_mib"`
	Packed    int                    `json:"packed"` // bytes of the bundle
}

type fleet struct {
	View   *engine.View     `json:"view"`
	Before *engine.Decision `json:"before"`
}

type answerOf struct {
	Opinion *opinion `json:"opinion,omitempty"`
	Errors  []string `json:"errors,omitempty"` // of a bundle that cannot be examined
}

// Examine is the work of a process of its own: it examines the bundle that it is
// given on in, and gives its opinion on out. On progress it says what it is about
// to do, so that what killed it can be named.
func Examine(ctx context.Context, in io.Reader, out, progress io.Writer) error {
	r := bufio.NewReaderSize(in, 1<<16)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what is to be examined: %w", err)
	}
	var b brief
	if err := json.Unmarshal(line, &b); err != nil {
		return fmt.Errorf("read what is to be examined: %w", err)
	}
	if err := child.CapMemory(uint64(b.MemoryMiB) << 20); err != nil {
		return err // without a cap nothing is examined
	}
	// Collecting garbage is a fifth of the work: there is room, so it may wait, and is
	// done in earnest before the cap.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(b.MemoryMiB << 20 / 8 * 7)
	packed := make([]byte, b.Packed)
	if _, err := io.ReadFull(r, packed); err != nil {
		return fmt.Errorf("read what is to be examined: %w", err)
	}
	x := &examination{cfg: Config{Modes: b.Modes, Weights: b.Weights, Deadline: b.Deadline}, label: b.Label, within: b.Within, watch: teller(progress), alone: true}
	var f fleet
	if err := json.NewDecoder(r).Decode(&f); err != nil {
		return fmt.Errorf("read what is to be examined: %w", err)
	}
	x.view, x.before = f.View, f.Before
	var a answerOf
	a.Opinion, err = x.examine(ctx, packed)
	for _, e := range leaves(err) {
		a.Errors = append(a.Errors, e.Error())
	}
	return json.NewEncoder(out).Encode(a)
}

// leaves takes joined errors apart.
func leaves(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range joined.Unwrap() {
			out = append(out, leaves(e)...)
		}
		return out
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// doing begins a line of progress.
const doing = "doing: "

// teller writes down what is begun, when it is another thing than before.
func teller(w io.Writer) func(string, *ast.Location) {
	last := ""
	return func(what string, at *ast.Location) {
		text := what
		if at != nil {
			text = faultAt(at, "%s", what).Error()
		}
		if text != last {
			last = text
			_, _ = fmt.Fprintln(w, doing+text) // it helps if it can be read
		}
	}
}

// examineBy has a process of its own examine a bundle: this program with the
// arguments argv, which must do what [Examine] does. What becomes of that process
// is a fault of the bundle.
func (x *examination) examineBy(ctx context.Context, packed []byte, argv []string) (*opinion, error) {
	limits := x.cfg.Validation
	head, err := json.Marshal(brief{
		Modes: x.cfg.Modes, Weights: x.cfg.Weights, Deadline: x.cfg.Deadline, Label: x.label, Within: x.within, MemoryMiB: limits.MemoryMiB, Packed: len(packed),
	})
	if err != nil {
		return nil, err
	}
	sight, err := engine.Encode(fleet{x.view, x.before})
	if err != nil {
		return nil, err
	}
	out, err := child.Run(ctx, limits.Time, io.MultiReader(bytes.NewReader(append(head, '\n')), bytes.NewReader(packed), bytes.NewReader(sight)), argv...)
	if failure, ok := child.IsFailure(err); ok {
		return &opinion{Faults: x.killed(failure)}, nil
	}
	if err != nil {
		return nil, err
	}
	var a answerOf
	if err := json.Unmarshal(out, &a); err != nil {
		return nil, fmt.Errorf("read what was found: %w", err)
	}
	var errs []error
	for _, text := range a.Errors {
		errs = append(errs, errors.New(text))
	}
	if a.Opinion == nil && len(errs) == 0 {
		return nil, errors.New("read what was found: nothing")
	}
	return a.Opinion, errors.Join(errs...)
}

// killed names what the process was doing when it ended.
func (x *examination) killed(f *child.Failure) Faults {
	at := Fault{File: x.label, Message: "the check of the policies"}
	if i := strings.LastIndex(f.Stderr, doing); i >= 0 {
		text, _, _ := strings.Cut(f.Stderr[i+len(doing):], "\n")
		if at = faultIn(text); at.Line == 0 {
			at.File = x.label
		}
	}
	limits := x.cfg.Validation
	switch {
	case f.OutOfMem:
		at.Message += fmt.Sprintf(": takes more than %d MiB of memory", limits.MemoryMiB)
		at.Advice = "build no large texts and no long ranges; policy.validate.memory_mib is the limit"
	case f.Late:
		at.Message += fmt.Sprintf(": has not ended when the check's %v were over", limits.Time)
		at.Advice = "do less, or in fewer steps; policy.validate.time is the limit"
	default:
		at.Message += ": the check " + f.Error()
	}
	return Faults{at}
}
