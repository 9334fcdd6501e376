package projections

import (
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/readmodels"
)

type overview = readmodels.StudyOverview

// StudyOverview makes a document a study: what it is, and how far it has come.
var StudyOverview = New(readmodels.StudyOverviews, byStudy,
	On(func(o *overview, e study.Created, at Envelope) {
		o.Study, o.Title, o.Sponsor, o.Phase = e.Study, e.Title, e.Sponsor, e.Phase
		o.Figures, o.Sites, o.UpdatedAt = &readmodels.Figures{}, []readmodels.SiteOverview{}, at.Metadata.RecordedAt
	}),
	On(func(o *overview, e study.ProtocolVersionPublished, at Envelope) {
		o.ProtocolVersion, o.ConsentVersion, o.UpdatedAt = e.Protocol.Version, e.Protocol.ConsentVersion, at.Metadata.RecordedAt
	}),
	On(func(o *overview, e study.SiteAdded, at Envelope) {
		site := o.SiteOf(e.Site)
		site.Name, site.Country, site.Zone, site.Status = e.Name, e.Country, e.Zone, string(study.SiteAddedOnly)
		o.UpdatedAt = at.Metadata.RecordedAt
	}),
	On(func(o *overview, e study.SiteActivated, at Envelope) {
		site := o.SiteOf(e.Site)
		site.Status, site.ActivatedOn, o.UpdatedAt = string(study.SiteActive), e.On, at.Metadata.RecordedAt
	}),
	On(func(o *overview, e study.SiteClosed, at Envelope) {
		o.SiteOf(e.Site).Status, o.UpdatedAt = string(study.SiteIsClosed), at.Metadata.RecordedAt
	}),
	On(func(o *overview, e enrollment.Opened, at Envelope) {
		o.Enrollment, o.UpdatedAt = readmodels.EnrollmentView{Open: true, Target: e.Caps.Target, Cap: e.Caps.Study}, at.Metadata.RecordedAt
	}),
	On(func(o *overview, _ enrollment.Closed, at Envelope) {
		o.Enrollment.Open, o.UpdatedAt = false, at.Metadata.RecordedAt
	}),
	On(func(o *overview, e enrollment.TargetSet, at Envelope) {
		o.Enrollment.Target, o.Enrollment.Cap, o.UpdatedAt = e.Caps.Target, e.Caps.Study, at.Metadata.RecordedAt
	}),
	On(func(o *overview, _ patient.Screened, at Envelope) {
		count(o, at, func(f *readmodels.Figures) { f.Screened++ })
	}),
	On(func(o *overview, _ patient.ScreenFailed, at Envelope) {
		count(o, at, func(f *readmodels.Figures) { f.ScreenFailures++ })
	}),
	On(func(o *overview, _ patient.Enrolled, at Envelope) {
		count(o, at, func(f *readmodels.Figures) { f.Enrolled++ })
	}),
	On(func(o *overview, _ patient.EnrollmentFailed, at Envelope) {
		count(o, at, func(f *readmodels.Figures) { f.EnrollmentsFailed++ })
	}),
	On(func(o *overview, _ patient.ConsentWithdrawn, at Envelope) {
		count(o, at, func(f *readmodels.Figures) { f.Withdrawn++ })
	}),
	On(func(o *overview, _ patient.Discontinued, at Envelope) {
		count(o, at, func(f *readmodels.Figures) { f.Discontinued++ })
	}),
	On(func(o *overview, _ patient.Completed, at Envelope) {
		count(o, at, func(f *readmodels.Figures) { f.Completed++ })
	}),
	On(func(o *overview, e diary.Submitted, at Envelope) {
		count(o, at, func(f *readmodels.Figures) {
			f.Diaries++
			if e.Late {
				f.LateDiaries++
			}
			if e.AfterMissed {
				f.MissedWindows--
			}
		})
	}),
	On(func(o *overview, _ diary.WindowMissed, at Envelope) {
		count(o, at, func(f *readmodels.Figures) { f.MissedWindows++ })
	}),
	On(func(o *overview, _ diary.RiskFlagged, at Envelope) {
		count(o, at, func(f *readmodels.Figures) { f.Risks++ })
	}),
)

// count adds to the figures of the study and of the event's site.
func count(o *overview, at Envelope, add func(*readmodels.Figures)) {
	if o.Figures == nil {
		o.Figures = &readmodels.Figures{}
	}
	add(o.Figures)
	add(&o.SiteOf(at.Metadata.Site).Figures)
	o.UpdatedAt = at.Metadata.RecordedAt
}
