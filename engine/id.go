package engine

import (
	"math"
	"strings"
	"time"
)

// Identifiers. Each kind has its own type so that one cannot be passed for another.
type (
	// SiteID is the name of a site in the configuration.
	SiteID string
	// VCenterID is a vCenter's instance UUID.
	VCenterID string
	// ClusterID is "vcUUID/moid". A stand-alone host's compute resource counts as a cluster of one.
	ClusterID string
	// HostID is "vcUUID/moid".
	HostID string
	// VMID is the VM's instance UUID, which survives a move across vCenters.
	VMID string
	// DatastoreID is "vcUUID/moid".
	DatastoreID string
	// NetworkID is "vcUUID/moid".
	NetworkID string
)

// SplitRef splits a "vcUUID/moid" identifier into the vCenter and the managed object ID.
func SplitRef[T ~string](id T) (vc VCenterID, moid string) {
	a, b, _ := strings.Cut(string(id), "/")
	return VCenterID(a), b
}

// Unknown marks an integer field whose value was not seen. It is a distinct
// value because zero is a claim, and absence is not.
const Unknown = math.MinInt32

// None marks an index that refers to nothing.
const None int32 = -1

// Unix is a moment in seconds since 1970, UTC. Zero means "no such moment".
type Unix int64

// At converts a time to whole seconds.
func At(t time.Time) Unix {
	if t.IsZero() {
		return 0
	}
	return Unix(t.Unix())
}

// Time converts u back. The zero Unix gives the zero time.
func (u Unix) Time() time.Time {
	if u == 0 {
		return time.Time{}
	}
	return time.Unix(int64(u), 0).UTC()
}

// Add returns u moved by d, truncated to seconds.
func (u Unix) Add(d time.Duration) Unix { return u + Unix(d/time.Second) }

// Sub returns the time from v to u.
func (u Unix) Sub(v Unix) time.Duration { return time.Duration(u-v) * time.Second }

// String gives u as RFC 3339 in UTC, or "never" for zero.
func (u Unix) String() string {
	if u == 0 {
		return "never"
	}
	return u.Time().Format(time.RFC3339)
}

// A Mode says how far an opinion or an action may go. The order matters: the
// weakest of several modes binds.
type Mode uint8

// The modes, from weakest to strongest.
const (
	Off     Mode = iota // not evaluated
	Shadow              // evaluated and journaled, never acted on
	Advise              // waits for a person's approval
	Enforce             // acted on
)

var modeNames = [...]string{"off", "shadow", "advise", "enforce"}

// String gives the mode's configuration name.
func (m Mode) String() string { return modeNames[m] }

// ParseMode reads a mode's configuration name.
func ParseMode(s string) (Mode, bool) {
	for i, n := range modeNames {
		if n == s {
			return Mode(i), true
		}
	}
	return Off, false
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(b []byte) error { return parseName(m, b, modeNames[:], "mode") }
