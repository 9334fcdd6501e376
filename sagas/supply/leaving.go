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

// Leaving is the process that frees what a site keeps for a patient whose treatment or participation has ended, or who is
// transferred to another site, and the kits of a visit that did not take place. Schedules end by themselves: a patient who does not
// take part has no windows, and nobody is asked about doses after the treatment.
var Leaving = sagas.Define("leaving",
	sagas.Sends(supply.SetKitsAside{}),
	sagas.On[patient.ConsentWithdrawn](patientOfSite, leaving.consentWithdrawn),
	sagas.On[patient.Discontinued](patientOfSite, leaves),
	sagas.On[patient.Completed](patientOfSite, leaves),
	sagas.On[patient.ParticipationEnded](patientOfSite, leaves),
	sagas.On[patient.TreatmentDiscontinued](patientOfSite, leaving.treatmentDiscontinued),
	sagas.On[patient.Transferred](patientOfSite, leaving.transferred),
	sagas.On[patient.ScreenFailureRecorded](patientOfSite, leaving.screenFailed),
	sagas.On[patient.RegistrationVoided](patientOfSite, leaving.registrationVoided),
	sagas.On[patient.VisitVoided](patientOfSite, leaving.visitVoided),
).OfPatients().InGroup("leaving-5")

// patientOfSite names the instance of a patient who is at a site.
func patientOfSite[E any](_ E, at eventlog.Recorded) []string {
	if at.Metadata.Site == "" {
		return nil
	}
	return sagas.Instance(at.Metadata.Patient)
}

func leaves[E domain.AboutPatient](s leaving, e E, o sagas.Occurrence) (sagas.Reaction[leaving], bool) {
	return s.setAside(e.AboutPatient(), o, o.Site, "the patient's participation has ended"), true
}

// consentWithdrawn leaves the kits alone if the patient withdrew only from the future use of data.
func (s leaving) consentWithdrawn(e patient.ConsentWithdrawn, o sagas.Occurrence) (sagas.Reaction[leaving], bool) {
	if !e.EndsTreatment && !e.EndsParticipation {
		return sagas.Reaction[leaving]{}, false
	}
	return s.setAside(e.Patient, o, o.Site, "the patient has withdrawn from the treatment"), true
}

func (s leaving) treatmentDiscontinued(e patient.TreatmentDiscontinued, o sagas.Occurrence) (sagas.Reaction[leaving], bool) {
	return s.setAside(e.Patient, o, o.Site, "the patient's treatment has ended"), true
}

// screenFailed frees the kits of a patient who got some before the draw.
func (s leaving) screenFailed(e patient.ScreenFailureRecorded, o sagas.Occurrence) (sagas.Reaction[leaving], bool) {
	return s.setAside(e.Patient, o, o.Site, "the patient has failed the screening"), true
}

// registrationVoided frees the kits of somebody who got some before the draw, and was never meant.
func (s leaving) registrationVoided(e patient.RegistrationVoided, o sagas.Occurrence) (sagas.Reaction[leaving], bool) {
	return s.setAside(e.Patient, o, o.Site, "the patient was registered in error"), true
}

// visitVoided frees the kits of a visit that was recorded in error. A visit that was skipped in error has none.
func (s leaving) visitVoided(e patient.VisitVoided, o sagas.Occurrence) (sagas.Reaction[leaving], bool) {
	if e.On == "" {
		return sagas.Reaction[leaving]{}, false
	}
	return s.send(supply.SetKitsAside{Study: o.Study, Site: o.Site, OfPatient: domain.ForPatient(e.Patient), Visit: e.Visit,
		Reasoned: domain.Because("the visit " + e.Visit + " was recorded in error")}), true
}

// transferred frees the kits at the former site. The dispensing asks for others at the new one.
func (s leaving) transferred(e patient.Transferred, o sagas.Occurrence) (sagas.Reaction[leaving], bool) {
	return s.setAside(e.Patient, o, e.From, "the patient was transferred to site "+string(e.To)), true
}

func (s leaving) setAside(who domain.PatientID, o sagas.Occurrence, site domain.SiteID, why string) sagas.Reaction[leaving] {
	return s.send(supply.SetKitsAside{Study: o.Study, Site: site, OfPatient: domain.ForPatient(who), Reasoned: domain.Because(why)})
}

func (s leaving) send(command supply.SetKitsAside) sagas.Reaction[leaving] {
	return sagas.Reaction[leaving]{State: s, Stage: "kits set aside", Outcome: process.Completed, Commands: []any{command}}
}
