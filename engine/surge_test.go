package engine

import "testing"

// surged folds a cluster of two hosts and four VMs with the loads given, one of each
// five minutes apart, and returns what is remembered of it at the end.
func surged(t *testing.T, loads ...int32) *ClusterHistory {
	t.Helper()
	h := &History{}
	for k, mhz := range loads {
		s := surgeFleet(Unix(1_800_000_000+300*k), mhz)
		past := h
		h = Fold(past, s, nil, Thresholds{})
		NoteForeign(past, h, s, nil, nil)
	}
	return &h.Clusters[0]
}

func surgeFleet(at Unix, mhz int32) *Snapshot {
	s := &Snapshot{At: at, Clusters: []Cluster{{ID: "vc/c"}, {ID: "vc/d"}}}
	for h := range 3 {
		s.Hosts = append(s.Hosts, Host{ID: HostID("vc/h" + string(rune('0'+h))), Cluster: int32(h / 2), Power: HostOn, Connected: true, CPUMHz: 10_000, MemoryMiB: 1 << 16, LoadAt: at})
	}
	for v := range 4 {
		s.VMs = append(s.VMs, VM{ID: VMID(rune('0' + v)), Host: int32(v % 2), Power: VMOn, UsedMHz: mhz, UsedMiB: 1024, MemoryMiB: 1024, LoadAt: at})
	}
	return s
}

func TestARiseThatLastsIsExpectedAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		loads []int32
		want  int64
	}{
		{"flat", []int32{100, 100, 100, 100, 100, 100, 100}, 400},
		{"a spike is none", []int32{100, 100, 100, 900, 100, 100, 100, 100}, 400},
		{"known once it has lasted", []int32{100, 100, 100, 900, 900, 900}, 3780}, // no more than a twentieth above the peak
		{"a fall is none", []int32{900, 900, 900, 100, 100, 100}, 3600},
		{"on top of what was lately", []int32{900, 900, 900, 100, 100, 100, 300, 300, 300}, 3780},
	} {
		if got := surged(t, c.loads...).Surge(100); got != c.want {
			t.Errorf("%s: %d MHz, want %d", c.name, got, c.want)
		}
	}
	low := surged(t, append([]int32{500, 500, 500, 100, 100, 100, 200, 200, 200}, make([]int32, 60)...)...)
	if got := low.Surge(100); got != 400 {
		t.Errorf("five idle hours later %d MHz are expected, want the largest rise, 400", got)
	}
	if got := low.Surge(50); got != 200 {
		t.Errorf("half of it is %d MHz, want 200", got)
	}
	if got := low.Rise(50); got != 200 {
		t.Errorf("half of the largest rise is %d MHz, want 200", got)
	}
}

func TestWhatHasJustBegunDoesNotLast(t *testing.T) {
	for _, c := range []struct {
		loads []int32
		want  int32
	}{{[]int32{100}, Unknown}, {[]int32{100, 300}, 400}, {[]int32{100, 300, 200}, 800}} {
		if got := surged(t, c.loads...).Lasting(); got != c.want {
			t.Errorf("after %v: %d MHz, want %d", c.loads, got, c.want)
		}
	}
}

// A VM that comes from another cluster brings its load, and is no rise.
func TestAnArrivalIsNoRise(t *testing.T) {
	h := &History{}
	for k := range 12 {
		s := surgeFleet(Unix(1_800_000_000+300*k), 100)
		if k >= 6 {
			s.VMs[3].Host = 2
		}
		past := h
		h = Fold(past, s, nil, Thresholds{})
		NoteForeign(past, h, s, nil, nil)
	}
	for i, want := range []int64{300, 100} {
		if x := &h.Clusters[i]; x.Surge(100) != want || x.Recent() != want {
			t.Errorf("cluster %s: %d MHz expected, %d lately, want %d", x.ID, x.Surge(100), x.Recent(), want)
		}
	}
}
