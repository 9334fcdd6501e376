package readmodels

import (
	"context"
	"time"

	"casebook/domain"
	"casebook/domain/patient"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// PatientLists is the view behind the lists of patients, a document a patient. A patient's id begins with the study
// and goes on with the screening number, so the order of ids is that of screening numbers.
//
// Something is recorded of a patient every day, so the order of the last activity is in two indexes alone: they begin with
// the status, all of which a list asks for that is of none, and the store merges them.
var PatientLists = View{Name: "patient-list", Version: 2, Indexes: []mongo.IndexModel{
	ascending("study", "_id"),
	ascending("study", "site", "_id"),
	ascending("study", "status", "_id"),
	ascending("study", "site", "status", "_id"),
	ascending("study", "status", "lastActivityAt", "_id"),
	ascending("study", "site", "status", "lastActivityAt", "_id"),
}}

// PatientRow is a line of a list of patients.
type PatientRow struct {
	Header          `bson:",inline"`
	Patient         domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	Study           domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site            domain.SiteID    `bson:"site" json:"site" doc:"The site"`
	ScreeningNumber string           `bson:"screeningNumber" json:"screeningNumber" doc:"Number given at screening"`
	PatientNumber   string           `bson:"patientNumber,omitempty" json:"patientNumber,omitempty" doc:"Number given with the place"`
	Status          patient.Status   `bson:"status" json:"status" enum:"screened,consented,screen_failed,enrolling,enrolled,enrollment_failed,withdrawn,discontinued,completed" doc:"Where the patient stands"`
	ScreenedOn      domain.Date      `bson:"screenedOn" json:"screenedOn" doc:"Day of screening"`
	ConsentedOn     domain.Date      `bson:"consentedOn,omitempty" json:"consentedOn,omitempty" doc:"Day of the consent in force"`
	ConsentVersion  string           `bson:"consentVersion,omitempty" json:"consentVersion,omitempty" doc:"Version that was signed last"`
	EnrolledOn      domain.Date      `bson:"enrolledOn,omitempty" json:"enrolledOn,omitempty" doc:"Day of enrolment"`
	EndedOn         domain.Date      `bson:"endedOn,omitempty" json:"endedOn,omitempty" doc:"Last day of participation"`
	EndReason       string           `bson:"endReason,omitempty" json:"endReason,omitempty" doc:"Why it ended, or why the enrolment failed"`
	LastDiaryAt     *time.Time       `bson:"lastDiaryAt,omitempty" json:"lastDiaryAt,omitempty" doc:"When the newest diary was captured"`
	LastActivityAt  time.Time        `bson:"lastActivityAt" json:"lastActivityAt" doc:"When the patient or the site recorded something last; a window that was missed does not count"`
	Risks           int              `bson:"risks" json:"risks" doc:"Risks flagged so far"`
	Compliance      Compliance       `bson:"compliance" json:"compliance" doc:"How the patient keeps the diary"`
}

// PatientFilter narrows a list of patients; empty fields do not.
type PatientFilter struct {
	Site   domain.SiteID
	Status patient.Status
}

// PatientStatuses are all the ways a patient can stand.
var PatientStatuses = []patient.Status{patient.StatusScreened, patient.StatusConsented, patient.StatusScreenFailed, patient.StatusEnrolling,
	patient.StatusEnrolled, patient.StatusEnrollmentFailed, patient.StatusWithdrawn, patient.StatusDiscontinued, patient.StatusCompleted}

var patientOrders = []order[PatientRow]{
	{"screening", 1, []string{"_id"}, func(r PatientRow) []any { return []any{r.ID} }},
	{"active", -1, []string{"lastActivityAt", "_id"}, func(r PatientRow) []any { return []any{r.LastActivityAt.UTC(), r.ID} }},
	{"inactive", 1, []string{"lastActivityAt", "_id"}, func(r PatientRow) []any { return []any{r.LastActivityAt.UTC(), r.ID} }},
}

// PatientSorts are the orders of a list of patients: by screening number, or by when they or their site recorded something last,
// from the last to do so or from the first. Those who keep their diaries badly are in the list by compliance.
var PatientSorts = names(patientOrders)

// Patients returns a page of a study's patients.
func (s *Store) Patients(ctx context.Context, study domain.StudyID, f PatientFilter, page Page) (List[PatientRow], error) {
	filter := equal(bson.D{{Key: "study", Value: string(study)}}, "site", f.Site)
	if page.Sort == "" || page.Sort == patientOrders[0].name {
		filter = equal(filter, "status", f.Status)
	} else {
		filter = append(filter, standing("status", f.Status, PatientStatuses))
	}
	return listed(ctx, s.Collection(PatientLists), page, filter, patientOrders)
}
