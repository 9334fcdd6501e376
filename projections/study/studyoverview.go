package study

import (
	"slices"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/projections"
	studyviews "casebook/readmodels/study"
)

type overview = studyviews.StudyOverview

// StudyOverview makes one document per study: what it is, and how far it has come.
var StudyOverview = projections.New(studyviews.StudyOverviews, projections.ByStudy,
	projections.On(func(o *overview, e study.Created, at projections.Envelope) {
		o.Study, o.Title, o.Sponsor, o.Phase = e.Study, e.Title, e.Sponsor, e.Phase
		o.Figures, o.UpdatedAt = &studyviews.Figures{}, at.Metadata.RecordedAt
	}),
	projections.On(func(o *overview, e study.ProtocolVersionPublished, at projections.Envelope) {
		o.ProtocolVersion, o.ConsentVersion, o.UpdatedAt = e.Protocol.Version, e.Protocol.ConsentVersion, at.Metadata.RecordedAt
	}),
	projections.On(func(o *overview, e study.SiteAdded, at projections.Envelope) {
		site := siteAfter(o, e.Site, e, at)
		site.Name, site.Country, site.Zone = e.Name, e.Country, e.Zone
	}),
	projections.On(func(o *overview, e study.SiteActivated, at projections.Envelope) {
		siteAfter(o, e.Site, e, at).ActivatedOn = e.On
	}),
	projections.On(func(o *overview, e study.ProtocolApprovedAtSite, at projections.Envelope) {
		site := siteAfter(o, e.Site, e, at)
		site.Approvals = append(site.Approvals, studyviews.Approval{Version: e.Version, ApprovedOn: e.ApprovedOn, By: e.By,
			Reference: e.Reference})
	}),
	projections.On(func(o *overview, e study.SiteApprovalWithdrawn, at projections.Envelope) {
		site := siteAfter(o, e.Site, e, at)
		site.Approvals = slices.DeleteFunc(site.Approvals, func(a studyviews.Approval) bool { return a.Version == e.Version })
	}),
	projections.On(func(o *overview, e study.SiteClosed, at projections.Envelope) {
		siteAfter(o, e.Site, e, at).Closing = e.Checklist
	}),
	projections.On(func(o *overview, e study.SiteReopened, at projections.Envelope) {
		site := siteAfter(o, e.Site, e, at)
		if site.Closing = nil; site.ActivatedOn == "" {
			site.ActivatedOn = e.On
		}
	}),
	projections.On(func(o *overview, e study.SitePaused, at projections.Envelope) {
		siteAfter(o, e.Site, e, at).Pause(at.Metadata.RecordedAt, e.Activities, string(e.Reason))
	}),
	projections.On(func(o *overview, e study.SiteResumed, at projections.Envelope) {
		siteAfter(o, e.Site, e, at).Resume(at.Metadata.RecordedAt, e.Activities)
	}),
	projections.On(func(o *overview, e study.Suspended, at projections.Envelope) {
		of := o.SuspensionOf(e.Country, e.Cohort)
		of.Activities, of.Reason, of.Since = study.Stopped(of.Activities, e.Activities), string(e.Reason), at.Metadata.RecordedAt
		o.RememberSuspensions(at.Metadata.RecordedAt)
		o.UpdatedAt = at.Metadata.RecordedAt
	}),
	projections.On(func(o *overview, e study.Resumed, at projections.Envelope) {
		of := o.SuspensionOf(e.Country, e.Cohort)
		of.Activities = study.GoneOn(of.Activities, e.Activities)
		o.DropEndedSuspensions()
		o.RememberSuspensions(at.Metadata.RecordedAt)
		o.UpdatedAt = at.Metadata.RecordedAt
	}),
	projections.On(func(o *overview, e enrollment.Opened, at projections.Envelope) {
		o.Enrollment, o.UpdatedAt = studyviews.EnrollmentView{Open: true, Target: e.Caps.Target, Cap: e.Caps.Study}, at.Metadata.RecordedAt
	}),
	projections.On(func(o *overview, _ enrollment.Closed, at projections.Envelope) {
		o.Enrollment.Open, o.UpdatedAt = false, at.Metadata.RecordedAt
	}),
	projections.On(func(o *overview, e enrollment.TargetSet, at projections.Envelope) {
		o.Enrollment.Target, o.Enrollment.Cap, o.UpdatedAt = e.Caps.Target, e.Caps.Study, at.Metadata.RecordedAt
	}),
	projections.On(func(o *overview, _ patient.Screened, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) { f.Screened++ })
	}),
	projections.On(func(o *overview, _ patient.ScreenFailureRecorded, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) { f.ScreenFailures++ })
	}),
	projections.On(func(o *overview, _ patient.Enrolled, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) { f.Enrolled++ })
	}),
	projections.On(func(o *overview, _ patient.EnrollmentFailed, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) { f.EnrollmentsFailed++ })
	}),
	projections.On(func(o *overview, e patient.ConsentWithdrawn, at projections.Envelope) {
		if e.EndsParticipation {
			count(o, at, func(f *studyviews.Figures) { f.Withdrawn++ })
		}
	}),
	projections.On(func(o *overview, _ patient.Discontinued, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) { f.Discontinued++ })
	}),
	projections.On(func(o *overview, _ patient.Completed, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) { f.Completed++ })
	}),
	projections.On(func(o *overview, e patient.ParticipationEnded, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) { f.Left(e.Reason.Status(), 1) })
	}),
	projections.On(func(o *overview, e patient.StepUndone, at projections.Envelope) {
		if e.From != e.Status {
			count(o, at, func(f *studyviews.Figures) {
				f.Left(e.From, -1)
				f.Left(e.Status, 1) // a screen failure that was voided
			})
		}
	}),
	projections.On(func(o *overview, e patient.RegistrationVoided, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) {
			f.Left(e.From, -1)
			f.Left(patient.StatusRegisteredInError, 1)
		})
	}),
	projections.On(func(o *overview, e diary.Submitted, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) {
			f.CountDiary(e.Mode, e.Late, e.AfterMissed, 1)
		})
	}),
	projections.On(func(o *overview, e diary.Voided, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) {
			if e.MovedTo == "" {
				f.VoidedDiaries++
			}
			if !e.Held {
				f.CountDiary(e.Mode, e.Late, e.AfterMissed, -1)
			}
		})
	}),
	projections.On(func(o *overview, _ diary.WindowMissed, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) { f.MissedWindows++ })
	}),
	projections.On(func(o *overview, _ diary.RiskFlagged, at projections.Envelope) {
		count(o, at, func(f *studyviews.Figures) { f.Risks++ })
	}),
)

// siteAfter returns the site's part of the overview, with its status after an event.
func siteAfter(o *overview, id domain.SiteID, e study.Event, at projections.Envelope) *studyviews.SiteOverview {
	site := o.SiteOf(id)
	site.Status, o.UpdatedAt = string(study.SiteStatus(site.Status).After(e)), at.Metadata.RecordedAt
	return site
}

// count adds to the figures of the study and of the event's site.
func count(o *overview, at projections.Envelope, add func(*studyviews.Figures)) {
	if o.Figures == nil {
		o.Figures = &studyviews.Figures{}
	}
	add(o.Figures)
	add(&o.SiteOf(at.Metadata.Site).Figures)
	o.UpdatedAt = at.Metadata.RecordedAt
}
