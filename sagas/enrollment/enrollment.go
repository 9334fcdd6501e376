// Package enrollment holds the process that enrols a patient.
package enrollment

import (
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/refuse"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// Processes are the processes of this context.
var Processes = []sagas.Process{Enrollment}

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
	// A patient who is enrolled already is drawn, or cannot be drawn at present.
	stageRandomised  = "randomised"
	stageNotPossible = "randomisation not possible"
)

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
	// Asks is how often a draw was asked for, in earlier attempts too.
	Asks int `json:"asks,omitempty"`
	// DrawnAt is when the arm was drawn.
	DrawnAt *time.Time `json:"drawnAt,omitempty"`
	// Ended says that the patient has left meanwhile.
	Ended bool `json:"ended,omitempty"`
	// Later says that the patient is enrolled already, and is drawn for a stage of the protocol, "" for the first draw.
	// DrawAttempt counts these requests.
	Later       bool   `json:"later,omitempty"`
	DrawStage   string `json:"drawStage,omitempty"`
	DrawAttempt int    `json:"drawAttempt,omitempty"`
	// Earlier is when arms were drawn by stage, where the answer came when nobody waited for it.
	Earlier map[string]time.Time `json:"earlier,omitempty"`
	// Since is where the log has the request. An end before it was undone.
	Since uint64 `json:"since,omitempty"`
}

type reaction = sagas.Reaction[enrolling]

// Enrollment is the process that turns a request to enrol a patient into a place, a held kit of every arm, a draw, the kit
// of the drawn arm and a confirmation. Before the draw, a refusal gives everything back in reverse, and the reason is
// recorded with the patient. After it nothing is undone: an assignment that was drawn stands (ICH E9, 5.2.1, intention to
// treat), and the enrolment waits for a kit.
//
// It also has enrolled patients drawn, after a run-in or for a later stage. These have their place, and have not failed if
// they cannot be drawn: they can be drawn later.
var Enrollment = sagas.Define("enrollment",
	sagas.Sends(enrollment.ReservePlace{}, enrollment.ReleasePlace{}, supply.HoldStock{}, supply.ReleaseHold{},
		randomisation.RandomisePatient{}, supply.AllocateKit{}, supply.SetKitsAside{}, patient.ConfirmEnrollment{}, patient.FailEnrollment{},
		patient.ConfirmRandomisation{}, patient.FailRandomisation{}),
	sagas.On[patient.EnrollmentRequested](sagas.ByPatient, enrolling.requested),
	sagas.On[patient.RandomisationRequested](sagas.ByPatient, enrolling.drawRequested),
	sagas.On[enrollment.PlaceReserved](sagas.ByPatient, enrolling.placeReserved),
	sagas.On[enrollment.PlaceRefused](sagas.ByPatient, enrolling.placeRefused),
	sagas.On[supply.StockHeld](sagas.ByPatient, enrolling.stockHeld),
	sagas.On[supply.StockRefused](sagas.ByPatient, enrolling.stockRefused),
	sagas.On[randomisation.PatientRandomised](sagas.ByPatient, enrolling.randomised),
	sagas.On[randomisation.RandomisationRefused](sagas.ByPatient, enrolling.randomisationRefused),
	sagas.On(firstKit, enrolling.kitAllocated),
	sagas.On(noFirstKit, enrolling.allocationFailed),
	sagas.On[patient.Enrolled](sagas.ByPatient, enrolling.enrolled),
	sagas.Delivered[patient.EnrollmentFailed, enrolling](), // the process itself has an enrolment fail
	sagas.On[patient.ConsentWithdrawn](sagas.ByPatient, enrolling.consentWithdrawn),
	sagas.On[patient.Discontinued](sagas.ByPatient, left),
	sagas.On[patient.ParticipationEnded](sagas.ByPatient, left),
	sagas.OnUnchanged(enrolling.needsNoHold),
	sagas.OnUnchanged(enrolling.hasKit),
	sagas.OnUnchanged(enrolling.isConfirmed),
	sagas.OnRefusal[enrollment.ReservePlace](enrolling.refusedBeforeDraw),
	sagas.OnRefusal[supply.HoldStock](enrolling.refusedBeforeDraw),
	sagas.OnRefusal[randomisation.RandomisePatient](enrolling.refusedBeforeDraw),
	sagas.OnRefusal[patient.ConfirmEnrollment](enrolling.confirmationRefused),
	sagas.On[patient.RandomisationConfirmed](sagas.ByPatient, enrolling.drawConfirmed),
	sagas.OnRefusal[patient.ConfirmRandomisation](enrolling.confirmationRefused),
	sagas.OnRefusal[enrollment.ReleasePlace](enrolling.releaseRefused),
	// Version 1 is from before patients could be drawn later, version 2 took every end for a later one, and version 3 forgot a draw that
	// nobody waited for any more.
).OfPatients().InGroup("enrollment-4").Upcast(domain.Unchanged, domain.Unchanged, domain.Unchanged)

// firstKit names the instance of a patient who gets the kit of a draw, or of an enrolment without one. Kits of visits are the
// business of the dispensing.
func firstKit(e supply.KitAllocated, at eventlog.Recorded) []string {
	if !supply.IsKitOfStage(e.Visit) {
		return nil
	}
	return sagas.ByPatient(e, at)
}

// noFirstKit is firstKit for a patient who gets none.
func noFirstKit(e supply.AllocationFailed, at eventlog.Recorded) []string {
	if !supply.IsKitOfStage(e.Visit) {
		return nil
	}
	return sagas.ByPatient(e, at)
}

// none says that an occurrence means nothing to the enrolment.
func none() (reaction, bool) { return reaction{}, false }

func (s enrolling) requested(e patient.EnrollmentRequested, o sagas.Occurrence) (reaction, bool) {
	if s.underWay() || e.Attempt != 0 && e.Attempt <= s.Attempt {
		return none() // an older request that comes late
	}
	s = enrolling{Attempt: max(e.Attempt, s.Attempt+1), Study: e.Study, Site: e.Site, Patient: e.Patient,
		Randomise: e.Randomise, Kits: e.Kits, Factors: e.Factors, Asks: s.Asks, DrawAttempt: s.DrawAttempt,
		Since: o.Position}
	return s.await(stagePlace, s.reserve()), true
}

// drawRequested begins the draw of a patient who is enrolled, also where an earlier request is under way: it was answered, or broken off
// by an end that was undone. An arm that was drawn for it stands. The confirmation of the enrolment may come after it.
func (s enrolling) drawRequested(e patient.RandomisationRequested, o sagas.Occurrence) (reaction, bool) {
	if s.underWay() && !s.Later && s.Stage != stageConfirmation || e.Attempt <= s.DrawAttempt ||
		s.Stage == stageRandomised && s.DrawStage == e.Stage {
		return none() // an older request that comes late
	}
	drawnAt := s.DrawnAt
	if !s.Later || !s.Drawn || s.DrawStage != e.Stage {
		drawnAt = nil
		if at, drawn := s.Earlier[e.Stage]; drawn {
			drawnAt = &at
		}
	}
	s = enrolling{Attempt: s.Attempt, Study: e.Study, Site: e.Site, Patient: e.Patient, Randomise: true, Kits: e.Kits, Factors: e.Factors,
		Asks: s.Asks, Later: true, DrawStage: e.Stage, DrawAttempt: e.Attempt, Since: o.Position,
		Drawn: drawnAt != nil, DrawnAt: drawnAt, Earlier: s.Earlier}
	if s.Drawn {
		return s.next(), true
	}
	if s.Kits {
		return s.await(stageStock, s.hold()), true
	}
	return s.draw(), true
}

func (s enrolling) placeReserved(e enrollment.PlaceReserved, _ sagas.Occurrence) (reaction, bool) {
	switch {
	case s.Stage == stagePlace:
		s.Number = e.Number
		return s.next(), true
	case s.Stage == stageFailed && s.Number == 0: // the answer came after the enrolment had given up
		return s.giveBack("a place came too late, and is given back", s.releasePlace("the enrolment had given up")), true
	}
	return none()
}

func (s enrolling) placeRefused(e enrollment.PlaceRefused, _ sagas.Occurrence) (reaction, bool) {
	if s.Stage != stagePlace {
		return none()
	}
	return s.fail(e.Code, string(e.Reason)), true
}

func (s enrolling) stockHeld(supply.StockHeld, sagas.Occurrence) (reaction, bool) {
	switch {
	case s.Stage == stageStock:
		s.Held = true
		return s.next(), true
	case (s.Stage == stageFailed || s.Stage == stageNotPossible) && !s.Held:
		return s.giveBack("kits were held too late, and are given back", s.releaseHold("the enrolment had given up")), true
	}
	return none()
}

// needsNoHold goes on where the patient has the kit of the draw already: nothing was recorded when kits were to be held.
func (s enrolling) needsNoHold(supply.HoldStock, sagas.Occurrence) (reaction, bool) {
	if s.Stage != stageStock {
		return none()
	}
	return s.next(), true
}

// hasKit goes on where the patient has the kit of the draw already: nothing was recorded when it was asked for.
func (s enrolling) hasKit(asked supply.AllocateKit, _ sagas.Occurrence) (reaction, bool) {
	if s.Stage != stageKit && !s.brokenOff() || asked.Visit != supply.KitOfStage(s.DrawStage) {
		return none()
	}
	return s.await(stageConfirmation, s.confirm()), true
}

func (s enrolling) stockRefused(e supply.StockRefused, _ sagas.Occurrence) (reaction, bool) {
	if s.Stage != stageStock {
		return none()
	}
	return s.notPossible(e.Code, string(e.Reason)), true
}

// notPossible fails the enrolment. Who randomises is told only that it is not possible at present, as a pharmacy would say
// it: want of stock beside kits that lie at the site would tell that these are all of one arm, and so would a full cohort
// (ICH E6(R3) 4.1). Everybody is told of a pause by its alert. The reason itself is in the log, in the events of the stock and of
// the randomisation.
func (s enrolling) notPossible(code, reason string) reaction {
	switch code {
	case "no_stock", "cap_reached", "list_exhausted", "arm_closed", "activity_paused":
		if s.Randomise {
			return s.fail("randomisation_not_possible", "randomisation is not possible at the site at present; the sponsor can say when it is again")
		}
	}
	return s.fail(code, reason)
}

// randomised goes on with the arm, also where an earlier request was for it and its answer is late.
func (s enrolling) randomised(e randomisation.PatientRandomised, o sagas.Occurrence) (reaction, bool) {
	switch {
	case e.Stage == s.DrawStage && (s.Stage == stageDraw || s.Later && s.Stage == stageStock):
		s.Drawn, s.DrawnAt = true, &o.At
		return s.next(), true
	case s.Later && e.Stage != "" && !(s.Drawn && s.DrawStage == e.Stage):
		s.Earlier = sagas.Put(s.Earlier, e.Stage, o.At)
		return reaction{State: s, Stage: s.Stage, Outcome: o.Outcome, Awaits: o.Awaits}, true
	}
	return none()
}

// randomisationRefused fails the enrolment. Only the answer to the last ask says that nothing was drawn, and that nothing
// will be.
func (s enrolling) randomisationRefused(e randomisation.RandomisationRefused, _ sagas.Occurrence) (reaction, bool) {
	if s.Stage != stageDraw || e.Request != s.Asks {
		return none()
	}
	return s.notPossible(e.Code, string(e.Reason)), true
}

func (s enrolling) kitAllocated(e supply.KitAllocated, _ sagas.Occurrence) (reaction, bool) {
	if e.Visit != supply.KitOfStage(s.DrawStage) {
		return none()
	}
	switch {
	case s.Stage == stageKit, s.brokenOff(): // of a draw that goes on after an end was undone
		return s.await(stageConfirmation, s.confirm()), true
	case s.Stage == stageFailed:
		return s.giveBack("a kit was allocated too late, and is set aside", s.setAside("the enrolment had given up")), true
	}
	return none()
}

// allocationFailed is the only step where it matters whether an arm was drawn: a draw is never undone.
func (s enrolling) allocationFailed(e supply.AllocationFailed, _ sagas.Occurrence) (reaction, bool) {
	switch {
	case s.Stage != stageKit || e.Visit != supply.KitOfStage(s.DrawStage):
		return none()
	case !s.Drawn:
		s.Held = false // the answer says that the hold is over
		return s.fail(e.Code, string(e.Reason)), true
	case e.Code == "patient_ended" || e.Code == "treatment_ended":
		return s.end(stageEnded, "the patient has left after the draw; the assignment stands", process.Failed), true
	}
	// The site's resupply asks for a kit again as soon as there are kits.
	return reaction{State: s, Stage: s.Stage, Note: e.Code + ": " + string(e.Reason), Outcome: process.Held}, true
}

func (s enrolling) enrolled(patient.Enrolled, sagas.Occurrence) (reaction, bool) {
	if s.Stage != stageConfirmation || s.Later {
		return none()
	}
	return s.end(stageEnrolled, "", process.Completed), true
}

func (s enrolling) drawConfirmed(e patient.RandomisationConfirmed, _ sagas.Occurrence) (reaction, bool) {
	if !s.underWay() && !s.brokenOff() || !s.Later || e.Stage != s.DrawStage {
		return none()
	}
	return s.end(stageRandomised, "", process.Completed), true
}

// isConfirmed ends a draw that was confirmed before: nothing was recorded when it was to be confirmed once more.
func (s enrolling) isConfirmed(patient.ConfirmRandomisation, sagas.Occurrence) (reaction, bool) {
	if s.Stage != stageConfirmation || !s.Later {
		return none()
	}
	return s.end(stageRandomised, "", process.Completed), true
}

// consentWithdrawn lets the enrolment go on if the patient stays in the study.
func (s enrolling) consentWithdrawn(e patient.ConsentWithdrawn, o sagas.Occurrence) (reaction, bool) {
	if !e.EndsParticipation {
		return none()
	}
	return s.patientLeft(o)
}

func left[E any](s enrolling, _ E, o sagas.Occurrence) (reaction, bool) { return s.patientLeft(o) }

// patientLeft has the next answer end the enrolment. Who waits for a kit after the draw is asked for once more, because no other answer
// may come.
func (s enrolling) patientLeft(o sagas.Occurrence) (reaction, bool) {
	if !s.underWay() || s.Ended || o.Position < s.Since {
		return none()
	}
	s.Ended = true
	if s.Stage == stageKit {
		r := s.await(stageKit, s.allocate())
		r.Note = "the patient has left meanwhile"
		return r, true
	}
	return reaction{State: s, Stage: s.Stage, Note: "the patient has left meanwhile"}, true
}

// brokenOff says that an enrolled patient has left after the arm was drawn, and before the draw was confirmed.
func (s enrolling) brokenOff() bool { return s.Later && s.Drawn && s.Stage == stageEnded }

func (s enrolling) refusedBeforeDraw(why *refuse.Refusal, _ sagas.Occurrence) (reaction, bool) {
	return s.fail(why.Code, why.Sentence), true
}

func (s enrolling) confirmationRefused(why *refuse.Refusal, _ sagas.Occurrence) (reaction, bool) {
	var r reaction
	if s.Drawn {
		r = s.end(stageEnded, "the patient has left after the draw; the assignment stands", process.Failed)
	} else {
		r = s.fail(why.Code, why.Sentence)
	}
	if s.Kits {
		r.Commands = append([]any{s.setAside(why.Sentence)}, r.Commands...)
	}
	return r, true
}

// releaseRefused notes that the place was given back already.
func (s enrolling) releaseRefused(why *refuse.Refusal, _ sagas.Occurrence) (reaction, bool) {
	return reaction{State: s, Stage: s.Stage, Note: why.Code, Outcome: process.Failed}, true
}

func (s enrolling) underWay() bool {
	switch s.Stage {
	case stagePlace, stageStock, stageDraw, stageKit, stageConfirmation:
		return true
	}
	return false
}

// next goes on from a good answer to the next stage that the protocol has.
func (s enrolling) next() reaction {
	switch {
	case s.Ended && !s.Drawn:
		return s.fail("patient_ended", "the patient has left before the enrolment was through")
	case s.Stage == stagePlace && s.Kits:
		return s.await(stageStock, s.hold())
	case s.Randomise && !s.Drawn:
		return s.draw()
	case s.Kits:
		return s.await(stageKit, s.allocate())
	}
	return s.await(stageConfirmation, s.confirm())
}

// await moves on to a stage, and sends the command whose answer the stage waits for.
func (s enrolling) await(stage string, command any) reaction {
	s.Stage = stage
	return reaction{State: s, Stage: stage, Commands: []any{command}, Awaits: true}
}

func (s enrolling) draw() reaction {
	s.Asks++
	return s.await(stageDraw, randomisation.RandomisePatient{InStudy: domain.ForStudy(s.Study), Site: s.Site,
		OfPatient: domain.ForPatient(s.Patient), Stage: s.DrawStage, Factors: s.Factors, Request: s.Asks})
}

func (s enrolling) reserve() any {
	return enrollment.ReservePlace{InStudy: domain.ForStudy(s.Study), Site: s.Site, OfPatient: domain.ForPatient(s.Patient)}
}

func (s enrolling) hold() any {
	return supply.HoldStock{Study: s.Study, Site: s.Site, OfPatient: domain.ForPatient(s.Patient), Stage: s.DrawStage}
}

func (s enrolling) allocate() any {
	return supply.AllocateKit{Study: s.Study, Site: s.Site, OfPatient: domain.ForPatient(s.Patient), Visit: supply.KitOfStage(s.DrawStage)}
}

func (s enrolling) confirm() any {
	if s.Later {
		return patient.ConfirmRandomisation{OfPatient: domain.ForPatient(s.Patient), Stage: s.DrawStage, DrawnAt: *s.DrawnAt}
	}
	return patient.ConfirmEnrollment{OfPatient: domain.ForPatient(s.Patient), PatientNumber: patientNumber(s.Study, s.Number),
		DrawnAt: s.DrawnAt}
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
func (s enrolling) fail(code, reason string) reaction {
	stage := stageFailed
	if s.Later {
		stage = stageNotPossible
	}
	r := s.end(stage, code+": "+reason, process.Failed)
	if s.Held {
		r.Commands = append(r.Commands, s.releaseHold(reason))
	}
	if s.Later {
		r.Commands = append(r.Commands, patient.FailRandomisation{OfPatient: domain.ForPatient(s.Patient), Stage: s.DrawStage,
			Attempt: s.DrawAttempt, Code: code,
			Reasoned: domain.Because(reason)})
		return r
	}
	if s.Number > 0 {
		r.Commands = append(r.Commands, s.releasePlace(reason))
	}
	r.Commands = append(r.Commands,
		patient.FailEnrollment{OfPatient: domain.ForPatient(s.Patient), Code: code, Reasoned: domain.Because(reason)})
	return r
}

func (s enrolling) end(stage, note string, outcome process.Outcome) reaction {
	s.Stage = stage
	return reaction{State: s, Stage: stage, Note: note, Outcome: outcome}
}

// giveBack gives back what came too late, where the enrolment has ended.
func (s enrolling) giveBack(note string, command any) reaction {
	return reaction{State: s, Stage: s.Stage, Note: note, Outcome: process.Failed, Commands: []any{command}}
}

// patientNumber is the study's running number, as labels and lists show it.
func patientNumber(study domain.StudyID, n int) string { return fmt.Sprintf("%s-%05d", study, n) }
