package projections_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/projection"
	"casebook/embedded/storetest"
	"casebook/projections"
	diaryprojections "casebook/projections/diary"
	patientprojections "casebook/projections/patient"
	processprojections "casebook/projections/process"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// randomly records n events of every kind that any view folds, in random order, about the patients.
func (w *world) randomly(r *rand.Rand, n int, patients ...domain.PatientID) {
	w.t.Helper()
	for range n {
		who := patients[r.IntN(len(patients))]
		all := anything(who)
		event := all[r.IntN(len(all))]
		category, ok := w.log.Registry().CategoryOf(event)
		if !ok {
			w.t.Fatalf("%T is not registered", event)
		}
		w.record(category+"-"+string(who), who, event)
	}
}

func (w *world) compare(p projections.Projection, build readmodels.Build) projections.Comparison {
	w.t.Helper()
	c, err := projections.Compare(w.t.Context(), w.log, w.store, p, build, 0, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestVerifyFindsWhatDiffersAndTheEventThatMadeIt(t *testing.T) {
	w := newWorld(t)
	id, other := w.screen(1), w.screen(2)
	w.keep(id, 0, 6)
	w.keep(other, 0, 6)
	stop := w.run()
	defer stop()
	for _, p := range contexts.Projections() {
		w.wait(p.View)
		if c := w.compare(p, w.builds(p.View).Active); !c.Same() || c.Equal != c.Documents {
			t.Errorf("%s differs: %+v", p.View.Name, c)
		}
	}
	views := w.store.Collection(patientviews.PatientViews)
	set := func(key, field string, value any) {
		t.Helper()
		if _, err := views.UpdateByID(t.Context(), key, bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}}); err != nil {
			t.Fatal(err)
		}
	}
	set(string(id), "compliance.missed", 77)
	set(string(id), "zone", "Mars/Olympus")
	if _, err := views.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: string(other)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := views.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "nobody"}, {Key: "_position", Value: int64(5)}}); err != nil {
		t.Fatal(err)
	}
	c := w.compare(patientprojections.PatientView, w.builds(patientviews.PatientViews).Active)
	if c.Differing != 1 || c.Missing != 1 || c.Extra != 1 || len(c.Differences) != 3 || c.Equal != c.Documents-2 || c.Fields["zone"] != 2 {
		t.Fatalf("it finds %+v", c)
	}
	byKey := map[string]projections.Difference{}
	for _, d := range c.Differences {
		byKey[d.Key] = d
	}
	if d := byKey["nobody"]; d.Kind != projections.Extra || d.By != nil {
		t.Errorf("of the extra document it says %+v", d)
	}
	if d := byKey[string(other)]; d.Kind != projections.Missing || d.By == nil || len(d.Fields) < 5 {
		t.Errorf("of the missing document it says %+v", d)
	}
	d := byKey[string(id)]
	var paths, by []string
	for _, f := range d.Fields {
		paths, by = append(paths, f.Path+" "+f.Has), append(by, fmt.Sprintf("%s@%d", f.By.Type, f.By.Revision))
	}
	if diff := cmp.Diff([]string{`compliance.missed {"$numberInt":"77"}`, `zone "Mars/Olympus"`}, paths); diff != "" {
		t.Error(diff)
	}
	if by[0] != "DiaryWindowMissed@10" || by[1] != "PatientScreened@0" {
		t.Errorf("the fields were made by %v", by)
	}
	names, err := views.Database().ListCollectionNames(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.Contains(n, "scratch") {
			t.Errorf("%s is left behind", n)
		}
	}
}

// TestVerifyBesideALiveView: what is folded while it is compared is no difference.
func TestVerifyBesideALiveView(t *testing.T) {
	w := newWorldAlone(t)
	r := rand.New(rand.NewPCG(1, 2))
	var patients []domain.PatientID
	for n := range 20 {
		patients = append(patients, w.screen(n))
	}
	stop := w.run(patientprojections.PatientView, diaryprojections.Diaries)
	defer stop()
	w.randomly(r, 300, patients...)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 5 {
			for _, p := range []projections.Projection{patientprojections.PatientView, diaryprojections.Diaries} {
				if c, err := projections.Compare(t.Context(), w.log, w.store, p,
					readmodels.Build{Collection: p.View.Collection(), Version: p.View.Version}, 0, nil); err != nil || !c.Same() {
					t.Errorf("%+v, %v", c, err)
				}
			}
		}
	}()
	for {
		select {
		case <-ended:
			return
		default:
			w.randomly(r, 10, patients...)
		}
	}
}

// TestDiffComparesTwoVersions: an old build is compared at its own checkpoint with what this version of the fold makes up
// to that checkpoint.
func TestDiffComparesTwoVersions(t *testing.T) {
	w := newWorld(t)
	view := named(readmodels.View{Name: "diffed", Version: 1})
	for n := range 5 {
		w.screen(n)
	}
	stop := w.run(ofPatients(view, func(r *patientviews.PatientRow) { r.Site = "one" }))
	w.wait(view)
	stop()
	newer := view
	newer.Version = 2
	next := ofPatients(newer, func(r *patientviews.PatientRow) {
		if r.Site = "one"; r.ScreeningNumber == "P0003" {
			r.Site = "two"
		}
	})
	stop = w.run(next)
	until(t, func() bool { return w.builds(newer).Active.Version == 2 })
	w.screen(5)
	w.wait(newer)
	stop()
	c := w.compare(next, w.builds(newer).Kept[0])
	var mine []projections.Difference
	for _, d := range c.Differences {
		if strings.HasPrefix(d.Key, string(w.study)) {
			mine = append(mine, d)
		}
	}
	if len(mine) != 1 || mine[0].Key != string(domain.NewPatientID(w.study, "P0003")) || mine[0].Fields[0].Path != "site" ||
		mine[0].Fields[0].Has != `"one"` || mine[0].Fields[0].Makes != `"two"` || c.Missing != 0 || c.Fields["site"] == 0 {
		t.Errorf("it finds %+v", c)
	}
}

// TestAsOfShowsThePast: a view that is folded up to a moment equals the view of an engine that saw the events up to then.
func TestAsOfShowsThePast(t *testing.T) {
	w := newWorldAlone(t)
	r := rand.New(rand.NewPCG(3, 4))
	var patients []domain.PatientID
	for n := range 6 {
		patients = append(patients, w.screen(n))
	}
	w.randomly(r, 600, patients...)
	then := map[string]map[string]string{}
	stop := w.run()
	for _, p := range contexts.Projections() {
		w.wait(p.View)
	}
	stop()
	moment := projections.Until{Position: domain.Position{Commit: w.last, Prepare: w.last}}
	at := time.Now()
	for _, p := range contexts.Projections() {
		then[p.View.Name] = w.documents(w.store.Collection(p.View).Name())
	}
	verifier := w.verify()
	time.Sleep(2 * time.Millisecond) // times of events are whole milliseconds
	w.randomly(r, 200, patients...)
	for _, p := range contexts.Projections() {
		for name, until := range map[string]projections.Until{"position": moment, "time": {Time: at}} {
			past := map[string]string{}
			if _, err := projections.AsOf(t.Context(), w.log, w.store, p, until, nil, func(d bson.Raw) error {
				past[d.Lookup("_id").StringValue()] = d.String()
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(then[p.View.Name], past); diff != "" {
				t.Errorf("%s at the %s is not what it was:\n%s", p.View.Name, name, diff)
			}
		}
		for _, who := range patients { // and the same for one patient, from the patient's streams alone
			past, err := p.PatientAsOf(t.Context(), verifier, who, moment)
			if err != nil {
				continue // a view that more goes into
			}
			for key, d := range past {
				raw, err := readmodels.Encode(d)
				if err != nil {
					t.Fatal(err)
				}
				if got := raw.String(); then[p.View.Name][key] != got {
					t.Errorf("%s of %s is\n%s, and was\n%s", p.View.Name, key, got, then[p.View.Name][key])
				}
			}
			if len(past) == 0 {
				t.Errorf("%s has nothing of %s", p.View.Name, who)
			}
		}
	}
	if _, err := processprojections.ProcessMonitor.PatientAsOf(t.Context(), verifier, patients[0], moment); err == nil {
		t.Error("processes are folded of one patient")
	}
}

// TestATimeIsAlwaysTheSamePosition: the position of a time is that of the last event of the view up to then, whatever was recorded
// since, also of other programs, and however the log is read.
func TestATimeIsAlwaysTheSamePosition(t *testing.T) {
	w := newWorldAlone(t)
	for n := range 3 {
		w.screen(n)
	}
	last := w.last
	w.decide("alerts", projection.RebuildRequested{Projection: "alerts", Reason: "the view does not show this"})
	at := time.Now().Add(time.Millisecond)
	time.Sleep(5 * time.Millisecond)
	for round := range 4 {
		through, err := projections.AsOf(t.Context(), w.log, w.store, patientprojections.PatientList, projections.Until{Time: at}, nil,
			func(bson.Raw) error { return nil })
		if err != nil || through.Commit != last {
			t.Errorf("round %d: the time is position %d, %v, want %d", round, through.Commit, err, last)
		}
		switch round {
		case 0:
			if _, err := storetest.Forge(t.Context(), w.url, "stranger-1", "Strange", []byte(`{}`), nil); err != nil {
				t.Fatal(err)
			}
		case 1:
			w.decide("alerts", projection.RebuildRequested{Projection: "alerts", Reason: "nor this"})
		case 2:
			w.screen(10)
		}
	}
}
