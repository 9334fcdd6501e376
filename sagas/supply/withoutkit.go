package supply

import (
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/refuse"
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
	// Since is where the log last said that the kit of a visit with an alert is not there. What it said before settles nothing.
	Since map[string]uint64 `json:"since,omitempty"`
	// Back is where the log last said that an end was undone; an earlier end means nothing.
	Back uint64 `json:"back,omitempty"`
	// Site is where the patient was transferred to, and Moved where the log says so.
	Site  domain.SiteID `json:"site,omitempty"`
	Moved uint64        `json:"moved,omitempty"`
	// Settled are the last alerts that were settled: one of them may be raised late.
	Settled sagas.Settled `json:"settled,omitempty"`
}

// knowsNoOrder reads what an instance remembered in version 1, which took events in the order in which they came.
func knowsNoOrder(state map[string]any) (map[string]any, error) { return state, nil }

// WithoutKit is the process that raises one alert as soon as a kit is due that a patient cannot get, for want of stock or before the
// consent is signed again, and settles it when the patient has the kit, has it again, or needs none any more. Somebody who closes
// the alert has decided otherwise; it is not raised again for the same visit until there was a kit. It asks for what was due again
// when a patient is transferred, and when the end of a treatment is undone. It does not matter in which order it is told of all this.
var WithoutKit = sagas.Define("without-kit",
	sagas.Sends(safety.RaiseAlert{}, safety.SettleAlert{}, supply.AllocateKit{}),
	sagas.On[supply.AllocationFailed](sagas.ByPatient, withoutKit.allocationFailed),
	sagas.On[supply.KitAllocated](sagas.ByPatient, withoutKit.kitAllocated),
	sagas.On(func(e supply.KitsReleased, _ eventlog.Recorded) []string { return instances(e.Affected) }, withoutKit.kitsReleased),
	sagas.On(func(e supply.LotRecallEnded, _ eventlog.Recorded) []string { return instances(e.Affected) }, withoutKit.recallEnded),
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
	sagas.On(sagas.AboutPatientOf(safety.PatientWithoutKit), withoutKit.alertRaised),
	sagas.OnRefusal[safety.RaiseAlert](withoutKit.raiseRefused),
).OfPatients().InGroup("without-kit-4").Upcast(knowsNoOrder)

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
	lacks := e.Waits || unplanned || e.Withheld.ForConsent()
	switch {
	case raised && o.Position < s.Since[e.Visit]:
		return sagas.Reaction[withoutKit]{}, false
	case lacks && !raised && o.Position < s.Moved && domain.SiteID(e.Location) != s.Site: // the former site could not say so in time
		return s.react(allocate(o.Study, s.Site, e.Patient, []string{e.Visit})), true
	case raised && e.Code == "visit_not_recorded":
		return s.settle(didNotTakePlace, e.Visit), true
	case raised && e.Code == "drawn_again":
		return s.settle("The patient was drawn again, and got kits then.", e.Visit), true
	case !lacks:
		return sagas.Reaction[withoutKit]{}, false
	}
	s.Since = maps.Clone(s.Since)
	if s.Since == nil {
		s.Since = map[string]uint64{}
	}
	s.Since[e.Visit] = o.Position
	if raised {
		return s.react(nil), true
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
		Kind: safety.PatientWithoutKit, Visit: &e.Visit, Severity: safety.Urgent, Source: o.ID, OccurredAt: o.At,
		Summary: fmt.Sprintf(why, e.Patient, e.Location, at)}}), true
}

// alertRaised settles an alert that was raised when it had been settled.
func (s withoutKit) alertRaised(e safety.AlertRaised, _ sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if !s.Settled.Has(e.Alert) {
		return sagas.Reaction[withoutKit]{}, false
	}
	return s.react([]any{safety.SettleAlert{OfAlert: safety.OfAlert{Alert: e.Alert}, Outcome: "The patient lacks no kit any more."}}), true
}

// raiseRefused forgets an alert whose cause is gone. Should it be gone because of an end that is undone, it comes again.
func (s withoutKit) raiseRefused(_ *refuse.Refusal, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	raise, is := o.Event.(sagas.Refused).Body.(safety.RaiseAlert)
	if !is || raise.Visit == nil || s.Alerts[*raise.Visit] != raise.Alert {
		return s.react(nil), true
	}
	s = s.forget(*raise.Visit)
	s.Ended = append(without(s.Ended, *raise.Visit), *raise.Visit)
	return s.react(nil), true
}

func (s withoutKit) kitAllocated(e supply.KitAllocated, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	return s.has([]supply.Slot{{Patient: domain.PatientID(o.Of), Visit: e.Visit}}, o)
}

func (s withoutKit) kitsReleased(e supply.KitsReleased, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	return s.has(e.Affected, o)
}

func (s withoutKit) recallEnded(e supply.LotRecallEnded, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	return s.has(e.Affected, o)
}

func (s withoutKit) kitFound(e supply.KitFound, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	return s.has(e.Affected, o)
}

// has settles the alerts about visits for which the patient has the kits, or has them again.
func (s withoutKit) has(slots []supply.Slot, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	var visits []string
	for _, slot := range slots {
		if _, raised := s.Alerts[slot.Visit]; raised && string(slot.Patient) == o.Of && o.Position >= s.Since[slot.Visit] {
			visits = append(visits, slot.Visit)
		}
	}
	if len(visits) == 0 {
		return sagas.Reaction[withoutKit]{}, false
	}
	return s.settle("There is a kit for the patient.", visits...), true
}

// visitVoided settles the alert about a visit that was recorded in error.
func (s withoutKit) visitVoided(e patient.VisitVoided, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if _, raised := s.Alerts[e.Visit]; !raised || o.Position < s.Since[e.Visit] {
		return sagas.Reaction[withoutKit]{}, false
	}
	return s.settle(didNotTakePlace, e.Visit), true
}

// consentWithdrawn does nothing unless the patient withdrew from the treatment.
func (s withoutKit) consentWithdrawn(e patient.ConsentWithdrawn, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if !e.EndsTreatment && !e.EndsParticipation {
		return sagas.Reaction[withoutKit]{}, false
	}
	return needsNone(s, e, o)
}

// needsNone settles all alerts, unless the end was undone already.
func needsNone[E any](s withoutKit, _ E, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if len(s.Alerts) == 0 || o.Position < s.Back {
		return sagas.Reaction[withoutKit]{}, false
	}
	s.Ended = s.visits()
	return s.settle("The treatment has ended, and the patient needs no kit.", s.Ended...), true
}

// stepUndone asks again for what was due when the treatment ended. The answer says whether there is a kit now.
func (s withoutKit) stepUndone(e patient.StepUndone, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if !bringsKitsBack(e) || o.Position < s.Back {
		return sagas.Reaction[withoutKit]{}, false
	}
	visits := s.Ended
	s.Ended, s.Back = nil, o.Position
	return s.react(allocate(o.Study, o.Site, e.Patient, visits)), true
}

// transferred asks at the new site for what is due.
func (s withoutKit) transferred(e patient.Transferred, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if o.Position < s.Moved {
		return sagas.Reaction[withoutKit]{}, false
	}
	s.Site, s.Moved = e.To, o.Position
	visits := slices.DeleteFunc(s.visits(), func(visit string) bool { return s.Since[visit] > o.Position }) // the new site said so
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
	for _, visit := range visits {
		all = append(all, safety.SettleAlert{OfAlert: safety.OfAlert{Alert: s.Alerts[visit]}, Outcome: why})
		s.Settled = s.Settled.With(s.Alerts[visit])
		s = s.forget(visit)
	}
	return s.react(all)
}

// forget returns the state without the alert about a visit.
func (s withoutKit) forget(visit string) withoutKit {
	s.Alerts, s.Since = maps.Clone(s.Alerts), maps.Clone(s.Since)
	delete(s.Alerts, visit)
	delete(s.Since, visit)
	return s
}

func (s withoutKit) react(all []any) sagas.Reaction[withoutKit] {
	r := sagas.Reaction[withoutKit]{State: s, Stage: stageHasKit, Outcome: process.Completed, Commands: all}
	if len(s.Alerts) > 0 {
		r.Stage, r.Outcome = stageWithoutKit, process.Held
	}
	return r
}
