package lab

import "time"

// DemoConfig is the lab of the demonstration: Houston, Frankfurt and Tokyo,
// nine hosts each, at the round trips of the real world. Frankfurt to Tokyo is
// beyond what vMotion supports. Any two sites have room for the VMs of all three.
func DemoConfig(seed uint64) Config {
	cluster := func(name string, hosts, vms int) ClusterConfig {
		return ClusterConfig{
			Name: name, Hosts: hosts, CoresPerHost: 24, MHzPerCore: 2600, MemGiB: 256, DRS: "partial", CPULevel: 6, EVC: 5,
			HAAdmission: true, HAFailures: 1, IdleW: 180, MaxW: 420, VMs: vms,
		}
	}
	stores := func(site string) (out []DatastoreConfig) {
		for _, n := range []string{"1", "2", "3", "4"} {
			out = append(out, DatastoreConfig{Name: site + "-ds" + n, GiB: 12 << 10})
		}
		return out
	}
	segments := []string{"prod-10", "prod-20", "dmz-30"}
	c := Config{
		Seed: seed, Linked: true,
		Sites: []SiteConfig{
			{
				Name: "houston", Lat: 29.76, Lon: -95.37, Region: "us", TimeZone: "America/Chicago", PUE: 1.45, EURPerKWh: 0.078, GramPerKWh: 370,
				Clusters: []ClusterConfig{cluster("hou-a", 5, 46), cluster("hou-b", 4, 36)}, Datastores: stores("hou"), Segments: segments,
			},
			{
				Name: "frankfurt", Lat: 50.11, Lon: 8.68, Region: "eu", TimeZone: "Europe/Berlin", PUE: 1.3, EURPerKWh: 0.19, GramPerKWh: 350,
				Clusters: []ClusterConfig{cluster("fra-a", 9, 82)}, Datastores: stores("fra"), Segments: segments,
			},
			{
				Name: "tokyo", Lat: 35.68, Lon: 139.69, Region: "jp", TimeZone: "Asia/Tokyo", PUE: 1.4, EURPerKWh: 0.14, GramPerKWh: 460,
				Clusters: []ClusterConfig{cluster("tyo-a", 5, 46), cluster("tyo-b", 4, 36)}, Datastores: stores("tyo"), Segments: segments,
			},
		},
		Links: []LinkConfig{
			{A: "houston", B: "tokyo", RTT: 143 * time.Millisecond, Mbps: 10_000},
			{A: "houston", B: "frankfurt", RTT: 123 * time.Millisecond, Mbps: 10_000},
			{A: "frankfurt", B: "tokyo", RTT: 229 * time.Millisecond, Mbps: 10_000},
		},
	}
	c.addDemoRules()
	c.addDemoFixtures()
	return c
}

// addDemoRules keeps pairs of databases and of web servers apart.
func (c *Config) addDemoRules() {
	for _, name := range []string{"hou-a", "hou-b", "fra-a", "tyo-a", "tyo-b"} {
		c.Rules = append(c.Rules,
			RuleConfig{Cluster: name, Name: name + " databases apart", Kind: "apart", VMs: []string{VMName(name, 2), VMName(name, 10)}},
			RuleConfig{Cluster: name, Name: name + " web apart", Kind: "apart", VMs: []string{VMName(name, 0), VMName(name, 8), VMName(name, 16)}})
	}
}

// addDemoFixtures adds the VMs that bind a planner: a few of each site.
func (c *Config) addDemoFixtures() {
	vm := func(cluster string, n int, fixture, value string) {
		c.Fixtures = append(c.Fixtures, FixtureConfig{Name: fixture, VM: VMName(cluster, n), Value: value})
	}
	for _, k := range []string{"hou-a", "fra-a", "tyo-a"} {
		vm(k, 6, "passthrough", "")
		vm(k, 18, "big_disk", "512")
		vm(k, 26, "big_disk", "768")
		vm(k, 12, "pinned", "")
		vm(k, 20, "disk_snapshot", "")
		vm(k, 30, "powered_off", "")
		vm(k, 31, "template", "")
	}
	for _, n := range []int{3, 11, 19, 27, 35} {
		vm("fra-a", n, "tag", "residency:eu")
	}
	vm("hou-b", 4, "usb", "")
	vm("tyo-b", 4, "client_cd", "")
	vm("fra-a", 44, "latency_high", "")
	vm("fra-a", 45, "advise", "")
	c.addDemoTags()
}

// addDemoTags lets the owners of half the VMs agree to moves across vCenters.
func (c *Config) addDemoTags() {
	for i := range c.Sites {
		for _, k := range c.Sites[i].Clusters {
			for n := range k.VMs {
				if n%2 == 0 {
					c.Fixtures = append(c.Fixtures, FixtureConfig{Name: "tag", VM: VMName(k.Name, n), Value: "heliostat:across"})
				}
			}
		}
	}
}
