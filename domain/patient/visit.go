package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// RecordAttendance records that a planned visit took place. Visits before day 0 belong to the screening. The first procedure
// needs the consent, so that no visit takes place before it (ICH E6(R3) 2.8.1). A visit until the end of the participation may be recorded
// after it. It refuses malformed_date,
// captured_in_future, patient_not_found, patient_ended, unknown_visit, visit_recorded, visit_skipped, consent_missing,
// visit_before_consent, reconsent_required, assessor_unblinded, value_out_of_range, weight_missing, and patient_status and
// visit_before_enrollment for a visit after the screening. Where the protocol refuses visits outside of their windows, it refuses
// visit_too_early and visit_too_late.
func RecordAttendance(p Patient, s study.Study, cmd RecordVisit, call domain.Call) ([]Event, error) {
	if err := cmd.On.NotAfterToday("on", call); err != nil {
		return nil, err
	}
	if err := domain.First(p.mayRecordOn(cmd.On), p.MayAssess(call.Actor)); err != nil {
		return nil, err
	}
	s = p.Follows(s)
	visit, err := visitOf(s, cmd.Visit)
	if err != nil {
		return nil, err
	}
	if p.FirstConsentOn == "" {
		return nil, refuse.Because("consent_missing", "the patient has not signed an informed consent").
			At("patient").Do("record the consent first; no procedure takes place without (ICH E6(R3) 2.8)")
	}
	if err := cmd.On.NotBefore(p.FirstConsentOn, "visit_before_consent", "on", "the visit", "the consent"); err != nil {
		return nil, err
	}
	if err := p.mustHaveSignedAgain(cmd.On); err != nil {
		return nil, err
	}
	if visit.Day >= 0 {
		if !p.ended() || p.EnrolledOn == "" {
			if err := p.mustBe("record a visit after the screening", StatusEnrolled); err != nil {
				return nil, err
			}
		}
		if err := cmd.On.NotBefore(p.EnrolledOn, "visit_before_enrollment", "on", "the visit", "the enrolment"); err != nil {
			return nil, err
		}
	}
	if on, done := p.Visits[cmd.Visit]; done {
		return nil, refuse.WrongState("visit_recorded", "visit %s was recorded for %s already", cmd.Visit, on).
			At("visit").Do("nothing is left to do")
	}
	if err := p.mustNotHaveSkipped(cmd.Visit); err != nil {
		return nil, err
	}
	// A patient whose dose is held gets the kit when it is resumed. Who is treated gets no kit of the screening any more, for which the
	// visit was typed late.
	dispense := p.Treatment.underWay() && s.Gives(cmd.Visit) && visit.Day >= 0 ||
		p.Treatment == TreatmentNotStarted && p.Status != StatusScreened && !p.ended() && s.GivesBeforeDraw(cmd.Visit)
	// The end may have been recorded in error, and be undone.
	would := p.Treatment == TreatmentEnded && s.Gives(cmd.Visit) && visit.Day >= 0 ||
		p.Treatment == TreatmentNotStarted && p.ended() && s.GivesBeforeDraw(cmd.Visit)
	recorded := VisitRecorded{Patient: p.ID, Visit: cmd.Visit, On: cmd.On, Dispense: dispense, WouldDispense: would, WeightKg: cmd.WeightKg}
	switch needed := dispense && s.NeedsWeight(cmd.Visit); {
	case cmd.WeightKg < 0 || cmd.WeightKg > maxKg:
		return nil, refuse.Malformed("value_out_of_range", "a weight of %g kg cannot be", cmd.WeightKg).At("weightKg").
			Do("give the weight in kg")
	case needed && cmd.WeightKg == 0 && p.WeightKg() == 0:
		return nil, weightMissing("weightKg")
	}
	switch outside := outOfWindow(visit, p.EnrolledOn, cmd.On); {
	case outside && visit.OutOfWindow == study.RefuseVisit:
		return nil, outsideRefused(visit, p.EnrolledOn, cmd.On)
	case p.wasBlocked(cmd.On):
		recorded.Candidate = DeviationConsent
	case outside:
		recorded.Candidate = DeviationVisit
	}
	return []Event{recorded}, nil
}

// maxKg is the highest weight that is recorded.
const maxKg = 1000

func weightMissing(field string) error {
	return refuse.Because("weight_missing", "what the patient gets depends on the body weight, and none is recorded").At(field).
		Do("record it with a visit")
}

// outsideRefused is the refusal of a visit outside of its window (codes visit_too_early, visit_too_late).
func outsideRefused(v study.Visit, enrolledOn, on domain.Date) error {
	from, until := enrolledOn.AddDays(v.Day-v.DaysBefore), enrolledOn.AddDays(v.Day+v.DaysAfter)
	code, how := "visit_too_early", "early"
	if on > until {
		code, how = "visit_too_late", "late"
	}
	return refuse.Because(code, "visit %s on %s is too %s; its window is from %s to %s", v.ID, on, how, from, until).At("on").
		Do("record it within its window, or skip the visit with a reason")
}

// mustNotHaveSkipped refuses a visit that was recorded as skipped (code visit_skipped).
func (p Patient) mustNotHaveSkipped(visit string) error {
	if slices.Contains(p.Skipped, visit) {
		return refuse.WrongState("visit_skipped", "visit %.80q was recorded as skipped", visit).At("visit").
			Do("void that first if it was an error")
	}
	return nil
}

// visitOf returns a visit of the protocol (code unknown_visit).
func visitOf(s study.Study, id string) (study.Visit, error) {
	visit, known := s.Visit(id)
	if !known {
		return visit, refuse.Because("unknown_visit", "the protocol has no visit %.80q", id).
			At("visit").Do("use " + domain.Either(s.VisitIDs()...))
	}
	return visit, nil
}

// Skip decides about SkipVisit. The patient gets no kit for the visit. It refuses reason_required, value_too_long, patient_not_found,
// patient_ended, unknown_visit, visit_recorded and visit_skipped.
func Skip(p Patient, s study.Study, cmd SkipVisit, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), p.mustNotHaveEnded()); err != nil {
		return nil, err
	}
	if _, err := visitOf(p.Follows(s), cmd.Visit); err != nil {
		return nil, err
	}
	if on, done := p.Visits[cmd.Visit]; done {
		return nil, refuse.WrongState("visit_recorded", "visit %s was recorded for %s already", cmd.Visit, on).
			At("visit").Do("void it first if it was an error")
	}
	if err := p.mustNotHaveSkipped(cmd.Visit); err != nil {
		return nil, err
	}
	return []Event{VisitSkipped{Patient: p.ID, Visit: cmd.Visit, Reason: cmd.Reason, Candidate: DeviationVisit}}, nil
}

// outOfWindow says whether a day lies outside of a visit's window.
func outOfWindow(v study.Visit, enrolledOn, on domain.Date) bool {
	if !v.HasWindow() || enrolledOn == "" {
		return false
	}
	day := on.DaysSince(enrolledOn)
	return day < v.Day-v.DaysBefore || day > v.Day+v.DaysAfter
}
