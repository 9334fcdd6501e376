package patient

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// RequestEnrollment begins the enrolment of a patient. It may be repeated after a failed enrolment. It refuses
// malformed_date, captured_in_future, patient_not_found, patient_ended, consent_missing, patient_status,
// enrolled_before_screening, enrolled_before_consent, study_not_found, site_not_found, site_not_active, activity_paused,
// protocol_not_approved, and consent_version_not_in_force if an amendment has brought a new consent version to the site since the
// signature. By the criteria
// and factors of the protocol, it refuses criterion_unanswered, not_eligible, unknown_criterion, unknown_factor_level,
// unknown_factor, factor_not_derivable and factor_contradicts_record, and weight_missing if the kits depend on the weight.
func RequestEnrollment(p Patient, s study.Study, cmd EnrollPatient, call domain.Call) ([]Event, error) {
	if err := cmd.On.NotAfterToday("on", call); err != nil {
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
	if err := domain.First(s.MustNotBePaused(p.Site, study.ActivityRandomisation, "patient"), s.MustBeApproved(p.Site)); err != nil {
		return nil, err
	}
	s = p.Follows(s)
	if s.Protocol == nil || p.ConsentVersion != s.Protocol.ConsentVersion {
		return nil, refuse.Because("consent_version_not_in_force",
			"the patient has signed consent version %s, which is not the one in force", p.ConsentVersion).
			At("patient").Do("have the version of the protocol in force signed first (ICH E6(R3) 2.8)")
	}
	overridden, err := eligible(s.Protocol.Criteria, cmd.Criteria, p.Overridden)
	if err != nil {
		return nil, err
	}
	if s.NeedsWeight("") && p.WeightKg() == 0 {
		return nil, weightMissing("patient")
	}
	t := s.Treatment()
	requested := EnrollmentRequested{Patient: p.ID, Study: p.Study, Site: p.Site, On: cmd.On, Attempt: p.Attempts + 1,
		Protocol: s.Protocol.Version, ConsentVersion: p.ConsentVersion, Criteria: cmd.Criteria, Overridden: overridden}
	if t.DrawnLater {
		if len(cmd.Factors) > 0 {
			return nil, refuse.Because("unknown_factor", "the protocol draws patients some time after the enrolment").At("factors").
				Do("give the levels with RequestRandomisation")
		}
		requested.DrawnLater = true
		return []Event{requested}, nil
	}
	requested.Randomise, requested.Kits = t.Randomised, s.Gives("")
	if requested.Factors, err = p.levels(s, cmd.Factors); err != nil {
		return nil, err
	}
	if err := s.MustNotBePausedFor(p.Site, requested.Factors, study.ActivityRandomisation, "patient"); err != nil {
		return nil, err
	}
	return []Event{requested}, nil
}

// eligible refuses a patient who does not satisfy every criterion of the protocol (ICH E6(R3) 2.7.1: eligibility is
// confirmed before enrolment), unless the criterion was overridden. It returns the overridden criteria that are not satisfied.
func eligible(criteria []study.Criterion, met map[string]bool, overridden []string) (unmet []string, err error) {
	for _, c := range criteria {
		answer, given := met[c.ID]
		switch {
		case !given:
			return nil, refuse.Because("criterion_unanswered", "criterion %s is not answered", c.ID).
				At("criteria").Do("answer every criterion with true or false: " + criteriaInWords(criteria))
		case answer != c.Exclusion:
		case slices.Contains(overridden, c.ID):
			unmet = append(unmet, c.ID)
		default:
			return nil, refuse.Because("not_eligible", "the patient is not eligible by criterion %s", c.ID).At("criteria").
				Do("record a screen failure; or have an investigator record OverrideEligibility first, which counts as a protocol deviation")
		}
	}
	for id := range met {
		if !slices.ContainsFunc(criteria, func(c study.Criterion) bool { return c.ID == id }) {
			return nil, refuse.Because("unknown_criterion", "the protocol has no criterion %.80q", id).
				At("criteria").Do("answer only those of the protocol: " + criteriaInWords(criteria))
		}
	}
	return unmet, nil
}

// criteriaInWords names criteria with what they are.
func criteriaInWords(criteria []study.Criterion) string {
	var words []string
	for _, c := range criteria {
		kind := " (inclusion)"
		if c.Exclusion {
			kind = " (exclusion)"
		}
		words = append(words, c.ID+kind)
	}
	return domain.Each(words...)
}

// onlyFactors says which factors can be given.
func onlyFactors(factors []study.Factor) string {
	var typed []string
	for _, f := range factors {
		if f.DerivedFrom == "" {
			typed = append(typed, f.ID)
		}
	}
	if len(typed) == 0 {
		return "leave it out: the protocol has no factor whose level is given"
	}
	return "give only " + domain.Each(typed...)
}

// levels returns the patient's level of every factor of the protocol, so that no draw fails because of them. Levels that the
// record determines, such as that of the age, are derived from it. It refuses factor_not_derivable, factor_contradicts_record,
// unknown_factor_level and unknown_factor.
func (p Patient) levels(s study.Study, given map[string]string) (map[string]string, error) {
	factors := s.Treatment().Factors
	all := maps.Clone(given)
	for _, f := range factors {
		if f.DerivedFrom != "" {
			derived, known := p.derived(s, f)
			switch typed, isTyped := given[f.ID]; {
			case !known:
				return nil, refuse.Because("factor_not_derivable", "factor %s follows from the %s, which is not recorded", f.ID, f.DerivedFrom).
					At("factors").Do(recordFirst(f.DerivedFrom))
			case isTyped && typed != derived:
				return nil, refuse.Because("factor_contradicts_record", "factor %s is %.80q, but by the patient's %s it is %q", f.ID, typed,
					f.DerivedFrom, derived).At("factors").Do("leave the factor out, or correct the patient's record")
			}
			if all == nil {
				all = map[string]string{}
			}
			all[f.ID] = derived
		}
		if !slices.Contains(f.Levels, all[f.ID]) {
			return nil, refuse.Because("unknown_factor_level", "factor %s has no level %.80q", f.ID, all[f.ID]).
				At("factors").Do("give " + f.ID + " the level " + domain.Either(f.Levels...))
		}
	}
	for id := range given {
		if !slices.ContainsFunc(factors, func(f study.Factor) bool { return f.ID == id }) {
			return nil, refuse.Because("unknown_factor", "the protocol has no factor %.80q", id).At("factors").
				Do(onlyFactors(factors))
		}
	}
	return all, nil
}

// recordFirst says with which command the site records what a factor follows from.
func recordFirst(source study.FactorSource) string {
	if source == study.FromAge {
		return "record the age with CorrectAge, from 0, and send this again"
	}
	return "record the sex with CorrectSex, and send this again" // what follows from the site is known
}

// derived returns the patient's level of a factor that follows from the record. known says that the record has what it
// follows from.
func (p Patient) derived(s study.Study, f study.Factor) (level string, known bool) {
	switch f.DerivedFrom {
	case study.FromAge:
		return f.LevelOfAge(p.AgeYears), p.AgeYears > 0
	case study.FromSex:
		return string(p.Sex), p.Sex != ""
	case study.FromSite:
		return string(p.Site), true
	case study.FromCountry:
		return s.Sites[p.Site].Country, true
	}
	return "", false
}

// stratumError returns DeviationRandomisation for a patient who was drawn with another level than the record has, else "".
func (p Patient) stratumError(s study.Study) DeviationKind {
	if p.EnrolledOn == "" {
		return ""
	}
	for _, f := range s.Treatment().Factors {
		if level, known := p.derived(s, f); known && p.Factors[f.ID] != "" && p.Factors[f.ID] != level {
			return DeviationRandomisation
		}
	}
	return ""
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
	enrolled := Enrolled{Patient: p.ID, On: p.RequestedOn, PatientNumber: cmd.PatientNumber, RunIn: p.DrawnLater}
	if cmd.DrawnAt != nil {
		enrolled.RandomisedOn = p.DayOf(*cmd.DrawnAt)
	}
	return []Event{enrolled}, nil
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
