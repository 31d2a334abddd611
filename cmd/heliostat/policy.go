package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/policy"
	"heliostat/rego"
)

func newPolicy(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Write, check and test policies without a daemon, and see which are in force",
		Long: `Most commands below work on a folder of policies, the current one unless it is named.
The folder is laid over the policies that ship, as the daemon does with policy.dir.
They are fit for a build server: the exit code is 0 when all is well and 1 when not,
and --format gives text, json, junit or github.`,
		Example: `  heliostat policy new month_end --rule pin --dir policies
  heliostat policy check policies && heliostat policy lint policies
  heliostat policy test policies --coverage --threshold 90`,
	}
	cmd.AddCommand(newPolicyReplay(g), newPolicyDiff(g), newPolicyCompare(g), newPolicyFixture(g), newPolicyRepl(g))
	cmd.AddCommand(newPolicyNew(), limited(newPolicyCheck(g)), limited(newPolicyLint(g)), limited(newPolicyTest(g)), newPolicyFmt(), limited(newPolicyDocs(g)), newPolicySchema(),
		newPolicyRevisions(g), newPolicyRollback(g), newPolicyApprove(g), newPolicyExamine())
	return cmd
}

// limited ends a command that compiles policies when its time is over: Rego's compiler
// cannot be interrupted. The daemon ends its check of an edit after the same time.
func limited(cmd *cobra.Command) *cobra.Command {
	var limit time.Duration
	cmd.Flags().DurationVar(&limit, "time-limit", policy.DefaultConfig().Validation.Time, "end after this time")
	work := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), limit, fmt.Errorf("has not ended within %v (--time-limit); the daemon refuses an edit that takes longer than policy.validate.time: write rules of fewer terms, and long tables as data", limit))
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- work(cmd, args) }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done(): // the process ends, and the work with it
			return context.Cause(ctx)
		}
	}
	return cmd
}

// draft reads the folder that the arguments name.
func draft(args []string) (*policy.Draft, error) {
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}
	return policy.ReadDraft(rego.FS, dir)
}

func newPolicyNew() *cobra.Command {
	var dir, rule string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a first policy, with a test and parameters",
		Long:  "New writes a policy with one rule, its test and its parameters into a folder. It works\nfrom its first second on: change it from there. Rules: " + strings.Join(policy.Templates(), ", ") + ".",
		Example: `  heliostat policy new month_end --rule pin --dir policies
  heliostat policy test policies`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			wrote, err := policy.New(dir, args[0], rule)
			for _, f := range wrote {
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "folder of the policies")
	cmd.Flags().StringVar(&rule, "rule", "pin", "the rule: "+strings.Join(policy.Templates(), ", "))
	completed(cmd, "rule", policy.Templates()...)
	return cmd
}

func newPolicyCheck(g *globals) *cobra.Command {
	var out faultPrinter
	cmd := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Compile policies against the contract, and say all that is wrong",
		Long: `Check compiles strictly, as the daemon would: syntax, types of all that rules read
and say, parameters against their schema, built-ins, annotations, scopes.`,
		Example: "  heliostat policy check policies\n  heliostat policy check policies --format github",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := draft(args)
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), g, "check", d.Files(), d.Check(cmd.Context()))
		},
	}
	out.flags(cmd)
	return cmd
}

func newPolicyLint(g *globals) *cobra.Command {
	var out faultPrinter
	var about strings.Builder
	for _, l := range policy.Lints() {
		kind := "error"
		if l.Warning {
			kind = "warning"
		}
		fmt.Fprintf(&about, "\n  %-20s %-8s %s.", l.Name, kind, l.About)
	}
	cmd := &cobra.Command{
		Use:   "lint [DIR]",
		Short: "Find what compiles and is seldom meant",
		Long: `Lint finds what compiles and is seldom meant. Warnings alone leave the exit code 0,
unless --strict is given. The comment "heliostat ignore:NAME" on the line or the one
before silences a lint there.
` + about.String(),
		Example: "  heliostat policy lint policies --strict",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := draft(args)
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), g, "lint", d.Files(), d.Lint(cmd.Context()))
		},
	}
	out.flags(cmd)
	cmd.Flags().BoolVar(&out.strict, "strict", false, "fail on warnings too")
	return cmd
}

func newPolicyFmt() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:     "fmt [DIR]",
		Short:   "Format policies in place, and name those that changed",
		Example: "  heliostat policy fmt policies\n  heliostat policy fmt --check policies    # for a build server",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := draft(args)
			if err != nil {
				return err
			}
			files, err := d.Format()
			if err != nil {
				return err
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			for _, f := range files {
				path := filepath.Join(dir, f.Name)
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), path)
				if check {
					continue
				}
				info, err := os.Stat(path)
				if err != nil {
					return err
				}
				if err := os.WriteFile(path, f.Text, info.Mode().Perm()); err != nil {
					return err
				}
			}
			if check && len(files) > 0 {
				return fmt.Errorf("%d of %s not formatted: run heliostat policy fmt %s", len(files), engine.Count(len(d.Files()), "file"), dir)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "change nothing, and fail if something would change")
	return cmd
}

func newPolicyDocs(g *globals) *cobra.Command {
	var shipped bool
	var out string
	cmd := &cobra.Command{
		Use:   "docs [DIR]",
		Short: "Write a page for each policy, from its annotations and parameters",
		Example: `  heliostat policy docs policies
  heliostat policy docs policies --out pages
  heliostat policy docs --shipped dpm`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			read, only := draft, ""
			if shipped {
				if len(args) > 0 {
					only = args[0]
				}
				read = func([]string) (*policy.Draft, error) { return policy.Shipped(rego.FS), nil }
			}
			d, err := read(args)
			if err != nil {
				return err
			}
			pages, err := d.Pages(cmd.Context())
			if err != nil {
				return err
			}
			if only != "" {
				pages = pagesOf(pages, only)
				if len(pages) == 0 {
					return fmt.Errorf("no policy %q ships: one of %s", only, strings.Join(d.Policies(), ", "))
				}
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), pages)
			}
			return writePages(cmd.OutOrStdout(), pages, out)
		},
	}
	cmd.Flags().BoolVar(&shipped, "shipped", false, "of the policies that ship, or of the one named")
	cmd.Flags().StringVar(&out, "out", "", "write NAME.md files into this folder instead of printing them")
	return cmd
}

func pagesOf(pages []policy.Page, name string) []policy.Page {
	for i := range pages {
		if pages[i].Policy == name {
			return pages[i : i+1]
		}
	}
	return nil
}

func writePages(w io.Writer, pages []policy.Page, dir string) error {
	for i := range pages {
		if dir == "" {
			if i > 0 {
				_, _ = fmt.Fprintln(w)
			}
			if _, err := io.WriteString(w, pages[i].Markdown()); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		path := filepath.Join(dir, pages[i].Policy+".md")
		if err := os.WriteFile(path, []byte(pages[i].Markdown()), 0o640); err != nil { //nolint:gosec // pages are for people to read
			return err
		}
		_, _ = fmt.Fprintln(w, path)
	}
	return nil
}

// schemas are the files that describe the contract, by their names.
var schemas = []struct {
	name, file, about string
	read              func() ([]byte, error)
}{
	{"input", "schemas/input.json", "what a rule sees in input", func() ([]byte, error) { return policy.InputSchema, nil }},
	{"fleet", "schemas/fleet.json", "what every rule sees in data.fleet", func() ([]byte, error) { return policy.FleetSchema, nil }},
	{"output", "schemas/output.json", "what rules say", policy.OutputSchema},
	{"contract", "placement/placement.rego", "the root of the contract, which tells opa and regal what is typed by which schema", func() ([]byte, error) { return rego.FS.ReadFile("placement/placement.rego") }},
	{"capabilities", "capabilities.json", "the built-ins that policies may call, as opa and regal read it", policy.CapabilitiesJSON},
}

func newPolicySchema() *cobra.Command {
	var out string
	var names, about []string
	for _, s := range schemas {
		names = append(names, s.name)
		about = append(about, fmt.Sprintf("  %-13s %s", s.name, s.about))
	}
	cmd := &cobra.Command{
		Use:   "schema [" + strings.Join(names, "|") + "]",
		Short: "Print what policies see and say, as JSON schemas",
		Long: "Schema prints one of these, or writes them all for an editor:\n\n" + strings.Join(about, "\n") + `

With the files written, Rego's own tools check policies as the daemon does:

  opa check --strict --schema schemas --capabilities capabilities.json placement`,
		Example:   "  heliostat policy schema input\n  heliostat policy schema --out policies",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (out == "") {
				return codeError{exitUsage, errors.New("give one of " + strings.Join(names, ", ") + ", or --out DIR")}
			}
			for _, s := range schemas {
				if out == "" && s.name != args[0] {
					continue
				}
				text, err := s.read()
				if err != nil {
					return err
				}
				if out == "" {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", strings.TrimRight(string(text), "\n"))
					return err
				}
				path := filepath.Join(out, filepath.FromSlash(s.file))
				if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
					return err
				}
				if err := os.WriteFile(path, text, 0o640); err != nil { //nolint:gosec // nothing in it is secret
					return err
				}
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write all of them into this folder")
	return cmd
}
