package run

import (
	"flag"
	"io"
	"testing"
)

func TestFlags(t *testing.T) {
	for text, want := range map[string]Seconds{"300": 300, "2.5": 2.5, "90s": 90, "5m": 300, "soon": -1, "0": -1, "-1s": -1} {
		var f Flags
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		err := f.ParseSearch(fs, 7, []string{"-time", text, "-rounds", "10,20", "-data", "d", "-threads", "3", "-seed", "4", "-json"})
		if want < 0 {
			if err == nil {
				t.Errorf("-time %s was accepted as %v", text, f.Time)
			}
			continue
		}
		if err != nil || f.Time != want || f.Rounds.String() != "10,20" || f.Data != "d" || f.Threads != 3 || f.Seed != 4 || !f.JSON {
			t.Errorf("-time %s: %v seconds, rounds %s, %v", text, f.Time, f.Rounds.String(), err)
		}
	}
}
