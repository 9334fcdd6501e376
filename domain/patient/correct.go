package patient

import (
	"maps"
	"slices"
	"strconv"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Corrections change what was entered in error. The old value, the new one and the reason are kept. A correction is recorded
// also where the truth contradicts the protocol: it then names the deviation that somebody may have to record. Nobody
// corrects the day of the draw, which the system has set. What depends on the corrected day is judged again.

// CorrectVisitDate corrects the day of a visit.
type CorrectVisitDate struct {
	domain.OfPatient
	Visit           string      `json:"visit" minLength:"1" maxLength:"50" doc:"Id of the visit in the protocol"`
	From            domain.Date `json:"from" doc:"The day as it was recorded"`
	To              domain.Date `json:"to" doc:"The right day"`
	domain.Reasoned `doc:"Why the day was wrong"`
}

// VoidVisit records that a visit did not take place, such as one that was recorded for the wrong patient.
type VoidVisit struct {
	domain.OfPatient
	Visit           string `json:"visit" minLength:"1" maxLength:"50" doc:"Id of the visit in the protocol"`
	domain.Reasoned `doc:"Why it was recorded in error"`
}

// CorrectConsentDate corrects the day of a signature.
type CorrectConsentDate struct {
	domain.OfPatient
	ConsentVersion  string      `json:"consentVersion" minLength:"1" maxLength:"50" doc:"Version of the form that was signed"`
	From            domain.Date `json:"from" doc:"The day as it was recorded"`
	To              domain.Date `json:"to" doc:"The right day"`
	domain.Reasoned `doc:"Why the day was wrong"`
}

// CorrectEnrollmentDate corrects the day of the enrolment.
type CorrectEnrollmentDate struct {
	domain.OfPatient
	From            domain.Date `json:"from" doc:"The day as it was recorded"`
	To              domain.Date `json:"to" doc:"The right day"`
	domain.Reasoned `doc:"Why the day was wrong"`
}

// CorrectAge corrects the age at screening.
type CorrectAge struct {
	domain.OfPatient
	From            int `json:"from" minimum:"0" maximum:"130" doc:"The age as it was recorded, 0 for none"`
	To              int `json:"to" minimum:"0" maximum:"130" doc:"The right age at screening, years"`
	domain.Reasoned `doc:"Why the age was wrong"`
}

// CorrectSex corrects the sex.
type CorrectSex struct {
	domain.OfPatient
	From            Sex `json:"from,omitempty" doc:"The sex as it was recorded; left out for none"`
	To              Sex `json:"to" doc:"The right one, CDISC C66731"`
	domain.Reasoned `doc:"Why the sex was wrong"`
}

// VisitDateCorrected says which day of a visit is right.
type VisitDateCorrected struct {
	Patient domain.PatientID `json:"patient"`
	Visit   string           `json:"visit"`
	From    domain.Date      `json:"from"`
	To      domain.Date      `json:"to"`
	Reason  personal.Text    `json:"reason"`
	// Candidate is the deviation that the right day may be; somebody has to confirm it.
	Candidate DeviationKind `json:"candidate,omitempty"`
}

// VisitVoided says that a visit was recorded in error, or was skipped in error. On is "" in the latter case.
type VisitVoided struct {
	Patient domain.PatientID `json:"patient"`
	Visit   string           `json:"visit"`
	On      domain.Date      `json:"on"`
	Reason  personal.Text    `json:"reason"`
}

// ConsentDateCorrected says which day of a signature is right.
type ConsentDateCorrected struct {
	Patient        domain.PatientID `json:"patient"`
	ConsentVersion string           `json:"consentVersion"`
	From           domain.Date      `json:"from"`
	To             domain.Date      `json:"to"`
	Reason         personal.Text    `json:"reason"`
	// Candidate is the deviation that the right day may be; somebody has to confirm it.
	Candidate DeviationKind `json:"candidate,omitempty"`
	// Site is the site at which the consent was counted; "" for the patient's present site.
	Site domain.SiteID `json:"site,omitempty"`
}

// EnrollmentDateCorrected says which day of the enrolment is right.
type EnrollmentDateCorrected struct {
	Patient domain.PatientID `json:"patient"`
	From    domain.Date      `json:"from"`
	To      domain.Date      `json:"to"`
	Reason  personal.Text    `json:"reason"`
	// Candidate is the deviation that the right day may be; somebody has to confirm it.
	Candidate DeviationKind `json:"candidate,omitempty"`
	// Site is the site at which the enrolment was counted; "" for the patient's present site.
	Site domain.SiteID `json:"site,omitempty"`
}

// AgeCorrected says which age is right.
type AgeCorrected struct {
	Patient domain.PatientID `json:"patient"`
	From    int              `json:"from"`
	To      int              `json:"to"`
	Reason  personal.Text    `json:"reason"`
	// Candidate is a draw with the wrong level of a factor; somebody has to confirm it.
	Candidate DeviationKind `json:"candidate,omitempty"`
}

// SexCorrected says which sex is right.
type SexCorrected struct {
	Patient domain.PatientID `json:"patient"`
	From    Sex              `json:"from,omitempty"`
	To      Sex              `json:"to"`
	Reason  personal.Text    `json:"reason"`
	// Candidate is a draw with the wrong level of a factor; somebody has to confirm it.
	Candidate DeviationKind `json:"candidate,omitempty"`
}

// AboutPatient returns the patient that the event is about.
func (e VisitDateCorrected) AboutPatient() domain.PatientID { return e.Patient }

func (VisitDateCorrected) patientEvent()      {}
func (VisitVoided) patientEvent()             {}
func (ConsentDateCorrected) patientEvent()    {}
func (EnrollmentDateCorrected) patientEvent() {}
func (AgeCorrected) patientEvent()            {}
func (SexCorrected) patientEvent()            {}

// AboutPatient returns the patient that the event is about.
func (e VisitVoided) AboutPatient() domain.PatientID { return e.Patient }

// CorrectVisit decides about CorrectVisitDate. It refuses reason_required, value_too_long, malformed_date,
// captured_in_future, patient_not_found, visit_not_recorded, other_value_recorded and nothing_to_correct.
func CorrectVisit(p Patient, s study.Study, cmd CorrectVisitDate, call domain.Call) ([]Event, error) {
	on, err := p.visitOn(cmd.Visit, cmd.Reason)
	if err != nil {
		return nil, err
	}
	if err := domain.First(cmd.To.NotAfterToday("to", call), domain.MayCorrect(on, cmd.From, cmd.To)); err != nil {
		return nil, err
	}
	corrected := VisitDateCorrected{Patient: p.ID, Visit: cmd.Visit, From: cmd.From, To: cmd.To, Reason: cmd.Reason}
	corrected.Candidate = p.verdictAfter(s, corrected)
	return p.correcting(s, corrected), nil
}

// Void decides about VoidVisit. It takes back a visit, or that one was skipped; the visit may be recorded again. A kit that it has asked
// for stays with the patient's kits. It refuses reason_required, value_too_long, patient_not_found and visit_not_recorded.
func Void(p Patient, s study.Study, cmd VoidVisit, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err == nil && slices.Contains(p.Skipped, cmd.Visit) {
		return []Event{VisitVoided{Patient: p.ID, Visit: cmd.Visit, Reason: cmd.Reason}}, nil
	}
	on, err := p.visitOn(cmd.Visit, cmd.Reason)
	if err != nil {
		return nil, err
	}
	return p.correcting(s, VisitVoided{Patient: p.ID, Visit: cmd.Visit, On: on, Reason: cmd.Reason}), nil
}

// visitOn returns the day of a recorded visit. It refuses reason_required, value_too_long, patient_not_found and
// visit_not_recorded.
func (p Patient) visitOn(visit string, reason personal.Text) (domain.Date, error) {
	if err := domain.Reason(reason); err != nil {
		return "", err
	}
	if !p.Exists() {
		return "", patientNotFound()
	}
	on, done := p.Visits[visit]
	if !done {
		return "", refuse.WrongState("visit_not_recorded", "visit %.80q is not recorded", visit).At("visit").Do("check the patient's visits")
	}
	return on, nil
}

// CorrectConsent decides about CorrectConsentDate. It refuses reason_required, value_too_long, malformed_date,
// captured_in_future, patient_not_found, consent_not_recorded, other_value_recorded and nothing_to_correct.
func CorrectConsent(p Patient, s study.Study, cmd CorrectConsentDate, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.To.NotAfterToday("to", call)); err != nil {
		return nil, err
	}
	if !p.Exists() {
		return nil, patientNotFound()
	}
	i := p.signature(cmd.ConsentVersion)
	if i < 0 {
		return nil, consentNotRecorded(cmd.ConsentVersion)
	}
	if err := domain.MayCorrect(p.Consents[i].On, cmd.From, cmd.To); err != nil {
		return nil, err
	}
	corrected := ConsentDateCorrected{Patient: p.ID, ConsentVersion: cmd.ConsentVersion, From: cmd.From, To: cmd.To, Reason: cmd.Reason,
		Site: p.otherSite(p.Consents[i].site)}
	corrected.Candidate = p.verdictAfter(s, corrected)
	return p.correcting(s, corrected), nil
}

// tooEarly says whether a form was refused because it was signed before its publication or its approval.
func tooEarly(_ int, err error) bool {
	r, refused := refuse.As(err)
	return refused && (r.Code == "consent_before_publication" || r.Code == "consent_before_approval")
}

// firstProcedureOn returns the day of the first visit, or of the enrolment if that was earlier, also while it is under way; "" before both.
func (p Patient) firstProcedureOn() domain.Date {
	first := p.DayZero()
	for _, on := range p.Visits {
		if first == "" || on < first {
			first = on
		}
	}
	return first
}

// Redating is the facts of CorrectEnrollment: the study, and the first day on which the patient was given a kit that is not given before
// the enrolment; "" for none.
type Redating struct {
	Study   study.Study
	GivenOn domain.Date
}

// CorrectEnrollment decides about CorrectEnrollmentDate. It refuses reason_required, value_too_long, malformed_date,
// captured_in_future, patient_not_found, patient_not_enrolled, other_value_recorded, nothing_to_correct,
// enrolled_before_screening, ended_before_enrollment and dispensed_before_enrollment.
func CorrectEnrollment(p Patient, facts Redating, cmd CorrectEnrollmentDate, call domain.Call) ([]Event, error) {
	s := facts.Study
	if err := domain.First(domain.Reason(cmd.Reason), cmd.To.NotAfterToday("to", call)); err != nil {
		return nil, err
	}
	switch {
	case !p.Exists():
		return nil, patientNotFound()
	case p.EnrolledOn == "":
		return nil, refuse.WrongState("patient_not_enrolled", "the patient is not enrolled").At("patient").Do("enrol the patient first")
	}
	err := domain.First(domain.MayCorrect(p.EnrolledOn, cmd.From, cmd.To),
		cmd.To.NotBefore(p.ScreenedOn, "enrolled_before_screening", "to", "the enrolment", "the screening"))
	if err != nil {
		return nil, err
	}
	for _, end := range []domain.Date{p.EndedOn, p.TreatmentEndedOn} {
		if end != "" && end < cmd.To {
			return nil, refuse.Because("ended_before_enrollment", "the enrolment on %s lies after the end on %s", cmd.To, end).At("to").
				Do("check both days")
		}
	}
	if facts.GivenOn != "" {
		err := facts.GivenOn.NotBefore(cmd.To, "dispensed_before_enrollment", "to", "giving out a kit", "the enrolment")
		if err != nil {
			return nil, err
		}
	}
	corrected := EnrollmentDateCorrected{Patient: p.ID, From: cmd.From, To: cmd.To, Reason: cmd.Reason, Site: p.otherSite(p.EnrolledAt)}
	corrected.Candidate = p.verdictAfter(s, corrected)
	return p.correcting(s, corrected), nil
}

// CorrectAgeAtScreening decides about CorrectAge. It refuses reason_required, value_too_long, value_out_of_range,
// patient_not_found, other_value_recorded and nothing_to_correct.
func CorrectAgeAtScreening(p Patient, s study.Study, cmd CorrectAge, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), domain.Between("to", cmd.To, 0, 130)); err != nil {
		return nil, err
	}
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if err := domain.MayCorrect(strconv.Itoa(p.AgeYears), strconv.Itoa(cmd.From), strconv.Itoa(cmd.To)); err != nil {
		return nil, err
	}
	now := p
	now.AgeYears = cmd.To
	return p.correcting(s, AgeCorrected{Patient: p.ID, From: cmd.From, To: cmd.To, Reason: cmd.Reason,
		Candidate: now.stratumError(p.Follows(s))}), nil
}

// CorrectRecordedSex decides about CorrectSex. It refuses reason_required, value_too_long, value_missing, unknown_code,
// patient_not_found, other_value_recorded and nothing_to_correct.
func CorrectRecordedSex(p Patient, s study.Study, cmd CorrectSex, _ domain.Call) ([]Event, error) {
	err := domain.First(domain.Reason(cmd.Reason), domain.Text("to", string(cmd.To), 20), domain.At("to", cmd.To.validate()))
	if err != nil {
		return nil, err
	}
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if err := domain.MayCorrect(p.Sex, cmd.From, cmd.To); err != nil {
		return nil, err
	}
	now := p
	now.Sex = cmd.To
	return []Event{SexCorrected{Patient: p.ID, From: cmd.From, To: cmd.To, Reason: cmd.Reason, Candidate: now.stratumError(p.Follows(s))}}, nil
}

// Signature is a consent that the patient signed.
type Signature struct {
	Version string
	On      domain.Date
	// Protocol is the version of the protocol that was in force on that day; 0 in older logs.
	Protocol int

	// site is the one that the patient was at when it was recorded, and lifted what the patient was asked to sign again with it.
	site   domain.SiteID
	lifted *Reconsent
	// represented says that a legal representative has signed, and assent that a minor has agreed.
	represented, assent bool
}

// with returns the signatures with one more. One that was recorded late goes before the first of a later version.
func (p Patient) with(e ConsentRecorded) []Signature {
	at := len(p.Consents)
	if e.Superseded {
		at = slices.IndexFunc(p.Consents, func(s Signature) bool { return s.Protocol > e.Protocol })
	}
	return slices.Insert(slices.Clone(p.Consents), max(at, 0), Signature{Version: e.ConsentVersion, On: e.On, Protocol: e.Protocol,
		site: p.Site, represented: slices.Contains(e.Signers, SignedByRepresentative), assent: e.Assent})
}

// signature returns the index of the consent of a version, or -1.
func (p Patient) signature(version string) int {
	return slices.IndexFunc(p.Consents, func(s Signature) bool { return s.Version == version })
}

// signed returns the patient with these signatures, in the order in which they were recorded.
func (p Patient) signed(all []Signature) Patient {
	p.Consents, p.ConsentVersion, p.ConsentedOn, p.FirstConsentOn = all, "", "", ""
	if len(all) == 0 {
		return p
	}
	last := all[len(all)-1]
	p.ConsentVersion, p.ConsentedOn, p.FirstConsentOn = last.Version, last.On, all[0].On
	return p
}

// visited returns the patient with another day of a visit; "" for none.
func (p Patient) visited(visit string, on domain.Date) Patient {
	p.Visits = maps.Clone(p.Visits)
	if p.Visits == nil {
		p.Visits = map[string]domain.Date{}
	}
	p.Visits[visit] = on
	if on == "" {
		delete(p.Visits, visit)
	}
	return p
}

// corrected returns the patient after a correction.
func (p Patient) corrected(e Event) Patient {
	switch e := e.(type) {
	case VisitDateCorrected:
		return p.visited(e.Visit, e.To)
	case VisitVoided:
		p.Skipped = slices.DeleteFunc(slices.Clone(p.Skipped), func(v string) bool { return v == e.Visit })
		return p.visited(e.Visit, "").weighed(e.Visit, 0)
	case ConsentDateCorrected:
		i := p.signature(e.ConsentVersion)
		if i < 0 {
			return p
		}
		all := slices.Clone(p.Consents)
		all[i].On = e.To
		return p.signed(all)
	case EnrollmentDateCorrected:
		p.EnrolledOn = e.To
	case AgeCorrected:
		p.AgeYears = e.To
	case SexCorrected:
		p.Sex = e.To
	}
	return p
}
