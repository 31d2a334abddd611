package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReads: figures, published ones and those that a line lacks.
func TestReads(t *testing.T) {
	all := map[string]*bench{}
	for _, b := range benches() {
		all[b.program] = &b
	}
	var x table
	for program, printed := range map[string]string{
		"roadef": `{"instance":"b_1","cost":100,"published":[{"name":"best","cost":80,"gap_percent":25}]}` + "\n",
		"planetlab": `{"day":"20110303","policy":"DVFS","energy_kwh":800.5,"migrations":0,"lower_bound_kwh":400.25}` + "\n" +
			`{"day":"20110303","policy":"heliostat","energy_kwh":120,"lower_bound_kwh":100}` + "\n",
		"migrations": `{"error_percent":4.8,"btrplace_percent":19.7}` + "\n",
	} {
		if err := x.read(all[program], []byte(printed)); err != nil {
			t.Fatal(err)
		}
	}
	text := string(x.text())
	for _, want := range []string{
		"| roadef | b_1 | cost | 100 |  |  |\n", "| roadef | b_1 | difference to best | +25.000 % | 80 |  |\n", "| planetlab | 20110303 DVFS | energy, kWh | 800.50 | 802.75 |  |\n",
		"| planetlab | 20110303 heliostat | energy for the least possible | 1.20 |", "| migrations | held-out halves | mean error of durations, % | 4.80 | 19.7 | 5 at most |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "| ESV |") || len(x.rows) != 7 {
		t.Errorf("rows of what was not printed:\n%s", text)
	}
	if err := x.read(all["roadef"], []byte("no JSON\n")); err == nil {
		t.Error("what is no JSON was read")
	}
}

// TestFiles: instances are named by their files.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"model_b_1.txt.gz", "model_a1_1.txt", "20110303.csv.gz"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := files("model_*.txt*", "-instance")(dir)
	if len(got) != 2 || got[0][1] != "a1_1" || got[1][1] != "b_1" {
		t.Errorf("instances %v", got)
	}
	if got := files("*.csv.gz", "-day")(dir); len(got) != 1 || got[0][1] != "20110303" {
		t.Errorf("days %v", got)
	}
}

// TestSharedFlags: every benchmark takes -data, -time, -threads, -seed and -json, since
// it reads its own flags together with those that all share.
func TestSharedFlags(t *testing.T) {
	parsed := regexp.MustCompile(`\.Parse(Search)?\(fs, `)
	for _, b := range benches() {
		src, err := os.ReadFile(filepath.Join("..", b.program, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(src, []byte(`"heliostat/bench/internal/run"`)) || !parsed.Match(src) {
			t.Errorf("%s does not read the flags that all benchmarks share", b.program)
		}
	}
}
