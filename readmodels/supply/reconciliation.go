package supply

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// AccountedKit is a line of the reconciliation sheet: a kit of a patient, and what became of its doses.
type AccountedKit struct {
	readmodels.Header `bson:",inline"`
	Kit               supply.KitNumber `bson:"kit" json:"kit" doc:"The kit's number"`
	Patient           domain.PatientID `bson:"-" json:"patient" doc:"The patient"`
	Site              domain.SiteID    `bson:"-" json:"site" doc:"The site that gave it out, or keeps it for the patient"`
	AccountedState    `bson:",inline"`
	Reconciled        bool                               `bson:"-" json:"reconciled" doc:"Whether its doses are accounted for, or it was never given out and set aside"`
	Past              readmodels.History[AccountedState] `bson:"past" json:"-"`
}

// AccountedState is what a KitState tells of a patient's kit.
type AccountedState struct {
	Given       Given            `bson:"given" json:"-"`
	Visit       string           `bson:"visit,omitempty" json:"visit,omitempty" doc:"For which visit; none for the kit of the enrolment"`
	Status      supply.KitStatus `bson:"status" json:"status" doc:"Status of the kit"`
	DispensedOn domain.Date      `bson:"dispensedOn,omitempty" json:"dispensedOn,omitempty" doc:"Day on which the patient was given it"`
	BackOn      domain.Date      `bson:"backOn,omitempty" json:"backOn,omitempty" doc:"Day on which some of it came back last"`
	Count       int              `bson:"reconciled,omitempty" json:"-"`
	Returned    int              `bson:"returned,omitempty" json:"returned" doc:"Doses that came back, as the site counted them"`
	Used        int              `bson:"used,omitempty" json:"used" doc:"Doses that were taken"`
	Lost        int              `bson:"lost,omitempty" json:"lost" doc:"Doses that nobody can account for"`
	Unknown     bool             `bson:"-" json:"unknown,omitempty" doc:"How the kit stood at the moment is not remembered any more; the patient and site are those of the present"`
}

// Forgotten implements readmodels.Forgetful.
func (s AccountedState) Forgotten() AccountedState {
	return AccountedState{Given: s.Given, Unknown: true}
}

var sheetOrders = []readmodels.Order[AccountedKit]{readmodels.Ascending("patient", func(k AccountedKit) []any {
	return []any{string(k.Given.Patient), string(k.Given.Site), k.ID}
}, "given.patient", "given.site", "_id")}

// reconciliation is the query of the reconciliation sheet.
var reconciliation = readmodels.Declare(readmodels.Query{
	Name: "Reconciliation", Path: "/api/v1/studies/{study}/reconciliation", Summary: "The reconciliation sheet, kit by kit",
	Doc: "A line for each kit that was allocated to a patient, with the doses that came back, were taken and are lost, by patient and " +
		"site. What a kit holds is not shown.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{KitInventories},
}, ListReconciliation)

// ReconciliationQuery asks for the reconciliation sheet; empty fields do not narrow it.
type ReconciliationQuery struct {
	Study   domain.StudyID   `path:"study" doc:"The study"`
	Site    domain.SiteID    `query:"site" doc:"Only this site"`
	Patient domain.PatientID `query:"patient" doc:"Only this patient"`
	AsOf    time.Time        `query:"asOf" doc:"As it was at this moment"`
	readmodels.Page
}

// ListReconciliation returns a page of the reconciliation sheet.
func ListReconciliation(ctx context.Context, r readmodels.Request, q ReconciliationQuery) (list readmodels.List[AccountedKit], err error) {
	given := readmodels.Equal(nil, "given.site", q.Site)
	if q.Patient != "" {
		given = readmodels.Equal(given, "given.patient", q.Patient)
	} else {
		given = append(given, bson.E{Key: "given.patient", Value: bson.D{{Key: "$gt", Value: ""}}}) // those that somebody got
	}
	filter, kits := append(bson.D{{Key: "study", Value: string(q.Study)}}, given...), r.Store.Collection(KitInventories)
	if q.AsOf.IsZero() {
		list, err = readmodels.Listed(ctx, kits, q.Page, filter, sheetOrders)
	} else {
		list, err = readmodels.ListedAsOf(ctx, kits, q.Page, filter, sheetOrders, q.AsOf, given,
			func(k *AccountedKit) (readmodels.History[AccountedState], *AccountedState) {
				return k.Past, &k.AccountedState
			})
	}
	for i := range list.Items {
		k := &list.Items[i]
		k.Patient, k.Site, k.Reconciled = k.Given.Patient, domain.SiteID(k.Given.Site), k.Count > 0
	}
	return list, err
}
