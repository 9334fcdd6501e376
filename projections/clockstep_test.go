package projections_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/eventlog"
	"casebook/projections"
	patientprojections "casebook/projections/patient"
	patientviews "casebook/readmodels/patient"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// TestATimeIsResolvedThoughTheClockStepped: the clock goes an hour forward, and back again later. The past is shown as
// far as it had been recorded by then, for one patient and for a whole view.
func TestATimeIsResolvedThoughTheClockStepped(t *testing.T) {
	w := newWorldAlone(t)
	id := domain.NewPatientID(w.study, "P1")
	stream := "patient-" + string(id)
	at := func(clock string) time.Time {
		t.Helper()
		day, err := time.Parse(time.DateTime, "2026-03-01 "+clock)
		if err != nil {
			t.Fatal(err)
		}
		return day
	}
	tail := eventlog.EmptyTail
	visit := func(clock string) {
		t.Helper()
		var event any = patient.VisitRecorded{Patient: id, Visit: clock, On: "2026-03-01"}
		if tail == eventlog.EmptyTail {
			event = patient.Screened{Patient: id, Study: w.study, Site: "01", ScreeningNumber: "P1", On: "2026-03-01", Zone: "UTC"}
		}
		out, err := w.writer.Append(t.Context(), stream, tail, uuid.New(),
			eventlog.Metadata{Actor: "crc", Study: w.study, Site: "01", Patient: id, RecordedAt: at(clock)}, event)
		if err != nil {
			t.Fatal(err)
		}
		tail = out.Tail
	}
	for _, clock := range []string{"10:00:00", "10:05:00", // then it goes an hour ahead
		"11:10:00", "11:12:00", // and back again
		"10:15:00", "10:14:59", "10:30:00", "11:11:00", "11:30:00"} {
		visit(clock)
	}
	verifier := w.verify()
	for clock, want := range map[string]int{
		"10:02:00": 1, // nothing that was recorded later
		"10:12:00": 2,
		"10:15:00": 6, // all that had been recorded when something was recorded at this time
		"10:31:00": 7,
		"11:10:30": 7, // the clock showed this twice: it counts when it was right
		"11:11:00": 8,
		"12:00:00": 9,
	} {
		until := projections.Until{Time: at(clock)}
		past, err := patientprojections.PatientView.PatientAsOf(t.Context(), verifier, id, until)
		if err != nil {
			t.Fatal(err)
		}
		if v, is := past[string(id)].(*patientviews.PatientDocument); !is {
			t.Fatalf("as of %s the patient is %T", clock, past[string(id)])
		} else if len(v.Steps) != want {
			t.Errorf("as of %s the patient shows %d steps, want %d", clock, len(v.Steps), want)
		}
		if _, err := projections.AsOf(t.Context(), w.log, w.store, patientprojections.PatientView, until, nil, func(raw bson.Raw) error {
			steps, err := raw.Lookup("steps").Array().Values()
			if err != nil || len(steps) != want {
				t.Errorf("as of %s the view shows %d steps, want %d, %v", clock, len(steps), want, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if steps := verifier.Found().Steps; len(steps) != 1 || !steps[0].From.Equal(at("11:12:00")) || !steps[0].To.Equal(at("10:15:00")) {
		t.Errorf("the steps of the clock are %+v", steps)
	}
}
