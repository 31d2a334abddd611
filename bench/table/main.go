// Table runs a short form of each benchmark and writes what they say as one table, in
// Markdown: beside what is published, and what is aimed at.
//
//	go run ./bench/table -data DIR -time 10 -out bin/bench.md
//
// DIR has the folders roadef2012, cloudbalancing, evacuation, migrations, planetlab
// and bitbrains, as far as they are there; docs/benchmarks.md says whose they are.
// What has no folder is named in the table as not run. Each benchmark is a program of
// its own, which prints a line of JSON for each run: nothing else is read.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"heliostat/bench/internal/run"
)

func main() { run.Main("table", mainErr) }

func mainErr(_ run.Clock, args []string, out io.Writer) error {
	var f run.Flags
	fs := flag.NewFlagSet("table", flag.ContinueOnError)
	path := fs.String("out", "", "write the table to this file as well")
	if err := f.Parse(fs, 10, args); err != nil {
		return err
	}
	if f.Data == "." {
		f.Data = "" // nobody said where the data are
	}
	t := table{}
	for _, b := range benches() {
		t.run(&b, &f)
	}
	text := t.text()
	if *path != "" {
		if err := os.WriteFile(*path, text, 0o644); err != nil {
			return err
		}
	}
	_, err := out.Write(text)
	return errors.Join(append(t.failed, err)...)
}

// A table is rows of benchmark, instance, figure, measured, published, aim.
type table struct {
	rows   [][6]string
	failed []error
}

// run runs a benchmark on each of its instances that are there.
func (t *table) run(b *bench, f *run.Flags) {
	dir := filepath.Join(f.Data, b.folder)
	if _, err := os.Stat(dir); b.folder != "" && (f.Data == "" || err != nil) {
		t.rows = append(t.rows, [6]string{b.program, "published instances not run: they need " + b.folder, "", "", "", ""})
		if !b.without {
			return
		}
		dir = filepath.Join("bench", b.program) // there are none
	}
	for _, args := range b.runs(dir) {
		args = append([]string{"run", "./bench/" + b.program, "-json", "-threads", fmt.Sprint(f.Threads), "-seed", fmt.Sprint(f.Seed)}, args...)
		if b.folder != "" {
			args = append(args, "-data", dir)
		}
		if b.timed {
			args = append(args, "-time", f.Time.String())
		}
		cmd := exec.Command("go", args...)
		cmd.Stderr = os.Stderr
		printed, err := cmd.Output()
		if err == nil {
			err = t.read(b, printed)
		}
		if err != nil {
			t.failed = append(t.failed, fmt.Errorf("go %s: %w", strings.Join(args, " "), err))
			t.rows = append(t.rows, [6]string{b.program, "failed: " + strings.Join(args[2:], " "), "", "", "", ""})
		}
	}
}

// read adds a row for each figure of each line.
func (t *table) read(b *bench, printed []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(printed))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var x line
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			return err
		}
		for _, c := range b.figures {
			if got, ok := c.of(x); ok {
				t.rows = append(t.rows, [6]string{b.program, b.name(x), c.name, got, c.published(x), c.aim})
			}
		}
		for _, s := range x.list("published") {
			t.rows = append(t.rows, [6]string{b.program, b.name(x), "difference to " + s.text("name"), s.number("gap_percent", "%+.3f %%"), s.number("cost", "%.0f"), ""})
		}
	}
	return lines.Err()
}

func (t *table) text() []byte {
	var b bytes.Buffer
	b.WriteString("| benchmark | instance | figure | measured | published | aim |\n| --- | --- | --- | ---: | ---: | --- |\n")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r[:], " | "))
	}
	return b.Bytes()
}

// A line is what a benchmark prints of one run.
type line map[string]any

// get follows a path such as merge.reached_pct.
func (x line) get(path string) any {
	first, rest, deep := strings.Cut(path, ".")
	if deep {
		inner, _ := x[first].(map[string]any)
		return line(inner).get(rest)
	}
	return x[first]
}

func (x line) float(path string) (float64, bool) {
	v, ok := x.get(path).(float64)
	return v, ok
}

func (x line) number(path, format string) string {
	if v, ok := x.float(path); ok {
		return fmt.Sprintf(format, v)
	}
	return ""
}

func (x line) text(path string) string {
	s, _ := x.get(path).(string)
	return s
}

func (x line) list(path string) (out []line) {
	all, _ := x.get(path).([]any)
	for _, v := range all {
		if inner, ok := v.(map[string]any); ok {
			out = append(out, inner)
		}
	}
	return out
}
