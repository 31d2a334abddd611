package engine

import "slices"

// A ClusterHistory is what is remembered of how the load of a cluster's VMs rises:
// the highest of the last hours and of the last days, and the largest rise of each
// day. What lasts for less than three intervals counts for none of them. What moves
// takes its load along in all of it, so that it is of the VMs that are there now, and
// an arrival is no rise.
type ClusterHistory struct {
	ID    ClusterID `json:"id"`
	CPU   Ring      `json:"cpu"`   // MHz of its VMs
	Hours [6]int32  `json:"hours"` // MHz that lasted, at most, by hour, the newest first
	Peaks [7]int32  `json:"peaks"` // likewise by day
	Rises [7]int32  `json:"rises"` // by day: by how much it rose within an interval or two, and stayed
}

// recentHours is for how many hours a load is expected to return. Of those that are
// remembered it is as few as leave hosts of a cluster whose load comes and goes all day
// about one change of power a day.
const recentHours = 4

// Recent is the highest load of the last hours, MHz.
func (x *ClusterHistory) Recent() int64 { return int64(slices.Max(x.Hours[:recentHours])) }

// Rise is so many percent of the largest rise of the last days, MHz.
func (x *ClusterHistory) Rise(pct int32) int64 {
	return int64(slices.Max(x.Rises[:])) * int64(pct) / 100
}

// Lasting is the load that it had in this interval and in the one before, MHz, Unknown
// where these were not seen.
func (x *ClusterHistory) Lasting() int32 {
	now, before := x.CPU.current(), x.CPU.Past[0]
	if now == Unknown || before == Unknown || x.CPU.Slot == 0 {
		return Unknown
	}
	return min(now, before)
}

// Surge is the load that the cluster has to expect before more hosts could be woken,
// MHz: what it had in the last hours and so many percent of the largest rise of the
// last days on top, and no more than a twentieth above the highest of these days.
func (x *ClusterHistory) Surge(pct int32) int64 {
	peak := int64(slices.Max(x.Peaks[:]))
	return min(peak+peak/20, x.Recent()+x.Rise(pct))
}

// turn makes room for what is newer than the ring.
func (x *ClusterHistory) turn(at Unix) {
	const perHour, perDay = 3600 / RingSeconds, 86_400 / RingSeconds
	slot := int64(at) / RingSeconds
	if x.CPU.Slot == 0 {
		return
	}
	age := func(list []int32, per int64) {
		for n := min(slot/per-x.CPU.Slot/per, int64(len(list))); n > 0; n-- {
			copy(list[1:], list)
			list[0] = 0
		}
	}
	age(x.Hours[:], perHour)
	age(x.Peaks[:], perDay)
	age(x.Rises[:], perDay)
}

// shift is what VMs bring that come, and take that go.
func (x *ClusterHistory) shift(mhz int32) {
	for _, list := range [3][]int32{x.CPU.Past[:], x.Hours[:], x.Peaks[:]} {
		for i := range list {
			if list[i] != Unknown {
				list[i] = max(list[i]+mhz, 0)
			}
		}
	}
	x.CPU.Sum += int64(mhz) * int64(x.CPU.Count)
}

// note adds the load of now.
func (x *ClusterHistory) note(at Unix, mhz int32) {
	x.CPU.Add(at, mhz)
	const lasts = 3
	last := append([]int32{x.CPU.current()}, x.CPU.Past[:2*lasts-1]...)
	if slices.Contains(last[:lasts], Unknown) {
		return
	}
	low := slices.Min(last[:lasts])
	x.Hours[0], x.Peaks[0] = max(x.Hours[0], low), max(x.Peaks[0], low)
	if !slices.Contains(last, Unknown) {
		x.Rises[0] = max(x.Rises[0], low-slices.Max(last[lasts:]))
	}
}

// foldClusters carries over how the load of clusters rises. The VMs are folded already.
func (h *History) foldClusters(before *History, s *Snapshot) {
	h.Clusters = mergeBy(before.Clusters, len(s.Clusters), func(i int) ClusterID { return s.Clusters[i].ID }, func(x *ClusterHistory) ClusterID { return x.ID },
		func(x *ClusterHistory) bool { return x.CPU.after(s.At - day) })
	of := make([]*ClusterHistory, len(s.Clusters))
	k := 0
	for c := range s.Clusters {
		for h.Clusters[k].ID != s.Clusters[c].ID {
			k++
		}
		of[c] = &h.Clusters[k]
		of[c].turn(s.At)
	}
	load := make([]int32, len(s.Clusters))
	j, old := 0, 0
	for i := range s.VMs {
		v := &s.VMs[i]
		for h.VMs[j].ID != v.ID {
			j++
		}
		for old < len(before.VMs) && before.VMs[old].ID < v.ID {
			old++
		}
		known := old < len(before.VMs) && before.VMs[old].ID == v.ID
		now := h.VMs[j].CPU.current()
		if v.Host < 0 || v.Power != VMOn || now == Unknown {
			continue
		}
		c, seen := s.Hosts[v.Host].Cluster, h.VMs[j].SeenOn
		load[c] += now
		if seen == s.Hosts[v.Host].ID || (known && seen == "") {
			continue
		}
		from, ok := s.FindHost(seen)
		if ok && s.Hosts[from].Cluster == c {
			continue
		}
		of[c].shift(now)
		if ok {
			of[s.Hosts[from].Cluster].shift(-now)
		}
	}
	for c := range of {
		of[c].note(s.At, load[c])
	}
}
