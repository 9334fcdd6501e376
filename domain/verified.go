package domain

import "time"

// Damage says from which event on a stream is no part of the record: its hash chain is broken there. That event, and all
// that follow it in the stream, are left out of states, views and processes.
type Damage struct {
	Stream string `json:"stream"`
	// Revision and Position are those of the first event that is not sound, and Type is the type that it claims.
	Revision uint64   `json:"revision"`
	Position Position `json:"position"`
	Type     string   `json:"type"`
	// Reason says what is wrong with it.
	Reason string `json:"reason"`
	// FoundAt is when it was noticed.
	FoundAt time.Time `json:"foundAt"`
}

// ClockStep is a place in the log at which the recorded times go back: the clock of a server was set back, or had been
// ahead until then.
type ClockStep struct {
	// Position is that of the first event after the step.
	Position Position `json:"position"`
	// From is the latest time recorded before the step, To the time of the first event after it.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Verified is how far the log has been verified, and what was found up to there.
type Verified struct {
	// Through is the position up to which every stream's hash chain has been checked.
	Through Position `json:"through"`
	// Latest is the latest time that was recorded since the last step of the clock.
	Latest time.Time `json:"latest"`
	// Damages are the damaged streams, Steps the steps of the clock, both in the order of the log.
	Damages []Damage    `json:"damages"`
	Steps   []ClockStep `json:"steps"`
}

// StepBefore returns the position of the last step of the clock to a time that is not after t; the zero Position if there is
// none. Times are comparable only between two steps: everything before that position counts as recorded by t.
func (v Verified) StepBefore(t time.Time) Position {
	for i := len(v.Steps) - 1; i >= 0; i-- {
		if !v.Steps[i].To.After(t) {
			return v.Steps[i].Position
		}
	}
	return Position{}
}
