package projections

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"casebook/domain"
	"casebook/domain/projection"
	"casebook/eventlog"
	"casebook/readmodels"

	"golang.org/x/time/rate"
)

// keeper keeps one view: it holds the lease, keeps the active build up to date, and makes a new build beside it when the
// fold has a new version, or when somebody asks for a rebuild.
type keeper struct {
	Projection
	engine *Engine
	// decided receives a value when people have decided something about the view.
	decided chan struct{}
	// status is the checkpoint of the active build; guarded by engine.mu.
	status readmodels.Checkpoint
	// leftAlone is true once it was logged that a newer program keeps the view.
	leftAlone bool
}

// notify tells the keeper that something was decided. It never blocks: the keeper reads all decisions at once.
func (k *keeper) notify() {
	select {
	case k.decided <- struct{}{}:
	default:
	}
}

func (k *keeper) setStatus(at readmodels.Checkpoint) {
	k.engine.mu.Lock()
	defer k.engine.mu.Unlock()
	k.status = at
}

// errNewerProgram says that a newer program has folded the view.
var errNewerProgram = errors.New("a newer program keeps the view")

// run keeps the view whenever this engine holds the lease.
func (k *keeper) run(ctx context.Context) error {
	for ctx.Err() == nil {
		lease, got := k.acquire(ctx)
		if !got {
			return nil
		}
		err := k.hold(ctx, lease)
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		_ = k.engine.store.LeaveLease(leaving, lease) // else it runs out by itself
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the caller has stopped it
		case errors.Is(err, readmodels.ErrLeaseLost):
			k.engine.logger.Warn("another process keeps the view now", "view", k.View.Name)
		case errors.Is(err, errNewerProgram): // mayKeep waits
		case errors.Is(err, readmodels.ErrRefused):
			k.refused(ctx, lease, err)
		case err != nil:
			return err
		}
	}
	return nil
}

// refusedPause is how long a view waits before it asks again for what the store has refused for good.
const refusedPause = 30 * time.Second

// refused notes that the view has stopped, because the store refuses what it needs, and waits: for somebody to change that,
// or for a decision about the view. Other views, and the process, go on.
func (k *keeper) refused(ctx context.Context, lease readmodels.Lease, reason error) {
	e := k.engine
	e.logger.Error("a view has stopped, because the store refuses what it needs", "view", k.View.Name, "error", reason)
	e.mu.Lock()
	at := k.status
	e.mu.Unlock()
	at.State, at.Reason, at.At, at.Token = readmodels.Stopped, reason.Error(), time.Now().UTC(), lease.Token
	if lease.Token != 0 {
		noting, cancel := context.WithTimeout(ctx, e.lease)
		if taken, err := e.store.TakeCheckpoint(noting, k.View, at.Collection, lease.Token); err == nil {
			taken.State, taken.Reason, taken.At = at.State, at.Reason, at.At
			at = taken
			_ = e.store.SaveCheckpoint(noting, at) // the log has the reason too
		}
		cancel()
	}
	k.setStatus(at)
	select {
	case <-ctx.Done():
	case <-k.decided:
	case <-time.After(e.refusedPause):
	}
}

// acquire waits for the lease, and takes it when it is free. Only the end of ctx ends the waiting.
func (k *keeper) acquire(ctx context.Context) (lease readmodels.Lease, got bool) {
	e := k.engine
	watched := leaseWatch{engine: e}
	for {
		lease, err := e.store.LeaseOf(ctx, k.View.Name)
		free := err == nil && watched.free(ctx, lease)
		if free {
			free, err = k.mayKeep(ctx)
		}
		if free {
			// This must not be interrupted: a lease that was taken without our knowing would be used by nobody until it runs out.
			taking, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.lease)
			var taken readmodels.Lease
			taken, err = e.store.TakeLease(taking, lease, e.name, e.lease)
			cancel()
			if err == nil {
				return taken, true
			}
		}
		if refusal := readmodels.Refusal(err); refusal != nil && ctx.Err() == nil {
			k.refused(ctx, readmodels.Lease{}, fmt.Errorf("take the lease on %s: %w", k.View.Name, refusal))
			continue
		}
		if err != nil && !errors.Is(err, readmodels.ErrLeaseLost) && ctx.Err() == nil {
			e.logger.Warn("projections wait for the store", "doing", "take the lease on "+k.View.Name, "error", err)
		}
		select {
		case <-ctx.Done():
			return readmodels.Lease{}, false
		case <-time.After(e.leasePoll()):
		}
	}
}

// leasePoll is how often those that wait for a lease look at it.
func (e *Engine) leasePoll() time.Duration { return min(e.lease/10, time.Second) }

// leaseWatch watches a lease that another process may hold.
type leaseWatch struct {
	engine *Engine
	seen   readmodels.Lease
	// since is when the beat of the lease was seen to change last, and looked when it was last looked at.
	since, looked time.Time
}

// free says whether the lease may be taken: when its holder has left it, or has died on this machine, when the holder is this
// engine, which lost sight of it, or when the holder has not renewed it for as long as a lease lasts. That is so if it had run
// out, by the store's clock, when it was first looked at, or if it was watched for that long by this machine's clock. Time in
// which the store did not answer does not count: the holder could not renew it either.
func (w *leaseWatch) free(ctx context.Context, lease readmodels.Lease) bool {
	e, now, first := w.engine, time.Now(), w.looked.IsZero()
	if first || !lease.SameBeat(w.seen) || now.Sub(w.looked) > max(e.lease/2, 2*time.Second) {
		w.seen, w.since = lease, now
	}
	w.looked = now
	if lease.Holder == "" || lease.Holder == e.name || diedHere(lease.Holder) || now.Sub(w.since) > e.lease {
		return true
	}
	if !first {
		return false
	}
	clock, err := e.store.Now(ctx)
	return err == nil && lease.RunOut(clock)
}

// mayKeep says whether this program may keep the view. One that a newer program has folded is left to newer programs.
func (k *keeper) mayKeep(ctx context.Context) (bool, error) {
	builds, err := k.engine.store.BuildsOf(ctx, k.View)
	if err != nil || builds.Active.Version <= k.View.Version {
		return err == nil, err
	}
	if !k.leftAlone {
		k.leftAlone = true
		k.engine.logger.Warn("a newer program keeps the view; this one leaves it alone", "view", k.View.Name,
			"version", builds.Active.Version, "ours", k.View.Version)
	}
	return false, nil
}

// diedHere says that the holder was a process of this machine that has ended. A wrong guess does no harm, because the token
// keeps the former holder from writing; it only makes two processes take turns.
func diedHere(holder string) bool {
	on, pid, ok := readmodels.HolderOf(holder)
	host, err := os.Hostname()
	if !ok || err != nil || on != host || pid == os.Getpid() {
		return false
	}
	process, err := os.FindProcess(pid)
	return errors.Is(err, os.ErrProcessDone) || err == nil && errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// hold keeps the view, and the lease, until ctx ends or the lease is lost.
func (k *keeper) hold(parent context.Context, lease readmodels.Lease) error {
	ctx, lost := context.WithCancelCause(parent)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		k.renew(ctx, lease, lost)
	}()
	err := k.keep(ctx, lease.Token)
	cause := context.Cause(ctx)
	lost(nil)
	<-renewed
	if parent.Err() == nil && errors.Is(cause, readmodels.ErrLeaseLost) {
		return cause
	}
	return err
}

// renew renews the lease again and again, until another process has taken it. While the store does not answer, nobody can take
// it, and what is written meanwhile is refused if somebody has.
func (k *keeper) renew(ctx context.Context, lease readmodels.Lease, lost context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(k.engine.lease / 4):
		}
		asking, cancel := context.WithTimeout(ctx, k.engine.lease/2)
		err := k.engine.store.KeepLease(asking, lease)
		cancel()
		if errors.Is(err, readmodels.ErrLeaseLost) {
			lost(err)
			return
		}
	}
}

// job is a build that is being folded.
type job struct {
	*runner
	// decisions is how many decisions about the view there were when it began.
	decisions int
	cancel    context.CancelFunc
	ended     chan error
}

func (k *keeper) begin(ctx context.Context, r *runner, work func(context.Context) error) *job {
	ctx, cancel := context.WithCancel(ctx)
	j := &job{runner: r, decisions: k.engine.decisions(k.View.Name).Decisions, cancel: cancel, ended: make(chan error, 1)}
	go func() { j.ended <- work(ctx) }()
	return j
}

// end stops the job and waits for its end.
func (j *job) end() {
	if j != nil {
		j.cancel()
		<-j.ended //nolint:errcheck // it was stopped
	}
}

// endOf returns the channel that receives a job's end; nil, which never receives anything, where there is no job.
func endOf(j *job) <-chan error {
	if j == nil {
		return nil
	}
	return j.ended
}

// keep brings the view up to date and keeps it so, until ctx ends.
func (k *keeper) keep(ctx context.Context, token int64) error {
	// lost is set while the log has another past than the one from which the active build was made.
	builds, lost, err := k.builds(ctx, token)
	if err != nil {
		return err
	}
	var live, building *job
	defer func() {
		live.end()
		building.end()
	}()
	stopped := -1 // how many decisions there were when the active build stopped; it is tried again after the next one
	failed := -1  // the same for the build that is being made
	mended := false
	if lost == nil {
		if mended, err = k.readsMore(ctx); err != nil {
			return err
		}
	}
	// recognise looks again whether the log has the past of the active build.
	recognise := func(patience time.Duration) (err error) {
		at, err := k.recognise(ctx, builds.Active.Collection, token, patience)
		lost = at.Lost
		return err
	}
	for {
		decided, present := k.engine.decisionsIn(k.engine.log.Past(), k.View.Name)
		if fold, known := k.inVersion(builds.Active.Version); lost == nil && live == nil && known && decided.Decisions != stopped {
			r, err := k.runnerOf(ctx, fold, builds.Active.Collection, token)
			if err != nil {
				return err
			}
			live, stopped = k.keepLive(ctx, r), -1
		}
		asked := decided.Wanted() > builds.Request
		needed := builds.Active.Version != k.View.Version || asked || mended || k.reconsidered(decided)
		if lost != nil {
			asked = present && decided.Wanted() > lost.Requests
			needed = builds.Active.Version != k.View.Version || asked
		}
		if old := builds.Building; old != nil && (!needed || old.Version != k.View.Version || old.Request != decided.Wanted() && asked) {
			building.end()
			building = nil
			if builds, err = k.drop(ctx, builds, *old); err != nil {
				return err
			}
		}
		if needed && building == nil && decided.Decisions != failed {
			if builds.Building == nil {
				if lost != nil {
					builds.Request = lost.Requests // those that the lost past held do not count
				}
				if builds, err = k.save(ctx, builds.Next(k.View, decided.Wanted(), decided.Dropped, time.Now().UTC())); err != nil {
					return err
				}
			}
			r, err := k.runnerOf(ctx, k.Projection, builds.Building.Collection, token)
			if err != nil {
				return err
			}
			if n := decided.EventsPerSecond; n > 0 && builds.Building.Request > 0 {
				r.pace = rate.NewLimiter(rate.Limit(n), max(1, n/4))
			}
			if lost == nil {
				r.mayLeaveOut = k.activeLeavesOut
			}
			k.engine.logger.Info("a view is built", "view", k.View.Name, "collection", builds.Building.Collection,
				"from", r.at.Position.Commit)
			building = k.begin(ctx, r, func(ctx context.Context) error { return r.catchUp(ctx, func() bool { return true }) })
		}
		again, err := k.dropOld(ctx, &builds, decided)
		if err != nil {
			return err
		}
		var look <-chan time.Time
		if lost != nil {
			look = time.After(k.engine.lostPause)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look:
			if err := recognise(0); err != nil {
				return err
			}
		case <-k.decided:
			if now := k.engine.decisions(k.View.Name); live != nil && now.Decisions != decided.Decisions && live.skipsMore(decided, now) {
				live.end() // it begins again with the events that have to be skipped
				live = nil
			}
		case <-again:
		case err := <-endOf(live):
			stopped = live.decisions
			live = nil
			switch {
			case errors.Is(err, eventlog.ErrOtherPast):
				stopped = -1
				if err := recognise(k.engine.log.Patience()); err != nil {
					return err
				}
			case !errors.Is(err, errStopped):
				return err
			}
		case err := <-endOf(building):
			built, begun := building.runner, building.decisions
			building = nil
			switch {
			case errors.Is(err, errStopped):
				failed = begun
				continue
			case errors.Is(err, eventlog.ErrOtherPast):
				if builds, err = k.drop(ctx, builds, *builds.Building); err != nil {
					return err
				}
				continue // it is begun again, with what the log holds
			case err != nil:
				return err
			}
			// Nobody may see less than before: the new build has to have seen all that the old one has.
			var seen domain.Position
			if live != nil {
				live.end()
				seen = live.through
				live = nil
			}
			// What the old one has seen may be lost: then the log never comes to it, or comes to other events, and nobody may have asked for
			// the new one in this past.
			if lost == nil {
				if err := recognise(k.engine.log.Patience()); err != nil {
					return err
				}
				if lost != nil {
					continue
				}
			}
			switch err := built.catchUp(ctx, func() bool { return !built.through.Before(seen) }); {
			case errors.Is(err, errStopped):
				failed = begun
				continue
			case errors.Is(err, eventlog.ErrOtherPast):
				if builds, err = k.drop(ctx, builds, *builds.Building); err != nil {
					return err
				}
				continue
			case err != nil:
				return err
			}
			if builds, err = k.save(ctx, builds.Switched(time.Now().UTC())); err != nil {
				return err
			}
			k.engine.logger.Info("a new build of the view is active", "view", k.View.Name, "collection", builds.Active.Collection)
			built.pace, built.mayLeaveOut = nil, nil
			live, stopped, mended, lost = k.keepLive(ctx, built), -1, false, nil
		}
	}
}

// reconsidered says whether people have decided to skip an event or to try again since the active build left a stream out.
// Its documents may have seen later events of other streams, so that the view has to be built anew.
func (k *keeper) reconsidered(decided projection.State) bool {
	k.engine.mu.Lock()
	defer k.engine.mu.Unlock()
	return slices.ContainsFunc(k.status.LeftOut, func(left readmodels.LeftOut) bool { return left.Reconsidered < decided.Reconsidered })
}

// activeLeavesOut says whether the active build leaves out the stream of an event, or has not come to the event yet. A build
// that is made beside it must not leave out more: nobody may see less than before.
func (k *keeper) activeLeavesOut(at Envelope) bool {
	k.engine.mu.Lock()
	defer k.engine.mu.Unlock()
	return k.status.Position.Before(at.Position) ||
		slices.ContainsFunc(k.status.LeftOut, func(left readmodels.LeftOut) bool { return left.Stream == at.Stream })
}

// readsMore says whether this program can read an event that the active build could not: a newer program than the one that
// folded it has come.
func (k *keeper) readsMore(ctx context.Context) (more bool, err error) {
	k.engine.mu.Lock()
	all := k.status.LeftOut
	k.engine.mu.Unlock()
	err = k.engine.retry(ctx, "read again what could not be read for "+k.View.Name, func() error {
		for _, left := range all {
			if !left.Unreadable {
				continue
			}
			for _, err := range k.engine.log.ReadStream(ctx, left.Stream, left.Revision) {
				undecodable := (*eventlog.UndecodableError)(nil)
				if err != nil && !errors.As(err, &undecodable) {
					return err
				}
				more = more || err == nil
				break
			}
		}
		return nil
	})
	return more, err
}

// skipsMore says whether a later decision skips more events.
func (r *runner) skipsMore(was, is projection.State) bool {
	return len(is.Skipped[r.View.Version]) > len(was.Skipped[r.View.Version])
}

// keepLive keeps the active build up to date.
func (k *keeper) keepLive(ctx context.Context, r *runner) *job {
	r.saved = func(folded int, at readmodels.Checkpoint) {
		k.setStatus(at)
		k.engine.metrics.batch(k.View.Name, folded, at)
	}
	k.setStatus(r.at)
	return k.begin(ctx, r, func(ctx context.Context) error {
		for {
			m, err := k.join(ctx, r)
			if err != nil {
				return err
			}
			select {
			case err := <-m.left:
				var failed *foldError
				switch {
				case errors.As(err, &failed):
					r.getPast(failed)
				case errors.Is(err, errDuplicates):
					r.suspect()
				default:
					return err
				}
			case <-ctx.Done():
				k.engine.shared.leave(m)
				return ctx.Err()
			}
		}
	})
}

// joinAttempts is how often a runner tries to reach the members of the shared subscription before they wait for it.
const joinAttempts = 3

// join brings a runner up to the log's end, and makes it a member of the shared subscription.
func (k *keeper) join(ctx context.Context, r *runner) (*member, error) {
	var joined *member
	attempts := 0
	err := r.catchUp(ctx, func() (in bool) {
		joined, in = k.engine.shared.join(r)
		attempts++
		return in || attempts == joinAttempts
	})
	if err != nil || joined != nil {
		return joined, err
	}
	return k.engine.shared.wait(ctx, r)
}

// builds loads the builds of the view, and saves them under this lease. lost is set if the log has another past than the one from
// which the active build was made.
func (k *keeper) builds(ctx context.Context, token int64) (builds readmodels.Builds, lost *readmodels.Lost, err error) {
	e := k.engine
	err = e.retry(ctx, "load the builds of "+k.View.Name, func() error {
		builds, err = e.store.BuildsOf(ctx, k.View)
		return err
	})
	if err != nil {
		return builds, nil, err
	}
	if builds.Active.Version > k.View.Version {
		return builds, nil, errNewerProgram // it has taken over since mayKeep was asked
	}
	at, err := k.recognise(ctx, builds.Active.Collection, token, e.log.Patience())
	if err != nil {
		return builds, nil, err
	}
	if builds.Token == 0 && at.At.IsZero() {
		// Nothing is stored of the view, as after a restore of the log alone. Its first build does what was asked before.
		decided := e.decisions(k.View.Name)
		builds = builds.Fresh(k.View, decided.Requests, decided.Dropped)
	}
	builds.Token = token
	builds, err = k.save(ctx, builds)
	return builds, at.Lost, err
}

// recognise looks whether the log has the past from which a build was made, and returns the build's checkpoint. If the log has
// another past, the checkpoint says so from then on. The build would take new events for those that it has seen, so it is not
// folded any further until somebody has the view rebuilt, or the right log is back.
func (k *keeper) recognise(ctx context.Context, collection string, token int64, patience time.Duration,
) (at readmodels.Checkpoint, err error) {
	e, other := k.engine, error(nil)
	err = e.retry(ctx, "load the checkpoint of "+k.View.Name, func() (err error) {
		if at, err = e.store.LoadBuildCheckpoint(ctx, k.View, collection); err != nil {
			return err
		}
		if other = e.log.Recognise(ctx, at.Position, at.Last, patience); errors.Is(other, eventlog.ErrOtherPast) {
			return nil
		}
		return other
	})
	switch {
	case err != nil:
		return at, err
	case other != nil:
		return k.lose(ctx, at, token, other)
	case at.Lost != nil && at.Last.IsZero(): // nothing tells whether the right log is back
	case at.Lost != nil:
		e.logger.Info("the log from which a view was made is back, and the view goes on", "view", k.View.Name)
		at = at.Begun()
	}
	k.setStatus(at)
	return at, nil
}

// lose notes that the log has another past than the one from which a build was made.
func (k *keeper) lose(ctx context.Context, at readmodels.Checkpoint, token int64, why error) (readmodels.Checkpoint, error) {
	e := k.engine
	if at.Lost == nil {
		e.logger.Error("a view was made from another log than the one that is there, and stands still; put the right log back, or rebuild it",
			"view", k.View.Name, "error", why)
		var decided projection.State
		err := e.retry(ctx, "read what was decided about "+k.View.Name, func() (err error) {
			decided, err = readDecisions(ctx, e.log, k.View.Name)
			return err
		})
		if err != nil {
			return at, err
		}
		at.Lost = &readmodels.Lost{Since: time.Now().UTC(), Requests: decided.Requests}
	}
	at.State, at.Reason, at.FailedAt, at.At, at.Token = readmodels.OtherPast, why.Error(), nil, time.Now().UTC(), token
	err := e.retry(ctx, "note that "+k.View.Name+" was made from another log", func() error { return e.store.SaveCheckpoint(ctx, at) })
	if err == nil {
		k.setStatus(at)
		e.metrics.batch(k.View.Name, 0, at)
	}
	return at, err
}

// readDecisions reads from the log what people have decided about a view.
func readDecisions(ctx context.Context, log *eventlog.Log, view string) (projection.State, error) {
	decided := projection.Decider.Initial
	for at, err := range log.ReadSound(ctx, projection.Decider.Stream(view)) {
		if err != nil {
			return decided, err
		}
		if decision, ok := at.Event.(projection.Event); ok {
			decided = projection.Decider.Evolve(decided, decision)
		}
	}
	return decided, nil
}

func (k *keeper) save(ctx context.Context, builds readmodels.Builds) (readmodels.Builds, error) {
	return builds, k.engine.retry(ctx, "note the builds of "+k.View.Name, func() error { return k.engine.store.SaveBuilds(ctx, builds) })
}

// runnerOf makes the indexes of a build, and returns a runner that folds p into it from its checkpoint on.
func (k *keeper) runnerOf(ctx context.Context, p Projection, collection string, token int64) (r *runner, err error) {
	e := k.engine
	err = e.retry(ctx, "load the checkpoint of "+collection, func() error {
		if err := e.store.IndexBuild(ctx, p.View, collection); err != nil {
			return err
		}
		at, err := e.store.TakeCheckpoint(ctx, p.View, collection, token)
		if err == nil && at.Last.IsZero() { // an earlier program has written it
			at.Last, err = e.log.MarkAt(ctx, at.Position)
		}
		r = e.newRunner(p, collection, at, token)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.skips = e.skips(p.View)
	return r, nil
}

// skips returns a function that says which events a version of a view passes over.
func (e *Engine) skips(v readmodels.View) func(Envelope) bool {
	skipped := map[projection.EventPlace]bool{}
	for _, at := range e.decisions(v.Name).Skipped[v.Version] {
		skipped[at] = true
	}
	return func(at Envelope) bool {
		return len(skipped) > 0 && skipped[projection.EventPlace{Stream: at.Stream, Revision: at.Revision}]
	}
}

// drop gives up a build that is being made.
func (k *keeper) drop(ctx context.Context, builds readmodels.Builds, build readmodels.Build) (readmodels.Builds, error) {
	builds.Building = nil
	builds, err := k.save(ctx, builds)
	if err != nil {
		return builds, err
	}
	return builds, k.engine.retry(ctx, "drop "+build.Collection, func() error { return k.engine.store.DropBuild(ctx, build.Collection) })
}

// dropOld drops the old builds that people have decided to drop, and those that nobody needs any more. A build that was active a moment
// ago is kept for a while: again receives a value when builds have to be looked at once more.
func (k *keeper) dropOld(ctx context.Context, builds *readmodels.Builds, decided projection.State) (again <-chan time.Time, err error) {
	if len(builds.Kept) == 0 {
		return nil, nil
	}
	outlived, err := k.outlived(ctx, *builds)
	if err != nil {
		return nil, err
	}
	wait := min(time.Hour, max(k.engine.keptFor/10, time.Millisecond))
	for _, old := range builds.Kept {
		left := slices.ContainsFunc(outlived, func(b readmodels.Build) bool { return b.Collection == old.Collection })
		if !left && !slices.Contains(decided.Dropped, old.Collection) {
			continue
		}
		if young := time.Until(builds.Since.Add(readmodels.KeptAtLeast)); young > 0 {
			wait = min(wait, young)
			break
		}
		rest := *builds
		rest.Kept = slices.DeleteFunc(slices.Clone(builds.Kept), func(b readmodels.Build) bool { return b.Collection == old.Collection })
		drop := func() error { return k.engine.store.DropBuild(ctx, old.Collection) }
		if err := k.engine.retry(ctx, "drop "+old.Collection, drop); err != nil {
			return nil, err
		}
		if *builds, err = k.save(ctx, rest); err != nil {
			return nil, err
		}
		k.engine.logger.Info("an old build of a view is dropped", "view", k.View.Name, "collection", old.Collection, "version", old.Version,
			"decided", !left)
	}
	return time.After(wait), nil
}

// outlived returns the old builds that nobody needs any more, by the clock of the store.
func (k *keeper) outlived(ctx context.Context, builds readmodels.Builds) (outlived []readmodels.Build, err error) {
	e := k.engine
	err = e.retry(ctx, "look which builds of "+k.View.Name+" are needed", func() error {
		now, err := e.store.Now(ctx)
		if err != nil {
			return err
		}
		seen, err := e.store.VersionsSeen(ctx, k.View.Name)
		outlived = builds.Outlived(now, seen, e.keptFor)
		return err
	})
	return outlived, err
}
