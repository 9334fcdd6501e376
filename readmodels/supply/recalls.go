package supply

import (
	"context"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// recalls is the query of the kits that were recalled while patients had them. Which lot they are of may reveal the arm, and is not
// shown.
var recalls = readmodels.Declare(readmodels.Query{
	Name: "RecalledKits", Path: "/api/v1/studies/{study}/recalled-kits", Summary: "Recalled kits that patients have",
	Doc: "Each kit whose lot was recalled while a patient had it, with the patient and with what was done about it last. " +
		"A kit that came back, " +
		"or that is lost, is found by its status.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{KitInventories},
	Sort: readmodels.SortBy(recallOrders, "By number;"),
}, ListRecalledKits)

var recallOrders = kitOrders[:1]

// RecalledKitsQuery asks for the recalled kits that patients have; empty fields do not narrow the list.
type RecalledKitsQuery struct {
	Study  domain.StudyID      `path:"study" doc:"The study"`
	Site   domain.SiteID       `query:"site" doc:"Only kits that this site gave out"`
	Status supply.KitStatus    `query:"status" doc:"Only kits with this status; dispensed for those that patients still have"`
	Action supply.RecallAction `query:"action" doc:"Only kits about which this was done last"`
	readmodels.Page
}

// ListRecalledKits returns a page of the recalled kits that patients have or had.
func ListRecalledKits(ctx context.Context, r readmodels.Request, q RecalledKitsQuery) (readmodels.List[KitRow], error) {
	filter := bson.D{{Key: "study", Value: string(q.Study)}, {Key: "recalled", Value: true}}
	filter = readmodels.Equal(readmodels.Equal(filter, "given.site", q.Site), "recallAction", q.Action)
	filter = append(filter, readmodels.OneOrAny("status", q.Status, supply.KitStatuses))
	return readmodels.Listed(ctx, r.Store.Collection(KitInventories), q.Page, filter, recallOrders)
}
