package commands

import (
	"testing"
	"time"
)

func TestAClockThatIsSetIsNoticed(t *testing.T) {
	wall, passed := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), time.Duration(0)
	w := watching(func() time.Time { return wall }, func() time.Duration { return passed })
	for _, tc := range []struct {
		what         string
		wall, passed time.Duration
		by           time.Duration
	}{
		{"nothing happens", time.Second, time.Second, 0},
		{"the clock is kept in time", time.Second + 100*time.Millisecond, time.Second, 0},
		{"an hour forward", time.Second + time.Hour, time.Second, time.Hour},
		{"nothing after that", time.Second, time.Second, 0},
		{"an hour back", time.Second - time.Hour, time.Second, -time.Hour},
		{"the look comes late", time.Minute, time.Minute, 0},
	} {
		wall, passed = wall.Add(tc.wall), passed+tc.passed
		from, to, stepped := w.look()
		if stepped != (tc.by != 0) || stepped && to.Sub(from) != tc.by || !to.Equal(wall) {
			t.Errorf("%s: stepped %v, from %s to %s", tc.what, stepped, from, to)
		}
	}
}
