package engine

import "math"

// A CostModel turns a move into seconds, bytes and stun. It follows the pre-copy
// model: with B the bandwidth a move gets, c the rate at which cold memory is
// dirtied and W the hot set, memory sent is M/(1 - c/B) + W, and the move does
// not converge when c comes near B. Source: Kherbache et al., "Scheduling Live
// Migration of Virtual Machines", IEEE TCC 2017, simplified to two parameters.
type CostModel struct {
	EfficiencyPct int32 `json:"efficiency_pct"` // of the line rate that becomes payload
	SetupS        int32 `json:"setup_s"`        // fixed time: checks, switch-over, registration
	DirtyPct      int32 `json:"dirty_pct"`      // dirty rate from active memory where not measured: percent of active MiB a minute
	StunMS        int32 `json:"stun_ms"`        // switch-over within a site; the round trip is added four times
	EnergyWhPerGB int32 `json:"energy_wh_per_gb"`
}

// DefaultCostModel is a starting point until finished moves correct it.
func DefaultCostModel() CostModel {
	return CostModel{EfficiencyPct: 80, SetupS: 12, DirtyPct: 20, StunMS: 250, EnergyWhPerGB: 2}
}

// Dirty is the VM's dirty rate in Mbit/s: measured, or estimated from active memory.
func (m CostModel) Dirty(v *VM) int32 {
	if v.DirtyMbps != Unknown {
		return v.DirtyMbps
	}
	active := max(v.ActiveMiB, 0)
	return int32(int64(active) * int64(m.DirtyPct) * 8 / 100 / 60)
}

// Converges reports whether a live move of v ends at the given rate: its dirty
// rate must stay below nine tenths of the payload rate.
func (m CostModel) Converges(v *VM, mbps int32) bool {
	if v.Power != VMOn {
		return true
	}
	return int64(m.Dirty(v))*1000 < int64(mbps)*int64(m.EfficiencyPct)*9
}

// Estimate predicts a move of v at mbps of line rate (what this one move gets)
// and a round trip of rttMicros, with diskMiB to copy.
func (m CostModel) Estimate(v *VM, mbps, rttMicros int32, diskMiB int64) Estimate {
	return m.Learnt(nil, v, mbps, rttMicros, diskMiB)
}

// Learnt is Estimate corrected by what moves of its kind have taught; nil: nothing.
func (m CostModel) Learnt(f *MoveFit, v *VM, mbps, rttMicros int32, diskMiB int64) Estimate {
	rate := max(int64(mbps)*int64(m.EfficiencyPct)/100, 1) // Mbit/s of payload
	if f != nil {
		rate = max(int64(float64(mbps)/f.Slow), 1)
	}
	e := Estimate{DiskMiB: diskMiB, Mbps: mbps}
	if v.Power == VMOn {
		mem := int64(v.UsedMiB)
		if v.UsedMiB == Unknown {
			mem = int64(v.MemoryMiB)
		}
		dirty := min(int64(m.Dirty(v)), rate*9/10)
		e.MemoryMiB = mem*rate/max(rate-dirty, 1) + int64(max(v.ActiveMiB, 0))/8
		e.StunMS = int64(m.StunMS) + 4*int64(max(rttMicros, 0))/1000
	}
	if f == nil {
		// 1 MiB is 8.388608 Mbit.
		e.Seconds = int64(m.SetupS) + (e.MemoryMiB+e.DiskMiB)*8_388_608/(rate*1_000_000)
		return e
	}
	e.Seconds = int64(math.Round(f.SetupS + float64(f.Slow*e.LineSeconds())))
	return e
}
