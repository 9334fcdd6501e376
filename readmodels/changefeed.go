package readmodels

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
)

// ChangeLog is the log as the feed of changes follows it.
type ChangeLog interface {
	// End returns the position of the log's last event.
	End(ctx context.Context) (domain.Position, error)
	// Follow calls give with the events after a position, in order and in batches: first those that the log holds, then new
	// ones as they are recorded. It returns nil when ctx ends, and the error of give if that fails.
	Follow(ctx context.Context, after domain.Position, give func(context.Context, ChangeBatch) error) error
}

// ChangeBatch holds consecutive events.
type ChangeBatch struct {
	Events []RecordedChange
	// Through is the position up to which the log has been read. It may lie after the last event.
	Through domain.Position
	// CaughtUp says that no further event was waiting when the batch was made.
	CaughtUp bool
}

// RecordedChange is what the feed knows of an event.
type RecordedChange struct {
	// Views are the names of the views that fold it, Scopes those in which they show it.
	Views  []string
	Scopes []domain.Scope
}

// ChangeFeedOptions of a ChangeFeed.
type ChangeFeedOptions struct {
	// Log is followed while somebody listens.
	Log   ChangeLog
	Store *Store
	// Queries say who may ask which views, and so who may hear that a view has changed.
	Queries []Query
	// Logger takes interruptions; nil for none.
	Logger *slog.Logger
	// ListenersOfUser bounds how often one user listens at a time: 8 when 0.
	ListenersOfUser int
	// MaxReplayed bounds the events that are read again for a listener that comes back: 20,000 when 0.
	MaxReplayed int
}

const (
	// Listeners hear of a change when the views show it. viewPatience is how long the feed waits for a view. A view that
	// was too slow gets slowPatience until it is in time again.
	viewPatience = 2 * time.Second
	slowPatience = 50 * time.Millisecond
	// replays bounds for how many listeners events are read again at a time.
	replays = 8
	// maxPending bounds the patients, sites and studies in one message.
	maxPending = 1000
	// feedRetry is how long the feed waits after it could not follow the log.
	feedRetry = time.Second

	defaultListenersOfUser = 8
	defaultMaxReplayed     = 20_000
)

// viewSet is a set of views. Bit i is the view at index i of Store.Views.
type viewSet uint64

// ChangeFeed tells listeners which views have changed about what, as far as they may ask these views. It follows the log
// for all of them together, as long as there are any. It is safe for concurrent use.
type ChangeFeed struct {
	options ChangeFeedOptions
	views   []View
	// index holds the index of each view in views, by its name.
	index map[string]int
	// ways holds the ways in which each view can be asked.
	ways [][]way
	slow atomic.Uint64
	// replaying bounds the replays that run at a time.
	replaying chan struct{}
	wanted    chan struct{}

	mu        sync.Mutex
	stopped   bool
	listeners map[*Listener]struct{}
	users     map[domain.UserID]int
	// begun is closed when at is known. Both are reset when the feed begins to follow the log again.
	begun chan struct{}
	at    domain.Position
	cease context.CancelFunc
}

// way is a way to ask a view: who may, and in which scope.
type way struct {
	openTo access.Permission
	reach  Reach
}

// NewChangeFeed returns a feed. Run has to be running for listeners to hear anything.
func NewChangeFeed(o ChangeFeedOptions) *ChangeFeed {
	orDefault(&o.ListenersOfUser, defaultListenersOfUser)
	orDefault(&o.MaxReplayed, defaultMaxReplayed)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &ChangeFeed{options: o, views: o.Store.Views(), index: map[string]int{}, replaying: make(chan struct{}, replays),
		wanted: make(chan struct{}, 1), listeners: map[*Listener]struct{}{}, users: map[domain.UserID]int{},
		begun: make(chan struct{}), cease: func() {}}
	f.ways = make([][]way, len(f.views))
	for i, v := range f.views {
		f.index[v.Name] = i
	}
	for _, q := range o.Queries {
		for _, v := range q.Views {
			if i, ok := f.index[v.Name]; ok {
				f.ways[i] = append(f.ways[i], way{q.OpenTo, q.Reach})
			}
		}
	}
	return f
}

// Run serves the listeners until ctx ends. Then it stops them.
func (f *ChangeFeed) Run(ctx context.Context) error {
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
		f.options.Logger.Warn("listeners hear of no changes: the log cannot be followed", "error", err)
		f.miss()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(feedRetry):
		}
	}
}

// follow passes on to the listeners what is recorded from now on, until ctx ends.
func (f *ChangeFeed) follow(ctx context.Context) error {
	end, err := f.options.Log.End(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // nobody listens any more
		}
		return err
	}
	f.mu.Lock()
	if ctx.Err() != nil {
		f.mu.Unlock()
		return nil //nolint:nilerr // listeners that came since wait until the log is followed again
	}
	f.at = end
	close(f.begun)
	f.mu.Unlock()
	return f.options.Log.Follow(ctx, end, func(ctx context.Context, b ChangeBatch) error {
		changed := map[domain.Scope]viewSet{}
		f.addTo(changed, b.Events)
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

// miss lets all listeners know that they have missed changes, and begins to follow the log again.
func (f *ChangeFeed) miss() {
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

func (f *ChangeFeed) want() {
	select {
	case f.wanted <- struct{}{}:
	default:
	}
}

func (f *ChangeFeed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	for l := range f.listeners {
		close(l.stopped)
	}
}

// MayListen refuses what Listen refuses because of who asks for what.
func (f *ChangeFeed) MayListen(p access.Principal, q ChangesQuery) error {
	of, err := f.named(q.Views)
	if err != nil {
		return err
	}
	return newListener(f, p, q.Scope(), of).allowed(p)
}

// Listen adds a listener. The caller must call Leave. Listen refuses view_not_found, not_allowed if the listener
// could never hear of a change, too_many_streams and server_stopping.
func (f *ChangeFeed) Listen(p access.Principal, q ChangesQuery) (*Listener, error) {
	of, err := f.named(q.Views)
	if err != nil {
		return nil, err
	}
	l := newListener(f, p, q.Scope(), of)
	if err := l.allowed(p); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.stopped:
		return nil, refuse.Overload("server_stopping", "the server is stopping").Do("connect again in a moment")
	case f.users[p.User] >= f.options.ListenersOfUser:
		return nil, refuse.Overload("too_many_streams", "%s listens to changes %d times already", p.User, f.options.ListenersOfUser).
			Do("end one of these, or share it between pages")
	}
	f.users[p.User]++
	f.listeners[l] = struct{}{}
	if len(f.listeners) == 1 {
		f.want()
	}
	return l, nil
}

func (f *ChangeFeed) leave(l *Listener) {
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

// began waits until the feed follows the log. It returns the position after which listeners hear of every change.
func (f *ChangeFeed) began(ctx context.Context) (domain.Position, error) {
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

// replay passes on to a listener what was recorded between two positions. If that is too much, or if the log does not reach
// so far, the listener only learns that it has missed changes.
func (f *ChangeFeed) replay(ctx context.Context, l *Listener, after, to domain.Position) error {
	if !after.Before(to) {
		if to.Before(after) { // the listener is ahead of the feed, or its position is one of another log
			if end, err := f.options.Log.End(ctx); err != nil || end.Before(after) {
				l.miss(to)
			}
		}
		return nil
	}
	select {
	case f.replaying <- struct{}{}:
	default:
		l.miss(to)
		return nil
	}
	defer func() { <-f.replaying }()
	changed, seen := map[domain.Scope]viewSet{}, 0
	err := f.options.Log.Follow(ctx, after, func(_ context.Context, b ChangeBatch) error {
		f.addTo(changed, b.Events)
		if seen += len(b.Events); seen > f.options.MaxReplayed || b.CaughtUp || !b.Through.Before(to) {
			return errReplayed
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case seen > f.options.MaxReplayed, err != nil && !errors.Is(err, errReplayed):
		l.miss(to)
		return nil
	}
	l.add(changed, f.waitFor(ctx, changed, to), to)
	return nil
}

func (f *ChangeFeed) addTo(changed map[domain.Scope]viewSet, events []RecordedChange) {
	for _, e := range events {
		var folding viewSet
		for _, name := range e.Views {
			if i, ok := f.index[name]; ok {
				folding |= 1 << i
			}
		}
		if folding == 0 {
			continue
		}
		for _, scope := range e.Scopes {
			changed[scope] |= folding
		}
	}
}

// waitFor waits until the views show what has changed. It returns the views that do not show it in time.
func (f *ChangeFeed) waitFor(ctx context.Context, changed map[domain.Scope]viewSet, through domain.Position) (behind viewSet) {
	var all viewSet
	for _, of := range changed {
		all |= of
	}
	if all == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, viewPatience)
	defer cancel()
	slow := viewSet(f.slow.Load())
	for i, v := range f.views {
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

func (f *ChangeFeed) waitForView(ctx context.Context, v View, commit uint64, slow bool) error {
	if slow {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, slowPatience)
		defer cancel()
	}
	return f.options.Store.WaitFor(ctx, v, commit)
}

// allowed returns the views that a principal may ask about a scope.
func (f *ChangeFeed) allowed(p access.Principal, scope domain.Scope) (views viewSet) {
	for i, ways := range f.ways {
		for _, way := range ways {
			if way.reaches(p, scope) {
				views |= 1 << i
				break
			}
		}
	}
	return views
}

func (w way) reaches(p access.Principal, scope domain.Scope) bool {
	within := domain.Scope{Study: scope.Study, Site: scope.Site}
	ofPatient := w.reach == ReachPatient || w.reach == ReachOwn
	switch {
	case ofPatient && scope.Patient == "", w.reach == ReachSelf, (w.reach == ReachAnywhere) != (scope.Study == ""):
		return false
	case ofPatient:
		within = scope
	case w.reach == ReachSites && scope.Site == "":
		sites, whole := p.Sites(w.openTo, scope.Study)
		return whole || len(sites) > 0
	}
	_, err := p.Authorize("", w.openTo, within)
	return err == nil
}

// named returns the views with these names, or all views if there are no names. It refuses view_not_found.
func (f *ChangeFeed) named(names ViewNames) (of viewSet, err error) {
	if len(names) == 0 {
		return ^viewSet(0), nil
	}
	for _, name := range names {
		i, ok := f.index[name]
		if !ok {
			return 0, refuse.NotFound("view_not_found", "there is no view %q", shortened(name)).At("view").
				Do("the list of projections has their names")
		}
		of |= 1 << i
	}
	return of, nil
}

// names returns the names of the views in a set.
func (f *ChangeFeed) names(of viewSet) []string {
	names := []string{}
	for i, view := range f.views {
		if of&(1<<i) != 0 {
			names = append(names, view.Name)
		}
	}
	return names
}
