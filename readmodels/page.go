package readmodels

import (
	"context"
	"encoding/base64"
	"encoding/json"

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

// Page asks for one page of a list.
type Page struct {
	// Limit is how many items are wanted; DefaultLimit when 0.
	Limit int
	// Cursor is where the page before ended; empty for the first.
	Cursor string
}

// List is one page of a list.
type List[T any] struct {
	Items []T `json:"items" doc:"The items, in order"`
	// Next is the cursor of the next page; empty on the last. It stays good while items come and go.
	Next string `json:"next,omitempty" doc:"Cursor of the next page; none on the last"`
}

func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return DefaultLimit, nil
	case p.Limit < 0 || p.Limit > MaxLimit:
		return 0, refuse.Malformed("value_out_of_range", "limit is %d", p.Limit).At("limit").Do("use 1 to 500")
	}
	return p.Limit, nil
}

// after reads the cursor's values into those given; false for the first page. It refuses a cursor of another list: read
// by halves, it would silently give a page from somewhere.
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

// behind narrows a filter to what comes after an item in the order of the fields, which are given with the item's values;
// direction is 1 where they ascend, -1 where they descend. The bound on the first field is said once more by itself, so
// that an index begins there.
func behind(filter bson.D, direction int, item bson.D) bson.D {
	beyond, from := "$gt", "$gte"
	if direction < 0 {
		beyond, from = "$lt", "$lte"
	}
	var cases bson.A
	for i, field := range item {
		same := append(bson.D{}, item[:i]...)
		cases = append(cases, append(same, bson.E{Key: field.Key, Value: bson.D{{Key: beyond, Value: field.Value}}}))
	}
	return append(filter, bson.E{Key: item[0].Key, Value: bson.D{{Key: from, Value: item[0].Value}}}, bson.E{Key: "$or", Value: cases})
}

// oneOf is the part of a filter that asks for one of the values.
func oneOf[T ~string](field string, values []T) bson.E {
	if len(values) == 1 {
		return bson.E{Key: field, Value: string(values[0])}
	}
	all := make(bson.A, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return bson.E{Key: field, Value: bson.D{{Key: "$in", Value: all}}}
}

// list reads one page; place gives the cursor's values of an item.
func list[T any](ctx context.Context, c *mongo.Collection, page Page, filter, sort bson.D, place func(T) []any) (List[T], error) {
	limit, err := page.limit()
	if err != nil {
		return List[T]{}, err
	}
	found, err := c.Find(ctx, filter, options.Find().SetSort(sort).SetLimit(int64(limit)+1))
	if err != nil {
		return List[T]{}, err
	}
	l := List[T]{Items: []T{}}
	if err := found.All(ctx, &l.Items); err != nil {
		return List[T]{}, err
	}
	if len(l.Items) > limit {
		l.Items = l.Items[:limit]
		if l.Next, err = cursor(place(l.Items[limit-1])...); err != nil {
			return List[T]{}, err
		}
	}
	return l, nil
}
