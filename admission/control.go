package admission

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"casebook/domain/refuse"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Bounds are the bounds of a class.
type Bounds struct {
	// The limit, which is how many requests of the class are served at a time, begins at First and moves between Least and
	// Most: down while requests take longer than they used to, and up while more of them do not slow them down.
	Least, First, Most uint
	// Queue is how many requests wait beyond the limit, and Wait how long each of them waits at most.
	Queue int
	Wait  time.Duration
	// QueueInPause takes the place of Queue in a pause (see Options.Pause): 0 for Queue. It bounds the memory that waiting
	// requests take.
	QueueInPause int
	// OfUser bounds the requests of one user that are served or wait, beside Options.OfUser: 0 for no bound of the class's own.
	// Without it a user's exports would fill the queue, for which queries of everybody else are refused.
	OfUser int
}

// DefaultBounds returns the bounds of a class for a server of any size. Each class has a limit of its own, so that queries
// take no capacity from diaries and unblinding. The queue of diaries is long, because the patients of a study are reminded
// at the same minute. Ten seconds of a pause fill the queue for it with some hundred requests a second.
func DefaultBounds(c Class) Bounds {
	switch c {
	case Queries, classes:
		return Bounds{Least: 8, First: 32, Most: 512, Queue: 256, Wait: 3 * time.Second, QueueInPause: 1024}
	case Exports:
		return Bounds{Least: 2, First: 8, Most: 64, Queue: 32, Wait: 5 * time.Second, QueueInPause: 128, OfUser: 4}
	case Commands:
		return Bounds{Least: 32, First: 64, Most: 512, Queue: 512, Wait: 5 * time.Second, QueueInPause: 2048}
	case Diaries:
		return Bounds{Least: 64, First: 128, Most: 1024, Queue: 2048, Wait: 10 * time.Second, QueueInPause: 4096}
	case Unblinding:
		return Bounds{Least: 16, First: 32, Most: 128, Queue: 128, Wait: 10 * time.Second, QueueInPause: 512}
	}
	return Bounds{}
}

const (
	// defaultOfUser is how many requests of one user are served or wait at a time.
	defaultOfUser = 64
	// shedLogInterval is the least time between two log lines about refused requests of a class.
	shedLogInterval = 10 * time.Second
	// longestPause is how long requests wait for the end of a pause. What lasts longer is no pause but an outage.
	longestPause = 30 * time.Second
)

// Options of a Control.
type Options struct {
	// Bounds replace the DefaultBounds of the classes that they name.
	Bounds map[Class]Bounds
	// OfUser bounds the requests of one user that are served or wait at a time: 64 when 0.
	OfUser int
	// Pause returns the latest time in which something was away that all requests need, such as the leader of the event store;
	// until is zero while it is away. Waiting for that is no load: in a pause, and for a class's Wait after it, requests of the
	// class wait until they are served or their contexts end, up to QueueInPause of them. Pause is called for every request; nil
	// for no pauses.
	Pause func() (since, until time.Time)
	// Shown returns the position of the log up to which the views that this process keeps show everything; kept is false while it
	// keeps none that has caught up. Nil for no views.
	Shown func() (commit uint64, kept bool)
	// Behind is how long after it was recorded (see Control.Recorded) something may not be shown yet before commands and diaries are
	// held back until the views have caught up: 300 ms when 0, and a negative value holds nothing back. Views that are behind by more
	// than three seconds count as standing still, and hold nothing back either.
	Behind time.Duration
	// Logger is told, every ten seconds at most, that requests of a class are refused; nil for none.
	Logger *slog.Logger
	// Registerer registers the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Control admits requests. It is safe for concurrent use.
type Control struct {
	pools  [classes]*pool
	users  *Tally
	pause  func() (since, until time.Time)
	lag    *lag // nil where nothing is held back
	logger *slog.Logger
}

// pool serves the requests of a class.
type pool struct {
	Bounds
	class   Class
	limiter adaptivelimiter.AdaptiveLimiter[any]
	users   *Tally // nil where the class has no bound of its own for a user
	waiting atomic.Int64
	// waited is how long the request that left the queue last had waited, in nanoseconds; 0 while nobody waits.
	waited atomic.Int64
	// shed counts the refused requests, and unlogged those since the last log line.
	shed, unlogged atomic.Int64
	line           rate.Sometimes
}

// NewControl returns a Control.
func NewControl(o Options) (*Control, error) {
	if o.OfUser == 0 {
		o.OfUser = defaultOfUser
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Pause == nil {
		o.Pause = func() (since, until time.Time) { return since, until }
	}
	a := &Control{users: NewTally(o.OfUser, math.MaxInt), pause: o.Pause, logger: o.Logger}
	if o.Shown != nil && o.Behind >= 0 {
		a.lag = newLag(o.Shown, cmp.Or(o.Behind, defaultBehind))
	}
	for _, c := range Classes() {
		b, given := o.Bounds[c]
		if !given {
			b = DefaultBounds(c)
		}
		if b.Least == 0 || b.First < b.Least || b.Most < b.First || b.Queue < 1 || b.Wait <= 0 || b.QueueInPause < 0 {
			return nil, fmt.Errorf("the class %s cannot have the bounds %+v", c, b)
		}
		b.QueueInPause = max(b.QueueInPause, b.Queue)
		a.pools[c] = &pool{Bounds: b, class: c, line: rate.Sometimes{Interval: shedLogInterval},
			limiter: adaptivelimiter.NewBuilder[any]().WithLimits(b.Least, b.Most, b.First).Build()}
		if b.OfUser > 0 {
			a.pools[c].users = NewTally(b.OfUser, math.MaxInt)
		}
	}
	if o.Registerer == nil {
		return a, nil
	}
	return a, a.register(o.Registerer)
}

// Place is the place of a request among those that are served.
type Place struct {
	control *Control
	pool    *pool
	permit  adaptivelimiter.Permit
	who     string
}

// Enter admits a request of a user or an address. If who is empty, the request counts for nobody. Enter waits while the limit
// of the class is reached, in a pause as long as that lasts, and commands and diaries also wait while the views are too far behind, which
// refuses views_behind if it takes too long. It refuses overloaded if too many requests wait, in this class or
// in a more important one, and too_many_requests if the user has too many requests under way. If it returns no error, Leave or
// GiveUp has to be called.
func (a *Control) Enter(ctx context.Context, c Class, who string) (Place, error) {
	p := a.pools[c]
	if a.Sheds(c) {
		return Place{}, a.refuse(p)
	}
	if !a.take(p, who) {
		return Place{}, refuse.Overload("too_many_requests", "too many requests of the same user are under way").
			Do("send fewer at a time, and this one again in a moment, with the same Idempotency-Key")
	}
	if err := a.hold(ctx, p); err != nil {
		a.forget(p, who)
		return Place{}, err
	}
	permit, ok := p.limiter.TryAcquirePermit()
	if !ok {
		var err error
		if permit, err = a.queue(ctx, p); err != nil {
			a.forget(p, who)
			return Place{}, err
		}
	}
	return Place{control: a, pool: p, permit: permit, who: who}, nil
}

// take counts a request of a user, and reports whether the user may have one more.
func (a *Control) take(p *pool, who string) bool {
	switch {
	case who == "":
		return true
	case !a.users.Take(who):
		return false
	case p.users != nil && !p.users.Take(who):
		a.users.Give(who)
		return false
	}
	return true
}

func (a *Control) forget(p *pool, who string) {
	if who == "" {
		return
	}
	a.users.Give(who)
	if p.users != nil {
		p.users.Give(who)
	}
}

// queue waits for a place.
func (a *Control) queue(ctx context.Context, p *pool) (adaptivelimiter.Permit, error) {
	if p.waiting.Add(1) > int64(a.queueOf(p)) {
		p.waiting.Add(-1)
		return nil, a.refuse(p)
	}
	began, wait := time.Now(), p.Wait
	var permit adaptivelimiter.Permit
	var err error
	for wait > 0 && ctx.Err() == nil {
		permit, err = p.limiter.AcquirePermitWithMaxWait(ctx, wait)
		if !errors.Is(err, adaptivelimiter.ErrExceeded) {
			break
		}
		wait = a.waitsOn(p, began)
	}
	p.waited.Store(int64(time.Since(began)))
	if p.waiting.Add(-1) == 0 {
		p.waited.Store(0)
	}
	switch {
	case permit != nil:
		return permit, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	}
	return nil, a.refuse(p) // the request has waited as long as it may, and nothing of it was done
}

// pauseSlice is how often a request in the queue looks whether the pause goes on.
const pauseSlice = time.Second

// waitsOn returns how much longer a request that began to wait then may do so because of a pause; 0 for no longer.
func (a *Control) waitsOn(p *pool, began time.Time) time.Duration {
	since, until := a.pause()
	switch {
	case since.IsZero():
		return 0
	case until.IsZero() && time.Since(since) < longestPause:
		return pauseSlice
	case until.After(began):
		return p.Wait - time.Since(until)
	}
	return 0
}

// paused says whether there is a pause, or was one just before, so that the requests that have waited for its end are still served.
func (a *Control) paused(p *pool) bool {
	since, until := a.pause()
	switch {
	case since.IsZero():
		return false
	case until.IsZero():
		return time.Since(since) < longestPause
	}
	return time.Since(until) < p.Wait && until.Sub(since) < longestPause
}

// queueOf is how many requests may wait at present.
func (a *Control) queueOf(p *pool) int {
	if a.paused(p) {
		return p.QueueInPause
	}
	return p.Queue
}

// Pauses says whether requests of the class wait for the end of a pause, or have just done so.
func (a *Control) Pauses(c Class) bool { return a.paused(a.pools[c]) }

// Sheds says whether requests of the class are refused at present. A class refuses its own requests when its queue is full,
// or when its requests wait as long as they may. It refuses those of less important classes earlier: commands, for example,
// are the third class, so queries are refused when a third of the queue of commands is full, and exports when two thirds
// are. Whenever a class is refused because of the queue of a more important one, all less important classes are refused too.
// In a pause the queues are longer, and how long requests wait tells nothing.
func (a *Control) Sheds(c Class) bool {
	for k := c; k < classes; k++ {
		p := a.pools[k]
		waiting := p.waiting.Load()
		if waiting == 0 {
			continue
		}
		share, of := int64(c)+1, int64(k)+1
		if waiting*of >= int64(p.Queue)*share || p.waited.Load()*of >= int64(p.Wait)*share {
			if !a.paused(p) || waiting*of >= int64(p.QueueInPause)*share {
				return true
			}
		}
	}
	return false
}

// Refused counts a request of the class that is refused for what Sheds says, and returns the refusal.
func (a *Control) Refused(c Class) error { return a.refuse(a.pools[c]) }

func (a *Control) refuse(p *pool) error {
	p.shed.Add(1)
	p.unlogged.Add(1)
	p.line.Do(func() {
		s := a.Stats(p.class)
		a.logger.Warn("requests are refused because more come than can be served", "class", p.class.String(),
			"refused", p.unlogged.Swap(0), "waiting", s.Waiting, "inFlight", s.InFlight, "limit", s.Limit)
	})
	return refuse.Overload("overloaded", "the server has as many requests of the class %s under way as it takes", p.class).
		Do("send the same request again in a moment, with the same Idempotency-Key")
}

// Leave gives the place back, and tells the limit how long the request has taken, unless it may have waited for the end of a pause.
func (p Place) Leave() {
	if p.control.paused(p.pool) {
		p.permit.Drop()
	} else {
		p.permit.Record()
	}
	p.control.forget(p.pool, p.who)
}

// GiveUp gives the place back where the time since Enter says nothing about the server: the client has gone, or the request
// now waits for something else.
func (p Place) GiveUp() {
	p.permit.Drop()
	p.control.forget(p.pool, p.who)
}

// Stats are the figures of a class.
type Stats struct {
	// InFlight requests are served, Waiting ones wait, and Limit is how many are served at most at present.
	InFlight, Waiting, Limit int
	// Shed requests have been refused since the start.
	Shed int64
}

// Stats returns the figures of a class.
func (a *Control) Stats(c Class) Stats {
	p := a.pools[c]
	return Stats{InFlight: p.limiter.Inflight(), Waiting: int(p.waiting.Load()), Limit: p.limiter.Limit(), Shed: p.shed.Load()}
}

func (a *Control) register(r prometheus.Registerer) error {
	var errs []error
	for _, c := range Classes() {
		label := prometheus.Labels{"class": c.String()}
		gauge := func(name, help string, of func(Stats) int) {
			errs = append(errs, r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: label},
				func() float64 { return float64(of(a.Stats(c))) })))
		}
		gauge("casebook_http_class_in_flight", "Requests of the class that are being served.", func(s Stats) int { return s.InFlight })
		gauge("casebook_http_class_waiting", "Requests of the class that wait for a place.", func(s Stats) int { return s.Waiting })
		gauge("casebook_http_class_limit", "How many requests of the class are served at a time at present.",
			func(s Stats) int { return s.Limit })
		errs = append(errs, r.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "casebook_http_class_shed_total",
			Help: "Requests of the class that were refused because more came than could be served.", ConstLabels: label},
			func() float64 { return float64(a.Stats(c).Shed) })))
		if a.lag != nil && recordsMuch(c) {
			errs = append(errs, r.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "casebook_http_class_held_total",
				Help: "Requests of the class that were held back because the views were behind.", ConstLabels: label},
				func() float64 { return float64(a.lag.held[c].Load()) })))
		}
	}
	if a.lag != nil {
		errs = append(errs, r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "casebook_views_behind_seconds",
			Help: "How long ago the oldest was recorded that the views of this process do not show yet."},
			func() float64 { return a.Behind().Seconds() })))
	}
	return errors.Join(errs...)
}
