package mongo

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"pgregory.net/rapid"
)

// modelStage is a stage of a pipeline, as a document and as a function of the model.
type modelStage struct {
	doc bson.D
	run func([]bson.D) []bson.D
}

// modelField returns the value of "$path": if the path meets an array, the array of the values in its documents.
func modelField(v any, parts []string) any {
	if len(parts) == 0 {
		return v
	}
	switch v := v.(type) {
	case bson.D:
		return modelField(modelGet(v, parts[0]), parts[1:])
	case bson.A:
		all := bson.A{}
		for _, e := range v {
			if d, ok := e.(bson.D); ok {
				if inner := modelField(d, parts); inner != (absent{}) {
					all = append(all, inner)
				}
			}
		}
		return all
	}
	return absent{}
}

// modelWith returns d with v at a path. A value on the path that is not a document is replaced by one. If v is absent,
// the field is removed.
func modelWith(d bson.D, parts []string, v any) bson.D {
	d = slices.Clone(d)
	i := slices.IndexFunc(d, func(e bson.E) bool { return e.Key == parts[0] })
	if len(parts) > 1 {
		inner := bson.D{}
		if i >= 0 {
			inner, _ = d[i].Value.(bson.D)
		}
		v = modelWith(inner, parts[1:], v)
	}
	switch {
	case v == absent{}:
		return slices.Delete(d, i, i+1)
	case i < 0:
		return append(d, bson.E{Key: parts[0], Value: v})
	}
	d[i].Value = v
	return d
}

func drawUnwind() *rapid.Generator[modelStage] {
	return rapid.Custom(func(t *rapid.T) modelStage {
		path := rapid.SampledFrom([]string{"a", "b", "c", "a.x", "b.y"}).Draw(t, "path")
		index := rapid.SampledFrom([]string{"", "", "i", "c", "b.i", "a"}).Draw(t, "index")
		preserve := rapid.Bool().Draw(t, "preserve")
		parts := strings.Split(path, ".")
		spec := D("path", "$"+path, "preserveNullAndEmptyArrays", preserve)
		if index != "" {
			spec = append(spec, D("includeArrayIndex", index)...)
		}
		indexed := func(d bson.D, n any) bson.D {
			if index == "" {
				return d
			}
			return modelWith(d, strings.Split(index, "."), n)
		}
		return modelStage{D("$unwind", spec), func(docs []bson.D) (out []bson.D) {
			for _, d := range docs {
				var v any = d
				for _, p := range parts {
					if inner, ok := v.(bson.D); ok {
						v = modelGet(inner, p)
					} else {
						v = absent{}
					}
				}
				switch list, isArray := v.(bson.A); {
				case isArray && len(list) > 0:
					for n, e := range list {
						out = append(out, indexed(modelWith(d, parts, e), int64(n)))
					}
				case isArray && preserve:
					out = append(out, indexed(modelWith(d, parts, absent{}), nil))
				case !isArray && (preserve || v != nil && v != absent{}):
					out = append(out, indexed(d, nil))
				}
			}
			return out
		}}
	})
}

var modelAccumulators = []string{"$sum", "$avg", "$min", "$max", "$first", "$last", "$push", "$addToSet", "$count"}

// modelAccumulate returns the result of an accumulator for values, some of which may be absent.
func modelAccumulate(op string, vals []any) any {
	present := slices.DeleteFunc(slices.Clone(vals), func(v any) bool { return v == absent{} })
	known := slices.DeleteFunc(slices.Clone(present), func(v any) bool { return v == nil })
	end := func(v any) any {
		if v == (absent{}) {
			return nil
		}
		return v
	}
	switch op {
	case "$count":
		return int32(len(vals))
	case "$sum", "$avg":
		sum, n := 0.0, 0
		for _, v := range known {
			if modelRank(v) == modelRank(0.0) {
				sum += modelFloat(v)
				n++
			}
		}
		if op == "$sum" {
			return sum
		}
		if n == 0 {
			return nil
		}
		return sum / float64(n)
	case "$first":
		return end(vals[0])
	case "$last":
		return end(vals[len(vals)-1])
	case "$push":
		return bson.A(present)
	case "$addToSet":
		slices.SortFunc(present, modelCompare)
		return bson.A(slices.CompactFunc(present, func(a, b any) bool { return modelCompare(a, b) == 0 }))
	}
	switch {
	case len(known) == 0:
		return nil
	case op == "$min":
		return slices.MinFunc(known, modelCompare)
	}
	return slices.MaxFunc(known, modelCompare)
}

func drawGroup() *rapid.Generator[modelStage] {
	return rapid.Custom(func(t *rapid.T) modelStage {
		paths := rapid.SampledFrom([]string{"a", "b", "c", "a.x", "a.y", "b.x", "_id", "i"})
		by := rapid.SliceOfNDistinct(paths, 0, 2, rapid.ID).Draw(t, "by")
		compound := rapid.Bool().Draw(t, "compound")
		idOf := func(d bson.D) any {
			id := bson.D{}
			for _, p := range by {
				v := modelField(d, strings.Split(p, "."))
				switch {
				case compound && v != absent{}:
					id = append(id, bson.E{Key: strings.ReplaceAll(p, ".", "_"), Value: v})
				case !compound && v == absent{}:
					return nil
				case !compound:
					return v
				}
			}
			if !compound {
				return nil
			}
			return id
		}
		spec := D("_id", nil)
		switch {
		case compound:
			id := bson.D{}
			for _, p := range by {
				id = append(id, bson.E{Key: strings.ReplaceAll(p, ".", "_"), Value: "$" + p})
			}
			spec[0].Value = id
		case len(by) > 0:
			spec[0].Value = "$" + by[0]
		}
		ops := rapid.SliceOfN(rapid.SampledFrom(modelAccumulators), 0, 3).Draw(t, "accumulators")
		var args []string
		for i, op := range ops {
			args = append(args, paths.Draw(t, "arg"))
			var arg any = "$" + args[i]
			if op == "$count" {
				arg = bson.D{}
			}
			spec = append(spec, bson.E{Key: strings.Repeat("n", i+1), Value: D(op, arg)})
		}
		return modelStage{D("$group", spec), func(docs []bson.D) (out []bson.D) {
			var members [][]bson.D
			for _, d := range docs {
				id := idOf(d)
				g := slices.IndexFunc(out, func(o bson.D) bool { return modelCompare(o[0].Value, id) == 0 })
				if g < 0 {
					g, out, members = len(out), append(out, D("_id", id)), append(members, nil)
				}
				members[g] = append(members[g], d)
			}
			for g := range out {
				for i, op := range ops {
					var vals []any
					for _, d := range members[g] {
						vals = append(vals, modelField(d, strings.Split(args[i], ".")))
					}
					out[g] = append(out[g], bson.E{Key: strings.Repeat("n", i+1), Value: modelAccumulate(op, vals)})
				}
			}
			return out
		}}
	})
}

// sortGroups sorts the groups of a $group stage and the arrays of $addToSet in them, because MongoDB guarantees no
// order.
func sortGroups(stage bson.D, docs []bson.D) {
	if stage[0].Key != "$group" {
		return
	}
	for i, acc := range stage[0].Value.(bson.D)[1:] {
		if acc.Value.(bson.D)[0].Key == "$addToSet" {
			for _, d := range docs {
				slices.SortFunc(d[i+1].Value.(bson.A), modelCompare)
			}
		}
	}
	slices.SortFunc(docs, func(a, b bson.D) int { return modelCompare(a[0].Value, b[0].Value) })
}

// TestTotals checks that sums have the widest type that was added and are not rounded more than necessary.
func TestTotals(t *testing.T) {
	for _, tc := range []struct {
		vals []any
		want any
	}{
		{nil, int32(0)},
		{[]any{int32(1), int32(2)}, int32(3)},
		{[]any{int32(1), int64(2)}, int64(3)},
		{[]any{int32(math.MaxInt32), int32(1)}, int64(math.MaxInt32 + 1)},
		{[]any{int32(1), 2.0}, 3.0},
		{[]any{int64(math.MaxInt64), int64(1)}, float64(1 << 63)},
		{[]any{int64(math.MinInt64), int64(-1)}, -float64(1 << 63)},
		{[]any{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}, 1.0},
		{[]any{1e100, 1.0, -1e100}, 1.0},
		{[]any{math.Inf(1), 1.0}, math.Inf(1)},
	} {
		var sum total
		for _, v := range tc.vals {
			sum.add(rawValue(v))
		}
		if got, want := sum.value(), rawValue(tc.want); got.t != want.t || !sameValue(got, want) {
			t.Errorf("the sum of %v is %s %s, want %T %v", tc.vals, got.typeName(), shellValue(got), tc.want, tc.want)
		}
	}
}

// TestPipelinesAgainstModel compares pipelines of $match, $sort, $unwind and $group with the model, with and without
// indexes.
func TestPipelinesAgainstModel(t *testing.T) {
	ctx := context.Background()
	c := newColl(t)
	rapid.Check(t, func(rt *rapid.T) {
		must(t, c.Drop(ctx))
		var docs []bson.D
		var raws []any
		for i, d := range rapid.SliceOfN(modelDoc(), 1, 12).Draw(rt, "docs") {
			docs = append(docs, append(D("_id", int32(i)), d...))
			raws = append(raws, docs[i])
		}
		_, err := c.InsertMany(ctx, raws)
		must(t, err)
		for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "a.x"}), 0, 2, rapid.ID).Draw(rt, "indexes") {
			_, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: D(key, 1)})
			must(t, err)
		}
		cond := modelCondition(1).Draw(rt, "match")
		descending := rapid.Bool().Draw(rt, "descending")
		stages := []modelStage{
			{D("$match", cond.doc), func(docs []bson.D) []bson.D {
				return slices.DeleteFunc(slices.Clone(docs), func(d bson.D) bool { return !cond.match(d) })
			}},
			{D("$sort", D("_id", map[bool]int{false: 1, true: -1}[descending])), func(docs []bson.D) []bson.D {
				slices.SortFunc(docs, func(a, b bson.D) int {
					if descending {
						a, b = b, a
					}
					return cmp.Compare(a[0].Value.(int32), b[0].Value.(int32))
				})
				return docs
			}},
		}
		stages = append(stages, rapid.SliceOfN(drawUnwind(), 0, 2).Draw(rt, "unwinds")...)
		if rapid.IntRange(0, 3).Draw(rt, "grouped") > 0 {
			stages = append(stages, drawGroup().Draw(rt, "group"))
		}
		pipeline := bson.A{}
		for _, s := range stages {
			pipeline = append(pipeline, s.doc)
			docs = s.run(docs)
		}
		cur, err := c.Aggregate(ctx, pipeline, options.Aggregate().SetBatchSize(3))
		must(t, err)
		var got []bson.D
		must(t, cur.All(ctx, &got))
		last := stages[len(stages)-1].doc
		sortGroups(last, got)
		sortGroups(last, docs)
		if slices.CompareFunc(got, docs, func(a, b bson.D) int { return modelCompare(a, b) }) != 0 {
			rt.Fatalf("%v\nof %v\n got %v\nwant %v", pipeline, raws, got, docs)
		}
	})
}
