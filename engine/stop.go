package engine

import "slices"

// A Stop is a person's word, given in vCenter, that nothing may be started in a
// place. Once seen it lasts until a person resumes, whatever becomes of the tag.
type Stop struct {
	Subject Subject `json:"subject"` // kind vcenter or cluster
	Name    string  `json:"name"`    // for people
	Since   Unix    `json:"since"`
	Reason  string  `json:"reason"`
}

// Covers reports whether the action touches the place, at either end.
func (x *Stop) Covers(a *Action) bool { return a.From.is(x.Subject) || a.To.is(x.Subject) }

// Stops are the places where someone in vCenter wants nothing started, sorted.
func (s *Snapshot) Stops() []Stop {
	var out []Stop
	add := func(kind, id, name, why string) {
		if why != "" {
			out = append(out, Stop{Subject: Subject{Kind: kind, ID: id}, Name: name, Since: s.At, Reason: why})
		}
	}
	for i := range s.Clusters {
		add("cluster", string(s.Clusters[i].ID), s.Clusters[i].Name, s.Clusters[i].Stop)
	}
	for i := range s.VCenters {
		add("vcenter", string(s.VCenters[i].ID), s.VCenters[i].Name, s.VCenters[i].Stop)
	}
	return out
}

// Latch joins what is seen to what was latched. The first reason stays.
func Latch(latched, seen []Stop) []Stop {
	out := slices.Clone(latched)
	for _, x := range seen {
		i, found := slices.BinarySearchFunc(out, x, func(a, b Stop) int { return compareSubjects(a.Subject, b.Subject) })
		if !found {
			out = slices.Insert(out, i, x)
		}
	}
	return out
}
