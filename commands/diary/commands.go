package diary

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/eventlog"
)

// The commands on a patient's diary.
var (
	AssignInstrument = commands.HandleKnowing(diary.Decider, prescription, diary.Assign).
				On(func(c diary.AssignInstrument) string { return string(c.Patient) }).
				In(commands.OfPatient(func(c diary.AssignInstrument) domain.PatientID { return c.Patient })).
				AllowedTo(access.SiteStaff)

	SubmitDiary = commands.HandleKnowing(diary.Decider, patientState(func(c diary.SubmitDiary) domain.PatientID { return c.Patient }), diary.Submit).
			On(func(c diary.SubmitDiary) string { return string(c.Patient) }).
			In(commands.OfPatient(func(c diary.SubmitDiary) domain.PatientID { return c.Patient })).
			AllowedTo(access.ThePatient, access.SiteStaff).
			About(func(c diary.SubmitDiary, m *eventlog.Metadata) { m.CapturedAt, m.CapturedZone = &c.CapturedAt, c.Zone })

	CorrectDiary = commands.HandleKnowing(diary.Decider, diaryEntry, diary.Correct).
			On(func(c diary.CorrectDiary) string { return string(c.Patient) }).
			In(commands.OfPatient(func(c diary.CorrectDiary) domain.PatientID { return c.Patient })).
			AllowedTo(access.SiteStaff).
			About(func(c diary.CorrectDiary, m *eventlog.Metadata) { m.Reason = c.Reason })

	RemindOfDiaries = commands.HandleKnowing(diary.Decider, patientState(func(c diary.RemindOfDiaries) domain.PatientID { return c.Patient }), diary.Remind).
			On(func(c diary.RemindOfDiaries) string { return string(c.Patient) }).
			In(commands.OfPatient(func(c diary.RemindOfDiaries) domain.PatientID { return c.Patient })).
			AllowedTo(access.Processes)

	CloseDiaryWindows = commands.HandleKnowing(diary.Decider, patientState(func(c diary.CloseDiaryWindows) domain.PatientID { return c.Patient }), diary.CloseWindows).
				On(func(c diary.CloseDiaryWindows) string { return string(c.Patient) }).
				In(commands.OfPatient(func(c diary.CloseDiaryWindows) domain.PatientID { return c.Patient })).
				AllowedTo(access.Processes, access.SiteStaff)
)

// prescription is what AssignInstrument has to know: the patient, and the instrument of the protocol in force.
func prescription(ctx context.Context, look commands.Look, c diary.AssignInstrument) (diary.Prescription, error) {
	p, err := commands.At(ctx, look, patient.Decider, string(c.Patient))
	if err != nil {
		return diary.Prescription{}, err
	}
	s, err := commands.At(ctx, look, study.Decider, string(p.Study))
	return diary.Prescription{Patient: p, Definition: s.Instrument(c.Instrument)}, err
}

func patientState[C any](of func(C) domain.PatientID) func(context.Context, commands.Look, C) (patient.Patient, error) {
	return func(ctx context.Context, look commands.Look, c C) (patient.Patient, error) {
		return commands.At(ctx, look, patient.Decider, string(of(c)))
	}
}

// diaryEntry is the entry that CorrectDiary changes. It is read after the state and may only be newer; then the append
// conflicts, and both are read again.
func diaryEntry(ctx context.Context, look commands.Look, c diary.CorrectDiary) (*diary.Entry, error) {
	events, err := commands.EventsAt(ctx, look, diary.Decider, string(c.Patient))
	return diary.EntryOf(events, c.Instrument, c.Window), err
}

// Commands are the commands of this context.
var Commands = []commands.Command{AssignInstrument, SubmitDiary, CorrectDiary, RemindOfDiaries, CloseDiaryWindows}
