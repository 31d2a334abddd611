package engine

// PoweredOff says what becomes of a host that is to go to standby while
// powered-off VMs or templates are registered at it.
type PoweredOff uint8

// What may become of it.
const (
	HoldHost PoweredOff = iota // it stays up: nothing on it is out of reach
	LeaveOff                   // it sleeps, and they cannot be used until it wakes
)

var poweredOffNames = [...]string{"hold", "leave"}

// String names it as the configuration does.
func (p PoweredOff) String() string { return poweredOffNames[p] }

// MarshalText implements encoding.TextMarshaler.
func (p PoweredOff) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *PoweredOff) UnmarshalText(b []byte) error {
	return parseName(p, b, poweredOffNames[:], "treatment of powered-off VMs")
}
