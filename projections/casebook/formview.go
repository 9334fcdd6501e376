// Package casebook folds events into the documents of the context casebook.
package casebook

import (
	"maps"
	"slices"

	"casebook/domain/casebook"
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
		d.Patient, d.Study, d.Site = projections.PatientOf(at), at.Metadata.Study, at.Metadata.Site
		d.Form, d.Build, d.Complete = e.Form, e.Build, d.Complete || e.Complete
		d.SubmittedBy, d.SubmittedAt = at.Metadata.Actor, at.Metadata.RecordedAt
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
			RaisedAt: at.Metadata.RecordedAt, Message: []casebookviews.Said{}}
		for _, language := range slices.Sorted(maps.Keys(e.Message)) {
			q.Message = append(q.Message, casebookviews.Said{Language: language, Text: e.Message[language]})
		}
		d.Raise(q)
	}),
	projections.On(func(d *document, e casebook.QueryResolved, at projections.Envelope) {
		d.Resolve(e.Query, at.Metadata.RecordedAt)
	}),
).OfPatient(casebook.Decider.Stream)

func valueOf(k casebook.Key, version int, c casebook.Content, at projections.Envelope) casebookviews.ItemValue {
	return casebookviews.ItemValue{Key: k, Version: version, Raw: c.Raw, Value: c.Value, Values: c.Values, Text: string(c.Text), Unit: c.Unit,
		Standard: c.Standard, By: at.Metadata.Actor, At: at.Metadata.RecordedAt}
}
