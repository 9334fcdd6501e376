// Package patient decides about a patient's way through a study: screening, consent, enrolment, visits and the end of
// the participation. It has no identity data (name, contact, birth date).
package patient

import (
	"cmp"
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
)

// Event is an event of a patient.
type Event interface{ patientEvent() }

// events are the events of the stream with their stored names.
var events = []domain.EventType{
	domain.Stored[Screened]("PatientScreened"),
	// Since version 2, a consent can be recorded late, when a later one has been signed already.
	domain.Stored[ConsentRecorded]("ConsentRecorded", domain.Unchanged),
	domain.Stored[ScreenFailureRecorded]("ScreenFailureRecorded"),
	// Since version 2, a patient can be enrolled without a draw, for a run-in.
	domain.Stored[EnrollmentRequested]("EnrollmentRequested", domain.Unchanged),
	domain.Stored[Enrolled]("PatientEnrolled", domain.Unchanged),
	domain.Stored[RandomisationRequested]("RandomisationRequested"),
	domain.Stored[RandomisationConfirmed]("RandomisationConfirmed", domain.Unchanged),
	domain.Stored[RandomisationNotPossible]("RandomisationNotPossible"),
	domain.Stored[EnrollmentFailed]("EnrollmentFailed"),
	domain.Stored[VisitRecorded]("VisitRecorded", domain.Unchanged),
	domain.Stored[ConsentWithdrawn]("ConsentWithdrawn", withdrewEverything),
	domain.Stored[Discontinued]("PatientDiscontinued"),
	domain.Stored[Completed]("PatientCompleted"),
	domain.Stored[TreatmentDiscontinued]("TreatmentDiscontinued"),
	domain.Stored[DoseHeld]("DoseHeld"),
	domain.Stored[DoseResumed]("DoseResumed"),
	domain.Stored[ParticipationEnded]("ParticipationEnded"),
	domain.Stored[StepUndone]("PatientStepUndone"),
	domain.Stored[Transferred]("PatientTransferred"),
	domain.Stored[VisitSkipped]("VisitSkipped"),
	domain.Stored[DoseChanged]("DoseChanged"),
	domain.Stored[VisitDateCorrected]("VisitDateCorrected"),
	domain.Stored[VisitVoided]("VisitVoided"),
	domain.Stored[ConsentDateCorrected]("ConsentDateCorrected"),
	domain.Stored[EnrollmentDateCorrected]("EnrollmentDateCorrected"),
	domain.Stored[AgeCorrected]("PatientAgeCorrected"),
	domain.Stored[SexCorrected]("PatientSexCorrected"),
	domain.Stored[ZoneChanged]("PatientZoneChanged"),
	domain.Stored[Unblinded]("PatientUnblinded"),
	domain.Stored[EligibilityOverridden]("EligibilityOverridden"),
	domain.Stored[ProtocolVersionApplied]("ProtocolVersionApplied"),
	domain.Stored[ReconsentRefused]("ReconsentRefused"),
	domain.Stored[ProtocolDeviationRecorded]("ProtocolDeviationRecorded"),
	domain.Stored[DeviationCandidateDismissed]("DeviationCandidateDismissed"),
	domain.Stored[RegistrationVoided]("RegistrationVoided", domain.Unchanged),
	domain.Stored[DeviationCandidateJudgedAgain]("DeviationCandidateJudgedAgain"),
	domain.Stored[ConsentVoided]("ConsentVoided"),
	domain.Stored[Rescreened]("PatientRescreened"),
	domain.Stored[DosingJudged]("DosingJudged"),
	domain.Stored[ScreeningDateCorrected]("ScreeningDateCorrected"),
	domain.Stored[EndDateCorrected]("EndDateCorrected"),
}

// withdrewEverything is the upcast of ConsentWithdrawn from version 1, which ended the participation and with it everything
// that the study did with the patient. Nobody was asked about the future use of data and samples.
func withdrewEverything(old map[string]any) (map[string]any, error) {
	old["extent"] = []any{string(ExtentTreatment), string(ExtentProcedures), string(ExtentContact)}
	old["endsParticipation"], old["endsTreatment"] = true, true
	return old, nil
}

// Screened begins a patient's stream.
type Screened struct {
	Patient         domain.PatientID `json:"patient"`
	Study           domain.StudyID   `json:"study"`
	Site            domain.SiteID    `json:"site"`
	ScreeningNumber string           `json:"screeningNumber"`
	On              domain.Date      `json:"on"`
	// Zone is the IANA time zone that the patient lives in; diary windows follow it.
	Zone     string `json:"zone"`
	Sex      Sex    `json:"sex,omitempty"`
	AgeYears int    `json:"ageYears,omitempty"`
	// RescreeningOf is the same person's earlier record in the study, which ended with a screen failure.
	RescreeningOf domain.PatientID `json:"rescreeningOf,omitempty"`
}

// ScreenFailureRecorded says that a patient is not enrolled because of a screen failure.
type ScreenFailureRecorded struct {
	Patient domain.PatientID `json:"patient"`
	On      domain.Date      `json:"on"`
	Reason  personal.Text    `json:"reason"`
}

// EnrollmentRequested asks the enrolment process for a place; the patient is not enrolled yet.
type EnrollmentRequested struct {
	Patient domain.PatientID `json:"patient"`
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	On      domain.Date      `json:"on"`
	// Attempt counts the patient's requests, from 1; 0 in events from before it was counted.
	Attempt int `json:"attempt,omitempty"`
	// Protocol, ConsentVersion and Criteria are those that made the patient eligible.
	Protocol       int             `json:"protocol,omitempty"`
	ConsentVersion string          `json:"consentVersion,omitempty"`
	Criteria       map[string]bool `json:"criteria,omitempty"`
	// Randomise and Kits say whether the protocol requires a draw and a kit. Factors are the patient's levels for the
	// draw.
	Randomise bool              `json:"randomise,omitempty"`
	Kits      bool              `json:"kits,omitempty"`
	Factors   map[string]string `json:"factors,omitempty"`
	// DrawnLater says that the protocol draws patients some time after the enrolment; Randomise and Kits are then false.
	DrawnLater bool `json:"drawnLater,omitempty"`
	// Overridden are the criteria that the patient does not satisfy, and need not. They may be deviations.
	Overridden []string `json:"overridden,omitempty"`
}

// Enrolled confirms the enrolment: the patient has a place and a number.
type Enrolled struct {
	Patient       domain.PatientID `json:"patient"`
	On            domain.Date      `json:"on"`
	PatientNumber string           `json:"patientNumber"`
	// RunIn says that the treatment begins later, with the draw.
	RunIn bool `json:"runIn,omitempty"`
	// RandomisedOn is the day of the draw in the patient's time zone; "" without a draw, and in events of version 1.
	RandomisedOn domain.Date `json:"randomisedOn,omitempty"`
}

// EnrollmentFailed ends a requested enrolment. It may be requested again.
type EnrollmentFailed struct {
	Patient domain.PatientID `json:"patient"`
	Code    string           `json:"code"`
	Reason  personal.Text    `json:"reason"`
}

// VisitRecorded says that a planned visit took place.
type VisitRecorded struct {
	Patient domain.PatientID `json:"patient"`
	Visit   string           `json:"visit"`
	On      domain.Date      `json:"on"`
	// Dispense says that the patient gets a kit at the visit, according to the protocol.
	Dispense bool `json:"dispense,omitempty"`
	// WouldDispense says that the patient would have got one if the treatment, or the participation before it, had not ended. Events of
	// version 1 do not say so.
	WouldDispense bool `json:"wouldDispense,omitempty"`
	// Candidate says that the visit took place outside of its window, which may be a deviation; somebody has to confirm it.
	Candidate DeviationKind `json:"candidate,omitempty"`
	// WeightKg is the body weight at the visit; 0 if it was not recorded.
	WeightKg float64 `json:"weightKg,omitempty"`
}

// VisitSkipped says that a planned visit did not take place.
type VisitSkipped struct {
	Patient domain.PatientID `json:"patient"`
	Visit   string           `json:"visit"`
	Reason  personal.Text    `json:"reason"`
	// Candidate says that a visit that does not take place may be a deviation.
	Candidate DeviationKind `json:"candidate,omitempty"`
}

// DoseChanged changes what the patient gets at the next dispensing. It does not tell the arm, because all arms have the same steps.
type DoseChanged struct {
	Patient   domain.PatientID `json:"patient"`
	On        domain.Date      `json:"on"`
	Direction DoseDirection    `json:"direction"`
	// Step is the step of the titration from now on, from 1. Rescue says that the patient gets rescue medication besides.
	Step   int           `json:"step"`
	Rescue bool          `json:"rescue,omitempty"`
	Reason personal.Text `json:"reason"`
	// FromStep is the step that was in force before; 0 in events from before they said so.
	FromStep int `json:"fromStep,omitempty"`
}

// ConsentWithdrawn says what a patient no longer consents to.
type ConsentWithdrawn struct {
	Patient domain.PatientID `json:"patient"`
	On      domain.Date      `json:"on"`
	Reason  personal.Text    `json:"reason,omitempty"`
	// Extent has everything that was withdrawn by this event, with what follows from it.
	Extent []Extent `json:"extent"`
	// EndsParticipation says that the patient was in the study and leaves it. A withdrawal from the treatment alone, or after the
	// end of the participation, ends none.
	EndsParticipation bool `json:"endsParticipation,omitempty"`
	// EndsTreatment says that the patient withdrew from the treatment, whether or not it had started.
	EndsTreatment bool `json:"endsTreatment,omitempty"`
}

// Discontinued ends a patient's participation early, for another reason than a withdrawn consent. The reason is free text.
type Discontinued struct {
	Patient domain.PatientID `json:"patient"`
	On      domain.Date      `json:"on"`
	Reason  personal.Text    `json:"reason"`
	// Code is the term of CDISC NCOMPLT that the reason is; empty if it is none, and in what former programs recorded.
	Code EndReason `json:"code,omitempty"`
}

// CodedReason returns the term of CDISC NCOMPLT that the reason is; empty if it is none.
func (e Discontinued) CodedReason() EndReason { return cmp.Or(e.Code, codeOf(e.Reason)) }

// codeOf returns the term of CDISC NCOMPLT that a text is; empty if it is none.
func codeOf(reason personal.Text) EndReason {
	if code := EndReason(reason); slices.Contains(EndReasons, code) {
		return code
	}
	return ""
}

// Completed ends a patient's participation as the protocol planned it.
type Completed struct {
	Patient domain.PatientID `json:"patient"`
	On      domain.Date      `json:"on"`
}

// TreatmentDiscontinued ends a patient's treatment with study drug. The participation goes on: visits, diaries that are not
// about doses, and the follow-up of safety (ICH E6(R3) 2.8.10(l) and (m), 2.9.1).
type TreatmentDiscontinued struct {
	Patient domain.PatientID `json:"patient"`
	On      domain.Date      `json:"on"`
	Reason  EndReason        `json:"reason"`
	Detail  personal.Text    `json:"detail,omitempty"`
}

// DoseHeld interrupts the treatment. The patient gets no kit until it is resumed.
type DoseHeld struct {
	Patient domain.PatientID `json:"patient"`
	On      domain.Date      `json:"on"`
	Reason  personal.Text    `json:"reason"`
}

// DoseResumed ends the interruption of the treatment.
type DoseResumed struct {
	Patient domain.PatientID `json:"patient"`
	On      domain.Date      `json:"on"`
	Reason  personal.Text    `json:"reason"`
}

// ParticipationEnded ends a patient's participation, and the treatment if it has not ended before. The reason is a term of
// CDISC NCOMPLT.
type ParticipationEnded struct {
	Patient domain.PatientID `json:"patient"`
	On      domain.Date      `json:"on"`
	Reason  EndReason        `json:"reason"`
	Detail  personal.Text    `json:"detail,omitempty"`
}

// StepUndone says that a step was recorded in error. The step stays in the record; the patient is again as before it.
type StepUndone struct {
	Patient domain.PatientID `json:"patient"`
	Step    Step             `json:"step"`
	// On is the day of the step that is undone. From and FromTreatment are what the patient was until now.
	On            domain.Date `json:"on"`
	From          Status      `json:"from"`
	FromTreatment Treatment   `json:"fromTreatment"`
	// Status, Treatment and what follows hold again.
	Status           Status        `json:"status"`
	Treatment        Treatment     `json:"treatment"`
	EndedOn          domain.Date   `json:"endedOn,omitempty"`
	TreatmentEndedOn domain.Date   `json:"treatmentEndedOn,omitempty"`
	Withdrawn        []Extent      `json:"withdrawn,omitempty"`
	Reason           personal.Text `json:"reason"`
}

// Transferred moves a patient to another site of the study. What was recorded before stays with the former site.
type Transferred struct {
	Patient domain.PatientID `json:"patient"`
	From    domain.SiteID    `json:"from"`
	To      domain.SiteID    `json:"to"`
	On      domain.Date      `json:"on"`
	Reason  personal.Text    `json:"reason"`
}

func (VisitSkipped) patientEvent()          {}
func (DoseChanged) patientEvent()           {}
func (TreatmentDiscontinued) patientEvent() {}
func (DoseHeld) patientEvent()              {}
func (DoseResumed) patientEvent()           {}
func (ParticipationEnded) patientEvent()    {}
func (StepUndone) patientEvent()            {}
func (Transferred) patientEvent()           {}
func (Screened) patientEvent()              {}
func (ConsentRecorded) patientEvent()       {}
func (ScreenFailureRecorded) patientEvent() {}
func (EnrollmentRequested) patientEvent()   {}
func (Enrolled) patientEvent()              {}
func (EnrollmentFailed) patientEvent()      {}
func (VisitRecorded) patientEvent()         {}
func (ConsentWithdrawn) patientEvent()      {}
func (Discontinued) patientEvent()          {}
func (Completed) patientEvent()             {}

// AboutPatient returns the patient that the event is about.
func (e EnrollmentRequested) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e Enrolled) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e EnrollmentFailed) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e VisitRecorded) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e VisitSkipped) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e DoseChanged) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e ConsentWithdrawn) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e Discontinued) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e Completed) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e TreatmentDiscontinued) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e DoseHeld) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e DoseResumed) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e ParticipationEnded) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e StepUndone) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e Transferred) AboutPatient() domain.PatientID { return e.Patient }

// Sex is the sex as recorded at screening, CDISC code list C66731.
type Sex string

// The codes of C66731 that are used.
const (
	Female           Sex = "F"
	Male             Sex = "M"
	Undifferentiated Sex = "UNDIFFERENTIATED"
	SexUnknown       Sex = "U"
)

// Schema implements domain.HasSchema.
func (Sex) Schema() domain.Schema { return domain.OneOf(Female, Male, SexUnknown, Undifferentiated) }
