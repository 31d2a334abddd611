package search

import (
	"math"
	"math/bits"
)

// Dice are a small generator (SplitMix64): islands own one each.
type dice uint64

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	x := uint64(*d)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below is from 0 to n-1.
func (d *dice) below(n int) int {
	hi, _ := bits.Mul64(d.next(), uint64(n))
	return int(hi)
}

// patience are quantiles of the exponential distribution: a move that costs
// temperature x patience is taken, which is the rule of Metropolis without a
// logarithm for each candidate.
var patience = func() (q [1024]float64) {
	for i := range q {
		q[i] = -math.Log((float64(i) + 0.5) / float64(len(q)))
	}
	return q
}()

// limit is the most that a move may cost this time.
func (d *dice) limit(temperature float64) int64 {
	return int64(temperature * patience[d.next()>>54])
}
