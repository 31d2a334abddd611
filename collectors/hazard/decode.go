package hazard

import (
	"fmt"
	"math"
	"slices"
	"time"

	"heliostat/engine"
	"heliostat/internal/strict"
)

// record is one of the file's, as it is written there.
type record struct {
	ID         string   `json:"id"`
	Hazard     string   `json:"hazard"` // another name of id
	Site       string   `json:"site"`
	Kind       string   `json:"kind"`
	Severity   string   `json:"severity"`
	Threshold  string   `json:"threshold"`
	P          *float64 `json:"p"`
	Earliest   moment   `json:"t_earliest"`
	Likely     moment   `json:"t_likely"`
	End        moment   `json:"t_end"`
	Source     string   `json:"source"`
	Advisory   string   `json:"advisory"`
	Issued     moment   `json:"issued"`
	ValidUntil moment   `json:"valid_until"`
	Method     string   `json:"method"`
}

// A moment is a time as the file writes it.
type moment engine.Unix

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.RFC3339, string(b))
	if err != nil || t.Unix() <= 0 {
		return fmt.Errorf("%q is not a time such as 2026-09-01T06:00:00Z", b)
	}
	*m = moment(engine.At(t))
	return nil
}

// decode reads a JSON array of hazard records.
func decode(data []byte) ([]engine.Hazard, error) {
	d := strict.JSON(data, strict.Options{MaxBytes: maxBytes})
	var records []record
	if err := d.Decode(&records); err != nil {
		return nil, err
	}
	hazards := make([]engine.Hazard, len(records))
	for i := range records {
		hazards[i] = records[i].hazard(func(key, format string, args ...any) {
			d.Fault(fmt.Sprintf("[%d]%s", i, key), fmt.Sprintf(format, args...))
		}, func(key string) bool { return d.Has(fmt.Sprintf("[%d].%s", i, key)) })
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	return hazards, nil
}

// hazard is the record as the rest of the program knows it.
func (r *record) hazard(fault func(key, format string, args ...any), has func(key string) bool) engine.Hazard {
	h := engine.Hazard{
		ID: r.ID + r.Hazard, Site: engine.SiteID(r.Site), Kind: r.Kind, Severity: r.Severity, Threshold: r.Threshold, PMilli: engine.Unknown,
		Earliest: engine.Unix(r.Earliest), Likely: engine.Unix(r.Likely), End: engine.Unix(r.End), Source: r.Source, Advisory: r.Advisory,
		Issued: engine.Unix(r.Issued), ValidUntil: engine.Unix(r.ValidUntil), Method: r.Method,
	}
	if has("id") && has("hazard") {
		fault(".hazard", "is another name of id, which is given too")
	}
	for _, x := range []struct {
		key    string
		given  bool
		filled bool
	}{
		{"hazard", has("hazard") || has("id"), h.ID != ""},
		{"site", has("site"), r.Site != ""},
		{"kind", has("kind"), r.Kind != ""},
		{"severity", has("severity"), r.Severity != ""},
		{"source", has("source"), r.Source != ""},
		{"t_earliest", has("t_earliest"), true},
		{"t_end", has("t_end"), true},
		{"issued", has("issued"), true},
		{"valid_until", has("valid_until"), true},
		{"threshold", true, r.Threshold != "" || !has("threshold")},
		{"advisory", true, r.Advisory != "" || !has("advisory")},
		{"method", true, r.Method != "" || !has("method")},
	} {
		switch {
		case !x.given:
			fault("."+x.key, "is missing")
		case !x.filled:
			fault("."+x.key, "is empty")
		}
	}
	if r.Severity != "" {
		oneOf(fault, ".severity", r.Severity, "minor", "moderate", "severe", "extreme")
	}
	if r.Method != "" {
		oneOf(fault, ".method", r.Method, "official", "derived", "zone")
	}
	if r.P != nil {
		if !(*r.P >= 0 && *r.P <= 1) {
			fault(".p", "%v is not a probability between 0 and 1", *r.P)
		} else {
			h.PMilli = int32(math.Round(*r.P * 1000))
		}
	}
	if h.End != 0 && (h.End <= h.Earliest || (h.Likely != 0 && (h.Likely < h.Earliest || h.Likely > h.End))) {
		fault("", "t_earliest, t_likely and t_end are not in this order")
	}
	return h
}

// oneOf refuses a word that is not in its key's list.
func oneOf(fault func(key, format string, args ...any), key, s string, list ...string) {
	if !slices.Contains(list, s) {
		fault(key, "%q is not one of %q", s, list)
	}
}
