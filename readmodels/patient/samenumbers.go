package patient

import (
	"context"

	"casebook/access"
	"casebook/domain"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// ScreeningNumbers is the view of screening numbers, with one document per number, in capital and small letters alike. Programs before
// took S-1 and s-1 for two numbers, so that a number may have several patients.
var ScreeningNumbers = readmodels.View{Name: "screening-numbers", Version: 1, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "several", "_id"),
}}

// ScreeningNumber is a number with the patients who have it.
type ScreeningNumber struct {
	readmodels.Header `bson:",inline"`
	Study             domain.StudyID    `bson:"study" json:"study" doc:"The study"`
	Number            string            `bson:"number" json:"number" doc:"The number, in capital letters"`
	Patients          []NumberedPatient `bson:"patients" json:"patients" doc:"Who has it, in the order of the screening"`
	// Several says that more than one patient has it.
	Several bool `bson:"several" json:"-"`
}

// NumberedPatient is a patient with the site at which the patient was screened.
type NumberedPatient struct {
	Patient domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	Site    domain.SiteID    `bson:"site" json:"site" doc:"The site of the screening"`
}

// NumberKey is the key of a number's document.
func NumberKey(study domain.StudyID, number string) string {
	return string(study) + "." + domain.Folded(number)
}

// sameNumbers is the query of patients who share a number.
var sameNumbers = readmodels.Declare(readmodels.Query{
	Name: "SameNumbers", Path: "/api/v1/studies/{study}/same-numbers",
	Summary: "Patients whose numbers differ in capital and small letters alone",
	Doc: "Such as S-1 and s-1. Both were registered by earlier programs, or at the same moment, and stay two patients; check that they are " +
		"two persons. New patients get no such number.",
	OpenTo: access.To(access.DataManagers, access.Auditors), Reach: readmodels.ReachStudy, Views: []readmodels.View{ScreeningNumbers},
}, ListSameNumbers)

// SameNumbersQuery asks for the patients of a study who share a number.
type SameNumbersQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	readmodels.Page
}

var numberOrders = []readmodels.Order[ScreeningNumber]{
	readmodels.Ascending("number", func(n ScreeningNumber) []any { return []any{n.ID} }, "_id"),
}

// ListSameNumbers returns a page of the numbers that several patients have.
func ListSameNumbers(ctx context.Context, r readmodels.Request, q SameNumbersQuery) (readmodels.List[ScreeningNumber], error) {
	return readmodels.Listed(ctx, r.Store.Collection(ScreeningNumbers), q.Page,
		bson.D{{Key: "study", Value: string(q.Study)}, {Key: "several", Value: true}}, numberOrders)
}
