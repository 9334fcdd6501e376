package projections_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/projection"
	"casebook/eventlog"
	"casebook/projections"
	auditprojections "casebook/projections/audit"
	patientprojections "casebook/projections/patient"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	patientviews "casebook/readmodels/patient"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// decide records a decision about a view, as the command would.
func (w *world) decide(view string, events ...any) {
	w.t.Helper()
	stream := projection.Decider.Stream(view)
	tail := eventlog.EmptyTail
	last, found, err := w.writer.Last(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	if found {
		tail = eventlog.TailAfter(last)
	}
	out, err := w.writer.Append(w.t.Context(), stream, tail, uuid.New(),
		eventlog.Metadata{Actor: "manager", RecordedAt: time.Now().UTC()}, events...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.last = max(w.last, out.Position.Commit)
}

// named is a view with a name of this test's own, because decisions about a view are for everybody on the log.
func named(v readmodels.View) readmodels.View {
	v.Name += "-" + uuid.NewString()[:8]
	return v
}

// ofPatients is a projection of patients, whose documents say what the fold makes of a status.
func ofPatients(v readmodels.View, says func(*patientviews.PatientRow)) projections.Projection {
	return projections.New(v, projections.ByPatient,
		projections.On(func(r *patientviews.PatientRow, e patient.Screened, at projections.Envelope) {
			r.Patient, r.Study, r.ScreeningNumber = e.Patient, at.Metadata.Study, e.ScreeningNumber
			says(r)
		}),
		projections.On(func(r *patientviews.PatientRow, e patient.ConsentRecorded, _ projections.Envelope) {
			r.ConsentVersion = e.ConsentVersion
		}))
}

func (w *world) builds(v readmodels.View) readmodels.Builds {
	w.t.Helper()
	b, err := w.store.BuildsOf(w.t.Context(), v)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// until waits until something holds; the test's own time-out is the bound.
func until(t testing.TB, holds func() bool) {
	t.Helper()
	for !holds() {
		if t.Context().Err() != nil {
			t.Fatal("it never came to that")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *world) documents(collection string) map[string]string {
	w.t.Helper()
	mine := bson.D{{Key: "study", Value: string(w.study)}}
	if w.alone {
		mine = bson.D{}
	}
	found, err := w.store.CollectionNamed(collection).Find(w.t.Context(), mine)
	if err != nil {
		w.t.Fatal(err)
	}
	var documents []bson.Raw
	if err := found.All(w.t.Context(), &documents); err != nil {
		w.t.Fatal(err)
	}
	all := map[string]string{}
	for _, d := range documents {
		all[d.Lookup("_id").StringValue()] = d.String()
	}
	return all
}

func TestARebuildTakesThePlaceOfWhatItEquals(t *testing.T) {
	w := newWorld(t)
	view := named(readmodels.View{Name: "rebuilt", Version: 1})
	p := ofPatients(view, func(*patientviews.PatientRow) {})
	for n := range 20 {
		w.screen(n)
	}
	stop := w.run(p)
	defer func() { stop() }()
	w.wait(view)
	// What a fold would not make shows whether the new build was made from the log.
	if _, err := w.store.Collection(view).UpdateByID(t.Context(), string(domain.NewPatientID(w.study, "P0007")),
		bson.D{{Key: "$set", Value: bson.D{{Key: "site", Value: "damaged"}}}}); err != nil {
		t.Fatal(err)
	}
	before := w.documents(view.Collection())
	w.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "a document was damaged"})
	for n := 20; n < 60; n++ { // meanwhile life goes on, and every wait is answered
		w.screen(n)
		w.wait(view)
		found, err := w.store.Collection(view).CountDocuments(t.Context(), bson.D{{Key: "study", Value: string(w.study)}})
		if err != nil || found != int64(n+1) {
			t.Fatalf("%d patients are shown after %d, %v", found, n+1, err)
		}
	}
	until(t, func() bool { return w.builds(view).Active.Request == 1 })
	b := w.builds(view)
	if b.Building != nil || len(b.Kept) != 1 || b.Kept[0].Collection != view.Collection() || b.Active.Collection == view.Collection() {
		t.Errorf("the builds are %+v", b)
	}
	w.screen(60)
	w.wait(view)
	fresh := w.elsewhere()
	stopFresh := fresh.run(ofPatients(readmodels.View{Name: "fresh", Version: 1}, func(*patientviews.PatientRow) {}))
	defer stopFresh()
	fresh.wait(readmodels.View{Name: "fresh", Version: 1})
	if diff := cmp.Diff(fresh.documents("fresh_v1"), w.documents(b.Active.Collection)); diff != "" {
		t.Errorf("the rebuilt view differs from a fresh one:\n%s", diff)
	}
	kept := w.documents(view.Collection())
	for id, was := range before {
		if kept[id] != was {
			t.Errorf("the old build's %s has changed", id)
		}
	}
	// A second request is carried out too, the first not again, also by an engine that starts anew.
	w.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "again"})
	until(t, func() bool { return w.builds(view).Active.Request == 2 })
	stop()
	stop = w.run(p)
	w.screen(61)
	w.wait(view)
	if b := w.builds(view); b.Active.Request != 2 || len(b.Kept) != 2 || b.Building != nil {
		t.Errorf("after a start the builds are %+v", b)
	}
}

func TestANewVersionIsBuiltBesideTheOld(t *testing.T) {
	w := newWorld(t)
	view := named(readmodels.View{Name: "versioned", Version: 1})
	for n := range 10 {
		w.screen(n)
	}
	stop := w.run(ofPatients(view, func(r *patientviews.PatientRow) { r.Site = "one" }))
	w.wait(view)
	stop()
	newer := view
	newer.Version = 2
	gate := make(chan struct{})
	stop = w.run(ofPatients(newer, func(r *patientviews.PatientRow) {
		<-gate
		r.Site = "two"
	}))
	defer func() { stop() }()
	until(t, func() bool { return w.builds(newer).Building != nil })
	for id, d := range w.documents(w.store.Collection(newer).Name()) {
		if !strings.Contains(d, `"one"`) {
			t.Errorf("while the new version is built, %s is %s", id, d)
		}
	}
	close(gate)
	until(t, func() bool { return w.builds(newer).Building == nil })
	b := w.builds(newer)
	if b.Active.Version != 2 || len(b.Kept) != 1 || b.Kept[0].Version != 1 {
		t.Errorf("the builds are %+v", b)
	}
	shown := w.documents(b.Active.Collection)
	if len(shown) != 10 {
		t.Errorf("%d patients are shown", len(shown))
	}
	for id, d := range shown {
		if !strings.Contains(d, `"two"`) {
			t.Errorf("%s is %s", id, d)
		}
	}
	// An older program that comes late leaves the view alone.
	stop()
	w.screen(10)
	stop = w.run(ofPatients(view, func(r *patientviews.PatientRow) { r.Site = "one" }))
	time.Sleep(50 * time.Millisecond)
	if b := w.builds(newer); b.Active.Version != 2 || b.Building != nil {
		t.Errorf("the older program has made %+v", b)
	}
}

// TestAFormerFoldGoesOnUntilTheNewOneIsAsked: where a program has both versions, nobody waits for the change.
func TestAFormerFoldGoesOnUntilTheNewOneIsAsked(t *testing.T) {
	w := newWorld(t)
	view := named(readmodels.View{Name: "former", Version: 1})
	for n := range 10 {
		w.screen(n)
	}
	former := ofPatients(view, func(r *patientviews.PatientRow) {
		if r.Study == w.study && r.ScreeningNumber == "P0012" {
			panic("the former fold cannot show it")
		}
		r.Site = "one"
	})
	stop := w.run(former)
	w.wait(view)
	stop()
	newer := view
	newer.Version = 2
	gate := make(chan struct{})
	stop = w.run(ofPatients(newer, func(r *patientviews.PatientRow) {
		<-gate
		r.Site = "two"
	}).Replacing(former))
	defer func() { stop() }()
	shows := func(patients int, site string) {
		t.Helper()
		shown := w.documents(w.store.Collection(newer).Name())
		if len(shown) != patients {
			t.Errorf("%d patients are shown, of %d", len(shown), patients)
		}
		for id, d := range shown {
			if !strings.Contains(d, `"`+site+`"`) {
				t.Errorf("%s is %s", id, d)
			}
		}
	}
	until(t, func() bool { return w.builds(newer).Building != nil })
	for n := 10; n < 12; n++ {
		w.screen(n)
		w.wait(newer)
		shows(n+1, "one")
	}
	// What the former fold cannot show holds up nobody but itself, and can be skipped for its version alone.
	refused := patient.Decider.Stream(string(w.screen(12)))
	stands := func() readmodels.Checkpoint {
		at, err := w.store.LoadCheckpoint(t.Context(), newer)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	w.wait(newer)
	if at := stands(); len(at.LeftOut) != 1 || at.LeftOut[0].Stream != refused || at.Version != 1 {
		t.Errorf("it leaves out %+v", at)
	}
	w.decide(view.Name, projection.EventSkipped{Projection: view.Name, Version: 1, Stream: refused, Revision: 0,
		Reason: "the new version can"})
	w.screen(13)
	w.wait(newer)
	shows(13, "one")
	close(gate)
	until(t, func() bool { return w.builds(newer).Active.Version == 2 })
	w.screen(14)
	w.wait(newer)
	shows(15, "two")
	if b := w.builds(newer); b.Building != nil || len(b.Kept) != 1 || b.Kept[0].Version != 1 {
		t.Errorf("the builds are %+v", b)
	}
}

func TestOnlyAnEarlierVersionIsReplaced(t *testing.T) {
	p := func(name string, version int) projections.Projection {
		return ofPatients(readmodels.View{Name: name, Version: version}, func(*patientviews.PatientRow) {})
	}
	for _, former := range []projections.Projection{p("a", 2), p("a", 3), p("b", 1)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("version %d of %s is replaced by version 2 of a", former.View.Version, former.View.Name)
				}
			}()
			p("a", 2).Replacing(former)
		}()
	}
}

func TestARebuildCanBeGivenUpAndOldBuildsDropped(t *testing.T) {
	w := newWorld(t)
	view := named(readmodels.View{Name: "given-up", Version: 1})
	for n := range 10 {
		w.screen(n)
	}
	stop := w.run(ofPatients(view, func(*patientviews.PatientRow) {}))
	defer func() { stop() }()
	w.wait(view)
	w.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "slowly", EventsPerSecond: 1})
	until(t, func() bool { return w.builds(view).Building != nil })
	made := w.builds(view).Building.Collection
	w.decide(view.Name, projection.RebuildCancelled{Projection: view.Name, Reason: "not now"})
	until(t, func() bool { return w.builds(view).Building == nil })
	until(t, func() bool { return len(w.documents(made)) == 0 })
	if b := w.builds(view); b.Active.Collection != view.Collection() || len(b.Kept) != 0 {
		t.Errorf("the builds are %+v", b)
	}
	w.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "now"})
	until(t, func() bool { return len(w.builds(view).Kept) == 1 })
	stop()
	// Others may ask an old build for a moment more: it is dropped when that has passed.
	b := w.builds(view)
	b.Since = b.Since.Add(-readmodels.KeptAtLeast)
	if err := w.store.SaveBuilds(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	stop = w.run(ofPatients(view, func(*patientviews.PatientRow) {}))
	w.decide(view.Name, projection.BuildDropped{Projection: view.Name, Collection: b.Kept[0].Collection, Reason: "space"},
		projection.BuildDropped{Projection: view.Name, Collection: b.Active.Collection, Reason: "a mistake"})
	until(t, func() bool { return len(w.builds(view).Kept) == 0 })
	if got := w.documents(b.Kept[0].Collection); len(got) != 0 {
		t.Errorf("%d documents are left of it", len(got))
	}
	if got := w.documents(b.Active.Collection); len(got) != 10 {
		t.Errorf("the build that is asked has %d documents", len(got))
	}
}

// TestOldBuildsDoNotPileUp: of many rebuilds the last former build is kept, and that one for a limited time.
func TestOldBuildsDoNotPileUp(t *testing.T) {
	w := newWorld(t)
	view := named(readmodels.View{Name: "piling", Version: 1})
	for n := range 3 {
		w.screen(n)
	}
	p := ofPatients(view, func(*patientviews.PatientRow) {})
	stop := w.run(p)
	w.wait(view)
	for n := range 3 {
		w.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "again"})
		until(t, func() bool { return len(w.builds(view).Kept) == n+1 })
	}
	stop()
	age := func(by time.Duration) (b readmodels.Builds) {
		b = w.builds(view)
		b.Since = b.Since.Add(-by)
		for i := range b.Kept {
			b.Kept[i].Until = b.Kept[i].Until.Add(-by)
		}
		if err := w.store.SaveBuilds(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	before := age(readmodels.KeptAtLeast)
	stop = w.run(p)
	until(t, func() bool { return len(w.builds(view).Kept) == 1 })
	if now := w.builds(view); now.Kept[0].Collection != before.Kept[2].Collection || now.Active.Collection != before.Active.Collection {
		t.Errorf("the builds are %+v", now)
	}
	for _, old := range before.Kept[:2] {
		if left := w.documents(old.Collection); len(left) != 0 {
			t.Errorf("%d documents are left of %s", len(left), old.Collection)
		}
	}
	stop()
	age(time.Hour)
	stop = w.runWith(projections.Options{Log: w.log, Store: w.store, Projections: []projections.Projection{p}, KeptFor: time.Hour})
	defer func() { stop() }()
	until(t, func() bool { return len(w.builds(view).Kept) == 0 })
	if shown := w.documents(before.Active.Collection); len(shown) != 3 {
		t.Errorf("the active build has %d documents", len(shown))
	}
}

// TestAnEventIsSkippedOrTriedAgain: a view is built anew when somebody has decided about an event that it cannot show, and a
// skipped event stays skipped.
func TestAnEventIsSkippedOrTriedAgain(t *testing.T) {
	w := newWorld(t)
	view := named(readmodels.View{Name: "fragile", Version: 3})
	p := ofPatients(view, func(r *patientviews.PatientRow) {
		if r.Study == w.study && (r.ScreeningNumber == "P0003" || r.ScreeningNumber == "P0005") {
			panic("cannot show it")
		}
	})
	for n := range 8 {
		w.screen(n)
	}
	stop := w.run(p, patientprojections.PatientList)
	defer func() { stop() }()
	w.wait(view)
	c := w.checkpoint(view)
	if len(c.LeftOut) != 2 || c.LeftOut[0].Type != "PatientScreened" || !strings.HasSuffix(c.LeftOut[0].Stream, "P0003") ||
		!strings.HasSuffix(c.LeftOut[1].Stream, "P0005") {
		t.Fatalf("it leaves out %+v", c.LeftOut)
	}
	before := w.builds(view).Active.Collection
	w.decide(view.Name, projection.Retried{Projection: view.Name, Reason: "perhaps"}) // it fails again
	until(t, func() bool { return w.builds(view).Active.Collection != before })
	if again := w.checkpoint(view).LeftOut; len(again) != 2 {
		t.Errorf("built anew it leaves out %+v", again)
	}
	for n, left := range c.LeftOut {
		w.decide(view.Name, projection.EventSkipped{Projection: view.Name, Version: 3, Stream: left.Stream, Revision: left.Revision,
			Reason: "seen to"})
		until(t, func() bool { return len(w.checkpoint(view).LeftOut) == 1-n })
	}
	w.wait(view)
	shown := w.documents(w.store.Collection(view).Name())
	if len(shown) != 6 {
		t.Errorf("%d patients are shown", len(shown))
	}
	w.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "to see"})
	until(t, func() bool { return w.builds(view).Active.Request == 1 })
	if diff := cmp.Diff(shown, w.documents(w.store.Collection(view).Name())); diff != "" {
		t.Errorf("built anew it differs:\n%s", diff)
	}
}

// TestARebuildThatFailsLeavesTheViewAlone: the old build is asked and kept up to date as before.
func TestARebuildThatFailsLeavesTheViewAlone(t *testing.T) {
	w := newWorld(t)
	view := named(readmodels.View{Name: "half-broken", Version: 1})
	w.screen(0)
	broken := false
	p := ofPatients(view, func(r *patientviews.PatientRow) {
		if broken && r.Study == w.study && r.ScreeningNumber == "P0000" {
			panic("cannot show it any more")
		}
	})
	stop := w.run(p)
	defer func() { stop() }()
	w.wait(view)
	stop()
	broken = true
	stop = w.run(p)
	w.decide(view.Name, projection.RebuildRequested{Projection: view.Name, Reason: "to see"})
	until(t, func() bool {
		b := w.builds(view)
		if b.Building == nil {
			return false
		}
		c, err := w.store.LoadBuildCheckpoint(t.Context(), view, b.Building.Collection)
		return err == nil && c.State == readmodels.Stopped
	})
	w.screen(1)
	w.wait(view)
	if b := w.builds(view); b.Active.Collection != view.Collection() {
		t.Errorf("the builds are %+v", b)
	}
}

// TestAnotherEngineTakesOver when one dies without a word, and what the dead one would still note is refused.
func TestAnotherEngineTakesOver(t *testing.T) {
	w := newWorld(t)
	view := named(readmodels.View{Name: "held", Version: 1})
	dead, err := w.store.TakeLease(t.Context(), readmodels.Lease{View: view.Name}, "another-machine/1/x", 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.store.TakeLease(t.Context(), readmodels.Lease{View: view.Name}, "a third", time.Minute)
	if !errors.Is(err, readmodels.ErrLeaseLost) {
		t.Errorf("a lease that is held is given to another: %v", err)
	}
	engine := projections.NewEngine(projections.Options{Log: w.log, Store: w.store, Lease: 200 * time.Millisecond,
		Projections: []projections.Projection{ofPatients(view, func(*patientviews.PatientRow) {})}})
	stop := w.start(engine)
	defer stop()
	w.screen(0)
	w.wait(view)
	if err := w.store.KeepLease(t.Context(), dead); !errors.Is(err, readmodels.ErrLeaseLost) {
		t.Errorf("the dead one keeps its lease: %v", err)
	}
	for what, err := range map[string]error{
		"checkpoint": w.store.SaveCheckpoint(t.Context(), readmodels.Checkpoint{Collection: view.Collection(), View: view.Name,
			Version: 1, Token: dead.Token}),
		"builds": w.store.SaveBuilds(t.Context(), readmodels.Builds{View: view.Name, Token: dead.Token}),
	} {
		if !errors.Is(err, readmodels.ErrLeaseLost) {
			t.Errorf("what the dead one notes as its %s is taken: %v", what, err)
		}
	}
}

// future is an event that only a newer program knows.
type future struct{}

// newer returns the log as a newer program opens it: the program knows one more event of patients, and has a new version of
// PatientScreened, which it records from now on.
func (w *world) newer() *eventlog.Log {
	w.t.Helper()
	streams := slices.Clone(contexts.Streams())
	of := slices.IndexFunc(streams, func(s domain.StreamType) bool { return s.Category == patient.Decider.Category })
	streams[of].Events = append(slices.Clone(streams[of].Events), domain.Stored[future]("NobodyKnowsThis"))
	for i, event := range streams[of].Events {
		if event.Name == "PatientScreened" {
			streams[of].Events[i].Upcasts = append(slices.Clone(event.Upcasts), domain.Unchanged)
		}
	}
	log, err := eventlog.Connect(w.t.Context(), eventlog.Options{URL: w.url, Registry: eventlog.NewRegistry(streams...),
		BlindingKeys: blindingKeys(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := log.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return log
}

// TestEventsOfANewerProgramStopNothing: a view of the older program leaves out the streams of the events that it shows and
// cannot read, and goes on with all others. The audit index shows that the events are there. The newer program builds the
// view anew by itself.
func TestEventsOfANewerProgramStopNothing(t *testing.T) {
	w := newWorldAlone(t) // others could not read it either
	view := named(readmodels.View{Name: "reads", Version: 1})
	other := named(readmodels.View{Name: "reads-other", Version: 1})
	w.screen(0)
	older, newer := w.writer, w.newer()
	w.writer = newer
	w.screen(1)
	w.record("patient-"+string(w.study)+".F1", "", future{})
	w.writer = older
	id := w.screen(2)
	w.keep(id, 0, 3)
	patients := ofPatients(view, func(*patientviews.PatientRow) {})
	diaries := projections.New(other, projections.ByStudy,
		projections.On(func(r *patientviews.PatientRow, _ diary.WindowMissed, at projections.Envelope) {
			r.Study = at.Metadata.Study
		}))
	stop := w.run(patients, diaries, auditprojections.AuditIndex(contexts.Streams()))
	for _, v := range []readmodels.View{view, other, auditviews.AuditIndex} {
		w.wait(v)
	}
	if len(w.documents(other.Collection())) != 1 || len(w.checkpoint(other).LeftOut) != 0 {
		t.Error("the other view shows nothing, or leaves something out")
	}
	c := w.checkpoint(view)
	if len(c.LeftOut) != 1 || c.LeftOut[0].Type != "PatientScreened" || !strings.HasSuffix(c.LeftOut[0].Stream, "P0001") ||
		len(w.documents(view.Collection())) != 2 {
		t.Errorf("it leaves out %+v, and shows %v", c.LeftOut, w.documents(view.Collection()))
	}
	if n := w.count(auditviews.AuditIndex, bson.D{{Key: "unreadable", Value: true}, {Key: "actor", Value: "crc"}}); n != 2 {
		t.Errorf("the audit index shows %d of the events that cannot be read", n)
	}
	if n := w.count(auditviews.AuditIndex, bson.D{{Key: "type", Value: "NobodyKnowsThis"}}); n != 0 {
		t.Error("the audit index tells the type of an event of which it is not known whether it may be told")
	}
	if difference := w.compare(patients, w.active(view)); !difference.Same() {
		t.Errorf("a fresh fold differs: %+v", difference)
	}
	stop()

	w.log = newer
	stop = w.run(patients)
	defer stop()
	until(t, func() bool { return len(w.checkpoint(view).LeftOut) == 0 })
	if shown := w.documents(w.builds(view).Active.Collection); len(shown) != 3 {
		t.Errorf("the newer program shows %d patients", len(shown))
	}
}

// TestWhatCannotBeReadIsSkipped by a decision of people, with the rest of its stream shown.
func TestWhatCannotBeReadIsSkipped(t *testing.T) {
	w := newWorldAlone(t)
	view := named(readmodels.View{Name: "reads", Version: 1})
	older, newer := w.writer, w.newer()
	id := w.screen(0)
	w.writer = newer
	w.record("patient-"+string(id), id, patient.Screened{Patient: id, Study: w.study, Site: "01", ScreeningNumber: "again"})
	w.writer = older
	w.record("patient-"+string(id), id, patient.ConsentRecorded{Patient: id, ConsentVersion: "9", On: "2026-01-02"})
	stop := w.run(ofPatients(view, func(*patientviews.PatientRow) {}))
	defer stop()
	w.wait(view)
	c := w.checkpoint(view)
	if shown := w.stored(view); len(c.LeftOut) != 1 || c.LeftOut[0].Revision != 1 || strings.Contains(shown[view.Name+" "+string(id)], `"9"`) {
		t.Fatalf("it leaves out %+v, and shows %v", c.LeftOut, shown)
	}
	w.decide(view.Name, projection.EventSkipped{Projection: view.Name, Version: 1, Stream: c.LeftOut[0].Stream,
		Revision: c.LeftOut[0].Revision, Reason: "rubbish"})
	until(t, func() bool { return len(w.checkpoint(view).LeftOut) == 0 })
	if shown := w.documents(w.builds(view).Active.Collection)[string(id)]; !strings.Contains(shown, `"9"`) {
		t.Errorf("it shows %s", shown)
	}
}
