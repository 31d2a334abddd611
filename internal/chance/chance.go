// Package chance is a small source of chance for what must give the same bytes on
// every machine and with every version of Go.
package chance

// From returns a source of numbers from 0 to n-1 (splitmix64). Equal seeds and streams
// give equal numbers.
func From(seed, stream uint64) func(n int64) int64 {
	x := seed ^ (stream+1)*0xd1342543de82ef95
	return func(n int64) int64 {
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return int64((z ^ z>>31) % uint64(n))
	}
}
