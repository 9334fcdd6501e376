// Package randomisation holds the views of a study's draws. No view has an arm.
package randomisation

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/randomisation"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// EndingLists is the worklist of randomisation lists that end soon, with one document for each stratum that has had few
// entries. The number of entries that are left depends on the number of draws alone, and tells no arm.
var EndingLists = readmodels.View{Name: "ending-lists", Version: 2, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "_id"),
	readmodels.IndexOn("study", "few", "_id"),
}}

// EndingList is a stratum of a list that has few entries, or had them.
type EndingList struct {
	readmodels.Header `bson:",inline"`
	Study             domain.StudyID    `bson:"study" json:"study" doc:"The study"`
	Stage             string            `bson:"stage,omitempty" json:"stage,omitempty" doc:"The stage of the protocol; none for the first draw"`
	Scheme            string            `bson:"scheme" json:"scheme" doc:"The scheme"`
	Factors           map[string]string `bson:"factors,omitempty" json:"factors,omitempty" doc:"The levels of the stratum"`
	EntriesLeft       `bson:",inline"`
	Past              readmodels.History[EntriesLeft] `bson:"past,omitempty" json:"-"`
}

// EntriesLeft is what a stratum has left.
type EntriesLeft struct {
	Remaining int       `bson:"remaining" json:"remaining" doc:"How many entries are left"`
	Exhausted bool      `bson:"exhausted,omitempty" json:"exhausted,omitempty" doc:"Whether a patient could not be drawn"`
	UpdatedAt time.Time `bson:"updatedAt" json:"updatedAt" doc:"When this was recorded"`
	// Few says that the entries are still few.
	Few bool `bson:"few" json:"-"`
}

// EndingListKey is the key of the document of a stratum.
func EndingListKey(e randomisation.ListRanLow) string {
	parts := []string{string(e.Study), e.Stage, e.Scheme}
	for _, factor := range slices.Sorted(maps.Keys(e.Factors)) {
		parts = append(parts, factor, e.Factors[factor])
	}
	return strings.Join(parts, "\x1f")
}

var endingOrders = []readmodels.Order[EndingList]{
	readmodels.Ascending("stratum", func(l EndingList) []any { return []any{l.ID} }, "_id"),
}

// Queries are those of this context.
var Queries = []readmodels.Query{
	readmodels.Declare(readmodels.Query{
		Name: "EndingLists", Path: "/api/v1/studies/{study}/ending-lists", Summary: "Randomisation lists that end soon",
		Doc: "The strata of lists in use that have fewer entries left than SetListAlert says, or none for a patient. The number of " +
			"entries counts those of all arms. Only statisticians see it.",
		OpenTo: access.Statisticians, Reach: readmodels.ReachStudy, Views: []readmodels.View{EndingLists},
	}, ListEndingLists),
}

// EndingListsQuery asks for the lists of a study that end soon.
type EndingListsQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Stage string         `query:"stage" doc:"Only lists of this stage of the protocol" example:"extension"`
	AsOf  time.Time      `query:"asOf" doc:"As they were at this moment"`
	readmodels.Page
}

// ListEndingLists returns a page of the strata that have few entries.
func ListEndingLists(ctx context.Context, r readmodels.Request, q EndingListsQuery) (list readmodels.List[EndingList], err error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "stage", q.Stage)
	few := bson.D{{Key: "few", Value: true}}
	if q.AsOf.IsZero() {
		return readmodels.Listed(ctx, r.Store.Collection(EndingLists), q.Page, append(filter, few...), endingOrders)
	}
	return readmodels.ListedAsOf(ctx, r.Store.Collection(EndingLists), q.Page, filter, endingOrders, q.AsOf, few,
		func(l *EndingList) (readmodels.History[EntriesLeft], *EntriesLeft) { return l.Past, &l.EntriesLeft })
}
