package policy

import "heliostat/engine"

// Contract is the version of the policy contract that this package speaks.
const Contract = 1

// A scope is what a rule is asked about.
type scope string

const (
	scopeFleet   scope = "fleet"
	scopeCluster scope = "cluster"
	scopeMove    scope = "move"
	scopePlan    scope = "plan"
)

// shown lists the keys of input by scope.
var shown = map[scope][]string{
	scopeFleet:   nil,
	scopeCluster: {"cluster", "hosts", "vms", "vm_load", "marked"},
	scopeMove:    {"vm", "from", "to", "why", "move"},
	scopePlan:    {"plan", "moves", "links"},
}

// A ruleSpec is one row of the contract: where a rule is asked, whether it
// fails closed, and how one of its items is read.
type ruleSpec struct {
	scope scope
	veto  bool
	read  func(*answer, *item)
}

// contract lists every rule that a policy may write.
var contract = map[string]ruleSpec{
	engine.RuleSiteScore:  {scopeFleet, false, (*answer).siteScore},
	engine.RuleEvacuate:   {scopeFleet, false, (*answer).evacuate},
	engine.RuleFreeze:     {scopeFleet, true, (*answer).freeze},
	engine.RulePrefer:     {scopeCluster, false, (*answer).prefer},
	engine.RuleDrain:      {scopeCluster, false, (*answer).drain},
	engine.RuleWake:       {scopeCluster, false, (*answer).wake},
	engine.RulePriority:   {scopeCluster, false, (*answer).priority},
	engine.RuleGroupApart: {scopeCluster, false, (*answer).apart},
	engine.RuleGroupTog:   {scopeCluster, false, (*answer).together},
	engine.RuleNear:       {scopeCluster, false, (*answer).near},
	engine.RuleShed:       {scopeCluster, false, (*answer).shed},
	engine.RuleAllowSites: {scopeCluster, true, (*answer).allowSites},
	engine.RuleAllowHosts: {scopeCluster, true, (*answer).allowHosts},
	engine.RulePin:        {scopeCluster, true, (*answer).pin},
	engine.RuleKeepOn:     {scopeCluster, true, (*answer).keepOn},
	engine.RuleDeny:       {scopeMove, true, (*answer).deny},
	engine.RuleReject:     {scopePlan, true, (*answer).reject},
	engine.RuleApproval:   {scopePlan, true, (*answer).approval},
}
