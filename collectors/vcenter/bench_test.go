package vcenter

import (
	"context"
	"testing"

	"heliostat/engine"
	"heliostat/lab"
	"heliostat/vsphere"
)

// large is a source on a lab of 64 hosts and 4,000 VMs, over TLS in memory.
func large(b *testing.B) *rig {
	b.Helper()
	cfg := labConfig()
	c := &cfg.Sites[0].Clusters[0]
	c.Hosts, c.VMs, c.MemGiB = 64, 4000, 4096
	for i := range cfg.Sites[0].Datastores {
		cfg.Sites[0].Datastores[i].GiB = 1 << 20
	}
	l, err := lab.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	l.ServePipe(ctx)
	b.Cleanup(func() { cancel(); l.Close() })
	e := l.Endpoints()[0]
	vc := vsphere.Config{Name: e.Name, URL: e.URL, Reader: &vsphere.Account{Username: e.Username, PasswordFile: "-"}, Thumbprint: e.Thumbprint}
	s, err := vsphere.Dial(ctx, vc, vc.Reader, vsphere.Options{
		DialContext: l.Dial, Password: func(vsphere.Account) (vsphere.Secret, error) { return vsphere.NewSecret(e.Password), nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	r := &rig{woken: make(chan string, 1), every: 100e6, source: New(Config{}, s)}
	r.run(b)
	return r
}

// BenchmarkObserve is a poll of all loads, server's work included.
func BenchmarkObserve(b *testing.B) {
	r := large(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.source.Observe(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConvert is the conversion of a changed topology.
func BenchmarkConvert(b *testing.B) {
	r := large(b)
	conn, err := r.source.session.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var inv *inventory
	b.ReportAllocs()
	for b.Loop() {
		r.source.mu.Lock()
		inv = r.source.convert(conn, buildKey{})
		r.source.mu.Unlock()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(inv.inv.VMs)), "ns/VM")
}

// BenchmarkOverlay is what an observation copies when nothing has changed.
func BenchmarkOverlay(b *testing.B) {
	r := large(b)
	var inv *engine.Inventory
	b.ReportAllocs()
	for b.Loop() {
		inv = r.source.built.overlay()
	}
	_ = inv
}
