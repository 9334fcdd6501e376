package patient

import (
	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/study"
)

// CorrectScreeningDate corrects the day of the screening.
type CorrectScreeningDate struct {
	domain.OfPatient
	From            domain.Date `json:"from" doc:"The day as it was recorded"`
	To              domain.Date `json:"to" doc:"The right day"`
	domain.Reasoned `doc:"Why the day was wrong"`
}

// ScreeningDateCorrected says which day of the screening is right.
type ScreeningDateCorrected struct {
	Patient domain.PatientID `json:"patient"`
	From    domain.Date      `json:"from"`
	To      domain.Date      `json:"to"`
	Reason  personal.Text    `json:"reason"`
	// Site is the site at which the screening was counted; "" for the patient's present site.
	Site domain.SiteID `json:"site,omitempty"`
}

func (ScreeningDateCorrected) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e ScreeningDateCorrected) AboutPatient() domain.PatientID { return e.Patient }

// Changed implements domain.Changing.
func (e ScreeningDateCorrected) Changed() []domain.ChangedValue {
	return domain.ChangedText("screenedOn", e.From, e.To)
}

// Rescreening is the facts of a correction of a day that the other records of the same person depend on: the study, the earlier record,
// and the one that goes on with the person. A record that does not exist binds nothing.
type Rescreening struct {
	Study          study.Study
	Earlier, Later Patient
}

// CorrectScreening decides about CorrectScreeningDate. Whether a minor's consent was valid is judged again, because the age counts from
// the screening. It refuses reason_required, value_too_long, malformed_date, captured_in_future, patient_not_found, patient_ended for a
// record that is about nobody, other_value_recorded, nothing_to_correct, and with the codes of the later steps a day after one of them:
// ended_before_screening, enrolled_before_screening, transferred_before_screening, found_before_screening. It refuses
// rescreened_before_failure for a day before the screen failure of the same person's earlier record.
func CorrectScreening(p Patient, facts Rescreening, cmd CorrectScreeningDate, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.To.NotAfterToday("to", call), p.mustBeOfSomebody()); err != nil {
		return nil, err
	}
	err := domain.First(domain.MayCorrect(p.ScreenedOn, cmd.From, cmd.To), p.notScreenedAfterLaterSteps(cmd.To),
		cmd.To.NotBefore(facts.Earlier.failedOn(), "rescreened_before_failure", "to", "the screening", "the earlier screen failure"))
	if err != nil {
		return nil, err
	}
	return p.correcting(facts.Study, ScreeningDateCorrected{Patient: p.ID, From: cmd.From, To: cmd.To, Reason: cmd.Reason,
		Site: p.otherSite(p.screenedAt())}), nil
}

// mustBeOfSomebody refuses a record that is about nobody (codes patient_not_found and patient_ended).
func (p Patient) mustBeOfSomebody() error {
	if !p.Exists() || p.Status == StatusRegisteredInError {
		return p.mustNotHaveEnded()
	}
	return nil
}

// notScreenedAfterLaterSteps refuses a day of the screening after a day that was held to it when it was recorded.
func (p Patient) notScreenedAfterLaterSteps(screened domain.Date) error {
	type step struct {
		on         domain.Date
		code, what string
	}
	later := []step{{p.failedOn(), "ended_before_screening", "the screen failure"},
		{p.DayZero(), "enrolled_before_screening", "the enrolment"},
		{p.firstFoundOn, "found_before_screening", "the deviation"}}
	for _, f := range p.former {
		later = append(later, step{f.until, "transferred_before_screening", "the transfer"})
	}
	for _, l := range later {
		if l.on == "" {
			continue
		}
		if err := l.on.NotBefore(screened, l.code, "to", l.what, "the screening"); err != nil {
			return err
		}
	}
	return nil
}

// failedOn returns the day of the screen failure; "" for a patient whose screening has not failed.
func (p Patient) failedOn() domain.Date {
	if p.Status != StatusScreenFailed {
		return ""
	}
	return p.EndedOn
}

// screenedAt returns the site that screened the patient.
func (p Patient) screenedAt() domain.SiteID {
	if len(p.former) > 0 {
		return p.former[0].site
	}
	return p.Site
}
