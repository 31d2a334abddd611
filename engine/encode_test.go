package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

// plain is what encoding/json makes of a value as a whole.
func plain(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func holds(n int) []Hold {
	out := make([]Hold, n)
	for i := range out {
		out[i] = Hold{Name: fmt.Sprintf("<vm & %d>", i), Code: HoldWorth}
	}
	return out
}

func vms(n int) []VM {
	out := make([]VM, n)
	for i := range out {
		out[i] = VM{ID: VMID(fmt.Sprintf("vm-%07d", i)), Tags: make([]string, i%3), Power: VMOn}
	}
	return out
}

// A value that is encoded in pieces has the bytes of the whole, wherever its
// long lists stand and whatever is left out around them.
func TestEncodeInPieces(t *testing.T) {
	type (
		x    struct{ A int }
		none struct {
			Long []x `json:"long"`
		}
		ends struct {
			Long   []x `json:"long,omitempty"`
			hidden int
			Skip   []x    `json:"-"`
			Empty  []x    `json:"empty,omitempty"`
			Nil    []x    `json:"nil"`
			Zero   int    `json:"zero,omitzero"`
			Text   string `json:"text"`
			Last   []x    `json:"last,omitzero"`
		}
		gone struct {
			Zero int `json:"zero,omitzero"`
			Long []x `json:"long"`
			Also int `json:"also,omitempty"`
		}
	)
	for _, n := range []int{0, 1, pieceLen, pieceLen + 1, 2 * pieceLen, 2*pieceLen + 1} {
		xs := make([]x, n)
		for _, v := range []any{
			&Snapshot{At: 5, Sites: []Site{{ID: "a", Lat: 0.1}}, VMs: vms(n), Hosts: make([]Host, n/2), Gaps: []Gap{{Reason: "<&>"}}},
			&History{VMs: make([]VMHistory, n), Hosts: make([]HostHistory, n), Cycles: 7},
			&Plan{Holds: holds(n)},
			Plan{Holds: holds(n)},
			&Decision{Pins: make([]Pin, n), Reasons: []string{"r"}},
			none{xs},
			ends{Long: xs, hidden: 1, Skip: xs, Last: xs},
			ends{Skip: xs},
			gone{Long: xs},
		} {
			got, err := Encode(v)
			if err != nil {
				t.Fatal(err)
			}
			if want := plain(t, v); !bytes.Equal(got, want) {
				t.Errorf("%T of %d: differs, %d bytes and not %d:\n%.200s\n%.200s", v, n, len(got), len(want), got, want)
			}
		}
	}
}

func TestEncodeRefusesInPieces(t *testing.T) {
	s := &Snapshot{VMs: vms(3 * pieceLen), Sites: []Site{{Lat: math.NaN()}}}
	if _, err := Encode(s); err == nil || !strings.Contains(err.Error(), "encode *engine.Snapshot") || !strings.Contains(err.Error(), "NaN") {
		t.Errorf("error %v", err)
	}
}

func BenchmarkEncode(b *testing.B) {
	s := &Snapshot{VMs: vms(150_000)}
	b.Run("pieces", func(b *testing.B) {
		for b.Loop() {
			if _, err := Encode(s); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			plain(b, s)
		}
	})
}
