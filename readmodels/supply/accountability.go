package supply

import (
	"cmp"
	"context"
	"slices"

	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Accountability is what a place answers for. It is counted when it is asked for, of the kits themselves: what happens to
// a kit does not say how it stood before, so counters beside the kits would have to remember every one of them, and would
// be a second truth.
type Accountability struct {
	Location supply.LocationID        `json:"location" doc:"The depot or site"`
	Kits     int                      `json:"kits" doc:"Kits that it answers for, whatever became of them there"`
	Statuses map[supply.KitStatus]int `json:"statuses" doc:"How many of them stand how"`
}

// PatientAccountability accounts for the kits that a patient got at a site (ICH E6(R3) 3.15.3(c)).
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

// ListAccountability returns what each place of a study answers for, by id; of some places where any are named.
func ListAccountability(ctx context.Context, s *readmodels.Store, study domain.StudyID, places []supply.LocationID) ([]Accountability, error) {
	filter := bson.D{{Key: "study", Value: string(study)}}
	if len(places) > 0 {
		filter = append(filter, readmodels.OneOf("location", places))
	}
	counts, err := aggregate[struct {
		Of   Standing `bson:"_id"`
		Kits int      `bson:"kits"`
	}](ctx, s, filter, "$stands", bson.D{{Key: "kits", Value: bson.D{{Key: "$sum", Value: 1}}}})
	if err != nil {
		return nil, err
	}
	all := []Accountability{}
	for _, c := range counts {
		at, found := slices.BinarySearchFunc(all, c.Of.Location, func(a Accountability, l supply.LocationID) int { return cmp.Compare(a.Location, l) })
		if !found {
			all = slices.Insert(all, at, Accountability{Location: c.Of.Location, Statuses: map[supply.KitStatus]int{}})
		}
		all[at].Kits += c.Kits
		all[at].Statuses[c.Of.Status] += c.Kits
	}
	return all, nil
}

var accountsOrder = readmodels.Ascending("accounts",
	func(a PatientAccountability) []any { return []any{string(a.Patient), string(a.Site)} }, "given.patient", "given.site")

// ListAccountabilityByPatient returns a page of how the kits of a study's patients are accounted for, by patient and site; of
// one site where it is named.
func ListAccountabilityByPatient(ctx context.Context, s *readmodels.Store, study domain.StudyID, site supply.LocationID, page readmodels.Page) (readmodels.List[PatientAccountability], error) {
	limit, err := page.Size()
	if err != nil {
		return readmodels.List[PatientAccountability]{}, err
	}
	filter := bson.D{{Key: "study", Value: string(study)}}
	if site != "" {
		filter = append(filter, bson.E{Key: "given.site", Value: string(site)})
	}
	if last, err := accountsOrder.Begin(page); err != nil {
		return readmodels.List[PatientAccountability]{}, err
	} else if last != nil {
		filter = readmodels.Behind(filter, accountsOrder.Direction, last)
	} else {
		filter = append(filter, bson.E{Key: "given.patient", Value: bson.D{{Key: "$gt", Value: ""}}}) // those that somebody got
	}
	sums := bson.D{{Key: "allocated", Value: bson.D{{Key: "$sum", Value: 1}}}}
	for _, field := range []string{"dispensed", "cameBack", "reconciled", "returned", "used", "lost"} {
		sums = append(sums, bson.E{Key: field, Value: bson.D{{Key: "$sum", Value: "$" + field}}})
	}
	found, err := aggregate[struct {
		Of                    Given `bson:"_id"`
		PatientAccountability `bson:",inline"`
	}](ctx, s, filter, "$given", sums,
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

// aggregate groups a study's kits.
func aggregate[T any](ctx context.Context, s *readmodels.Store, filter bson.D, by string, sums bson.D, then ...bson.D) ([]T, error) {
	group := append(bson.D{{Key: "_id", Value: by}}, sums...)
	stages := append([]bson.D{{{Key: "$match", Value: filter}}, {{Key: "$group", Value: group}}}, then...)
	found, err := s.Collection(KitInventories).Aggregate(ctx, stages)
	if err != nil {
		return nil, err
	}
	var all []T
	return all, found.All(ctx, &all)
}
