package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// RecordAttendance records that a planned visit took place. Visits before day 0 belong to the screening. The first procedure
// needs the consent, so that no visit takes place before it (ICH E6(R3) 2.8.1). It refuses malformed_date,
// captured_in_future, patient_not_found, patient_ended, unknown_visit, visit_recorded, consent_missing,
// visit_before_consent, assessor_unblinded, and patient_status and visit_before_enrollment for a visit after the screening.
func RecordAttendance(p Patient, s study.Study, cmd RecordVisit, call domain.Call) ([]Event, error) {
	if err := cmd.On.NotAfterToday("on", call.At); err != nil {
		return nil, err
	}
	if err := domain.First(p.mustNotHaveEnded(), p.mayAssess(call.Actor)); err != nil {
		return nil, err
	}
	visit, known := s.Visit(cmd.Visit)
	if !known {
		return nil, refuse.Because("unknown_visit", "the protocol has no visit %.80q", cmd.Visit).
			At("visit").Do("use the id of a visit of the protocol in force")
	}
	if p.FirstConsentOn == "" {
		return nil, refuse.Because("consent_missing", "the patient has not signed an informed consent").
			At("patient").Do("record the consent first; no procedure takes place without (ICH E6(R3) 2.8)")
	}
	if err := cmd.On.NotBefore(p.FirstConsentOn, "visit_before_consent", "on", "the visit", "the consent"); err != nil {
		return nil, err
	}
	if visit.Day >= 0 {
		if err := p.mustBe("record a visit after the screening", StatusEnrolled); err != nil {
			return nil, err
		}
		if err := cmd.On.NotBefore(p.EnrolledOn, "visit_before_enrollment", "on", "the visit", "the enrolment"); err != nil {
			return nil, err
		}
	}
	if on, done := p.Visits[cmd.Visit]; done {
		return nil, refuse.WrongState("visit_recorded", "visit %s was recorded for %s already", cmd.Visit, on).
			At("visit").Do("nothing is left to do")
	}
	// A patient whose dose is held gets the kit when it is resumed.
	dispense := p.Treatment.underWay() && slices.Contains(s.Treatment().DispensingVisits, cmd.Visit)
	recorded := VisitRecorded{Patient: p.ID, Visit: cmd.Visit, On: cmd.On, Dispense: dispense}
	if outOfWindow(visit, p.EnrolledOn, cmd.On) {
		recorded.Candidate = DeviationVisit
	}
	return []Event{recorded}, nil
}

// outOfWindow says whether a day lies outside of a visit's window. Visits of the screening, and visits for which the protocol
// allows no days, have none.
func outOfWindow(v study.Visit, enrolledOn, on domain.Date) bool {
	if v.Day < 0 || v.DaysBefore+v.DaysAfter == 0 || enrolledOn == "" {
		return false
	}
	day := on.DaysSince(enrolledOn)
	return day < v.Day-v.DaysBefore || day > v.Day+v.DaysAfter
}
