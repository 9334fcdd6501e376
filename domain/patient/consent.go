package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Signer is somebody who has signed a consent.
type Signer string

// Who can sign a consent (ICH E6(R3) 2.8.5 to 2.8.12).
const (
	SignedByPatient        Signer = "patient"
	SignedByRepresentative Signer = "legal_representative"
	SignedByWitness        Signer = "witness"
)

// Signers are all who can sign.
var Signers = []Signer{SignedByPatient, SignedByRepresentative, SignedByWitness}

// Schema implements domain.HasSchema.
func (Signer) Schema() domain.Schema {
	s := domain.OneOf(Signers...)
	s.Description = "patient; legal_representative: of a patient who cannot consent, such as a minor; witness: an impartial person who was " +
		"there because the patient or the representative cannot read."
	return s
}

// RecordConsent records the informed consent that the patient signed.
type RecordConsent struct {
	domain.OfPatient
	ConsentVersion string      `json:"consentVersion" minLength:"1" doc:"Version of the form that was signed; it must have been in force at the site on that day"`
	On             domain.Date `json:"on" doc:"Day of the signature"`
	Signers        []Signer    `json:"signers,omitempty" doc:"Who has signed; the patient when not given"`
	Assent         bool        `json:"assent,omitempty" doc:"Whether a minor has agreed"`
	Language       string      `json:"language,omitempty" maxLength:"35" doc:"Language of the form, BCP 47, such as de or pt-BR"`
}

// ConsentRecorded records the informed consent that was signed (ICH E6(R3) 2.8).
type ConsentRecorded struct {
	Patient        domain.PatientID `json:"patient"`
	ConsentVersion string           `json:"consentVersion"`
	On             domain.Date      `json:"on"`
	// Protocol is the version of the protocol that was in force at the site on that day; 0 in older events.
	Protocol int `json:"protocol,omitempty"`
	// Signers are those who have signed. It is empty for the patient alone.
	Signers  []Signer `json:"signers,omitempty"`
	Assent   bool     `json:"assent,omitempty"`
	Language string   `json:"language,omitempty"`
	// Again says that the patient was asked to sign again, and has done so with this form.
	Again bool `json:"again,omitempty"`
	// Superseded says that the patient had signed a later version before this one was recorded.
	Superseded bool `json:"superseded,omitempty"`
}

// Consent records an informed consent. It may be signed before or after the day of screening, and may be recorded at any time after
// it was signed, also when the participation has ended since. The form must be that of the version of the protocol that was in
// force at the site on the day of the signature. A participating patient signs again when a new version is applied (ICH E6(R3)
// 2.8.2). It refuses malformed_date, captured_in_future, patient_not_found, patient_ended, unknown_code, malformed_language,
// consent_version_not_in_force, consent_before_publication, consent_before_approval, consent_recorded, signer_missing,
// age_not_recorded, representative_missing and assent_missing.
func Consent(p Patient, s study.Study, cmd RecordConsent, call domain.Call) ([]Event, error) {
	if err := domain.First(cmd.On.NotAfterToday("on", call), p.mayRecordOn(cmd.On), cmd.validate()); err != nil {
		return nil, err
	}
	version, err := s.ConsentOn(cmd.ConsentVersion, p.siteOn(cmd.On), cmd.On)
	if err != nil {
		return nil, err
	}
	if i := p.signature(cmd.ConsentVersion); i >= 0 {
		return nil, refuse.WrongState("consent_recorded", "the patient has signed consent version %s on %s", cmd.ConsentVersion,
			p.Consents[i].On).At("consentVersion").Do("nothing is left to do until another version is in force")
	}
	represented := slices.Contains(cmd.Signers, SignedByRepresentative)
	if err := p.maySign(s.Version(version).Minors, cmd.On, represented, cmd.Assent); err != nil {
		return nil, err
	}
	later := slices.ContainsFunc(p.Consents, func(c Signature) bool { return c.Protocol > version })
	return []Event{ConsentRecorded{Patient: cmd.Patient, ConsentVersion: cmd.ConsentVersion, On: cmd.On, Protocol: version,
		Signers: cmd.Signers, Assent: cmd.Assent, Language: cmd.Language, Superseded: later,
		Again: p.Reconsent.liftedBy(version, cmd.ConsentVersion)}}, nil
}

// validate refuses unknown_code, signer_missing and malformed_language.
func (c RecordConsent) validate() error {
	for i, s := range c.Signers {
		if !slices.Contains(Signers, s) || slices.Contains(c.Signers[:i], s) {
			return refuse.Malformed("unknown_code", "%.40q is nobody who signs, or is named twice", string(s)).At("signers").
				Do("use patient, legal_representative and witness, each once")
		}
	}
	if slices.Equal(c.Signers, []Signer{SignedByWitness}) {
		return refuse.Because("signer_missing", "only a witness has signed").At("signers").Do("name the patient or the legal representative too")
	}
	if c.Language != "" && !domain.IsLanguage(c.Language) {
		return refuse.Malformed("malformed_language", "%.40q is no language", c.Language).At("language").
			Do("use a tag of BCP 47, such as de or pt-BR")
	}
	return nil
}

// maySign refuses a consent that is not valid for a minor (codes age_not_recorded, representative_missing, assent_missing). The age on
// the day of the signature is the one at screening with the full years since.
func (p Patient) maySign(rule *study.Minors, on domain.Date, represented, assent bool) error {
	if rule == nil {
		return nil
	}
	age := p.AgeYears + max(0, on.DaysSince(p.ScreenedOn))/366
	switch {
	case p.AgeYears == 0 && !represented: // an infant of less than a year has a representative
		return refuse.Because("age_not_recorded", "the patient's age is not recorded, and the protocol has a rule for minors").At("patient").
			Do("correct the age first")
	case age >= rule.AgeOfMajority:
		return nil
	case !represented:
		return refuse.Because("representative_missing", "the patient is %d years old, and no legal representative has signed", age).
			At("signers").Do("have the legal representative sign (ICH E6(R3) 2.8.12)")
	case rule.AssentFrom > 0 && age >= rule.AssentFrom && !assent:
		return refuse.Because("assent_missing", "the patient is %d years old, and has not given the assent", age).
			At("assent").Do("ask the patient for the assent (ICH E6(R3) 2.8.12)")
	}
	return nil
}

// siteOn returns the site that the patient was at on a day.
func (p Patient) siteOn(on domain.Date) domain.SiteID {
	for _, f := range p.former {
		if on < f.until {
			return f.site
		}
	}
	return p.Site
}

// FormerSites lists the sites that the patient was at before, each once, without the present one.
func (p Patient) FormerSites() (sites []domain.SiteID) {
	for _, f := range p.former {
		if f.site != p.Site && !slices.Contains(sites, f.site) {
			sites = append(sites, f.site)
		}
	}
	return sites
}

// formerSite is a site that a patient was at before a day.
type formerSite struct {
	site  domain.SiteID
	until domain.Date
}
