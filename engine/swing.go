package engine

import "fmt"

// What is undone sooner than this was done for little: sites that take turns with the
// sun do so twice a day, and hosts that sleep at night do for longer.
const (
	soonBack  = 8 * 3600 // a VM returns
	soonAwake = 4 * 3600 // a host is woken
)

// again counts one more return in a row, when what is undone was done so many seconds
// ago. The time that counts as soon grows as the rest does ([Longer]), up to a day:
// who returns once a day does not swing.
func again(returns int32, apart, soon int64) int32 {
	if apart >= min(Longer(soon, returns), day) {
		return 0
	}
	return returns + 1
}

// Longer is a rest that doubles with each return in a row after the first, up to a day
// where it is not longer by itself: two that pull at one thing, neither of which knows
// of the other, cannot move it forever.
func Longer(rest int64, returns int32) int64 {
	return max(rest, min(rest<<min(max(returns-1, 0), 16), day))
}

// swings reports whether so many returns in a row, the last a while ago, are a swing.
func swings(returns int32, ago int64) bool { return returns >= 2 && ago < day }

// noteMove counts whether a move that ended leads back.
func (x *VMHistory) noteMove(a *Action, at Unix) {
	if x.MovedAt != 0 && (a.To.Host == x.LeftHost || (a.To.Site == x.LeftSite && a.From.Site != a.To.Site)) {
		x.Returns = again(x.Returns, int64(at-x.MovedAt), soonBack)
	}
}

// A Swing is a VM that is moved there and back, or a host that is put to sleep and
// woken, soon and several times in a row.
type Swing struct {
	Subject Subject `json:"subject"`
	Name    string  `json:"name"`
	Returns int32   `json:"returns"`           // in a row
	At      Unix    `json:"at"`                // of the last
	Left    string  `json:"left,omitempty"`    // of a VM: the name of the host that the daemon last moved it from
	Foreign bool    `json:"foreign,omitempty"` // somebody else moves it back
}

// Text says what happens and what is done about it.
func (x *Swing) Text() string {
	switch {
	case x.Subject.Kind == "host":
		return fmt.Sprintf("was woken soon after it was put to sleep %d times in a row: it rests longer each time", x.Returns)
	case x.Foreign:
		return fmt.Sprintf("was moved back to %s by somebody else, %d times in a row: it is left alone longer each time", x.Left, x.Returns)
	}
	return fmt.Sprintf("has come back %d times in a row, last from %s: it may return later each time", x.Returns, x.Left)
}

// Swings are the VMs and hosts of the snapshot that swing, in its order.
func (h *History) Swings(s *Snapshot) []Swing {
	var out []Swing
	for i := range h.VMs {
		x := &h.VMs[i]
		last := max(x.MovedAt, x.ForeignAt)
		if !swings(x.Returns, int64(h.At-last)) {
			continue
		}
		v, ok := s.FindVM(x.ID)
		if !ok {
			continue
		}
		left := string(x.LeftHost)
		if k, ok := s.FindHost(x.LeftHost); ok {
			left = s.Hosts[k].Name
		}
		out = append(out, Swing{Subject{Kind: "vm", ID: string(x.ID)}, s.VMs[v].Name, x.Returns, last, left, x.ForeignAt > x.MovedAt})
	}
	for i := range h.Hosts {
		x := &h.Hosts[i]
		if !swings(x.Returns, int64(h.At-x.ChangeAt)) {
			continue
		}
		if k, ok := s.FindHost(x.ID); ok {
			out = append(out, Swing{Subject: Subject{Kind: "host", ID: string(x.ID)}, Name: s.Hosts[k].Name, Returns: x.Returns, At: x.ChangeAt})
		}
	}
	return out
}
