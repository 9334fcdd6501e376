package api

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/eventlog"
	"casebook/readmodels"
)

// ChangeSource is where the API learns what is recorded, and which views show it.
type ChangeSource struct {
	// Log is followed while somebody listens; it needs no keys of blinded values.
	Log *eventlog.Log
	// ViewsOf names the views that fold an event.
	ViewsOf func(event any) []string
}

const (
	// A change is told when the views show it. viewPatience is how long they are waited for; a view that has kept others
	// waiting once gets slowPatience until it is back.
	viewPatience = 2 * time.Second
	slowPatience = 50 * time.Millisecond
	// changeBatch bounds the events that are told of together.
	changeBatch = 5000
	// A listener that comes back is told of as many events as maxReplayed, and of so many listeners replays at a time.
	maxReplayed = 20_000
	replays     = 8
	// maxPending bounds the patients, sites and studies of which a listener is told at once.
	maxPending = 1000
	// feedRetry is how long the feed waits when the log could not be followed.
	feedRetry = time.Second
)

// views is a set of views, each by its place in readmodels.Views.
type views uint64

// viewAsk is a way to ask a view: who may, and in which scope.
type viewAsk struct {
	openTo access.Permission
	reach  Reach
}

// changeFeed follows the log for all listeners of the process together, as long as there are any.
type changeFeed struct {
	source ChangeSource
	store  *readmodels.Store
	logger *slog.Logger
	most   int // listeners of one user
	// replayed bounds the events that are looked at again for a listener that comes back.
	replayed int
	asks     [][]viewAsk
	kinds    sync.Map // of views, by the type of an event
	slow     atomic.Uint64
	replay   gate
	wanted   chan struct{}

	mu        sync.Mutex
	stopped   bool
	listeners map[*listener]struct{}
	users     map[domain.UserID]int
	// begun is closed when at is known; both begin anew whenever the log is followed anew.
	begun chan struct{}
	at    domain.Position
	cease context.CancelFunc
}

func newChangeFeed(source ChangeSource, store *readmodels.Store, logger *slog.Logger, most int) *changeFeed {
	f := &changeFeed{source: source, store: store, logger: logger, most: most, replayed: maxReplayed, replay: newGate(replays), wanted: make(chan struct{}, 1),
		listeners: map[*listener]struct{}{}, users: map[domain.UserID]int{}, begun: make(chan struct{}), cease: func() {}}
	for _, v := range f.store.Views() {
		var ways []viewAsk
		for _, q := range Queries() {
			if q.view != nil && q.view.Name == v.Name {
				ways = append(ways, viewAsk{q.OpenTo, q.Reach})
			}
		}
		f.asks = append(f.asks, ways)
	}
	return f
}

// run serves the listeners until ctx ends; then it ends them.
func (f *changeFeed) run(ctx context.Context) error {
	defer f.close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wanted:
		}
		following, cease := context.WithCancel(ctx)
		f.mu.Lock()
		f.cease = cease
		if len(f.listeners) == 0 {
			cease()
		}
		f.mu.Unlock()
		err := f.follow(following)
		cease()
		if err == nil {
			continue
		}
		f.logger.Warn("what changes is not told: the log cannot be followed", "error", err)
		f.miss()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(feedRetry):
		}
	}
}

// follow tells of what is recorded from now on, until ctx ends.
func (f *changeFeed) follow(ctx context.Context) error {
	end, err := f.source.Log.End(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // nobody listens any more
		}
		return err
	}
	f.mu.Lock()
	if ctx.Err() != nil {
		f.mu.Unlock()
		return nil //nolint:nilerr // whoever came since waits for the next begin
	}
	f.at = end
	close(f.begun)
	f.mu.Unlock()
	return f.source.Log.Follow(ctx, eventlog.Subscription{After: end, MaxBatch: changeBatch, KeepUnreadable: true}, func(ctx context.Context, b eventlog.Batch) error {
		changed := f.changed(b.Events)
		behind := f.waitFor(ctx, changed, b.Through)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.at = b.Through
		for l := range f.listeners {
			l.add(changed, behind, b.Through)
		}
		return nil
	})
}

// miss tells all listeners that they have missed something, and has the log followed anew.
func (f *changeFeed) miss() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun = make(chan struct{})
	for l := range f.listeners {
		l.miss(f.at)
	}
	if len(f.listeners) > 0 {
		f.want()
	}
}

func (f *changeFeed) want() {
	select {
	case f.wanted <- struct{}{}:
	default:
	}
}

func (f *changeFeed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	for l := range f.listeners {
		close(l.stopped)
	}
}

// listen takes a listener in; leave has to be called. It refuses too_many_streams and server_stopping.
func (f *changeFeed) listen(l *listener) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	who := l.principal.User
	switch {
	case f.stopped:
		return refuse.Overload("server_stopping", "the server is stopping").Do("connect again in a moment")
	case f.users[who] >= f.most:
		return refuse.Overload("too_many_streams", "%s listens to changes %d times already", who, f.most).Do("end one of these, or share it between pages")
	}
	f.users[who]++
	f.listeners[l] = struct{}{}
	if len(f.listeners) == 1 {
		f.want()
	}
	return nil
}

func (f *changeFeed) leave(l *listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listeners, l)
	if f.users[l.principal.User]--; f.users[l.principal.User] == 0 {
		delete(f.users, l.principal.User)
	}
	if len(f.listeners) == 0 {
		f.cease()
		f.begun = make(chan struct{})
	}
}

// place waits until the log is followed, and returns behind which position the listener is told of everything.
func (f *changeFeed) place(ctx context.Context) (domain.Position, error) {
	f.mu.Lock()
	begun := f.begun
	f.mu.Unlock()
	select {
	case <-begun:
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.at, nil
	case <-ctx.Done():
		return domain.Position{}, ctx.Err()
	}
}

// errReplayed ends a replay.
var errReplayed = errors.New("all is replayed")

// resume tells a listener what was recorded behind one position, up to another; that it has missed something where that
// is too much, or where the log does not go so far.
func (f *changeFeed) resume(ctx context.Context, l *listener, after, to domain.Position) error {
	if !after.Before(to) {
		if to.Before(after) { // it is told soon what the listener knows already, unless it knows another log
			if end, err := f.source.Log.End(ctx); err != nil || end.Before(after) {
				l.miss(to)
			}
		}
		return nil
	}
	if f.replay.enter() != nil {
		l.miss(to)
		return nil
	}
	defer f.replay.leave()
	changed, seen := map[domain.Scope]views{}, 0
	err := f.source.Log.Follow(ctx, eventlog.Subscription{After: after, MaxBatch: changeBatch, KeepUnreadable: true}, func(_ context.Context, b eventlog.Batch) error {
		f.addTo(changed, b.Events)
		if seen += len(b.Events); seen > f.replayed || b.Live || !b.Through.Before(to) {
			return errReplayed
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case seen > f.replayed, err != nil && !errors.Is(err, errReplayed):
		l.miss(to)
		return nil
	}
	l.add(changed, f.waitFor(ctx, changed, to), to)
	return nil
}

func (f *changeFeed) changed(events []eventlog.Recorded) map[domain.Scope]views {
	changed := map[domain.Scope]views{}
	f.addTo(changed, events)
	return changed
}

func (f *changeFeed) addTo(changed map[domain.Scope]views, events []eventlog.Recorded) {
	for _, at := range events {
		touched := f.viewsOf(at.Event)
		if touched == 0 {
			continue
		}
		for _, scope := range scopesOf(at) {
			changed[scope] |= touched
		}
	}
}

// viewsOf are the views that fold events of the event's type.
func (f *changeFeed) viewsOf(event any) (of views) {
	kind := reflect.TypeOf(event)
	if known, ok := f.kinds.Load(kind); ok {
		of, _ = known.(views)
		return of
	}
	for _, name := range f.source.ViewsOf(event) {
		for i, v := range f.store.Views() {
			if v.Name == name {
				of |= 1 << i
			}
		}
	}
	f.kinds.Store(kind, of)
	return of
}

// scopesOf are those in which views show an event.
func scopesOf(at eventlog.Recorded) []domain.Scope {
	recorded := domain.Scope{Study: at.Metadata.Study, Site: at.Metadata.Site, Patient: at.Metadata.Patient}
	if e, ok := at.Event.(domain.ShownElsewhere); ok {
		return e.ShownIn(recorded)
	}
	return []domain.Scope{recorded}
}

// waitFor waits until the views show what has changed, and returns those that do not in time.
func (f *changeFeed) waitFor(ctx context.Context, changed map[domain.Scope]views, through domain.Position) (behind views) {
	var all views
	for _, of := range changed {
		all |= of
	}
	if all == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, viewPatience)
	defer cancel()
	slow := views(f.slow.Load())
	for i, v := range f.store.Views() {
		if all&(1<<i) == 0 {
			continue
		}
		if f.waitForView(ctx, v, through.Commit, slow&(1<<i) != 0) != nil {
			behind |= 1 << i
		}
	}
	f.slow.Store(uint64(slow&^all | behind))
	return behind
}

func (f *changeFeed) waitForView(ctx context.Context, v readmodels.View, commit uint64, slow bool) error {
	if slow {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, slowPatience)
		defer cancel()
	}
	return f.store.WaitFor(ctx, v, commit)
}

// may returns the views that a principal may ask about a scope.
func (f *changeFeed) may(p access.Principal, scope domain.Scope) (allowed views) {
	for i, ways := range f.asks {
		for _, way := range ways {
			if way.reaches(p, scope) {
				allowed |= 1 << i
				break
			}
		}
	}
	return allowed
}

func (w viewAsk) reaches(p access.Principal, scope domain.Scope) bool {
	asked := domain.Scope{Study: scope.Study, Site: scope.Site}
	switch {
	case w.reach == ReachPatient && scope.Patient == "", w.reach == ReachSelf, (w.reach == ReachAnywhere) != (scope.Study == ""):
		return false
	case w.reach == ReachPatient:
		asked = scope
	case w.reach == ReachSites && scope.Site == "":
		sites, whole := p.Sites(w.openTo, scope.Study)
		return whole || len(sites) > 0
	}
	_, err := p.Authorize("", w.openTo, asked)
	return err == nil
}

// names are those of the views in a set.
func (f *changeFeed) names(of views) []string {
	names := []string{}
	for i, view := range f.store.Views() {
		if of&(1<<i) != 0 {
			names = append(names, view.Name)
		}
	}
	return names
}
