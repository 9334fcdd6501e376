package supply

import (
	"slices"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
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
}

// Dispensing is the process that allocates a patient's next kit at each visit that dispenses one. It allocates another kit
// if the allocated one can no longer be given out.
var Dispensing = sagas.Define("dispensing",
	sagas.Sends(supply.AllocateKit{}),
	sagas.On(atDispensingVisit, dispensing.visitRecorded),
	sagas.On(func(e supply.KitsQuarantined, _ eventlog.Recorded) []string { return instances(e.Affected) }, dispensing.kitsQuarantined),
	sagas.On(func(e supply.KitsExpired, _ eventlog.Recorded) []string { return instances(e.Affected) }, dispensing.kitsExpired),
	sagas.On(func(e supply.KitLost, _ eventlog.Recorded) []string { return instances(e.Affected) }, dispensing.kitLost),
	sagas.On(kitOfVisit, dispensing.kitAllocated),
	sagas.On(noKitOfVisit, dispensing.allocationFailed),
	sagas.On[patient.ConsentWithdrawn](sagas.ByPatient, participationEnded),
	sagas.On[patient.Discontinued](sagas.ByPatient, participationEnded),
	sagas.On[patient.Completed](sagas.ByPatient, participationEnded),
).OfPatients().InGroup("dispensing-2").Upcast(awaitsNothingYet)

// awaitsNothingYet reads what an instance remembered in version 1, which awaited no answers.
func awaitsNothingYet(state map[string]any) (map[string]any, error) { return state, nil }

func atDispensingVisit(e patient.VisitRecorded, at eventlog.Recorded) []string {
	if !e.Dispense {
		return nil
	}
	return sagas.ByPatient(e, at)
}

// kitOfVisit names the instance of a patient whose kit belongs to a visit. The enrolment handles the first kit.
func kitOfVisit(e supply.KitAllocated, at eventlog.Recorded) []string {
	if e.Visit == "" {
		return nil
	}
	return sagas.ByPatient(e, at)
}

// noKitOfVisit is kitOfVisit for a patient for whom there is no kit.
func noKitOfVisit(e supply.AllocationFailed, at eventlog.Recorded) []string {
	if e.Visit == "" {
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

func (s dispensing) visitRecorded(e patient.VisitRecorded, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if s.Ended || slices.Contains(s.Wanted, e.Visit) {
		return sagas.Reaction[dispensing]{}, false
	}
	s.Wanted = append(slices.Clone(s.Wanted), e.Visit)
	s.Unanswered = append(without(s.Unanswered, e.Visit), e.Visit)
	return sagas.Reaction[dispensing]{State: s, Stage: stageKitWanted, Awaits: true, Commands: []any{
		supply.AllocateKit{Study: o.Study, Site: o.Site, OfPatient: domain.ForPatient(e.Patient), Visit: e.Visit}}}, true
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

// replace asks for a new kit for each affected patient. The instances of all affected patients ask, so a patient is asked
// for several times. This does no harm: a patient who has a kit that can be given out gets no second one.
func (s dispensing) replace(at supply.OfStock, affected []supply.Slot, o sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	r := sagas.Reaction[dispensing]{Stage: stageKitWanted, Note: "a kit cannot be given out any more"}
	for _, slot := range affected {
		if string(slot.Patient) == o.Of && slot.Visit != "" { // the answer about the kit of the enrolment does not come here
			s.Unanswered = append(without(s.Unanswered, slot.Visit), slot.Visit)
		}
		r.Commands = append(r.Commands, supply.AllocateKit{Study: at.Study, Site: domain.SiteID(at.Location),
			OfPatient: domain.ForPatient(slot.Patient), Visit: slot.Visit})
	}
	r.State, r.Awaits = s, len(s.Unanswered) > 0
	return r, !s.Ended
}

func (s dispensing) kitAllocated(e supply.KitAllocated, _ sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	answered := slices.Contains(s.Unanswered, e.Visit)
	s.Unanswered = without(s.Unanswered, e.Visit)
	r := sagas.Reaction[dispensing]{State: s, Stage: "kit allocated"}
	if len(s.Unanswered) > 0 {
		r.Stage, r.Awaits = stageKitWanted, true
	}
	return r, !s.Ended && (answered || slices.Contains(s.Wanted, e.Visit))
}

// allocationFailed ends the wait for the answer. The site's resupply asks for a kit again as soon as there are kits.
func (s dispensing) allocationFailed(e supply.AllocationFailed, _ sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	answered := slices.Contains(s.Unanswered, e.Visit)
	s.Unanswered = without(s.Unanswered, e.Visit)
	r := sagas.Reaction[dispensing]{State: s, Stage: stageKitWanted, Note: e.Code + ": " + e.Reason, Outcome: process.Held}
	if len(s.Unanswered) > 0 {
		r.Outcome, r.Awaits = "", true
	}
	return r, answered && !s.Ended
}

func participationEnded[E any](s dispensing, _ E, _ sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if s.Ended || len(s.Wanted) == 0 {
		return sagas.Reaction[dispensing]{}, false
	}
	s.Ended = true
	return sagas.Reaction[dispensing]{State: s, Stage: "the patient's participation has ended", Outcome: process.Completed}, true
}

const stageKitWanted = "kit asked for"
