package patient

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Deviations is the worklist of protocol deviations, with one document per deviation that somebody has recorded, and one per
// candidate.
var Deviations = readmodels.View{Name: "deviations", Version: 4, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "status", "recordedAt", "_id"),
	readmodels.IndexOn("study", "site", "status", "recordedAt", "_id"),
	readmodels.IndexOn("patient", "status", "recordedAt", "_id"),
}}

// DeviationStatus says what is known of a deviation.
type DeviationStatus string

// The statuses: somebody has to look at a candidate, which is then confirmed or dismissed, or is none any more since the
// record was corrected. Deviations that were recorded, for a candidate or not, stay.
const (
	DeviationProposed   DeviationStatus = "proposed"
	DeviationIsRecorded DeviationStatus = "recorded"
	DeviationConfirmed  DeviationStatus = "confirmed"
	DeviationDismissed  DeviationStatus = "dismissed"
	DeviationObsolete   DeviationStatus = "obsolete"
)

// DeviationStatuses are all statuses, in the order of the worklist.
var DeviationStatuses = []DeviationStatus{DeviationProposed, DeviationIsRecorded, DeviationConfirmed, DeviationDismissed, DeviationObsolete}

// Schema implements domain.HasSchema.
func (DeviationStatus) Schema() domain.Schema { return domain.OneOf(DeviationStatuses...) }

// DeviationRow is a line of the worklist.
type DeviationRow struct {
	readmodels.Header `bson:",inline"`
	Study             domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Patient           domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	DeviationState    `bson:",inline"`
	Past              readmodels.History[DeviationState] `bson:"past,omitempty" json:"-"`
}

// DeviationState is what is known of a deviation.
type DeviationState struct {
	Site       domain.SiteID         `bson:"site" json:"site" doc:"The patient's site at that time"`
	Status     DeviationStatus       `bson:"status" json:"status" doc:"Whether it is proposed, recorded, or a candidate that was decided about"`
	Candidate  patient.CandidateID   `bson:"candidate,omitempty" json:"candidate,omitempty" doc:"The candidate's id; none for a deviation that was found otherwise"`
	What       patient.DeviationKind `bson:"what" json:"what" doc:"What it is about"`
	Important  bool                  `bson:"important,omitempty" json:"important,omitempty" doc:"Whether it may affect rights, safety or the data"`
	On         domain.Date           `bson:"on,omitempty" json:"on,omitempty" doc:"Day on which it happened, or was found"`
	Reason     string                `bson:"reason,omitempty" json:"reason,omitempty" doc:"What happened, or why it is none"`
	By         domain.UserID         `bson:"by" json:"by" doc:"Who has recorded this"`
	RecordedAt time.Time             `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded last"`
}

// CandidateKey is the key of a candidate's document.
func CandidateKey(of domain.PatientID, id patient.CandidateID) string {
	return string(of) + "/" + string(id)
}

var deviationOrders = []readmodels.Order[DeviationRow]{
	readmodels.Descending("newest", func(r DeviationRow) []any { return []any{r.RecordedAt.UTC(), r.ID} }, "recordedAt", "_id"),
	readmodels.Ascending("oldest", func(r DeviationRow) []any { return []any{r.RecordedAt.UTC(), r.ID} }, "recordedAt", "_id"),
}

// deviations is the query of a study's protocol deviations.
var deviations = readmodels.Declare(readmodels.Query{
	Name: "Deviations", Path: "/api/v1/studies/{study}/deviations", Summary: "A study's protocol deviations",
	Doc: "What somebody has recorded as a deviation, and what the record proposes as one. A proposal waits until somebody records " +
		"the deviation or dismisses the candidate.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{Deviations},
	Sort: readmodels.SortBy(deviationOrders, "By when they were recorded;"),
}, ListDeviations)

// DeviationsQuery asks for a study's deviations; empty fields do not narrow the list.
type DeviationsQuery struct {
	Study   domain.StudyID        `path:"study" doc:"The study"`
	Site    domain.SiteID         `query:"site" doc:"Only this site"`
	Patient domain.PatientID      `query:"patient" doc:"Only this patient"`
	Status  DeviationStatus       `query:"status" doc:"Only those with this status"`
	What    patient.DeviationKind `query:"what" doc:"Only those about this"`
	Only    string                `query:"only" enum:"important" doc:"Only important ones"`
	AsOf    time.Time             `query:"asOf" doc:"As they were at this moment, in the order of what was recorded last; with a site, those that were and are of that site"`
	readmodels.Page
}

// ListDeviations returns a page of a study's deviations and candidates.
func ListDeviations(ctx context.Context, r readmodels.Request, q DeviationsQuery) (list readmodels.List[DeviationRow], err error) {
	filter, some := readmodels.OfStudyOrPatient(q.Study, q.Patient)
	if !some {
		return list, nil
	}
	state := readmodels.Equal(readmodels.Equal(nil, "site", q.Site), "what", q.What)
	if q.Only == "important" {
		state = append(state, bson.E{Key: "important", Value: true})
	}
	if q.AsOf.IsZero() {
		filter = append(append(filter, readmodels.OneOrAny("status", q.Status, DeviationStatuses)), state...)
		return readmodels.Listed(ctx, r.Store.Collection(Deviations), q.Page, filter, deviationOrders)
	}
	// Whoever names a site may see that site alone: what has left it is not shown as it was there.
	filter = append(readmodels.Equal(filter, "site", q.Site), readmodels.OneOf("status", DeviationStatuses))
	return readmodels.ListedAsOf(ctx, r.Store.Collection(Deviations), q.Page, filter, deviationOrders, q.AsOf,
		readmodels.Equal(state, "status", q.Status),
		func(r *DeviationRow) (readmodels.History[DeviationState], *DeviationState) {
			return r.Past, &r.DeviationState
		})
}
