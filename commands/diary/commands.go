// Package diary declares the commands of the context diary: which decision, which facts, which roles.
package diary

import (
	"context"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/study"
)

// Commands are the commands on a patient's diary.
var Commands = []commands.Command{
	commands.HandleWithFacts(diary.Decider, prescription, diary.Assign).
		AllowedTo(access.SiteStaff).
		Described("Let a patient answer an instrument",
			diary.AssignInstrument{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary", From: "2026-02-04", Until: "2026-08-01"}),
	commands.HandleWithFacts(diary.Decider, commands.PatientOf, diary.Submit).
		AllowedTo(access.ThePatient, access.SiteStaff).
		InClass(admission.Diaries).
		Described("Hand in one filled-in instrument",
			diary.SubmitDiary{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary",
				CapturedAt: exampleMoment, Zone: "Europe/Berlin",
				Answers: diary.Answers{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}}),
	commands.HandleWithFacts(diary.Decider, diaryEntry, diary.Correct).
		AllowedTo(access.SiteStaff).
		Described("Change answers of a recorded diary, with the reason",
			diary.CorrectDiary{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary", Window: "2026-03-01/evening",
				Answers: map[instrument.ItemID]any{"worst": 5}, Reasoned: domain.Because("The patient called: mistyped")}),
	commands.HandleWithFacts(diary.Decider, commands.PatientOf, diary.Remind).
		AllowedTo(access.Processes),
	commands.HandleWithFacts(diary.Decider, commands.PatientOf, diary.CloseWindows).
		AllowedTo(access.Processes, access.SiteStaff).
		Described("Record windows that ran out unanswered as missed",
			diary.CloseDiaryWindows{OfPatient: domain.ForPatient("PAIN1.S-0001"), Through: exampleMoment}),
}

// prescription reads the facts of AssignInstrument: the patient, and the instrument as the patient's version of the protocol
// defines it.
func prescription(ctx context.Context, reader commands.Reader, c diary.AssignInstrument) (diary.Prescription, error) {
	p, err := commands.Read(ctx, reader, patient.Decider, string(c.Patient))
	if err != nil {
		return diary.Prescription{}, err
	}
	s, err := commands.Read(ctx, reader, study.Decider, string(p.Study))
	if err != nil {
		return diary.Prescription{}, err
	}
	s = p.Follows(s)
	var published instrument.Versions
	if _, referred := s.InstrumentReference(c.Instrument); referred {
		published, err = commands.ReadNewest(ctx, reader, instrument.Decider, instrument.StreamID(p.Study, c.Instrument))
		if err != nil {
			return diary.Prescription{}, err
		}
	}
	definition, err := s.InstrumentInForce(c.Instrument, published)
	return diary.Prescription{Patient: p, Definition: definition}, err
}

// diaryEntry reads the entry that CorrectDiary changes. It is read after the state, so it may be newer than the state;
// then the append conflicts, and both are read again.
func diaryEntry(ctx context.Context, reader commands.Reader, c diary.CorrectDiary) (*diary.Entry, error) {
	events, err := commands.ReadEvents(ctx, reader, diary.Decider, string(c.Patient))
	return diary.EntryOf(events, c.Instrument, c.Window), err
}

// exampleMoment is an evening in Berlin, when a patient fills in a diary.
var exampleMoment = time.Date(2026, 3, 1, 20, 30, 0, 0, time.FixedZone("", 3600))
