//go:build !race

package main

// raceEnabled says that the race detector makes everything several times slower.
const raceEnabled = false
