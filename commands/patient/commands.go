package patient

import (
	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/eventlog"
)

// The commands on a patient's way through the study.
var (
	ScreenPatient = commands.HandleKnowing(patient.Decider, commands.TheStudy(func(c patient.ScreenPatient) domain.StudyID { return c.Study }), patient.Screen).
			On(func(c patient.ScreenPatient) string { return string(domain.NewPatientID(c.Study, c.ScreeningNumber)) }).
			In(commands.AtSite(func(c patient.ScreenPatient) (domain.StudyID, domain.SiteID) { return c.Study, c.Site })).
			AllowedTo(access.SiteStaff).
			About(func(c patient.ScreenPatient, m *eventlog.Metadata) {
			m.Patient = domain.NewPatientID(c.Study, c.ScreeningNumber)
		})

	RecordConsent = commands.HandleKnowing(patient.Decider, commands.StudyOfPatient(func(c patient.RecordConsent) domain.PatientID { return c.Patient }), patient.Consent).
			On(func(c patient.RecordConsent) string { return string(c.Patient) }).
			In(commands.OfPatient(func(c patient.RecordConsent) domain.PatientID { return c.Patient })).
			AllowedTo(access.SiteStaff)

	RecordScreenFailure = commands.Handle(patient.Decider, patient.FailScreening).
				On(func(c patient.RecordScreenFailure) string { return string(c.Patient) }).
				In(commands.OfPatient(func(c patient.RecordScreenFailure) domain.PatientID { return c.Patient })).
				AllowedTo(access.SiteStaff).
				About(func(c patient.RecordScreenFailure, m *eventlog.Metadata) { m.Reason = c.Reason })

	EnrollPatient = commands.HandleKnowing(patient.Decider, commands.StudyOfPatient(func(c patient.EnrollPatient) domain.PatientID { return c.Patient }), patient.RequestEnrollment).
			On(func(c patient.EnrollPatient) string { return string(c.Patient) }).
			In(commands.OfPatient(func(c patient.EnrollPatient) domain.PatientID { return c.Patient })).
			AllowedTo(access.SiteStaff)

	ConfirmEnrollment = commands.Handle(patient.Decider, patient.Confirm).
				On(func(c patient.ConfirmEnrollment) string { return string(c.Patient) }).
				In(commands.OfPatient(func(c patient.ConfirmEnrollment) domain.PatientID { return c.Patient })).
				AllowedTo(access.Processes)

	FailEnrollment = commands.Handle(patient.Decider, patient.Fail).
			On(func(c patient.FailEnrollment) string { return string(c.Patient) }).
			In(commands.OfPatient(func(c patient.FailEnrollment) domain.PatientID { return c.Patient })).
			AllowedTo(access.Processes).
			About(func(c patient.FailEnrollment, m *eventlog.Metadata) { m.Reason = c.Reason })

	RecordVisit = commands.HandleKnowing(patient.Decider, commands.StudyOfPatient(func(c patient.RecordVisit) domain.PatientID { return c.Patient }), patient.Visited).
			On(func(c patient.RecordVisit) string { return string(c.Patient) }).
			In(commands.OfPatient(func(c patient.RecordVisit) domain.PatientID { return c.Patient })).
			AllowedTo(access.SiteStaff)

	WithdrawConsent = commands.Handle(patient.Decider, patient.Withdraw).
			On(func(c patient.WithdrawConsent) string { return string(c.Patient) }).
			In(commands.OfPatient(func(c patient.WithdrawConsent) domain.PatientID { return c.Patient })).
			AllowedTo(access.SiteStaff).
			About(func(c patient.WithdrawConsent, m *eventlog.Metadata) { m.Reason = c.Reason })

	DiscontinuePatient = commands.Handle(patient.Decider, patient.Discontinue).
				On(func(c patient.DiscontinuePatient) string { return string(c.Patient) }).
				In(commands.OfPatient(func(c patient.DiscontinuePatient) domain.PatientID { return c.Patient })).
				AllowedTo(access.SiteStaff).
				About(func(c patient.DiscontinuePatient, m *eventlog.Metadata) { m.Reason = c.Reason })

	CompletePatient = commands.Handle(patient.Decider, patient.Complete).
			On(func(c patient.CompletePatient) string { return string(c.Patient) }).
			In(commands.OfPatient(func(c patient.CompletePatient) domain.PatientID { return c.Patient })).
			AllowedTo(access.SiteStaff)
)

// Commands are the commands of this context.
var Commands = []commands.Command{ScreenPatient, RecordConsent, RecordScreenFailure, EnrollPatient, ConfirmEnrollment, FailEnrollment, RecordVisit, WithdrawConsent, DiscontinuePatient, CompletePatient}
