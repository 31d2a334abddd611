package lab

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A Report sums up what an observer has seen.
type Report struct {
	From        time.Time   `json:"from"`
	To          time.Time   `json:"to"`
	Violations  int         `json:"violations"`
	ByKind      []KindCount `json:"by_kind,omitempty"` // most first
	MovesDone   int         `json:"moves_done"`
	MovesFailed int         `json:"moves_failed"`
	MovesAcross int         `json:"moves_across"` // done, between vCenters
	GBCopied    float64     `json:"gb_copied"`    // 10^9 bytes, of failed moves too
	StunSeconds float64     `json:"stun_seconds"`
	Standbys    int         `json:"standbys"`
	Wakes       int         `json:"wakes"`
	// Unjudged names fixtures that the observer does not know. It takes them to
	// forbid every move.
	Unjudged []string `json:"unjudged,omitempty"`
}

// A KindCount is one kind's violations and the first few of them.
type KindCount struct {
	Kind     Kind        `json:"kind"`
	Count    int         `json:"count"`
	Examples []Violation `json:"examples"`
}

// Report sums up what has been seen until now.
func (o *Observer) Report() Report {
	const examples = 3
	r := o.sum
	r.GBCopied, r.StunSeconds = float64(o.sent)/1e9, o.stun.Seconds()
	all := o.Violations()
	r.Violations = len(all)
	counts := map[Kind]*KindCount{}
	for _, v := range all {
		c, ok := counts[v.Kind]
		if !ok {
			c = &KindCount{Kind: v.Kind}
			counts[v.Kind] = c
		}
		c.Count++
		if len(c.Examples) < examples {
			c.Examples = append(c.Examples, v)
		}
	}
	for _, c := range counts {
		r.ByKind = append(r.ByKind, *c)
	}
	slices.SortFunc(r.ByKind, func(a, b KindCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind))
	})
	r.Unjudged = slices.Sorted(maps.Keys(o.unknown))
	return r
}
