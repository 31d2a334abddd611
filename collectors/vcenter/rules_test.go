package vcenter

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
)

// TestRulesDisabled keeps what is disabled, and marks it. A dependency is not about places.
func TestRulesDisabled(t *testing.T) {
	info := func(name string, enabled *bool) types.ClusterRuleInfo {
		return types.ClusterRuleInfo{Name: name, Enabled: enabled}
	}
	b := &builder{inventory: &inventory{}, computes: []*compute{{config: &types.ClusterConfigInfoEx{Rule: []types.BaseClusterRuleInfo{
		&types.ClusterAntiAffinityRuleSpec{ClusterRuleInfo: info("d", nil)},
		&types.ClusterAffinityRuleSpec{ClusterRuleInfo: info("b", new(true))},
		&types.ClusterVmHostRuleInfo{ClusterRuleInfo: info("c", new(false))},
		&types.ClusterDependencyRuleInfo{ClusterRuleInfo: info("a", new(true))},
	}}}}}
	b.inv.Clusters = make([]engine.Cluster, 1)
	b.addRules()
	var got strings.Builder
	for _, r := range b.inv.Rules {
		fmt.Fprintf(&got, "%s %s %t; ", r.Name, r.Kind, r.Disabled)
	}
	if want := "b together false; c not_on true; d apart true; "; got.String() != want || len(b.g.list) != 0 {
		t.Errorf("rules %q, want %q, %d gaps", got.String(), want, len(b.g.list))
	}
}
