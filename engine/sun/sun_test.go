package sun_test

import (
	_ "embed"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"heliostat/engine/sun"
)

//go:embed testdata/position.csv
var positions string

//go:embed testdata/rise.csv
var rises string

// rows yields the fields of each line that is not a comment.
func rows(t *testing.T, text string) [][]string {
	t.Helper()
	var out [][]string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, strings.Split(strings.TrimSpace(line), ","))
		}
	}
	return out
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func moment(t *testing.T, s string) time.Time {
	t.Helper()
	if s == "-" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// The worked example of Reda and Andreas, Solar Position Algorithm for Solar
// Radiation Applications, NREL/TP-560-34302 (2008), table A5.1: azimuth
// 194.34024, topocentric elevation without refraction 39.872046.
func TestNREL(t *testing.T) {
	az, el := sun.Position(time.Date(2003, 10, 17, 19, 30, 30, 0, time.UTC), 39.742476, -105.1786)
	if math.Abs(az-194.34024) > 0.01 || math.Abs(el-39.872046) > 0.01 {
		t.Errorf("azimuth %.5f, elevation %.5f", az, el)
	}
}

func TestPosition(t *testing.T) {
	var squares, worst float64
	for _, r := range rows(t, positions) {
		at, lat, lon := moment(t, r[0]), number(t, r[1]), number(t, r[2])
		az, el := sun.Position(at, lat, lon)
		dEl := el - number(t, r[4])
		// Azimuth as an angle on the sky: near the zenith a degree of it is short.
		dAz := math.Mod(az-number(t, r[3])+540, 360) - 180
		dAz *= math.Cos(el * math.Pi / 180)
		if math.Abs(dEl) > 0.02 || math.Abs(dAz) > 0.02 {
			t.Errorf("%s at %s, %s: off by %.4f in azimuth and %.4f in elevation", r[0], r[1], r[2], dAz, dEl)
		}
		squares += dEl * dEl
		worst = max(worst, math.Abs(dEl), math.Abs(dAz))
	}
	t.Logf("elevation: %.4f degrees rms; worst of all %.4f", math.Sqrt(squares/float64(len(rows(t, positions)))), worst)
}

func TestNext(t *testing.T) {
	none := 0
	for _, r := range rows(t, rises) {
		rise, set, ok := sun.Next(moment(t, r[0]), number(t, r[1]), number(t, r[2]))
		for i, got := range []time.Time{rise, set} {
			want := moment(t, r[3+i])
			if want.IsZero() != got.IsZero() {
				t.Errorf("%s: got %v, want %v", r, got, want)
			}
			// 10 s of rotation is 0.04 degrees; the sun may rise at a slant.
			if d := got.Sub(want).Abs(); d > 15*time.Second {
				t.Errorf("%s: got %v, %v off", r, got, d)
			}
		}
		if ok != (r[3] != "-" && r[4] != "-") {
			t.Errorf("%s: ok is %v", r, ok)
		}
		if !ok {
			none++
		}
	}
	if none == 0 {
		t.Error("no polar day or night among the references")
	}
}

// The next event is always in the future, also when asked at an event itself:
// a schedule that asks again must not get the same sunrise twice.
func TestNextAdvances(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for range 400 {
		rise, _, ok := sun.Next(at, 50.11, 8.68)
		if !ok || !rise.After(at) {
			t.Fatalf("at %v: %v", at, rise)
		}
		if gap := rise.Sub(at); gap > 25*time.Hour {
			t.Fatalf("at %v: skipped a day to %v", at, rise)
		}
		at = rise
	}
	if want := time.Date(2027, 4, 4, 0, 0, 0, 0, time.UTC); at.Before(want) || at.After(want.AddDate(0, 0, 1)) {
		t.Errorf("400 sunrises end at %v", at)
	}
}

func BenchmarkNext(b *testing.B) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		sun.Next(at, 50.11, 8.68)
	}
}
