package api

import (
	"context"
	"strconv"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/readmodels"
)

// Past folds the documents of one patient in a view up to a moment: a log position, or a time where position is 0.
type Past func(ctx context.Context, view string, patient domain.PatientID, position uint64, at time.Time) (map[string]readmodels.Document, error)

// asOfParameter asks for the past. What is answered is folded from the patient's own events; the store is not asked.
var asOfParameter = Parameter{Name: "asOf", In: inQuery, Doc: "A log position or a time (RFC 3339); the answer is what it was then", Example: "2026-03-01T12:00:00Z",
	check: func(value string) error {
		_, _, err := moment(value)
		return err
	}}

func moment(value string) (position uint64, at time.Time, err error) {
	if position, err = strconv.ParseUint(value, 10, 63); err == nil && position > 0 {
		return position, at, nil
	}
	if at, err = time.Parse(time.RFC3339, value); err == nil && !at.IsZero() {
		return 0, at, nil
	}
	return 0, at, refuse.Malformed("malformed_moment", "asOf is neither a log position nor a time").At("asOf").
		Do("give the position of a command's answer, or a time such as 2026-03-01T12:00:00Z")
}

// asOf returns the documents of the patient in a view as they were, by their keys; false where the present is asked for.
func (q asked) asOf(ctx context.Context, a *API, view readmodels.View) (documents map[string]readmodels.Document, is bool, err error) {
	value := q.values["asOf"]
	if value == "" {
		return nil, false, nil
	}
	position, at, err := moment(value)
	if err != nil {
		return nil, true, err
	}
	if a.past == nil {
		return nil, true, refuse.Malformed("no_past", "this process cannot show the past").At("asOf").Do("ask without asOf")
	}
	documents, err = a.past(ctx, view.Name, q.patient, position, at)
	return documents, true, err
}
