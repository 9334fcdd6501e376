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
// recorded as missed is also accepted and flagged. Submit computes the scores, and flags risks in the same append.
//
// Refusals: instrument_not_assigned, instrument_unusable, value_missing, captured_in_future, unknown_zone,
// diary_too_early, no_window, diary_too_late, patient_not_participating, treatment_ended, diary_submitted, and those of
// instrument.Instrument.Check.
func Submit(d Diary, who patient.Patient, cmd SubmitDiary, call domain.Call) ([]Event, error) {
	if err := checkCapture(cmd, call); err != nil {
		return nil, err
	}
	found, err := d.windowOf(cmd)
	if err != nil {
		return nil, err
	}
	assigned := found.assignment
	if err := assigned.mustBeAsked(who, cmd.CapturedAt); err != nil {
		return nil, err
	}
	window, status := assigned.calendar.Window(found.number), assigned.status(found.number)
	if status&Answered != 0 {
		return nil, refuse.WrongState("diary_submitted", "the diary of window %s has been submitted before", window.ID).
			At("capturedAt").Do("ask the site to correct it, if something in it is wrong")
	}
	answers, err := assigned.Instrument.Check(cmd.Answers)
	if err != nil {
		return nil, err
	}
	scores := assigned.Instrument.Scores(answers)
	events := []Event{Submitted{
		Patient:     cmd.Patient,
		Instrument:  cmd.Instrument,
		Version:     assigned.Instrument.Definition().Version,
		Window:      window,
		CapturedAt:  cmd.CapturedAt,
		Answers:     answers,
		Scores:      scores,
		Late:        found.late,
		AfterMissed: status&Missed != 0,
	}}
	for _, risk := range assigned.Instrument.Risks(answers, scores) {
		events = append(events, flagged(cmd.Patient, cmd.Instrument, window.ID, risk))
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
	if cmd.CapturedAt.After(call.At.Add(ClockTolerance)) {
		return refuse.Because("captured_in_future", "the diary was captured at %s, which lies in the future", moment(cmd.CapturedAt)).
			At("capturedAt").Do("check the device's clock")
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
