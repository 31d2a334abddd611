package vcenter

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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
		r := &rig{woken: make(chan string, 1000)}
		r.source = New(Config{Movers: []string{"mover@lab"}, Power: []PowerModel{{Match: "Lab R1", IdleW: 150, MaxW: 400}}, Wake: func(why string) { r.woken <- why }}, s)
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
			"plain numbers": h["hou-esx08.lab"].CPUMHz == 32*2400 && h["hou-esx08.lab"].Threads == 64 && h["hou-esx08.lab"].MemoryMiB == 512<<10 && h["hou-esx08.lab"].NICMbps == 10_000 && h["hou-esx08.lab"].IdleW == 150,
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
