package cycle

import (
	"slices"

	"heliostat/engine"
)

// operator is the policy in whose name the loop adds to what the policies said.
const operator = "operator"

// A speech is a decision to which the loop adds. The decision that it began from
// stays as it was.
type speech struct{ *engine.Decision }

func speak(d *engine.Decision) speech {
	out := *d
	out.Voices, out.Reasons = slices.Clone(d.Voices), slices.Clone(d.Reasons)
	out.Freezes, out.Evacuations = slices.Clone(d.Freezes), slices.Clone(d.Evacuations)
	return speech{&out}
}

// by is the voice with the reason, added where it is not there yet.
func (s speech) by(v engine.Voice, reason string) engine.By {
	i, j := slices.Index(s.Voices, v), slices.Index(s.Reasons, reason)
	if i < 0 {
		i, s.Voices = len(s.Voices), append(s.Voices, v)
	}
	if j < 0 {
		j, s.Reasons = len(s.Reasons), append(s.Reasons, reason)
	}
	return engine.By{Voice: int32(i), Reason: int32(j)}
}

// lower lets the evacuations of a place be heard up to a mode only.
func (s speech) lower(place engine.Subject, mode engine.Mode) {
	for i := range s.Evacuations {
		e := &s.Evacuations[i]
		if v := s.Voices[e.By.Voice]; e.Place == place && v.Mode > mode {
			v.Mode = mode
			e.By = s.by(v, s.Reasons[e.By.Reason])
		}
	}
}
