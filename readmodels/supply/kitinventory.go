package supply

import (
	"context"
	"errors"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/supply"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// KitInventories is the view of kits, with one document per kit. It shows what blinded people may see: a kit that is held
// for a draw is shown as available, and nothing reveals what a kit contains. The view has one more document per shipment,
// with the shipment's kits, because the events of dispatch and cancellation do not name the kits. Its study is empty, so
// that no query finds it.
var KitInventories = readmodels.View{Name: "kit-inventory", Version: 7, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "_id"),
	readmodels.IndexOn("study", "location", "_id"),
	readmodels.IndexOn("study", "status", "_id"),
	readmodels.IndexOn("study", "location", "status", "_id"),
	readmodels.IndexOn("study", "status", "updatedAt", "_id"),
	readmodels.IndexOn("study", "location", "status", "updatedAt", "_id"),
	readmodels.IndexOn("study", "recalled", "status", "_id"),
	readmodels.IndexOn("study", "wasRecalled", "_id"),
	readmodels.IndexOn("study", "given.patient", "given.site", "_id"),
	readmodels.IndexOn("study", "given.site", "given.patient", "_id"),
}}

// maxCustody bounds the newest entries of the chain of custody that a document holds; a kit has about a dozen.
const maxCustody = 200

// KitRow is a line of a list of kits.
type KitRow struct {
	readmodels.Header `bson:",inline"`
	Kit               supply.KitNumber `bson:"kit" json:"kit" doc:"The kit's number"`
	Study             domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	KitState          `bson:",inline"`
	// Past are the states that it had, and WasRecalled says whether it was recalled in one of them while a patient had it.
	Past        readmodels.History[KitState] `bson:"past,omitempty" json:"-"`
	WasRecalled bool                         `bson:"wasRecalled,omitempty" json:"-"`
}

// KitState is where a kit is, and how it stands.
type KitState struct {
	Location supply.LocationID `bson:"location" json:"location" doc:"The depot or site that holds it; until a shipment has arrived, its sender"`
	Status   supply.KitStatus  `bson:"status" json:"status" doc:"Status of the kit"`
	Shipment supply.ShipmentID `bson:"shipment,omitempty" json:"shipment,omitempty" doc:"The shipment that it is packed for, or on its way with"`
	Patient  domain.PatientID  `bson:"patient,omitempty" json:"patient,omitempty" doc:"To whom it was allocated, for callers who may read clinical data"`
	Visit    string            `bson:"visit,omitempty" json:"visit,omitempty" doc:"For which visit; none for the kit of the enrolment"`
	// Recalled says that its lot was recalled while the patient had it.
	Recalled     bool                `bson:"recalled,omitempty" json:"recalled,omitempty" doc:"Its lot was recalled while the patient had it"`
	RecallAction supply.RecallAction `bson:"recallAction,omitempty" json:"recallAction,omitempty" doc:"What was done about it last, for callers who may read clinical data"`
	// Replaced says that the patient got another kit instead.
	Replaced  bool      `bson:"replaced,omitempty" json:"replaced,omitempty" doc:"Its patient got another kit instead"`
	UpdatedAt time.Time `bson:"updatedAt" json:"updatedAt" doc:"When the newest of these facts was recorded"`
	// Unknown says that the state at a moment of the past is not remembered any more. Where it was then is not known either.
	Unknown bool `bson:"-" json:"unknown,omitempty" doc:"How the kit stood at the moment is not remembered any more; nothing else is said of it"`
	KitUse  `bson:",inline" json:"-"`
}

// Forgotten implements readmodels.Forgetful.
func (KitState) Forgotten() KitState { return KitState{Unknown: true} }

// KitUse is what a patient did with a kit. It is only shown in the accountability, because the sum of the doses may reveal the arm.
type KitUse struct {
	// Given is the group in which the kit is accounted for.
	Given *Given `bson:"given,omitempty" json:"-"`
	// Dispensed, CameBack and Reconciled are 1 or 0, so that they can be summed.
	Dispensed  int `bson:"dispensed,omitempty" json:"-"`
	CameBack   int `bson:"cameBack,omitempty" json:"-"`
	Reconciled int `bson:"reconciled,omitempty" json:"-"`
	Returned   int `bson:"returned,omitempty" json:"-"`
	Used       int `bson:"used,omitempty" json:"-"`
	Lost       int `bson:"lost,omitempty" json:"-"`
	// DispensedOn and BackOn are the days on which the patient was given it, and gave some of it back last.
	DispensedOn domain.Date `bson:"dispensedOn,omitempty" json:"-"`
	BackOn      domain.Date `bson:"backOn,omitempty" json:"-"`
}

// WithoutPatient removes the patient from the line, for callers who must not read clinical data.
func (k *KitRow) WithoutPatient() { k.Patient, k.Visit, k.RecallAction = "", "", "" }

// Kit is a kit with its chain of custody.
type Kit struct {
	KitRow  `bson:",inline"`
	Custody []Custody `bson:"custody" json:"custody" doc:"What happened to it, the newest last, at most 200"`

	// Packed is the status before the kit was set aside for a shipment, Before the status before its quarantine.
	Packed supply.KitStatus `bson:"packed,omitempty" json:"-"`
	Before supply.KitStatus `bson:"before,omitempty" json:"-"`
	// Where is the group in which the kit is counted.
	Where LocationStatus `bson:"stands" json:"-"`
	// Shipped holds the keys of the kits, in the document of a shipment.
	Shipped []string `bson:"shipped,omitempty" json:"-"`
}

// LocationStatus is the location and the status of a kit.
type LocationStatus struct {
	Location supply.LocationID `bson:"location"`
	Status   supply.KitStatus  `bson:"status"`
}

// Given is the patient to whom a kit was allocated, and the site.
type Given struct {
	Patient domain.PatientID  `bson:"patient"`
	Site    supply.LocationID `bson:"site"`
}

// Members returns the keys of a shipment's kits; none if the document is that of a kit.
func (k *Kit) Members() []string { return k.Shipped }

// Custody is an entry of a chain of custody.
type Custody struct {
	What       string            `bson:"what" json:"what" doc:"The event's name"`
	At         supply.LocationID `bson:"at" json:"at" doc:"The location where it happened"`
	On         domain.Date       `bson:"on,omitempty" json:"on,omitempty" doc:"The day it happened, as the location wrote it"`
	Shipment   supply.ShipmentID `bson:"shipment,omitempty" json:"shipment,omitempty" doc:"The shipment"`
	Patient    domain.PatientID  `bson:"patient,omitempty" json:"patient,omitempty" doc:"The patient, for callers who may read clinical data"`
	Note       string            `bson:"note,omitempty" json:"note,omitempty" doc:"What else was recorded"`
	By         domain.UserID     `bson:"by" json:"by" doc:"Who recorded it"`
	RecordedAt time.Time         `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// Note adds an entry to the chain of custody, and remembers the state, after all else of the kit has been changed. Once a kit has a
// patient, its entries name the patient.
func (k *Kit) Note(c Custody) {
	c.Patient = k.Patient
	k.Custody = readmodels.LatestOf(append(k.Custody, c), maxCustody)
	k.Where, k.UpdatedAt = LocationStatus{k.Location, k.Status}, c.RecordedAt
	k.Past, k.WasRecalled = k.Past.Since(c.RecordedAt, k.KitState), k.WasRecalled || k.Recalled
}

// WithoutPatient removes the patient from the kit, for callers who must not read clinical data. It also removes what people
// wrote while a patient had the kit, because that may identify the patient.
func (k *Kit) WithoutPatient() {
	k.KitRow.WithoutPatient()
	for i := range k.Custody {
		if c := &k.Custody[i]; c.Patient != "" {
			c.Patient, c.Note = "", ""
		}
	}
}

// KitKey is the key of a kit's document.
func KitKey(study domain.StudyID, kit supply.KitNumber) string {
	return string(study) + "/" + string(kit)
}

// ShippedKey is the key of the document with the kits of a shipment. It differs from every KitKey, because the number of a
// kit contains no slash.
func ShippedKey(study domain.StudyID, shipment supply.ShipmentID) string {
	return string(study) + "/shipment/" + string(shipment)
}

// changed is the order that begins with the kits that have changed last.
const changed = "changed"

var kitOrders = []readmodels.Order[KitRow]{
	readmodels.Ascending("number", func(k KitRow) []any { return []any{k.ID} }, "_id"),
	readmodels.Descending(changed, func(k KitRow) []any { return []any{k.UpdatedAt.UTC(), k.ID} }, "updatedAt", "_id"),
}

// kits and kit are the queries of a study's kits and of one kit. Neither shows expiry dates, which may differ between arms.
var (
	kits = readmodels.Declare(readmodels.Query{
		Name: "Kits", Path: "/api/v1/studies/{study}/kits", Summary: "A study's kits",
		Doc: "Where each kit is and how it stands, as blinded people may see it: a kit that is held for a draw is available. " +
			readmodels.PatientsLeftOut,
		OpenTo: access.StudyMembers, Reach: readmodels.ReachStudy, Within: []string{"location"},
		Views: []readmodels.View{KitInventories}, Sort: readmodels.SortBy(kitOrders, "By number, or the last to change in front;"),
	}, ListKits)
	kit = readmodels.Declare(readmodels.Query{
		Name: "Kit", Path: "/api/v1/studies/{study}/kits/{kit}", Summary: "A kit and its chain of custody",
		Doc:    "Callers who see single sites get the kits that are there. " + readmodels.PatientsLeftOut,
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, Views: []readmodels.View{KitInventories},
	}, LoadKit)
)

// KitsQuery asks for a study's kits; empty fields do not narrow the list.
type KitsQuery struct {
	Study    domain.StudyID    `path:"study" doc:"The study"`
	Location supply.LocationID `query:"location" doc:"Only kits in the hands of this depot or site"`
	Status   supply.KitStatus  `query:"status" doc:"Only kits with this status"`
	Patient  domain.PatientID  `query:"patient" doc:"Only kits of this patient; none for callers who may not read clinical data"`
	AsOf     time.Time         `query:"asOf" doc:"As they were at this moment, in the order of the present; callers who see single sites get those that were and are there"`
	readmodels.Page
}

// KitQuery asks for one kit.
type KitQuery struct {
	Study domain.StudyID   `path:"study" doc:"The study"`
	Kit   supply.KitNumber `path:"kit" doc:"The kit's number"`
}

// ListKits returns a page of a study's kits.
func ListKits(ctx context.Context, r readmodels.Request, q KitsQuery) (list readmodels.List[KitRow], err error) {
	if q.Patient != "" && !r.MayKnowPatients(q.Study, domain.SiteID(q.Location)) { // it would be known by asking for one after another
		return list, nil
	}
	filter := bson.D{{Key: "study", Value: string(q.Study)}}
	if !q.AsOf.IsZero() {
		return listKitsAsOf(ctx, r, q, filter)
	}
	filter = readmodels.Equal(readmodels.Equal(filter, "location", q.Location), "patient", q.Patient)
	switch {
	case q.Patient != "": // who has a kit is also in given, which has an index, and stays there when the kit is put back
		filter = append(filter, bson.E{Key: "given.patient", Value: string(q.Patient)})
		list, err = readmodels.ListedFew(ctx, r.Store.Collection(KitInventories), q.Page, readmodels.Equal(filter, "status", q.Status), kitOrders)
	case q.Sort == changed:
		filter = append(filter, readmodels.OneOrAny("status", q.Status, supply.KitStatuses))
		list, err = readmodels.Listed(ctx, r.Store.Collection(KitInventories), q.Page, filter, kitOrders)
	default:
		filter = readmodels.Equal(filter, "status", q.Status)
		list, err = readmodels.Listed(ctx, r.Store.Collection(KitInventories), q.Page, filter, kitOrders)
	}
	for i := range list.Items {
		if k := &list.Items[i]; !r.MayKnowPatients(q.Study, domain.SiteID(k.Location)) {
			k.WithoutPatient()
		}
	}
	return list, err
}

// listKitsAsOf is ListKits for a moment of the past. Whoever is bound to sites is not shown as it was there what has left them. The patient
// is shown to callers who may read clinical data both where the kit was and where it is.
func listKitsAsOf(ctx context.Context, r readmodels.Request, q KitsQuery, filter bson.D) (list readmodels.List[KitRow], err error) {
	if sites, whole := r.Caller.Sites(access.StudyMembers, q.Study); !whole {
		filter = append(filter, readmodels.OneOf("location", sites))
	}
	if q.Sort == changed {
		filter = append(filter, readmodels.OneOf("status", supply.KitStatuses))
	}
	is := map[string]supply.LocationID{}
	list, err = readmodels.ListedAsOf(ctx, r.Store.Collection(KitInventories), q.Page, filter, kitOrders, q.AsOf,
		readmodels.Equal(readmodels.Equal(readmodels.Equal(nil, "location", q.Location), "status", q.Status), "patient", q.Patient),
		func(k *KitRow) (readmodels.History[KitState], *KitState) {
			is[k.ID] = k.Location
			return k.Past, &k.KitState
		})
	for i := range list.Items {
		k := &list.Items[i]
		if !r.MayKnowPatients(q.Study, domain.SiteID(k.Location)) || !r.MayKnowPatients(q.Study, domain.SiteID(is[k.ID])) {
			k.WithoutPatient()
		}
	}
	return list, err
}

// LoadKit returns a kit with its chain of custody; it refuses kit_not_found.
func LoadKit(ctx context.Context, r readmodels.Request, q KitQuery) (Kit, error) {
	var k Kit
	err := r.Store.Collection(KitInventories).FindOne(ctx, bson.D{{Key: "_id", Value: KitKey(q.Study, q.Kit)}}).Decode(&k)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return k, refuse.NotFound("kit_not_found", "study %s has no kit %s", q.Study, q.Kit).At("kit").Do("check the number on the label")
	}
	if err != nil {
		return k, err
	}
	at := domain.SiteID(k.Location)
	if err := r.MustSee(ctx, q.Study, at); err != nil {
		return Kit{}, err
	}
	if !r.MayKnowPatients(q.Study, at) {
		k.WithoutPatient()
	}
	return k, nil
}
