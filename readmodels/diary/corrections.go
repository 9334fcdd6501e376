package diary

import (
	"context"
	"fmt"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// DiaryCorrections is the worklist of corrections that were asked for, with one document per request. A request that was decided about
// stays in it.
var DiaryCorrections = readmodels.View{Name: "diary-corrections", Version: 2, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "status", "askedAt", "_id"),
	readmodels.IndexOn("study", "site", "status", "askedAt", "_id"),
	readmodels.IndexOn("patient", "status", "askedAt", "_id"),
}}

// RequestStatuses are all statuses of a request, in the order of the worklist.
var RequestStatuses = []RequestStatus{RequestWaits, RequestApplied, RequestDeclined, RequestLapsed}

// AskedCorrection is a correction that somebody has asked for, and what an investigator has decided.
type AskedCorrection struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID    `bson:"site" json:"site" doc:"The patient's site when it was asked for"`
	Instrument        instrument.ID    `bson:"instrument" json:"instrument" doc:"The instrument"`
	Window            string           `bson:"window" json:"window" doc:"The window of the diary"`
	CorrectionRequest `bson:",inline"`
}

// CorrectionKey is the key of a request's document.
func CorrectionKey(patient domain.PatientID, request int) string {
	return fmt.Sprintf("%s/%06d", patient, request)
}

var correctionOrders = []readmodels.Order[AskedCorrection]{
	readmodels.Ascending("oldest", func(a AskedCorrection) []any { return []any{a.AskedAt.UTC(), a.ID} }, "askedAt", "_id"),
	readmodels.Descending("newest", func(a AskedCorrection) []any { return []any{a.AskedAt.UTC(), a.ID} }, "askedAt", "_id"),
}

// corrections is the query of the worklist.
var corrections = readmodels.Declare(readmodels.Query{
	Name: "DiaryCorrections", Path: "/api/v1/studies/{study}/diary-corrections", Summary: "Corrections of diaries that were asked for",
	Doc: "What patients and sites ask to be corrected, of all patients, with the old and the new answers. CorrectDiary applies a request, " +
		"DeclineDiaryCorrection leaves the answers; an investigator of the site decides, who did not ask.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{DiaryCorrections},
	Sort: readmodels.SortBy(correctionOrders, "By when they were asked for;"),
}, ListCorrections)

// CorrectionsQuery asks for corrections in a study; empty fields do not narrow the list.
type CorrectionsQuery struct {
	Study   domain.StudyID   `path:"study" doc:"The study"`
	Site    domain.SiteID    `query:"site" doc:"Only this site"`
	Patient domain.PatientID `query:"patient" doc:"Only this patient"`
	Status  RequestStatus    `query:"status" doc:"Only requests with this status, such as waits"`
	From    time.Time        `query:"from" doc:"Only what was asked for then or later"`
	// To is the first moment that is not included.
	To time.Time `query:"to" doc:"Only what was asked for before"`
	readmodels.Page
}

// ListCorrections returns a page of the worklist.
func ListCorrections(ctx context.Context, r readmodels.Request, q CorrectionsQuery) (list readmodels.List[AskedCorrection], err error) {
	filter, some := readmodels.OfStudyOrPatient(q.Study, q.Patient)
	if !some {
		return list, nil
	}
	filter = append(readmodels.Equal(filter, "site", q.Site), readmodels.OneOrAny("status", q.Status, RequestStatuses))
	return readmodels.Listed(ctx, r.Store.Collection(DiaryCorrections), q.Page, readmodels.Between(filter, "askedAt", q.From, q.To),
		correctionOrders)
}
