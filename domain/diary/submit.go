package diary

import (
	"time"

	"casebook/domain"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/refuse"
)

// ClockTolerance is how far a device's clock may be ahead of the server's. The clocks of phones in a network are right
// within seconds. Five minutes also allow for a phone that was without a network for weeks, but are too short to move
// an entry to another window.
const ClockTolerance = 5 * time.Minute

// Submit records one filled-in instrument. Its window is the one that was open when the patient finished, by the
// device's clock. A late entry is accepted and flagged if the protocol allows back-entry (FDA guidance on
// patient-reported outcomes, 2009). An entry that was captured in time but reached the server after its window had been
// recorded as missed is also accepted and flagged. Submit computes the scores, and flags risks in the same append. An entry
// that has no window, or was captured after the patient's end, is held where the instrument says so (see Held). Staff do not
// submit diaries (see Transcribe).
//
// Refusals: entered_by_staff, malformed_id, malformed_language, unknown_code, respondent_contradicts,
// instrument_not_assigned, instrument_unusable, value_missing, captured_in_future, unknown_zone, diary_too_early, no_window,
// diary_too_late, patient_not_participating, treatment_ended, diary_submitted, and those of instrument.Instrument.Check.
func Submit(d Diary, who patient.Patient, cmd SubmitDiary, call domain.Call) ([]Event, error) {
	entered, err := cmd.entered(who)
	if err != nil {
		return nil, err
	}
	if err := checkCapture(cmd, call); err != nil {
		return nil, err
	}
	found, err := d.windowFor(capture{cmd.Instrument, cmd.CapturedAt}, who)
	if err != nil {
		return d.hold(cmd, entered, err)
	}
	if found.status&Answered != 0 {
		return nil, refuse.WrongState("diary_submitted", "the diary of window %s has been submitted before", found.window.ID).
			At("capturedAt").Do("ask the site to correct it, if something in it is wrong")
	}
	return found.submitted(Submitted{Patient: cmd.Patient, CapturedAt: cmd.CapturedAt, Answers: cmd.Answers, Entered: entered})
}

// windowFor returns the window of an entry that the patient was asked for. It refuses what windowOf and mustBeAsked refuse.
func (d Diary) windowFor(c capture, who patient.Patient) (entryWindow, error) {
	found, err := d.windowOf(c, who)
	if err != nil {
		return found, err
	}
	return found, found.assignment.mustBeAsked(who, c.at)
}

// submitted returns the events of an entry in this window, with its scores and risks. It refuses what
// instrument.Instrument.Check refuses.
func (w entryWindow) submitted(e Submitted) ([]Event, error) {
	assigned := w.assignment
	answers, err := assigned.Instrument.Check(e.Answers)
	if err != nil {
		return nil, err
	}
	e.Instrument, e.Version, e.Window, e.Late, e.AfterMissed = assigned.ID, assigned.Instrument.Definition().Version, w.window, w.late,
		w.status&Missed != 0
	e.Again = w.status&Emptied != 0
	e.Answers, e.Scores = answers, assigned.Instrument.Scores(answers)
	events := []Event{e}
	for _, risk := range assigned.Instrument.Risks(answers, e.Scores) {
		events = append(events, flagged(e.Patient, e.Instrument, w.window.ID, risk))
	}
	return events, nil
}

// checkCapture refuses an entry without a captured time, from the future or with an unknown zone (codes
// value_missing, captured_in_future and unknown_zone).
func checkCapture(cmd SubmitDiary, call domain.Call) error {
	if cmd.CapturedAt.IsZero() {
		return refuse.Malformed("value_missing", "the diary does not say when the patient finished it").
			At("capturedAt").Do("send the device's time with its offset from UTC")
	}
	if err := notInFuture("capturedAt", cmd.CapturedAt, call); err != nil {
		return err
	}
	if cmd.Zone == "" {
		return nil
	}
	_, err := localtime.Load(cmd.Zone)
	if r, ok := refuse.As(err); ok {
		return r.At("zone")
	}
	return err
}

// notInFuture refuses an entry from the future (code captured_in_future).
func notInFuture(field string, at time.Time, call domain.Call) error {
	if at.After(call.At.Add(ClockTolerance)) {
		return refuse.Because("captured_in_future", "the diary was captured at %s, which lies in the future", moment(at)).
			At(field).Do("check the device's clock")
	}
	return nil
}

// mustBeAsked refuses an entry that was captured after the patient's participation (code patient_not_participating) or, for
// an instrument about doses, after the treatment (code treatment_ended).
func (a *Assignment) mustBeAsked(who patient.Patient, captured time.Time) error {
	if err := mustHaveParticipated(who, a.zone, captured); err != nil {
		return err
	}
	if last := a.lastDay(who); last != "" && domain.DateOf(a.zone.In(captured)) > last {
		return refuse.WrongState("treatment_ended", "the patient's treatment ended on %s, before the diary was captured", last).
			At("capturedAt").Do("no doses are recorded after the treatment")
	}
	return nil
}

// mustHaveParticipated refuses an entry that was captured after the day on which the patient's participation ended
// (code patient_not_participating). An entry that was captured until then belongs to the study, even if it arrives
// later.
func mustHaveParticipated(who patient.Patient, zone *localtime.Zone, captured time.Time) error {
	if who.Participating() {
		return nil
	}
	if who.EndedOn == "" {
		return refuse.WrongState("patient_not_participating", "the patient does not take part in the study")
	}
	if domain.DateOf(zone.In(captured)) > who.EndedOn {
		return refuse.WrongState("patient_not_participating", "the patient's participation ended on %s, before the diary was captured",
			who.EndedOn)
	}
	return nil
}
