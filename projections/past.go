package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/eventlog"
	"casebook/readmodels"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Until is a moment in the log: the last position, or the last time, that still counts. One of them is zero.
type Until struct {
	Position domain.Position
	// Time is compared with the times at which events were recorded. The first event behind since that was recorded later ends
	// the past.
	Time time.Time
	// since is the position of the last step of the clock to a time that is not after Time. Events before it count, whatever
	// times they carry: something was recorded after them by then.
	since domain.Position
}

// passed says that an event is later than the moment.
func (u Until) passed(at Envelope) bool {
	if _, damaged := at.Event.(eventlog.Damaged); damaged && !u.Time.IsZero() {
		return false // the time in its metadata is not to be believed
	}
	if !u.Time.IsZero() {
		return !at.Position.Before(u.since) && at.Metadata.RecordedAt.After(u.Time)
	}
	return u.Position.Before(at.Position)
}

// resolved returns the moment with its since, for which all steps of the clock have to be known. It refuses
// record_not_verified if ctx ends before they are.
func (u Until) resolved(ctx context.Context, v *eventlog.Verifier) (Until, error) {
	if u.Time.IsZero() {
		return u, nil
	}
	if err := v.AwaitEnd(ctx); err != nil {
		return u, refuse.Overload("record_not_verified", "the log is not verified up to its end yet, and times cannot be resolved before").
			Do("ask again later, or ask with a log position")
	}
	u.since = v.Found().StepBefore(u.Time)
	return u, nil
}

// cut returns the part of a batch up to the moment. A batch that is cut is marked as the last.
func (u Until) cut(b eventlog.Batch) eventlog.Batch {
	for i, at := range b.Events {
		if u.passed(at) {
			b.Events, b.Live = b.Events[:i], true
			if i > 0 {
				b.Through = b.Events[i-1].Position
			} else {
				b.Through = domain.Position{}
			}
			return b
		}
	}
	if u.Time.IsZero() && !b.Through.Before(u.Position) {
		b.Through, b.Live = u.Position, true
	}
	return b
}

// Named returns the projection of a view. It refuses view_not_found.
func Named(all []Projection, view string) (Projection, error) {
	for _, p := range all {
		if p.View.Name == view {
			return p, nil
		}
	}
	return Projection{}, refuse.NotFound("view_not_found", "there is no view %q",
		view).At("projection").Do("the list of projections has their names")
}

// scratch is a build of a view that is never active: the log folded once more, up to a moment.
type scratch struct {
	*runner
	store *readmodels.Store
	// stop stops the verifier and waits for its end.
	stop func()
}

// newScratch returns a scratch that has folded nothing yet; remove drops it. progress is called after each checkpoint; it may
// be nil.
func newScratch(ctx context.Context, log *eventlog.Log, store *readmodels.Store, p Projection, progress func(readmodels.Checkpoint),
) (*scratch, error) {
	e := NewEngine(Options{Log: log, Store: store, Projections: []Projection{p}})
	decided, err := readDecisions(ctx, log, p.View.Name)
	if err != nil {
		return nil, err
	}
	e.decided[p.View.Name] = decided
	r := e.newRunner(p, fmt.Sprintf("%s_scratch_%s", p.View.Name, uuid.NewString()[:8]), readmodels.Checkpoint{}, 0)
	r.skips = e.skips(p.View)
	r.saved = func(_ int, at readmodels.Checkpoint) {
		if progress != nil {
			progress(at)
		}
	}
	verifying, cancel := context.WithCancel(ctx)
	verified := make(chan struct{})
	go func() {
		defer close(verified)
		_ = e.verifier.Run(verifying) // it returns nil
	}()
	return &scratch{r, store, func() {
		cancel()
		<-verified
	}}, nil
}

// fold folds the log into the scratch, up to a moment.
func (s *scratch) fold(ctx context.Context, until Until) error {
	until, err := until.resolved(ctx, s.engine.verifier)
	if err != nil {
		return err
	}
	s.until = &until
	return s.catchUp(ctx, func() bool { return true })
}

// remove drops the scratch's documents.
func (s *scratch) remove(ctx context.Context) error {
	s.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return s.store.DropBuild(ctx, s.collection.Name())
}

// AsOf folds the log up to a moment. It calls yield with each document as it was then, in the order of the keys, and returns
// the moment as a position: that of the last event up to a time that the view could show, which is zero for none. progress is
// called after each checkpoint; it may be nil.
func AsOf(ctx context.Context, log *eventlog.Log, store *readmodels.Store, p Projection, until Until,
	progress func(readmodels.Checkpoint), yield func(bson.Raw) error,
) (through domain.Position, err error) {
	s, err := newScratch(ctx, log, store, p, progress)
	if err != nil {
		return through, err
	}
	defer func() {
		if e := s.remove(ctx); err == nil {
			err = e
		}
	}()
	if err := s.fold(ctx, until); err != nil {
		return through, s.explain(err)
	}
	found, err := s.collection.Find(ctx, bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return through, err
	}
	defer func() { _ = found.Close(ctx) }()
	for found.Next(ctx) {
		if err := yield(found.Current); err != nil {
			return through, err
		}
	}
	if until.Time.IsZero() {
		return s.through, found.Err()
	}
	return s.counted, found.Err()
}

// explain returns the error of the event at which the fold has stopped, or else err.
func (r *runner) explain(err error) error {
	if r.stop != nil {
		return r.stop
	}
	return err
}

// OfPatient returns the projection with the streams, by a patient's id, from which all documents of the patient are folded.
// With them PatientAsOf folds one patient without reading the rest of the log.
func (p Projection) OfPatient(streams ...func(id string) string) Projection {
	p.streams = streams
	return p
}

// PatientStreams returns the streams from which all documents of a patient are folded; none where OfPatient named none.
func (p Projection) PatientStreams(who domain.PatientID) (streams []string) {
	for _, stream := range p.streams {
		streams = append(streams, stream(string(who)))
	}
	return streams
}

// PatientAsOf folds the documents of one patient up to a moment, and returns them by their keys. It refuses no_past where
// documents of the view are folded from more than the patient's own streams. The verifier tells where the clock has stepped.
// A stream is left out from an event on that cannot be read or folded, as in the view.
func (p Projection) PatientAsOf(ctx context.Context, v *eventlog.Verifier, who domain.PatientID, until Until,
) (map[string]readmodels.Document, error) {
	log := v.Log()
	until, err := until.resolved(ctx, v)
	if err != nil {
		return nil, err
	}
	if len(p.streams) == 0 {
		return nil, refuse.Malformed("no_past", "the view %s cannot be folded for one patient", p.View.Name).At("asOf").
			Do("ask without asOf, or have the whole view folded by casebook projections as-of")
	}
	decided, err := readDecisions(ctx, log, p.View.Name)
	if err != nil {
		return nil, err
	}
	var events []Envelope
	for _, stream := range p.PatientStreams(who) {
		for at, err := range log.ReadSound(ctx, stream) {
			undecodable := (*eventlog.UndecodableError)(nil)
			if err != nil && !errors.As(err, &undecodable) {
				return nil, err
			}
			if until.passed(at) {
				break
			}
			if decided.Skips(p.View.Version, at.Stream, at.Revision) {
				continue
			}
			if err != nil {
				break
			}
			events = append(events, at)
		}
	}
	slices.SortFunc(events, func(a, b Envelope) int {
		if a.Position.Before(b.Position) {
			return -1
		}
		return 1
	})
	for {
		documents, failed := p.foldAll(events)
		if failed == nil {
			return documents, nil
		}
		events = slices.DeleteFunc(events, func(at Envelope) bool { return at.Stream == failed.Stream && at.Revision >= failed.Revision })
	}
}

// foldAll folds events into the documents that they are about. It returns the event that cannot be folded, if there is one.
func (p Projection) foldAll(events []Envelope) (documents map[string]readmodels.Document, failed *Envelope) {
	documents = map[string]readmodels.Document{}
	for i, at := range events {
		keys, _, err := p.touches(at)
		if err != nil {
			return nil, &events[i]
		}
		for _, key := range keys {
			if documents[key] == nil {
				documents[key] = p.Blank(key)
			}
			if _, err := p.Apply(documents[key], at); err != nil {
				return nil, &events[i]
			}
		}
	}
	return documents, nil
}
