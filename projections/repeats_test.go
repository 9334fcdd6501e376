package projections_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/diary"
	"casebook/domain/supply"
	"casebook/eventlog"
	auditprojections "casebook/projections/audit"
	patientprojections "casebook/projections/patient"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// anything returns events of every type that any view folds, about a patient: the golden events of all contexts.
func anything(who domain.PatientID) []any {
	if all, known := anythings.Load(who); known {
		return all.([]any)
	}
	files, err := filepath.Glob("*/testdata/events.jsonl")
	if err != nil {
		panic(err)
	}
	var all []any
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		text = goldenPatient.ReplaceAll(text, []byte(who))
		for line := range strings.Lines(string(text)) {
			var g goldenLine
			if err := json.Unmarshal([]byte(line), &g); err != nil {
				panic(err)
			}
			event, err := registry.Decode(g.Type, g.Schema, g.Data, eventlog.Keys{}, eventlog.Origin{Study: g.Study})
			if err != nil {
				panic(err)
			}
			all = append(all, opened(event))
		}
	}
	all = append(all, others(all)...)
	anythings.Store(who, all)
	return all
}

var (
	anythings     sync.Map // by patient
	goldenPatient = regexp.MustCompile(`PAIN1\.S-\d{4}`)
)

// opened is an event with empty values in the place of the blinded ones: what is sealed could not be written down.
func opened(event any) any {
	open := reflect.New(reflect.TypeOf(event)).Elem()
	open.Set(reflect.ValueOf(event))
	for i := range open.NumField() {
		if sealed, ok := open.Field(i).Addr().Interface().(blind.Unsealer); ok {
			if err := sealed.UnsealFrom([]byte("null")); err != nil {
				panic(err)
			}
		}
	}
	return open.Interface()
}

// others are empty events of the types that are not among some. Only the audit index folds them, and not what they say. Events with
// personal values are left out: they are sealed with keys that no part of the views has.
func others(than []any) (all []any) {
	known := map[reflect.Type]bool{}
	for _, event := range than {
		known[reflect.TypeOf(event)] = true
	}
	for _, s := range contexts.Registry().Schemas() {
		if !known[s.Go] && !s.Personal() && auditprojections.AuditIndex(contexts.Streams()).Folds(s.Go) {
			all = append(all, opened(reflect.Zero(s.Go).Interface()))
		}
	}
	return all
}

var depot = supply.OfStock{Study: "S", Location: "D"}

func at(site domain.SiteID) supply.OfStock {
	return supply.OfStock{Study: "S", Location: supply.LocationID(site)}
}

// facts are what a document says, but for how new it is.
func facts(doc readmodels.Document) readmodels.Document {
	is := reflect.New(reflect.TypeOf(doc).Elem()).Elem()
	is.Set(reflect.ValueOf(doc).Elem())
	for _, name := range []string{"Header", "UpdatedAt"} {
		if f := is.FieldByName(name); f.IsValid() {
			f.SetZero()
		}
	}
	return is.Addr().Interface().(readmodels.Document)
}

// TestR25_AnySequenceFoldsOnce delivers random events, some with one commit position in common, in random batches with
// repeats. Between batches documents may go through the store's encoding, as after a restart. The outcome is always that
// of one delivery.
func TestR25_AnySequenceFoldsOnce(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newStory()
		for range rapid.IntRange(1, 40).Draw(r, "events") {
			s.patient = rapid.SampledFrom([]domain.PatientID{"S.1", "S.2"}).Draw(r, "patient")
			s.site = domain.SiteID("0" + string(s.patient[2:]))
			s.tell(rapid.SampledFrom(anything(s.patient)).Draw(r, "event"))
			if at := len(s.events) - 1; at > 0 && rapid.Bool().Draw(r, "in one commit") {
				s.position -= 100
				for i := at - 1; i >= 0 && s.events[i].Position.Commit == s.position; i-- {
					s.events[i].Position.Prepare -= 10
				}
				s.events[at].Position = domain.Position{Commit: s.position, Prepare: s.position}
			}
		}
		for _, p := range contexts.Projections() {
			want, got := fold(t, p, s.events), map[string]readmodels.Document{}
			for done := 0; done < len(s.events); {
				again := rapid.IntRange(0, done).Draw(r, "from")
				done = rapid.IntRange(done+1, len(s.events)).Draw(r, "to")
				apply(t, p, got, s.events[again:done])
				if rapid.Bool().Draw(r, "restart") {
					for key := range got {
						got[key] = stored(t, got[key])
					}
				}
			}
			for key := range want {
				if got[key] == nil || !reflect.DeepEqual(stored(t, want[key]), stored(t, got[key])) {
					r.Fatalf("%s %s differs after repeats:\n%s", p.View.Name, key, cmp.Diff(want[key], got[key]))
				}
			}
			if len(want) != len(got) {
				r.Fatalf("%s has %d documents of %d", p.View.Name, len(got), len(want))
			}
		}
	})
}

// stored is the document as it is read back.
func stored(t testing.TB, doc readmodels.Document) readmodels.Document {
	t.Helper()
	raw, err := readmodels.Encode(doc)
	if err != nil {
		t.Fatal(err)
	}
	back := reflect.New(reflect.TypeOf(doc).Elem()).Interface().(readmodels.Document)
	if err := bson.Unmarshal(raw, back); err != nil {
		t.Fatal(err)
	}
	return back
}

// TestTheTrendFollowsTheClock: a day's windows are not in the order of their names, and answers come as devices send
// them.
func TestTheTrendFollowsTheClock(t *testing.T) {
	s := aPatient(newStory())
	at := func(day, hour int, name string) diary.Window {
		opens := time.Date(2026, 3, day, hour, 0, 0, 0, time.UTC)
		return diary.Window{ID: opens.Format(time.DateOnly) + "/" + name, Opens: opens, Closes: opens.Add(time.Hour)}
	}
	for _, w := range []diary.Window{at(2, 18, "evening"), at(1, 6, "morning"), at(2, 6, "morning"), at(1, 18, "evening"),
		at(3, 6, "morning")} {
		s.tell(diary.WindowMissed{Patient: "S.1", Instrument: "pain-diary", Window: w})
	}
	late := submitted(1, 4)
	late.Window, late.AfterMissed = at(2, 6, "morning"), true
	v := fold(t, patientprojections.PatientView, s.tell(late).events)["S.1"].(*patientviews.PatientDocument)
	var got []string
	for _, p := range v.Instruments[0].Trend {
		got = append(got, fmt.Sprint(p.Window, " ", p.Missed))
	}
	want := []string{"2026-03-01/morning true", "2026-03-01/evening true", "2026-03-02/morning false", "2026-03-02/evening true",
		"2026-03-03/morning true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
