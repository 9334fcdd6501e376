package safety

import (
	"context"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/safety"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// withoutKit is the query of the patients who wait for a kit.
var withoutKit = readmodels.Declare(readmodels.Query{
	Name: "WithoutKit", Path: "/api/v1/studies/{study}/without-kit", Summary: "Patients for whom a due kit is not there",
	Doc: "The alerts about patients without a kit that nobody has closed and no kit has settled, the longest wait in front, as they are " +
		"or as they were at a moment. Nothing says which kit is missing. " + readmodels.PatientsLeftOut,
	OpenTo: access.StudyMembers, Reach: readmodels.ReachStudy, Views: []readmodels.View{Alerts},
}, ListWithoutKit)

// WithoutKitQuery asks for the patients of a study who wait for a kit; empty fields do not narrow the list.
type WithoutKitQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Site  domain.SiteID  `query:"site" doc:"Only this site"`
	// Patient finds nobody for those who may not know patients.
	Patient domain.PatientID `query:"patient" doc:"Only this patient; supply managers find nobody by it"`
	// AsOf is the zero time for the present.
	AsOf time.Time `query:"asOf" doc:"As it was at this moment"`
	readmodels.Page
}

var waitOrders = []readmodels.Order[Alert]{
	readmodels.Ascending("longest", func(a Alert) []any { return []any{a.RaisedAt.UTC(), a.ID} }, "raisedAt", "_id"),
}

// ListWithoutKit returns a page of the patients who wait for a kit. One that is shown as it was at a moment has nothing that was
// recorded later.
func ListWithoutKit(ctx context.Context, r readmodels.Request, q WithoutKitQuery) (list readmodels.List[Alert], err error) {
	if _, some := readmodels.ShownTo(r, q.Study, q.Site, safety.PatientWithoutKit, ofSupply); !some ||
		q.Patient != "" && !r.MayKnowPatients(q.Study, q.Site) {
		return list, nil
	}
	then := q.AsOf
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "place", q.Site)
	filter = readmodels.Equal(filter, "patient", q.Patient)
	ranks := Orders(func(k Rank) bool { return !k.OfArms && (k.Status != AlertClosed || !then.IsZero()) })
	filter = append(filter, bson.E{Key: "order", Value: bson.D{{Key: "$in", Value: ranks}}},
		bson.E{Key: "kind", Value: string(safety.PatientWithoutKit)})
	if !then.IsZero() {
		filter = readmodels.Between(filter, "raisedAt", time.Time{}, then.Add(time.Millisecond))
		filter = append(filter, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "closedAt", Value: bson.D{{Key: "$exists", Value: false}}}},
			bson.D{{Key: "closedAt", Value: bson.D{{Key: "$gt", Value: then}}}},
		}})
	}
	list, err = readmodels.Listed(ctx, r.Store.Collection(Alerts), q.Page, filter, waitOrders)
	for i := range list.Items {
		alert := &list.Items[i]
		if !then.IsZero() {
			alert.asOf(then)
		}
		if !r.MayKnowPatients(q.Study, alert.Site) {
			alert.WithoutPatient()
		}
	}
	return list, err
}

// asOf removes what was recorded after a moment at which the alert was not closed.
func (a *Alert) asOf(then time.Time) {
	a.ClosedBy, a.ClosedAt, a.Outcome = "", nil, ""
	if a.ReviewedAt != nil && a.ReviewedAt.After(then) {
		a.ReviewedBy, a.ReviewedAt, a.Note = "", nil, ""
	}
	status := AlertOpen
	if a.ReviewedAt != nil {
		status = AlertReviewed
	}
	a.Become(status)
	a.Notifications = slices.DeleteFunc(a.Notifications, func(n Notification) bool { return n.At.After(then) })
}
