// Package patient declares the commands of the context patient: which decision, which facts, which roles.
package patient

import (
	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/patient"
)

// Commands are the commands that record a patient's way through the study.
var Commands = []commands.Command{
	commands.HandleWithFacts(patient.Decider, commands.StudyOf, patient.Screen).
		AllowedTo(access.SiteStaff).
		Described("Record that a person is considered for the study",
			patient.ScreenPatient{AtSite: domain.ForSite("PAIN1", "DE-01"), ScreeningNumber: "S-0001", On: "2026-02-01",
				Sex: patient.Female, AgeYears: 54}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.Consent).
		AllowedTo(access.SiteStaff).
		Described("Record the informed consent that a patient signed",
			patient.RecordConsent{OfPatient: domain.ForPatient("PAIN1.S-0001"), ConsentVersion: "1.0", On: "2026-02-01"}),
	commands.Handle(patient.Decider, patient.FailScreening).
		AllowedTo(access.SiteStaff).
		Described("Record that a patient failed the screening",
			patient.RecordScreenFailure{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-02-02",
				Reasoned: domain.Because("Inclusion criterion 3 is not met")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.RequestEnrollment).
		AllowedTo(access.SiteStaff).
		Described("Request a patient's enrolment",
			patient.EnrollPatient{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-02-03"}),
	commands.Handle(patient.Decider, patient.Confirm).
		AllowedTo(access.Processes),
	commands.Handle(patient.Decider, patient.Fail).
		AllowedTo(access.Processes),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.RecordAttendance).
		AllowedTo(access.SiteStaff).
		Described("Record that a planned visit took place",
			patient.RecordVisit{OfPatient: domain.ForPatient("PAIN1.S-0001"), Visit: "week-4", On: "2026-03-03"}),
	commands.Handle(patient.Decider, patient.Withdraw).
		AllowedTo(access.SiteStaff).
		Described("Record that a patient withdrew consent and ends participation",
			patient.WithdrawConsent{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-05-01"}),
	commands.Handle(patient.Decider, patient.Discontinue).
		AllowedTo(access.SiteStaff).
		Described("End a patient's participation early for another reason",
			patient.DiscontinuePatient{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-05-01", Reasoned: domain.Because("ADVERSE EVENT")}),
	commands.Handle(patient.Decider, patient.Complete).
		AllowedTo(access.SiteStaff).
		Described("Record that a patient completed the study as planned",
			patient.CompletePatient{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-08-01"}),
}
