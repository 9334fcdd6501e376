package mongo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// explained runs explain on a find. It returns the stages, such as "SORT FETCH IXSCAN(site_1 forward)", and the numbers
// of examined keys and documents.
func explained(t testing.TB, c *driver.Collection, findFields ...any) (stages string, keys, docs int64) {
	t.Helper()
	var res bson.M
	cmd := D("explain", append(D("find", c.Name()), D(findFields...)...), "verbosity", "executionStats")
	must(t, c.Database().RunCommand(context.Background(), cmd).Decode(&res))
	d := raw(res)
	v := d.lookup("queryPlanner").doc().lookup("winningPlan")
	var names []string
	for ; !v.missing(); v = v.doc().lookup("inputStage") {
		name := v.doc().lookup("stage").str()
		if name == "IXSCAN" {
			name += "(" + v.doc().lookup("indexName").str() + " " + v.doc().lookup("direction").str() + ")"
		}
		names = append(names, name)
	}
	stats := d.lookup("executionStats").doc()
	keys, _ = stats.lookup("totalKeysExamined").wholeNumber()
	docs, _ = stats.lookup("totalDocsExamined").wholeNumber()
	return strings.Join(names, " "), keys, docs
}

func TestPlansUseIndexes(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	var docs []any
	for i := range 2000 {
		docs = append(docs, D("_id", i, "site", fmt.Sprint("s", i%10), "at", i, "status", i%4, "tags", A(i%5, 10+i%3),
			"name", fmt.Sprintf("n%04d", i), "visits", A(D("k", 1, "n", i%7), D("k", 2, "n", i%3))))
	}
	_, err := c.InsertMany(ctx, docs)
	must(t, err)
	for _, key := range []bson.D{
		D("site", 1, "at", -1), D("status", 1), D("tags", 1), D("name", 1), D("visits.k", 1, "visits.n", 1),
	} {
		_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: key})
		must(t, err)
	}
	for _, tc := range []struct {
		find    string
		stages  string
		maxKeys int64
	}{
		{`{"filter": {"_id": 7}}`, "IDHACK", 1},
		{`{"filter": {"_id": 7, "status": 3}}`, "FETCH IXSCAN(_id_ forward)", 1},
		{`{"filter": {"_id": {"$in": [7, 8, 9]}}}`, "FETCH IXSCAN(_id_ forward)", 3},
		{`{"filter": {"_id": {"$gte": 7, "$lt": 17}}}`, "FETCH IXSCAN(_id_ forward)", 10},
		{`{"filter": {"_id": {"$lt": 17}}, "sort": {"_id": -1}, "limit": 5}`, "LIMIT FETCH IXSCAN(_id_ backward)", 5},
		{`{"sort": {"_id": -1}, "limit": 3}`, "LIMIT FETCH IXSCAN(_id_ backward)", 3},
		{`{"filter": {"site": "s3"}, "sort": {"at": -1}, "limit": 50}`, "LIMIT FETCH IXSCAN(site_1_at_-1 forward)", 50},
		{`{"filter": {"site": "s3"}, "sort": {"at": 1}, "limit": 50}`, "LIMIT FETCH IXSCAN(site_1_at_-1 backward)", 50},
		{`{"filter": {"site": "s3"}, "sort": {"site": 1, "at": -1}, "limit": 50}`, "LIMIT FETCH IXSCAN(site_1_at_-1 forward)", 50},
		{`{"filter": {"site": "s3", "at": {"$gte": 100, "$lt": 200}}}`, "FETCH IXSCAN(site_1_at_-1 forward)", 10},
		{`{"filter": {"$and": [{"site": "s3"}, {"at": 103}]}}`, "FETCH IXSCAN(site_1_at_-1 forward)", 1},
		{`{"filter": {"site": {"$in": ["s3", "s4"]}, "at": {"$gt": 1990}}}`, "FETCH IXSCAN(site_1_at_-1 forward)", 2},
		{`{"filter": {"site": {"$in": ["s3", "s4"]}}, "sort": {"at": 1}}`, "FETCH SORT_MERGE IXSCAN(site_1_at_-1 backward)", 400},
		{`{"filter": {"site": {"$in": ["s3", "s4", "s5", "none"]}, "at": {"$lt": 1000}}, "sort": {"at": -1}, "limit": 9}`,
			"LIMIT FETCH SORT_MERGE IXSCAN(site_1_at_-1 forward)", 9},
		{`{"sort": {"site": -1, "at": 1}, "limit": 4}`, "LIMIT FETCH IXSCAN(site_1_at_-1 backward)", 4},
		{`{"sort": {"site": 1, "at": 1}, "limit": 4}`, "LIMIT SORT COLLSCAN", 0},
		{`{"filter": {"tags": 3}}`, "FETCH IXSCAN(tags_1 forward)", 400},
		{`{"filter": {"tags": 3}, "sort": {"tags": 1}}`, "SORT FETCH IXSCAN(tags_1 forward)", 400},
		{`{"filter": {"name": {"$regularExpression": {"pattern": "^n012", "options": ""}}}}`, "FETCH IXSCAN(name_1 forward)", 10},
		{`{"filter": {"name": {"$regularExpression": {"pattern": "012$", "options": ""}}}}`, "COLLSCAN", 0},
		{`{"filter": {"at": 5}}`, "COLLSCAN", 0},
		{`{"filter": {"visits.k": 1, "visits.n": 2}}`, "FETCH IXSCAN(visits.k_1_visits.n_1 forward)", 2000},
		{`{"filter": {"site": "s3", "$or": [{"at": {"$lt": 503}}, {"at": 503, "_id": {"$gt": 503}}]}, "sort": {"at": -1}, "limit": 5}`,
			"LIMIT FETCH IXSCAN(site_1_at_-1 forward)", 6},
		{`{"filter": {"$or": [{"name": "n0001"}, {"name": {"$in": ["n0004", "n0002"]}, "at": 4}]}}`, "FETCH IXSCAN(name_1 forward)", 4},
		{`{"filter": {"$or": [{"name": "n0001"}, {"at": 4}]}}`, "COLLSCAN", 0},
		// Several indexes are possible; the one with few entries wins.
		{`{"filter": {"status": 2, "name": "n0002"}}`, "FETCH IXSCAN(name_1 forward)", 1},
		{`{"filter": {"site": "s3", "name": {"$in": ["n0003", "n0013"]}}, "sort": {"at": -1}}`, "SORT FETCH IXSCAN(name_1 forward)", 2},
		{`{"filter": {"name": {"$in": []}}}`, "FETCH IXSCAN(name_1 forward)", 0},
		{`{"filter": {"site": "s3"}, "hint": "status_1"}`, "FETCH IXSCAN(status_1 forward)", 2000},
		{`{"filter": {"_id": 7}, "hint": {"$natural": -1}}`, "COLLSCAN", 0},
	} {
		var fields []any
		for _, e := range fromJSON(tc.find) {
			fields = append(fields, e.Key, e.Value)
		}
		stages, keys, _ := explained(t, c, fields...)
		if stages != tc.stages || keys > tc.maxKeys {
			t.Errorf("%s\n got %s with %d keys\nwant %s with at most %d", tc.find, stages, keys, tc.stages, tc.maxKeys)
		}
	}
	_, err = c.Find(ctx, bson.D{}, options.Find().SetHint("none"))
	wantCode(t, err, codeBadValue)
}

// A list of values of one field does not hinder that ranges are merged by another whose values are listed too.
func TestMergedRangesAreInTheOrderOfListedFields(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	for i := range 40 {
		_, err := c.InsertOne(ctx, D("_id", i, "place", fmt.Sprint("p", i%3), "rank", (i*7)%4, "at", 40-i))
		must(t, err)
	}
	_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("place", 1, "rank", 1, "at", 1)})
	must(t, err)
	for _, direction := range []int{1, -1} {
		sort := D("rank", direction, "at", direction)
		filter := D("place", D("$in", A("p0", "p2")), "rank", D("$in", A(1, 3, 2)))
		stages, _, _ := explained(t, c, "filter", filter, "sort", sort)
		if !strings.Contains(stages, "SORT_MERGE") {
			t.Errorf("the plan is %s", stages)
		}
		found, err := c.Find(ctx, filter, options.Find().SetSort(sort))
		must(t, err)
		var docs []struct{ Rank, At int }
		must(t, found.All(ctx, &docs))
		if len(docs) == 0 || !slices.IsSortedFunc(docs, func(x, y struct{ Rank, At int }) int {
			return direction * cmp.Or(cmp.Compare(x.Rank, y.Rank), cmp.Compare(x.At, y.At))
		}) {
			t.Errorf("in direction %d: %v", direction, docs)
		}
	}
}

// TestMultikeyIndexes checks queries that easily fail if a field holds arrays: bounds that different elements satisfy,
// documents with several entries, and the order by the smallest element.
func TestMultikeyIndexes(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	_, err := c.InsertMany(ctx, []any{
		D("_id", 1, "n", A(0, 9), "a", A(D("x", 1, "y", 5), D("x", 2, "y", 6))),
		D("_id", 2, "n", A(6), "a", A(D("x", 1, "y", 6))),
		D("_id", 3, "n", 7, "a", A()),
		D("_id", 4, "n", A(), "a", 3),
		D("_id", 5, "n", nil),
		D("_id", 6, "n", A(A(5), 8)),
	})
	must(t, err)
	for _, key := range []bson.D{D("n", 1), D("a.x", 1, "a.y", 1), D("n", -1, "_id", 1)} {
		_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: key})
		must(t, err)
	}
	for _, tc := range []struct {
		filter, sort string
		want         string
	}{
		{`{"n": {"$gt": 5, "$lt": 3}}`, `{"_id": 1}`, "1"},
		{`{"n": {"$gt": 5}}`, `{"n": 1}`, "1 2 3 6"}, // an element of 6 is an array, which sorts after numbers
		{`{"n": {"$gt": 5}}`, `{"n": -1}`, "6 1 3 2"},
		{`{"n": {"$gte": 0}}`, `{"_id": -1}`, "6 3 2 1"},
		{`{"a.x": 1, "a.y": 6}`, `{"_id": 1}`, "1 2"},
		{`{"a": {"$elemMatch": {"x": 1, "y": 6}}}`, `{"_id": 1}`, "2"},
		{`{"n": null}`, `{"_id": 1}`, "5"},
		{`{"a.x": null}`, `{"_id": 1}`, "4 5 6"},
		{`{"n": []}`, `{"_id": 1}`, "4"},
		{`{"n": [5]}`, `{"_id": 1}`, "6"},
		{`{"n": {"$in": [0, 9, 6]}}`, `{"_id": 1}`, "1 2"},
	} {
		for _, hint := range []any{nil, D("$natural", 1), "n_1", "n_-1__id_1", "a.x_1_a.y_1"} {
			o := options.Find().SetSort(fromJSON(tc.sort)).SetProjection(D("_id", 1))
			if hint != nil {
				o.SetHint(hint)
			}
			var ids []string
			for _, d := range find(t, c, fromJSON(tc.filter), o) {
				ids = append(ids, fmt.Sprint(d[0].Value))
			}
			if got := strings.Join(ids, " "); got != tc.want {
				t.Errorf("filter %s sort %s hint %v: got %s, want %s", tc.filter, tc.sort, hint, got, tc.want)
			}
		}
	}
	_, err = c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D("n", 1, "a", 1)})
	wantCode(t, err, codeCannotIndexParallel)
}
