package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"casebook/domain"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// VerifierStore keeps what a Verifier has found, so that the next one goes on from there. Several Verifiers save the
// same, in any order.
type VerifierStore interface {
	LoadVerified(ctx context.Context) (domain.Verified, error)
	SaveDamage(ctx context.Context, d domain.Damage) error
	SaveClockStep(ctx context.Context, s domain.ClockStep) error
	// SaveVerified saves how far the log has been verified, the mark of the last event up to there, and the latest time; it is
	// called after what was found up to there has been saved.
	SaveVerified(ctx context.Context, through domain.Position, last domain.Mark, latest time.Time) error
	// ForgetVerified drops all that was saved: it was found in another log.
	ForgetVerified(ctx context.Context) error
}

// VerifierOptions of a Verifier.
type VerifierOptions struct {
	Log *Log
	// Store keeps what was found; if it is nil, every Verifier begins at the beginning of the log.
	Store VerifierStore
	// Logger receives the alarms.
	Logger *slog.Logger
	// Registerer registers the metrics; nil for none.
	Registerer prometheus.Registerer
	// CachedTails bounds how many streams' ends are kept in memory, at about 200 bytes each; 100,000 when 0. The end of
	// another stream is read from the log.
	CachedTails int
}

// Verifier follows the whole log and checks the hash chain of every stream. Those who follow the log through it are not
// given an event before it has been checked, and are given a Damaged in place of an event that is no part of the record.
// A break of a chain is an alarm. It is safe for concurrent use.
type Verifier struct {
	log     *Log
	store   VerifierStore
	logger  *slog.Logger
	metrics verifierMetrics
	// reachedEnd closes atEnd, once.
	reachedEnd func()
	// tails are the ends of the streams as far as they have been verified.
	tails *lru.Cache[string, Tail]

	// damaged holds the damages of the damaged streams, by the streams' names. The map is replaced, never changed.
	damaged atomic.Pointer[map[string]damages]

	mu     sync.Mutex
	found  domain.Verified // without Damages
	loaded bool            // whether what the store keeps is known
	moved  chan struct{}
	// atEnd is closed when the end of the log was reached for the first time.
	atEnd   chan struct{}
	unsaved struct {
		damages []domain.Damage
		steps   []domain.ClockStep
	}
}

// ClockTolerance is how far the times of consecutive events may go back: commands take their time before they are recorded,
// and the clocks of several servers differ a little. What goes back further is a step of the clock.
const ClockTolerance = time.Minute

const (
	defaultCachedTails = 100_000
	// verifyBatch is how many events are checked together at most. A batch's first events of streams whose ends are not in
	// memory have the ends read together.
	verifyBatch = 2000
	// verifiedEvery is how often it is saved how far the log has been verified.
	verifiedEvery = 2 * time.Second
	// maxClockSteps bounds the steps that are kept; the clocks of two servers that differ by more than the tolerance make one
	// again and again.
	maxClockSteps = 1000
	// lastSave bounds how long the end waits for the store.
	lastSave = 2 * time.Second
)

// NewVerifier returns a verifier; Run starts it.
func NewVerifier(o VerifierOptions) *Verifier {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CachedTails == 0 {
		o.CachedTails = defaultCachedTails
	}
	tails, err := lru.New[string, Tail](o.CachedTails)
	if err != nil {
		panic(err) // only for a size below 1
	}
	v := &Verifier{log: o.Log, store: o.Store, logger: o.Logger, metrics: newVerifierMetrics(o.Registerer), tails: tails,
		moved: make(chan struct{}), atEnd: make(chan struct{})}
	v.reachedEnd = sync.OnceFunc(func() { close(v.atEnd) })
	v.damaged.Store(&map[string]damages{})
	return v
}

type verifierMetrics struct {
	position prometheus.Gauge
	damaged  prometheus.Gauge
	steps    prometheus.Gauge
	reads    prometheus.Counter
}

func newVerifierMetrics(r prometheus.Registerer) verifierMetrics {
	m := verifierMetrics{
		position: prometheus.NewGauge(prometheus.GaugeOpts{Name: "casebook_verified_position",
			Help: "Log position up to which the hash chains of all streams have been checked."}),
		damaged: prometheus.NewGauge(prometheus.GaugeOpts{Name: "casebook_damaged_streams",
			Help: "Streams whose hash chain is broken. Anything but 0 is an alarm."}),
		steps: prometheus.NewGauge(prometheus.GaugeOpts{Name: "casebook_log_clock_steps",
			Help: "Places in the log at which the recorded times go back by more than a minute."}),
		reads: prometheus.NewCounter(prometheus.CounterOpts{Name: "casebook_verifier_reads_total",
			Help: "Ends of streams that were read from the log because they were not in memory."}),
	}
	if r != nil {
		r.MustRegister(m.position, m.damaged, m.steps, m.reads)
	}
	return m
}

// Log returns the log that is verified.
func (v *Verifier) Log() *Log { return v.log }

// Run verifies the log until ctx ends, first what has not been verified before, then each new event.
func (v *Verifier) Run(ctx context.Context) error {
	for {
		err := v.run(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the caller has stopped it
		}
		if errors.Is(err, ErrOtherPast) {
			v.logger.Error("what was verified is not what the log holds, which is verified again from its beginning", "error", err)
			err = v.forget(ctx)
		}
		if err != nil {
			v.logger.Warn("the log is not being verified", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(subscriptionRetry):
		}
	}
}

func (v *Verifier) run(ctx context.Context) error {
	if err := v.load(ctx); err != nil {
		return err
	}
	saved := time.Now()
	v.tails.Purge()
	err := v.log.Follow(ctx, Subscription{After: v.Through(), Last: v.last(), Undecoded: true, MaxBatch: verifyBatch,
		OnError: func(err error) { v.logger.Warn("the verifier waits for the log", "error", err) },
	}, func(ctx context.Context, b Batch) error {
		latest, found, steps, err := v.verify(ctx, b.Events)
		if err != nil {
			return err
		}
		// What was found has to be known before followers may pass.
		for stream, d := range found {
			v.replace(stream, d)
		}
		v.move(b.Through, b.Last, latest, steps)
		if b.Live {
			v.reachedEnd()
		}
		if len(found)+len(steps) > 0 || time.Since(saved) > verifiedEvery {
			saved = time.Now()
			v.save(ctx)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSave)
	defer cancel()
	v.save(ctx)
	return err
}

// load learns once what the store keeps.
func (v *Verifier) load(ctx context.Context) error {
	if v.store == nil {
		return nil
	}
	v.mu.Lock()
	loaded := v.loaded
	v.mu.Unlock()
	if loaded {
		return nil
	}
	kept, err := v.store.LoadVerified(ctx)
	if err != nil {
		return fmt.Errorf("load how far the log has been verified: %w", err)
	}
	kept.Damages = slices.Clone(kept.Damages)
	for _, d := range kept.Damages {
		v.change(d.Stream, func(known damages) damages { return known.with(d) })
	}
	v.mu.Lock()
	v.loaded = true
	v.mu.Unlock()
	v.move(kept.Through, kept.Last, kept.Latest, kept.Steps)
	v.mu.Lock()
	v.unsaved.steps = nil
	v.mu.Unlock()
	return nil
}

// forget drops what was found in another log.
func (v *Verifier) forget(ctx context.Context) error {
	if v.store != nil {
		if err := v.store.ForgetVerified(ctx); err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found = domain.Verified{}
	v.damaged.Store(&map[string]damages{})
	v.unsaved.damages, v.unsaved.steps = nil, nil
	v.metrics.position.Set(0)
	v.metrics.damaged.Set(0)
	v.metrics.steps.Set(0)
	return nil
}

// save stores what was found, and then how far the log has been verified. What cannot be stored is stored the next time.
func (v *Verifier) save(ctx context.Context) {
	if v.store == nil {
		return
	}
	v.mu.Lock()
	unsaved, through, last, latest := v.unsaved, v.found.Through, v.found.Last, v.found.Latest
	v.unsaved.damages, v.unsaved.steps = nil, nil
	v.mu.Unlock()
	err := func() error {
		for ; len(unsaved.damages) > 0; unsaved.damages = unsaved.damages[1:] {
			if err := v.store.SaveDamage(ctx, unsaved.damages[0]); err != nil {
				return err
			}
		}
		for ; len(unsaved.steps) > 0; unsaved.steps = unsaved.steps[1:] {
			if err := v.store.SaveClockStep(ctx, unsaved.steps[0]); err != nil {
				return err
			}
		}
		return v.store.SaveVerified(ctx, through, last, latest)
	}()
	if err == nil {
		return
	}
	v.logger.Warn("what was verified of the log could not be saved; it is tried again", "error", err)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.unsaved.damages = append(unsaved.damages, v.unsaved.damages...)
	v.unsaved.steps = append(unsaved.steps, v.unsaved.steps...)
}

// replace sets the damages of a stream, and says and saves which of them are new.
func (v *Verifier) replace(stream string, found damages) {
	before, after := v.change(stream, func(known damages) damages {
		for _, d := range found {
			known = known.with(d)
		}
		return known
	})
	for _, d := range after {
		if slices.ContainsFunc(before, func(known domain.Damage) bool {
			return known.Revision == d.Revision && (known.Resolution == nil) == (d.Resolution == nil)
		}) {
			continue
		}
		if r := d.Resolution; r == nil {
			v.logger.Error("the record is damaged: the events of this stream are no part of the record from here on, and commands on it are refused",
				"stream", d.Stream, "revision", d.Revision, "position", d.Position.Commit, "type", d.Type, "reason", d.Reason)
		} else {
			v.logger.Warn("damage of the record is resolved: the damaged events of this stream are disregarded, and it goes on behind them",
				"stream", d.Stream, "revision", d.Revision, "proposedBy", r.ProposedBy, "confirmedBy", r.ConfirmedBy, "why", r.Reason)
		}
		v.mu.Lock()
		v.unsaved.damages = append(v.unsaved.damages, d)
		v.mu.Unlock()
	}
}

// change changes the damages of a stream, and returns those before and after.
func (v *Verifier) change(stream string, to func(damages) damages) (before, after damages) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := maps.Clone(*v.damaged.Load())
	before = all[stream]
	if after = to(before); len(after) > 0 {
		all[stream] = after
	}
	v.damaged.Store(&all)
	unresolved := 0
	for _, of := range all {
		if of.unresolved() != nil {
			unresolved++
		}
	}
	v.metrics.damaged.Set(float64(unresolved))
	return before, after
}

// Report raises the alarm about a damaged stream that another reader has found, such as a command. It does
// nothing if v is nil.
func (v *Verifier) Report(d domain.Damage) {
	if v != nil {
		v.replace(d.Stream, damages{d})
	}
}

// move notes how far the log has been verified, and wakes those who wait for it.
func (v *Verifier) move(through domain.Position, last domain.Mark, latest time.Time, steps []domain.ClockStep) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range steps {
		v.logger.Warn("the recorded times go back: the clock was set, or had been ahead until then",
			"position", s.Position.Commit, "from", s.From, "to", s.To)
	}
	if v.found.Through.Before(through) {
		v.found.Through, v.found.Last = through, last
	}
	v.found.Latest, v.found.Steps = latest, append(slices.Clip(v.found.Steps), steps...)
	v.unsaved.steps = append(v.unsaved.steps, steps...)
	v.metrics.position.Set(float64(v.found.Through.Commit))
	v.metrics.steps.Set(float64(len(v.found.Steps)))
	close(v.moved)
	v.moved = make(chan struct{})
}

// Through returns the position up to which the log has been verified.
func (v *Verifier) Through() domain.Position {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.found.Through
}

// last returns the mark of the last event that has been verified.
func (v *Verifier) last() domain.Mark {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.found.Last
}

// standsStill is how long an event may wait to be verified.
const standsStill = 5 * time.Second

// KeepsUp returns an error if the first event that is not verified was stored some time ago: those who follow the log through the
// verifier hear of nothing behind it.
func (v *Verifier) KeepsUp(ctx context.Context) error {
	through := v.Through()
	stored, is, err := v.log.FirstAfter(ctx, through)
	if err != nil || !is {
		return err
	}
	if waits := time.Since(stored); waits > standsStill && v.Through() == through {
		return fmt.Errorf("the log is verified up to position %d; the event behind it has waited for %s", through.Commit,
			waits.Round(time.Millisecond))
	}
	return nil
}

// Found returns what is known: how far the log has been verified, the damaged streams in the order of the log, and the steps
// of the clock.
func (v *Verifier) Found() domain.Verified {
	v.mu.Lock()
	defer v.mu.Unlock()
	found := v.found
	for _, of := range *v.damaged.Load() {
		found.Damages = append(found.Damages, of...)
	}
	slices.SortFunc(found.Damages, func(a, b domain.Damage) int {
		if a.Position.Before(b.Position) {
			return -1
		}
		return 1
	})
	return found
}

// Await waits until the log has been verified up to a position, or ctx ends.
func (v *Verifier) Await(ctx context.Context, position domain.Position) error {
	for {
		v.mu.Lock()
		reached, moved := !v.found.Through.Before(position), v.moved
		v.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("the log is not verified up to position %d yet: %w", position.Commit, ctx.Err())
		}
	}
}

// AwaitEnd waits until the end of the log has been reached for the first time, or ctx ends.
func (v *Verifier) AwaitEnd(ctx context.Context) error {
	select {
	case <-v.atEnd:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the log is not verified up to its end yet: %w", ctx.Err())
	}
}

// Check waits until events are verified, and puts a Damaged in place of those that are no part of the record. The events are
// in the order of the log.
func (v *Verifier) Check(ctx context.Context, events []Recorded) error {
	if len(events) == 0 {
		return nil
	}
	if err := v.Await(ctx, events[len(events)-1].Position); err != nil {
		return err
	}
	damaged := *v.damaged.Load()
	if len(damaged) == 0 {
		return nil
	}
	for i := range events {
		if d := damaged[events[i].Stream].of(events[i]); d != nil {
			events[i].Event = Damaged{*d}
		}
	}
	return nil
}

// Follow is Log.Follow for those who must not take for the record what is not. It waits until the events of a batch are
// verified. An event that is no part of the record has a Damaged as its Event, one that cannot be decoded an Unreadable.
func (v *Verifier) Follow(ctx context.Context, s Subscription, handle func(context.Context, Batch) error) error {
	s.KeepUnreadable = true
	return v.log.Follow(ctx, s, func(ctx context.Context, b Batch) error {
		if err := v.Check(ctx, b.Events); err != nil {
			return err
		}
		return handle(ctx, b)
	})
}
