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
	sagas.On[patient.ConsentWithdrawn](sagas.ByPatient, participationEnded),
	sagas.On[patient.Discontinued](sagas.ByPatient, participationEnded),
	sagas.On[patient.Completed](sagas.ByPatient, participationEnded),
)

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
	return sagas.Reaction[dispensing]{State: s, Stage: stageKitWanted, Commands: []any{
		supply.AllocateKit{Study: o.Study, Site: o.Site, OfPatient: domain.ForPatient(e.Patient), Visit: e.Visit}}}, true
}

func (s dispensing) kitsQuarantined(e supply.KitsQuarantined, _ sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	return s.replace(e.OfStock, e.Affected)
}

func (s dispensing) kitsExpired(e supply.KitsExpired, _ sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	return s.replace(e.OfStock, e.Affected)
}

func (s dispensing) kitLost(e supply.KitLost, _ sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	return s.replace(e.OfStock, e.Affected)
}

// replace asks for a new kit for each affected patient. The instances of all affected patients ask, so a patient is asked
// for several times. This does no harm: a patient who has a kit that can be given out gets no second one.
func (s dispensing) replace(at supply.OfStock, affected []supply.Slot) (sagas.Reaction[dispensing], bool) {
	r := sagas.Reaction[dispensing]{State: s, Stage: stageKitWanted, Note: "a kit cannot be given out any more"}
	for _, slot := range affected {
		r.Commands = append(r.Commands, supply.AllocateKit{Study: at.Study, Site: domain.SiteID(at.Location),
			OfPatient: domain.ForPatient(slot.Patient), Visit: slot.Visit})
	}
	return r, !s.Ended
}

func (s dispensing) kitAllocated(e supply.KitAllocated, _ sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	return sagas.Reaction[dispensing]{State: s, Stage: "kit allocated"}, !s.Ended && slices.Contains(s.Wanted, e.Visit)
}

func participationEnded[E any](s dispensing, _ E, _ sagas.Occurrence) (sagas.Reaction[dispensing], bool) {
	if s.Ended || len(s.Wanted) == 0 {
		return sagas.Reaction[dispensing]{}, false
	}
	s.Ended = true
	return sagas.Reaction[dispensing]{State: s, Stage: "the patient's participation has ended", Outcome: process.Completed}, true
}

const stageKitWanted = "kit asked for"
