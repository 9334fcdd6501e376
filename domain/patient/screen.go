package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/localtime"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Screening is the facts of Screen: the study, the earlier record of a person who is screened again, and a patient whose number differs
// from the new one in capital and small letters alone.
type Screening struct {
	Study   study.Study
	Earlier Patient
	Spelled domain.PatientID
}

// Screen begins the stream of a patient who is screened. It refuses malformed_id, malformed_date, captured_in_future,
// value_out_of_range, unknown_code, study_not_found, site_not_found, site_not_active, protocol_not_approved, activity_paused,
// patient_exists, unknown_zone, and
// earlier_record_not_found, earlier_record_open, patient_rescreened and rescreened_before_failure for a person who is screened again.
func Screen(p Patient, facts Screening, cmd ScreenPatient, call domain.Call) ([]Event, error) {
	s := facts.Study
	err := domain.First(domain.ValidateScreeningNumber(cmd.ScreeningNumber), cmd.On.NotAfterToday("on", call),
		domain.Between("ageYears", cmd.AgeYears, 0, 130), cmd.Sex.validate())
	if err != nil {
		return nil, err
	}
	if err := siteMustBeActive(s, cmd.Study, cmd.Site); err != nil {
		return nil, err
	}
	if err := domain.First(s.MustBeApproved(cmd.Site), s.MustNotBePaused(cmd.Site, study.ActivityScreening, "site")); err != nil {
		return nil, err
	}
	if p.Exists() {
		return nil, refuse.WrongState("patient_exists",
			"study %s has a patient with screening number %s already", cmd.Study, cmd.ScreeningNumber).
			At("screeningNumber").Do("use a new screening number")
	}
	if facts.Spelled != "" { // patients of earlier programs may have such numbers, and stay two
		return nil, refuse.WrongState("patient_exists", "study %s has the patient %s already; capital and small letters make no other number",
			cmd.Study, facts.Spelled).At("screeningNumber").Do("use a new screening number")
	}
	if err := facts.Earlier.mayBeRescreened(cmd); err != nil {
		return nil, err
	}
	zone := cmd.Zone
	if zone == "" {
		zone = s.Sites[cmd.Site].Zone
	}
	if _, err := localtime.Load(zone); err != nil {
		return nil, domain.At("zone", err)
	}
	return []Event{Screened{Patient: domain.NewPatientID(cmd.Study, cmd.ScreeningNumber), Study: cmd.Study, Site: cmd.Site,
		ScreeningNumber: cmd.ScreeningNumber, On: cmd.On, Zone: zone, Sex: cmd.Sex, AgeYears: cmd.AgeYears,
		RescreeningOf: cmd.RescreeningOf}}, nil
}

// mayBeRescreened refuses a new screening that names an earlier record of which it cannot be the repetition.
func (p Patient) mayBeRescreened(cmd ScreenPatient) error {
	switch {
	case cmd.RescreeningOf == "":
		return nil
	case !p.Exists() || cmd.RescreeningOf.Study() != cmd.Study || p.Site != cmd.Site: // a site learns nothing of another's patients
		return refuse.NotFound("earlier_record_not_found", "site %s has no patient %.80s", cmd.Site, cmd.RescreeningOf).
			At("rescreeningOf").Do("give the id of the earlier record at the same site")
	case p.Status != StatusScreenFailed:
		return refuse.WrongState("earlier_record_open", "patient %s is %s, and has not failed the screening", p.ID, p.Status).
			At("rescreeningOf").Do("record the screen failure first")
	}
	if err := p.mustBeTheLastRecord("rescreeningOf"); err != nil {
		return err
	}
	return cmd.On.NotBefore(p.EndedOn, "rescreened_before_failure", "on", "the screening", "the earlier screen failure")
}

// FailScreening records a screen failure. It refuses reason_required, value_too_long, malformed_date,
// captured_in_future, patient_not_found, patient_ended, ended_before_screening, and patient_status if the patient is
// enrolled or is being enrolled.
func FailScreening(p Patient, cmd RecordScreenFailure, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.On.NotAfterToday("on", call)); err != nil {
		return nil, err
	}
	if err := p.mustBe("record a screen failure", StatusScreened, StatusConsented, StatusEnrollmentFailed); err != nil {
		return nil, err
	}
	if err := cmd.On.NotBefore(p.ScreenedOn, "ended_before_screening", "on", "the screen failure", "the screening"); err != nil {
		return nil, err
	}
	return []Event{ScreenFailureRecorded{Patient: cmd.Patient, On: cmd.On, Reason: cmd.Reason}}, nil
}

func siteMustBeActive(s study.Study, id domain.StudyID, site domain.SiteID) error {
	if !s.Exists() {
		return refuse.NotFound("study_not_found", "there is no study %s", id).At("study").Do("check the id")
	}
	if _, known := s.Sites[site]; !known {
		return refuse.NotFound("site_not_found", "study %s has no site %s", id, site).At("site").Do("check the id")
	}
	if !s.SiteIsActive(site) {
		return refuse.WrongState("site_not_active", "site %s of study %s is not active", site, id).At("site").Do("activate the site first")
	}
	return nil
}

func (sex Sex) validate() error {
	if sex == "" || slices.Contains([]Sex{Female, Male, Undifferentiated, SexUnknown}, sex) {
		return nil
	}
	return refuse.Malformed("unknown_code", "%q is not a code of C66731", string(sex[:min(len(sex), 40)])).At("sex").
		Do("use F, M, U or UNDIFFERENTIATED")
}

// mustBe refuses a step that the patient's status does not allow (21 CFR 11.10(f); codes patient_not_found,
// patient_ended and patient_status).
func (p Patient) mustBe(step string, allowed ...Status) error {
	if slices.Contains(allowed, p.Status) {
		return nil
	}
	if !p.Exists() {
		return patientNotFound()
	}
	if p.ended() {
		return p.mustNotHaveEnded()
	}
	return refuse.WrongState("patient_status", "the patient is %s; it is not possible to %s now", p.Status, step).
		At("patient").Do("follow the order screened, consented, enrolled")
}

func patientNotFound() error {
	return refuse.NotFound("patient_not_found", "there is no such patient").At("patient").Do("check the id, or screen the patient first")
}

func (p Patient) ended() bool {
	return slices.Contains([]Status{StatusScreenFailed, StatusWithdrawn, StatusDiscontinued, StatusCompleted,
		StatusRegisteredInError}, p.Status)
}

// mayRecordOn refuses what took place after the participation had ended (codes patient_not_found and patient_ended). What took place
// until then belongs to the study, also if it is typed later.
func (p Patient) mayRecordOn(on domain.Date) error {
	if p.ended() && p.Status != StatusRegisteredInError && on <= p.EndedOn {
		return nil
	}
	return p.mustNotHaveEnded()
}

// mustNotHaveEnded refuses commands on a patient whose participation has ended (codes patient_not_found,
// patient_ended).
func (p Patient) mustNotHaveEnded() error {
	if !p.Exists() {
		return patientNotFound()
	}
	if p.ended() {
		return refuse.WrongState("patient_ended", "the patient's participation ended on %s: %s", p.EndedOn, p.Status).
			At("patient").Do("nothing more of this kind can be recorded")
	}
	return nil
}
