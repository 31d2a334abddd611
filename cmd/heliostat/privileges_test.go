package main

import (
	"encoding/json"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/lab"
)

// accountsWith are a reader, and a mover of whom only these privileges are said.
func accountsWith(privileges ...string) []lab.Account {
	return []lab.Account{
		{Username: "reader@lab", Password: "reader", Role: lab.RoleReader},
		{Username: "mover@lab", Password: "mover", Role: lab.RoleMover, Privileges: privileges},
	}
}

// doctorSays runs doctor, which must find an error, and gives what is not well, by check.
func (r *rig) doctorSays(t *testing.T) map[string][]finding {
	t.Helper()
	stdout, stderr, code := heliostat(t, "doctor", "--json", "--config", r.config)
	var all findings
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != exitFailure {
		t.Fatalf("doctor: exit %d: %s %v", code, stderr, err)
	}
	bad := map[string][]finding{}
	for _, f := range all {
		if f.Grade != good {
			bad[f.Check] = append(bad[f.Check], f)
		}
	}
	return bad
}

// A mover that may not move is found by doctor; the daemon starts nothing, and says why.
func TestMissingPrivilegeStartsNothing(t *testing.T) {
	t.Parallel()
	r, _ := ownLab(t, accountsWith("StorageProfile.View", "Resource.ColdMigrate")...)
	r.withGather(t, "fra-a-web040")
	said := r.doctorSays(t)["privileges"]
	if len(said) == 0 || said[0].Grade != failing || !strings.Contains(said[0].What, "Resource.HotMigrate") || said[0].Advice == "" {
		t.Errorf("doctor: %+v", said)
	}
	r.run(t)
	r.daemon.log.find(t, `msg="rail bites" rail=privilege .*lacks Resource.HotMigrate`)
	eventually(t, "some cycles", func() bool { return r.status(t).Cycle >= 3 })
	if n := len(r.journal(t, engine.EntryIntent)); n != 0 {
		t.Errorf("%d actions were begun", n)
	}
	if out := r.ask(t, "status"); !strings.Contains(out, "HELD BACK: frankfurt: start actions held: the mover mover@lab lacks Resource.HotMigrate") {
		t.Errorf("status says\n%s", out)
	}
	if out := r.ask(t, "explain", "vm", "fra-a-web040"); !strings.Contains(out, "(privilege)") {
		t.Errorf("explain says\n%s", out)
	}
	r.daemon.interrupt(t)
}

// An administrator is reported, and acts nevertheless unless the configuration is strict.
func TestAdministratorIsRefusedWhereStrict(t *testing.T) {
	t.Parallel()
	r, _ := ownLab(t, accountsWith("*")...)
	r.withGather(t, "fra-a-web040")
	first := r.doctorSays(t)
	if clock := first["clock"]; len(clock) != 3 || clock[0].Grade != failing {
		t.Errorf("a clock that runs a hundred times too fast is not found: %+v", clock)
	}
	if said := first["privileges"]; len(said) != 3 || said[0].Grade != warning || !strings.Contains(said[0].What, "Authorization.ModifyPermissions") {
		t.Errorf("doctor: %+v", said)
	}
	r.edit(t, "    reader: {", "    strict: true\n    reader: {")
	if said := r.doctorSays(t)["privileges"]; len(said) != 3 || said[0].Grade != failing {
		t.Errorf("doctor, strict: %+v", said)
	}
	r.run(t)
	eventually(t, "some cycles", func() bool { return r.status(t).Cycle >= 3 })
	if n := len(r.journal(t, engine.EntryIntent)); n != 0 {
		t.Errorf("strict, and %d actions were begun", n)
	}
	r.daemon.interrupt(t)
	r.edit(t, "    strict: true\n", "")
	r.run(t)
	r.daemon.log.find(t, `msg="an account may do too much" .*Authorization.ModifyPermissions`)
	eventually(t, "the move ends", func() bool { return len(r.ended(t)) > 0 })
	r.daemon.interrupt(t)
}

// Each thing that doctor finds it names, with what helps.
func TestDoctorNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	r, l := ownLab(t, accountsWith("*")...)
	write(t, r.dir+"/mover.password", "wrong\n")
	r.edit(t, r.endpoints[0].Thumbprint, strings.Repeat("AB:", 31)+"AB", r.endpoints[1].URL, "https://127.0.0.1:9/sdk")
	write(t, r.dir+"/run-stop", "")
	r.edit(t, "run/stop", "run-stop")
	said := r.doctorSays(t)
	for check, want := range map[string]string{
		"login":  "is not the pinned one",
		"daemon": "the kill file is there",
		"state":  "is not there yet",
	} {
		if len(said[check]) == 0 || !strings.Contains(said[check][0].What, want) || said[check][0].Advice == "" {
			t.Errorf("%s: %+v, want %q", check, said[check], want)
		}
	}
	logins := map[string]string{} // advice by subject
	for _, f := range said["login"] {
		logins[f.Subject] = f.Advice
	}
	for subject, want := range map[string]string{r.endpoints[1].Name + " reader": "TCP 443", r.endpoints[2].Name + " mover": "password"} {
		if !strings.Contains(logins[subject], want) {
			t.Errorf("%s: %q, want %q", subject, logins[subject], want)
		}
	}
	l.Close()
	if out := must(t, "doctor", "--print-roles"); !strings.Contains(out, "govc role.create heliostat-power ") {
		t.Errorf("roles:\n%s", out)
	}
}
