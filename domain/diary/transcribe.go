package diary

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// TranscribeDiary records a diary that staff have from paper, or from asking the respondent. Nobody can prove when it was answered,
// so it never counts as on time.
type TranscribeDiary struct {
	domain.OfPatient
	Instrument instrument.ID `json:"instrument" doc:"The instrument"`
	AnsweredAt time.Time     `json:"answeredAt" doc:"When it was answered, as the source or the respondent says"`
	Window     string        `json:"window,omitempty" maxLength:"100" doc:"Id of the window that it is for; the one of answeredAt when left out"`
	Answers    Answers       `json:"answers" doc:"Answers by item; leave out what was not answered"`
	Source     Source        `json:"source" doc:"Where the answers are from; other_patient for a diary that was recorded for the wrong patient"`
	Respondent Respondent    `json:"respondent" doc:"Who answered"`
	// Relation is for a caregiver.
	Relation        user.Relation `json:"relation,omitempty" doc:"What the caregiver who answered is to the patient"`
	Language        Language      `json:"language,omitempty" doc:"Language in which it was answered"`
	domain.Reasoned `doc:"Why it was not answered on a device"`
}

// Transcribe decides about TranscribeDiary. The diary belongs to the window that was open when it was answered, or to the named
// one; it is late there if it was answered after it. What was answered after the participation counts nowhere. Where the protocol has
// others assess a patient, somebody who knows the arm does not interview the patient.
//
// Refusals: reason_required, value_too_long, value_missing, unknown_code, malformed_language, respondent_contradicts,
// instrument_not_assigned, instrument_unusable, captured_in_future, diary_too_early, no_window, diary_too_late,
// window_not_found, patient_not_participating, treatment_ended, diary_submitted, assessor_unblinded, and those of
// instrument.Instrument.Check.
func Transcribe(d Diary, who patient.Patient, cmd TranscribeDiary, call domain.Call) ([]Event, error) {
	if err := cmd.check(who, call); err != nil {
		return nil, err
	}
	if cmd.Source.mode() == ByInterviewer {
		if err := who.MayAssess(call.Actor); err != nil {
			return nil, err
		}
	}
	found, err := d.windowNamed(capture{instrument: cmd.Instrument, at: cmd.AnsweredAt}, cmd.Window, who)
	if err != nil {
		return nil, ofAnswer(err)
	}
	if found.status&Answered != 0 {
		return nil, refuse.WrongState("diary_submitted", "the diary of window %s has been submitted before", found.window.ID).
			At("answeredAt").Do("correct it, if something in it is wrong")
	}
	e := Entered{Mode: cmd.Source.mode(), Respondent: cmd.Respondent, Relation: cmd.Relation, Language: cmd.Language, Source: cmd.Source,
		Reason: cmd.Reason}
	return found.submitted(Submitted{Patient: cmd.Patient, CapturedAt: cmd.AnsweredAt, Answers: cmd.Answers, Entered: e})
}

// ofAnswer returns a refusal that names the field of a transcribed diary where it would name that of a device.
func ofAnswer(err error) error {
	if r, ok := refuse.As(err); ok && (r.Field == "" || r.Field == "capturedAt") {
		return r.At("answeredAt")
	}
	return err
}

// check refuses what does not say from where, from whom, when and why.
func (c TranscribeDiary) check(who patient.Patient, call domain.Call) error {
	if err := domain.Reason(c.Reason); err != nil {
		return err
	}
	if c.AnsweredAt.IsZero() {
		return refuse.Malformed("value_missing", "nothing says when the diary was answered").At("answeredAt").
			Do("use the time on the paper, or that of the interview")
	}
	if inFuture(c.AnsweredAt, call) {
		return refuse.Because("captured_in_future", "the diary was answered at %s, which lies in the future", moment(c.AnsweredAt)).
			At("answeredAt").Do("use the time on the paper, or that of the interview")
	}
	if !slices.Contains(Sources, c.Source) {
		return refuse.Malformed("unknown_code", "%q is not a source", refuse.Shortened(string(c.Source))).At("source").
			Do("use paper, interview, telephone or other_patient")
	}
	if c.Respondent == "" {
		return refuse.Malformed("value_missing", "nothing says who answered").At("respondent").Do("use patient, minor or caregiver")
	}
	if err := domain.First(c.Respondent.check(who), c.Language.validate()); err != nil {
		return err
	}
	if (c.Respondent == RespondentCaregiver) != (c.Relation != "") {
		return refuse.Because("respondent_contradicts", "a caregiver, and nobody else, has a relation to the patient").At("relation").
			Do("name the relation of the caregiver who answered")
	}
	return c.Relation.Validate()
}

// windowNamed returns the window of an entry: the named one, or that of its capture. It refuses what windowFor refuses, and
// window_not_found.
func (d Diary) windowNamed(c capture, window string, who patient.Patient) (entryWindow, error) {
	if window == "" {
		return d.windowFor(c, who)
	}
	if d.lastAssigned(c.instrument) == nil {
		return d.windowFor(c, who)
	}
	found, err := d.windowByID(c.instrument, window, who)
	if err != nil {
		return found, domain.At("window", err)
	}
	if c.at.Before(found.window.Opens) {
		return found, refuse.Because("diary_too_early", "the window %s opens at %s, after the diary was answered", window,
			moment(found.assignment.zone.In(found.window.Opens))).At("window").Do("name the window that it was answered in")
	}
	found.late = !c.at.Before(found.window.Closes)
	return found, domain.First(domain.At("window", found.assignment.mustBeAsked(who, found.window.Opens)),
		mustHaveParticipated(who, found.assignment.zone, c.at))
}

// windowByID returns a window by its id, if the instrument asks for an entry in it (code window_not_found). Entries about events have
// no such windows.
func (d Diary) windowByID(id instrument.ID, window string, who patient.Patient) (entryWindow, error) {
	for i := range d.assignments {
		a := &d.assignments[i]
		if number, ok := a.number(id, window); ok && !a.calendar.Empty(number) {
			return a.inCalendar(number, false), nil
		}
		if a.ID != id {
			continue
		}
		for _, w := range a.aroundVisits(who) {
			if w.ID == window {
				return entryWindow{assignment: a, window: w, status: a.otherStatus(w.ID)}, nil
			}
		}
	}
	return entryWindow{}, refuse.NotFound("window_not_found", "instrument %s has no window %q", id, refuse.Shortened(window)).
		Do("use the id of a window, such as 2026-03-01/evening or visit/week-4")
}
