package hazard

import (
	"strings"
	"testing"

	"heliostat/engine"
)

// Whatever is in the file, it is refused or every hazard in it is whole; and only
// an empty list says that there is none.
func FuzzFile(f *testing.F) {
	f.Add(`[{"hazard":"al09","site":"houston","kind":"hurricane","severity":"extreme","threshold":"64 kt","p":0.7,
 "t_earliest":"2026-09-01T06:00:00Z","t_likely":"2026-09-01T12:00:00Z","t_end":"2026-09-02T00:00:00Z","source":"NHC",
 "advisory":"14","issued":"2026-08-30T03:00:00Z","valid_until":"2026-08-30T15:00:00Z","method":"official"}]`)
	f.Add(`[{"p":1}]`)
	f.Add("[]\n")
	f.Fuzz(func(t *testing.T, text string) {
		hazards, err := read(strings.NewReader(text))
		if err != nil {
			if len(hazards) > 0 {
				t.Fatalf("%v, and yet %v", err, hazards)
			}
			return
		}
		if len(hazards) == 0 && strings.Join(strings.Fields(text), "") != "[]" {
			t.Errorf("%q passes as no hazard", text)
		}
		for _, h := range hazards {
			if h.ID == "" || h.Site == "" || h.Kind == "" || h.Source == "" || h.Earliest <= 0 || h.End <= h.Earliest || h.Issued <= 0 || h.ValidUntil <= 0 || (h.PMilli != engine.Unknown && (h.PMilli < 0 || h.PMilli > 1000)) {
				t.Errorf("%q: %+v", text, h)
			}
		}
	})
}
