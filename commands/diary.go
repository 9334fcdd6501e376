package commands

import (
	"context"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/eventlog"
)

// The commands on a patient's diary.
var (
	AssignInstrument = HandleKnowing(diary.Decider, prescription, diary.Assign).
				On(func(c diary.AssignInstrument) string { return string(c.Patient) }).
				In(ofPatient(func(c diary.AssignInstrument) domain.PatientID { return c.Patient })).
				AllowedTo(access.SiteStaff)

	SubmitDiary = HandleKnowing(diary.Decider, patientState(func(c diary.SubmitDiary) domain.PatientID { return c.Patient }), diary.Submit).
			On(func(c diary.SubmitDiary) string { return string(c.Patient) }).
			In(ofPatient(func(c diary.SubmitDiary) domain.PatientID { return c.Patient })).
			AllowedTo(access.ThePatient, access.SiteStaff).
			About(func(c diary.SubmitDiary, m *eventlog.Metadata) { m.CapturedAt, m.CapturedZone = &c.CapturedAt, c.Zone })

	CorrectDiary = HandleKnowing(diary.Decider, diaryEntry, diary.Correct).
			On(func(c diary.CorrectDiary) string { return string(c.Patient) }).
			In(ofPatient(func(c diary.CorrectDiary) domain.PatientID { return c.Patient })).
			AllowedTo(access.SiteStaff).
			About(func(c diary.CorrectDiary, m *eventlog.Metadata) { m.Reason = c.Reason })

	RemindOfDiaries = HandleKnowing(diary.Decider, patientState(func(c diary.RemindOfDiaries) domain.PatientID { return c.Patient }), diary.Remind).
			On(func(c diary.RemindOfDiaries) string { return string(c.Patient) }).
			In(ofPatient(func(c diary.RemindOfDiaries) domain.PatientID { return c.Patient })).
			AllowedTo(access.Processes)

	CloseDiaryWindows = HandleKnowing(diary.Decider, patientState(func(c diary.CloseDiaryWindows) domain.PatientID { return c.Patient }), diary.CloseWindows).
				On(func(c diary.CloseDiaryWindows) string { return string(c.Patient) }).
				In(ofPatient(func(c diary.CloseDiaryWindows) domain.PatientID { return c.Patient })).
				AllowedTo(access.Processes, access.SiteStaff)
)

// prescription is what AssignInstrument has to know: the patient, and the instrument of the protocol in force.
func prescription(ctx context.Context, look Look, c diary.AssignInstrument) (diary.Prescription, error) {
	p, err := At(ctx, look, patient.Decider, string(c.Patient))
	if err != nil {
		return diary.Prescription{}, err
	}
	s, err := At(ctx, look, study.Decider, string(p.Study))
	return diary.Prescription{Patient: p, Definition: s.Instrument(c.Instrument)}, err
}

func patientState[C any](of func(C) domain.PatientID) func(context.Context, Look, C) (patient.Patient, error) {
	return func(ctx context.Context, look Look, c C) (patient.Patient, error) {
		return At(ctx, look, patient.Decider, string(of(c)))
	}
}

// diaryEntry is the entry that CorrectDiary changes. It is read after the state and may only be newer; then the append
// conflicts, and both are read again.
func diaryEntry(ctx context.Context, look Look, c diary.CorrectDiary) (*diary.Entry, error) {
	events, err := EventsAt(ctx, look, diary.Decider, string(c.Patient))
	return diary.EntryOf(events, c.Instrument, c.Window), err
}

// DiaryCommands are the commands of this context.
var DiaryCommands = []Command{AssignInstrument, SubmitDiary, CorrectDiary, RemindOfDiaries, CloseDiaryWindows}
