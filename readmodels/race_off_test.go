//go:build !race

package readmodels_test

const raceEnabled = false
