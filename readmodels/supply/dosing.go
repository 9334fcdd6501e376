package supply

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// DosingCompliances is the view of how patients take their study drug, with one document per patient.
var DosingCompliances = readmodels.View{Name: "dosing-compliance", Version: 5, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "_id"),
	readmodels.IndexOn("study", "site", "_id"),
}}

// DosingDocument keeps what changed what a patient has taken, or should have. The figures follow from it.
type DosingDocument struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID `bson:"patient"`
	Study             domain.StudyID   `bson:"study"`
	// Site is the site that gave out a kit last; "" before the first.
	Site domain.SiteID `bson:"site"`
	// Steps have the newest last, at most maxDosingSteps.
	Steps []DosingStep `bson:"steps,omitempty"`
}

const maxDosingSteps = 1000

// DosingStep is a step with the moment at which it was recorded.
type DosingStep struct {
	At                time.Time `bson:"at"`
	supply.DosingStep `bson:",inline"`
}

// Take keeps one more step.
func (d *DosingDocument) Take(s DosingStep) {
	d.Steps = readmodels.LatestOf(append(d.Steps, s), maxDosingSteps)
	if s.What == supply.KitGiven {
		d.Site = s.Site
	}
}

// DosingCompliance says how a patient takes the study drug: doses taken divided by doses planned. It tells no arm, because the
// planned doses of a day are the same in all arms of a blinded study.
type DosingCompliance struct {
	readmodels.Header
	Patient   domain.PatientID `json:"patient" doc:"The patient"`
	Study     domain.StudyID   `json:"study" doc:"The study"`
	Site      domain.SiteID    `json:"site,omitempty" doc:"The site that gave out kits last; none before the first kit"`
	Planned   float64          `json:"planned" doc:"Doses planned in all intervals with a figure"`
	Taken     int              `json:"taken" doc:"Doses taken in them"`
	Percent   *float64         `json:"percent,omitempty" doc:"Taken divided by planned, in percent; left out while no interval has a figure"`
	Held      []HeldDose       `json:"held,omitempty" doc:"The times in which the dose was held; no doses are planned in them"`
	Intervals []DosingInterval `json:"intervals" doc:"The intervals from a dispensing until its kits came back, the newest last, at most 200"`
}

// HeldDose is a time in which a patient takes no study drug.
type HeldDose struct {
	From  domain.Date `json:"from" doc:"First day without study drug"`
	Until domain.Date `json:"until,omitempty" doc:"First day with study drug again; none while the dose is held"`
}

// DosingInterval is the time in which a patient used the kits of a visit.
type DosingInterval struct {
	Visit       string      `json:"visit,omitempty" doc:"The visit; none for the enrolment"`
	From        domain.Date `json:"from" doc:"Day on which the first kit was given out"`
	Until       domain.Date `json:"until,omitempty" doc:"Day on which the last of it came back, or the last day on which it was used; for a lost or damaged kit, the day on which that was reported"`
	DosesPerDay float64     `json:"dosesPerDay,omitempty" doc:"Doses planned each day"`
	Planned     float64     `json:"planned,omitempty" doc:"Doses planned in the interval"`
	Taken       int         `json:"taken" doc:"Doses taken, of the kits that are accounted for"`
	// Percent is left out as long as a kit is not accounted for.
	Percent *float64  `json:"percent,omitempty" doc:"Taken divided by planned, in percent; left out until all kits are accounted for"`
	Kits    []UsedKit `json:"kits" doc:"The kits"`
}

// UsedKit is a kit of an interval.
type UsedKit struct {
	Kit        supply.KitNumber `json:"kit" doc:"The kit"`
	Reconciled bool             `json:"reconciled" doc:"Whether its doses are accounted for"`
	Used       int              `json:"used" doc:"Doses that were taken"`
}

// Compliance returns what was known at a moment, zero for what is known now; false if the patient had no kit then.
func (d DosingDocument) Compliance(asOf time.Time) (c DosingCompliance, had bool) {
	c = DosingCompliance{Header: d.Header, Patient: d.Patient, Study: d.Study, Intervals: []DosingInterval{}}
	var is supply.Dosing
	for _, s := range d.Steps {
		if !asOf.IsZero() && s.At.After(asOf) {
			continue
		}
		if is = is.After(s.DosingStep); s.What == supply.KitGiven {
			c.Site = s.Site
		}
	}
	for _, h := range is.Held {
		c.Held = append(c.Held, HeldDose(h))
	}
	for _, visit := range is.Visits() {
		in, doses := is.Intervals[visit], is.Doses(visit)
		shown := DosingInterval{Visit: visit, From: in.From, Until: doses.Until, DosesPerDay: in.DosesPerDay, Planned: doses.Planned,
			Taken: doses.Taken}
		for _, kit := range slices.Sorted(maps.Keys(in.Kits)) {
			shown.Kits = append(shown.Kits, UsedKit{Kit: kit, Reconciled: in.Kits[kit].Reconciled, Used: in.Kits[kit].Used})
		}
		if doses.Known && doses.Planned > 0 {
			shown.Percent = percent(doses.Taken, doses.Planned)
			c.Planned, c.Taken = c.Planned+doses.Planned, c.Taken+doses.Taken
		}
		c.Intervals = append(c.Intervals, shown)
	}
	if c.Planned > 0 {
		c.Percent = percent(c.Taken, c.Planned)
	}
	return c, len(c.Intervals) > 0
}

// percent rounds to one decimal.
func percent(taken int, planned float64) *float64 {
	p := math.Round(1000*float64(taken)/planned) / 10
	return &p
}

var dosingOrders = []readmodels.Order[DosingDocument]{
	readmodels.Ascending("patient", func(d DosingDocument) []any { return []any{d.ID} }, "_id"),
}

// dosings and dosing are the queries of the dosing compliance of patients.
var (
	dosings = readmodels.Declare(readmodels.Query{
		Name: "DosingCompliance", Path: "/api/v1/studies/{study}/dosing-compliance", Summary: "How patients take their study drug",
		Doc:    "A line for each patient who was given a kit: doses taken and planned, in all and by interval.",
		OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{DosingCompliances},
	}, ListDosing)
	dosing = readmodels.Declare(readmodels.Query{
		Name: "PatientDosing", Path: "/api/v1/patients/{patient}/dosing", Summary: "How a patient takes the study drug",
		Doc:    "Doses taken and planned, from each dispensing until its kits came back.",
		OpenTo: access.ClinicalReaders, Reach: readmodels.ReachPatient, Views: []readmodels.View{DosingCompliances},
	}, LoadDosing)
)

// DosingComplianceQuery asks for the dosing compliance of a study's patients; empty fields do not narrow the list.
type DosingComplianceQuery struct {
	Study   domain.StudyID   `path:"study" doc:"The study"`
	Site    domain.SiteID    `query:"site" doc:"Only this site"`
	Patient domain.PatientID `query:"patient" doc:"Only this patient"`
	AsOf    time.Time        `query:"asOf" doc:"As it was known at this moment, and with a site, of patients who were and are there; a page may have fewer lines then"`
	readmodels.Page
}

// PatientDosingQuery asks for the dosing compliance of a patient.
type PatientDosingQuery struct {
	Patient domain.PatientID `path:"patient" doc:"The patient"`
	AsOf    time.Time        `query:"asOf" doc:"As it was known at this moment"`
}

// ListDosing returns a page of the dosing compliance of a study's patients.
func ListDosing(ctx context.Context, r readmodels.Request, q DosingComplianceQuery,
) (list readmodels.List[DosingCompliance], err error) {
	// Whoever names a site may see that site alone: who has left it is not shown as it was there.
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "site", q.Site)
	filter = readmodels.Equal(filter, "_id", q.Patient)
	documents, err := readmodels.Listed(ctx, r.Store.Collection(DosingCompliances), q.Page, filter, dosingOrders)
	if err != nil {
		return list, err
	}
	list.Next, list.Items = documents.Next, []DosingCompliance{}
	for _, d := range documents.Items {
		if was, had := d.Compliance(q.AsOf); had && (q.Site == "" || was.Site == q.Site) {
			list.Items = append(list.Items, was)
		}
	}
	return list, nil
}

// LoadDosing returns the dosing compliance of a patient. It has no intervals before the first kit.
func LoadDosing(ctx context.Context, r readmodels.Request, q PatientDosingQuery) (DosingCompliance, error) {
	d := DosingDocument{Study: q.Patient.Study(), Patient: q.Patient}
	err := r.Store.Collection(DosingCompliances).FindOne(ctx, bson.D{{Key: "_id", Value: string(q.Patient)}}).Decode(&d)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return DosingCompliance{}, err
	}
	// A dose can be held before the first kit, by which a document learns its study.
	if d.Study == "" {
		d.Study, d.Patient = q.Patient.Study(), q.Patient
	}
	c, _ := d.Compliance(q.AsOf)
	return c, nil
}
