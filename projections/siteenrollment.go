package projections

import (
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/readmodels"
)

type entered = readmodels.SiteEnrollment

// SiteEnrollment makes a document a site: how many patients came in and left on which day.
var SiteEnrollment = New(readmodels.SiteEnrollments, func(at Envelope) []string {
	return []string{readmodels.EnrollmentKey(at.Metadata.Study, at.Metadata.Site)}
},
	On(func(s *entered, e patient.Screened, at Envelope) {
		counted(s, at, e.On, func(c *readmodels.Enrolling) { c.Screened++ })
	}),
	On(func(s *entered, e patient.Consented, at Envelope) {
		counted(s, at, e.On, func(c *readmodels.Enrolling) { c.Consented++ })
	}),
	On(func(s *entered, e patient.ScreenFailed, at Envelope) {
		counted(s, at, e.On, func(c *readmodels.Enrolling) { c.ScreenFailures++ })
	}),
	On(func(s *entered, e patient.Enrolled, at Envelope) {
		counted(s, at, e.On, func(c *readmodels.Enrolling) { c.Enrolled++ })
	}),
	On(func(s *entered, _ patient.EnrollmentFailed, at Envelope) {
		counted(s, at, "", func(c *readmodels.Enrolling) { c.EnrollmentsFailed++ })
	}),
	On(func(s *entered, e patient.ConsentWithdrawn, at Envelope) {
		counted(s, at, e.On, func(c *readmodels.Enrolling) { c.Withdrawn++ })
	}),
	On(func(s *entered, e patient.Discontinued, at Envelope) {
		counted(s, at, e.On, func(c *readmodels.Enrolling) { c.Discontinued++ })
	}),
	On(func(s *entered, e patient.Completed, at Envelope) {
		counted(s, at, e.On, func(c *readmodels.Enrolling) { c.Completed++ })
	}),
)

func counted(s *entered, at Envelope, on domain.Date, add func(*readmodels.Enrolling)) {
	s.Study, s.Site = at.Metadata.Study, at.Metadata.Site
	if on == "" {
		on = domain.DateOf(at.Metadata.RecordedAt)
	}
	s.Count(on, add)
}
