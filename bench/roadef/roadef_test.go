package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/bench/internal/run"
	"heliostat/engine/search"
)

// text makes an instance in the challenge's format, and an assignment of it: 2
// locations and 2 neighbourhoods, one transient resource of three, and services of up
// to 4 processes.
func text(r *rand.Rand, machines, processes int) (model, assignment string) {
	var b strings.Builder
	put := func(numbers ...int) {
		for i, n := range numbers {
			fmt.Fprintf(&b, "%s%d", [2]string{"", " "}[min(i, 1)], n)
		}
		b.WriteByte('\n')
	}
	put(3)
	put(0, 10)
	put(1, 5)
	put(0, 1)
	put(machines)
	for i := range machines {
		line := []int{i % 2, i / 2 % 2}
		for range 3 {
			line = append(line, 100)
		}
		for range 3 {
			line = append(line, 20+r.IntN(60))
		}
		for range machines {
			line = append(line, r.IntN(5))
		}
		put(line...)
	}
	services := processes / 4
	put(services)
	for i := range services {
		if i > 0 && r.IntN(2) == 0 {
			put(1+r.IntN(2), 1, r.IntN(i))
		} else {
			put(1, 0)
		}
	}
	put(processes)
	for i := range processes {
		put(i%services, r.IntN(12), r.IntN(12), r.IntN(12), 1+r.IntN(9))
	}
	put(1)
	put(0, 1, 2)
	put(10)
	put(1, 10, 100)
	model = b.String()
	b.Reset()
	// The members of a service stand on machines of all neighbourhoods and locations.
	var at []int
	for i := range processes {
		at = append(at, (i/services+4*(i%services))%machines)
	}
	put(at...)
	return model, b.String()
}

// files writes an instance into a folder.
func files(t *testing.T, model, assignment string, zip bool) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"model_x.txt": model, "assignment_x.txt": assignment} {
		content := []byte(text)
		if zip {
			name += ".gz"
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			if _, err := z.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			content = b.Bytes()
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A run improves an instance, writes a solution whose cost is the one it says, and
// its rounds with another number of threads give the same file again.
func TestRunAndRepeat(t *testing.T) {
	dir := withReference(t)
	once := func(args ...string) (report, string) {
		path := filepath.Join(t.TempDir(), "out")
		var out bytes.Buffer
		args = append(args, "-instance", "x", "-data", dir, "-out", path, "-json", "-seed", "3")
		if err := mainErr(run.Start(), args, &out); err != nil {
			t.Fatal(err)
		}
		var r report
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s", err, out.String())
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return r, string(b)
	}
	r, solution := once("-time", "0.2s", "-threads", "2")
	if r.Cost >= r.InitialCost || r.Evaluations == 0 || r.Machines != 8 || r.Processes != 48 {
		t.Errorf("report %+v", r)
	}
	if len(r.Published) != 1 || r.Published[0].Cost != 1000 {
		t.Errorf("published: %+v", r.Published)
	}
	s, again := once("-rounds", r.Rounds.String(), "-threads", "1")
	if again != solution || s.Cost != r.Cost || s.Evaluations != r.Evaluations {
		t.Errorf("the rounds %v gave %d on 2 threads and %d on 1", r.Rounds, r.Cost, s.Cost)
	}
	m, initial, err := load(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	var at []int32
	for x := range strings.FieldsSeq(solution) {
		var c int32
		if _, err := fmt.Sscan(x, &c); err != nil {
			t.Fatal(err)
		}
		at = append(at, c)
	}
	if cost, err := m.judge(initial, at); err != nil || cost != r.Cost {
		t.Errorf("the file costs %d, %v; the report says %d", cost, err, r.Cost)
	}
}

func withReference(t *testing.T) string {
	t.Helper()
	model, assignment := text(rand.New(rand.NewPCG(1, 2)), 8, 48)
	dir := files(t, model, assignment, true)
	if err := os.WriteFile(filepath.Join(dir, "reference.csv"), []byte("instance,best,unknown\nx,1000,\ny,7,8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The judge and the core agree on random assignments: on the cost, and on whether
// one is allowed.
func TestJudgeAndCoreAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	model, assignment := text(r, 8, 48)
	m, initial, err := load(files(t, model, assignment, false), "x")
	if err != nil {
		t.Fatal(err)
	}
	p := m.problem(initial)
	allowed := 0
	for range 2000 {
		at := append([]int32(nil), initial...)
		for range 1 + r.IntN(3) {
			at[r.IntN(len(at))] = r.Int32N(8)
		}
		cost, err := m.judge(initial, at)
		got := search.Evaluate(p, at)
		if (err == nil) != (got.Violations == 0) || err == nil && cost != got.Cost {
			t.Fatalf("the judge says %d, %v, and the core %+v", cost, err, got)
		}
		if err == nil {
			allowed++
		}
	}
	if allowed < 50 || allowed > 1950 {
		t.Errorf("%d of 2000 are allowed: too one-sided to mean anything", allowed)
	}
}

// What cannot be read says where.
func TestFaults(t *testing.T) {
	model, assignment := text(rand.New(rand.NewPCG(1, 2)), 4, 16)
	for name, x := range map[string]struct{ model, assignment, want string }{
		"cut short":   {model[:len(model)/2], assignment, "after"},
		"no digit":    {"3 x", assignment, "no digit"},
		"too large":   {"99999999999999999999", assignment, "too large"},
		"a count":     {"2000000", assignment, "a count"},
		"short start": {model, "0 1", "after 2 numbers"},
		"no machine":  {model, strings.Replace(assignment, "0", "9", 1), "no machine 9"},
	} {
		args := []string{"-instance", "x", "-data", files(t, x.model, x.assignment, false), "-rounds", "10"}
		if err := mainErr(run.Start(), args, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, and it should say %q", name, err, x.want)
		}
	}
	if err := mainErr(run.Start(), []string{"-data", t.TempDir(), "-instance", "y"}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "model_y.txt") {
		t.Errorf("a missing file: %v", err)
	}
}
