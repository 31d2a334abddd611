package check

import (
	"errors"
	"strings"
	"testing"

	"heliostat/engine"
)

func TestSelfTest(t *testing.T) {
	if err := SelfTest(); err != nil {
		t.Error(err)
	}
	// A check that refuses nothing, and one that refuses everything, are found out.
	err := selfTest(func(engine.Input, *engine.Plan) error { return nil })
	for _, l := range lures() {
		if err == nil || !strings.Contains(err.Error(), "a plan to "+l.name+" is accepted") {
			t.Errorf("%s is not missed: %v", l.name, err)
		}
	}
	err = selfTest(func(engine.Input, *engine.Plan) error { return errors.New("no") })
	if err == nil || !strings.Contains(err.Error(), "a sound plan is refused: no") || !strings.Contains(err.Error(), "a plan to move a pinned VM is refused, but not for that (pinned)") {
		t.Errorf("a check that refuses everything: %v", err)
	}
}

func BenchmarkSelfTest(b *testing.B) {
	for b.Loop() {
		if err := SelfTest(); err != nil {
			b.Fatal(err)
		}
	}
}
