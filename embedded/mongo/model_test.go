package mongo

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// The model is a second, simple implementation of MongoDB's rules on decoded documents, to compare the server with. It
// supports only the values that the property tests draw.

func modelRank(v any) int {
	switch v.(type) {
	case nil:
		return 1
	case int32, int64, float64:
		return 2
	case string:
		return 3
	case bson.D:
		return 4
	case bson.A:
		return 5
	case bool:
		return 6
	case bson.DateTime:
		return 7
	}
	panic("the model does not support this value")
}

func modelFloat(v any) float64 {
	switch v := v.(type) {
	case int32:
		return float64(v)
	case int64:
		return float64(v)
	default:
		return v.(float64)
	}
}

func modelCompare(a, b any) int {
	if c := cmp.Compare(modelRank(a), modelRank(b)); c != 0 {
		return c
	}
	switch x := a.(type) {
	case int32, int64, float64:
		return cmp.Compare(modelFloat(a), modelFloat(b))
	case string:
		return cmp.Compare(x, b.(string))
	case bool:
		return cmp.Compare(strconv.FormatBool(x), strconv.FormatBool(b.(bool)))
	case bson.DateTime:
		return cmp.Compare(x, b.(bson.DateTime))
	case bson.A:
		return slices.CompareFunc(x, b.(bson.A), modelCompare)
	case bson.D:
		return slices.CompareFunc(x, b.(bson.D), func(e, f bson.E) int {
			return cmp.Or(
				cmp.Compare(modelRank(e.Value), modelRank(f.Value)), cmp.Compare(e.Key, f.Key), modelCompare(e.Value, f.Value))
		})
	}
	return 0
}

// absent is the value of a missing field.
type absent struct{}

func modelGet(d bson.D, name string) any {
	for _, e := range d {
		if e.Key == name {
			return e.Value
		}
	}
	return absent{}
}

// modelAt returns the values at a path. The path continues in each document of an array that it meets.
func modelAt(v any, parts []string) []any {
	if len(parts) == 0 {
		return []any{v}
	}
	switch v := v.(type) {
	case bson.D:
		return modelAt(modelGet(v, parts[0]), parts[1:])
	case bson.A:
		var all []any
		for i, e := range v {
			if d, ok := e.(bson.D); ok {
				all = append(all, modelAt(d, parts)...)
			}
			_, isDoc := e.(bson.D)
			_, isArray := e.(bson.A)
			if strconv.Itoa(i) == parts[0] && (len(parts) == 1 || isDoc || isArray) {
				all = append(all, modelAt(e, parts[1:])...)
			}
		}
		return all
	}
	return []any{absent{}}
}

// modelAny reports whether f holds for a value at the path, or, with elements, for an element of it.
func modelAny(d bson.D, path string, elements bool, f func(any) bool) bool {
	for _, v := range modelAt(d, strings.Split(path, ".")) {
		if f(v) {
			return true
		}
		if a, ok := v.(bson.A); ok && elements && slices.ContainsFunc(a, f) {
			return true
		}
	}
	return false
}

func modelEqual(want any) func(any) bool {
	return func(v any) bool {
		if _, ok := v.(absent); ok {
			return want == nil
		}
		return modelCompare(v, want) == 0
	}
}

func modelCmp(op string, want any) func(any) bool {
	return func(v any) bool {
		if _, ok := v.(absent); ok {
			v = nil
			if want != nil {
				return false
			}
		}
		if modelRank(v) != modelRank(want) {
			return false
		}
		c := modelCompare(v, want)
		switch op {
		case "$gt":
			return c > 0
		case "$gte":
			return c >= 0
		case "$lt":
			return c < 0
		}
		return c <= 0
	}
}

// condition is a filter, as a document and as a function of the model.
type condition struct {
	doc   bson.D
	match func(bson.D) bool
}

var modelPaths = []string{"a", "b", "b", "c", "c", "a.x", "a.x", "a.y", "a.y", "b.x", "a.0", "a.0.x", "b.1.x", "a.x.y", "_id"}

// modelValue draws from few values, so that filters often match documents.
func modelValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		top := 11
		if depth == 0 {
			top = 8
		}
		switch n := rapid.IntRange(0, top).Draw(t, "kind"); n {
		case 0:
			return nil
		case 1, 2:
			return rapid.Int32Range(0, 4).Draw(t, "int")
		case 3:
			return rapid.Int64Range(0, 4).Draw(t, "long")
		case 4:
			return float64(rapid.IntRange(0, 8).Draw(t, "double")) / 2
		case 5, 6:
			return rapid.SampledFrom([]string{"", "p", "pq", "q", "pqr"}).Draw(t, "string")
		case 7:
			return rapid.Bool().Draw(t, "bool")
		case 8:
			return bson.DateTime(rapid.Int64Range(-1, 1).Draw(t, "date"))
		case 9, 10:
			d := bson.D{}
			for _, name := range []string{"x", "y"} {
				if rapid.IntRange(0, 2).Draw(t, "has") > 0 {
					d = append(d, bson.E{Key: name, Value: modelValue(depth-1).Draw(t, name)})
				}
			}
			return d
		default:
			return bson.A(rapid.SliceOfN(modelValue(depth-1), 0, 3).Draw(t, "array"))
		}
	})
}

// modelDoc draws a document without its _id.
func modelDoc() *rapid.Generator[bson.D] {
	return rapid.Custom(func(t *rapid.T) bson.D {
		d := bson.D{}
		for _, name := range []string{"a", "b", "c"} {
			if rapid.IntRange(0, 4).Draw(t, "has") == 0 {
				continue
			}
			var v any
			switch small := rapid.Int32Range(0, 4); rapid.IntRange(0, 3).Draw(t, "shape") {
			case 0: // arrays, which make an index multikey and its bounds difficult
				list := bson.A{}
				for range rapid.IntRange(1, 3).Draw(t, "elements") {
					if name == "a" {
						list = append(list, D("x", small.Draw(t, "x"), "y", small.Draw(t, "y")))
					} else {
						list = append(list, small.Draw(t, "element"))
					}
				}
				v = list
			case 1:
				v = small.Draw(t, "small")
			default:
				v = modelValue(2).Draw(t, name)
			}
			d = append(d, bson.E{Key: name, Value: v})
		}
		return d
	})
}

// modelOperand draws the operand of a comparison, mostly a number.
func modelOperand() *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		if rapid.Bool().Draw(t, "number") {
			return rapid.Int32Range(0, 4).Draw(t, "operand")
		}
		return modelValue(1).Draw(t, "operand")
	})
}

func modelCondition(depth int) *rapid.Generator[condition] {
	return rapid.Custom(func(t *rapid.T) condition {
		if depth > 0 && rapid.IntRange(0, 2).Draw(t, "compound") == 0 {
			op := rapid.SampledFrom([]string{"$and", "$or", "$nor"}).Draw(t, "op")
			kids := rapid.SliceOfN(modelCondition(depth-1), 1, 3).Draw(t, "kids")
			list := bson.A{}
			for _, k := range kids {
				list = append(list, k.doc)
			}
			return condition{D(op, list), func(d bson.D) bool {
				all := !slices.ContainsFunc(kids, func(k condition) bool { return !k.match(d) })
				some := slices.ContainsFunc(kids, func(k condition) bool { return k.match(d) })
				return op == "$and" && all || op == "$or" && some || op == "$nor" && !some
			}}
		}
		path := rapid.SampledFrom(modelPaths).Draw(t, "path")
		v := modelOperand().Draw(t, "v")
		if path == "_id" {
			v = rapid.Int32Range(0, 30).Draw(t, "id")
		}
		op := rapid.SampledFrom([]string{"$eq", "$eq", "literal", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$in", "$nin", "$exists",
			"$size", "$all", "$regex", "$elemMatch", "$elemMatchDoc", "$not", "range", "after", "after"}).Draw(t, "op")
		if op == "literal" {
			if _, isDoc := v.(bson.D); !isDoc {
				return condition{D(path, v), func(d bson.D) bool { return modelAny(d, path, true, modelEqual(v)) }}
			}
			op = "$eq"
		}
		return modelOperator(t, path, op, v)
	})
}

func modelOperator(t *rapid.T, path, op string, v any) condition {
	on := func(arg any, match func(bson.D) bool) condition { return condition{D(path, D(op, arg)), match} }
	switch op {
	case "$eq":
		return on(v, func(d bson.D) bool { return modelAny(d, path, true, modelEqual(v)) })
	case "$ne":
		return on(v, func(d bson.D) bool { return !modelAny(d, path, true, modelEqual(v)) })
	case "$gt", "$gte", "$lt", "$lte":
		return on(v, func(d bson.D) bool { return modelAny(d, path, true, modelCmp(op, v)) })
	case "range":
		w := modelOperand().Draw(t, "upper")
		return condition{D(path, D("$gte", v, "$lt", w)), func(d bson.D) bool {
			return modelAny(d, path, true, modelCmp("$gte", v)) && modelAny(d, path, true, modelCmp("$lt", w))
		}}
	case "after": // the documents of the next page
		id := rapid.Int32Range(0, 30).Draw(t, "last")
		after := D("$or", A(D(path, D("$gt", v)), D("$and", A(D(path, D("$eq", v)), D("_id", D("$gt", id))))))
		return condition{after, func(d bson.D) bool {
			return modelAny(d, path, true, modelCmp("$gt", v)) ||
				modelAny(d, path, true, modelEqual(v)) && modelAny(d, "_id", true, modelCmp("$gt", id))
		}}
	case "$not":
		return condition{D(path, D("$not", D("$gt", v))), func(d bson.D) bool { return !modelAny(d, path, true, modelCmp("$gt", v)) }}
	case "$in", "$nin":
		list := bson.A(append(rapid.SliceOfN(modelOperand(), 0, 3).Draw(t, "list"), v))
		return on(list, func(d bson.D) bool {
			in := modelAny(d, path, true, func(x any) bool {
				return slices.ContainsFunc(list, func(w any) bool { return modelEqual(w)(x) })
			})
			return in == (op == "$in")
		})
	case "$exists":
		want := rapid.Bool().Draw(t, "want")
		return on(want, func(d bson.D) bool {
			return modelAny(d, path, false, func(x any) bool { _, none := x.(absent); return !none }) == want
		})
	case "$size":
		n := rapid.IntRange(0, 2).Draw(t, "n")
		return on(int32(n), func(d bson.D) bool {
			return modelAny(d, path, false, func(x any) bool { a, ok := x.(bson.A); return ok && len(a) == n })
		})
	case "$all":
		list := bson.A{v, modelOperand().Draw(t, "second")}
		return on(list, func(d bson.D) bool {
			return modelAny(d, path, true, modelEqual(list[0])) && modelAny(d, path, true, modelEqual(list[1]))
		})
	case "$regex":
		p := rapid.SampledFrom([]string{"^p", "^pq", "q", "^pq?", "^p|q", "^$", "r$"}).Draw(t, "pattern")
		re := regexp.MustCompile(p)
		return on(p, func(d bson.D) bool {
			return modelAny(d, path, true, func(x any) bool { s, ok := x.(string); return ok && re.MatchString(s) })
		})
	case "$elemMatch":
		w := modelOperand().Draw(t, "upper")
		return on(D("$gte", v, "$lt", w), func(d bson.D) bool {
			// For an element that is an array, its own elements are tested too.
			holds := func(x any, f func(any) bool) bool {
				a, ok := x.(bson.A)
				return f(x) || ok && slices.ContainsFunc(a, f)
			}
			return modelAny(d, path, false, func(x any) bool {
				a, ok := x.(bson.A)
				return ok && slices.ContainsFunc(a, func(e any) bool {
					return holds(e, modelCmp("$gte", v)) && holds(e, modelCmp("$lt", w))
				})
			})
		})
	default: // $elemMatch on documents
		inner := D("x", D("$gte", v), "y", D("$exists", true))
		return condition{D(path, D("$elemMatch", inner)), func(d bson.D) bool {
			return modelAny(d, path, false, func(x any) bool {
				a, ok := x.(bson.A)
				return ok && slices.ContainsFunc(a, func(e any) bool {
					var sub bson.D
					switch e := e.(type) {
					case bson.D:
						sub = e
					case bson.A: // treated as a document with positions as names
						for i, v := range e {
							sub = append(sub, bson.E{Key: strconv.Itoa(i), Value: v})
						}
					default:
						return false
					}
					return modelAny(sub, "x", true, modelCmp("$gte", v)) &&
						modelAny(sub, "y", false, func(x any) bool { _, none := x.(absent); return !none })
				})
			})
		}}
	}
}

// modelOrder is a sort, as a document and in the model's form.
type modelOrder struct {
	doc  bson.D
	keys []struct {
		path string
		desc bool
	}
}

// emptyArray is the sort value of an empty array. It sorts before null.
type emptyArray struct{}

// sortKey returns the values by which a document is sorted: the first of all combinations of the fields' values. It
// reports false if two fields meet different arrays, which cannot be sorted by.
func (o modelOrder) sortKey(d bson.D) ([]any, bool) {
	cursors := make([]modelCursor, len(o.keys))
	for i, k := range o.keys {
		cursors[i] = modelCursor{v: d, parts: strings.Split(k.path, ".")}
	}
	keys, ok := modelSortKeys(cursors)
	if !ok {
		return nil, false
	}
	return slices.MinFunc(keys, o.compare), true
}

// modelCursor is how far the path of one sort field has been followed.
type modelCursor struct {
	v     any
	parts []string
	array string // the path of the array that v is
	done  bool
}

func modelSortKeys(cursors []modelCursor) (keys [][]any, ok bool) {
	cursors = slices.Clone(cursors)
	var array bson.A
	path, met := "", false
	for i := range cursors {
		c := &cursors[i]
		for !c.done {
			a, isArray := c.v.(bson.A)
			if isArray {
				if met && c.array != path {
					return nil, false
				}
				array, path, met = a, c.array, true
				break
			}
			d, isDoc := c.v.(bson.D)
			switch {
			case len(c.parts) == 0:
				c.done = true
			case isDoc:
				c.v, c.array, c.parts = modelGet(d, c.parts[0]), c.array+"."+c.parts[0], c.parts[1:]
				continue
			default:
				c.v, c.done = nil, true
			}
			if _, none := c.v.(absent); none {
				c.v = nil
			}
		}
	}
	if !met {
		var key []any
		for _, c := range cursors {
			key = append(key, c.v)
		}
		return [][]any{key}, true
	}
	follow := func(number int, e any) bool {
		next := slices.Clone(cursors)
		for i := range next {
			c := &next[i]
			if c.done {
				continue
			}
			_, isDoc := e.(bson.D)
			switch {
			case len(c.parts) == 0:
				c.v, c.done = e, true
			case isDoc:
				c.v, c.array = e, c.array+"#"+strconv.Itoa(number)
			default:
				c.v, c.done = nil, true
			}
		}
		more, ok := modelSortKeys(next)
		keys = append(keys, more...)
		return ok
	}
	if len(array) == 0 {
		array = bson.A{emptyArray{}}
	}
	for i, e := range array {
		if !follow(i, e) {
			return nil, false
		}
	}
	return keys, true
}

func modelSortCompare(a, b any) int {
	_, ea := a.(emptyArray)
	_, eb := b.(emptyArray)
	switch {
	case ea && eb:
		return 0
	case ea:
		return -1
	case eb:
		return 1
	}
	return modelCompare(a, b)
}

func (o modelOrder) compare(a, b []any) int {
	for i, k := range o.keys {
		if c := modelSortCompare(a[i], b[i]); c != 0 {
			if k.desc {
				return -c
			}
			return c
		}
	}
	return 0
}

func drawOrder() *rapid.Generator[modelOrder] {
	return rapid.Custom(func(t *rapid.T) modelOrder {
		var o modelOrder
		paths := rapid.SampledFrom([]string{"a", "b", "c", "a.x", "a.y", "b.x", "_id"})
		for _, path := range rapid.SliceOfNDistinct(paths, 0, 3, rapid.ID).Draw(t, "sort") {
			desc := rapid.Bool().Draw(t, "desc")
			o.keys = append(o.keys, struct {
				path string
				desc bool
			}{path, desc})
			dir := int32(1)
			if desc {
				dir = -1
			}
			o.doc = append(o.doc, bson.E{Key: path, Value: dir})
		}
		return o
	})
}
