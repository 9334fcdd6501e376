package patient

import (
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// RequestEnrollment asks the enrolment process for the patient's place. It refuses consent_missing,
// enrolled_before_consent, site_not_active, captured_in_future and wrong_status. After a failed enrolment it may be
// asked for again.
func RequestEnrollment(p Patient, s study.Study, cmd EnrollPatient, call domain.Call) ([]Event, error) {
	if err := cmd.On.NotAfterToday("on", call.At); err != nil {
		return nil, err
	}
	if p.Status == StatusScreened {
		return nil, refuse.Because("consent_missing", "the patient has not signed an informed consent").
			Do("record the consent first; nobody is enrolled without (ICH E6(R3) 2.8)")
	}
	if err := p.mustBe("enrol", StatusConsented, StatusEnrollmentFailed); err != nil {
		return nil, err
	}
	if cmd.On < p.ConsentedOn {
		return nil, refuse.Because("enrolled_before_consent", "the enrolment on %s lies before the consent on %s", cmd.On, p.ConsentedOn).
			At("on").Do("check both days")
	}
	if err := siteMustBeActive(s, p.Study, p.Site); err != nil {
		return nil, err
	}
	return []Event{EnrollmentRequested{Patient: p.ID, Study: p.Study, Site: p.Site, On: cmd.On}}, nil
}

// Confirm ends an enrolment well. The process may send it twice; the second time there is nothing to record. It refuses
// patient_not_found, wrong_status and patient_ended, so that the process gives the place back.
func Confirm(p Patient, cmd ConfirmEnrollment, _ domain.Call) ([]Event, error) {
	if p.Status == StatusEnrolled && p.PatientNumber == cmd.PatientNumber {
		return nil, nil
	}
	if err := domain.Text("patientNumber", cmd.PatientNumber, 50); err != nil {
		return nil, err
	}
	if err := p.mustBe("confirm an enrolment", StatusEnrolling); err != nil {
		return nil, err
	}
	return []Event{Enrolled{Patient: p.ID, On: p.RequestedOn, PatientNumber: cmd.PatientNumber}}, nil
}

// Fail ends an enrolment that found no place, with the reason. The process may send it twice, or when the patient has
// ended meanwhile: then there is nothing to record. It refuses patient_not_found.
func Fail(p Patient, cmd FailEnrollment, _ domain.Call) ([]Event, error) {
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if p.Status != StatusEnrolling {
		return nil, nil
	}
	return []Event{EnrollmentFailed(cmd)}, nil
}

// Withdraw ends the participation by the patient's own will, at any time after a consent. It refuses patient_not_found,
// patient_ended, consent_missing, captured_in_future and ended_before_enrolment.
func Withdraw(p Patient, cmd WithdrawConsent, call domain.Call) ([]Event, error) {
	if err := domain.First(p.mustGoOn(), p.mayEndOn(cmd.On, call), domain.OptionalText("reason", cmd.Reason, 500)); err != nil {
		return nil, err
	}
	if p.ConsentVersion == "" {
		return nil, refuse.Because("consent_missing", "the patient has signed no consent that could be withdrawn").
			Do("record a screen failure instead")
	}
	return []Event{ConsentWithdrawn(cmd)}, nil
}

// Discontinue ends the participation early for another reason. It refuses reason_required, wrong_status,
// captured_in_future and ended_before_enrolment.
func Discontinue(p Patient, cmd DiscontinuePatient, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), p.mustBe("discontinue", StatusEnrolled), p.mayEndOn(cmd.On, call)); err != nil {
		return nil, err
	}
	return []Event{Discontinued(cmd)}, nil
}

// Complete ends the participation as planned. It refuses wrong_status, captured_in_future and ended_before_enrolment.
func Complete(p Patient, cmd CompletePatient, call domain.Call) ([]Event, error) {
	if err := domain.First(p.mustBe("complete", StatusEnrolled), p.mayEndOn(cmd.On, call)); err != nil {
		return nil, err
	}
	return []Event{Completed(cmd)}, nil
}

func (p Patient) mayEndOn(on domain.Date, call domain.Call) error {
	if err := on.NotAfterToday("on", call.At); err != nil {
		return err
	}
	if p.EnrolledOn != "" && on < p.EnrolledOn {
		return refuse.Because("ended_before_enrolment", "the end on %s lies before the enrolment on %s", on, p.EnrolledOn).
			At("on").Do("check the day")
	}
	return nil
}
