package supply

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// recalls is the query of the kits that were recalled while patients had them. Which lot they are of may reveal the arm, and is not
// shown.
var recalls = readmodels.Declare(readmodels.Query{
	Name: "RecalledKits", Path: "/api/v1/studies/{study}/recalled-kits", Summary: "Recalled kits that patients have",
	Doc: "Each kit whose lot was recalled while a patient had it, with the patient and with what was done about it last. " +
		"A kit that came back, or that is lost, is found by its status. " + readmodels.PatientsLeftOut,
	OpenTo: access.To(access.ClinicalReaders, access.UnblindedSupply), Reach: readmodels.ReachStudy,
	Views: []readmodels.View{KitInventories, patientviews.PatientLists},
	Sort:  readmodels.SortBy(recallOrders, "By number;"),
}, ListRecalledKits)

// recallActionAsked is an action of a recall, or noRecallAction.
type recallActionAsked supply.RecallAction

// noRecallAction asks for the kits about which nothing was done yet: whose patients wait to be told.
const noRecallAction recallActionAsked = "none"

// Schema implements domain.HasSchema.
func (recallActionAsked) Schema() domain.Schema {
	all := []recallActionAsked{noRecallAction}
	for _, a := range supply.RecallActions {
		all = append(all, recallActionAsked(a))
	}
	return domain.OneOf(all...)
}

var recallOrders = kitOrders[:1]

// RecalledKitsQuery asks for the recalled kits that patients have; empty fields do not narrow the list.
type RecalledKitsQuery struct {
	Study  domain.StudyID    `path:"study" doc:"The study"`
	Site   domain.SiteID     `query:"site" doc:"Only kits of patients who are at this site now, wherever they got them"`
	Status supply.KitStatus  `query:"status" doc:"Only kits with this status; dispensed for those that patients still have"`
	Action recallActionAsked `query:"action" doc:"Only kits about which this was done last; none for those about which nothing was done"`
	AsOf   time.Time         `query:"asOf" doc:"As they were at this moment; with a site, kits of patients who were and are there"`
	readmodels.Page
}

// ListRecalledKits returns a page of the recalled kits that patients have or had.
func ListRecalledKits(ctx context.Context, r readmodels.Request, q RecalledKitsQuery) (list readmodels.List[KitRow], err error) {
	known := r.MayKnowPatients(q.Study, q.Site)
	if q.Action != "" && !known { // it would be known by asking for one after another
		return list, nil
	}
	wanted := bson.D{{Key: "recalled", Value: true}}
	if q.Action == noRecallAction {
		wanted = append(wanted, bson.E{Key: "recallAction", Value: nil}) // it is left out of the documents
	} else {
		wanted = readmodels.Equal(wanted, "recallAction", supply.RecallAction(q.Action))
	}
	if q.Site != "" {
		there, err := patientsAt(ctx, r, q.Study, q.Site, q.AsOf)
		if err != nil || len(there) == 0 {
			return list, err
		}
		wanted = append(wanted, readmodels.OneOf("patient", there))
	}
	filter, kits := bson.D{{Key: "study", Value: string(q.Study)}}, r.Store.Collection(KitInventories)
	if q.AsOf.IsZero() {
		wanted = append(wanted, readmodels.OneOrAny("status", q.Status, supply.KitStatuses))
		list, err = readmodels.Listed(ctx, kits, q.Page, append(filter, wanted...), recallOrders)
	} else {
		filter = append(filter, bson.E{Key: "wasRecalled", Value: true})
		list, err = readmodels.ListedAsOf(ctx, kits, q.Page, filter, recallOrders, q.AsOf, readmodels.Equal(wanted, "status", q.Status),
			func(k *KitRow) (readmodels.History[KitState], *KitState) { return k.Past, &k.KitState })
	}
	if !known {
		for i := range list.Items {
			list.Items[i].WithoutPatient()
		}
	}
	return list, err
}

// patientsAt lists the patients who are at a site now and, if a moment is given, were there at that moment: nobody who has come from
// another site is shown as she was there.
func patientsAt(ctx context.Context, r readmodels.Request, study domain.StudyID, site domain.SiteID, moment time.Time,
) ([]domain.PatientID, error) {
	filter := bson.D{{Key: "study", Value: string(study)}, {Key: "site", Value: string(site)}}
	if !moment.IsZero() {
		filter = append(filter, readmodels.WasAt("sites", moment, bson.E{Key: "state", Value: string(site)}))
	}
	found, err := r.Store.Collection(patientviews.PatientLists).Find(ctx, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, err
	}
	var rows []readmodels.Header
	if err := found.All(ctx, &rows); err != nil {
		return nil, err
	}
	all := make([]domain.PatientID, len(rows))
	for i, row := range rows {
		all[i] = domain.PatientID(row.ID)
	}
	return all, nil
}
