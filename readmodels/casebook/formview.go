// Package casebook holds the views of patients' casebooks.
package casebook

import (
	"cmp"
	"context"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/casebook"
	"casebook/domain/form"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// FormViews is the view of filled-in forms, with one document per form of a casebook.
var FormViews = readmodels.View{Name: "form-view", Version: 1, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("patient", "form", "_id"),
}}

// maxQueries bounds the newest ended queries that a document holds. The log holds all of them.
const maxQueries = 200

// FormDocument is a form of a patient as it was filled in.
type FormDocument struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID  `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID    `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID     `bson:"site" json:"site" doc:"The site"`
	Form              casebook.FormKey  `bson:"form" json:"form" doc:"The form"`
	Build             int               `bson:"build" json:"build" doc:"The build that it is captured by"`
	Complete          bool              `bson:"complete,omitempty" json:"complete" doc:"Whether somebody has said that nothing is missing"`
	NotDone           casebook.NullCode `bson:"notDone,omitempty" json:"notDone,omitempty" doc:"Why it is not filled in"`
	SubmittedBy       domain.UserID     `bson:"submittedBy,omitempty" json:"submittedBy,omitempty" doc:"Who submitted it last"`
	SubmittedAt       *time.Time        `bson:"submittedAt,omitempty" json:"submittedAt,omitempty" doc:"When it was submitted last"`
	Rows              []Row             `bson:"rows,omitempty" json:"rows" doc:"The rows that were added without a value, removed or restored"`
	Items             []ItemValue       `bson:"items,omitempty" json:"items" doc:"Its items that have, or had, a value, in the order of their keys"`
	Queries           []FormQuery       `bson:"queries,omitempty" json:"queries" doc:"The queries on its items: all that have not ended, and the newest 200 others"`
	OpenQueries       int               `bson:"openQueries" json:"openQueries" doc:"How many queries are open or answered"`
}

// Row is a row of a group.
type Row struct {
	Row     casebook.RowKey `bson:"row" json:"row" doc:"The row"`
	Removed bool            `bson:"removed,omitempty" json:"removed" doc:"Whether it counts for nothing"`
	Reason  string          `bson:"reason,omitempty" json:"reason,omitempty" doc:"Why it was removed or restored last"`
	By      domain.UserID   `bson:"by" json:"by" doc:"Who added, removed or restored it last"`
	At      time.Time       `bson:"at" json:"at" doc:"When"`
}

// Mark keeps what became of a row.
func (d *FormDocument) Mark(r Row) {
	n := slices.IndexFunc(d.Rows, func(one Row) bool { return one.Row == r.Row })
	if n >= 0 {
		d.Rows[n] = r
		return
	}
	d.Rows = append(d.Rows, r)
}

// ItemValue is the newest version of an item.
type ItemValue struct {
	Key casebook.Key `bson:"key" json:"key" doc:"The item"`
	// Version is what a correction names as its base.
	Version  int               `bson:"version" json:"version" doc:"How often it was changed; a correction names it"`
	Raw      string            `bson:"raw,omitempty" json:"raw,omitempty" doc:"What was typed"`
	Value    string            `bson:"value,omitempty" json:"value,omitempty" doc:"The value; left out where it was cleared, or is several or a text"`
	Values   []string          `bson:"values,omitempty" json:"values,omitempty" doc:"The chosen options of an item with several"`
	Text     string            `bson:"text,omitempty" json:"text,omitempty" doc:"What somebody wrote"`
	Unit     string            `bson:"unit,omitempty" json:"unit,omitempty" doc:"Unit in which a number was entered"`
	Standard form.Exact        `bson:"standard,omitempty" json:"standard,omitempty" doc:"The number in the item's own unit, exactly"`
	Null     casebook.NullCode `bson:"null,omitempty" json:"null,omitempty" doc:"Why there is no value"`
	Derived  bool              `bson:"derived,omitempty" json:"derived,omitempty" doc:"Whether it is computed"`
	Why      casebook.Why      `bson:"why,omitempty" json:"why,omitempty" doc:"Why it was changed last"`
	Reason   string            `bson:"reason,omitempty" json:"reason,omitempty" doc:"The same in a sentence"`
	// By is the sender of the command; that of a derived value changed what it is derived from.
	By domain.UserID `bson:"by" json:"by" doc:"Who changed it last, or what it is derived from"`
	At time.Time     `bson:"at" json:"at" doc:"When"`
}

// FormQuery is a query on an item.
type FormQuery struct {
	Query    int           `bson:"query" json:"query" doc:"Its number within the casebook"`
	Status   QueryStatus   `bson:"status" json:"status" doc:"Its status"`
	Check    string        `bson:"check,omitempty" json:"check,omitempty" doc:"The check that holds, or the code of what was found; left out for a query by a person"`
	Key      casebook.Key  `bson:"key,omitempty" json:"key,omitempty" doc:"The item; left out for a query about the form as a whole"`
	Message  []Said        `bson:"message,omitempty" json:"message" doc:"What the program asks, in each language of the build"`
	RaisedAt time.Time     `bson:"raisedAt" json:"raisedAt" doc:"When it was raised"`
	RaisedBy domain.UserID `bson:"raisedBy,omitempty" json:"raisedBy,omitempty" doc:"Who raised it; left out for the program"`
	Thread   []Remark      `bson:"thread,omitempty" json:"thread" doc:"What people asked and answered; the newest 50"`
	EndedAt  *time.Time    `bson:"endedAt,omitempty" json:"endedAt,omitempty" doc:"When it was resolved, closed or cancelled"`
}

// maxRemarks bounds the newest remarks of a query that a document holds.
const maxRemarks = 50

// Remark is what a person said in a query.
type Remark struct {
	Status QueryStatus   `bson:"status" json:"status" doc:"The status of the query since"`
	Text   string        `bson:"text,omitempty" json:"text,omitempty" doc:"What was said"`
	By     domain.UserID `bson:"by" json:"by" doc:"Who"`
	At     time.Time     `bson:"at" json:"at" doc:"When"`
}

// Said is a text in a language.
type Said struct {
	Language string `bson:"language,omitempty" json:"language,omitempty" doc:"Language; left out for texts without one"`
	Text     string `bson:"text" json:"text" doc:"The text"`
}

// QueryStatus is the status of a query.
type QueryStatus string

// The statuses of queries.
const (
	QueryOpen     QueryStatus = "open"
	QueryAnswered QueryStatus = "answered"
	// QueryResolved queries were ended by the value that mended what they asked about.
	QueryResolved  QueryStatus = "resolved"
	QueryClosed    QueryStatus = "closed"
	QueryCancelled QueryStatus = "cancelled"
)

// HasEnded says whether nobody has to do anything about the query.
func (s QueryStatus) HasEnded() bool { return s != QueryOpen && s != QueryAnswered }

// Schema implements domain.HasSchema.
func (QueryStatus) Schema() domain.Schema {
	return domain.OneOf(QueryOpen, QueryAnswered, QueryResolved, QueryClosed, QueryCancelled)
}

// FormDocumentKey returns the key of a form's document.
func FormDocumentKey(patient domain.PatientID, k casebook.FormKey) string {
	return string(patient) + "/" + string(k)
}

// Set keeps the newest version of an item.
func (d *FormDocument) Set(v ItemValue) {
	n, found := slices.BinarySearchFunc(d.Items, v.Key, func(one ItemValue, k casebook.Key) int { return cmp.Compare(one.Key, k) })
	if found {
		d.Items[n] = v
		return
	}
	d.Items = slices.Insert(d.Items, n, v)
}

// Raise keeps a query that is open.
func (d *FormDocument) Raise(q FormQuery) {
	d.Queries = append(d.Queries, q)
	d.count()
}

// Resolve ends a query because of a value.
func (d *FormDocument) Resolve(query int, at time.Time) {
	d.become(query, QueryResolved, at)
	d.count()
}

// Remark keeps what a person said in a query, and what has become of it.
func (d *FormDocument) Remark(query int, r Remark) {
	if q := d.become(query, r.Status, r.At); q != nil {
		q.Thread = readmodels.LatestOf(append(q.Thread, r), maxRemarks)
	}
	d.count()
}

func (d *FormDocument) become(query int, s QueryStatus, at time.Time) *FormQuery {
	for n := range d.Queries {
		if q := &d.Queries[n]; q.Query == query {
			if q.Status = s; s.HasEnded() {
				q.EndedAt = &at
			}
			return q
		}
	}
	return nil
}

// count counts the queries that have not ended, and leaves the oldest of the others out where there are many.
func (d *FormDocument) count() {
	d.OpenQueries = 0
	for _, q := range d.Queries {
		if !q.Status.HasEnded() {
			d.OpenQueries++
		}
	}
	tooMany := len(d.Queries) - d.OpenQueries - maxQueries
	d.Queries = slices.DeleteFunc(d.Queries, func(q FormQuery) bool {
		ended := q.Status.HasEnded() && tooMany > 0
		if ended {
			tooMany--
		}
		return ended
	})
}

// Queries are those of this context.
var Queries = []readmodels.Query{patientForms}

var patientForms = readmodels.Declare(readmodels.Query{
	Name: "PatientForms", Path: "/api/v1/patients/{patient}/forms", Summary: "A patient's case report forms as they are filled in",
	Doc: "Every form that was submitted or marked as not done, with its values, their versions, and the queries on them. " +
		"Blinded items are left out.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachPatient, Views: []readmodels.View{FormViews},
}, ListForms)

// FormsQuery asks for a patient's forms, as they are or as they were at a moment; an empty field does not narrow the list.
type FormsQuery struct {
	Patient domain.PatientID  `path:"patient" doc:"The patient"`
	AsOf    readmodels.Moment `query:"asOf"`
	Form    casebook.FormKey  `query:"form" maxLength:"300" doc:"Only this form"`
	readmodels.Page
}

var formOrders = []readmodels.Order[FormDocument]{
	readmodels.Ascending("form", func(d FormDocument) []any { return []any{string(d.Form), d.ID} }, "form", "_id"),
}

// ListForms returns a page of a patient's forms.
func ListForms(ctx context.Context, r readmodels.Request, q FormsQuery) (readmodels.List[FormDocument], error) {
	if q.AsOf.IsPresent() {
		filter := readmodels.Equal(bson.D{{Key: "patient", Value: string(q.Patient)}}, "form", q.Form)
		return readmodels.Listed(ctx, r.Store.Collection(FormViews), q.Page, filter, formOrders)
	}
	past, err := r.AsOf(ctx, FormViews, q.Patient, q.AsOf)
	if err != nil {
		return readmodels.List[FormDocument]{}, err
	}
	var found []FormDocument
	for _, document := range past {
		if d, ok := document.(*FormDocument); ok && (q.Form == "" || d.Form == q.Form) {
			found = append(found, *d)
		}
	}
	return readmodels.Paged(found, q.Page, formOrders)
}
