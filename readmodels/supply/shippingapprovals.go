package supply

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// ShippingApprovals is the view of green lights, with one document per site and per country that has or had one.
var ShippingApprovals = readmodels.View{Name: "shipping-approvals", Version: 2, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "_id"),
	readmodels.IndexOn("study", "country", "_id"),
	readmodels.IndexOn("study", "site", "_id"),
	readmodels.IndexOn("study", "status", "_id"),
}}

// ApprovalStatus says whether kits may be shipped.
type ApprovalStatus string

// The statuses of a green light.
const (
	ShippingIsApproved  ApprovalStatus = "approved"
	ShippingIsWithdrawn ApprovalStatus = "withdrawn"
)

// Schema implements domain.HasSchema.
func (ApprovalStatus) Schema() domain.Schema {
	return domain.OneOf(ShippingIsApproved, ShippingIsWithdrawn)
}

// ShippingApproval is the green light of a site or of a country.
type ShippingApproval struct {
	readmodels.Header `bson:",inline"`
	Study             domain.StudyID `bson:"study" json:"study" doc:"The study"`
	Country           string         `bson:"country,omitempty" json:"country,omitempty" doc:"The country; none for the green light of a site" example:"DE"`
	Site              domain.SiteID  `bson:"site,omitempty" json:"site,omitempty" doc:"The site; none for the green light of a country"`
	ApprovalState     `bson:",inline"`
	Past              readmodels.History[ApprovalState] `bson:"past,omitempty" json:"-"`
}

// ApprovalState says whether there is a green light, and why.
type ApprovalState struct {
	Status    ApprovalStatus `bson:"status" json:"status" doc:"Whether kits may be shipped there"`
	Reference string         `bson:"reference" json:"reference" doc:"Reference of the documents that the last approval rests on"`
	Reason    string         `bson:"reason,omitempty" json:"reason,omitempty" doc:"Why it was withdrawn"`
	By        domain.UserID  `bson:"by" json:"by" doc:"Who has given or withdrawn it"`
	At        time.Time      `bson:"at" json:"at" doc:"When"`
}

// Remember keeps the state that has just been recorded.
func (a *ShippingApproval) Remember() { a.Past = a.Past.Since(a.At, a.ApprovalState) }

// ShippingApprovalKey is the key of the document of a country or, if there is none, of a site.
func ShippingApprovalKey(study domain.StudyID, country string, site domain.SiteID) string {
	if country != "" {
		return string(study) + "/country/" + country
	}
	return string(study) + "/site/" + string(site)
}

var shippingApprovalOrders = []readmodels.Order[ShippingApproval]{
	readmodels.Ascending("place", func(a ShippingApproval) []any { return []any{a.ID} }, "_id"),
}

// shippingApprovals is the query of a study's green lights.
var shippingApprovals = readmodels.Declare(readmodels.Query{
	Name: "ShippingApprovals", Path: "/api/v1/studies/{study}/shipping-approvals", Summary: "Where kits may be shipped",
	Doc: "The green lights of countries and sites, countries first. They count where the protocol asks for green lights: then kits go to a " +
		"site that has its own, in a country that has its own.",
	OpenTo: access.StudyMembers, Reach: readmodels.ReachStudy, Views: []readmodels.View{ShippingApprovals},
}, ListShippingApprovals)

// ShippingApprovalsQuery asks for a study's green lights; empty fields do not narrow the list.
type ShippingApprovalsQuery struct {
	Study   domain.StudyID `path:"study" doc:"The study"`
	Site    domain.SiteID  `query:"site" doc:"Only this site"`
	Country string         `query:"country" doc:"Only this country, without its sites" example:"DE"`
	Status  ApprovalStatus `query:"status" doc:"Only green lights with this status"`
	AsOf    time.Time      `query:"asOf" doc:"As they were at this moment"`
	readmodels.Page
}

// ListShippingApprovals returns a page of a study's green lights.
func ListShippingApprovals(ctx context.Context, r readmodels.Request, q ShippingApprovalsQuery) (readmodels.List[ShippingApproval], error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "site", q.Site)
	filter, status := readmodels.Equal(filter, "country", q.Country), readmodels.Equal(nil, "status", q.Status)
	approvals := r.Store.Collection(ShippingApprovals)
	if q.AsOf.IsZero() {
		return readmodels.Listed(ctx, approvals, q.Page, append(filter, status...), shippingApprovalOrders)
	}
	return readmodels.ListedAsOf(ctx, approvals, q.Page, filter, shippingApprovalOrders, q.AsOf, status,
		func(a *ShippingApproval) (readmodels.History[ApprovalState], *ApprovalState) {
			return a.Past, &a.ApprovalState
		})
}
