// Package access knows what each of the daemon's accounts must be allowed to do
// in vCenter and no more, tells an administrator how to grant it, and asks a
// vCenter whether it is so.
package access

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

//go:embed roles.yaml
var file []byte

// A Stop is how much is not started at a vCenter.
type Stop string

// The stops.
const (
	StopNone  Stop = "none"
	StopHosts Stop = "hosts" // nothing that changes a host's state
	StopAll   Stop = "all"
)

// stops are all of them, from least to most.
var stops = []Stop{StopNone, StopHosts, StopAll}

// A Feature is what privileges are for.
type Feature struct {
	Name   string `yaml:"-"`
	Effect string `yaml:"effect"` // of a privilege that is missing
	Stops  Stop   `yaml:"stops"`  // likewise
}

// A Privilege is vCenter's name of a right, and the name of the feature that needs it.
type Privilege struct {
	ID  string `yaml:"id"`
	For string `yaml:"for"`
}

// A Role is what one kind of account needs.
type Role struct {
	Name       string      `yaml:"name"`
	Does       string      `yaml:"does"`
	Where      string      `yaml:"where"`
	Includes   []string    `yaml:"includes"`
	Privileges []Privilege `yaml:"privileges"` // its own
}

// list is roles.yaml.
type list struct {
	Roles    []Role             `yaml:"roles"`
	Features map[string]Feature `yaml:"features"`
	Never    []string           `yaml:"never"`
}

// read decodes the embedded file, which a test has read before.
func read() *list {
	l := &list{}
	if err := yaml.Load(file, l, yaml.WithKnownFields()); err != nil {
		panic(fmt.Sprintf("access: roles.yaml: %v", err))
	}
	return l
}

// Roles are all roles, in the order of the file.
func Roles() []Role { return read().Roles }

// needed are the role's privileges with those that it includes, each once.
func (l *list) needed(name string) []Privilege {
	var out []Privilege
	i := slices.IndexFunc(l.Roles, func(r Role) bool { return r.Name == name })
	if i < 0 {
		panic("access: there is no role " + name)
	}
	for _, other := range l.Roles[i].Includes {
		out = append(out, l.needed(other)...)
	}
	for _, p := range l.Roles[i].Privileges {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// ids are the names of privileges, each once.
func ids(privileges []Privilege) (out []string) {
	for _, p := range privileges {
		if !slices.Contains(out, p.ID) {
			out = append(out, p.ID)
		}
	}
	return out
}

// WriteCommands writes a shell script that makes the roles, by means of govc.
func WriteCommands(w io.Writer) error {
	l := read()
	var b bytes.Buffer
	b.WriteString("# Roles for Heliostat, at each vCenter. GOVC_URL, GOVC_USERNAME and GOVC_PASSWORD name it and an administrator.\n")
	for i := range l.Roles {
		r := &l.Roles[i]
		fmt.Fprintf(&b, "\n# %s: %s\ngovc role.create heliostat-%s %s\n", r.Name, r.Does, r.Name, strings.Join(ids(l.needed(r.Name)), " "))
		if strings.Contains(r.Where, "root") {
			fmt.Fprintf(&b, "govc permissions.set -principal heliostat-%s@vsphere.local -role heliostat-%s -propagate=true /\n", r.Name, r.Name)
		} else {
			fmt.Fprintf(&b, "# Grant it %s:\n# govc permissions.set -principal ACCOUNT -role heliostat-%s -propagate=true /DATACENTER/...\n", r.Where, r.Name)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Table is the roles as a table in Markdown, for the manual.
func Table() string {
	var b strings.Builder
	b.WriteString("| role | what it does | granted | privileges |\n| --- | --- | --- | --- |\n")
	for _, r := range Roles() {
		own := make([]string, 0, len(r.Privileges))
		for _, id := range ids(r.Privileges) {
			own = append(own, "`"+id+"`")
		}
		if len(r.Includes) > 0 {
			own = append([]string{"those of " + strings.Join(r.Includes, " and ")}, own...)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Name, r.Does, r.Where, strings.Join(own, ", "))
	}
	return b.String()
}
