package access

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/lab"
	"heliostat/vsphere"
)

// Every privilege is for a feature that says what fails without it, every feature
// is somebody's, and the commands make each role with what it includes.
func TestRoles(t *testing.T) {
	l := read()
	used := map[string]bool{}
	for _, r := range l.Roles {
		for _, p := range l.needed(r.Name) {
			used[p.For] = true
			if l.Features[p.For].Effect == "" {
				t.Errorf("%s: %s is for %q, of which nothing is said", r.Name, p.ID, p.For)
			}
			if slices.Contains(l.Never, p.ID) {
				t.Errorf("%s needs %s, which no account needs", r.Name, p.ID)
			}
		}
	}
	for name, f := range l.Features {
		if !used[name] || !slices.Contains(stops, f.Stops) {
			t.Errorf("feature %s: used %t, stops %q", name, used[name], f.Stops)
		}
	}
	var b strings.Builder
	if err := WriteCommands(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"govc role.create heliostat-reader System.Anonymous System.Read System.View StorageProfile.View\n",
		"-principal heliostat-mover@vsphere.local -role heliostat-mover -propagate=true /\n",
		" Global.ManageCustomFields Host.Config.Maintenance\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if args := strings.Fields(line); strings.HasPrefix(line, "govc role.create") && len(slices.Compact(slices.Sorted(slices.Values(args)))) != len(args) {
			t.Errorf("a privilege twice: %s", line)
		}
	}
}

// The manual's table is this list.
func TestManual(t *testing.T) {
	b, err := os.ReadFile("../../docs/operators.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), Table()) {
		t.Errorf("docs/operators.md lacks this table:\n%s", Table())
	}
}

// site is a lab with one vCenter, at which these accounts may log in.
func site(accounts ...lab.Account) lab.Config {
	return lab.Config{
		Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Accounts: accounts,
		Sites: []lab.SiteConfig{{
			Name: "fra", TimeZone: "UTC", Segments: []string{"app"}, Datastores: []lab.DatastoreConfig{{Name: "ds", GiB: 100}},
			Clusters: []lab.ClusterConfig{{Name: "fra-a", Hosts: 2, CoresPerHost: 8, MHzPerCore: 2000, MemGiB: 64, VMs: 2}},
		}},
	}
}

func TestCheck(t *testing.T) {
	var move []string
	for _, p := range read().needed("mover") {
		move = append(move, p.ID)
	}
	without := func(id string) []string {
		return slices.DeleteFunc(slices.Clone(move), func(x string) bool { return x == id })
	}
	for name, c := range map[string]struct {
		account lab.Account
		roles   []string
		want    string // lacks, then excess
	}{
		"a reader that is one":      {lab.Account{Role: lab.RoleReader}, []string{"reader"}, "|"},
		"a reader without policies": {lab.Account{Role: lab.RoleReader, Privileges: []string{}}, []string{"reader"}, "storage_policies none StorageProfile.View|"},
		"a reader that is to move":  {lab.Account{Role: lab.RoleReader, Privileges: without("Resource.HotMigrate")}, []string{"mover"}, "move all Resource.HotMigrate|"},
		"a mover alone":             {lab.Account{Role: lab.RoleMover, Privileges: move}, []string{"mover", "power"}, "power hosts Host.Config.Maintenance|"},
		"no marks, no host actions": {lab.Account{Role: lab.RoleMover, Privileges: append(without("Global.SetCustomField"), "Host.Config.Maintenance")}, []string{"mover", "power"}, "power hosts Global.SetCustomField, tell none Global.SetCustomField|"},
		"the lab's mover":           {lab.Account{Role: lab.RoleMover}, []string{"mover", "power", "receiver", "fencer"}, "|"},
		"the lab's power":           {lab.Account{Role: lab.RolePower}, []string{"power"}, "|"},
		"a power that is to move":   {lab.Account{Role: lab.RolePower}, []string{"power", "fencer"}, "fence none Sessions.TerminateSession|"},
		"an administrator":          {lab.Account{Role: lab.RoleMover, Privileges: []string{"*"}}, []string{"mover"}, "|" + strings.Join(read().Never, " ")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.account.Username, c.account.Password = "someone", "secret"
				l, err := lab.New(site(c.account))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				l.ServePipe(t.Context())
				e := l.Endpoints()[0]
				s, err := vsphere.Dial(t.Context(), vsphere.Config{Name: e.Name, URL: e.URL, Thumbprint: e.Thumbprint}, &vsphere.Account{Username: "someone"},
					vsphere.Options{DialContext: l.Dial, Password: func(vsphere.Account) (vsphere.Secret, error) { return vsphere.NewSecret("secret"), nil }})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = s.Close() }()
				conn, err := s.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				r, err := Check(t.Context(), conn, c.roles...)
				if err != nil {
					t.Fatal(err)
				}
				var lacks []string
				for _, x := range r.Lacks {
					lacks = append(lacks, x.Name+" "+string(x.Stops)+" "+strings.Join(x.Privileges, " "))
				}
				if got := strings.Join(lacks, ", ") + "|" + strings.Join(r.Excess, " "); got != c.want || r.User != "someone" {
					t.Errorf("%s: got %q, want %q", r.User, got, c.want)
				}
			})
		})
	}
}
