package diary

import (
	"slices"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/user"
)

// Mode says how a diary came into the record. It never changes: a correction of the answers keeps it.
type Mode string

// The modes. Only what the patient or a caregiver captures on a device is contemporaneous, because its time is known (FDA
// guidance on electronic source data, 2013; EMA guideline on computerised systems, 2023, A5.1).
const (
	// ByPatient is the patient's own entry on a device. It is the mode of all diaries from before modes were recorded.
	ByPatient Mode = ""
	// ByCaregiver is the entry of a caregiver on a device.
	ByCaregiver Mode = "caregiver"
	// ByInterviewer is the entry of staff who asked the respondent.
	ByInterviewer Mode = "interviewer"
	// ByTranscription is the entry of staff who copied it.
	ByTranscription Mode = "transcription"
)

// Schema implements domain.HasSchema.
func (Mode) Schema() domain.Schema { return domain.OneOf(ByCaregiver, ByInterviewer, ByTranscription) }

// ByStaff says whether staff entered the diary. Such a diary never counts as on time.
func (m Mode) ByStaff() bool { return m == ByInterviewer || m == ByTranscription }

// Respondent is who answered a diary; "" is the patient, an adult.
type Respondent string

// The respondents.
const (
	RespondentPatient Respondent = "patient"
	// RespondentMinor is the patient who is under age, and answers after an assent.
	RespondentMinor Respondent = "minor"
	// RespondentCaregiver is somebody who reports for the patient what can be observed, or answers as a proxy.
	RespondentCaregiver Respondent = "caregiver"
)

// Respondents are all respondents.
var Respondents = []Respondent{RespondentPatient, RespondentMinor, RespondentCaregiver}

// Schema implements domain.HasSchema.
func (Respondent) Schema() domain.Schema { return domain.OneOf(Respondents...) }

// Source is where staff have a diary from.
type Source string

// The sources.
const (
	SourcePaper     Source = "paper"
	SourceInterview Source = "interview"
	SourceTelephone Source = "telephone"
	// SourceOtherPatient is a diary that was recorded for another patient by mistake, and voided there.
	SourceOtherPatient Source = "other_patient"
)

// Sources are all sources.
var Sources = []Source{SourcePaper, SourceInterview, SourceTelephone, SourceOtherPatient}

// Schema implements domain.HasSchema.
func (Source) Schema() domain.Schema { return domain.OneOf(Sources...) }

// mode returns how a diary of the source is entered.
func (s Source) mode() Mode {
	if s == SourceInterview || s == SourceTelephone {
		return ByInterviewer
	}
	return ByTranscription
}

// Entered says who entered a diary, and how. Its fields are left out of an event for what is usual: the patient's own entry.
type Entered struct {
	Mode       Mode       `json:"mode,omitempty"`
	Respondent Respondent `json:"respondent,omitempty"`
	// Relation is the caregiver's to the patient.
	Relation user.Relation `json:"relation,omitempty"`
	// Device is the device on which it was captured, as the app says.
	Device   user.DeviceID `json:"device,omitempty"`
	Language Language      `json:"language,omitempty"`
	// Sequence numbers it among the entries of the device; 0 if the app does not number them. MonotonicMs is the time at the capture
	// by a clock of the device that nobody can set; 0 if it was not sent.
	Sequence    int64 `json:"sequence,omitempty"`
	MonotonicMs int64 `json:"monotonicMs,omitempty"`
	// Signature is the device's, of SignedContent as it was sent. It is in the event alone that records the entry first. In a submitted
	// diary it is right, unless the account knows no key of the device.
	Signature user.Signature `json:"signature,omitempty"`
	// SealedSignature is the signature of an entry with free texts. Open, it would say of each guess whether it is the text, also
	// when that is redacted.
	SealedSignature personal.Text `json:"sealedSignature,omitempty"`
	// Source and Reason are for an entry by staff.
	Source Source        `json:"source,omitempty"`
	Reason personal.Text `json:"reason,omitempty"`
}

// Sender is whose account sends a diary. The zero value is the patient's.
type Sender struct {
	// Staff says that the account works at the site, and Caregiver that it stands for the patient's caregiver.
	Staff, Caregiver bool
	// Relation is the caregiver's to the patient.
	Relation user.Relation
	// Device says what the account knows of the device that the entry names.
	Device DeviceStanding
	// Keys are those of the device, or of that of the session if the entry names none. Signs says that it signs all its entries.
	Keys  []user.DeviceKey
	Signs bool
}

// DeviceStanding says what an account knows of a device.
type DeviceStanding string

// The standings. A device is trusted if it is enrolled, or was until all sessions ended, and where the account knows of no devices at
// all, such as that of an identity provider.
const (
	DeviceIsTrusted DeviceStanding = ""
	DeviceIsRevoked DeviceStanding = "revoked"
	DeviceIsUnknown DeviceStanding = "unknown"
)

// StandingOf returns what an account knows of a device.
func StandingOf(u user.User, id user.DeviceID) DeviceStanding {
	switch {
	case u.Trusts(id):
		return DeviceIsTrusted
	case u.HasRevoked(id):
		return DeviceIsRevoked
	}
	return DeviceIsUnknown
}

// Language is a language tag (RFC 5646), such as de or zh-Hans-CN.
type Language string

// Schema implements domain.HasSchema.
func (Language) Schema() domain.Schema {
	return domain.Schema{Pattern: domain.LanguagePattern, Example: "de-AT"}
}

// validate refuses what is no language tag (code malformed_language). None is allowed.
func (l Language) validate() error {
	if l == "" || domain.IsLanguage(string(l)) {
		return nil
	}
	return refuse.Malformed("malformed_language", "%q is not a language tag", refuse.Shortened(string(l))).At("language").
		Do("use a tag of RFC 5646, such as de or zh-Hans-CN")
}

// entered returns who entered a diary that was submitted. It refuses entered_by_staff, malformed_id, malformed_language,
// value_out_of_range, value_missing, unknown_code and invalid_signature.
func (c SubmitDiary) entered() (Entered, error) {
	if c.Sender.Staff {
		return Entered{}, refuse.Forbidden("entered_by_staff", "staff do not submit diaries as if the patient had").
			Do("send TranscribeDiary, which says where you have the answers from; it is never counted as on time")
	}
	e := Entered{Device: c.Device, Language: c.Language, Sequence: c.Sequence, MonotonicMs: c.MonotonicMs, Signature: c.Signature}
	if c.Device != "" {
		if err := c.Device.Validate(); err != nil {
			return e, err
		}
	}
	if err := domain.First(c.Language.validate(), c.checkSequence(), c.Respondent.known()); err != nil {
		return e, err
	}
	if c.Signature != "" {
		if err := c.Signature.Validate(); err != nil {
			return e, err
		}
	}
	usual := RespondentPatient
	if c.Sender.Caregiver {
		e.Mode, e.Relation, usual = ByCaregiver, c.Sender.Relation, RespondentCaregiver
	}
	if c.Respondent != "" && c.Respondent != usual {
		e.Respondent = c.Respondent
	}
	return e, nil
}

// respondentContradicts says whether a caregiver has answered from the patient's account, or a minor who is of age.
func (c SubmitDiary) respondentContradicts(who patient.Patient) bool {
	return c.Respondent == RespondentCaregiver && !c.Sender.Caregiver || c.Respondent.check(who) != nil
}

// known refuses what is no respondent (code unknown_code).
func (r Respondent) known() error {
	if r == "" || slices.Contains(Respondents, r) {
		return nil
	}
	return refuse.Malformed("unknown_code", "%q is not a respondent", refuse.Shortened(string(r))).At("respondent").
		Do("use patient, minor or caregiver")
}

// adultAge is the highest age of majority (21 in some countries): nobody of that age at screening is a minor.
const adultAge = 21

// check refuses what is no respondent (code unknown_code), and a minor who is of age (code respondent_contradicts).
func (r Respondent) check(who patient.Patient) error {
	if r == RespondentMinor && who.AgeYears >= adultAge {
		return refuse.Because("respondent_contradicts", "the patient was %d years old at the screening", who.AgeYears).At("respondent").
			Do("correct the age, or leave the respondent out")
	}
	return r.known()
}
