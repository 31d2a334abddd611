package vcenter

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/lab"
	"heliostat/vsphere"
)

func labConfig() lab.Config {
	return lab.Config{
		Seed: 1, Start: time.Date(2026, 6, 21, 0, 0, 0, 0, time.UTC),
		Sites: []lab.SiteConfig{{
			Name: "houston", Segments: []string{"app", "db"}, DVS: true,
			Clusters: []lab.ClusterConfig{{
				Name: "hou", Hosts: 4, CoresPerHost: 32, MHzPerCore: 2400, MemGiB: 512, DRS: "full", CPULevel: 6, EVC: 5,
				HAAdmission: true, HAFailures: 1, IdleW: 150, MaxW: 400, VMs: 40,
			}},
			Datastores: []lab.DatastoreConfig{{Name: "hou-ds1", GiB: 20000}, {Name: "hou-ds2", GiB: 20000}, {Name: "hou-local1", GiB: 500, Host: "hou-esx01.lab"}},
		}},
	}
}

// bubble serves a lab in virtual time and gives a source on its first vCenter.
func bubble(t *testing.T, cfg lab.Config, test func(t *testing.T, l *lab.Lab, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, err := lab.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		l.ServePipe(ctx)
		defer time.Sleep(time.Minute) // handlers of the lab that linger
		defer l.Close()
		defer cancel()
		e := l.Endpoints()[0]
		vc := vsphere.Config{Name: e.Name, URL: e.URL, Reader: &vsphere.Account{Username: e.Username, PasswordFile: "-"}, Thumbprint: e.Thumbprint}
		s, err := vsphere.Dial(ctx, vc, vc.Reader, vsphere.Options{
			DialContext: l.Dial, Password: func(vsphere.Account) (vsphere.Secret, error) { return vsphere.NewSecret(e.Password), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		r := &rig{woken: make(chan string, 1000), every: time.Second}
		r.source = New(Config{Movers: []string{"mover@lab"}, Wake: func(why string) { r.woken <- why }}, s)
		runCtx, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = r.source.Run(runCtx)
		}()
		defer func() { stop(); <-done }()
		r.until(t, func(engine.Observation) bool { return true })
		test(t, l, r)
	})
}

// TestFixtures reads back what the lab sets in the fields of real vCenters.
func TestFixtures(t *testing.T) {
	cfg := labConfig()
	rows := []struct {
		fixture, value string
		want           engine.Obstacles
	}{
		{"passthrough", "", engine.ObPassthrough},
		{"vgpu", "", engine.ObVGPU},
		{"usb", "", engine.ObUSB},
		{"client_cd", "", engine.ObClientMedia},
		{"local_iso", "", engine.ObLocalISO},
		{"physical_rdm", "", engine.ObRDM},
		{"independent_disk", "", engine.ObIndependent},
		{"multi_writer", "", engine.ObMultiWriter},
		{"shared_bus", "", engine.ObMultiWriter},
		{"disk_snapshot", "", engine.ObDiskSnapshot},
		{"linked_clone", "", engine.ObLinkedClone},
		{"fault_tolerance", "", engine.ObFaultTolerance},
		{"vapp", "", engine.ObVApp},
		{"disabled_relocate", "", engine.ObDisabled},
		{"migration_off", "", engine.ObMigrationOff},
		{"tools_installer", "", engine.ObTools},
		{"agent", "", engine.ObAgent},
		{"managed_by", "", engine.ObManaged},
		{"replicated", "", engine.ObReplicated},
		{"latency_high", "", engine.ObLatency},
		{"encrypted", "", engine.ObEncrypted},
		{"vtpm", "", engine.ObEncrypted},
		{"cpu_affinity", "", engine.ObPinnedCPU},
		{"no_heartbeat", "", engine.ObNoHeartbeat},
		{"orphaned", "", engine.ObOrphaned},
		{"disconnected", "", engine.ObOrphaned},
		{"unshared_swap", "", engine.ObUnsharedSwap},
		{"powered_off", "", 0},
		{"suspended", "", 0},
		{"template", "", 0},
		{"missing_network", "", 0},
		{"pinned", "", 0},
		{"advise", "", 0},
		{"tag", "heliostat:across", 0},
		{"attribute", "owner=anna", 0},
		{"old_hardware", "", 0},
		{"big_disk", "300", 0},
	}
	for i, r := range rows {
		cfg.Fixtures = append(cfg.Fixtures, lab.FixtureConfig{Name: r.fixture, VM: lab.VMName("hou", i), Value: r.value})
	}
	bubble(t, cfg, func(t *testing.T, _ *lab.Lab, r *rig) {
		o := r.until(t, func(engine.Observation) bool { return true })
		inv := o.Inventory
		validate(t, inv)
		byName := map[string]*engine.VM{}
		for i := range inv.VMs {
			byName[inv.VMs[i].Name] = &inv.VMs[i]
		}
		for i, row := range rows {
			v := byName[lab.VMName("hou", i)]
			if v == nil {
				t.Errorf("%s: the VM is not in the inventory", row.fixture)
				continue
			}
			if v.Obstacles != row.want {
				t.Errorf("%s: got %q, want %q", row.fixture, v.Obstacles, row.want)
			}
			ok := true
			switch row.fixture {
			case "powered_off":
				ok = v.Power == engine.VMOff && v.Seen()
			case "suspended":
				ok = v.Power == engine.VMSuspended
			case "template":
				ok = v.Template && v.Power == engine.VMOff
			case "missing_network":
				ok = v.NICs[0].Network == engine.None
			case "pinned":
				ok = v.Mode == engine.Off
			case "advise":
				ok = v.Mode == engine.Advise
			case "tag":
				ok = v.Across && v.Mode == engine.Enforce
			case "attribute":
				ok = slices.Equal(v.Attributes, []string{"owner=anna"})
			case "old_hardware":
				ok = v.HWVersion == 8
			case "big_disk":
				ok = v.Disks[0].MiB == 300<<10 && !v.Disks[0].Thin && v.Disks[0].CopyMiB() == 300<<10
			}
			if !ok {
				t.Errorf("%s: %+v", row.fixture, v)
			}
		}
		clean := byName[lab.VMName("hou", len(rows))]
		if clean.Obstacles != 0 || clean.Mode != engine.Enforce || !clean.Seen() || clean.EVC == "" || clean.Task != "" {
			t.Errorf("a VM without a fixture: %+v", clean)
		}
	})
}

func TestHostsOfTheLab(t *testing.T) {
	cfg := labConfig()
	cfg.Sites[0].Clusters[0].Hosts = 8
	for i, f := range []string{"host_maintenance", "host_standby", "host_usb", "host_vsan", "host_no_vmotion", "host_disconnected", "host_no_wake"} {
		cfg.Fixtures = append(cfg.Fixtures, lab.FixtureConfig{Name: f, Host: []string{"hou-esx01", "hou-esx02", "hou-esx03", "hou-esx04", "hou-esx05", "hou-esx06", "hou-esx07"}[i]})
	}
	cfg.Rules = []lab.RuleConfig{
		{Cluster: "hou", Name: "apart", Kind: "apart", VMs: []string{lab.VMName("hou", 0), lab.VMName("hou", 1)}},
		{Cluster: "hou", Name: "licensed", Kind: "on", Mandatory: true, VMs: []string{lab.VMName("hou", 2)}, Hosts: []string{"hou-esx08.lab"}},
	}
	bubble(t, cfg, func(t *testing.T, _ *lab.Lab, r *rig) {
		inv := r.until(t, func(engine.Observation) bool { return true }).Inventory
		validate(t, inv)
		h := map[string]*engine.Host{}
		for i := range inv.Hosts {
			h[inv.Hosts[i].Name] = &inv.Hosts[i]
		}
		for name, ok := range map[string]bool{
			"maintenance":   h["hou-esx01.lab"].Maintenance && !h["hou-esx01.lab"].Ready() && h["hou-esx01.lab"].Mark == "",
			"standby":       h["hou-esx02.lab"].Power == engine.HostStandby && h["hou-esx02.lab"].Seen() && h["hou-esx02.lab"].PowerW == engine.Unknown,
			"usb":           h["hou-esx03.lab"].USB,
			"vsan":          h["hou-esx04.lab"].VSANData,
			"no vmotion":    !h["hou-esx05.lab"].VMotion,
			"disconnected":  !h["hou-esx06.lab"].Connected && !h["hou-esx06.lab"].Seen(),
			"no wake":       !h["hou-esx07.lab"].Standby,
			"plain":         h["hou-esx08.lab"].Ready() && h["hou-esx08.lab"].VMotion && h["hou-esx08.lab"].Standby && !h["hou-esx08.lab"].USB && !h["hou-esx08.lab"].VSANData,
			"plain numbers": h["hou-esx08.lab"].CPUMHz == 32*2400 && h["hou-esx08.lab"].Threads == 64 && h["hou-esx08.lab"].MemoryMiB == 512<<10 && h["hou-esx08.lab"].NICMbps == 10_000,
			"plain load":    h["hou-esx08.lab"].Seen() && h["hou-esx08.lab"].PowerW > 100 && h["hou-esx08.lab"].LoadAt > 0,
			"plain reach":   len(h["hou-esx08.lab"].Datastores) == 2 && len(h["hou-esx08.lab"].Networks) == 2,
		} {
			if !ok {
				t.Errorf("%s is not read", name)
			}
		}
		c := inv.Clusters[0]
		if c.DRS != engine.DRSFull || !c.HA.Admission || c.HA.HostFailures != 1 || c.EVC != "intel-skylake" || c.DPM || c.Lone {
			t.Errorf("cluster: %+v", c)
		}
		if len(inv.Rules) != 2 || inv.Rules[0].Kind != engine.RuleApart || len(inv.Rules[0].VMs) != 2 || inv.Rules[1].Kind != engine.RuleOn || !inv.Rules[1].Mandatory || len(inv.Rules[1].Hosts) != 1 || len(inv.Rules[1].VMs) != 1 {
			t.Errorf("rules: %+v", inv.Rules)
		}
		n := inv.Networks[0]
		if !n.Distributed || n.Switch == "" || n.Key == "" {
			t.Errorf("network: %+v", n)
		}
	})
}

// mover is a session with the account that may change things, of user mover@lab.
func mover(t *testing.T, l *lab.Lab) *vsphere.Conn {
	t.Helper()
	e := l.Endpoints()[0]
	a := vsphere.Account{Username: e.Accounts[1].Username, PasswordFile: "-"}
	s, err := vsphere.Dial(t.Context(), vsphere.Config{Name: e.Name, URL: e.URL, Thumbprint: e.Thumbprint}, &a, vsphere.Options{
		DialContext: l.Dial, Password: func(vsphere.Account) (vsphere.Secret, error) { return vsphere.NewSecret(e.Accounts[1].Password), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c, err := s.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// relocate starts a move of a VM to another host.
func relocate(t *testing.T, c *vsphere.Conn, v *engine.VM, to engine.HostID) {
	t.Helper()
	_, moid := engine.SplitRef(to)
	host := types.ManagedObjectReference{Type: "HostSystem", Value: moid}
	_, err := methods.RelocateVM_Task(t.Context(), c, &types.RelocateVM_Task{
		This: types.ManagedObjectReference{Type: "VirtualMachine", Value: v.Moid}, Spec: types.VirtualMachineRelocateSpec{Host: &host},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func named(o engine.Observation, name string) *engine.VM {
	i := slices.IndexFunc(o.Inventory.VMs, func(v engine.VM) bool { return v.Name == name })
	return &o.Inventory.VMs[i]
}

// TestFollows sees a move by somebody else: the task while it runs, a wake-up
// when it is over, and none for loads.
func TestFollows(t *testing.T) {
	bubble(t, labConfig(), func(t *testing.T, l *lab.Lab, r *rig) {
		before := r.until(t, func(engine.Observation) bool { return true })
		time.Sleep(10 * time.Minute) // loads change every minute
		for len(r.woken) > 0 {
			if why := <-r.woken; time.Since(before.At.Time()) > time.Minute {
				t.Errorf("woken for loads: %s", why)
			}
		}
		after := r.until(t, func(engine.Observation) bool { return true })
		if after.At <= before.At || &before.Inventory.VMs[0] == &after.Inventory.VMs[0] {
			t.Errorf("observed at %v, then at %v", before.At, after.At)
		}

		name := lab.VMName("hou", 0)
		to := slices.IndexFunc(after.Inventory.Hosts, func(h engine.Host) bool { return h.Name == "hou-esx03.lab" })
		r.source.cfg.Movers = nil
		relocate(t, mover(t, l), named(after, name), after.Inventory.Hosts[to].ID)
		r.until(t, func(o engine.Observation) bool { return named(o, name).Task == "VirtualMachine.relocate" })
		r.source.cfg.Movers = []string{"LAB\\mover"}
		if o := r.until(t, func(engine.Observation) bool { return true }); named(o, name).Task != "" {
			t.Error("our own task is taken for that of another")
		}
		r.until(t, func(o engine.Observation) bool { return named(o, name).Host == int32(to) })
	})
}

// TestResync loses the session, and with it every view and collector.
func TestResync(t *testing.T) {
	bubble(t, labConfig(), func(t *testing.T, l *lab.Lab, r *rig) {
		o := r.until(t, func(engine.Observation) bool { return true })
		first, err := r.source.session.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := mover(t, l)
		if _, err := methods.TerminateSession(t.Context(), c, &types.TerminateSession{This: *c.ServiceContent.SessionManager, SessionId: []string{first.Key}}); err != nil {
			t.Fatal(err)
		}
		to := slices.IndexFunc(o.Inventory.Hosts, func(h engine.Host) bool { return h.Name == "hou-esx03.lab" })
		relocate(t, c, named(o, lab.VMName("hou", 0)), o.Inventory.Hosts[to].ID)
		last := r.until(t, func(o engine.Observation) bool { return named(o, lab.VMName("hou", 0)).Host == int32(to) })
		if second, err := r.source.session.Conn(t.Context()); err != nil || second.Gen != first.Gen+1 {
			t.Errorf("generation %d after %d, %v", second.Gen, first.Gen, err)
		}
		validate(t, last.Inventory)
		for _, g := range last.Gaps {
			t.Errorf("gap after the resync: %+v", g)
		}
	})
}

// TestBlind keeps answering while the vCenter is away, and says since when it is blind.
func TestBlind(t *testing.T) {
	bubble(t, labConfig(), func(t *testing.T, l *lab.Lab, r *rig) {
		before := r.until(t, func(engine.Observation) bool { return true })
		l.SetFaults(func(lab.Call) lab.Fault { return lab.Fault{Lose: true} })
		time.Sleep(10 * time.Minute)
		o := r.until(t, func(engine.Observation) bool { return true })
		if o.At > before.At+120 {
			t.Errorf("claims to have seen the topology at %v", o.At)
		}
		if h := &o.Inventory.Hosts[0]; h.Seen() || h.LoadAt != 0 || h.PowerW != engine.Unknown {
			t.Errorf("host: %+v", h)
		}
		if len(o.Gaps) < 2 {
			t.Errorf("gaps: %+v", o.Gaps)
		}
		l.SetFaults(nil)
		r.until(t, func(o engine.Observation) bool { return len(o.Gaps) == 0 && o.Inventory.Hosts[0].Seen() })
	})
}

// TestMark reads what the actuator writes on a host that it put away.
func TestMark(t *testing.T) {
	bubble(t, labConfig(), func(t *testing.T, l *lab.Lab, r *rig) {
		o := r.until(t, func(engine.Observation) bool { return true })
		c := mover(t, l)
		m := *c.ServiceContent.CustomFieldsManager
		def, err := methods.AddCustomFieldDef(t.Context(), c, &types.AddCustomFieldDef{This: m, Name: markField, MoType: "HostSystem"})
		if err != nil {
			t.Fatal(err)
		}
		_, moid := engine.SplitRef(o.Inventory.Hosts[1].ID)
		for _, want := range []string{"standby c7-1", ""} {
			_, err = methods.SetField(t.Context(), c, &types.SetField{
				This: m, Entity: types.ManagedObjectReference{Type: "HostSystem", Value: moid}, Key: def.Returnval.Key, Value: want,
			})
			if err != nil {
				t.Fatal(err)
			}
			r.until(t, func(o engine.Observation) bool { return o.Inventory.Hosts[1].Mark == want })
		}
	})
}

// TestTagsUnread: a VM whose tags cannot be read may be pinned, so it stays.
func TestTagsUnread(t *testing.T) {
	bubble(t, labConfig(), func(t *testing.T, l *lab.Lab, r *rig) {
		refuse := func(c lab.Call) lab.Fault {
			if strings.HasPrefix(c.Path, "/rest") {
				return lab.Fault{Refuse: 503}
			}
			return lab.Fault{}
		}
		l.SetFaults(refuse)
		o := r.until(t, func(engine.Observation) bool { return true })
		if v := &o.Inventory.VMs[0]; v.Mode != engine.Enforce {
			t.Errorf("tags read a moment ago are forgotten: %+v", v)
		}
		delete(r.source.tags.byVM, o.Inventory.VMs[0].Moid) // as of a VM that has just come
		r.source.tags.version++
		o = r.until(t, func(engine.Observation) bool { return true })
		if v := &o.Inventory.VMs[0]; v.Mode != engine.Off || !gapOn(o, "vm", string(v.ID)) {
			t.Errorf("a VM whose tags are unread: %s, %+v", v.Mode, o.Gaps)
		}
		if !gapOn(o, "feed", r.source.Name()) || gapOn(o, "vcenter", string(o.Inventory.VCenter.ID)) {
			t.Errorf("gaps while tags are merely old: %+v", o.Gaps)
		}
		time.Sleep(tagsStale)
		if o = r.until(t, func(engine.Observation) bool { return true }); !gapOn(o, "vcenter", string(o.Inventory.VCenter.ID)) {
			t.Errorf("gaps when tags are too old: %+v", o.Gaps)
		}
		l.SetFaults(nil)
		r.until(t, func(o engine.Observation) bool { return len(o.Gaps) == 0 && o.Inventory.VMs[0].Mode == engine.Enforce })
	})
}

func gapOn(o engine.Observation, kind, id string) bool {
	return slices.ContainsFunc(o.Gaps, func(g engine.Gap) bool { return g.Subject == engine.Subject{Kind: kind, ID: id} })
}
