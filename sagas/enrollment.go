package sagas

import (
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/supply"
	"casebook/eventlog"
)

// The stages of an enrolment: what it waits for.
const (
	stagePlace        = "place"
	stageStock        = "stock"
	stageDraw         = "draw"
	stageKit          = "kit"
	stageConfirmation = "confirmation"
	stageEnrolled     = "enrolled"
	stageFailed       = "enrolment failed"
	stageEnded        = "ended"
)

// answerWithin is how long each answer may take before the enrolment gives up, or, once a draw may have been made, asks
// again.
const answerWithin = 10 * time.Minute

// enrolling is what an enrolment remembers. It never knows an arm.
type enrolling struct {
	Attempt   int               `json:"attempt,omitempty"`
	Study     domain.StudyID    `json:"study,omitempty"`
	Site      domain.SiteID     `json:"site,omitempty"`
	Patient   domain.PatientID  `json:"patient,omitempty"`
	Randomise bool              `json:"randomise,omitempty"`
	Kits      bool              `json:"kits,omitempty"`
	Factors   map[string]string `json:"factors,omitempty"`

	Stage string `json:"stage,omitempty"`
	// Number is the place's; Held says that kits are held, Drawn that an arm was drawn.
	Number int  `json:"number,omitempty"`
	Held   bool `json:"held,omitempty"`
	Drawn  bool `json:"drawn,omitempty"`
	// Asks is how often the draw was asked for, in earlier attempts too.
	Asks int `json:"asks,omitempty"`
	// Ended says that the patient has left meanwhile.
	Ended bool `json:"ended,omitempty"`
}

// Enrollment is the process that turns the wish to enrol a patient into a place, a held kit of every arm, a draw, the kit
// of the drawn arm and a confirmation. Before the draw, a refusal gives everything back in reverse, and the patient is told
// why. After it nothing is undone: an assignment that was drawn stands (ICH E9, 5.2.1, intention to treat), and the
// enrolment waits for a kit.
var Enrollment = Define("enrollment", []string{"EnrollmentRequested", "PlaceReserved", "PlaceRefused", "StockHeld", "StockRefused",
	"PatientRandomised", "RandomisationRefused", "KitAllocated", "AllocationFailed", "PatientEnrolled", "EnrollmentFailed",
	"ConsentWithdrawn", "PatientDiscontinued"},
	func(e eventlog.Recorded) []string {
		switch e := e.Event.(type) {
		case patient.EnrollmentRequested:
			return one(e.Patient)
		case enrollment.PlaceReserved:
			return one(e.Patient)
		case enrollment.PlaceRefused:
			return one(e.Patient)
		case supply.StockHeld:
			return one(e.Patient)
		case supply.StockRefused:
			return one(e.Patient)
		case randomisation.PatientRandomised:
			return one(e.Patient)
		case randomisation.RandomisationRefused:
			return one(e.Patient)
		case supply.KitAllocated:
			if e.Visit == "" {
				return one(e.Patient)
			}
		case supply.AllocationFailed:
			if e.Visit == "" {
				return one(e.Patient)
			}
		case patient.Enrolled:
			return one(e.Patient)
		case patient.EnrollmentFailed:
			return one(e.Patient)
		case patient.ConsentWithdrawn:
			return one(e.Patient)
		case patient.Discontinued:
			return one(e.Patient)
		}
		return nil
	}, reactToEnrollment)

const answerTimer = "answer"

func reactToEnrollment(s enrolling, o Occurrence) (Reaction[enrolling], bool) {
	if e, ok := o.Event.(patient.EnrollmentRequested); ok {
		if s.underWay() || e.Attempt != 0 && e.Attempt <= s.Attempt {
			return Reaction[enrolling]{}, false // an older request that comes late
		}
		s = enrolling{Attempt: max(e.Attempt, s.Attempt+1), Study: e.Study, Site: e.Site, Patient: e.Patient,
			Randomise: e.Randomise, Kits: e.Kits, Factors: e.Factors, Asks: s.Asks}
		return s.ask(o, stagePlace, enrollment.ReservePlace{InStudy: domain.ForStudy(s.Study), Site: s.Site, OfPatient: domain.ForPatient(s.Patient)}), true
	}
	switch e := o.Event.(type) {
	case enrollment.PlaceReserved:
		switch {
		case s.Stage == stagePlace:
			s.Number = e.Number
			return s.next(o), true
		case s.Stage == stageFailed && s.Number == 0: // the answer came after the enrolment had given up
			return s.stays("a place came too late, and is given back", s.releasePlace("the enrolment had given up")), true
		}
	case enrollment.PlaceRefused:
		if s.Stage == stagePlace {
			return s.fail(e.Code, e.Reason), true
		}
	case supply.StockHeld:
		switch {
		case s.Stage == stageStock:
			s.Held = true
			return s.next(o), true
		case s.Stage == stageFailed && !s.Held:
			return s.stays("kits were held too late, and are given back", s.releaseHold("the enrolment had given up")), true
		}
	case supply.StockRefused:
		if s.Stage == stageStock {
			return s.fail(e.Code, e.Reason), true
		}
	case randomisation.PatientRandomised:
		if s.Stage == stageDraw {
			s.Drawn = true
			return s.next(o), true
		}
	case randomisation.RandomisationRefused:
		// Only the answer to the last ask says that nothing was drawn, and that nothing will be.
		if s.Stage == stageDraw && e.Ask == s.Asks {
			return s.fail(e.Code, e.Reason), true
		}
	case supply.KitAllocated:
		switch s.Stage {
		case stageKit:
			return s.ask(o, stageConfirmation, s.confirm()), true
		case stageFailed:
			return s.stays("a kit was allocated too late, and is set aside", s.setAside("the enrolment had given up")), true
		}
	case supply.AllocationFailed:
		if s.Stage == stageKit {
			return s.withoutKit(e), true
		}
	case patient.Enrolled:
		if s.Stage == stageConfirmation {
			return s.end(stageEnrolled, "", process.Completed), true
		}
	case patient.ConsentWithdrawn, patient.Discontinued:
		if s.underWay() && !s.Ended {
			s.Ended = true
			return Reaction[enrolling]{State: s, Stage: s.Stage, Note: "the patient has left meanwhile"}, true
		}
	case Fired:
		return s.waitedTooLong(o)
	case Refused:
		return s.refused(e)
	}
	return Reaction[enrolling]{}, false
}

func (s enrolling) underWay() bool {
	switch s.Stage {
	case stagePlace, stageStock, stageDraw, stageKit, stageConfirmation:
		return true
	}
	return false
}

// next goes on from a good answer to the next stage that the protocol has.
func (s enrolling) next(o Occurrence) Reaction[enrolling] {
	switch {
	case s.Ended && !s.Drawn:
		return s.fail("patient_ended", "the patient has left before the enrolment was through")
	case s.Stage == stagePlace && s.Kits:
		return s.ask(o, stageStock, supply.HoldStock{Study: s.Study, Site: s.Site, OfPatient: domain.ForPatient(s.Patient)})
	case s.Randomise && !s.Drawn:
		return s.askForDraw(o)
	case s.Kits:
		return s.ask(o, stageKit, s.allocate())
	}
	return s.ask(o, stageConfirmation, s.confirm())
}

// ask moves on to a stage, asks for what it waits for, and sets the time by which there has to be an answer.
func (s enrolling) ask(o Occurrence, stage string, command any) Reaction[enrolling] {
	s.Stage = stage
	return Reaction[enrolling]{State: s, Stage: stage, Commands: []any{command}, Set: []process.Timer{{Name: answerTimer, At: o.At.Add(answerWithin)}}}
}

func (s enrolling) askForDraw(o Occurrence) Reaction[enrolling] {
	s.Asks++
	return s.ask(o, stageDraw, randomisation.RandomisePatient{InStudy: domain.ForStudy(s.Study), Site: s.Site, OfPatient: domain.ForPatient(s.Patient), Factors: s.Factors, Ask: s.Asks})
}

func (s enrolling) allocate() any {
	return supply.AllocateKit{Study: s.Study, Site: s.Site, OfPatient: domain.ForPatient(s.Patient)}
}

func (s enrolling) confirm() any {
	return patient.ConfirmEnrollment{OfPatient: domain.ForPatient(s.Patient), PatientNumber: patientNumber(s.Study, s.Number)}
}

func (s enrolling) releasePlace(why string) any {
	return enrollment.ReleasePlace{InStudy: domain.ForStudy(s.Study), OfPatient: domain.ForPatient(s.Patient), Reasoned: domain.Because(why)}
}

func (s enrolling) setAside(why string) any {
	return supply.SetKitsAside{Study: s.Study, Site: s.Site, OfPatient: domain.ForPatient(s.Patient), Reasoned: domain.Because(why)}
}

func (s enrolling) releaseHold(why string) any {
	return supply.ReleaseHold{Study: s.Study, Site: s.Site, OfPatient: domain.ForPatient(s.Patient), Reasoned: domain.Because(why)}
}

// fail gives back, in reverse, what was taken before the draw, and says why.
func (s enrolling) fail(code, reason string) Reaction[enrolling] {
	r := s.end(stageFailed, code+": "+reason, process.Failed)
	if s.Held {
		r.Commands = append(r.Commands, s.releaseHold(reason))
	}
	if s.Number > 0 {
		r.Commands = append(r.Commands, s.releasePlace(reason))
	}
	r.Commands = append(r.Commands, patient.FailEnrollment{OfPatient: domain.ForPatient(s.Patient), Code: code, Reasoned: domain.Because(reason)})
	return r
}

func (s enrolling) end(stage, note string, outcome process.Outcome) Reaction[enrolling] {
	s.Stage = stage
	return Reaction[enrolling]{State: s, Stage: stage, Note: note, Outcome: outcome, Cancel: []string{answerTimer}}
}

// stays reacts to what came too late, where the enrolment has ended.
func (s enrolling) stays(note string, command any) Reaction[enrolling] {
	return Reaction[enrolling]{State: s, Stage: s.Stage, Note: note, Outcome: process.Failed, Commands: []any{command}}
}

// withoutKit is the only step where it matters whether an arm was drawn: a draw is never undone.
func (s enrolling) withoutKit(e supply.AllocationFailed) Reaction[enrolling] {
	switch {
	case !s.Drawn:
		s.Held = false // the answer says that the hold is over
		return s.fail(e.Code, e.Reason)
	case e.Code == "patient_ended":
		return s.end(stageEnded, "the patient has left after the draw; the assignment stands", process.Failed)
	}
	// The site's resupply asks again as soon as there are kits.
	return Reaction[enrolling]{State: s, Stage: s.Stage, Note: e.Code + ": " + e.Reason, Outcome: process.Held, Cancel: []string{answerTimer}}
}

// waitedTooLong gives up where nothing can have been drawn, and asks again elsewhere: whether there was a draw is for its
// own stream to say.
func (s enrolling) waitedTooLong(o Occurrence) (Reaction[enrolling], bool) {
	switch s.Stage {
	case stagePlace, stageStock:
		return s.fail("enrollment_timed_out", "the enrolment got no answer in time"), true
	case stageDraw:
		return s.askForDraw(o), true
	case stageKit:
		return s.ask(o, s.Stage, s.allocate()), true
	case stageConfirmation:
		return s.ask(o, s.Stage, s.confirm()), true
	}
	return Reaction[enrolling]{}, false
}

func (s enrolling) refused(e Refused) (Reaction[enrolling], bool) {
	switch e.Command {
	case "ReservePlace", "HoldStock", "RandomisePatient":
		return s.fail(e.Refusal.Code, e.Refusal.Sentence), true
	case "ConfirmEnrollment":
		if s.Drawn {
			r := s.end(stageEnded, "the patient has left after the draw; the assignment stands", process.Failed)
			if s.Kits {
				r.Commands = []any{s.setAside(e.Refusal.Sentence)}
			}
			return r, true
		}
		r := s.fail(e.Refusal.Code, e.Refusal.Sentence)
		if s.Kits {
			r.Commands = append([]any{s.setAside(e.Refusal.Sentence)}, r.Commands...)
		}
		return r, true
	case "ReleasePlace":
		// It was given back already.
		return Reaction[enrolling]{State: s, Stage: s.Stage, Note: e.Refusal.Code, Outcome: process.Failed}, true
	}
	return Reaction[enrolling]{}, false
}

// patientNumber is the study's running number, as labels and lists show it.
func patientNumber(study domain.StudyID, n int) string { return fmt.Sprintf("%s-%05d", study, n) }
