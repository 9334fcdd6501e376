package domain

import (
	"slices"
	"time"
)

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
	// Resolution is set if two people have resolved the damage. It then ends where the resolution was recorded: events behind
	// that may continue the sound part, and belong to the record.
	Resolution *Resolution `json:"resolution,omitempty"`
}

// Covers says whether an event of the damaged stream is no part of the record because of the damage.
func (d Damage) Covers(revision uint64, at Position) bool {
	return revision >= d.Revision && (d.Resolution == nil || at.Before(d.Resolution.Position))
}

// Resolution is what two people have decided about the damage of a stream: the events from the damaged one on that were
// recorded before the resolution are disregarded for ever. They stay in the log.
type Resolution struct {
	// Position is that of the event that records the resolution.
	Position Position `json:"position"`
	// ProposedBy and ConfirmedBy are the two people, Reason is why, and At is when the second one confirmed it.
	ProposedBy  UserID    `json:"proposedBy"`
	ConfirmedBy UserID    `json:"confirmedBy"`
	Reason      string    `json:"reason"`
	At          time.Time `json:"at"`
}

// ResolvesDamage is an event that resolves the damage of another stream.
type ResolvesDamage interface {
	// ResolvedDamage returns the damaged stream, the revision from which on it is damaged, the resolution as far as the event
	// holds it, and the proof that a program with the keys has recorded it.
	ResolvedDamage() (stream string, revision uint64, r Resolution, proof string)
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
	// Last is the mark of the last event up to there; zero where it is not known.
	Last Mark `json:"last,omitzero"`
	// Latest is the latest time that was recorded since the last step of the clock.
	Latest time.Time `json:"latest"`
	// Damages are the damaged streams, also those whose damage is resolved, and Steps the steps of the clock, both in the order
	// of the log.
	Damages []Damage    `json:"damages"`
	Steps   []ClockStep `json:"steps"`
}

// Unresolved returns the damages that nobody has resolved.
func (v Verified) Unresolved() []Damage {
	return slices.DeleteFunc(slices.Clone(v.Damages), func(d Damage) bool { return d.Resolution != nil })
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
