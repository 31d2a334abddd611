package engine

import (
	"reflect"
	"slices"
	"testing"
)

func followed() *Snapshot {
	return &Snapshot{
		Sites: []Site{{ID: "a"}}, VCenters: []VCenter{{ID: "vc"}}, Clusters: []Cluster{{ID: "vc/c"}}, Datastores: []Datastore{{ID: "vc/d"}}, Networks: []Network{{ID: "vc/n"}},
		Hosts: []Host{{ID: "vc/h0", Power: HostOn, LoadAt: 50}, {ID: "vc/h1", Power: HostOn, LoadAt: 60}},
		VMs:   []VM{{ID: "v0", Host: 0, Power: VMOn, LoadAt: 70}, {ID: "v1", Host: 1, Power: VMOn, LoadAt: 40}, {ID: "v2", LoadAt: 1}},
		Rules: []Rule{{Name: "r", VMs: []int32{0, 1}}},
	}
}

// TestFollowNoticesEveryField sets each field of a VM and of a host to something
// else: all but the times of reading are changes.
func TestFollowNoticesEveryField(t *testing.T) {
	other := func(f reflect.Value) {
		switch f.Kind() {
		case reflect.String:
			f.SetString(f.String() + "x")
		case reflect.Bool:
			f.SetBool(!f.Bool())
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case reflect.Uint8, reflect.Uint64:
			f.SetUint(f.Uint() + 1)
		default:
			f.SetInt(f.Int() + 1)
		}
	}
	old := followed()
	for _, x := range []struct {
		of     func(s *Snapshot) reflect.Value
		told   func(c *Changes) []int32
		silent []string
	}{
		{func(s *Snapshot) reflect.Value { return reflect.ValueOf(&s.VMs[0]).Elem() }, func(c *Changes) []int32 { return c.VMs }, []string{"LoadAt"}},
		{func(s *Snapshot) reflect.Value { return reflect.ValueOf(&s.Hosts[0]).Elem() }, func(c *Changes) []int32 { return c.Hosts }, []string{"LoadAt", "PowerAt"}},
	} {
		for i := range x.of(old).NumField() {
			s := followed()
			name := x.of(s).Type().Field(i).Name
			other(x.of(s).Field(i))
			c := s.compare(old)
			if noticed := c.Shape || slices.Equal(x.told(&c), []int32{0}); noticed == slices.Contains(x.silent, name) {
				t.Errorf("%s.%s: %+v", x.of(s).Type(), name, c)
			}
		}
	}
}

func TestFollow(t *testing.T) {
	old := followed()
	for _, x := range []struct {
		name   string
		change func(s *Snapshot)
		want   Changes
	}{
		{"nothing", func(*Snapshot) {}, Changes{OldestVM: 40, OldestHost: 50}},
		{"free space", func(s *Snapshot) { s.Datastores[0].FreeMiB = 7 }, Changes{OldestVM: 40, OldestHost: 50}},
		{"a price", func(s *Snapshot) { s.Sites[0].PriceMicroEURPerKWh = 7 }, Changes{OldestVM: 40, OldestHost: 50}},
		{"a move", func(s *Snapshot) { s.VMs[1].Host = 0 }, Changes{VMs: []int32{1}, Moved: true, OldestVM: 40, OldestHost: 50}},
		{"a VM more", func(s *Snapshot) { s.VMs = append(s.VMs, VM{ID: "v3"}) }, Changes{Shape: true}},
		{"another VM", func(s *Snapshot) { s.VMs[2].ID = "v3" }, Changes{Shape: true}},
		{"a rule", func(s *Snapshot) { s.Rules[0].VMs[1] = 2 }, Changes{Shape: true}},
		{"a failover host", func(s *Snapshot) { s.Clusters[0].FailOn = []int32{1} }, Changes{Shape: true}},
		{"a datastore", func(s *Snapshot) { s.Datastores[0].Maintenance = true }, Changes{Shape: true}},
	} {
		s := followed()
		x.change(s)
		s.Follow(old)
		if got := s.Since(old); got == nil || !reflect.DeepEqual(*got, x.want) {
			t.Errorf("%s: %+v, want %+v", x.name, got, x.want)
		}
		if s.Since(s) != nil || old.Since(s) != nil {
			t.Errorf("%s: something is known of a snapshot that is not the one before", x.name)
		}
		again := followed()
		x.change(again)
		if !reflect.DeepEqual(s.idx(), again.idx()) {
			t.Errorf("%s: another index", x.name)
		}
	}
}
