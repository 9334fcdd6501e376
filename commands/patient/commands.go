// Package patient declares the commands of the context patient: which decision, which facts, which roles.
package patient

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/supply"
)

// Commands are the commands that record a patient's way through the study.
var Commands = []commands.Command{
	commands.HandleWithFacts(patient.Decider, screening, patient.Screen).
		AllowedTo(access.SiteStaff).
		Described("Record that a person is considered for the study",
			patient.ScreenPatient{AtSite: domain.ForSite("PAIN1", "DE-01"), ScreeningNumber: "S-0001", On: "2026-02-01",
				Sex: patient.Female, AgeYears: 54}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.Consent).
		AllowedTo(access.SiteStaff).
		Described("Record the informed consent that a patient signed",
			patient.RecordConsent{OfPatient: domain.ForPatient("PAIN1.S-0001"), ConsentVersion: "1.0", On: "2026-02-01", Language: "de"}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.Apply).
		AllowedTo(access.SiteStaff, access.DataManagers).
		Described("Have an enrolled patient follow a newer version of the protocol",
			patient.ApplyProtocolVersion{OfPatient: domain.ForPatient("PAIN1.S-0001"), Version: 2, On: "2026-03-05"}),
	commands.Handle(patient.Decider, patient.RefuseReconsent).
		AllowedTo(access.SiteStaff).
		Described("Record that a patient does not sign the consent again",
			patient.RecordReconsentRefusal{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-03-06"}),
	commands.Handle(patient.Decider, patient.FailScreening).
		AllowedTo(access.SiteStaff).
		Described("Record that a patient failed the screening",
			patient.RecordScreenFailure{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-02-02",
				Reasoned: domain.Because("Inclusion criterion 3 is not met")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.RequestEnrollment).
		AllowedTo(access.SiteStaff).
		RecordingRefusals().
		Described("Request a patient's enrolment",
			patient.EnrollPatient{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-02-03"}),
	commands.Handle(patient.Decider, patient.Confirm).
		AllowedTo(access.Processes).
		Upcast(domain.Unchanged),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.RequestDraw).
		AllowedTo(access.SiteStaff).
		Described("Request the draw of an enrolled patient after a run-in, or of a treated patient for a later stage",
			patient.RequestRandomisation{OfPatient: domain.ForPatient("PAIN1.S-0001"), Factors: map[string]string{"age": "under-50"}}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.ConfirmDraw).
		AllowedTo(access.Processes),
	commands.Handle(patient.Decider, patient.Rezone).
		AllowedTo(access.ThePatient, access.Caregivers, access.SiteStaff).
		Described("Say by which time zone the patient lives from a day on; diaries follow",
			patient.ChangeZone{OfPatient: domain.ForPatient("PAIN1.S-0001"), Zone: "Europe/Lisbon", From: "2026-03-02",
				Reasoned: domain.Because("The patient has moved")}),
	commands.Handle(patient.Decider, patient.FailDraw).
		Upcast(domain.Unchanged).
		AllowedTo(access.Processes),
	commands.Handle(patient.Decider, patient.Fail).
		AllowedTo(access.Processes),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.Unblind).
		AllowedTo(access.Processes),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.RecordAttendance).
		AllowedTo(access.SiteStaff).
		Described("Record that a planned visit took place",
			patient.RecordVisit{OfPatient: domain.ForPatient("PAIN1.S-0001"), Visit: "week-4", On: "2026-03-03"}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.Skip).
		AllowedTo(access.SiteStaff).
		Described("Record that a planned visit did not take place",
			patient.SkipVisit{OfPatient: domain.ForPatient("PAIN1.S-0001"), Visit: "week-4", Reasoned: domain.Because("The patient was abroad")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.ChangeDose).
		AllowedTo(access.SiteStaff).
		Described("Change a patient's dose by a step of the protocol, from the next dispensing on",
			patient.RecordDoseChange{OfPatient: domain.ForPatient("PAIN1.S-0001"), Direction: patient.DoseDown, On: "2026-03-10",
				Reasoned: domain.Because("Dizziness")}),
	commands.Handle(patient.Decider, patient.StopTreatment).
		AllowedTo(access.SiteStaff).
		Described("End a patient's treatment with study drug; visits and follow-up go on",
			patient.DiscontinueTreatment{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-04-01", Reason: patient.EndedByAdverseEvent,
				Detail: "Nausea, grade 3"}),
	commands.Handle(patient.Decider, patient.Hold).
		AllowedTo(access.SiteStaff).
		Described("Interrupt a patient's treatment; no kit is given out until it is resumed",
			patient.HoldDose{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-03-10", Reasoned: domain.Because("Neutrophils below 1.0")}),
	commands.Handle(patient.Decider, patient.Resume).
		AllowedTo(access.SiteStaff).
		Described("Resume an interrupted treatment",
			patient.ResumeDose{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-03-17", Reasoned: domain.Because("Neutrophils recovered")}),
	commands.Handle(patient.Decider, patient.Withdraw).
		AllowedTo(access.SiteStaff).
		Described("Record what a patient no longer consents to",
			patient.WithdrawConsent{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-05-01",
				Extent: []patient.Extent{patient.ExtentTreatment}}),
	commands.Handle(patient.Decider, patient.End).
		AllowedTo(access.SiteStaff).
		Described("End a patient's participation for a coded reason",
			patient.EndParticipation{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-05-01", Reason: patient.EndedByLossToFollowUp,
				Detail: "Three calls and a letter unanswered"}),
	commands.Handle(patient.Decider, patient.Discontinue).
		AllowedTo(access.SiteStaff).
		Described("End a patient's participation early for another reason, in free text",
			patient.DiscontinuePatient{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-05-01", Reasoned: domain.Because("ADVERSE EVENT")}),
	commands.Handle(patient.Decider, patient.Complete).
		AllowedTo(access.SiteStaff).
		Described("Record that a patient completed the study as planned",
			patient.CompletePatient{OfPatient: domain.ForPatient("PAIN1.S-0001"), On: "2026-08-01"}),
	commands.Handle(patient.Decider, patient.VoidRegistered).
		AllowedTo(access.SiteStaff, access.DataManagers).
		Described("Take back the registration of a person who was never meant; possible before the enrolment",
			patient.VoidRegistration{OfPatient: domain.ForPatient("PAIN1.S-0001"),
				Reasoned: domain.Because("Typed in twice; the patient is S-0002")}),
	commands.HandleWithFacts(patient.Decider, undoing, patient.Undo).
		AllowedTo(access.SiteStaff, access.DataManagers).
		Described("Undo the last step that ended something, which was recorded in error",
			patient.UndoPatientStep{OfPatient: domain.ForPatient("PAIN1.S-0001"), Step: patient.StepWithdrawal,
				Reasoned: domain.Because("Recorded for the wrong patient")}),
	commands.Handle(patient.Decider, patient.Override).
		AllowedTo(access.Investigators).
		Reauthenticated().
		Described("Allow the enrolment of a patient who does not satisfy a criterion; asks for a fresh sign-in",
			patient.OverrideEligibility{OfPatient: domain.ForPatient("PAIN1.S-0001"), Criteria: []string{"pain-4"},
				Reasoned: domain.Because("Pain of 3.9 on average; agreed with the sponsor's medical monitor")}),
	commands.Handle(patient.Decider, patient.Deviate).
		AllowedTo(access.SiteStaff, access.Monitors, access.DataManagers).
		Described("Record that the protocol was not followed; the patient stays in the study",
			patient.RecordProtocolDeviation{OfPatient: domain.ForPatient("PAIN1.S-0001"), What: patient.DeviationEligibility, Important: true,
				FoundOn: "2026-03-15", Reasoned: domain.Because("Opioids within 30 days before the enrolment, found at source data verification")}),
	commands.Handle(patient.Decider, patient.Dismiss).
		AllowedTo(access.Monitors, access.DataManagers).
		Described("Record that a candidate is no protocol deviation",
			patient.DismissDeviationCandidate{OfPatient: domain.ForPatient("PAIN1.S-0001"), Candidate: "visit/week-4",
				Reasoned: domain.Because("The sponsor allowed the day in writing")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.CorrectVisit).
		AllowedTo(access.SiteStaff).
		Described("Correct the day of a visit",
			patient.CorrectVisitDate{OfPatient: domain.ForPatient("PAIN1.S-0001"), Visit: "week-4", From: "2026-03-03", To: "2026-03-02",
				Reasoned: domain.Because("The appointment book says the second")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.Void).
		AllowedTo(access.SiteStaff).
		Described("Record that a visit was recorded in error, such as for the wrong patient",
			patient.VoidVisit{OfPatient: domain.ForPatient("PAIN1.S-0001"), Visit: "week-4",
				Reasoned: domain.Because("It was another patient's visit")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.CorrectConsent).
		AllowedTo(access.SiteStaff).
		Described("Correct the day on which a consent was signed",
			patient.CorrectConsentDate{OfPatient: domain.ForPatient("PAIN1.S-0001"), ConsentVersion: "1.0", From: "2026-02-01", To: "2026-01-31",
				Reasoned: domain.Because("The form has the day before")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.VoidSigned).
		AllowedTo(access.SiteStaff).
		Described("Take back a consent that was recorded in error; the form may be recorded again",
			patient.VoidConsent{OfPatient: domain.ForPatient("PAIN1.S-0001"), ConsentVersion: "1.0",
				Reasoned: domain.Because("Another patient's form")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.JudgeDoses).
		AllowedTo(access.Processes),
	commands.Handle(patient.Decider, patient.Rescreen).
		AllowedTo(access.Processes).
		Upcast(domain.Unchanged),
	commands.HandleWithFacts(patient.Decider, firstKit, patient.CorrectEnrollment).
		AllowedTo(access.SiteStaff).
		Described("Correct the day of an enrolment",
			patient.CorrectEnrollmentDate{OfPatient: domain.ForPatient("PAIN1.S-0001"), From: "2026-02-03", To: "2026-02-02",
				Reasoned: domain.Because("Mistyped")}),
	commands.HandleWithFacts(patient.Decider, ofSamePerson[patient.CorrectScreeningDate], patient.CorrectScreening).
		AllowedTo(access.SiteStaff).
		Described("Correct the day of a screening",
			patient.CorrectScreeningDate{OfPatient: domain.ForPatient("PAIN1.S-0001"), From: "2026-02-01", To: "2026-01-31",
				Reasoned: domain.Because("The screening log has the day before")}),
	commands.HandleWithFacts(patient.Decider, ofSamePerson[patient.CorrectEndDate], patient.CorrectEnd).
		AllowedTo(access.SiteStaff).
		Described("Correct the day of a step that ended something, such as a withdrawal",
			patient.CorrectEndDate{OfPatient: domain.ForPatient("PAIN1.S-0001"), Step: patient.StepWithdrawal, From: "2026-05-01",
				To: "2026-04-30", Reasoned: domain.Because("The patient called the day before")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.CorrectAgeAtScreening).
		AllowedTo(access.SiteStaff).
		Described("Correct a patient's age at screening",
			patient.CorrectAge{OfPatient: domain.ForPatient("PAIN1.S-0001"), From: 54, To: 45, Reasoned: domain.Because("Digits transposed")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.CorrectRecordedSex).
		AllowedTo(access.SiteStaff).
		Described("Correct a patient's sex",
			patient.CorrectSex{OfPatient: domain.ForPatient("PAIN1.S-0001"), From: patient.Female, To: patient.Male,
				Reasoned: domain.Because("Mistyped")}),
	commands.HandleWithFacts(patient.Decider, commands.StudyOfPatient, patient.Transfer).
		AllowedTo(access.DataManagers).
		Described("Move a patient to another site of the study",
			patient.TransferPatient{OfPatient: domain.ForPatient("PAIN1.S-0001"), To: "DE-02", On: "2026-04-01",
				Reasoned: domain.Because("The patient has moved")}),
}

// undoing reads the facts of UndoPatientStep: the earlier record of a person whose later registration is to be valid again.
func undoing(ctx context.Context, reader commands.Reader, c patient.UndoPatientStep) (facts patient.Undoing, err error) {
	if c.Step != patient.StepRegistration {
		return facts, nil
	}
	who, err := commands.PatientOf(ctx, reader, c)
	if err != nil || who.RescreeningOf == "" {
		return facts, err
	}
	facts.Earlier, err = commands.ReadNewest(ctx, reader, patient.Decider, string(who.RescreeningOf))
	return facts, err
}

// firstKit reads the facts of CorrectEnrollmentDate: the study, and when one of the patient's sites first gave out a kit.
func firstKit(ctx context.Context, reader commands.Reader, c patient.CorrectEnrollmentDate) (facts patient.Redating, err error) {
	if facts.Study, err = commands.StudyOfPatient(ctx, reader, c); err != nil {
		return facts, err
	}
	who, err := commands.PatientOf(ctx, reader, c)
	if err != nil || !who.Exists() {
		return facts, err
	}
	for _, site := range append(who.FormerSites(), who.Site) {
		stock, err := commands.ReadNewest(ctx, reader, supply.StockDecider, supply.StockID(who.Study, supply.LocationID(site)))
		if err != nil {
			return facts, err
		}
		on := stock.FirstGivenOn(who.ID, who.Follows(facts.Study).GivesBeforeDraw)
		if on != "" && (facts.GivenOn == "" || on < facts.GivenOn) {
			facts.GivenOn = on
		}
	}
	return facts, nil
}

// ofSamePerson reads the facts of a correction of a day that the records of the same person depend on: the study and these records.
func ofSamePerson[C domain.AboutPatient](ctx context.Context, reader commands.Reader, c C) (facts patient.Rescreening, err error) {
	if facts.Study, err = commands.StudyOfPatient(ctx, reader, c); err != nil {
		return facts, err
	}
	who, err := commands.PatientOf(ctx, reader, c)
	if err != nil {
		return facts, err
	}
	if who.RescreeningOf != "" {
		if facts.Earlier, err = commands.ReadNewest(ctx, reader, patient.Decider, string(who.RescreeningOf)); err != nil {
			return facts, err
		}
	}
	if who.RescreenedAs != "" {
		facts.Later, err = commands.ReadNewest(ctx, reader, patient.Decider, string(who.RescreenedAs))
	}
	return facts, err
}

// screening reads the facts of ScreenPatient: the study, the earlier record of a person who is screened again, and a patient with the
// same number in other letters.
func screening(ctx context.Context, reader commands.Reader, c patient.ScreenPatient) (facts patient.Screening, err error) {
	if facts.Study, err = commands.StudyOf(ctx, reader, c); err != nil || domain.ValidateScreeningNumber(c.ScreeningNumber) != nil {
		return facts, err
	}
	for _, number := range domain.OtherSpellings(c.ScreeningNumber) {
		other, err := commands.ReadNewest(ctx, reader, patient.Decider, string(domain.NewPatientID(c.Study, number)))
		if err != nil {
			return facts, err
		}
		if other.Exists() {
			facts.Spelled = other.ID
			return facts, nil
		}
	}
	if c.RescreeningOf == "" {
		return facts, nil
	}
	if err := c.RescreeningOf.Validate(); err != nil {
		return facts, domain.At("rescreeningOf", err)
	}
	facts.Earlier, err = commands.ReadNewest(ctx, reader, patient.Decider, string(c.RescreeningOf))
	return facts, err
}
