package diary

import (
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/user"
)

// AssignInstrument assigns an instrument of the protocol in force to an enrolled patient.
type AssignInstrument struct {
	domain.OfPatient
	Instrument instrument.ID `json:"instrument" doc:"The instrument, as the protocol names it"`
	From       domain.Date   `json:"from" doc:"First day, local to the patient"`
	Until      domain.Date   `json:"until" doc:"Last day on which a window opens; at most ten years after the first"`
	// On is for an assignment that is recorded afterwards.
	On domain.Date `json:"on,omitempty" doc:"Day on which the patient was given the instrument, if that was before today; windows that opened earlier are not missed"`
}

// SubmitDiary submits one filled-in instrument.
type SubmitDiary struct {
	domain.OfPatient
	Instrument instrument.ID `json:"instrument" doc:"The instrument"`
	CapturedAt time.Time     `json:"capturedAt" doc:"When the patient finished it, by the device's clock, with its offset from UTC"`
	Zone       string        `json:"zone,omitempty" doc:"IANA zone of the device at that time"`
	Answers    Answers       `json:"answers" doc:"Answers by item; leave out what was not answered"`
	// Device and Language say how it was answered.
	Device user.DeviceID `json:"device,omitempty" doc:"The device on which it was captured, as the app names it at the sign-in"`
	// Sequence and MonotonicMs are the device's.
	Sequence    int64    `json:"sequence,omitempty" minimum:"1" doc:"Number of the entry among those of the device for this patient, from 1 on, each one higher than the last; the same when it is sent again. The device keeps what was acknowledged for 30 days, and sends again what lies above heldThrough of its line in /api/v1/me/schedule"`
	MonotonicMs int64    `json:"monotonicMs,omitempty" minimum:"0" doc:"Milliseconds at the capture by a clock of the device that nobody can set, such as the time since it was started"`
	Language    Language `json:"language,omitempty" doc:"Language in which it was shown"`
	// Respondent is the patient, or the caregiver who sends the diary, unless it says something else.
	Respondent Respondent `json:"respondent,omitempty" doc:"Who answered, if it was not the sender: minor for a patient under age, patient or minor where a caregiver only held the device"`
	// Signature is left out where it is asked whether two commands are the same: it is another one each time.
	Signature user.Signature `json:"signature,omitempty" doc:"Signature of the entry by the device's key, ECDSA on P-256 with SHA-256, as base64url of r and s; docs/epro.md says what is signed. Needed of a device that was enrolled with a key"`
	// Sender is whose account sends the diary. The declaration sets it.
	Sender Sender `json:"-"`
}

// AskDiaryCorrection asks for other answers in a recorded diary. The patient, a caregiver or the site may ask; an investigator of the
// site decides.
type AskDiaryCorrection struct {
	domain.OfPatient
	Instrument      instrument.ID `json:"instrument" doc:"The instrument"`
	Window          string        `json:"window" doc:"Id of the window, such as 2026-03-01/evening"`
	Answers         Answers       `json:"answers" doc:"New answers for the items that change; null clears one"`
	domain.Reasoned `doc:"Why the data are wrong"`
}

// CorrectDiary changes answers of a recorded diary as somebody else has asked.
type CorrectDiary struct {
	domain.OfPatient
	Request         int `json:"request" minimum:"1" doc:"Number of the request"`
	domain.Reasoned `doc:"Why the request is right, such as what the source shows"`
}

// DeclineDiaryCorrection leaves a diary as it is.
type DeclineDiaryCorrection struct {
	domain.OfPatient
	Request         int `json:"request" minimum:"1" doc:"Number of the request"`
	domain.Reasoned `doc:"Why the diary stays as it is"`
}

// RemindOfDiaries records that the patient is due for reminders. The diary follow-up sends it when a window has opened.
type RemindOfDiaries struct {
	domain.OfPatient
}

// CloseDiaryWindows records every window as missed that has no entry and took entries only until Through. The diary
// follow-up sends it when windows have ended.
type CloseDiaryWindows struct {
	domain.OfPatient
	Through time.Time `json:"through" doc:"Windows whose time had run out at this moment; not in the future"`
}

// Captured returns when and in which zone the device captured the diary.
func (c SubmitDiary) Captured() (at time.Time, zone string) { return c.CapturedAt, c.Zone }
