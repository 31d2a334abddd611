package engine

import "testing"

func TestCount(t *testing.T) {
	for _, c := range []struct {
		n     int
		thing string
		want  string
	}{{0, "error", "0 errors"}, {1, "error", "1 error"}, {2, "VM", "2 VMs"}, {1, "entry", "1 entry"}, {3, "entry", "3 entries"}} {
		if got := Count(c.n, c.thing); got != c.want {
			t.Errorf("%d %s: %s", c.n, c.thing, got)
		}
	}
}
