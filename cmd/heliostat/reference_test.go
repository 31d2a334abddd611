package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A row is a line of a table in the reference: what it names, and the flags there.
type row struct {
	names, flags []string
}

var (
	flagName = regexp.MustCompile("(?:^|[ `])(--?[a-z][a-z-]*)")
	plain    = regexp.MustCompile(`^[a-z/-]+$`)
)

// rows reads the tables under a heading of the reference.
func rows(t *testing.T, heading string) (all []row) {
	t.Helper()
	text, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/reference.md has no section %s", heading)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	for line := range strings.Lines(part) {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "/"), "|")
		if len(cells) < 4 || !strings.HasPrefix(cells[1], " `") || strings.HasPrefix(cells[1], " `-") {
			continue
		}
		// What is typed in place of a word begins with a capital, and kinds of objects with "vm".
		var words []string
		for w := range strings.FieldsSeq(strings.Trim(cells[1], " `")) {
			if !plain.MatchString(w) || strings.HasPrefix(w, "-") || strings.HasPrefix(w, "vm") {
				break
			}
			words = append(words, w)
		}
		if len(words) == 0 {
			continue
		}
		var r row
		last := len(words) - 1
		for part := range strings.SplitSeq(words[last], "/") { // "policy check|lint" names two
			r.names = append(r.names, strings.Join(append(words[:last:last], part), " "))
		}
		for _, m := range flagName.FindAllStringSubmatch(cells[1]+cells[2], -1) {
			r.flags = append(r.flags, m[1])
		}
		all = append(all, r)
	}
	return all
}

// The reference names each command with its flags, and none that is not there.
func TestReferenceOfCommands(t *testing.T) {
	root := newRoot()
	root.InitDefaultCompletionCmd()
	missing := map[string]bool{}
	var gather func(c *cobra.Command)
	gather = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if gather(sub); !sub.Hidden && sub.Name() != "help" && (!sub.HasSubCommands() || sub.Name() == "plan") {
				missing[strings.TrimPrefix(sub.CommandPath(), "heliostat ")] = true
			}
		}
	}
	gather(root)
	for _, r := range rows(t, "Commands") {
		var has []string
		for _, name := range r.names {
			c, rest, err := root.Find(strings.Fields(name))
			if err != nil || len(rest) > 0 {
				t.Errorf("docs/reference.md names %q, which is no command", name)
				continue
			}
			delete(missing, name)
			check := func(f *pflag.Flag) {
				has = append(has, "--"+f.Name, "-"+f.Shorthand)
				named := slices.Contains(r.flags, "--"+f.Name) || slices.Contains(r.flags, "-"+f.Shorthand)
				if !named && root.PersistentFlags().Lookup(f.Name) == nil && !strings.HasPrefix(name, "completion") {
					t.Errorf("%s: docs/reference.md does not name --%s", name, f.Name)
				}
			}
			c.LocalFlags().VisitAll(check)
			c.InheritedFlags().VisitAll(check)
		}
		for _, f := range r.flags {
			if !slices.Contains(has, f) {
				t.Errorf("%s: there is no %s", r.names, f)
			}
		}
	}
	for name := range missing {
		t.Errorf("docs/reference.md does not name %q", name)
	}
}

// The reference has a line for each kind of entry, and no other.
func TestReferenceOfEntries(t *testing.T) {
	var said []string
	for _, r := range rows(t, "Journal") {
		said = append(said, r.names...)
	}
	slices.Sort(said)
	if want := slices.Sorted(slices.Values(entryKinds)); !slices.Equal(said, want) {
		t.Errorf("docs/reference.md has the kinds %v, the program %v", said, want)
	}
}
