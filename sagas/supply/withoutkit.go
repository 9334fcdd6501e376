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
	// PutBack are the visits whose kit was put back, Given and Begun those whose kits were allocated last, and whose kits are due since,
	// each with where the log says so. A visit is over when the kits of another one are due.
	PutBack map[string]uint64 `json:"putBack,omitempty"`
	Given   map[string]uint64 `json:"given,omitempty"`
	Begun   map[string]uint64 `json:"begun,omitempty"`
	// Settled are the last alerts that were settled: one of them may be raised late.
	Settled sagas.Settled `json:"settled,omitempty"`
}

// WithoutKit is the process that raises one alert as soon as a kit is due that a patient cannot get, for want of stock or before the
// consent is signed again, or did not get because it was put back, and settles it when the patient has the kit, has it again, or
// needs none any more. Somebody who closes the alert has decided otherwise; it is not raised again for the same visit until there
// was a kit. It asks for what was due again when a patient is transferred, and when the end of a treatment is undone. It does not
// matter in which order it is told of all this.
var WithoutKit = sagas.Define("without-kit",
	sagas.Sends(safety.RaiseAlert{}, safety.SettleAlert{}, supply.AllocateKit{}),
	sagas.On[supply.AllocationFailed](sagas.ByPatient, withoutKit.allocationFailed),
	sagas.On[supply.KitAllocated](sagas.ByPatient, withoutKit.kitAllocated),
	sagas.On[supply.KitPutBack](sagas.ByPatient, withoutKit.kitPutBack),
	sagas.On(atDispensingVisit, withoutKit.visitRecorded),
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
	// Version 1 took events in the order in which they came, and version 2 did not hear of kits that were put back.
).OfPatients().InGroup("without-kit-5").Upcast(domain.Unchanged, domain.Unchanged)

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
		return s.react(allocate(o.Study, s.Site, e.Patient, e.Visit)), true
	case raised && e.Code == "visit_not_recorded":
		return s.settle(didNotTakePlace, e.Visit), true
	case raised && e.Code == "drawn_again":
		return s.settle("The patient was drawn again, and got kits then.", e.Visit), true
	case !lacks:
		return sagas.Reaction[withoutKit]{}, false
	}
	s.PutBack = sagas.Unless(s.PutBack, e.Visit, o.Position) // it is asked for again, and waits as others do
	if raised {
		s.Since = sagas.Newest(s.Since, e.Visit, o.Position)
		return s.react(nil), true
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
	case "", supply.TreatmentHasEnded, supply.DoseIsHeld, supply.PatientIsTransferred, supply.DrawIsNotConfirmed:
	}
	return s.raise(o.ID, e.Visit, domain.SiteID(e.Location), why, o), true
}

// raise raises an alert about a visit, from what has the key. why has places for the patient, the site and the visit.
func (s withoutKit) raise(key, visit string, site domain.SiteID, why string, o sagas.Occurrence) sagas.Reaction[withoutKit] {
	s.Since = sagas.Newest(s.Since, visit, o.Position)
	of, who := sagas.AlertFrom(o.Study, key), domain.PatientID(o.Of)
	s.Alerts = sagas.Put(s.Alerts, visit, of.Alert)
	at := ""
	if visit != "" {
		at = ", visit " + visit
	}
	return s.react([]any{safety.RaiseAlert{OfAlert: of, Study: o.Study, Site: site, Patient: who,
		Kind: safety.PatientWithoutKit, Visit: &visit, Severity: safety.Urgent, Source: o.ID, OccurredAt: o.At,
		Summary: fmt.Sprintf(why, who, site, at)}})
}

// kitPutBack raises the alert of a patient who was not given the kit of the last visit, or what was given in its place. Where the patient
// was transferred meanwhile, the present site is asked for one.
func (s withoutKit) kitPutBack(e supply.KitPutBack, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if o.Position < s.Given[e.Visit] {
		return sagas.Reaction[withoutKit]{}, false
	}
	if s.Site != "" && s.Site != domain.SiteID(e.Location) {
		return s.react(allocate(o.Study, s.Site, e.Patient, e.Visit)), true
	}
	s.Given = sagas.Newest(s.Given, e.Visit, o.Position)
	if supply.IsUnscheduled(e.Visit) {
		s.Begun = sagas.Unless(s.Begun, e.Visit, o.Position)
	} else {
		s.PutBack = sagas.Newest(s.PutBack, e.Visit, o.Position)
	}
	return s.look(domain.SiteID(e.Location), s.react(nil), o), true
}

// visitRecorded ends the visit before.
func (s withoutKit) visitRecorded(e patient.VisitRecorded, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if o.Position < s.Begun[e.Visit] {
		return sagas.Reaction[withoutKit]{}, false
	}
	s.Begun = sagas.Newest(s.Begun, e.Visit, o.Position)
	return s.look(o.Site, s.react(nil), o), true
}

// look adds to a reaction the alert about the kit of the last visit, if it was put back, and settles those about former visits.
func (s withoutKit) look(at domain.SiteID, r sagas.Reaction[withoutKit], o sagas.Occurrence) sagas.Reaction[withoutKit] {
	s = r.State
	last, since := "", uint64(0)
	for visit, position := range s.Begun {
		if position > since {
			last, since = visit, position
		}
	}
	add := func(more sagas.Reaction[withoutKit]) {
		more.Commands = append(r.Commands, more.Commands...)
		r, s = more, more.State
	}
	for _, visit := range slices.Sorted(maps.Keys(s.PutBack)) {
		if _, raised := s.Alerts[visit]; raised && visit != last && s.Begun[visit] > 0 {
			add(s.settle("The patient was due for other kits since.", visit))
		}
	}
	_, back := s.PutBack[last]
	if _, raised := s.Alerts[last]; back && !raised && since > 0 {
		add(s.raise(o.ID+"/put-back", last, at, "Patient %s at site %s%s was not given the kit, which was put back.", o))
	}
	return r
}

// alertRaised settles an alert that was raised when it had been settled.
func (s withoutKit) alertRaised(e safety.AlertRaised, _ sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if !s.Settled.Has(e.Alert) {
		return sagas.Reaction[withoutKit]{}, false
	}
	return s.react([]any{sagas.Settle(e.Alert, "The patient lacks no kit any more.")}), true
}

// raiseRefused forgets an alert whose cause is gone. Should it be gone because of an end that is undone, it comes again.
func (s withoutKit) raiseRefused(_ *refuse.Refusal, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	raise, is := o.Event.(sagas.Refused).Body.(safety.RaiseAlert)
	if !is || raise.Visit == nil || s.Alerts[*raise.Visit] != raise.Alert {
		return s.react(nil), true
	}
	s = s.forget(*raise.Visit)
	s.PutBack = sagas.Unless(s.PutBack, *raise.Visit, o.Position)
	s.Ended = append(without(s.Ended, *raise.Visit), *raise.Visit)
	return s.react(nil), true
}

func (s withoutKit) kitAllocated(e supply.KitAllocated, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if o.Position < s.Given[e.Visit] {
		return sagas.Reaction[withoutKit]{}, false
	}
	s.Given, s.PutBack = sagas.Newest(s.Given, e.Visit, o.Position), sagas.Unless(s.PutBack, e.Visit, o.Position)
	if _, begun := s.Begun[e.Visit]; !begun && (supply.IsKitOfStage(e.Visit) || supply.IsUnscheduled(e.Visit)) {
		s.Begun = sagas.Newest(s.Begun, e.Visit, o.Position)
	}
	r, has := s.has([]supply.Slot{{Patient: domain.PatientID(o.Of), Visit: e.Visit}}, o)
	if !has {
		r = s.react(nil)
	}
	return s.look(domain.SiteID(e.Location), r, o), true
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
	s.Begun, s.PutBack = sagas.Unless(s.Begun, e.Visit, o.Position), sagas.Unless(s.PutBack, e.Visit, o.Position)
	r := s.react(nil)
	if _, raised := s.Alerts[e.Visit]; raised && o.Position >= s.Since[e.Visit] {
		r = s.settle(didNotTakePlace, e.Visit)
	}
	return s.look(o.Site, r, o), true
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
	visits := s.visits()
	for _, visit := range visits { // beside those whose alert was refused because of the end
		s.Ended = append(without(s.Ended, visit), visit)
	}
	s.PutBack = nil
	return s.settle("The treatment has ended, and the patient needs no kit.", visits...), true
}

// stepUndone asks again for what was due when the treatment ended. The answer says whether there is a kit now.
func (s withoutKit) stepUndone(e patient.StepUndone, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if !bringsKitsBack(e) || o.Position < s.Back {
		return sagas.Reaction[withoutKit]{}, false
	}
	visits := s.Ended
	s.Ended, s.Back = nil, o.Position
	return s.react(allocate(o.Study, o.Site, e.Patient, visits...)), true
}

// transferred asks at the new site for what is due.
func (s withoutKit) transferred(e patient.Transferred, o sagas.Occurrence) (sagas.Reaction[withoutKit], bool) {
	if o.Position < s.Moved {
		return sagas.Reaction[withoutKit]{}, false
	}
	s.Site, s.Moved = e.To, o.Position
	visits := slices.DeleteFunc(s.visits(), func(visit string) bool { return s.Since[visit] > o.Position }) // the new site said so
	for _, visit := range visits {
		s.PutBack = sagas.Unless(s.PutBack, visit, o.Position)
	}
	r := s.settle(fmt.Sprintf("The patient was transferred to site %s, which is asked for a kit.", e.To), visits...)
	r.Commands = append(r.Commands, allocate(o.Study, e.To, e.Patient, visits...)...)
	return r, true
}

func allocate(study domain.StudyID, at domain.SiteID, who domain.PatientID, visits ...string) (all []any) {
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
		all = append(all, s.Settled.Settle(s.Alerts[visit], why))
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
