package supply

import (
	"slices"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// dispensing is what the dispensing of one patient remembers.
type dispensing struct {
	// Wanted are the visits for which a kit has been asked for.
	Wanted []string `json:"wanted,omitempty"`
	Ended  bool     `json:"ended,omitempty"`
	// Unanswered are the visits for which the answer has not come yet.
	Unanswered []string `json:"unanswered,omitempty"`
	// SetAside are the visits whose kits were set aside before they were given out, and Paused those for which a kit was
	// withheld: the dose was held, the treatment had ended, the consent was to be signed again, a draw was not confirmed, or the patient
	// was at another site. "" is the kit of the enrolment.
	SetAside []string `json:"setAside,omitempty"`
	Paused   []string `json:"paused,omitempty"`
	// Site is where the patient was transferred to.
	Site domain.SiteID `json:"site,omitempty"`
	// Back says that the patient is treated again, after an end that was undone.
	Back bool `json:"back,omitempty"`
	// At is where the log has what the instance must not forget when it is told of something older.
	At dispensingAt `json:"at,omitzero"`
}

// dispensingAt are positions in the log.
type dispensingAt struct {
	// Turned is that of the last end, or undoing of one, and Moved that of the last transfer.
	Turned uint64 `json:"turned,omitempty"`
	Moved  uint64 `json:"moved,omitempty"`
	// WentOn is that of the last event after which kits that were withheld are due.
	WentOn uint64 `json:"wentOn,omitempty"`
	// Recorded are those of the visits, and Kits those of the last word about their kits, by visit.
	Recorded map[string]uint64 `json:"recorded,omitempty"`
	Kits     map[string]uint64 `json:"kits,omitempty"`
}

// Dispensing is the process that allocates a patient's next kit at each visit that dispenses one. It allocates another kit
// if the allocated one can no longer be given out, or was left behind at the site that the patient was transferred from. It
// ends with the treatment. It asks again for what is due when a held dose is resumed, the consent is signed again, a draw is confirmed, or
// an end is undone, has kits exchanged when the dose is changed, and forgets a visit that was recorded in error. It does not matter
// in which order it is told of all this: whether a kit is due, the decision about it knows.
var Dispensing = sagas.Define("dispensing",
	sagas.Sends(supply.AllocateKit{}, supply.ReviseKits{}),
	sagas.On(atVisitThatMatters, dispensing.visitRecorded),
	sagas.On(func(e supply.KitsQuarantined, _ eventlog.Recorded) []string { return instances(e.Affected) }, dispensing.kitsQuarantined),
	sagas.On(func(e supply.KitsExpired, _ eventlog.Recorded) []string { return instances(e.Affected) }, dispensing.kitsExpired),
	sagas.On(func(e supply.KitLost, _ eventlog.Recorded) []string { return instances(e.Affected) }, dispensing.kitLost),
	sagas.On[supply.KitAllocated](sagas.ByPatient, dispensing.kitAllocated),
	sagas.On[supply.AllocationFailed](sagas.ByPatient, dispensing.allocationFailed),
	sagas.On(kitsOfPatient, dispensing.kitsSetAside),
	sagas.On[patient.ConsentWithdrawn](sagas.ByPatient, dispensing.consentWithdrawn),
	sagas.On[patient.Discontinued](sagas.ByPatient, treatmentEnded),
	sagas.On[patient.Completed](sagas.ByPatient, treatmentEnded),
	sagas.On[patient.ParticipationEnded](sagas.ByPatient, treatmentEnded),
	sagas.On[patient.TreatmentDiscontinued](sagas.ByPatient, treatmentEnded),
	sagas.On[patient.ScreenFailureRecorded](sagas.ByPatient, treatmentEnded),
	sagas.On[patient.RegistrationVoided](sagas.ByPatient, treatmentEnded),
	sagas.On[patient.DoseResumed](sagas.ByPatient, dispensing.doseResumed),
	sagas.On[patient.ConsentRecorded](sagas.ByPatient, dispensing.consentRecorded),
	sagas.On[patient.StepUndone](sagas.ByPatient, dispensing.stepUndone),
	sagas.On[patient.Transferred](sagas.ByPatient, dispensing.transferred),
	sagas.On[patient.VisitVoided](sagas.ByPatient, dispensing.visitVoided),
	sagas.On[patient.DoseChanged](sagas.ByPatient, planChanged),
	sagas.On[patient.ProtocolVersionApplied](sagas.ByPatient, planChanged),
	sagas.On[randomisation.StratumCorrected](sagas.ByPatient, planChanged),
	sagas.On[patient.RandomisationConfirmed](sagas.ByPatient, dispensing.drawConfirmed),
	sagas.OnUnchanged(dispensing.hasKits),
	// Version 1 awaited no answers, version 2 is from before patients could be transferred or come back, and version 3 knew no positions.
).OfPatients().InGroup("dispensing-8").Upcast(domain.Unchanged, domain.Unchanged, domain.Unchanged)

func kitsOfPatient(e supply.KitsSetAside, _ eventlog.Recorded) []string {
	return sagas.Instance(e.Patient)
}

// atVisitThatMatters names the instance of a patient for whom kits are due at a visit, or whose weight was recorded.
func atVisitThatMatters(e patient.VisitRecorded, at eventlog.Recorded) []string {
	if e.WeightKg > 0 {
		return sagas.ByPatient(e, at)
	}
	return atDispensingVisit(e, at)
}

func atDispensingVisit(e patient.VisitRecorded, at eventlog.Recorded) []string {
	if !e.Dispense && !e.WouldDispense {
		return nil
	}
	return sagas.ByPatient(e, at)
}

// instances are those of the patients of the slots.
func instances(slots []supply.Slot) []string {
	var all []string
	for _, p := range supply.PatientsOf(slots) {
		all = append(all, string(p))
	}
	return all
}

// visitRecorded asks for the kits of a visit, also of one that is recorded again after it was recorded in error.
func (s dispensing) visitRecorded(e patient.VisitRecorded, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if !e.Dispense && !e.WouldDispense {
		return planChanged(s, e, o)
	}
	s.Wanted = append(without(s.Wanted, e.Visit), e.Visit)
	s.At.Recorded = sagas.Newest(s.At.Recorded, e.Visit, o.Position)
	if s.Ended || !e.Dispense { // should the end be undone, the kit is asked for
		s.SetAside = append(without(s.SetAside, e.Visit), e.Visit)
		return s.rememberOr(stageEnded, o), true
	}
	s.Unanswered = append(without(s.Unanswered, e.Visit), e.Visit)
	r := sagas.Reaction[dispensing]{State: s, Stage: stageKitWanted, Awaits: true, Commands: allocate(o.Study, o.Site, e.Patient, e.Visit)}
	if e.WeightKg > 0 { // the kits of other visits may depend on it
		r.Commands = append(r.Commands, revise(o, e.Patient))
	}
	return r, true
}

func (s dispensing) kitsQuarantined(e supply.KitsQuarantined, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	return s.replace(e.OfStock, e.Affected, o)
}

func (s dispensing) kitsExpired(e supply.KitsExpired, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	return s.replace(e.OfStock, e.Affected, o)
}

func (s dispensing) kitLost(e supply.KitLost, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	return s.replace(e.OfStock, e.Affected, o)
}

// replace asks for a new kit for each visit of the patient that is affected. It was a former kit of the visit where nothing is recorded.
func (s dispensing) replace(at supply.OfStock, affected []supply.Slot, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	r := sagas.Reaction[dispensing]{Stage: stageKitWanted, Note: "a kit cannot be given out any more", Awaits: true}
	for _, slot := range affected {
		if string(slot.Patient) != o.Of {
			continue
		}
		if s.Ended { // should the end be undone, the kit is asked for
			s.SetAside = append(without(s.SetAside, slot.Visit), slot.Visit)
			continue
		}
		s.Unanswered = append(without(s.Unanswered, slot.Visit), slot.Visit)
		r.Commands = append(r.Commands, allocate(at.Study, domain.SiteID(at.Location), slot.Patient, slot.Visit)...)
	}
	if s.Ended {
		return s.remember(o), len(s.SetAside) > 0
	}
	r.State = s
	return r, len(r.Commands) > 0
}

// hasKits ends the wait for the kits of a visit, because the patient has them: nothing was recorded when they were asked for.
func (s dispensing) hasKits(asked supply.AllocateKit, _ sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if !slices.Contains(s.Unanswered, asked.Visit) {
		return sagas.Reaction[dispensing]{}, false
	}
	return s.hasKitsOf(asked.Visit)
}

// hasKitsOf ends the wait for the kits of a visit.
func (s dispensing) hasKitsOf(visit string) (sagas.Reaction[dispensing], bool) {
	s.Unanswered, s.SetAside, s.Paused = without(s.Unanswered, visit), without(s.SetAside, visit), without(s.Paused, visit)
	r := sagas.Reaction[dispensing]{State: s, Stage: "kit allocated"}
	if len(s.Unanswered) > 0 {
		r.Stage, r.Awaits = stageKitWanted, true
	}
	return r, !s.Ended
}

// kitAllocated ends the wait for a kit. One that only the enrolment has asked for is the enrolment's business.
func (s dispensing) kitAllocated(e supply.KitAllocated, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	asked := slices.Contains(slices.Concat(s.Unanswered, s.Wanted, s.SetAside, s.Paused), e.Visit)
	if o.Position < s.At.Kits[e.Visit] {
		return sagas.Reaction[dispensing]{}, false
	}
	s.At.Kits = sagas.Newest(s.At.Kits, e.Visit, o.Position)
	r, goesOn := s.hasKitsOf(e.Visit)
	return r, goesOn && asked
}

// allocationFailed ends the wait for the answer. The site's resupply asks for a kit again as soon as there are kits. An end may be undone,
// and this may be told before it.
func (s dispensing) allocationFailed(e supply.AllocationFailed, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if o.Position < s.At.Kits[e.Visit] {
		return sagas.Reaction[dispensing]{}, false
	}
	s.At.Kits = sagas.Newest(s.At.Kits, e.Visit, o.Position)
	paused := e.Withheld != "" || e.Code == "patient_ended"
	answered := slices.Contains(s.Unanswered, e.Visit) ||
		paused // the enrolment, the draw or somebody else asked for it, and does not ask again
	s.Unanswered = without(s.Unanswered, e.Visit)
	if paused {
		s.Paused = append(without(s.Paused, e.Visit), e.Visit)
	}
	if paused && !s.Ended && s.Site != "" && (s.Site != domain.SiteID(e.Location) || o.Position < s.At.Moved) {
		return s.askAgain(e.Study, s.Site, e.Patient, "the patient is at another site"), true
	}
	if paused && !s.Ended && o.Position < s.At.WentOn {
		return s.askAgain(e.Study, domain.SiteID(e.Location), e.Patient, "the kit is not withheld any more"), true
	}
	if s.Ended { // should the end be undone, the kit is asked for
		return s.remember(o), paused
	}
	r := sagas.Reaction[dispensing]{State: s, Stage: stageNoKit, Note: e.Code + ": " + string(e.Reason), Outcome: process.Held}
	switch {
	case len(s.Unanswered) > 0:
		r.Stage, r.Outcome, r.Awaits = stageKitWanted, "", true
	case e.Waits:
		r.Stage = stageWaits
	}
	return r, answered
}

func treatmentEnded[E any](s dispensing, _ E, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	return s.end(o)
}

// consentWithdrawn ends the dispensing unless the patient withdrew only from the future use of data.
func (s dispensing) consentWithdrawn(e patient.ConsentWithdrawn, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if !e.EndsTreatment && !e.EndsParticipation {
		return sagas.Reaction[dispensing]{}, false
	}
	return s.end(o)
}

// end ends the dispensing, unless the end was undone already.
func (s dispensing) end(o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if o.Position < s.At.Turned || s.Ended || len(s.Wanted) == 0 && !s.Back {
		return sagas.Reaction[dispensing]{}, false
	}
	s.Ended, s.Back, s.At.Turned = true, false, o.Position
	return sagas.Reaction[dispensing]{State: s, Stage: stageEnded, Outcome: process.Completed}, true
}

// kitsSetAside remembers for which visits a patient has no kit any more. A patient who is still treated, at another site or
// after an end that was undone, gets another one at once. So does one whose visit was recorded again before its kits were set aside: the
// answer may have been that there are kits.
func (s dispensing) kitsSetAside(e supply.KitsSetAside, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if len(e.Affected) == 0 {
		return sagas.Reaction[dispensing]{}, false
	}
	for _, slot := range e.Affected {
		if o.Position < s.At.Kits[slot.Visit] {
			continue
		}
		s.SetAside = append(without(s.SetAside, slot.Visit), slot.Visit)
		s.At.Kits = sagas.Newest(s.At.Kits, slot.Visit, o.Position)
	}
	moved := s.Site != "" && (s.Site != domain.SiteID(e.Location) || o.Position < s.At.Moved) // and may be back
	if !s.Ended && (moved || s.Back) {
		site := s.Site
		if site == "" {
			site = domain.SiteID(e.Location)
		}
		return s.askAgain(e.Study, site, e.Patient, "the patient is treated on"), true
	}
	if r, asks := s.askForWanted(e); asks && !s.Ended {
		return r, true
	}
	return s.rememberOr("kits set aside", o), true // without a stage, the enrolment has failed
}

// askForWanted asks for the kits of recorded visits that were set aside. Where nothing is due, there is no answer.
func (s dispensing) askForWanted(e supply.KitsSetAside) (sagas.Reaction[dispensing], bool) {
	r := sagas.Reaction[dispensing]{Stage: stageKitWanted, Note: "the visit took place", Awaits: true}
	for _, slot := range e.Affected {
		if slices.Contains(s.Wanted, slot.Visit) && slices.Contains(s.SetAside, slot.Visit) {
			s.SetAside, s.Unanswered = without(s.SetAside, slot.Visit), append(without(s.Unanswered, slot.Visit), slot.Visit)
			r.Commands = append(r.Commands, allocate(e.Study, domain.SiteID(e.Location), e.Patient, slot.Visit)...)
		}
	}
	r.State = s
	return r, len(r.Commands) > 0
}

// doseResumed asks for the kits that were due while the dose was held.
func (s dispensing) doseResumed(e patient.DoseResumed, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	return s.goOn(e.Patient, o, "the dose is resumed")
}

// consentRecorded asks for the kits that were due while the patient had not signed the consent again.
func (s dispensing) consentRecorded(e patient.ConsentRecorded, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if !e.Again && o.Stage == "" { // the consent before the enrolment
		return sagas.Reaction[dispensing]{}, false
	}
	return s.goOn(e.Patient, o, "the consent is signed again")
}

// goOn asks for the kits that were withheld.
func (s dispensing) goOn(who domain.PatientID, o sagas.Occurrence, why string) (sagas.Reaction[dispensing], bool) {
	if o.Position < s.At.WentOn {
		return sagas.Reaction[dispensing]{}, false
	}
	s.At.WentOn = o.Position
	if s.Ended || len(s.Paused) == 0 { // what is withheld may be heard of late
		return s.rememberOr("treated on", o), true
	}
	return s.askAgain(o.Study, o.Site, who, why), true
}

// stepUndone goes on with the dispensing if the patient is treated again, or can get kits before the treatment again.
func (s dispensing) stepUndone(e patient.StepUndone, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if !bringsKitsBack(e) {
		return sagas.Reaction[dispensing]{}, false
	}
	if o.Position < s.At.Turned {
		return sagas.Reaction[dispensing]{}, false
	}
	s.Ended, s.Back, s.At.Turned, s.At.WentOn = false, true, o.Position, max(s.At.WentOn, o.Position)
	return s.askAgain(o.Study, o.Site, e.Patient, "the end is undone"), true
}

// bringsKitsBack says whether kits can be due again because a step was undone: the treatment goes on, or somebody takes part again
// whose treatment has not begun, such as in a run-in.
func bringsKitsBack(e patient.StepUndone) bool {
	if e.Treatment == patient.TreatmentNotStarted {
		return e.Status != e.From
	}
	return e.Treatment != e.FromTreatment
}

// transferred remembers the patient's site. What is due there is asked for when the former site has set its kits aside.
func (s dispensing) transferred(e patient.Transferred, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if o.Position < s.At.Moved {
		return sagas.Reaction[dispensing]{}, false
	}
	s.Site, s.At.Moved = e.To, o.Position
	switch {
	case !s.Ended && len(s.Paused)+len(s.SetAside) > 0: // the former site could not answer any more, or has set its kits aside already
		return s.askAgain(o.Study, e.To, e.Patient, "the patient is at another site"), true
	case o.Stage == "":
		return sagas.Reaction[dispensing]{State: s, Stage: "transferred"}, true
	}
	return s.remember(o), true
}

// visitVoided forgets a visit that was recorded in error. Its kits are set aside, and those of other visits may depend on the weight that
// was recorded with it.
func (s dispensing) visitVoided(e patient.VisitVoided, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	r, knows := planChanged(s, e, o)
	if !slices.Contains(s.Wanted, e.Visit) || o.Position < s.At.Recorded[e.Visit] {
		return r, knows && o.Stage != ""
	}
	s.Wanted, s.Unanswered = without(s.Wanted, e.Visit), without(s.Unanswered, e.Visit)
	s.SetAside, s.Paused = without(s.SetAside, e.Visit), without(s.Paused, e.Visit)
	if r.State = s; len(s.Unanswered) > 0 || s.Ended {
		after := s.remember(o)
		after.Commands = r.Commands
		return after, true
	}
	r.Stage, r.Outcome = "the visit did not take place", process.Completed
	return r, true
}

// drawConfirmed asks for the kits that were withheld until the draw was confirmed. After the draw of a later stage, those from before it
// are set aside. Before the first draw there are kits only where the protocol has a run-in.
func (s dispensing) drawConfirmed(e patient.RandomisationConfirmed, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if e.Stage == "" && o.Stage == "" {
		return sagas.Reaction[dispensing]{}, false
	}
	r, treated := s.goOn(e.Patient, o, "the draw is confirmed")
	if e.Stage == "" || s.Ended {
		return r, treated
	}
	if !treated {
		r = s.rememberOr("treated on", o)
	}
	r.Commands = append([]any{revise(o, e.Patient)}, r.Commands...)
	return r, true
}

// planChanged has kits exchanged that are there and not given out, and are of a former dose or plan.
func planChanged[E domain.AboutPatient](s dispensing, e E, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if s.Ended {
		return sagas.Reaction[dispensing]{}, false
	}
	r := s.rememberOr("treated on", o)
	r.Commands = []any{revise(o, e.AboutPatient())}
	return r, true
}

func revise(o sagas.Occurrence, who domain.PatientID) any {
	return supply.ReviseKits{Study: o.Study, Site: o.Site, OfPatient: domain.ForPatient(who)}
}

// remember goes on waiting, or not, as before.
func (s dispensing) remember(o sagas.Occurrence) sagas.Reaction[dispensing] {
	return sagas.Reaction[dispensing]{State: s, Stage: o.Stage, Outcome: o.Outcome, Awaits: o.Awaits}
}

// rememberOr is remember for what may be the first that the instance is told of: it has ended then, at a stage.
func (s dispensing) rememberOr(stage string, o sagas.Occurrence) sagas.Reaction[dispensing] {
	r := s.remember(o)
	if r.Stage == "" {
		r.Stage, r.Outcome = stage, process.Completed
	}
	return r
}

// askAgain asks for the kits that the patient lacks.
func (s dispensing) askAgain(study domain.StudyID, site domain.SiteID, who domain.PatientID, why string) sagas.Reaction[dispensing] {
	visits := append(slices.Clone(s.SetAside), s.Paused...)
	for _, visit := range visits {
		s.Unanswered = append(without(s.Unanswered, visit), visit)
	}
	r := sagas.Reaction[dispensing]{Stage: stageKitWanted, Note: why, Commands: allocate(study, site, who, visits...)}
	s.SetAside, s.Paused = nil, nil
	r.State, r.Awaits = s, len(s.Unanswered) > 0
	if len(r.Commands) == 0 && !r.Awaits {
		r.Stage = "treated on"
	}
	return r
}

const (
	stageKitWanted = "kit asked for"
	stageEnded     = "the patient's treatment has ended"
	// stageWaits says that the site's resupply asks again as soon as there is a kit, and stageNoKit that nobody does.
	stageWaits = "waits for a kit"
	stageNoKit = "no kit now"
)
