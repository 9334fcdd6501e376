package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// RequestEnrollment begins the enrolment of a patient. It may be repeated after a failed enrolment. It refuses
// malformed_date, captured_in_future, patient_not_found, patient_ended, consent_missing, patient_status,
// enrolled_before_screening, enrolled_before_consent, study_not_found, site_not_found, site_not_active, activity_paused, and
// consent_version_not_in_force if an amendment has brought a new consent version since the signature. By the criteria
// and factors of the protocol, it refuses criterion_unanswered, not_eligible, unknown_criterion, unknown_factor_level
// and unknown_factor.
func RequestEnrollment(p Patient, s study.Study, cmd EnrollPatient, call domain.Call) ([]Event, error) {
	if err := cmd.On.NotAfterToday("on", call.At); err != nil {
		return nil, err
	}
	if p.Status == StatusScreened {
		return nil, refuse.Because("consent_missing", "the patient has not signed an informed consent").
			At("patient").Do("record the consent first; nobody is enrolled without (ICH E6(R3) 2.8)")
	}
	if err := p.mustBe("enrol", StatusConsented, StatusEnrollmentFailed); err != nil {
		return nil, err
	}
	err := domain.First(cmd.On.NotBefore(p.ScreenedOn, "enrolled_before_screening", "on", "the enrolment", "the screening"),
		cmd.On.NotBefore(p.ConsentedOn, "enrolled_before_consent", "on", "the enrolment", "the consent"))
	if err != nil {
		return nil, err
	}
	if err := siteMustBeActive(s, p.Study, p.Site); err != nil {
		return nil, err
	}
	if err := s.MustNotBePaused(p.Site, study.ActivityRandomisation, "patient"); err != nil {
		return nil, err
	}
	if s.Protocol == nil || p.ConsentVersion != s.Protocol.ConsentVersion {
		return nil, refuse.Because("consent_version_not_in_force",
			"the patient has signed consent version %s, which is not the one in force", p.ConsentVersion).
			At("patient").Do("have the version of the protocol in force signed first (ICH E6(R3) 2.8)")
	}
	if err := eligible(s.Protocol.Criteria, cmd.Criteria); err != nil {
		return nil, err
	}
	t := s.Treatment()
	if err := stratified(t, cmd.Factors); err != nil {
		return nil, err
	}
	return []Event{EnrollmentRequested{Patient: p.ID, Study: p.Study, Site: p.Site, On: cmd.On, Attempt: p.Attempts + 1,
		Protocol: s.Protocol.Version, ConsentVersion: p.ConsentVersion, Criteria: cmd.Criteria,
		Randomise: t.Randomised, Kits: t.Kits, Factors: cmd.Factors}}, nil
}

// eligible refuses a patient who does not satisfy every criterion of the protocol (ICH E6(R3) 2.7.1: eligibility is
// confirmed before enrolment).
func eligible(criteria []study.Criterion, met map[string]bool) error {
	for _, c := range criteria {
		answer, given := met[c.ID]
		switch {
		case !given:
			return refuse.Because("criterion_unanswered", "criterion %s is not answered", c.ID).
				At("criteria").Do("answer every criterion of the protocol")
		case answer == c.Exclusion:
			return refuse.Because("not_eligible", "the patient is not eligible by criterion %s", c.ID).At("criteria").Do("record a screen failure")
		}
	}
	for id := range met {
		if !slices.ContainsFunc(criteria, func(c study.Criterion) bool { return c.ID == id }) {
			return refuse.Because("unknown_criterion", "the protocol has no criterion %.80q", id).
				At("criteria").Do("answer only the criteria of the protocol")
		}
	}
	return nil
}

// stratified refuses factors and levels that the protocol does not have, so that no draw fails because of them.
func stratified(t study.Treatment, factors map[string]string) error {
	for _, f := range t.Factors {
		if !slices.Contains(f.Levels, factors[f.ID]) {
			return refuse.Because("unknown_factor_level", "factor %s has no level %.80q", f.ID, factors[f.ID]).
				At("factors").Do("give each factor of the protocol one of its levels")
		}
	}
	for id := range factors {
		if !slices.ContainsFunc(t.Factors, func(f study.Factor) bool { return f.ID == id }) {
			return refuse.Because("unknown_factor", "the protocol has no factor %.80q", id).At("factors").Do("give only the factors of the protocol")
		}
	}
	return nil
}

// Confirm records that an enrolment succeeded. If it is sent twice, it records nothing the second time. It refuses
// value_missing, value_too_long, patient_not_found, patient_status and patient_ended. After the last three, the process
// releases the place.
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

// Fail records that an enrolment failed, and why. It records nothing if the patient is not being enrolled, for example
// when it is sent twice or the participation has ended in the meantime. It refuses patient_not_found.
func Fail(p Patient, cmd FailEnrollment, _ domain.Call) ([]Event, error) {
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if p.Status != StatusEnrolling {
		return nil, nil
	}
	return []Event{EnrollmentFailed{Patient: cmd.Patient, Code: cmd.Code, Reason: cmd.Reason}}, nil
}
