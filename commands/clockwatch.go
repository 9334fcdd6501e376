package commands

import (
	"context"
	"os"
	"time"

	"casebook/domain"
	"casebook/domain/security"
	"casebook/eventlog"
)

const (
	// clockChecked is how often the clock is compared with the time that has passed.
	clockChecked = time.Second
	// stepLeast is the least difference that counts as a step. Clocks that are kept in time by small corrections never differ
	// by as much within a second.
	stepLeast = 2 * time.Second
)

// clockWatch notices when the clock is set: it then shows something else than the time that has passed since the last look.
type clockWatch struct {
	// wall returns what the clock shows. passed returns the time since a fixed moment, by a clock that cannot be set.
	wall   func() time.Time
	passed func() time.Duration

	lastWall   time.Time
	lastPassed time.Duration
}

// machineClock watches the clock of the machine.
func machineClock() *clockWatch {
	begun := time.Now()
	return watching(func() time.Time { return time.Now().Round(0) }, func() time.Duration { return time.Since(begun) })
}

func watching(wall func() time.Time, passed func() time.Duration) *clockWatch {
	return &clockWatch{wall: wall, passed: passed, lastWall: wall(), lastPassed: passed()}
}

// look says whether the clock was set since the last look, from which time to which.
func (w *clockWatch) look() (from, to time.Time, stepped bool) {
	wall, passed := w.wall(), w.passed()
	from = w.lastWall.Add(passed - w.lastPassed)
	w.lastWall, w.lastPassed = wall, passed
	return from, wall, wall.Sub(from).Abs() >= stepLeast
}

// watchClock records steps of the clock until ctx ends.
func (h *Handler) watchClock(ctx context.Context, clock *clockWatch, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if from, to, stepped := clock.look(); stepped {
				h.clockStepped(ctx, from, to)
			}
		}
	}
}

// behindTheLog records that the clock is behind what was recorded last: it was set back while no program ran.
func (h *Handler) behindTheLog(ctx context.Context, latest time.Time) {
	if now := h.now().UTC(); latest.Sub(now) > eventlog.ClockTolerance {
		h.clockStepped(ctx, latest, now)
	}
}

// clockStepped says that the clock was set, and records it.
func (h *Handler) clockStepped(ctx context.Context, from, to time.Time) {
	h.logger.Warn("the clock was set; times recorded before and after the step do not follow one another", "from", from.UTC(), "to", to.UTC())
	h.clockSteps.Inc()
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	step := security.RecordClockStep{Day: domain.DateOf(to.UTC()), Step: security.ClockStepped{Host: host, From: from.UTC(), To: to.UTC()}}
	if err := h.recordSecurity(context.WithoutCancel(ctx), "RecordClockStep", step); err != nil {
		h.logger.Error("a step of the clock could not be recorded", "error", err)
	}
}
