package enrollment

import (
	"cmp"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/projections"
	enrollmentviews "casebook/readmodels/enrollment"
)

type entered = enrollmentviews.SiteEnrollment

// SiteEnrollment makes one document per site: how many patients entered and left on each day.
var SiteEnrollment = projections.New(enrollmentviews.SiteEnrollments, projections.KeyOf(func(e any, at projections.Envelope) string {
	return enrollmentviews.EnrollmentKey(at.Metadata.Study, countedAt(e, at))
}),
	projections.On(func(s *entered, e patient.Screened, at projections.Envelope) {
		counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.Screened++ })
	}),
	projections.On(func(s *entered, e patient.ConsentRecorded, at projections.Envelope) {
		counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.Consented++ })
	}),
	projections.On(func(s *entered, e patient.ScreenFailureRecorded, at projections.Envelope) {
		counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.ScreenFailures++ })
	}),
	projections.On(func(s *entered, e patient.Enrolled, at projections.Envelope) {
		counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.Enrolled++ })
	}),
	projections.On(func(s *entered, _ patient.EnrollmentFailed, at projections.Envelope) {
		counted(s, at, "", func(c *enrollmentviews.Enrolling) { c.EnrollmentsFailed++ })
	}),
	projections.On(func(s *entered, e patient.ConsentWithdrawn, at projections.Envelope) {
		if e.EndsParticipation {
			counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.Left(patient.StatusWithdrawn, 1) })
		}
	}),
	projections.On(func(s *entered, e patient.Discontinued, at projections.Envelope) {
		counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.Discontinued++ })
	}),
	projections.On(func(s *entered, e patient.Completed, at projections.Envelope) {
		counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.Completed++ })
	}),
	projections.On(func(s *entered, e patient.ParticipationEnded, at projections.Envelope) {
		counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.Left(e.Reason.Status(), 1) })
	}),
	projections.On(func(s *entered, e patient.ConsentVoided, at projections.Envelope) {
		counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.Consented-- })
	}),
	projections.On(func(s *entered, e patient.ConsentDateCorrected, at projections.Envelope) {
		counted(s, at, e.From, func(c *enrollmentviews.Enrolling) { c.Consented-- })
		counted(s, at, e.To, func(c *enrollmentviews.Enrolling) { c.Consented++ })
	}),
	projections.On(func(s *entered, e patient.EnrollmentDateCorrected, at projections.Envelope) {
		counted(s, at, e.From, func(c *enrollmentviews.Enrolling) { c.Enrolled-- })
		counted(s, at, e.To, func(c *enrollmentviews.Enrolling) { c.Enrolled++ })
	}),
	projections.On(func(s *entered, e patient.ScreeningDateCorrected, at projections.Envelope) {
		counted(s, at, e.From, func(c *enrollmentviews.Enrolling) { c.Screened-- })
		counted(s, at, e.To, func(c *enrollmentviews.Enrolling) { c.Screened++ })
	}),
	projections.On(func(s *entered, e patient.EndDateCorrected, at projections.Envelope) {
		if e.Status != "" {
			counted(s, at, e.From, func(c *enrollmentviews.Enrolling) { c.Left(e.Status, -1) })
			counted(s, at, e.To, func(c *enrollmentviews.Enrolling) { c.Left(e.Status, 1) })
		}
	}),
	projections.On(func(s *entered, e patient.StepUndone, at projections.Envelope) {
		if e.From != e.Status {
			counted(s, at, e.On, func(c *enrollmentviews.Enrolling) { c.Left(e.From, -1) })
		}
		if e.EndedOn != "" && e.Step == patient.StepRegistration { // a screen failure that was voided
			counted(s, at, e.EndedOn, func(c *enrollmentviews.Enrolling) { c.Left(e.Status, 1) })
		}
	}),
	projections.On(func(s *entered, e patient.RegistrationVoided, at projections.Envelope) {
		counted(s, at, e.ScreenedOn, func(c *enrollmentviews.Enrolling) { c.Left(patient.StatusRegisteredInError, 1) })
		if e.EndedOn != "" {
			counted(s, at, e.EndedOn, func(c *enrollmentviews.Enrolling) { c.Left(e.From, -1) })
		}
	}),
)

// countedAt returns the site whose figures an event changes: that of a patient who has moved counts what was counted there.
func countedAt(e any, at projections.Envelope) domain.SiteID {
	var site domain.SiteID
	switch e := e.(type) {
	case patient.ConsentVoided:
		site = e.Site
	case patient.ConsentDateCorrected:
		site = e.Site
	case patient.EnrollmentDateCorrected:
		site = e.Site
	case patient.ScreeningDateCorrected:
		site = e.Site
	}
	return cmp.Or(site, at.Metadata.Site)
}

func counted(s *entered, at projections.Envelope, on domain.Date, add func(*enrollmentviews.Enrolling)) {
	if s.Study = at.Metadata.Study; s.Site == "" {
		s.Site = at.Metadata.Site
	}
	if on == "" {
		on = domain.DateOf(at.Metadata.RecordedAt)
	}
	s.Count(on, add)
}
