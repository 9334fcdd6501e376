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
var PatientLists = View{Name: "patient-list", Version: 1, Indexes: []mongo.IndexModel{
	{Keys: bson.D{{Key: "study", Value: 1}, {Key: "site", Value: 1}, {Key: "_id", Value: 1}}},
	{Keys: bson.D{{Key: "study", Value: 1}, {Key: "site", Value: 1}, {Key: "status", Value: 1}, {Key: "_id", Value: 1}}},
	{Keys: bson.D{{Key: "study", Value: 1}, {Key: "status", Value: 1}, {Key: "_id", Value: 1}}},
	{Keys: bson.D{{Key: "study", Value: 1}, {Key: "_id", Value: 1}}},
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
	Risks           int              `bson:"risks" json:"risks" doc:"Risks flagged so far"`
	Compliance      Compliance       `bson:"compliance" json:"compliance" doc:"How the patient keeps the diary"`
}

// PatientFilter narrows a list of patients; empty fields do not.
type PatientFilter struct {
	Site   domain.SiteID
	Status patient.Status
}

// Patients returns a page of a study's patients, by screening number.
func (s *Store) Patients(ctx context.Context, study domain.StudyID, f PatientFilter, page Page) (List[PatientRow], error) {
	filter := bson.D{{Key: "study", Value: string(study)}}
	if f.Site != "" {
		filter = append(filter, bson.E{Key: "site", Value: string(f.Site)})
	}
	if f.Status != "" {
		filter = append(filter, bson.E{Key: "status", Value: string(f.Status)})
	}
	var last string
	if more, err := page.after(&last); err != nil {
		return List[PatientRow]{}, err
	} else if more {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: last}}})
	}
	return list(ctx, s.Collection(PatientLists), page, filter, bson.D{{Key: "_id", Value: 1}},
		func(r PatientRow) []any { return []any{r.ID} })
}
