package readmodels

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Sizes of a page.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// Page asks for one page of a list. A query that embeds it takes the parameters limit and cursor, and sort if the list has
// several orders.
type Page struct {
	// Sort names one of the list's orders; the first one when empty.
	Sort string `query:"sort"`
	// Limit is the maximum number of items; DefaultLimit when 0. Code in this process may ask for up to MaxLimit.
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many items are wanted"`
	// Cursor is the end of the page before; empty for the first page.
	Cursor string `query:"cursor" maxLength:"500" doc:"The value of next in the previous page"`
	// Total is not empty if the items of all pages are to be counted.
	Total string `query:"total" enum:"count" doc:"count, to be told how many items there are on all pages"`
}

// List is one page of a list.
type List[T any] struct {
	Items []T `json:"items" doc:"The items, in order"`
	// Next is the cursor of the next page; empty on the last. It stays good while items come and go.
	Next string `json:"next,omitempty" doc:"Cursor of the next page; none on the last"`
	// Total is nil unless it was asked for.
	Total *Total `json:"total,omitempty" doc:"How many items there are on all pages; only if it was asked for"`
}

// Total is how many items a list has.
type Total struct {
	Items int `json:"items" doc:"How many items there are, or at least are"`
	// More says that counting ended at MostCounted.
	More bool `json:"more,omitempty" doc:"There are more: the server does not count further"`
}

// MostCounted bounds how many items are counted, so that the total of a large list costs no more than some pages.
const MostCounted = 10_000

func totalOf(counted int) *Total {
	return &Total{Items: min(counted, MostCounted), More: counted > MostCounted}
}

// counted counts the documents that a filter finds.
func counted(ctx context.Context, c *mongo.Collection, filter bson.D) (*Total, error) {
	n, err := c.CountDocuments(ctx, filter, options.Count().SetLimit(MostCounted+1))
	return totalOf(int(n)), err
}

// Size returns the maximum number of items. It refuses value_out_of_range.
func (p Page) Size() (int, error) {
	switch {
	case p.Limit == 0:
		return DefaultLimit, nil
	case p.Limit < 0 || p.Limit > MaxLimit:
		return 0, refuse.Malformed("value_out_of_range", "limit is %d", p.Limit).At("limit").Do("use 1 to 500")
	}
	return p.Limit, nil
}

// after reads the cursor's values into the given ones; it returns false for the first page. It refuses a cursor of another
// list, which would begin the page at a wrong item.
func (p Page) after(values ...any) (bool, error) {
	if p.Cursor == "" {
		return false, nil
	}
	var parts []json.RawMessage
	text, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err == nil {
		err = json.Unmarshal(text, &parts)
	}
	ok := err == nil && len(parts) == len(values)
	for i := 0; ok && i < len(parts); i++ {
		ok = string(parts[i]) != "null" && json.Unmarshal(parts[i], values[i]) == nil
	}
	if !ok {
		return false, refuse.Malformed("malformed_cursor", "the cursor was not made by this list").At("cursor").
			Do("use the cursor of the page before as it came")
	}
	return true, nil
}

func cursor(values ...any) (string, error) {
	text, err := json.Marshal(values)
	return base64.RawURLEncoding.EncodeToString(text), err
}

// After narrows a filter to the documents after an item, in the order of the fields that are given with the item's values.
// direction is 1 if the fields ascend, -1 if they descend. The first field is also bounded by itself, so that an index
// begins there.
func After(filter bson.D, direction int, item bson.D) bson.D {
	beyond, from := "$gt", "$gte"
	if direction < 0 {
		beyond, from = "$lt", "$lte"
	}
	if len(item) == 1 {
		return Bounded(filter, item[0].Key, beyond, item[0].Value)
	}
	var cases bson.A
	for i, field := range item {
		same := append(bson.D{}, item[:i]...)
		cases = append(cases, append(same, bson.E{Key: field.Key, Value: bson.D{{Key: beyond, Value: field.Value}}}))
	}
	return append(Bounded(filter, item[0].Key, from, item[0].Value), bson.E{Key: "$or", Value: cases})
}

// Bounded adds a bound on a field to a filter. It replaces a bound of the same kind: the item before a page lies within the
// bounds of the list, so the new bound is the narrower one.
func Bounded(filter bson.D, field, bound string, value any) bson.D {
	narrowed := slices.Clone(filter)
	for i, e := range narrowed {
		bounds, ok := e.Value.(bson.D)
		if e.Key != field || !ok {
			continue
		}
		bounds = slices.DeleteFunc(slices.Clone(bounds), func(b bson.E) bool { return b.Key == bound })
		bounds = append(bounds, bson.E{Key: bound, Value: value})
		narrowed[i].Value = bounds
		return narrowed
	}
	return append(narrowed, bson.E{Key: field, Value: bson.D{{Key: bound, Value: value}}})
}

// OneOf is the part of a filter that a field has one of the values.
func OneOf[T ~string](field string, values []T) bson.E {
	if len(values) == 1 {
		return bson.E{Key: field, Value: string(values[0])}
	}
	all := make(bson.A, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return bson.E{Key: field, Value: bson.D{{Key: "$in", Value: all}}}
}

// Order is an order of a list of T. All its fields have one direction. The last field is the key, so that no two documents
// have the same place. The order needs an index of the view.
type Order[T any] struct {
	Name string
	// Direction is 1 if the fields ascend, -1 if they descend.
	Direction int
	fields    []string
	// place returns an item's values of the fields.
	place func(T) []any
}

// Ascending returns an order in which the fields ascend; place returns an item's values of the fields.
func Ascending[T any](name string, place func(T) []any, fields ...string) Order[T] {
	return Order[T]{Name: name, Direction: 1, fields: fields, place: place}
}

// Descending returns an order in which the fields descend; place returns an item's values of the fields.
func Descending[T any](name string, place func(T) []any, fields ...string) Order[T] {
	return Order[T]{Name: name, Direction: -1, fields: fields, place: place}
}

// ordered returns the order that a page names, or the first one if it names none. It refuses unknown_order.
func ordered[T any](orders []Order[T], page Page) (Order[T], error) {
	if page.Sort == "" {
		return orders[0], nil
	}
	for _, o := range orders {
		if o.Name == page.Sort {
			return o, nil
		}
	}
	return Order[T]{}, refuse.Malformed("unknown_order", "the list has no order %q", page.Sort[:min(len(page.Sort), 40)]).At("sort").
		Do("leave it out, or give one of those that /openapi.json lists")
}

// Cursor returns the cursor of a page that ends with the item.
func (o Order[T]) Cursor(last T) (string, error) {
	return cursor(append([]any{o.Name}, o.place(last)...)...)
}

// Begin reads from the page's cursor the last item of the page before; it returns nil for the first page. It refuses the
// cursor of another order, whose values are those of other fields.
func (o Order[T]) Begin(page Page) (bson.D, error) {
	var name string
	var none T
	values := o.place(none)
	pointers := []any{&name}
	for _, v := range values {
		pointers = append(pointers, reflect.New(reflect.TypeOf(v)).Interface())
	}
	more, err := page.after(pointers...)
	if err != nil || !more {
		return nil, err
	}
	if name != o.Name {
		return nil, refuse.Malformed("malformed_cursor", "the cursor was made in another order").At("cursor").
			Do("ask for all pages of a list with the same sort")
	}
	item := make(bson.D, len(o.fields))
	for i, field := range o.fields {
		item[i] = bson.E{Key: field, Value: reflect.ValueOf(pointers[i+1]).Elem().Interface()}
	}
	return item, nil
}

// list reads one page of the documents that a filter finds, in an order.
func list[T any](ctx context.Context, c *mongo.Collection, page Page, filter bson.D, o Order[T]) (List[T], error) {
	limit, err := page.Size()
	if err != nil {
		return List[T]{}, err
	}
	item, err := o.Begin(page)
	if err != nil {
		return List[T]{}, err
	}
	var total *Total
	if page.Total != "" {
		if total, err = counted(ctx, c, filter); err != nil {
			return List[T]{}, err
		}
	}
	if item != nil {
		filter = After(filter, o.Direction, item)
	}
	sort := make(bson.D, len(o.fields))
	for i, field := range o.fields {
		sort[i] = bson.E{Key: field, Value: o.Direction}
	}
	found, err := c.Find(ctx, filter, options.Find().SetSort(sort).SetLimit(int64(limit)+1))
	if err != nil {
		return List[T]{}, err
	}
	l := List[T]{Items: []T{}, Total: total}
	if err := found.All(ctx, &l.Items); err != nil {
		return List[T]{}, err
	}
	if len(l.Items) > limit {
		l.Items = l.Items[:limit]
		if l.Next, err = o.Cursor(l.Items[limit-1]); err != nil {
			return List[T]{}, err
		}
	}
	return l, nil
}

// Listed reads one page of the documents that a filter finds, in the order that the page names.
func Listed[T any](ctx context.Context, c *mongo.Collection, page Page, filter bson.D, orders []Order[T]) (List[T], error) {
	o, err := ordered(orders, page)
	if err != nil {
		return List[T]{}, err
	}
	return list(ctx, c, page, filter, o)
}

// ListedFew is Listed for a filter that finds few documents, such as those of one patient, by an index without the order: they are
// all read, and put in order here. Of more than MaxFew only the first are listed.
func ListedFew[T any](ctx context.Context, c *mongo.Collection, page Page, filter bson.D, orders []Order[T]) (List[T], error) {
	found, err := c.Find(ctx, filter, options.Find().SetLimit(MaxFew))
	if err != nil {
		return List[T]{}, err
	}
	var all []T
	if err := found.All(ctx, &all); err != nil {
		return List[T]{}, err
	}
	return Paged(all, page, orders)
}

// MaxFew bounds what ListedFew reads.
const MaxFew = 2000

// Paged is Listed for items in memory.
func Paged[T any](items []T, page Page, orders []Order[T]) (List[T], error) {
	limit, err := page.Size()
	if err != nil {
		return List[T]{}, err
	}
	o, err := ordered(orders, page)
	if err != nil {
		return List[T]{}, err
	}
	behind, err := o.Begin(page)
	if err != nil {
		return List[T]{}, err
	}
	var total *Total
	if page.Total != "" {
		total = totalOf(len(items))
	}
	if behind != nil {
		after := make([]any, len(behind))
		for i, field := range behind {
			after[i] = field.Value
		}
		items = slices.DeleteFunc(items, func(item T) bool { return o.Direction*compared(o.place(item), after) <= 0 })
	}
	slices.SortFunc(items, func(a, b T) int { return o.Direction * compared(o.place(a), o.place(b)) })
	l := List[T]{Items: append([]T{}, items...), Total: total}
	if len(items) > limit {
		l.Items = l.Items[:limit]
		l.Next, err = o.Cursor(l.Items[limit-1])
	}
	return l, err
}

// compared compares two items by their values of an order's fields.
func compared(a, b []any) int {
	for i := range a {
		c := 0
		switch x := a[i].(type) {
		case string:
			c = cmp.Compare(x, b[i].(string)) //nolint:forcetypeassert // both are made by one function
		case time.Time:
			c = x.Compare(b[i].(time.Time)) //nolint:forcetypeassert // as above
		case int:
			c = cmp.Compare(x, b[i].(int)) //nolint:forcetypeassert // as above
		case float64:
			c = cmp.Compare(x, b[i].(float64)) //nolint:forcetypeassert // as above
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// OfStudyOrPatient is the filter of a list of a study that may be asked for one patient. some is false if the patient is in another study.
// A patient's id contains the study; with both, the store would take the index of the study.
func OfStudyOrPatient(study domain.StudyID, patient domain.PatientID) (filter bson.D, some bool) {
	if patient == "" {
		return bson.D{{Key: "study", Value: string(study)}}, true
	}
	return bson.D{{Key: "patient", Value: string(patient)}}, patient.Study() == study
}

// Equal adds to a filter that a field has a value; it adds nothing if the value is empty.
func Equal[V ~string](filter bson.D, field string, value V) bson.D {
	if value == "" {
		return filter
	}
	return append(filter, bson.E{Key: field, Value: string(value)})
}

// Between adds to a filter that a field is at or after from and before to. A zero time adds no bound.
func Between(filter bson.D, field string, from, to time.Time) bson.D {
	if !from.IsZero() {
		filter = Bounded(filter, field, "$gte", from)
	}
	if !to.IsZero() {
		filter = Bounded(filter, field, "$lt", to)
	}
	return filter
}

// OneOrAny is the part of a filter that a field has one value, or any of all values if one is empty. The values are listed,
// so that an index on the field still gives the order of the fields after it.
func OneOrAny[V ~string](field string, one V, all []V) bson.E {
	if one != "" {
		all = []V{one}
	}
	return OneOf(field, all)
}

// Names returns the names of a list's orders.
func Names[T any](orders []Order[T]) []string {
	all := make([]string, len(orders))
	for i, o := range orders {
		all[i] = o.Name
	}
	return all
}

// IndexOn returns an index on fields. All fields ascend; an index can be read from both ends.
func IndexOn(fields ...string) mongo.IndexModel {
	keys := make(bson.D, len(fields))
	for i, field := range fields {
		keys[i] = bson.E{Key: field, Value: 1}
	}
	return mongo.IndexModel{Keys: keys}
}

// LatestOf returns at most the last most items of a list. Documents bound their lists with it.
func LatestOf[T any](all []T, most int) []T {
	if len(all) > most {
		return all[len(all)-most:]
	}
	return all
}
