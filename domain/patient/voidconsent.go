package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// VoidConsent takes back a consent that was recorded in error, such as for the wrong patient, or with a wrong version or signer.
type VoidConsent struct {
	domain.OfPatient
	ConsentVersion  string `json:"consentVersion" minLength:"1" maxLength:"50" doc:"Version of the form as it was recorded"`
	domain.Reasoned `doc:"Why it was recorded in error"`
}

// ConsentVoided says that a consent was recorded in error. The form may be recorded again.
type ConsentVoided struct {
	Patient        domain.PatientID `json:"patient"`
	ConsentVersion string           `json:"consentVersion"`
	On             domain.Date      `json:"on"`
	Reason         personal.Text    `json:"reason"`
	// Last is the version that was signed last without it, and LastOn its day; "" if no consent is left.
	Last   string      `json:"last,omitempty"`
	LastOn domain.Date `json:"lastOn,omitempty"`
	// Reconsent is what the patient has to sign again after all.
	Reconsent *Reconsent `json:"reconsent,omitempty"`
	// Left says that the participation had ended: nothing is to be signed unless the end is undone.
	Left bool `json:"left,omitempty"`
	// Candidate says that procedures took place without a consent, which may be a deviation; somebody has to confirm it.
	Candidate DeviationKind `json:"candidate,omitempty"`
	// Site is the site at which the consent was counted; "" for the patient's present site.
	Site domain.SiteID `json:"site,omitempty"`
}

func (ConsentVoided) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e ConsentVoided) AboutPatient() domain.PatientID { return e.Patient }

// VoidSigned decides about VoidConsent. Without a consent no procedure can be recorded; those that were recorded stay, and may be a
// deviation. It refuses reason_required, value_too_long, patient_not_found, consent_not_recorded, enrollment_in_progress, and
// patient_ended for a record that is about nobody.
func VoidSigned(p Patient, s study.Study, cmd VoidConsent, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	switch {
	case !p.Exists():
		return nil, patientNotFound()
	case p.Status == StatusRegisteredInError:
		return nil, p.mustNotHaveEnded()
	case p.Status == StatusEnrolling: // the consent has made the patient eligible
		return nil, refuse.WrongState("enrollment_in_progress", "the patient is being enrolled").At("patient").
			Do("wait until the enrolment has ended")
	}
	i := p.signature(cmd.ConsentVersion)
	if i < 0 {
		return nil, consentNotRecorded(cmd.ConsentVersion)
	}
	signed := p.Consents[i]
	voided := ConsentVoided{Patient: p.ID, ConsentVersion: signed.Version, On: signed.On, Reason: cmd.Reason, Site: p.otherSite(signed.site)}
	if p.Reconsent == nil {
		voided.Reconsent = signed.lifted
		voided.Left = voided.Reconsent != nil && p.ended()
	}
	left := p.withoutConsent(voided)
	voided.Last, voided.LastOn = left.ConsentVersion, left.ConsentedOn
	if first := p.firstProcedureOn(); first != "" && (left.FirstConsentOn == "" || left.FirstConsentOn > first) {
		voided.Candidate = DeviationConsent
	}
	return p.correcting(s, voided), nil
}

func consentNotRecorded(version string) error {
	return refuse.WrongState("consent_not_recorded", "the patient has not signed consent version %.80q", version).
		At("consentVersion").Do("check which versions were signed")
}

// otherSite returns a site that is not the patient's present one, and "" otherwise.
func (p Patient) otherSite(site domain.SiteID) domain.SiteID {
	if site == p.Site {
		return ""
	}
	return site
}

// withoutConsent returns the patient without a signature.
func (p Patient) withoutConsent(e ConsentVoided) Patient {
	if e.Reconsent != nil {
		p.Reconsent, p.ReconsentRefusedOn = e.Reconsent, ""
	}
	return p.signed(slices.DeleteFunc(slices.Clone(p.Consents), func(s Signature) bool { return s.Version == e.ConsentVersion }))
}
