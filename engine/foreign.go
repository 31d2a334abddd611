package engine

import "slices"

// NoteForeign notes in h, the history that [Fold] has just made of before, which
// VMs stand elsewhere than they were last seen without any doing of ours: a
// person, the cluster's scheduler or a failover moved them, and has a reason.
// open and ended are our actions under way and those that ended since. Doing of
// ours is not what we wanted to do and did not: mostly since somebody else had moved
// the VM. Doing of ours are also the moves by which a cluster empties a host for us.
func NoteForeign(before, h *History, s *Snapshot, open, ended []ActionRecord) {
	var moved []VMID
	var emptied []HostID
	for _, list := range [2][]ActionRecord{open, ended} {
		for i := range list {
			switch a := &list[i].Action; a.Kind {
			case Move:
				if r := list[i].State; !r.Terminal() || r == StateSucceeded || r == StateLost {
					moved = append(moved, a.VM)
				}
			case Standby, EnterMaintenance:
				emptied = append(emptied, a.HostOf())
			case Wakeup, ExitMaintenance:
			}
		}
	}
	slices.Sort(moved)
	for i := range h.VMs {
		x := &h.VMs[i]
		j, ok := s.FindVM(x.ID)
		if !ok || s.VMs[j].Host < 0 {
			continue // out of sight, as on its way between vCenters, or its host is
		}
		at := s.Hosts[s.VMs[j].Host].ID
		from := x.SeenOn
		x.SeenOn = at
		if from == "" || from == at || slices.Contains(emptied, from) || before.Host(from).Own != OwnNothing {
			continue
		}
		lags := x.MovedAt != 0 && s.At-x.MovedAt < ownGrace
		if _, ours := slices.BinarySearch(moved, x.ID); !ours && !lags {
			x.ForeignAt = s.At
			if x.MovedAt != 0 && at == x.LeftHost {
				x.Returns = again(x.Returns, int64(s.At-x.MovedAt), soonBack)
			}
		}
	}
}
