// Package diary declares the commands of the context diary: which decision, which facts, which roles.
package diary

import (
	"cmp"
	"context"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/user"
)

// Commands are the commands on a patient's diary.
var Commands = []commands.Command{
	commands.HandleWithFacts(diary.Decider, prescription, diary.Assign).
		AllowedTo(access.SiteStaff).
		Described("Let a patient answer an instrument",
			diary.AssignInstrument{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary", From: "2026-02-04", Until: "2026-08-01"}),
	commands.HandleWithFacts(diary.Decider, commands.PatientOf, diary.Submit).
		AllowedTo(access.ThePatient, access.Caregivers).
		Otherwise("staff send TranscribeDiary, which says where the answers are from; it never counts as on time").
		PreparedWith(setSender).
		BesideDamage(diary.BesideKey, diary.HoldBeside).
		Repeating(diary.Repeats).
		InClass(admission.Diaries).
		Described("Hand in one filled-in instrument; what cannot count, for a reason that nobody can mend on the device, is held",
			diary.SubmitDiary{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary",
				CapturedAt: exampleMoment, Zone: "Europe/Berlin", Device: "3f2b8c1e-6d0a-4b57-9a43-c5e1f07d2b88", Sequence: 41,
				MonotonicMs: 86_400_000,
				Answers:     diary.Answers{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}}),
	commands.HandleWithFacts(diary.Decider, diaryEntry, diary.AskCorrection).
		AllowedTo(access.ThePatient, access.Caregivers, access.SiteStaff).
		Described("Ask for other answers in a recorded diary; an investigator of the site decides",
			diary.AskDiaryCorrection{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary", Window: "2026-03-01/evening",
				Answers: map[instrument.ItemID]any{"worst": 5}, Reasoned: domain.Because("The patient called: mistyped")}),
	commands.HandleWithFacts(diary.Decider, requestedEntry, diary.Correct).
		AllowedTo(access.Investigators).
		Otherwise("ask for the correction with AskDiaryCorrection, and an investigator of the site decides").
		Described("Change answers of a recorded diary as somebody else has asked",
			diary.CorrectDiary{OfPatient: domain.ForPatient("PAIN1.S-0001"), Request: 1, Reasoned: domain.Because("The patient confirms it")}),
	commands.Handle(diary.Decider, diary.DeclineCorrection).
		AllowedTo(access.Investigators).
		Described("Leave a diary as it is, although somebody has asked for a correction",
			diary.DeclineDiaryCorrection{OfPatient: domain.ForPatient("PAIN1.S-0001"), Request: 1,
				Reasoned: domain.Because("The patient does not remember it")}),
	commands.HandleWithFacts(diary.Decider, commands.PatientOf, diary.Transcribe).
		AllowedTo(access.SiteStaff).
		Described("Record a diary from paper, an interview or a call; it never counts as on time",
			diary.TranscribeDiary{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary", AnsweredAt: exampleMoment,
				Answers: diary.Answers{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}, Source: diary.SourcePaper,
				Respondent: diary.RespondentPatient, Reasoned: domain.Because("The phone was broken")}),
	commands.HandleWithFacts(diary.Decider, relocation, diary.CorrectWindow).
		AllowedTo(access.Investigators).
		Described("Move a diary of the wrong day, or a held one, into the right window",
			diary.CorrectDiaryWindow{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary", From: "2026-03-02/evening",
				To: "2026-03-01/evening", Reasoned: domain.Because("The date of the phone was wrong")}),
	commands.HandleWithFacts(diary.Decider, voidedEntry, diary.Void).
		AllowedTo(access.Investigators).
		Described("Say that a diary does not count; it stays in the record",
			diary.VoidDiary{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary", Window: "2026-03-01/evening",
				Reasoned: domain.Because("Another patient had the phone")}),
	commands.HandleWithFacts(diary.Decider, commands.PatientOf, diary.Stop).
		AllowedTo(access.SiteStaff).
		Described("End the assignment of an instrument",
			diary.StopInstrument{OfPatient: domain.ForPatient("PAIN1.S-0001"), Instrument: "pain-diary", Until: "2026-05-01",
				Reasoned: domain.Because("Too much for the patient")}),
	commands.HandleWithFacts(diary.Decider, replacement, diary.Replace).
		AllowedTo(access.SiteStaff).
		Described("Assign another instrument instead of one",
			diary.ReplaceInstrument{OfPatient: domain.ForPatient("PAIN1.S-0001"), Replaced: "pain-diary", Instrument: "phq-9",
				From: "2026-05-02", Until: "2026-08-01", Reasoned: domain.Because("Amendment 2")}),
	commands.Handle(diary.Decider, diary.SetLanguage).
		AllowedTo(access.ThePatient, access.Caregivers, access.SiteStaff).
		Described("Say in which language the patient is shown diaries",
			diary.SetDiaryLanguage{OfPatient: domain.ForPatient("PAIN1.S-0001"), Language: "de"}),
	commands.Handle(diary.Decider, diary.Choose).
		AllowedTo(access.ThePatient, access.Caregivers, access.SiteStaff).
		Described("Say how the patient is reminded: by e-mail too, and when not",
			diary.ChooseReminders{OfPatient: domain.ForPatient("PAIN1.S-0001"), Email: true,
				Quiet: &instrument.QuietHours{From: "22:00", Until: "07:00"}}),
	commands.HandleWithFacts(diary.Decider, PlanOf, diary.Follow).
		AllowedTo(access.Processes),
	commands.HandleWithFacts(diary.Decider, commands.PatientOf, diary.OpenWindows).
		AllowedTo(access.Processes),
	commands.HandleWithFacts(diary.Decider, commands.PatientOf, diary.Remind).
		AllowedTo(access.Processes),
	commands.HandleWithFacts(diary.Decider, commands.PatientOf, diary.CloseWindows).
		AllowedTo(access.Processes, access.SiteStaff).
		Described("Record windows that ran out unanswered as missed",
			diary.CloseDiaryWindows{OfPatient: domain.ForPatient("PAIN1.S-0001"), Through: exampleMoment}),
}

// setSender says whose account sends a diary, and what the account knows of the device. Who works in the study is staff, whatever other
// grants the account has.
func setSender(ctx context.Context, h *commands.Handler, r commands.Request, c *diary.SubmitDiary) error {
	setAccount(r, c)
	if c.Sender.Staff {
		return nil
	}
	device := cmp.Or(c.Device, r.Principal.Device.ID) // who names none does not get around the signature
	account, err := commands.Read(ctx, h.Reader(), user.Decider, string(r.Principal.User))
	if device == "" { // and neither does a session without a device
		c.Sender.Signs = account.Signs()
		return err
	}
	c.Sender.Device = diary.StandingOf(account, c.Device)
	c.Sender.Keys, c.Sender.Signs = account.KeysOf(device)
	return err
}

func setAccount(r commands.Request, c *diary.SubmitDiary) {
	c.Sender = diary.Sender{Staff: true}
	for _, g := range r.Principal.Grants {
		switch {
		case g.Study == c.Patient.Study() && !g.Role.IsOfOnePatient():
			c.Sender = diary.Sender{Staff: true}
			return
		case g.Patient != c.Patient:
		case g.Role == user.PatientRole:
			c.Sender = diary.Sender{}
		case g.Role == user.Caregiver && c.Sender.Staff:
			c.Sender = diary.Sender{Caregiver: true, Relation: g.Relation}
		}
	}
}

// prescription reads the facts of AssignInstrument: the patient, and the instrument as the patient's version of the protocol
// defines it.
func prescription(ctx context.Context, reader commands.Reader, c diary.AssignInstrument) (diary.Prescription, error) {
	return prescribed(ctx, reader, c.Patient, c.Instrument)
}

// replacement reads the facts of ReplaceInstrument: those of the assignment of the new instrument.
func replacement(ctx context.Context, reader commands.Reader, c diary.ReplaceInstrument) (diary.Prescription, error) {
	return prescribed(ctx, reader, c.Patient, c.Instrument)
}

func prescribed(ctx context.Context, reader commands.Reader, of domain.PatientID, id instrument.ID) (diary.Prescription, error) {
	p, err := commands.Read(ctx, reader, patient.Decider, string(of))
	if err != nil {
		return diary.Prescription{}, err
	}
	s, err := commands.Read(ctx, reader, study.Decider, string(p.Study))
	if err != nil {
		return diary.Prescription{}, err
	}
	definition, err := inForce(ctx, reader, p.Follows(s), id)
	return diary.Prescription{Patient: p, Definition: definition, Known: p.Follows(s).InstrumentIDs()}, err
}

// inForce returns an instrument as the version of the protocol in force defines it; nil if the version has none.
func inForce(ctx context.Context, reader commands.Reader, s study.Study, id instrument.ID) (*instrument.Definition, error) {
	var published instrument.Versions
	if _, referred := s.InstrumentReference(id); referred {
		var err error
		if published, err = commands.ReadNewest(ctx, reader, instrument.Decider, instrument.StreamID(s.ID, id)); err != nil {
			return nil, err
		}
	}
	return s.InstrumentInForce(id, published)
}

// PlanOf reads the facts of FollowPhase: the patient as the log has it now, and what the protocol asks for in the patient's phase.
func PlanOf(ctx context.Context, reader commands.Reader, c diary.FollowPhase) (diary.Plan, error) {
	p, err := commands.ReadNewest(ctx, reader, patient.Decider, string(c.Patient))
	if err != nil || !p.Exists() {
		return diary.Plan{Patient: p}, err
	}
	plan := diary.Plan{Patient: p}
	s, err := commands.Read(ctx, reader, study.Decider, string(p.Study))
	if err != nil {
		return plan, err
	}
	s = p.Follows(s)
	for _, a := range s.InstrumentsOf(study.Phase(p.Phase())) {
		definition, err := inForce(ctx, reader, s, a.Instrument)
		if err != nil {
			return plan, err
		}
		plan.Instruments = append(plan.Instruments, diary.Planned{Definition: definition, Days: a.Days})
	}
	return plan, nil
}

// relocation reads the facts of CorrectDiaryWindow: the patient, and the diary in its present window. The texts of a held entry are
// opened, so that options and risks can be found in them.
func relocation(ctx context.Context, reader commands.Reader, c diary.CorrectDiaryWindow) (diary.Relocation, error) {
	p, err := commands.PatientOf(ctx, reader, c)
	if err != nil {
		return diary.Relocation{}, err
	}
	entry, err := entryOf(ctx, reader, c.Patient, c.Instrument, c.From)
	facts := diary.Relocation{Patient: p, Entry: entry}
	if err == nil && entry != nil && entry.IsHeld() {
		facts.Opened, err = opened(ctx, reader, entry.Answers)
	}
	return facts, err
}

// opened returns the texts of answers as they were written. One that is redacted stays as it is. It refuses texts_unavailable where there
// is no store of keys, or it does not answer, or lacks a key.
func opened(ctx context.Context, reader commands.Reader, answers diary.Answers) (diary.Answers, error) {
	var sealed []personal.Text
	for _, answer := range answers {
		if text, is := answer.(personal.Text); is {
			sealed = append(sealed, text)
		}
	}
	texts, err := personal.Opened(ctx, reader.PersonalKeys(), sealed)
	if err != nil {
		return nil, refuse.Overload("texts_unavailable", "the texts of the diary cannot be opened now, and it cannot be checked without them").
			Do("send the command again later; if that does not help, tell those who run the system that the store of personal keys is missing")
	}
	plain := diary.Answers{}
	for item, answer := range answers {
		if text, is := answer.(personal.Text); is {
			if said, is := texts[text]; is {
				plain[item] = said
			}
		}
	}
	return plain, nil
}

// voidedEntry reads the entry that VoidDiary is about.
func voidedEntry(ctx context.Context, reader commands.Reader, c diary.VoidDiary) (*diary.Entry, error) {
	return entryOf(ctx, reader, c.Patient, c.Instrument, c.Window)
}

// diaryEntry reads the entry that a correction is asked for.
func diaryEntry(ctx context.Context, reader commands.Reader, c diary.AskDiaryCorrection) (*diary.Entry, error) {
	return entryOf(ctx, reader, c.Patient, c.Instrument, c.Window)
}

// requestedEntry reads the entry that CorrectDiary changes.
func requestedEntry(ctx context.Context, reader commands.Reader, c diary.CorrectDiary) (*diary.Entry, error) {
	d, err := commands.Read(ctx, reader, diary.Decider, string(c.Patient))
	if err != nil {
		return nil, err
	}
	asked, found := d.Request(c.Request)
	if !found {
		return nil, nil
	}
	return entryOf(ctx, reader, c.Patient, asked.Instrument, asked.Window)
}

// entryOf reads an entry. It is read after the state, so it may be newer than the state; then the append conflicts, and both are
// read again.
func entryOf(ctx context.Context, reader commands.Reader, of domain.PatientID, id instrument.ID, window string) (*diary.Entry, error) {
	events, recorded, err := commands.ReadRecorded(ctx, reader, diary.Decider, string(of))
	if key, beside := diary.BesideStream(window); beside && err == nil {
		// The stream is not damaged any more. What was held beside it was there before the site decided about it.
		held, heldRecorded, failed := commands.ReadRecorded(ctx, reader, diary.Decider, string(of)+"."+key)
		events, recorded, err = append(held, events...), append(heldRecorded, recorded...), failed
	}
	entry := diary.EntryOf(events, id, window)
	if err != nil || entry == nil {
		return nil, err
	}
	if !entry.Moved {
		first := recorded[entry.Place].Metadata
		entry.By, entry.Zone = first.Actor, first.CapturedZone
	}
	return entry, nil
}

// exampleMoment is an evening in Berlin, when a patient fills in a diary.
var exampleMoment = time.Date(2026, 3, 1, 20, 30, 0, 0, time.FixedZone("", 3600))
