package engine

import (
	"cmp"
	"slices"
)

// A Quarantine keeps a VM or a host out of every action until a person has
// looked: an action on it ended and nobody can tell how.
type Quarantine struct {
	Subject Subject `json:"subject"` // kind vm or host
	Name    string  `json:"name"`    // for people
	Since   Unix    `json:"since"`
	Action  string  `json:"action"` // the ID of the one that was lost
	Reason  string  `json:"reason"`
}

// Text says why, and how it ends.
func (q *Quarantine) Text() string {
	return "in quarantine since " + q.Since.String() + ", when " + q.Action + " was lost (" + q.Reason + "): look at it, then 'heliostat release " + q.Subject.Kind + " " + q.Name + "'"
}

func compareSubjects(a, b Subject) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
}

// QuarantineOf returns the quarantine of the subject, or nil.
func (h *History) QuarantineOf(s Subject) *Quarantine {
	i, ok := slices.BinarySearchFunc(h.Quarantine, s, func(q Quarantine, s Subject) int { return compareSubjects(q.Subject, s) })
	if !ok {
		return nil
	}
	return &h.Quarantine[i]
}

// quarantine puts in what a lost action was about. The first reason stays.
func (h *History) quarantine(r *ActionRecord) {
	a := &r.Action
	q := Quarantine{Subject: Subject{Kind: "vm", ID: string(a.VM)}, Name: a.Name, Since: r.Ended, Action: a.ID, Reason: r.Error}
	if a.Kind != Move {
		q.Subject = Subject{Kind: "host", ID: string(a.HostOf())}
	}
	i, found := slices.BinarySearchFunc(h.Quarantine, q, func(x, y Quarantine) int { return compareSubjects(x.Subject, y.Subject) })
	if !found {
		h.Quarantine = slices.Insert(h.Quarantine, i, q)
	}
}

// Released is the history without the quarantines of the subjects, and without the
// census of a vCenter among them: what it shows next is the truth. It is pure.
func (h *History) Released(subjects []Subject) *History {
	if len(subjects) == 0 {
		return h
	}
	out := *h
	out.Quarantine = slices.DeleteFunc(slices.Clone(h.Quarantine), func(q Quarantine) bool { return slices.Contains(subjects, q.Subject) })
	out.Census = slices.DeleteFunc(slices.Clone(h.Census), func(c Census) bool {
		return slices.Contains(subjects, Subject{Kind: "vcenter", ID: string(c.VCenter)})
	})
	return &out
}
