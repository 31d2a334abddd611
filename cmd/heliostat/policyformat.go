package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/policy"
)

// formats are how findings can be written: for people, for programs, for build
// servers that read JUnit's XML, and as annotations of GitHub's.
var formats = []string{"text", "json", "junit", "github"}

// faultPrinter is the flags of commands that report findings.
type faultPrinter struct {
	format string
	strict bool // warnings fail too
}

func (o *faultPrinter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.format, "format", "text", strings.Join(formats, ", "))
	completed(cmd, "format", formats...)
}

func (o *faultPrinter) choose(g *globals) (string, error) {
	if !slices.Contains(formats, o.format) {
		return "", codeError{exitUsage, fmt.Errorf("--format: %q is not one of %s", o.format, strings.Join(formats, ", "))}
	}
	if g.json {
		return "json", nil
	}
	return o.format, nil
}

// print shows the findings of a command about the files. The error says how many
// there are that count.
func (o *faultPrinter) print(w io.Writer, g *globals, command string, files []string, faults policy.Faults) error {
	format, err := o.choose(g)
	if err != nil {
		return err
	}
	switch format {
	case "json":
		if faults == nil {
			faults = policy.Faults{}
		}
		err = printJSON(w, faults)
	case "junit":
		err = junitFaults(w, command, faults, o.strict)
	case "github":
		github(w, faults)
	default:
		printFaults(w, faults)
		if len(faults) == 0 {
			_, err = fmt.Fprintf(w, "%s, nothing found\n", engine.Count(len(files), "file"))
		}
	}
	if err != nil {
		return err
	}
	warnings := 0
	for i := range faults {
		if faults[i].Warning {
			warnings++
		}
	}
	switch errs := len(faults) - warnings; {
	case errs > 0 && warnings > 0:
		return fmt.Errorf("%s, %s", engine.Count(errs, "error"), engine.Count(warnings, "warning"))
	case errs > 0:
		return fmt.Errorf("%s", engine.Count(errs, "error"))
	case warnings > 0 && o.strict:
		return fmt.Errorf("%s, and --strict", engine.Count(warnings, "warning"))
	}
	return nil
}

// printFaults gives each fault its place, its line with a mark under the place,
// and what to write instead.
func printFaults(w io.Writer, faults policy.Faults) {
	for i := range faults {
		f := &faults[i]
		kind := ""
		if f.Warning {
			kind = "warning: "
		}
		text := f.Error()
		if f.Lint != "" {
			text += " (" + f.Lint + ")"
		}
		if kind != "" {
			text = strings.Replace(text, ": ", ": "+kind, 1)
		}
		what, details, _ := strings.Cut(text, "\n")
		_, _ = fmt.Fprintln(w, what)
		if !strings.Contains(details, "^") { // the compiler shows the part of the line that it means
			_, _ = io.WriteString(w, indented(f.Excerpt()))
		}
		if details != "" {
			_, _ = fmt.Fprintln(w, details)
		}
		if f.Advice != "" {
			_, _ = fmt.Fprintf(w, "\t%s\n", f.Advice)
		}
	}
}

// indented puts a tab before each line.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("\t" + line)
	}
	return b.String()
}

// github writes annotations: GitHub shows each at its line of a change.
func github(w io.Writer, faults policy.Faults) {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for i := range faults {
		f := &faults[i]
		level, msg := "error", f.Message
		if f.Warning {
			level = "warning"
		}
		if f.Advice != "" {
			msg += "\n" + f.Advice
		}
		place := ""
		if f.File != "" {
			place = fmt.Sprintf(" file=%s,line=%d,col=%d", property.Replace(f.File), max(f.Line, 1), max(f.Column, 1))
		}
		_, _ = fmt.Fprintf(w, "::%s%s::%s\n", level, place, data.Replace(msg))
	}
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Skipped *struct{}     `xml:"skipped,omitempty"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func failureOf(f *policy.Fault) *junitFailure {
	return &junitFailure{Message: f.Message, Text: strings.TrimSpace(f.Error() + "\n" + f.Advice)}
}

// junitFaults writes a case for each fault. A warning fails as little as the command does.
func junitFaults(w io.Writer, command string, faults policy.Faults, strict bool) error {
	s := junitSuite{Name: "heliostat policy " + command}
	for i := range faults {
		f := &faults[i]
		c := junitCase{Name: strings.SplitN(f.Error(), "\n", 2)[0], Class: f.File, File: f.File, Line: f.Line, Failure: failureOf(f)}
		if f.Warning && !strict {
			c.Output, c.Failure = "warning: "+c.Failure.Text, nil
		}
		s.Cases = append(s.Cases, c)
	}
	if len(faults) == 0 {
		s.Cases = []junitCase{{Name: command, Class: "heliostat policy"}}
	}
	return s.write(w)
}

// junitTests writes a case for each test, and one for what they lack as a whole.
func junitTests(w io.Writer, r *policy.TestReport, faults policy.Faults, short error) error {
	s := junitSuite{Name: "heliostat policy test"}
	for i := range r.Results {
		t := &r.Results[i]
		c := junitCase{Name: t.Name, Class: strings.TrimPrefix(t.Package, "data."), File: t.File, Line: t.Line, Output: t.Output}
		for j := range faults {
			if f := &faults[j]; f.File == t.File && f.Line == t.Line && strings.HasPrefix(f.Message, "test "+t.Name+" failed") {
				c.Failure = failureOf(f)
			}
		}
		if t.Skipped {
			c.Skipped = &struct{}{}
		}
		s.Cases = append(s.Cases, c)
	}
	if short != nil {
		s.Cases = append(s.Cases, junitCase{Name: "the tests as a whole", Class: "heliostat policy", Failure: &junitFailure{Message: short.Error(), Text: strings.Join(r.Missed, "\n")}})
	}
	return s.write(w)
}

func (s *junitSuite) write(w io.Writer) error {
	s.Tests = len(s.Cases)
	for i := range s.Cases {
		if s.Cases[i].Failure != nil {
			s.Failures++
		}
		if s.Cases[i].Skipped != nil {
			s.Skipped++
		}
	}
	text, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}
