package diary

import (
	"time"

	"casebook/domain"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/refuse"
)

// ClockTolerance is how far a device's clock may be ahead of the server's. Phones that set their clocks by the network
// stay within seconds; five minutes forgive one that was off the network for weeks, and are too little to move an entry
// by a window.
const ClockTolerance = 5 * time.Minute

// Submit decides what becomes of one filled-in instrument. The window is the one that was open when the patient
// finished, by the device's clock. A late entry is accepted and flagged where the protocol allows back-entry (FDA
// guidance on patient-reported outcomes, 2009), and so is one that was captured in time but reached the server after
// its window had been recorded as missed. Scores are computed here, and risks are flagged in the same append.
//
// Refusals: instrument_not_assigned, instrument_unusable, captured_at_required, captured_in_future, unknown_zone,
// diary_too_early, no_window, diary_too_late, patient_not_participating, diary_already_submitted, and those of
// instrument.Instrument.Check.
func Submit(d Diary, who patient.Patient, cmd SubmitDiary, call domain.Call) ([]Event, error) {
	if err := mayBeCaptured(cmd, call); err != nil {
		return nil, err
	}
	found, err := d.placeOf(cmd)
	if err != nil {
		return nil, err
	}
	assigned := found.assignment
	if err := wasParticipating(who, assigned.zone, cmd.CapturedAt); err != nil {
		return nil, err
	}
	window, status := assigned.calendar.Window(found.number), assigned.status(found.number)
	if status&Answered != 0 {
		return nil, refuse.WrongState("diary_already_submitted", "the diary of window %s has been handed in", window.ID).
			At("capturedAt").Do("let the site correct it, if something in it is wrong")
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

// mayBeCaptured refuses what cannot have happened.
func mayBeCaptured(cmd SubmitDiary, call domain.Call) error {
	if cmd.CapturedAt.IsZero() {
		return refuse.Malformed("captured_at_required", "the diary does not say when the patient finished it").
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

// wasParticipating refuses what was captured after the day on which the patient's participation ended. What was
// captured until then belongs to the study, whenever it arrives.
func wasParticipating(who patient.Patient, zone *localtime.Zone, captured time.Time) error {
	if who.Participating() {
		return nil
	}
	if who.EndedOn == "" {
		return refuse.WrongState("patient_not_participating", "the patient does not take part in the study")
	}
	if domain.DateOf(zone.In(captured)) > who.EndedOn {
		return refuse.WrongState("patient_not_participating", "the patient's participation ended on %s, before the diary was captured", who.EndedOn)
	}
	return nil
}
