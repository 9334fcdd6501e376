package simulation

import (
	"encoding/json"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"

	"github.com/google/go-cmp/cmp"
)

func options(seed uint64) Options {
	return Options{Patients: 80, Days: 28, Seed: seed, Today: "2026-03-31"}
}

func planned(t *testing.T, o Options) []*course {
	t.Helper()
	courses, err := plan(o)
	if err != nil {
		t.Fatal(err)
	}
	return courses
}

func TestSameSeedGivesSameCourses(t *testing.T) {
	text := func(o Options) string {
		var all []map[string]any
		for _, c := range planned(t, o) {
			all = append(all, map[string]any{
				"n": c.number, "s": c.screenedOn, "f": c.failure, "e": c.enrolledOn, "end": c.endsOn, "ev": len(c.evenings),
			})
			for _, e := range c.evenings {
				all = append(all, map[string]any{"d": e.day, "m": e.missed, "l": e.late, "c": e.capturedAt, "s": e.sentOn, "a": e.answers})
			}
		}
		data, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if diff := cmp.Diff(text(options(1)), text(options(1))); diff != "" {
		t.Errorf("the same seed gives different courses:\n%s", diff)
	}
	if text(options(1)) == text(options(2)) {
		t.Error("another seed gives the same courses")
	}
}

// TestPlansFitTheInstruments checks that the instruments accept all planned answers, and that no answer is sent before
// it is given.
func TestPlansFitTheInstruments(t *testing.T) {
	pain, err := instrument.Compile(instrument.PainDiary())
	if err != nil {
		t.Fatal(err)
	}
	phq, err := instrument.Compile(instrument.PHQ9())
	if err != nil {
		t.Fatal(err)
	}
	o := options(3)
	today, err := o.Today.Time()
	if err != nil {
		t.Fatal(err)
	}
	missed, late, alarms, offline, selfHarm := 0, 0, 0, 0, 0
	for _, c := range planned(t, o) {
		seen := map[domain.Date]bool{}
		for _, e := range c.evenings {
			if seen[e.day] {
				t.Fatalf("%s has %s twice", c.number, e.day)
			}
			seen[e.day] = true
			answers, err := pain.Check(e.answers)
			if err != nil {
				t.Fatalf("%s on %s: %v", c.number, e.day, err)
			}
			if len(pain.Risks(answers, pain.Scores(answers))) > 0 {
				alarms++
			}
			if e.correction > 0 {
				corrected := e.answers
				for item, value := range correction(e) {
					corrected[item] = value
				}
				if _, err := pain.Check(corrected); err != nil {
					t.Errorf("the correction of %s on %s: %v", c.number, e.day, err)
				}
			}
			if e.capturedAt.After(today) {
				t.Errorf("%s answers at %s, not before %s", c.number, e.capturedAt, o.Today)
			}
			if e.sentOn < e.day || e.sentOn > o.lastDay() {
				t.Errorf("%s sends %s on %s", c.number, e.day, e.sentOn)
			}
			switch {
			case e.missed:
				missed++
			case e.late:
				late++
			}
			if e.sentOn != e.day {
				offline++
			}
		}
		for _, m := range c.moods {
			answers, err := phq.Check(m.answers)
			if err != nil {
				t.Fatalf("%s on %s: %v", c.number, m.day, err)
			}
			for _, r := range phq.Risks(answers, phq.Scores(answers)) {
				if r.ID == "self-harm" {
					selfHarm++
				}
			}
		}
		if c.failure != "" && len(c.evenings) > 0 {
			t.Errorf("%s failed screening and keeps a diary", c.number)
		}
	}
	if missed == 0 || late == 0 || alarms == 0 || offline == 0 || selfHarm != 1 {
		t.Errorf("%d missed, %d late, %d alarming, %d offline, %d self-harm: the plan lacks variety",
			missed, late, alarms, offline, selfHarm)
	}
}

func TestPatientsAnswerInTheEveningOfTheirTimeZone(t *testing.T) {
	for _, c := range planned(t, options(4)) {
		zone, err := time.LoadLocation(c.site.zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range c.evenings {
			hour := e.capturedAt.In(zone).Hour()
			if e.late && (hour < 6 || hour > 11) || !e.late && hour < 18 {
				t.Errorf("%s answers %s at %s (late: %v)", c.number, e.day, e.capturedAt.In(zone), e.late)
			}
		}
	}
}

func TestOnlyAlertsOfSimulatedPatientsAreReviewed(t *testing.T) {
	s := &simulation{courses: planned(t, options(1))}
	own := alertRow{Alert: "alert-1", Patient: s.courses[0].id()}
	entered := alertRow{Alert: "alert-2", Patient: domain.NewPatientID(studyID, "S-9000")}
	ofTheSite := alertRow{Alert: "alert-3"}
	if diff := cmp.Diff([]alertRow{own}, s.aboutOwn([]alertRow{entered, own, ofTheSite})); diff != "" {
		t.Errorf("reviewed (-want +got):\n%s", diff)
	}
}
