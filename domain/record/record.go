// Package record holds what people decide about damage of the record: that the damaged events of a stream are disregarded, so
// that the stream can go on. The log is never changed: the damaged events stay where they are, and are marked in the audit
// trail for ever. Each damaged stream has one stream of such decisions, which bears its name. Two people have to agree.
package record

import (
	"casebook/domain"
	"casebook/domain/refuse"
)

// Event is a decision about the damage of a stream.
type Event interface{ recordEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[DamageResolutionProposed]("DamageResolutionProposed").InNoView("the audit trail shows it"),
	domain.Stored[DamageResolved]("DamageResolved").InNoView("the list of projections shows the damage with its resolution"),
}

// DamageResolutionProposed records that somebody wants the damaged events of a stream to be disregarded.
type DamageResolutionProposed struct {
	// Stream is the damaged stream, and Revision that of its first damaged event.
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
	// Study is the one to which the sound part of the stream belongs.
	Study domain.StudyID `json:"study,omitempty"`
	// Damage says what is wrong with the event.
	Damage string `json:"damage"`
	// Reason says what was found out, and what is done about what the damaged events claim.
	Reason string        `json:"reason"`
	By     domain.UserID `json:"by"`
}

// DamageResolved records that the events of a stream from a revision on that were recorded before this event are disregarded.
// The stream's next event continues the last one before them.
type DamageResolved struct {
	Stream     string         `json:"stream"`
	Revision   uint64         `json:"revision"`
	Study      domain.StudyID `json:"study,omitempty"`
	Damage     string         `json:"damage"`
	Reason     string         `json:"reason"`
	ProposedBy domain.UserID  `json:"proposedBy"`
	// Proof shows that a program with the keys of blinded values has recorded the event. Others can put such an event into the
	// event store, and nothing would follow from it.
	Proof string `json:"proof,omitempty"`
}

func (DamageResolutionProposed) recordEvent() {}
func (DamageResolved) recordEvent()           {}

// ResolvedDamage implements domain.ResolvesDamage.
func (e DamageResolved) ResolvedDamage() (stream string, revision uint64, r domain.Resolution, proof string) {
	return e.Stream, e.Revision, domain.Resolution{ProposedBy: e.ProposedBy, Reason: e.Reason}, e.Proof
}

// About implements domain.Described.
func (e DamageResolutionProposed) About() string { return e.Stream }

// About implements domain.Described.
func (e DamageResolved) About() string { return e.Stream }

// Scope implements domain.Scoped: the decision belongs to the study of the damaged stream.
func (e DamageResolutionProposed) Scope() domain.Scope { return domain.Scope{Study: e.Study} }

// Scope implements domain.Scoped.
func (e DamageResolved) Scope() domain.Scope { return domain.Scope{Study: e.Study} }

// Resolutions is the state of a stream: the last proposal, until it is confirmed.
type Resolutions struct {
	Proposed *DamageResolutionProposed
}

// Decider is the decider of resolutions. A stream's id is the name of the damaged stream.
var Decider = domain.Decider[Resolutions, Event]{Category: "record", Key: byStream, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams()}

func evolve(_ Resolutions, event Event) Resolutions {
	switch e := event.(type) {
	case DamageResolutionProposed:
		return Resolutions{Proposed: &e}
	case DamageResolved:
	}
	return Resolutions{}
}

// OfStream is embedded by commands about the damage of a stream.
type OfStream struct {
	Stream   string `json:"stream" minLength:"1" maxLength:"300" doc:"The damaged stream"`
	Revision uint64 `json:"revision" doc:"Number of its first damaged event, as the list of projections shows it"`
}

// DamagedStream returns the stream that the command is about.
func (o OfStream) DamagedStream() string { return o.Stream }

// byStream is the Key of Decider.
func byStream(command any) (id string, ok bool) {
	c, ok := command.(interface{ DamagedStream() string })
	if !ok {
		return "", false
	}
	return c.DamagedStream(), true
}

// ResolveDamage proposes that the damaged events of a stream are disregarded. A later proposal replaces an earlier one.
type ResolveDamage struct {
	OfStream
	domain.Reasoned `doc:"What was found out, and what is done about what the damaged events claim"`
}

// ConfirmDamageResolution confirms, as a second person, that the damaged events are disregarded.
type ConfirmDamageResolution struct {
	OfStream
	// Proof is made by the declaration.
	Proof string `json:"-"`
}

// Facts are those of both decisions.
type Facts struct {
	// Damage is the stream's damage that is not resolved; nil if there is none.
	Damage *domain.Damage
	// Study is the one to which the sound part of the stream belongs.
	Study domain.StudyID
}

// mustBeDamagedAt refuses stream_not_damaged and damage_elsewhere.
func (f Facts) mustBeDamagedAt(of OfStream) error {
	switch {
	case f.Damage == nil:
		return refuse.WrongState("stream_not_damaged", "no damage of the stream %s waits for a decision", of.Stream).At("stream").
			Do("take the name from the list of projections")
	case f.Damage.Revision != of.Revision:
		return refuse.WrongState("damage_elsewhere", "the stream %s is damaged from its event %d on", of.Stream, f.Damage.Revision).
			At("revision").
			Do("look at that event, and name its number")
	}
	return nil
}

// Propose decides about ResolveDamage. It refuses reason_required, value_too_long, stream_not_damaged and damage_elsewhere.
func Propose(_ Resolutions, f Facts, cmd ResolveDamage, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), f.mustBeDamagedAt(cmd.OfStream)); err != nil {
		return nil, err
	}
	return []Event{DamageResolutionProposed{Stream: cmd.Stream, Revision: cmd.Revision, Study: f.Study, Damage: f.Damage.Reason,
		Reason: string(cmd.Reason), By: call.Actor}}, nil
}

// Confirm decides about ConfirmDamageResolution. It refuses stream_not_damaged, damage_elsewhere, resolution_not_proposed and
// second_person_required.
func Confirm(s Resolutions, f Facts, cmd ConfirmDamageResolution, call domain.Call) ([]Event, error) {
	if err := f.mustBeDamagedAt(cmd.OfStream); err != nil {
		return nil, err
	}
	p := s.Proposed
	if p == nil || p.Revision != cmd.Revision {
		return nil, refuse.NotFound("resolution_not_proposed", "nobody has proposed to disregard the events of %s from %d on",
			cmd.Stream, cmd.Revision).At("stream").Do("propose it, and have another administrator confirm it")
	}
	if p.By == call.Actor {
		return nil, refuse.Because("second_person_required", "%s has proposed it, and cannot confirm it", call.Actor).At("stream").
			Do("ask an administrator who has no part in it")
	}
	return []Event{DamageResolved{Stream: p.Stream, Revision: p.Revision, Study: p.Study, Damage: p.Damage, Reason: p.Reason,
		ProposedBy: p.By, Proof: cmd.Proof}}, nil
}
