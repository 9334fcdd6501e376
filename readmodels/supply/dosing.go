package supply

import (
	"context"
	"errors"
	"math"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// DosingCompliances is the view of how patients take their study drug, with one document per patient.
var DosingCompliances = readmodels.View{Name: "dosing-compliance", Version: 3, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "_id"),
	readmodels.IndexOn("study", "site", "_id"),
}}

// maxIntervals bounds the newest intervals that a document holds; a patient has about a dozen.
const maxIntervals = 200

// DosingCompliance says how a patient takes the study drug: doses taken divided by doses planned. It tells no arm, because the
// planned doses of a day are the same in all arms of a blinded study.
type DosingCompliance struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID    `bson:"site" json:"site,omitempty" doc:"The site that gave out kits last; none before the first kit"`
	Planned           float64          `bson:"planned" json:"planned" doc:"Doses planned in all intervals with a figure"`
	Taken             int              `bson:"taken" json:"taken" doc:"Doses taken in them"`
	Percent           *float64         `bson:"percent,omitempty" json:"percent,omitempty" doc:"Taken divided by planned, in percent; left out while no interval has a figure"`
	// Held are the times in which the dose was held.
	Held      []HeldDose       `bson:"held,omitempty" json:"held,omitempty" doc:"The times in which the dose was held; no doses are planned in them"`
	Intervals []DosingInterval `bson:"intervals" json:"intervals" doc:"The intervals from a dispensing until its kits came back, the newest last, at most 200"`
	// Steps are what it follows from, the newest last, at most maxDosingSteps.
	Steps []DosingStep `bson:"steps,omitempty" json:"-"`
}

const maxDosingSteps = 1000

// DosingStep is something that changes what a patient has taken, or should have.
type DosingStep struct {
	// At is when it was recorded, and On the day that it is about.
	At   time.Time      `bson:"at"`
	What DosingStepKind `bson:"what"`
	On   domain.Date    `bson:"on,omitempty"`
	// Kit is the kit, for the visit and with the doses that are planned each day from the day on which the site gave it out, and Used how
	// many of its doses were taken.
	Kit         supply.KitNumber `bson:"kit,omitempty"`
	Visit       string           `bson:"visit,omitempty"`
	Site        domain.SiteID    `bson:"site,omitempty"`
	DosesPerDay float64          `bson:"dosesPerDay,omitempty"`
	Used        int              `bson:"used,omitempty"`
}

// DosingStepKind is what a step is.
type DosingStepKind string

// The kinds of steps: a kit is given out, comes back in whole or in part or is lost, is counted, or is found again; the dose is held, and
// goes on.
const (
	KitGiven    DosingStepKind = "given"
	KitBack     DosingStepKind = "back"
	KitCounted  DosingStepKind = "counted"
	KitThere    DosingStepKind = "found"
	DoseHeld    DosingStepKind = "held"
	DoseResumed DosingStepKind = "resumed"
)

// Take follows a step, and keeps it.
func (d *DosingCompliance) Take(s DosingStep) {
	d.Steps = readmodels.LatestOf(append(d.Steps, s), maxDosingSteps)
	d.follow(s)
	d.compute()
}

func (d *DosingCompliance) follow(s DosingStep) {
	switch s.What {
	case KitGiven:
		d.Site = s.Site
		d.given(s)
	case KitBack:
		d.ofKit(s.Kit, func(k *UsedKit) { k.Back = max(k.Back, s.On) })
	case KitCounted:
		d.ofKit(s.Kit, func(k *UsedKit) { k.Reconciled, k.Used = true, s.Used })
	case KitThere:
		d.ofKit(s.Kit, func(k *UsedKit) { *k = UsedKit{Kit: s.Kit} })
	case DoseHeld:
		d.Held = readmodels.LatestOf(append(d.Held, HeldDose{From: s.On}), maxIntervals)
	case DoseResumed:
		if last := len(d.Held) - 1; last >= 0 {
			d.Held[last].Until = s.On
		}
	}
}

// asOf returns what was known at a moment; false if the patient had no kit then.
func (d DosingCompliance) asOf(moment time.Time) (was DosingCompliance, had bool) {
	was = DosingCompliance{Header: d.Header, Patient: d.Patient, Study: d.Study, Intervals: []DosingInterval{}}
	for _, s := range d.Steps {
		if !s.At.After(moment) {
			was.follow(s)
		}
	}
	was.compute()
	return was, len(was.Intervals) > 0
}

// HeldDose is a time in which a patient takes no study drug.
type HeldDose struct {
	From  domain.Date `bson:"from" json:"from" doc:"First day without study drug"`
	Until domain.Date `bson:"until,omitempty" json:"until,omitempty" doc:"First day with study drug again; none while the dose is held"`
}

// days returns the days from a day before another on which doses are planned.
func (d *DosingCompliance) days(from, until domain.Date) int {
	n := max(0, until.DaysSince(from))
	for _, h := range d.Held {
		end := until
		if h.Until != "" {
			end = min(until, h.Until)
		}
		n -= max(0, end.DaysSince(max(from, h.From)))
	}
	return max(0, n)
}

// DosingInterval is the time in which a patient used the kits of a visit.
type DosingInterval struct {
	Visit       string      `bson:"visit,omitempty" json:"visit,omitempty" doc:"The visit; none for the enrolment"`
	From        domain.Date `bson:"from" json:"from" doc:"Day on which the first kit was given out"`
	Until       domain.Date `bson:"until,omitempty" json:"until,omitempty" doc:"Day on which the last of it came back, or the last day on which it was used; for a lost or damaged kit, the day on which that was reported"`
	DosesPerDay float64     `bson:"dosesPerDay,omitempty" json:"dosesPerDay,omitempty" doc:"Doses planned each day"`
	Planned     float64     `bson:"planned,omitempty" json:"planned,omitempty" doc:"Doses planned in the interval"`
	Taken       int         `bson:"taken" json:"taken" doc:"Doses taken, of the kits that are accounted for"`
	// Percent is left out as long as a kit is not accounted for.
	Percent *float64  `bson:"percent,omitempty" json:"percent,omitempty" doc:"Taken divided by planned, in percent; left out until all kits are accounted for"`
	Kits    []UsedKit `bson:"kits" json:"kits" doc:"The kits"`
}

// UsedKit is a kit of an interval.
type UsedKit struct {
	Kit        supply.KitNumber `bson:"kit" json:"kit" doc:"The kit"`
	Reconciled bool             `bson:"reconciled,omitempty" json:"reconciled" doc:"Whether its doses are accounted for"`
	Used       int              `bson:"used,omitempty" json:"used" doc:"Doses that were taken"`
	// Back is the day until which it was used; "" as long as it has not come back.
	Back domain.Date `bson:"back,omitempty" json:"-"`
}

// given adds a kit that was given out.
func (d *DosingCompliance) given(s DosingStep) {
	for i := range d.Intervals {
		if in := &d.Intervals[i]; in.Visit == s.Visit {
			in.Kits = append(in.Kits, UsedKit{Kit: s.Kit})
			in.From, in.DosesPerDay = min(in.From, s.On), max(in.DosesPerDay, s.DosesPerDay)
			return
		}
	}
	d.Intervals = readmodels.LatestOf(append(d.Intervals, DosingInterval{Visit: s.Visit, From: s.On, DosesPerDay: s.DosesPerDay,
		Kits: []UsedKit{{Kit: s.Kit}}}), maxIntervals)
}

func (d *DosingCompliance) ofKit(kit supply.KitNumber, change func(*UsedKit)) {
	for i := range d.Intervals {
		for j := range d.Intervals[i].Kits {
			if k := &d.Intervals[i].Kits[j]; k.Kit == kit {
				change(k)
			}
		}
	}
}

// compute computes the figures of the intervals and of the patient.
func (d *DosingCompliance) compute() {
	d.Planned, d.Taken = 0, 0
	for i := range d.Intervals {
		in := &d.Intervals[i]
		in.Until, in.Taken, in.Planned, in.Percent = "", 0, 0, nil
		all := true
		for _, k := range in.Kits {
			in.Until, in.Taken = max(in.Until, k.Back), in.Taken+k.Used
			all = all && k.Reconciled
		}
		all = all && in.Until != ""
		if in.Until != "" {
			in.Planned = in.DosesPerDay * float64(d.days(in.From, in.Until))
		}
		if all && in.Planned > 0 {
			in.Percent = percent(in.Taken, in.Planned)
			d.Planned, d.Taken = d.Planned+in.Planned, d.Taken+in.Taken
		}
	}
	d.Percent = nil
	if d.Planned > 0 {
		d.Percent = percent(d.Taken, d.Planned)
	}
}

// percent rounds to one decimal.
func percent(taken int, planned float64) *float64 {
	p := math.Round(1000*float64(taken)/planned) / 10
	return &p
}

var dosingOrders = []readmodels.Order[DosingCompliance]{
	readmodels.Ascending("patient", func(d DosingCompliance) []any { return []any{d.ID} }, "_id"),
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
	list, err = readmodels.Listed(ctx, r.Store.Collection(DosingCompliances), q.Page, filter, dosingOrders)
	if err != nil || q.AsOf.IsZero() {
		return list, err
	}
	then := list.Items[:0]
	for _, d := range list.Items {
		if was, had := d.asOf(q.AsOf); had && (q.Site == "" || was.Site == q.Site) {
			then = append(then, was)
		}
	}
	list.Items = then
	return list, nil
}

// LoadDosing returns the dosing compliance of a patient. It has no intervals before the first kit.
func LoadDosing(ctx context.Context, r readmodels.Request, q PatientDosingQuery) (d DosingCompliance, err error) {
	err = r.Store.Collection(DosingCompliances).FindOne(ctx, bson.D{{Key: "_id", Value: string(q.Patient)}}).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) || err == nil && d.Study == "" { // a dose can be held before the first kit
		return DosingCompliance{Study: q.Patient.Study(), Patient: q.Patient, Intervals: []DosingInterval{}}, nil
	}
	if err == nil && !q.AsOf.IsZero() {
		d, _ = d.asOf(q.AsOf)
	}
	return d, err
}
