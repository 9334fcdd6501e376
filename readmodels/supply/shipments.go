package supply

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Shipments is the view of shipments, with one document per shipment. All indexes contain the status: a list without a
// status asks for all five statuses, and the store merges them.
var Shipments = readmodels.View{Name: "shipments", Version: 1, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "status", "createdAt", "_id"),
	readmodels.IndexOn("study", "to", "status", "createdAt", "_id"),
	readmodels.IndexOn("study", "from", "status", "createdAt", "_id"),
}}

// Shipment is a shipment of kits from one place to another. By how many days it is late follows from DispatchedOn.
type Shipment struct {
	readmodels.Header `bson:",inline"`
	Shipment          supply.ShipmentID     `bson:"shipment" json:"shipment" doc:"The shipment"`
	Study             domain.StudyID        `bson:"study" json:"study" doc:"The study"`
	From              supply.LocationID     `bson:"from" json:"from" doc:"The location that sends it"`
	To                supply.LocationID     `bson:"to" json:"to" doc:"The location that receives it"`
	Kits              []supply.KitNumber    `bson:"kits" json:"kits" doc:"The kits, by number"`
	Status            supply.ShipmentStatus `bson:"status" json:"status" doc:"Status of the shipment"`
	Resupply          bool                  `bson:"resupply,omitempty" json:"resupply,omitempty" doc:"Whether a resupply rule made it and not a person"`
	Reason            string                `bson:"reason" json:"reason" doc:"Why it was made"`
	// The next fields say when each step was recorded, and the days that the places wrote down.
	CreatedAt    time.Time     `bson:"createdAt" json:"createdAt" doc:"When it was made"`
	CreatedBy    domain.UserID `bson:"createdBy" json:"createdBy" doc:"By whom"`
	DispatchedOn domain.Date   `bson:"dispatchedOn,omitempty" json:"dispatchedOn,omitempty" doc:"Day on which it was handed to the carrier"`
	Carrier      string        `bson:"carrier,omitempty" json:"carrier,omitempty" doc:"Carrier and reference"`
	ReceivedOn   domain.Date   `bson:"receivedOn,omitempty" json:"receivedOn,omitempty" doc:"Day of receipt"`
	EndedAt      *time.Time    `bson:"endedAt,omitempty" json:"endedAt,omitempty" doc:"When it was recorded as received, lost or cancelled"`
	EndedBy      domain.UserID `bson:"endedBy,omitempty" json:"endedBy,omitempty" doc:"By whom"`
	Excursion    bool          `bson:"excursion,omitempty" json:"excursion,omitempty" doc:"The temperature left its range on the way, or nobody knows whether it did"`
	Damaged      int           `bson:"damaged,omitempty" json:"damaged,omitempty" doc:"Kits that arrived damaged"`
	Missing      int           `bson:"missing,omitempty" json:"missing,omitempty" doc:"Kits that were not in it"`
	Quarantined  int           `bson:"quarantined,omitempty" json:"quarantined,omitempty" doc:"Kits that were set aside on receipt"`
	Note         string        `bson:"note,omitempty" json:"note,omitempty" doc:"What was seen on receipt, or why it is lost or was cancelled"`
}

// End records how the shipment ended.
func (s *Shipment) End(status supply.ShipmentStatus, note string, by domain.UserID, at time.Time) {
	s.Status, s.Note, s.EndedBy, s.EndedAt = status, note, by, &at
}

// ShipmentKey is the key of a shipment's document.
func ShipmentKey(study domain.StudyID, shipment supply.ShipmentID) string {
	return string(study) + "/" + string(shipment)
}

var shipmentOrders = []readmodels.Order[Shipment]{
	readmodels.Descending("newest", func(s Shipment) []any { return []any{s.CreatedAt.UTC(), s.ID} }, "createdAt", "_id"),
	readmodels.Ascending("oldest", func(s Shipment) []any { return []any{s.CreatedAt.UTC(), s.ID} }, "createdAt", "_id"),
}

// shipments is the query of a study's shipments.
var shipments = readmodels.Declare(readmodels.Query{
	Name: "Shipments", Path: "/api/v1/studies/{study}/shipments", Summary: "A study's shipments",
	Doc:    "What was sent from where to where, and how it arrived. Who may see one end of a way sees the shipment.",
	OpenTo: access.StudyMembers, Reach: readmodels.ReachStudy, Within: []string{"to", "from"}, Views: []readmodels.View{Shipments},
	Sort: readmodels.SortBy(shipmentOrders, "By when they were made;"),
}, ListShipments)

// ShipmentsQuery asks for a study's shipments; empty fields do not narrow the list.
type ShipmentsQuery struct {
	Study  domain.StudyID        `path:"study" doc:"The study"`
	To     supply.LocationID     `query:"to" doc:"Only shipments to this depot or site"`
	From   supply.LocationID     `query:"from" doc:"Only shipments from this depot or site"`
	Status supply.ShipmentStatus `query:"status" doc:"Only shipments with this status"`
	// OnTheWaySince finds the shipments that are overdue: dispatched on this day or before, and not there yet.
	OnTheWaySince domain.Date `query:"onTheWaySince" doc:"Only shipments that were dispatched on this day or before, and are neither received nor lost"`
	readmodels.Page
}

// ListShipments returns a page of a study's shipments.
func ListShipments(ctx context.Context, r readmodels.Request, q ShipmentsQuery) (readmodels.List[Shipment], error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "from", q.From)
	filter = readmodels.Equal(filter, "to", q.To)
	if q.OnTheWaySince != "" {
		if q.Status != "" && q.Status != supply.ShipmentOnItsWay {
			return readmodels.List[Shipment]{Items: []Shipment{}}, nil
		}
		q.Status = supply.ShipmentOnItsWay
		filter = append(filter, bson.E{Key: "dispatchedOn", Value: bson.D{{Key: "$lte", Value: string(q.OnTheWaySince)}}})
	}
	filter = append(filter, readmodels.OneOrAny("status", q.Status, supply.ShipmentStatuses))
	return readmodels.Listed(ctx, r.Store.Collection(Shipments), q.Page, filter, shipmentOrders)
}
