// Package build folds events into the documents of the context build.
package build

import (
	"slices"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/study"
	"casebook/projections"
	buildviews "casebook/readmodels/build"
)

// Projections are the projections of this context.
var Projections = []projections.Projection{Builds}

type document = buildviews.BuildDocument

// Builds makes one document per build.
var Builds = projections.New(buildviews.Builds,
	projections.KeyOf(func(e interface {
		AboutBuild() (domain.StudyID, int)
	}, _ projections.Envelope) string {
		return buildviews.BuildKey(e.AboutBuild())
	}),
	projections.On(func(d *document, e build.DraftCreated, _ projections.Envelope) {
		d.Study, d.Build, d.Title, d.Languages, d.Status = e.Study, e.Build, e.Title, e.Languages, buildviews.BuildDraft
	}),
	projections.On(func(d *document, e build.FormPut, _ projections.Envelope) { d.Forms = with(d.Forms, e.Form.ID) }),
	projections.On(func(d *document, e build.CodeListPut, _ projections.Envelope) { d.Lists = with(d.Lists, e.List.ID) }),
	projections.On(func(d *document, e build.ChecksPut, _ projections.Envelope) { d.Checks = with(d.Checks, e.Checks.ID) }),
	projections.On(func(d *document, e build.SchedulePut, _ projections.Envelope) {
		d.Visits = nil
		for _, v := range e.Schedule.Visits {
			d.Visits = append(d.Visits, v.ID)
		}
	}),
	projections.On(func(d *document, e build.PartRemoved, _ projections.Envelope) {
		gone := func(id string) bool { return id == e.Part }
		switch e.Kind {
		case build.PartForm:
			d.Forms = slices.DeleteFunc(d.Forms, gone)
		case build.PartList:
			d.Lists = slices.DeleteFunc(d.Lists, gone)
		case build.PartChecks:
			d.Checks = slices.DeleteFunc(d.Checks, gone)
		case build.PartSchedule:
			d.Visits = nil
		}
	}),
	projections.On(func(d *document, e build.Sealed, at projections.Envelope) {
		d.Status, d.SHA256, d.SealedOn = buildviews.BuildSealed, e.SHA256, domain.DateOf(at.Metadata.RecordedAt)
	}),
	projections.On(func(d *document, e study.BuildPublished, at projections.Envelope) {
		d.Status, d.Protocol, d.PublishedOn = buildviews.BuildPublished, e.Protocol, domain.DateOf(at.Metadata.RecordedAt)
	}),
	projections.On(func(d *document, e study.BuildReleased, at projections.Envelope) {
		d.Releases = append(d.Releases, buildviews.Release{Site: e.Site, On: domain.DateOf(at.Metadata.RecordedAt)})
	}),
)

// with returns the names with one more, each once and in order.
func with(names []string, one string) []string {
	if n, found := slices.BinarySearch(names, one); !found {
		return slices.Insert(names, n, one)
	}
	return names
}
