package sagas_test

import (
	"encoding/json"
	"testing"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/embedded/storetest"
	"casebook/eventlog"
)

func (w *world) forge(stream, eventType string, event any, metadata string) {
	w.t.Helper()
	data, err := json.Marshal(event)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := storetest.Forge(w.t.Context(), w.url, stream, eventType, data, []byte(metadata)); err != nil {
		w.t.Fatal(err)
	}
}

// TestForgedEventsSetOffNothing: no process reacts to an event that is no part of the record, of another program, or that it
// cannot read, and all processes go on, also after a restart.
func TestForgedEventsSetOffNothing(t *testing.T) {
	w := newWorld(t, 1000)
	stop := w.drive()
	forged := map[domain.PatientID]string{}
	metadata := func(previousHash string, schema int) string {
		raw, err := json.Marshal(eventlog.Metadata{Actor: "crc", Role: "crc", Study: w.study, Site: "A", RecordedAt: w.clock.Now(),
			Schema:    schema,
			CommandID: "0d3c56a0-2f34-4b8e-9b0e-6a1f2f6a9c55", PreviousHash: previousHash})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	for name, m := range map[string]string{"no metadata": "", "empty metadata": "{}", "wrong hash": metadata("bm8=", 1)} {
		id := w.consented()
		forged[id] = name
		w.forge("patient-"+string(id), "EnrollmentRequested", patient.EnrollmentRequested{Patient: id, Study: w.study, Site: "A",
			On: "2026-02-02", Attempt: 1}, m)
	}
	// A patient of whom there is nothing else: no hash has to match in the first event of a stream.
	alone, never := domain.PatientID(w.study+".S-776"), domain.PatientID(w.study+".S-777")
	forged[alone] = "first event"
	w.forge("patient-"+string(alone), "EnrollmentRequested", patient.EnrollmentRequested{Patient: alone, Study: w.study, Site: "A",
		On: "2026-02-02", Attempt: 1}, metadata("", 1))
	// Events of another program, with names like ours.
	for _, name := range []string{"ProcessTimerStarted", "ProcessTimerSet", "InstrumentAssignedToBoard", "InstrumentAssigned",
		"EnrollmentRequested"} {
		w.forge("crm-1", name, struct{}{}, "")
	}
	// Events of a newer program, and of nobody, that the timers and the processes by the clock follow.
	w.forge("diary-"+string(never), "InstrumentAssigned", diary.InstrumentAssigned{Patient: never}, metadata("", 99))
	w.forge("diary-"+string(w.study)+".S-778", "InstrumentAssigned", 7, metadata("", 1))
	w.forge("saga-enrollment."+string(w.study)+".S-779", "ProcessTimerSet", 7, metadata("", 1))
	w.forge("saga-enrollment."+string(w.study)+".S-780", "ProcessTimerSet", process.TimerSet{}, "")
	enrolled := func() {
		t.Helper()
		who := w.request()
		w.wait("PatientEnrolled", func(e any) bool { return e.(patient.Enrolled).Patient == who })
	}
	enrolled()
	stop() // it fails where a follower has ended
	w.drive()
	enrolled()
	for id, name := range forged {
		if steps := w.types("saga-enrollment." + string(id)); len(steps) > 0 {
			t.Errorf("%s: the forged request has set off %v", name, steps)
		}
	}
}
