package mongo

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"pgregory.net/rapid"
)

// checkStore compares every index, and the counts, with the documents.
func checkStore(t testing.TB, st *store) {
	t.Helper()
	for _, db := range st.databases() {
		for _, c := range st.collections(db) {
			want := map[string]bool{}
			n, size := int64(0), int64(0)
			each(t, st, c.primary.space, func(k, v []byte) {
				n++
				size += int64(len(v))
				if d, err := validate(v); err != nil || len(d) != len(v) {
					t.Errorf("%s: a document is damaged: %v", c.ns.Load(), err)
					return
				}
				id := k[len(c.primary.space):]
				if !bytes.Equal(id, keyOf(doc(v).lookup("_id"))) {
					t.Errorf("%s: document %s is stored under another _id", c.ns.Load(), shellText(v))
				}
				var set keySet
				set.reset(len(*c.indexes.Load()))
				for i, x := range *c.indexes.Load() {
					must(t, x.keys(v, &set, i))
					for _, key := range set.of(i) {
						want[string(x.entry(key, id))] = true
					}
					if set.multi[i]&^x.multikey.Load() != 0 {
						t.Errorf("%s: index %s is not marked multikey", c.ns.Load(), x.name)
					}
				}
			})
			if n != c.count.Load() {
				t.Errorf("%s has %d documents, but its count is %d", c.ns.Load(), n, c.count.Load())
			}
			if size != c.bytes.Load() {
				t.Errorf("%s has %d bytes of documents, but its sum is %d", c.ns.Load(), size, c.bytes.Load())
			}
			for _, x := range *c.indexes.Load() {
				each(t, st, x.space, func(k, _ []byte) {
					if !want[string(k)] {
						t.Errorf("%s: index %s has an entry without a document", c.ns.Load(), x.name)
					}
					delete(want, string(k))
				})
			}
			if len(want) > 0 {
				t.Errorf("%s: %d index entries are missing", c.ns.Load(), len(want))
			}
		}
	}
}

func each(t testing.TB, st *store, space []byte, f func(k, v []byte)) {
	t.Helper()
	it, err := st.db.NewIter(&pebble.IterOptions{LowerBound: space, UpperBound: successor(space)})
	must(t, err)
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		f(bytes.Clone(it.Key()), bytes.Clone(it.Value()))
	}
	must(t, it.Error())
}

// modelIndexes are the keys from which the property test draws its indexes.
var modelIndexes = []bson.D{
	D("a", 1), D("a", -1), D("b", 1, "a", 1), D("b", -1, "c", 1), D("c", 1, "b", -1, "_id", 1), D("a.x", 1),
	D("a.x", 1, "a.y", -1), D("c", -1, "a.x", 1), D("a.x.y", 1), D("b.x", 1),
}

// TestQueriesAgainstModel compares queries with the model: with the planner's choice, with each index and with none,
// for random documents, filters, orders and indexes. Updates must keep all indexes right.
func TestQueriesAgainstModel(t *testing.T) {
	ctx := context.Background()
	s := startServer(t)
	db := connect(t, s).Database("model")
	var runs atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		c := db.Collection(fmt.Sprintf("c%d", runs.Add(1)))
		defer func() { must(t, c.Drop(ctx)) }()
		docs := map[int32]bson.D{}
		insert := func(n int) {
			for range n {
				id := rapid.Int32Range(0, 30).Draw(rt, "id")
				d := append(D("_id", id), modelDoc().Draw(rt, "doc")...)
				_, err := c.ReplaceOne(ctx, D("_id", id), d, options.Replace().SetUpsert(true))
				if hasCode(err, codeCannotIndexParallel) {
					continue
				}
				must(t, err)
				docs[id] = d
			}
		}
		insert(rapid.IntRange(0, 15).Draw(rt, "before"))
		hints := []any{nil, D("$natural", 1), "_id_"}
		byText := func(d bson.D) string { return fmt.Sprint(d) }
		for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(modelIndexes), 0, 4, byText).Draw(rt, "indexes") {
			_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: key})
			if hasCode(err, codeCannotIndexParallel) {
				continue
			}
			must(t, err)
			hints = append(hints, key)
		}
		insert(rapid.IntRange(0, 15).Draw(rt, "after"))
		for range rapid.IntRange(0, 3).Draw(rt, "deletes") {
			cond := modelCondition(0).Draw(rt, "delete")
			_, err := c.DeleteMany(ctx, cond.doc)
			must(t, err)
			for id, d := range docs {
				if cond.match(d) {
					delete(docs, id)
				}
			}
		}
		for range 4 {
			cond := condition{bson.D{}, func(bson.D) bool { return true }}
			for range rapid.IntRange(0, 2).Draw(rt, "conditions") {
				left, right := cond, modelCondition(2).Draw(rt, "filter")
				cond = condition{
					append(slices.Clone(left.doc), D("$and", A(right.doc))...),
					func(d bson.D) bool { return left.match(d) && right.match(d) },
				}
				if len(left.doc) == 0 {
					cond = right
				}
			}
			order := drawOrder().Draw(rt, "order")
			skip, limit := rapid.IntRange(0, 3).Draw(rt, "skip"), rapid.IntRange(0, 8).Draw(rt, "limit")
			checkQuery(t, rt, c, docs, hints, cond, order, skip, limit)
		}
		checkStore(t, s.store)
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}

// checkQuery runs a query with each hint and compares the results with the model's documents.
func checkQuery(
	t *testing.T, rt *rapid.T, c *driver.Collection, docs map[int32]bson.D, hints []any,
	cond condition, order modelOrder, skip, limit int,
) {
	t.Helper()
	var matching []bson.D
	for _, d := range docs {
		if cond.match(d) {
			matching = append(matching, d)
		}
	}
	keys := make([][]any, len(matching))
	parallel := false
	for i, d := range matching {
		key, ok := order.sortKey(d)
		keys[i], parallel = key, parallel || !ok
	}
	if parallel {
		checkParallel(t, rt, c, cond, order)
		return
	}
	slices.SortFunc(keys, order.compare)
	keys = keys[min(skip, len(keys)):]
	if limit > 0 {
		keys = keys[:min(limit, len(keys))]
	}
	for _, hint := range hints {
		o := options.Find().SetSkip(int64(skip)).SetLimit(int64(limit)).SetBatchSize(3)
		if hint != nil {
			o.SetHint(hint)
		}
		if len(order.doc) > 0 {
			o.SetSort(order.doc)
		}
		got := find(t, c, cond.doc, o)
		fail := func(problem string) {
			var all []string
			for _, d := range docs {
				all = append(all, fmt.Sprint(d))
			}
			rt.Fatalf("%s\nfilter %v sort %v skip %d limit %d hint %v\ngot %d: %v\nwant %d with keys %v\nof %s",
				problem, cond.doc, order.doc, skip, limit, hint, len(got), got, len(keys), keys, strings.Join(all, "\n"))
		}
		if len(got) != len(keys) {
			fail("wrong number of documents")
		}
		seen := map[int32]bool{}
		for i, d := range got {
			id := d[0].Value.(int32)
			if seen[id] {
				fail("a document is returned twice")
			}
			seen[id] = true
			if !cond.match(docs[id]) {
				fail("a document does not match")
			}
			if modelCompare(d, docs[id]) != 0 {
				fail("a document was changed")
			}
			if key, _ := order.sortKey(d); order.compare(key, keys[i]) != 0 {
				fail("wrong order")
			}
		}
	}
}

// checkParallel expects that a query is refused whose documents cannot be sorted.
func checkParallel(t *testing.T, rt *rapid.T, c *driver.Collection, cond condition, order modelOrder) {
	t.Helper()
	cur, err := c.Find(t.Context(), cond.doc, options.Find().SetSort(order.doc).SetHint(D("$natural", 1)))
	if err == nil {
		err = cur.Close(t.Context())
		rt.Fatalf("parallel arrays were sorted: filter %v sort %v, %v", cond.doc, order.doc, err)
	}
	if !hasCode(err, codeBadValue) {
		rt.Fatalf("filter %v sort %v: %v", cond.doc, order.doc, err)
	}
}
