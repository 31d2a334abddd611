//go:build !race

package check

const slower = 1
