package plan

import (
	"fmt"
	"strings"

	"heliostat/engine"
)

// hostActionReason says why no action of a kind (with its mode and name) may
// touch host h itself.
func (b *builder) hostActionReason(h int32, mode engine.Mode, kind string, evac bool) reason {
	host := &b.s.Hosts[h]
	if b.weak(mode) {
		return reason{code: engine.HoldMode, form: "actions of kind %[1]s are in mode %[2]s", where: kind, other: mode.String()}
	}
	switch x := b.bars[evacIndex(evac)][h]; x {
	case barNoSite, barFrozen, barMode:
		return b.barReason(h, x, evac)
	case barNone, barUnknown, barStandby, barOff, barDisconnected, barMaintenance, barGap, barUnseen, barOld, barFailover, barLost, barBroken:
	}
	if x := b.keptAt(h); x != nil {
		return b.vcenterReason(h, x)
	}
	if b.quarantined(h) {
		return b.barReason(h, barLost, evac)
	}
	if b.gapHost[h] > 0 {
		return b.barReason(h, barGap, evac)
	}
	if b.openTo[h] {
		return reason{code: engine.HoldBusy, form: "an action on it is under way"}
	}
	if r := b.unseenReason(h); !r.ok() && kind != "wake" {
		return r
	}
	if host.Tasks > 0 {
		return reason{code: engine.HoldBusy, form: "%[3]d tasks that are not ours run on it", a: int64(host.Tasks)}
	}
	x := b.ofHost(h)
	if until := x.FailedAt + engine.Unix(b.c.FailureS); x.FailedAt > x.ChangeAt && until > b.in.Now {
		return reason{code: engine.HoldCooldown, form: "the last action on it failed, the next try is in %[3]d s", a: int64(until - b.in.Now)}
	}
	return reason{}
}

// ownText is what the journal says of a host's state.
var ownText = map[engine.Owned]string{
	engine.OwnNothing: "it is not our doing", engine.OwnStandby: "we put it in standby", engine.OwnMaintenance: "we put it in maintenance",
}

// wakeable says why host h may not be woken: only what this daemon put in
// standby, by journal and by mark, is its own to wake.
func (b *builder) wakeable(h int32, evac bool) reason {
	host := &b.s.Hosts[h]
	if b.st.Power[h] != engine.HostStandby {
		return reason{code: engine.HoldUnavailable, form: "it is %[2]s, not in standby", other: b.st.Power[h].String()}
	}
	own := b.ofHost(h).Own
	if own != engine.OwnStandby || !strings.HasPrefix(host.Mark, "standby") {
		return reason{code: engine.HoldOwner, form: "a person may own its state: the journal says that %[1]s, its mark is %[2]s", where: ownText[own], other: fmt.Sprintf("%q", host.Mark)}
	}
	if b.st.Maint[h] {
		return reason{code: engine.HoldUnavailable, form: "it is in maintenance"}
	}
	if b.s.Clusters[host.Cluster].DPM {
		return reason{code: engine.HoldDPM, form: "vSphere manages the power of cluster %[1]s", where: b.s.Clusters[host.Cluster].Name}
	}
	return b.hostActionReason(h, b.c.Modes.Wake, "wake", evac)
}

// wake plans to wake host h.
func (b *builder) wake(h int32, why []engine.Why, demand int32) {
	a := b.hostAction(engine.Wakeup, h, why)
	if demand >= 0 {
		a.Demand, a.Deadline = b.demands[demand].subject, b.demands[demand].deadline
	}
	b.addHostAction(a, h, demand, int64(max(b.s.Hosts[h].IdleW, 0)))
	b.waking[h] = int32(len(b.acts))
	b.rooms[b.s.Hosts[h].Cluster].fresh = false
}

// hostActionSeconds is what a change of a host's state takes: a boot, or a
// shutdown, about three minutes. Source: VMware, "Distributed Power Management
// Concepts and Use", which measured three to five minutes for a wake.
const hostActionSeconds = 180

func (b *builder) hostAction(kind engine.ActionKind, h int32, why []engine.Why) *engine.Action {
	host := &b.s.Hosts[h]
	_, moid := engine.SplitRef(host.ID)
	a := &engine.Action{Kind: kind, Name: host.Name, Moid: moid, From: b.place(h), Why: why, Estimate: engine.Estimate{Seconds: hostActionSeconds}}
	if kind == engine.EnterMaintenance || kind == engine.ExitMaintenance {
		a.Estimate.Seconds = int64(b.c.Cost.SetupS)
	}
	return a
}

// delegate estimates what a cluster's own scheduler needs to empty host h: for
// how long, with its slots full, and at what cost.
func (b *builder) delegate(h int32) (secs, cost int64) {
	units := int64(max(b.c.Limits.HostUnits/max(b.c.Limits.Cost[engine.ClassVMotion].Host, 1), 1))
	longest := int64(0)
	for _, v := range b.s.VMsOn(h) {
		if vm := &b.s.VMs[v]; vm.Power != engine.VMOn || vm.Obstacles&engine.ObAgent != 0 || b.moved[v] > 0 {
			continue
		}
		rate := b.rate(h, h, false, false)
		e := b.learnt(v, b.s.Hosts[h].Site, false, rate, 0, 0)
		secs += e.Seconds
		longest = max(longest, e.Seconds)
		cost += b.moveCost(v, h, h, &e, rate)
	}
	return max(secs/units, longest), cost
}

// addHostAction plans an action on host h that changes its power by so much.
func (b *builder) addHostAction(a *engine.Action, h, demand int32, watts int64) {
	b.acts = append(b.acts, act{vm: engine.None, from: h, to: engine.None, link: engine.None, demand: demand, mw: watts * 1000, after: a.After, action: a})
}

// marginal is what the CPU load of VM v costs host h, in milliwatts.
func (b *builder) marginal(v, h int32) int64 {
	host := &b.s.Hosts[h]
	if host.MaxW <= 0 || host.IdleW < 0 || host.CPUMHz <= 0 {
		return 0
	}
	return int64(max(b.s.VMs[v].UsedMHz, 0)) * int64(host.MaxW-host.IdleW) * 1000 / int64(host.CPUMHz)
}

// energyPerH is what milliwatts cost at a site, in micro-euros an hour; unknown
// prices claim nothing.
func (b *builder) energyPerH(site int32, milliwatts int64) int64 {
	if site < 0 || b.tariff[site] < 0 {
		return 0
	}
	return milliwatts * b.tariff[site] / 1_000_000
}

// moveCost is what a move costs once, in micro-euros: bytes over a WAN, the
// interruption, the slowed run and the energy of copying at both ends. A VM is
// slowed by the share of the bandwidth that only sends again what it dirtied.
func (b *builder) moveCost(v, from, to int32, e *engine.Estimate, rate int32) int64 {
	mib := e.MemoryMiB + e.DiskMiB
	src, dst := b.s.Hosts[from].Site, b.s.Hosts[to].Site
	var cost int64
	if src != dst {
		cost += b.c.CopyMicroPerGB * mib / 1024
	}
	vm := &b.s.VMs[v]
	payload := max(int64(rate)*int64(b.c.Cost.EfficiencyPct)/100, 1)
	slowMS := e.Seconds * 1000 * min(int64(b.c.Cost.Dirty(vm)), payload) / payload
	cost += b.c.DisruptionMicro * int64(vm.VCPUs) * (e.StunMS + slowMS) / 1000
	for _, site := range [2]int32{src, dst} {
		if site >= 0 && b.tariff[site] > 0 {
			cost += int64(b.c.Cost.EnergyWhPerGB) * mib / 1024 * b.tariff[site] / 1000
		}
	}
	return cost
}

// account puts a saving and a cost into a ledger.
func account(saves, cost, holds int64) engine.Ledger {
	l := engine.Ledger{SavesPerH: saves, CostOnce: cost, HoldsS: holds}
	if saves > 0 {
		l.PaybackS = cost * 3600 / saves
	}
	return l
}

// worth reports whether a ledger pays: within the time that the choice holds,
// and soon enough.
func worth(l engine.Ledger, within int64) bool {
	return l.SavesPerH > 0 && l.SavesPerH*l.HoldsS/3600 > l.CostOnce && l.PaybackS <= within
}
