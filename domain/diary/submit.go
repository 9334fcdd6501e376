package diary

import (
	"cmp"
	"slices"
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
// that cannot count, for a reason that nobody can mend on the device, is held (see Why). The same entry sent again records nothing.
// Staff do not submit diaries (see Transcribe).
//
// Refusals, of what the app can mend: entered_by_staff, invalid_signature, malformed_id, malformed_language, unknown_code, value_missing,
// value_out_of_range, value_too_long, unknown_zone, and those of instrument.Instrument.Check.
func Submit(d Diary, who patient.Patient, cmd SubmitDiary, call domain.Call) ([]Event, error) {
	entered, err := cmd.receivable()
	if err != nil {
		return nil, err
	}
	why := cmd.distrusted(who, entered)
	if why == "" && inFuture(cmd.CapturedAt, call) {
		why = WhyInFuture
	}
	if d.hasRecorded(cmd, !slices.Contains(doubts, why)) {
		return nil, nil
	}
	found, err := d.windowFor(cmd.capture(), who)
	if refusal, refused := refuse.As(err); refused && slices.Contains(holdable, Why(refusal.Code)) {
		return d.hold(cmd, entered, call, nil, cmp.Or(why, Why(refusal.Code)))
	}
	if err != nil {
		return nil, err
	}
	switch {
	case why == WhyZoneContradicts: // who knows which window it was
		return d.hold(cmd, entered, call, nil, why)
	case why != "":
		return d.hold(cmd, entered, call, &found, why)
	case found.status&Answered != 0:
		return d.hold(cmd, entered, call, &found, WhyAnswered)
	}
	events, err := found.submitted(Submitted{Patient: cmd.Patient, CapturedAt: cmd.CapturedAt, Answers: cmd.Answers, Entered: entered})
	if err != nil && d.otherVersionTakes(cmd, found) {
		return d.hold(cmd, entered, call, &found, WhyOtherVersion)
	}
	return events, err
}

// receivable returns who entered a diary that can be kept, whether it counts or not. It refuses what entered and checkCapture refuse.
func (c SubmitDiary) receivable() (Entered, error) {
	entered, err := c.entered()
	if err != nil {
		return entered, err
	}
	return entered, checkCapture(c)
}

// capture returns when and where the entry was captured. Without a zone it is not known where.
func (c SubmitDiary) capture() capture {
	captured := capture{instrument: c.Instrument, at: c.CapturedAt}
	if zone, err := localtime.Load(c.Zone); err == nil {
		captured.zone = zone
	}
	return captured
}

// zoneContradicts says whether the offset of the capture is not that of the device's zone then. A time in Z says nothing about the
// device's offset (RFC 9557, section 2), and contradicts no zone.
func (c SubmitDiary) zoneContradicts() bool {
	zone, err := localtime.Load(c.Zone)
	if err != nil || c.CapturedAt.Location() == time.UTC {
		return false
	}
	_, said := c.CapturedAt.Zone()
	_, is := zone.In(c.CapturedAt).Zone()
	return said != is
}

// windowFor returns the window of an entry that the patient was asked for. A traveller may also answer in a window that is open at
// home, when the reminder comes, if there is none where the traveller is. It refuses what windowOf and mustBeAsked refuse.
func (d Diary) windowFor(c capture, who patient.Patient) (entryWindow, error) {
	found, err := d.windowOf(c, who)
	if err != nil && c.zone != nil {
		c.zone = nil
		if home, none := d.windowOf(c, who); none == nil && !home.late {
			found, err = home, nil
		}
	}
	if err != nil {
		return found, err
	}
	return found, found.assignment.mustBeAsked(who, c.on(found.assignment))
}

// submitted returns the events of an entry in this window, with its scores and risks. It refuses what
// instrument.Instrument.Check refuses.
func (w entryWindow) submitted(e Submitted) ([]Event, error) {
	assigned := w.assignment
	answers, queried, err := assigned.Instrument.Examine(e.Answers)
	if err != nil {
		return nil, err
	}
	e.Queried = queried
	e.Instrument, e.Version, e.Window, e.Late, e.AfterMissed = assigned.ID, assigned.Instrument.Definition().Version, w.window, w.late,
		w.status&Missed != 0
	e.Again = w.status&Emptied != 0
	e.Answers, e.Scores = answers, assigned.Instrument.Scores(answers)
	e.Entered = e.signing(answers)
	events := []Event{e}
	for _, risk := range assigned.Instrument.Risks(answers, e.Scores) {
		events = append(events, flagged(e.Patient, e.Instrument, w.window.ID, risk))
	}
	return events, nil
}

// firstCapture and lastCapture bound the moments that the record can carry: years have four digits (RFC 3339), in every zone.
var (
	firstCapture = time.Date(1, time.January, 2, 0, 0, 0, 0, time.UTC)
	lastCapture  = time.Date(9999, time.December, 30, 0, 0, 0, 0, time.UTC)
)

// checkCapture refuses an entry without a captured time, with one that no record can carry or with an unknown zone (codes
// value_missing, value_out_of_range and unknown_zone).
func checkCapture(cmd SubmitDiary) error {
	if cmd.CapturedAt.IsZero() {
		return refuse.Malformed("value_missing", "the diary does not say when the patient finished it").
			At("capturedAt").Do("send the device's time with its offset from UTC")
	}
	if cmd.CapturedAt.Before(firstCapture) || cmd.CapturedAt.After(lastCapture) {
		return refuse.Malformed("value_out_of_range", "the diary was captured in the year %d", cmd.CapturedAt.Year()).
			At("capturedAt").Do("use a year from 1 to 9999, without the first and the last days of them")
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

// inFuture says whether the clock that shows a moment must be wrong.
func inFuture(at time.Time, call domain.Call) bool { return at.After(call.At.Add(ClockTolerance)) }

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
		return refuse.WrongState("patient_not_participating", "the patient does not take part in the study").
			Do("enrol the patient first; nothing is asked before")
	}
	if domain.DateOf(zone.In(captured)) > who.EndedOn {
		return refuse.WrongState("patient_not_participating", "the patient's participation ended on %s, before the diary was captured",
			who.EndedOn).Do("set it aside; what was captured until the last day counts, whenever it arrives")
	}
	return nil
}
