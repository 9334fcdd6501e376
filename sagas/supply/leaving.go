package supply

import (
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// leaving is what the process of a patient's leaving remembers: nothing.
type leaving struct{}

// Leaving is the process that frees what is kept for a patient whose participation has ended. Schedules end by themselves:
// a patient who does not take part has no windows.
var Leaving = sagas.Define("leaving",
	sagas.Sends(supply.SetKitsAside{}),
	sagas.On[patient.ConsentWithdrawn](patientOfSite, leaves),
	sagas.On[patient.Discontinued](patientOfSite, leaves),
	sagas.On[patient.Completed](patientOfSite, leaves),
)

// patientOfSite names the instance of a patient who is at a site.
func patientOfSite[E any](_ E, at eventlog.Recorded) []string {
	if at.Metadata.Site == "" {
		return nil
	}
	return sagas.Instance(at.Metadata.Patient)
}

func leaves[E domain.AboutPatient](s leaving, e E, o sagas.Occurrence) (sagas.Reaction[leaving], bool) {
	return sagas.Reaction[leaving]{State: s, Stage: "kits set aside", Outcome: process.Completed, Commands: []any{
		supply.SetKitsAside{Study: o.Study, Site: o.Site, OfPatient: domain.ForPatient(e.AboutPatient()),
			Reasoned: domain.Because("the patient's participation has ended")}}}, true
}
