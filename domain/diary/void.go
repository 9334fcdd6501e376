package diary

import (
	"slices"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// VoidDiary says that a recorded diary does not count, such as one of the wrong patient. It stays in the record. A held diary is
// voided too if it must not count.
type VoidDiary struct {
	domain.OfPatient
	Instrument      instrument.ID `json:"instrument" doc:"The instrument"`
	Window          string        `json:"window" doc:"Id of the window, or of the held diary"`
	domain.Reasoned `doc:"Why it does not count"`
}

// CorrectDiaryWindow moves a diary that was recorded for the wrong day, or a held one, into the right window.
type CorrectDiaryWindow struct {
	domain.OfPatient
	Instrument      instrument.ID `json:"instrument" doc:"The instrument"`
	From            string        `json:"from" doc:"Id of the window in which it is recorded, or of the held diary"`
	To              string        `json:"to" doc:"Id of the right window"`
	domain.Reasoned `doc:"Why it is moved"`
}

// Voided says that a diary does not count. Its window is as if nobody had answered it, and may be answered again.
type Voided struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Window     Window           `json:"window"`
	Reason     personal.Text    `json:"reason"`
	// Mode, Late and AfterMissed are the diary's: as what it was counted. Held says that it was held, and counted nowhere.
	Mode        Mode `json:"mode,omitempty"`
	Late        bool `json:"late,omitempty"`
	AfterMissed bool `json:"afterMissed,omitempty"`
	Held        bool `json:"held,omitempty"`
	// MovedTo is the window in which it counts instead, if it was moved.
	MovedTo string `json:"movedTo,omitempty"`
	// Device and Sequence are those of a held entry whose number the decision accounts for (see Why.NumberedWhenDecided). Earlier programs
	// recorded them of every held entry.
	Device   user.DeviceID `json:"device,omitempty"`
	Sequence int64         `json:"sequence,omitempty"`
}

func (Voided) diaryEvent() {}

// Void decides about VoidDiary. Open requests for a correction of the diary are closed with it. entry is the diary that EntryOf
// returns, or nil. It refuses reason_required, value_too_long,
// instrument_unusable and diary_not_found.
func Void(d Diary, entry *Entry, cmd VoidDiary, _ domain.Call) ([]Event, error) {
	if err := d.mustHave(entry, cmd.Instrument, cmd.Window, cmd.Reason, "window"); err != nil {
		return nil, err
	}
	voided := entry.voided(cmd.Reason, "")
	return append([]Event{voided}, d.lapsed(voided)...), nil
}

// Relocation is the facts of CorrectWindow: the patient, and the diary as EntryOf returns it.
type Relocation struct {
	Patient patient.Patient
	Entry   *Entry
	// Opened are the texts among the answers of a held entry as they were written, apart from those that are redacted. The instrument of
	// the window may be the first that tells options from free texts, or a version with other rules than that of when it came.
	Opened Answers
}

// CorrectWindow decides about CorrectDiaryWindow. The diary keeps its mode, its answers and the time of its capture; it is late in a
// window in which it was not captured. One from the future is in time in the window alone that was open when it arrived, and by the
// device's clock. Open requests for a correction of it lapse. Risks that it had raised are not raised again; those of a held
// diary are flagged now, as they were found when it came,
// or, if nobody could look then, as they are found in its opened texts. What was captured after the participation counts in no window,
// also not in one from before its end.
//
// Refusals: reason_required, value_too_long, instrument_unusable, diary_not_found, nothing_to_correct, window_not_found,
// window_not_open, patient_not_participating, treatment_ended, diary_submitted, and those of
// instrument.Instrument.Check.
func CorrectWindow(d Diary, facts Relocation, cmd CorrectDiaryWindow, call domain.Call) ([]Event, error) {
	entry := facts.Entry
	if err := d.mustHave(entry, cmd.Instrument, cmd.From, cmd.Reason, "from"); err != nil {
		return nil, err
	}
	if cmd.From == cmd.To {
		return nil, refuse.Because("nothing_to_correct", "the diary is recorded in the window %s already", refuse.Shortened(cmd.To)).At("to").
			Do("nothing is left to do")
	}
	if err := d.checkUsable(cmd.Instrument); err != nil {
		return nil, err
	}
	found, err := d.windowByID(cmd.Instrument, cmd.To, facts.Patient)
	if err != nil {
		return nil, domain.At("to", err)
	}
	if found.window.Opens.After(call.At) {
		return nil, refuse.Because("window_not_open", "the window %s opens at %s", found.window.ID, moment(found.window.Opens)).At("to").
			Do("name the window that the diary is of")
	}
	if err := found.assignment.mustBeAsked(facts.Patient, found.window.Opens); err != nil {
		return nil, domain.At("to", err)
	}
	if !entry.InFuture { // otherwise only the window says when it was
		if err := mustHaveParticipated(facts.Patient, found.assignment.zone, entry.CapturedAt); err != nil {
			return nil, domain.At("from", err)
		}
	}
	if found.status&Answered != 0 {
		return nil, refuse.WrongState("diary_submitted", "the window %s has a diary", found.window.ID).At("to").
			Do("void that diary first, if it is the wrong one")
	}
	found.late = entry.InFuture || entry.CapturedAt.Before(found.window.Opens) || !entry.CapturedAt.Before(found.window.Closes)
	if entry.For == found.window.ID { // where the patient was, it may have been another time of the day
		found.late = entry.Late
	}
	entered := entry.Entered
	entered.Signature, entered.SealedSignature = "", "" // it is of the entry as it was captured, which is in the first event
	moved, err := found.submitted(Submitted{Patient: cmd.Patient, CapturedAt: entry.CapturedAt,
		Answers: entry.Answers.opening(facts.Opened), Entered: entered, MovedFrom: cmd.From,
		EnteredBy: entry.By, CapturedZone: entry.Zone, InFuture: entry.InFuture})
	if err != nil {
		return nil, err
	}
	counted := moved[0].(Submitted) //nolint:forcetypeassert // submitted returns the entry first
	counted.Answers = counted.Answers.sealedAs(entry.Answers)
	voided := entry.voided(cmd.Reason, found.window.ID)
	events := []Event{voided, counted}
	if entry.IsHeld() {
		events = append(events, entry.risksIn(counted, moved[1:])...)
	}
	return append(events, d.lapsed(voided)...), nil
}

// risksIn returns the risks to flag of a held entry that is taken: those that were found when it came, and, if it was judged by another
// version of the instrument or by none, those that are found now.
func (entry *Entry) risksIn(counted Submitted, now []Event) (events []Event) {
	flag := func(risk RiskFlagged) {
		risk.ToldWhenHeld = slices.Contains(entry.UrgentRisks, risk.Rule)
		events = append(events, risk)
	}
	for _, r := range entry.Risks {
		flag(RiskFlagged{Patient: counted.Patient, Instrument: counted.Instrument, Window: counted.Window.ID, Rule: r.Rule,
			Severity: r.Severity, Message: r.Message})
	}
	if entry.Risks != nil && entry.Version == counted.Version {
		return events
	}
	for _, e := range now {
		risk, is := e.(RiskFlagged)
		if is && !slices.ContainsFunc(entry.Risks, func(r HeldRisk) bool { return r.Rule == risk.Rule }) {
			flag(risk)
		}
	}
	return events
}

// mustHave refuses reason_required, value_too_long, instrument_unusable and diary_not_found.
func (d Diary) mustHave(entry *Entry, id instrument.ID, window string, reason personal.Text, field string) error {
	if err := domain.Reason(reason.Trimmed()); err != nil {
		return err
	}
	if err := d.checkUsable(id); err != nil && (entry == nil || !entry.IsHeld()) {
		return err
	}
	status, ok := d.statusOf(id, window)
	beside := !ok && entry != nil && entry.IsHeld() // held while the stream was damaged, so that the state does not have it
	if entry == nil || status&(Answered|Waiting) == 0 && !beside {
		return refuse.NotFound("diary_not_found", "there is no diary of %s for the window %q", id, refuse.Shortened(window)).At(field).
			Do("look at the patient's diaries")
	}
	return nil
}

// voided returns the event that voids the entry.
func (entry *Entry) voided(reason personal.Text, movedTo string) Voided {
	voided := Voided{Patient: entry.Patient, Instrument: entry.Instrument, Window: entry.Window, Reason: reason.Trimmed(),
		Mode: entry.Mode, Late: entry.Late, AfterMissed: entry.AfterMissed, Held: entry.IsHeld(), MovedTo: movedTo}
	if voided.Held && entry.Sequence > 0 && entry.Why.NumberedWhenDecided() {
		voided.Device, voided.Sequence = entry.Device, entry.Sequence
	}
	return voided
}
