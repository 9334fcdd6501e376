package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// RecordAttendance records that a planned visit took place. It refuses malformed_date, captured_in_future,
// patient_not_found, patient_ended, patient_status, visit_before_enrollment, unknown_visit and visit_recorded.
func RecordAttendance(p Patient, s study.Study, cmd RecordVisit, call domain.Call) ([]Event, error) {
	if err := cmd.On.NotAfterToday("on", call.At); err != nil {
		return nil, err
	}
	if err := p.mustBe("record a visit", StatusEnrolled); err != nil {
		return nil, err
	}
	if err := cmd.On.NotBefore(p.EnrolledOn, "visit_before_enrollment", "on", "the visit", "the enrolment"); err != nil {
		return nil, err
	}
	if s.Protocol == nil || !slices.ContainsFunc(s.Protocol.Visits, func(v study.Visit) bool { return v.ID == cmd.Visit }) {
		return nil, refuse.Because("unknown_visit", "the protocol has no visit %.80q", cmd.Visit).
			At("visit").Do("use the id of a visit of the protocol in force")
	}
	if on, done := p.Visits[cmd.Visit]; done {
		return nil, refuse.WrongState("visit_recorded", "visit %s was recorded for %s already", cmd.Visit, on).
			At("visit").Do("nothing is left to do")
	}
	dispense := slices.Contains(s.Treatment().DispensingVisits, cmd.Visit)
	return []Event{VisitRecorded{Patient: p.ID, Visit: cmd.Visit, On: cmd.On, Dispense: dispense}}, nil
}
