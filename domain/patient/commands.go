package patient

import (
	"time"

	"casebook/domain"
)

// ScreenPatient records that a person is being considered for the study.
type ScreenPatient struct {
	domain.AtSite   `doc:"The site that screens"`
	ScreeningNumber string      `json:"screeningNumber" doc:"Unique within the study; study and number make the patient's id"`
	On              domain.Date `json:"on" doc:"Day of screening"`
	Zone            string      `json:"zone,omitempty" doc:"IANA time zone the patient lives in; the site's when not given"`
	Sex             Sex         `json:"sex,omitempty" doc:"Sex as recorded, CDISC C66731"`
	AgeYears        int         `json:"ageYears,omitempty" minimum:"0" maximum:"130" doc:"Age at screening, years"`
	// RescreeningOf is the earlier record of the same person.
	RescreeningOf domain.PatientID `json:"rescreeningOf,omitempty" doc:"The same person's earlier record in the study, which ended with a screen failure"`
}

// RecordScreenFailure records that a patient is not enrolled because of a screen failure.
type RecordScreenFailure struct {
	domain.OfPatient
	On              domain.Date `json:"on" doc:"Day of the decision"`
	domain.Reasoned `doc:"Criterion that was not met, or other reason"`
}

// EnrollPatient requests the patient's enrolment. The enrolment process then sends ConfirmEnrollment or FailEnrollment.
type EnrollPatient struct {
	domain.OfPatient
	On domain.Date `json:"on" doc:"Day of enrolment"`
	// Criteria and Factors have an answer for every criterion and every factor of the protocol.
	Criteria map[string]bool   `json:"criteria,omitempty" doc:"Whether the patient meets each criterion of the protocol, by the criterion's id"`
	Factors  map[string]string `json:"factors,omitempty" doc:"The patient's level of each factor of the randomisation, by the factor's id"`
}

// ConfirmEnrollment is sent by the enrolment process when the patient has a place.
type ConfirmEnrollment struct {
	domain.OfPatient
	PatientNumber string `json:"patientNumber" doc:"The number given at the enrolment"`
	// DrawnAt is when the draw was recorded; nil without a draw.
	DrawnAt *time.Time `json:"drawnAt,omitempty" doc:"When the draw was recorded"`
}

// FailEnrollment is sent by the enrolment process when there is no place.
type FailEnrollment struct {
	domain.OfPatient
	Code            string `json:"code" doc:"Stable code of the reason"`
	domain.Reasoned `doc:"The reason as a sentence"`
}

// RecordVisit records that a planned visit took place.
type RecordVisit struct {
	domain.OfPatient
	Visit string      `json:"visit" minLength:"1" maxLength:"50" doc:"Id of the visit in the protocol"`
	On    domain.Date `json:"on" doc:"Day of the visit"`
	// WeightKg is needed where the kits depend on it, and no earlier visit has it.
	WeightKg float64 `json:"weightKg,omitempty" minimum:"0" maximum:"1000" doc:"Body weight in kg, where the kits depend on it"`
}

// SkipVisit records that a planned visit did not take place.
type SkipVisit struct {
	domain.OfPatient
	Visit           string `json:"visit" minLength:"1" maxLength:"50" doc:"Id of the visit in the protocol"`
	domain.Reasoned `doc:"Why it did not take place"`
}

// DiscontinuePatient ends the patient's participation early, for another reason than a withdrawn consent.
type DiscontinuePatient struct {
	domain.OfPatient
	On              domain.Date `json:"on" doc:"Day of discontinuation"`
	domain.Reasoned `doc:"Why, such as ADVERSE EVENT"`
}

// CompletePatient ends the patient's participation as planned.
type CompletePatient struct {
	domain.OfPatient
	On domain.Date `json:"on" doc:"Day of completion"`
}

// AboutPatient returns the id that the patient will have.
func (c ScreenPatient) AboutPatient() domain.PatientID {
	return domain.NewPatientID(c.Study, c.ScreeningNumber)
}
