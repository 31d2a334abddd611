//go:build !race

package plan

const slower = 1
