package projections_test

import (
	"os"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/projection"
	"casebook/domain/refuse"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
)

// pastWorld is a world whose event store is replaced by an older copy.
type pastWorld struct {
	*world
	replaceable *storetest.Replaceable
}

func newPastWorld(t *testing.T) *pastWorld {
	t.Helper()
	if os.Getenv(storetest.EventStoreVariable) != "" {
		t.Skip("the given event store cannot be replaced")
	}
	p := &pastWorld{replaceable: storetest.OpenReplaceable(t)}
	p.world = newWorldOn(t, p.replaceable.ConnectionString(), mongoURL)
	p.alone = true
	p.log = p.connect()
	return p
}

// connect returns a log that believes at once that the log has another past.
func (p *pastWorld) connect() *eventlog.Log { return p.connectWith(50 * time.Millisecond) }

func (p *pastWorld) connectWith(patience time.Duration) *eventlog.Log {
	p.t.Helper()
	log, err := eventlog.Connect(p.t.Context(), eventlog.Options{URL: p.replaceable.ConnectionString(), Registry: contexts.Registry(),
		Patience: patience})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = log.Close() })
	return log
}

// replace puts another log in the place of the one that is there, and waits until the writer knows it.
func (p *pastWorld) replace(dir string) {
	p.t.Helper()
	past := p.writer.Past()
	p.replaceable.Restart(dir)
	until(p.t, func() bool { return p.writer.Past() != past })
	clear(p.tails)
}

// engine starts an engine that soon looks whether the right log is back, and returns what stops it.
func (p *pastWorld) engine() (stop func()) {
	p.t.Helper()
	e := projections.NewEngine(projections.Options{Log: p.log, Store: p.store, Projections: contexts.Projections()})
	e.AskAgainAfter(100 * time.Millisecond)
	return p.start(e)
}

// awaitState waits until all views are in a state, and returns how far they have come.
func (p *pastWorld) awaitState(state readmodels.State) map[string]readmodels.Checkpoint {
	p.t.Helper()
	all := map[string]readmodels.Checkpoint{}
	for _, v := range contexts.Views() {
		until(p.t, func() bool {
			all[v.Name] = p.checkpoint(v)
			return all[v.Name].State == state
		})
	}
	return all
}

// equal says that the documents of a view are those that a fresh fold of the log makes.
func (p *pastWorld) equal(v readmodels.View) {
	p.t.Helper()
	of, err := projections.Named(contexts.Projections(), v.Name)
	if err != nil {
		p.t.Fatal(err)
	}
	if c := p.compare(of, p.builds(v).Active); !c.Same() || c.Equal != c.Documents {
		p.t.Errorf("the view %s differs from a fresh fold: %+v", v.Name, c)
	}
}

// TestViewsOfALostPastStandStill puts an older copy in the place of the log, and lets it grow past the position of every view. No
// view takes the new events for those that it has seen: each says that the log is another one, also to a process that starts
// later, until it is rebuilt, or until the right log is back.
func TestViewsOfALostPastStandStill(t *testing.T) {
	p := newPastWorld(t)
	stop := p.engine()
	defer func() { stop() }()
	p.screen(0)
	older := p.replaceable.Backup()
	p.screen(1)
	for _, v := range contexts.Views() { // a view that is not built yet does with its first build what was asked before
		p.wait(v)
	}
	p.decide(diaryviews.Diaries.Name, projection.RebuildRequested{Projection: diaryviews.Diaries.Name, Reason: "in the lost past"})
	p.decide(patientviews.PatientLists.Name, projection.RebuildRequested{Projection: patientviews.PatientLists.Name, Reason: "the same"})
	for _, v := range contexts.Views() {
		p.wait(v)
	}
	until(t, func() bool {
		return p.builds(diaryviews.Diaries).Active.Request == 1 && p.builds(patientviews.PatientLists).Active.Request == 1
	})
	right := p.replaceable.Dir
	seen := p.awaitState(readmodels.Live)

	p.replace(older)
	p.last = 0
	for n := range 20 { // it grows at once
		p.screen(n + 2)
	}
	for name, c := range seen {
		if c.Position.Commit >= p.last {
			t.Fatalf("the log ends at %d, before the position %d of %s", p.last, c.Position.Commit, name)
		}
	}
	check := func(when string, lost map[string]readmodels.Checkpoint) {
		t.Helper()
		for name, c := range lost {
			if was := seen[name]; c.Position != was.Position || c.Events != was.Events || c.Reason == "" || c.Last != was.Last {
				t.Errorf("%s the view %s has become %+v from %+v", when, name, c, was)
			}
		}
		refusal, is := refuse.As(p.store.OfThisLog(t.Context(), patientviews.PatientLists))
		if rows := p.rows(); len(rows) != 2 || !is || refusal.Code != "view_other_past" {
			t.Errorf("%s %d patients are listed, and queries are answered %v", when, len(rows), refusal)
		}
	}
	check("when the log has grown", p.awaitState(readmodels.OtherPast))
	stop()
	p.screen(30)
	p.log = p.connect()
	stop = p.engine()
	time.Sleep(time.Second) // long enough to go on
	check("in another process", p.awaitState(readmodels.OtherPast))

	p.decide(patientviews.PatientLists.Name, projection.RebuildRequested{Projection: patientviews.PatientLists.Name, Reason: "restored"})
	until(t, func() bool { return p.checkpoint(patientviews.PatientLists).State == readmodels.Live })
	p.wait(patientviews.PatientLists)
	if rows := p.rows(); len(rows) != 22 || p.store.OfThisLog(t.Context(), patientviews.PatientLists) != nil {
		t.Errorf("after a rebuild %d patients are listed, want 22", len(rows))
	}
	p.equal(patientviews.PatientLists)
	if c := p.checkpoint(diaryviews.Diaries); c.State != readmodels.OtherPast {
		t.Errorf("the view %s, which nobody has rebuilt, is %s", diaryviews.Diaries.Name, c.State)
	}

	p.replaceable.Restart(right)
	until(t, func() bool { return p.checkpoint(patientviews.PatientLists).State == readmodels.OtherPast })
	for _, v := range contexts.Views() {
		if v.Name == patientviews.PatientLists.Name {
			continue
		}
		until(t, func() bool { return p.checkpoint(v).State == readmodels.Live })
		until(t, func() bool { return p.store.OfThisLog(t.Context(), v) == nil }) // it is known with a delay
	}
	p.equal(diaryviews.Diaries)
}

// TestARestartOfTheLogStopsNoView: the same log comes back, also with events that were not seen yet.
func TestARestartOfTheLogStopsNoView(t *testing.T) {
	p := newPastWorld(t)
	stop := p.engine()
	defer func() { stop() }()
	for n := range 3 {
		p.screen(n)
		p.replaceable.Restart(p.replaceable.Dir)
	}
	for _, v := range contexts.Views() {
		p.wait(v)
	}
	p.awaitState(readmodels.Live)
	stop()
	p.screen(3)
	p.replaceable.Restart(p.replaceable.Dir)
	stop = p.engine()
	for _, v := range contexts.Views() {
		p.wait(v)
	}
	p.awaitState(readmodels.Live)
}

// TestACheckpointOfAnEarlierProgramGetsAMark: earlier programs did not note the last event. The next one does, although nothing
// has happened since.
func TestACheckpointOfAnEarlierProgramGetsAMark(t *testing.T) {
	p := newPastWorld(t)
	stop := p.engine()
	p.screen(0)
	for _, v := range contexts.Views() {
		p.wait(v)
	}
	p.awaitState(readmodels.Live)
	stop()
	for _, v := range contexts.Views() {
		c := p.checkpoint(v)
		c.Last = domain.Mark{}
		if err := p.store.SaveCheckpoint(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	stop = p.engine()
	defer stop()
	// All have seen the end, which the programs themselves may have moved on meanwhile.
	until(t, func() bool {
		marks := map[string]bool{}
		for _, v := range contexts.Views() {
			marks[p.checkpoint(v).Last.ID] = true
		}
		return len(marks) == 1 && !marks[""]
	})
}

// slowRebuild fills the log, and has a view rebuilt slowly. It returns a copy of the log when it had one patient, once the build has
// begun.
func (p *pastWorld) slowRebuild(view readmodels.View) (older string) {
	p.t.Helper()
	p.screen(0)
	older = p.replaceable.Backup()
	for n := range 10 {
		p.screen(n + 1)
	}
	for _, v := range contexts.Views() {
		p.wait(v)
	}
	p.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "slowly", EventsPerSecond: 4})
	until(p.t, func() bool { return p.builds(view).Building != nil })
	return older
}

// TestARebuildThatMeetsAnotherPastBeginsAnew: the log is replaced while a build is made beside the active one.
func TestARebuildThatMeetsAnotherPastBeginsAnew(t *testing.T) {
	p := newPastWorld(t)
	defer p.engine()()
	view := patientviews.PatientLists
	older := p.slowRebuild(view)
	p.replace(older)
	for n := range 20 {
		p.screen(n + 50)
	}
	until(t, func() bool { return p.checkpoint(view).State == readmodels.OtherPast && p.builds(view).Building == nil })
	p.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "from this log"})
	until(t, func() bool { return p.checkpoint(view).State == readmodels.Live })
	if rows := p.rows(); len(rows) != 21 {
		t.Errorf("%d patients are listed, want 21", len(rows))
	}
	p.equal(view)
}

// TestARebuildIsDoneBeforeThePastIsKnown: the build comes to the end of an older log before the active one has noticed that its past
// is lost. It was asked for in that past, and waits for a position that the log may never reach.
func TestARebuildIsDoneBeforeThePastIsKnown(t *testing.T) {
	p := newPastWorld(t)
	p.log = p.connectWith(3 * time.Second)
	defer p.engine()()
	view := patientviews.PatientLists
	older := p.slowRebuild(view)
	p.replace(older)
	until(t, func() bool { return p.checkpoint(view).State == readmodels.OtherPast && p.builds(view).Building == nil })
	p.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "from this log"})
	until(t, func() bool { return p.checkpoint(view).State == readmodels.Live })
	p.equal(view)
}
