// Package casebook folds events into the documents of the context casebook.
package casebook

import (
	"maps"
	"slices"

	"casebook/domain/casebook"
	"casebook/domain/personal"
	"casebook/projections"
	casebookviews "casebook/readmodels/casebook"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{FormView}

type document = casebookviews.FormDocument

// FormView makes one document per form of a casebook.
var FormView = projections.New(casebookviews.FormViews,
	projections.KeyOf(func(e casebook.OfForm, at projections.Envelope) string {
		return casebookviews.FormDocumentKey(projections.PatientOf(at), e.OfForm())
	}),
	projections.On(func(d *document, e casebook.FormSubmitted, at projections.Envelope) {
		begin(d, e.Form, e.Build, at)
		submitted := at.Metadata.RecordedAt
		d.Complete, d.NotDone, d.SubmittedBy, d.SubmittedAt = d.Complete || e.Complete, "", at.Metadata.Actor, &submitted
		for _, it := range e.Items {
			d.Set(valueOf(it.Key, it.Version, it.Content, at))
		}
	}),
	projections.On(func(d *document, e casebook.ItemsCorrected, at projections.Envelope) {
		for _, it := range e.Changes {
			v := valueOf(it.Key, it.Version, it.To, at)
			v.Why, v.Reason = it.Why, string(it.Reason)
			d.Set(v)
		}
	}),
	projections.On(func(d *document, e casebook.ItemsDerived, at projections.Envelope) {
		for _, it := range e.Items {
			v := valueOf(it.Key, it.Version, it.To, at)
			v.Derived = true
			d.Set(v)
		}
	}),
	projections.On(func(d *document, e casebook.QueryRaised, at projections.Envelope) {
		q := casebookviews.FormQuery{Query: e.Query, Status: casebookviews.QueryOpen, Check: e.Check, Key: e.Key,
			RaisedAt: at.Metadata.RecordedAt}
		if e.Check == "" {
			q.RaisedBy = at.Metadata.Actor
			q.Thread = []casebookviews.Remark{remark(casebookviews.QueryOpen, e.Text, at)}
		}
		for _, language := range slices.Sorted(maps.Keys(e.Message)) {
			q.Message = append(q.Message, casebookviews.Said{Language: language, Text: e.Message[language]})
		}
		d.Raise(q)
	}),
	projections.On(func(d *document, e casebook.QueryResolved, at projections.Envelope) {
		d.Resolve(e.Query, at.Metadata.RecordedAt)
	}),
	projections.On(func(d *document, e casebook.QueryAnswered, at projections.Envelope) {
		d.Remark(e.Query, remark(casebookviews.QueryAnswered, e.Text, at))
	}),
	projections.On(func(d *document, e casebook.QueryReopened, at projections.Envelope) {
		d.Remark(e.Query, remark(casebookviews.QueryOpen, e.Text, at))
	}),
	projections.On(func(d *document, e casebook.QueryClosed, at projections.Envelope) {
		d.Remark(e.Query, remark(casebookviews.QueryClosed, e.Text, at))
	}),
	projections.On(func(d *document, e casebook.QueryCancelled, at projections.Envelope) {
		d.Remark(e.Query, remark(casebookviews.QueryCancelled, e.Reason, at))
	}),
	projections.On(func(d *document, e casebook.ItemMarkedNotDone, at projections.Envelope) {
		v := valueOf(e.Key, e.Version, e.To, at)
		v.Reason = string(e.Reason)
		d.Set(v)
	}),
	projections.On(func(d *document, e casebook.FormMarkedNotDone, at projections.Envelope) {
		begin(d, e.Form, e.Build, at)
		d.NotDone, d.Complete = e.Null, false
	}),
	projections.On(func(d *document, e casebook.RowAdded, at projections.Envelope) {
		begin(d, e.Row.Form(), e.Build, at)
		d.NotDone = ""
		d.Mark(rowOf(e.Row, false, "", at))
	}),
	projections.On(func(d *document, e casebook.RowRemoved, at projections.Envelope) {
		d.Mark(rowOf(e.Row, true, e.Reason, at))
	}),
	projections.On(func(d *document, e casebook.RowRestored, at projections.Envelope) {
		d.Mark(rowOf(e.Row, false, e.Reason, at))
	}),
).OfPatient(casebook.Decider.Stream)

func begin(d *document, k casebook.FormKey, build int, at projections.Envelope) {
	d.Patient, d.Study, d.Site = projections.PatientOf(at), at.Metadata.Study, at.Metadata.Site
	d.Form, d.Build = k, build
}

func remark(s casebookviews.QueryStatus, text personal.Text, at projections.Envelope) casebookviews.Remark {
	return casebookviews.Remark{Status: s, Text: string(text), By: at.Metadata.Actor, At: at.Metadata.RecordedAt}
}

func rowOf(k casebook.RowKey, removed bool, reason personal.Text, at projections.Envelope) casebookviews.Row {
	return casebookviews.Row{Row: k, Removed: removed, Reason: string(reason), By: at.Metadata.Actor, At: at.Metadata.RecordedAt}
}

func valueOf(k casebook.Key, version int, c casebook.Content, at projections.Envelope) casebookviews.ItemValue {
	return casebookviews.ItemValue{Key: k, Version: version, Raw: c.Raw, Value: c.Value, Values: c.Values, Text: string(c.Text), Unit: c.Unit,
		Standard: c.Standard, Null: c.Null, By: at.Metadata.Actor, At: at.Metadata.RecordedAt}
}
