package casebook

import (
	"casebook/domain"
	"casebook/domain/form"
)

// QueryRaised says that somebody is to look at an item, because a check of the build holds for it, or the form finds something
// else that is to be asked about. The program raises it, in the append of the value that gave rise to it.
type QueryRaised struct {
	Patient domain.PatientID `json:"patient"`
	// Query is its number within the casebook.
	Query int `json:"query"`
	// Check is the check that holds, or the code of what the form finds without one: answer_unexpected, item_not_asked, item_required,
	// not_computed.
	Check string `json:"check"`
	// Key is the home of the check, in the row for which it holds.
	Key     Key              `json:"key"`
	Message form.Translation `json:"message"`
	// Build is the build that the check is of, and Inputs are what it looked at.
	Build  int     `json:"build"`
	Inputs []Input `json:"inputs,omitempty"`
}

// Input is what a check looked at: an item at a version, or all rows of a group. Version 0 is that of an item without a value.
type Input struct {
	Key Key `json:"key,omitempty"`
	// Rows is a group; Version then counts all changes in all of its rows.
	Rows    string `json:"rows,omitempty"`
	Version int    `json:"version"`
}

// QueryResolved says that what a query asked about is no longer so. The program resolves it, in the append of the value that mended it.
type QueryResolved struct {
	Patient domain.PatientID `json:"patient"`
	Query   int              `json:"query"`
	Check   string           `json:"check"`
	Key     Key              `json:"key"`
}

// query is what the state knows of a query that has not ended.
type query struct {
	check string
	key   Key
}

// LiveQuery is a query that has not ended.
type LiveQuery struct {
	Query int
	Check string
	Key   Key
}

// Queries returns the queries that have not ended, in no particular order.
func (c Casebook) Queries() (live []LiveQuery) {
	for n, q := range c.queries.All() {
		live = append(live, LiveQuery{Query: n, Check: q.check, Key: q.key})
	}
	return live
}
