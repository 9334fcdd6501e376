package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/randomisation"
	"casebook/domain/supply"
	"casebook/eventlog"
)

// Check names what a finding is about.
type Check string

// The checks.
const (
	// Chain is the hash chain of a stream, with its revisions and with the ids of events, which follow from their commands and
	// bytes.
	Chain Check = "chain"
	// Schema is whether this program can read an event.
	Schema Check = "schema"
	// Metadata is who recorded an event, and when.
	Metadata Check = "metadata"
	// Draws is whether the draws of a study come out again as recorded, Kits whether the choices of kits at a location do.
	Draws Check = "draws"
	Kits  Check = "kits"
	// Clock is whether recorded times follow one another.
	Clock Check = "clock"
)

// Finding is something that is wrong with the record.
type Finding struct {
	Check    Check  `json:"check"`
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
	Position uint64 `json:"position"`
	Type     string `json:"type"`
	Problem  string `json:"problem"`
	// Notice says that the finding is for information, and is no sign that the record was touched.
	Notice bool `json:"notice,omitempty"`
}

// Summary is the outcome of Verify.
type Summary struct {
	Events  int64 `json:"events"`
	Streams int   `json:"streams"`
	// Through is the position of the last event.
	Through domain.Position `json:"through"`
	// Studies counts the studies whose draws were repeated, Locations the locations whose choices of kits were. Sealed counts
	// the studies and locations where they could not be, for want of the key.
	Studies   int `json:"studies"`
	Locations int `json:"locations"`
	Sealed    int `json:"sealed"`
	// Findings counts what is wrong, Notices what is worth knowing.
	Findings int `json:"findings"`
	Notices  int `json:"notices"`
	// Damaged are the streams that are no part of the record from some event on, Resolved the damages that two people have
	// resolved.
	Damaged  int `json:"damaged"`
	Resolved int `json:"resolved"`
}

// Verify reads the whole log up to its present end, and reports what is wrong with it, in the order of the log. With the
// blinding keys, the log also repeats the draws and the choices of kits. It keeps about 300 bytes of each stream in memory,
// and the events of randomisation and supply. It cannot see that the last events of a stream, or a whole stream, were taken away.
func Verify(ctx context.Context, log *eventlog.Log, report func(Finding)) (Summary, error) {
	v := &verification{log: log, report: report, streams: map[string]*eventlog.StreamCheck{}, damages: map[string]*domain.Damage{},
		draws:    map[string][]randomisation.Event{},
		supplies: map[domain.StudyID][]supply.Event{}, stocks: map[string][]supply.StockEvent{}}
	all := eventlog.Subscription{KeepUnreadable: true, MaxBatch: 2000}
	err := log.FollowToEnd(ctx, all, func(ctx context.Context, b eventlog.Batch) error {
		for _, r := range b.Events {
			if err := v.take(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return v.summary, err
	}
	v.repeatDraws()
	v.repeatChoices()
	v.summary.Streams = len(v.streams)
	return v.summary, nil
}

type verification struct {
	log     *eventlog.Log
	report  func(Finding)
	summary Summary
	streams map[string]*eventlog.StreamCheck
	// damages are the last ones that were found in the damaged streams.
	damages map[string]*domain.Damage
	draws   map[string][]randomisation.Event
	// supplies are the events of each study's supply, stocks those of each location.
	supplies map[domain.StudyID][]supply.Event
	stocks   map[string][]supply.StockEvent
	latest   time.Time
}

func (v *verification) find(c Check, r eventlog.Recorded, notice bool, problem string, about ...any) {
	f := Finding{Check: c, Stream: r.Stream, Revision: r.Revision, Position: r.Position.Commit, Type: r.Type,
		Problem: fmt.Sprintf(problem, about...), Notice: notice}
	if notice {
		v.summary.Notices++
	} else {
		v.summary.Findings++
	}
	v.report(f)
}

// take checks the next event of the log.
func (v *verification) take(ctx context.Context, r eventlog.Recorded) error {
	v.summary.Events++
	v.summary.Through = r.Position
	s := v.streams[r.Stream]
	if s == nil {
		s = v.log.CheckStream(r.Stream, eventlog.EmptyTail)
		v.streams[r.Stream] = s
	}
	damage, err := s.Next(ctx, r)
	if err != nil {
		return err
	}
	if damage != nil {
		v.damaged(r, damage)
		return nil
	}
	if u, is := r.Event.(eventlog.Unreadable); is {
		v.find(Schema, r, false, "it cannot be read: %v", u.Err)
	}
	if r.Metadata.Actor == "" || r.Metadata.RecordedAt.IsZero() {
		v.find(Metadata, r, false, "it does not say who recorded it, or when")
	}
	if back := v.latest.Sub(r.Metadata.RecordedAt); back > eventlog.ClockTolerance {
		v.find(Clock, r, true, "the recorded times go back by %s, from %s to %s: the clock was set back, or had been ahead",
			back.Round(time.Second), v.latest.Format(time.RFC3339), r.Metadata.RecordedAt.Format(time.RFC3339))
		v.latest = r.Metadata.RecordedAt
	} else if back < 0 {
		v.latest = r.Metadata.RecordedAt
	}
	switch e := r.Event.(type) {
	case randomisation.Event:
		// What was recorded beside a damaged stream bears its name with a suffix.
		study, _, _ := strings.Cut(r.Stream, ".")
		v.draws[study] = append(v.draws[study], e)
	case supply.Event:
		v.supplies[r.Metadata.Study] = append(v.supplies[r.Metadata.Study], e)
	case supply.StockEvent:
		v.stocks[r.Stream] = append(v.stocks[r.Stream], e)
	}
	return nil
}

// damaged notes that an event is no part of the record. It is for information only, if two people have decided so.
func (v *verification) damaged(r eventlog.Recorded, d *domain.Damage) {
	first := v.damages[r.Stream] != d
	v.damages[r.Stream] = d
	problem := "it follows an event that is no part of the record"
	if first {
		problem = d.Reason
	}
	if d.Resolution == nil {
		if first {
			v.summary.Damaged++
		}
		v.find(Chain, r, false, "%s", problem)
		return
	}
	if first {
		v.summary.Resolved++
	}
	v.find(Chain, r, true, "%s; disregarded since %s, as %s and %s have decided: %s", problem, d.Resolution.At.Format(time.RFC3339),
		d.Resolution.ProposedBy, d.Resolution.ConfirmedBy, d.Resolution.Reason)
}

// repeatDraws repeats the draws of all studies.
func (v *verification) repeatDraws() {
	for _, name := range slices.Sorted(maps.Keys(v.draws)) {
		events := v.draws[name]
		v.repeated(Draws, "draws", name, len(events), &v.summary.Studies, randomisation.Replay(events))
	}
}

// repeatChoices repeats the choices of kits at all locations.
func (v *verification) repeatChoices() {
	for _, name := range slices.Sorted(maps.Keys(v.stocks)) {
		events := v.stocks[name]
		if of, is := events[0].(interface{ AboutStock() supply.OfStock }); is {
			err := supply.ReplayStock(v.supplies[of.AboutStock().Study], events)
			v.repeated(Kits, "choices of kits", name, len(events), &v.summary.Locations, err)
		}
	}
}

// repeated notes how the repetition of what a stream of some events holds has ended, and counts it unless a key was missing.
func (v *verification) repeated(c Check, what, stream string, events int, count *int, err error) {
	at := eventlog.Recorded{Stream: stream, Revision: uint64(events - 1)}
	if errors.Is(err, randomisation.ErrKeysMissing) || errors.Is(err, supply.ErrKeysMissing) {
		v.summary.Sealed++
		v.find(c, at, true, "the %s were not repeated: the key of blinded values is not there, or opens other values", what)
		return
	}
	*count++
	if err != nil {
		v.find(c, at, false, "%v", err)
	}
}
