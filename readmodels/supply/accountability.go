package supply

import (
	"cmp"
	"context"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Accountability counts the kits that a depot or site is accountable for. The query counts them in the view of kits. Counters
// in a view of its own would need the former status of every kit, because the events do not say it.
type Accountability struct {
	Location supply.LocationID        `json:"location" doc:"The depot or site"`
	Kits     int                      `json:"kits" doc:"Kits that it has to account for, whatever happened to them there"`
	Statuses map[supply.KitStatus]int `json:"statuses" doc:"Number of them by status"`
}

// PatientAccountability accounts for the kits that a site gave to a patient (ICH E6(R3) 3.15.3(c)).
type PatientAccountability struct {
	Patient    domain.PatientID  `bson:"patient" json:"patient" doc:"The patient"`
	Site       supply.LocationID `bson:"site" json:"site" doc:"The site that gave them out"`
	Allocated  int               `bson:"allocated" json:"allocated" doc:"Kits allocated to the patient"`
	Dispensed  int               `bson:"dispensed" json:"dispensed" doc:"Of them handed to the patient"`
	CameBack   int               `bson:"cameBack" json:"cameBack" doc:"Of them taken back from the patient"`
	Reconciled int               `bson:"reconciled" json:"reconciled" doc:"Of them accounted for, or never given out and set aside"`
	Returned   int               `bson:"returned" json:"returned" doc:"Doses that came back, as the site counted them"`
	Used       int               `bson:"used" json:"used" doc:"Doses that were taken"`
	Lost       int               `bson:"lost" json:"lost" doc:"Doses that nobody can account for"`
}

// AccountabilityList is the accountability of depots and sites.
type AccountabilityList struct {
	Items []Accountability `json:"items" doc:"The depots and sites that have kits, by id"`
}

// accountability and accountabilityByPatient are the queries of accountability, by place and by patient.
var (
	accountability = readmodels.Declare(readmodels.Query{
		Name: "Accountability", Path: "/api/v1/studies/{study}/accountability", Summary: "What each depot and site answers for",
		Doc:    "How many kits stand how, in each place. Callers who see single sites get those.",
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, Views: []readmodels.View{KitInventories},
	}, ListAccountability)
	accountabilityByPatient = readmodels.Declare(readmodels.Query{
		Name: "AccountabilityByPatient", Path: "/api/v1/studies/{study}/accountability/patients",
		Summary: "How the kits of each patient are accounted for",
		Doc: "Kits dispensed, returned and reconciled, and their doses as the site counted them, by patient and by the site that gave " +
			"the kits out.",
		OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{KitInventories},
	}, ListAccountabilityByPatient)
)

// AccountabilityQuery asks for the accountability of the depots and sites of a study.
type AccountabilityQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	AsOf  time.Time      `query:"asOf" doc:"As it was at this moment; callers who see single sites get the kits that were there and are at one of them"`
}

// AccountabilityByPatientQuery asks for the accountability by patient and site. An empty site does not narrow the list.
type AccountabilityByPatientQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Site  domain.SiteID  `query:"site" doc:"Only this site"`
	AsOf  time.Time      `query:"asOf" doc:"As it was at this moment"`
	readmodels.Page
}

// ListAccountability returns the accountability of the depots and sites that the caller may see, by id.
func ListAccountability(ctx context.Context, r readmodels.Request, q AccountabilityQuery) (list AccountabilityList, err error) {
	filter, here := bson.D{{Key: "study", Value: string(q.Study)}}, bson.D{}
	if !r.WholeStudy {
		here = bson.D{readmodels.OneOf("location", r.Sites)} // and, of the past, what is there still
	}
	kits, of := kitsOf(append(filter, here...), q.AsOf, here)
	by := any("$stands")
	if !q.AsOf.IsZero() {
		by = bson.D{{Key: "location", Value: of + "location"}, {Key: "status", Value: of + "status"}}
	}
	counts, err := countedKits(ctx, r, kits, by)
	if err == nil && !q.AsOf.IsZero() { // and those whose state then is not remembered any more, where they are now
		var unknown []kitCount
		unknown, err = countedKits(ctx, r, []bson.D{{{Key: "$match",
			Value: append(append(filter, here...), readmodels.ForgottenAt("past", q.AsOf)...)}}},
			bson.D{{Key: "location", Value: "$location"}, {Key: "status", Value: unknownThen}})
		counts = append(counts, unknown...)
	}
	if err != nil {
		return list, err
	}
	places := map[supply.LocationID]int{} // the place of each in the list
	for _, c := range counts {
		at, known := places[c.Of.Location]
		if !known {
			at = len(list.Items)
			places[c.Of.Location] = at
			list.Items = append(list.Items, Accountability{Location: c.Of.Location, Statuses: map[supply.KitStatus]int{}})
		}
		list.Items[at].Kits += c.Kits
		list.Items[at].Statuses[c.Of.Status] += c.Kits
	}
	slices.SortFunc(list.Items, func(a, b Accountability) int { return cmp.Compare(a.Location, b.Location) })
	return list, nil
}

// kitCount is a number of kits with one status at a location.
type kitCount struct {
	Of   LocationStatus `bson:"_id"`
	Kits int            `bson:"kits"`
}

func countedKits(ctx context.Context, r readmodels.Request, kits []bson.D, by any) ([]kitCount, error) {
	return aggregate[kitCount](ctx, r.Store, kits, by, bson.D{{Key: "kits", Value: bson.D{{Key: "$sum", Value: 1}}}})
}

// unknownThen is how a kit is counted whose state at the moment is not remembered any more.
const unknownThen = "unknown"

var accountsOrder = readmodels.Ascending("accounts",
	func(a PatientAccountability) []any { return []any{string(a.Patient), string(a.Site)} }, "given.patient", "given.site")

// ListAccountabilityByPatient returns a page of the accountability by patient and site.
func ListAccountabilityByPatient(
	ctx context.Context, r readmodels.Request, q AccountabilityByPatientQuery,
) (readmodels.List[PatientAccountability], error) {
	limit, err := q.Size()
	if err != nil {
		return readmodels.List[PatientAccountability]{}, err
	}
	given := readmodels.Equal(bson.D{{Key: "given.patient", Value: bson.D{{Key: "$gt", Value: ""}}}}, "given.site", q.Site)
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "given.site", q.Site)
	if last, err := accountsOrder.Begin(q.Page); err != nil {
		return readmodels.List[PatientAccountability]{}, err
	} else if last != nil {
		filter = readmodels.After(filter, accountsOrder.Direction, last)
	} else {
		filter = append(filter, bson.E{Key: "given.patient", Value: bson.D{{Key: "$gt", Value: ""}}}) // those that somebody got
	}
	kits, of := kitsOf(filter, q.AsOf, given)
	sums := bson.D{{Key: "allocated", Value: bson.D{{Key: "$sum", Value: 1}}}}
	for _, field := range []string{"dispensed", "cameBack", "reconciled", "returned", "used", "lost"} {
		sums = append(sums, bson.E{Key: field, Value: bson.D{{Key: "$sum", Value: of + field}}})
	}
	found, err := aggregate[struct {
		Of                    Given `bson:"_id"`
		PatientAccountability `bson:",inline"`
	}](ctx, r.Store, kits, of+"given", sums,
		bson.D{{Key: "$sort", Value: bson.D{{Key: "_id", Value: 1}}}}, bson.D{{Key: "$limit", Value: limit + 1}})
	if err != nil {
		return readmodels.List[PatientAccountability]{}, err
	}
	l := readmodels.List[PatientAccountability]{Items: []PatientAccountability{}}
	for _, f := range found[:min(limit, len(found))] {
		f.Patient, f.Site = f.Of.Patient, f.Of.Site
		l.Items = append(l.Items, f.PatientAccountability)
	}
	if len(found) > limit {
		l.Next, err = accountsOrder.Cursor(l.Items[limit-1])
	}
	return l, err
}

// kitsOf returns the stages that find kits and, if a moment is given, go on with those that had a state at that moment which satisfies
// conditions. of is what the names of a state's fields begin with.
func kitsOf(filter bson.D, moment time.Time, conditions bson.D) (stages []bson.D, of string) {
	stages = []bson.D{{{Key: "$match", Value: filter}}}
	if moment.IsZero() {
		return stages, "$"
	}
	var then bson.D
	for _, e := range readmodels.Then(moment) {
		then = append(then, bson.E{Key: "past." + e.Key, Value: e.Value})
	}
	for _, e := range conditions {
		then = append(then, bson.E{Key: "past.state." + e.Key, Value: e.Value})
	}
	return append(stages, bson.D{{Key: "$unwind", Value: "$past"}}, bson.D{{Key: "$match", Value: then}}), "$past.state."
}

// aggregate groups kits.
func aggregate[T any](ctx context.Context, s *readmodels.Store, kits []bson.D, by any, sums bson.D, then ...bson.D) ([]T, error) {
	group := append(bson.D{{Key: "_id", Value: by}}, sums...)
	found, err := s.Collection(KitInventories).Aggregate(ctx, append(append(kits, bson.D{{Key: "$group", Value: group}}), then...))
	if err != nil {
		return nil, err
	}
	var all []T
	return all, found.All(ctx, &all)
}
