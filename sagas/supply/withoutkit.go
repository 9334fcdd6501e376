package supply

import (
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// withoutKit is what the process of a patient without a kit remembers.
type withoutKit struct {
	// Alerts are the alerts about the visits whose kits are due and not there; "" is the enrolment.
	Alerts map[string]safety.AlertID `json:"alerts,omitempty"`
	// Ended are the visits whose kits were due when the treatment ended.
	Ended []string `json:"ended,omitempty"`
}

// WithoutKit is the process that raises one alert as soon as a kit is due that a patient cannot get, for want of stock or before the
// consent is signed again, and settles it when the patient has the kit, has it again, or needs none any more. Somebody who closes
// the alert has decided otherwise; it is not raised again for the same visit until there was a kit. It asks for what was due again
// when a patient is transferred, and when the end of a treatment is undone.
var WithoutKit = sagas.Define("without-kit",
	sagas.Sends(safety.RaiseAlert{}, safety.SettleAlert{}, supply.AllocateKit{}),
	sagas.On[supply.AllocationFailed](sagas.ByPatient, withoutKit.allocationFailed),
	sagas.On[supply.KitAllocated](sagas.ByPatient, withoutKit.kitAllocated),
	sagas.On(func(e supply.KitsReleased, _ eventlog.Recorded) []string { return instances(e.Affected) }, withoutKit.kitsReleased),
	sagas.On(func(e supply.KitFound, _ eventlog.Recorded) []string { return instances(e.Affected) }, withoutKit.kitFound),
	sagas.On[patient.ConsentWithdrawn](sagas.ByPatient, withoutKit.consentWithdrawn),
	sagas.On[patient.Discontinued](sagas.ByPatient, needsNone),
	sagas.On[patient.Completed](sagas.ByPatient, needsNone),
	sagas.On[patient.ParticipationEnded](sagas.ByPatient, needsNone),
	sagas.On[patient.TreatmentDiscontinued](sagas.ByPatient, needsNone),
	sagas.On[patient.ScreenFailureRecorded](sagas.ByPatient, needsNone),
	sagas.On[patient.RegistrationVoided](sagas.ByPatient, needsNone),
	sagas.On[patient.StepUndone](sagas.ByPatient, withoutKit.stepUndone),
	sagas.On[patient.Transferred](sagas.ByPatient, withoutKit.transferred),
	sagas.On[patient.VisitVoided](sagas.ByPatient, withoutKit.visitVoided),
).OfPatients().InGroup("without-kit-3")

const (
	stageWithoutKit = "without a kit"
	stageHasKit     = "has every kit that is due"
	didNotTakePlace = "The visit was recorded in error."
)

// allocationFailed raises the alert, unless the patient gets none because of the treatment: who is not treated lacks nothing. Who has
// not signed the consent again is treated, and lacks the kit. Nothing is due at a visit that did not take place.
func (s withoutKit) allocationFailed(e supply.AllocationFailed, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	unplanned := e.Visit != "" && (e.Code == "nothing_planned" || e.Code == "not_randomised")
	_, raised := s.Alerts[e.Visit]
	switch {
	case raised && e.Code == "visit_not_recorded":
		return s.settle(didNotTakePlace, e.Visit), true
	case raised && e.Code == "drawn_again":
		return s.settle("The patient was drawn again, and got kits then.", e.Visit), true
	case raised, !e.Waits && !unplanned && !e.Withheld.ForConsent():
		return sagas.Reaction[withoutKit]{}, false
	}
	of := sagas.AlertFrom(o.Study, o.ID)
	s.Alerts = maps.Clone(s.Alerts)
	if s.Alerts == nil {
		s.Alerts = map[string]safety.AlertID{}
	}
	s.Alerts[e.Visit] = of.Alert
	at := ""
	if e.Visit != "" {
		at = ", visit " + e.Visit
	}
	why := "There is no kit for patient %s at site %s%s."
	if e.Code == supply.ReplacementNotAllowed {
		why = "Patient %s at site %s%s gets another kit when supply allows it: kits were lost before they were given out again and again."
	}
	switch e.Withheld {
	case supply.ReconsentIsDue:
		why = "Patient %s at site %s%s gets no kit before the consent is signed again."
	case supply.ConsentIsMissing:
		why = "Patient %s at site %s%s gets no kit before a consent is signed."
	case "", supply.TreatmentHasEnded, supply.DoseIsHeld, supply.PatientIsTransferred:
	}
	return s.react([]any{safety.RaiseAlert{OfAlert: of, Study: o.Study, Site: domain.SiteID(e.Location), Patient: e.Patient,
		Kind: safety.PatientWithoutKit, Severity: safety.Urgent, Source: o.ID, OccurredAt: o.At,
		Summary: fmt.Sprintf(why, e.Patient, e.Location, at)}}), true
}

func (s withoutKit) kitAllocated(e supply.KitAllocated, _ sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	return s.has([]supply.Slot{{Patient: e.Patient, Visit: e.Visit}}, string(e.Patient))
}

func (s withoutKit) kitsReleased(e supply.KitsReleased, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	return s.has(e.Affected, o.Of)
}

func (s withoutKit) kitFound(e supply.KitFound, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	return s.has(e.Affected, o.Of)
}

// has settles the alerts about visits for which the patient has the kits, or has them again.
func (s withoutKit) has(slots []supply.Slot, of string) (sagas.Reaction[withoutKit], bool) {
	var visits []string
	for _, slot := range slots {
		if _, raised := s.Alerts[slot.Visit]; raised && string(slot.Patient) == of {
			visits = append(visits, slot.Visit)
		}
	}
	if len(visits) == 0 {
		return sagas.Reaction[withoutKit]{}, false
	}
	return s.settle("There is a kit for the patient.", visits...), true
}

// visitVoided settles the alert about a visit that was recorded in error.
func (s withoutKit) visitVoided(e patient.VisitVoided, _ sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if _, raised := s.Alerts[e.Visit]; !raised {
		return sagas.Reaction[withoutKit]{}, false
	}
	return s.settle(didNotTakePlace, e.Visit), true
}

// consentWithdrawn does nothing unless the patient withdrew from the treatment.
func (s withoutKit) consentWithdrawn(e patient.ConsentWithdrawn, _ sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if !e.EndsTreatment && !e.EndsParticipation {
		return sagas.Reaction[withoutKit]{}, false
	}
	return s.end()
}

func needsNone[E any](s withoutKit, _ E, _ sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	return s.end()
}

func (s withoutKit) end() (sagas.Reaction[withoutKit], bool) {
	if len(s.Alerts) == 0 {
		return sagas.Reaction[withoutKit]{}, false
	}
	s.Ended = s.visits()
	return s.settle("The treatment has ended, and the patient needs no kit.", s.Ended...), true
}

// stepUndone asks again for what was due when the treatment ended. The answer says whether there is a kit now.
func (s withoutKit) stepUndone(e patient.StepUndone, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if len(s.Ended) == 0 || !bringsKitsBack(e) {
		return sagas.Reaction[withoutKit]{}, false
	}
	visits := s.Ended
	s.Ended = nil
	return s.react(allocate(o.Study, o.Site, e.Patient, visits)), true
}

// transferred asks at the new site for what is due.
func (s withoutKit) transferred(e patient.Transferred, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if len(s.Alerts) == 0 {
		return sagas.Reaction[withoutKit]{}, false
	}
	visits := s.visits()
	r := s.settle(fmt.Sprintf("The patient was transferred to site %s, which is asked for a kit.", e.To), visits...)
	r.Commands = append(r.Commands, allocate(o.Study, e.To, e.Patient, visits)...)
	return r, true
}

func allocate(study domain.StudyID, at domain.SiteID, who domain.PatientID, visits []string) (all []any) {
	for _, visit := range visits {
		all = append(all, supply.AllocateKit{Study: study, Site: at, OfPatient: domain.ForPatient(who), Visit: visit})
	}
	return all
}

// visits are those with an alert, in ascending order.
func (s withoutKit) visits() []string { return slices.Sorted(maps.Keys(s.Alerts)) }

// settle settles the alerts about visits.
func (s withoutKit) settle(why string, visits ...string) sagas.Reaction[withoutKit] {
	var all []any
	alerts := maps.Clone(s.Alerts)
	for _, visit := range visits {
		all = append(all, safety.SettleAlert{OfAlert: safety.OfAlert{Alert: alerts[visit]}, Outcome: why})
		delete(alerts, visit)
	}
	s.Alerts = alerts
	return s.react(all)
}

func (s withoutKit) react(all []any) sagas.Reaction[withoutKit] {
	r := sagas.Reaction[withoutKit]{State: s, Stage: stageHasKit, Outcome: process.Completed, Commands: all}
	if len(s.Alerts) > 0 {
		r.Stage, r.Outcome = stageWithoutKit, process.Held
	}
	return r
}
