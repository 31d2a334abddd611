package vcenter

import (
	"cmp"
	"slices"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
)

// addRules converts the clusters' own placement rules. Disabled ones are marked.
func (b *builder) addRules() {
	for i, r := range b.computes {
		if r.config == nil {
			continue
		}
		for _, rule := range r.config.Rule {
			info := rule.GetClusterRuleInfo()
			// A dependency is about the order of restarts, not about places.
			if _, order := rule.(*types.ClusterDependencyRuleInfo); order {
				continue
			}
			if out, ok := b.rule(rule, r.config.Group); ok {
				out.Cluster, out.Name = int32(i), info.Name
				out.Mandatory, out.Disabled = yes(info.Mandatory), !yes(info.Enabled)
				b.inv.Rules = append(b.inv.Rules, out)
			} else {
				b.g.add("cluster", string(b.inv.Clusters[i].ID), "rule %s is of a kind that is not known: %T", info.Name, rule)
			}
		}
	}
	slices.SortStableFunc(b.inv.Rules, func(x, y engine.Rule) int {
		return cmp.Or(cmp.Compare(x.Cluster, y.Cluster), cmp.Compare(x.Name, y.Name))
	})
}

func (b *builder) rule(rule types.BaseClusterRuleInfo, groups []types.BaseClusterGroupInfo) (engine.Rule, bool) {
	switch r := rule.(type) {
	case *types.ClusterAffinityRuleSpec:
		return engine.Rule{Kind: engine.RuleTogether, VMs: indices(b.vms, values(r.Vm))}, true
	case *types.ClusterAntiAffinityRuleSpec:
		return engine.Rule{Kind: engine.RuleApart, VMs: indices(b.vms, values(r.Vm))}, true
	case *types.ClusterVmHostRuleInfo:
		out := engine.Rule{Kind: engine.RuleOn}
		hosts := r.AffineHostGroupName
		if hosts == "" {
			out.Kind, hosts = engine.RuleNotOn, r.AntiAffineHostGroupName
		}
		for _, g := range groups {
			switch g := g.(type) {
			case *types.ClusterVmGroup:
				if g.Name == r.VmGroupName {
					out.VMs = indices(b.vms, values(g.Vm))
				}
			case *types.ClusterHostGroup:
				if g.Name == hosts {
					out.Hosts = indices(b.hosts, values(g.Host))
				}
			}
		}
		return out, true
	}
	return engine.Rule{}, false
}
