package lab

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A tagStore writes tags into the simulator's vAPI handler, whose fields are
// exported but whose type is not, so that identities are the lab's own.
type tagStore struct {
	categories map[string]*tags.Category
	tags       map[string]*tags.Tag
	attached   reflect.Value            // map[tag ID]map[object]bool
	sessions   map[string]*rest.Session // by token
	api        attacher
}

type attacher interface {
	AttachTag(ref types.ManagedObjectReference, tagID string) types.BaseMethodFault
	DetachTag(ref types.ManagedObjectReference, tagID string) types.BaseMethodFault
	AttachedTags(ref types.ManagedObjectReference) ([]string, types.BaseMethodFault)
}

func newTagStore(api http.Handler) *tagStore {
	s := &tagStore{}
	v := reflect.ValueOf(api).Elem()
	s.categories, _ = v.FieldByName("Category").Interface().(map[string]*tags.Category)
	s.tags, _ = v.FieldByName("Tag").Interface().(map[string]*tags.Tag)
	s.attached = v.FieldByName("Association")
	s.sessions, _ = v.FieldByName("Session").Interface().(map[string]*rest.Session)
	s.api, _ = api.(attacher)
	return s
}

// attach gives the object a tag "category:name", making both where they are missing.
func (s *tagStore) attach(l *Lab, ref types.ManagedObjectReference, tag string) {
	category, name, _ := strings.Cut(tag, ":")
	cid := "urn:vmomi:InventoryServiceCategory:" + l.uuid("category", category) + ":GLOBAL"
	if s.categories[cid] == nil {
		s.categories[cid] = &tags.Category{ID: cid, Name: category, Cardinality: "SINGLE", AssociableTypes: []string{"VirtualMachine"}}
	}
	tid := "urn:vmomi:InventoryServiceTag:" + l.uuid("tag", tag) + ":GLOBAL"
	if s.tags[tid] == nil {
		s.tags[tid] = &tags.Tag{ID: tid, Name: name, CategoryID: cid}
		s.attached.SetMapIndex(reflect.ValueOf(tid), reflect.MakeMap(s.attached.Type().Elem()))
	}
	s.api.AttachTag(ref, tid)
}

// take removes all tags from an object that has gone and returns them, sorted.
func (s *tagStore) take(ref types.ManagedObjectReference) []string {
	ids, _ := s.api.AttachedTags(ref)
	var out []string
	for _, id := range ids {
		if t := s.tags[id]; t != nil && s.categories[t.CategoryID] != nil {
			out = append(out, s.categories[t.CategoryID].Name+":"+t.Name)
		}
		s.api.DetachTag(ref, id)
	}
	slices.Sort(out)
	return out
}

// modes are the names of the category heliostat; each vCenter knows them all.
var modes = []string{"never", "advise", "auto"}

// applyTags makes the categories and attaches the VMs' tags, one of each
// category: the last one given wins.
func (l *Lab) applyTags() {
	for _, m := range l.machines {
		if m.agent {
			continue
		}
		l.tidyTags(m)
		for _, t := range m.tags {
			m.vc.tags.attach(l, m.obj.Self, t)
		}
	}
	nothing := types.ManagedObjectReference{Type: "VirtualMachine", Value: "none"}
	for _, v := range l.vcs {
		for _, mode := range modes {
			v.tags.attach(l, nothing, "heliostat:"+mode)
		}
		v.tags.take(nothing)
	}
}

func (l *Lab) tidyTags(m *machine) {
	var out []string
	for i, t := range m.tags {
		category, _, _ := strings.Cut(t, ":")
		if !slices.ContainsFunc(m.tags[i+1:], func(o string) bool { return strings.HasPrefix(o, category+":") }) {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	m.tags = out
}

// setAttribute sets a custom attribute of an object, making its definition where missing.
func (v *vcenter) setAttribute(obj mo.Reference, name, value string) {
	fields := v.registry().CustomFieldsManager()
	ctx := v.ctx("")
	i := slices.IndexFunc(fields.Field, func(d types.CustomFieldDef) bool { return d.Name == name })
	if i < 0 {
		fields.AddCustomFieldDef(ctx, &types.AddCustomFieldDef{Name: name, MoType: obj.Reference().Type})
		i = len(fields.Field) - 1
	}
	fields.SetField(ctx, &types.SetField{Entity: obj.Reference(), Key: fields.Field[i].Key, Value: value})
}

// applyRules writes the DRS rules into the clusters' configurations.
func (l *Lab) applyRules() error {
	for i, r := range l.cfg.Rules {
		ci := slices.IndexFunc(l.clusters, func(c *cluster) bool { return c.cfg.Name == r.Cluster })
		c := l.clusters[ci]
		info, ok := c.obj.ConfigurationEx.(*types.ClusterConfigInfoEx)
		if !ok {
			return fmt.Errorf("rule %s: cluster %s has no configuration", r.Name, r.Cluster)
		}
		var vms, hosts []types.ManagedObjectReference
		for _, name := range r.VMs {
			m := l.findVM(name)
			if m == nil || l.hosts[m.host].cluster != ci {
				return fmt.Errorf("rule %s: no VM %s in cluster %s", r.Name, name, r.Cluster)
			}
			vms = append(vms, m.obj.Self)
		}
		for _, name := range r.Hosts {
			h := l.findHost(name)
			if h == nil || h.cluster != ci {
				return fmt.Errorf("rule %s: no host %s in cluster %s", r.Name, name, r.Cluster)
			}
			hosts = append(hosts, h.obj.Self)
		}
		l.addRule(info, i, r, vms, hosts)
	}
	return nil
}

func (l *Lab) addRule(info *types.ClusterConfigInfoEx, key int, r RuleConfig, vms, hosts []types.ManagedObjectReference) {
	base := types.ClusterRuleInfo{
		Key: int32(key + 1), Name: r.Name, Enabled: new(true), Mandatory: new(r.Mandatory), UserCreated: new(true), RuleUuid: l.uuid("rule", r.Cluster, r.Name),
	}
	switch r.Kind {
	case "together":
		info.Rule = append(info.Rule, &types.ClusterAffinityRuleSpec{ClusterRuleInfo: base, Vm: vms})
	case "apart":
		info.Rule = append(info.Rule, &types.ClusterAntiAffinityRuleSpec{ClusterRuleInfo: base, Vm: vms})
	default:
		vg, hg := r.Name+" VMs", r.Name+" hosts"
		info.Group = append(info.Group,
			&types.ClusterVmGroup{ClusterGroupInfo: types.ClusterGroupInfo{Name: vg}, Vm: vms},
			&types.ClusterHostGroup{ClusterGroupInfo: types.ClusterGroupInfo{Name: hg}, Host: hosts})
		rule := &types.ClusterVmHostRuleInfo{ClusterRuleInfo: base, VmGroupName: vg}
		if r.Kind == "on" {
			rule.AffineHostGroupName = hg
		} else {
			rule.AntiAffineHostGroupName = hg
		}
		info.Rule = append(info.Rule, rule)
	}
}
