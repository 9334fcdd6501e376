package diary

import (
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/canonical"
	"casebook/domain/instrument"
	"casebook/domain/personal"
	"casebook/domain/user"
)

// signedPrefix begins what a device signs, so that its key can sign other things that are never taken for an entry.
const signedPrefix = "casebook-entry-1\n"

// signedEntry is what a device signs of an entry, by the names of SubmitDiary.
type signedEntry struct {
	Answers     map[instrument.ItemID]any `json:"answers"`
	CapturedAt  time.Time                 `json:"capturedAt"`
	Device      user.DeviceID             `json:"device,omitempty"`
	Instrument  instrument.ID             `json:"instrument"`
	Language    Language                  `json:"language,omitempty"`
	MonotonicMs int64                     `json:"monotonicMs,omitempty"`
	Patient     domain.PatientID          `json:"patient"`
	Respondent  Respondent                `json:"respondent,omitempty"`
	Sequence    int64                     `json:"sequence,omitempty"`
	Zone        string                    `json:"zone,omitempty"`
}

// SignedContent returns the bytes that a device signs of an entry: a line that says what it is, and the canonical JSON (RFC 8785) of
// what was captured, by the names of SubmitDiary. The moment has the offset of the device, which is Z where it is 0, and no zeros at
// the end of a fraction of a second. What is empty is left out, and so are answers that are null or blank, and the respondent where
// that is who is usual (see Entered). All of it stays in the event that records the entry first, and the zone in its metadata, so that
// the signature can be verified for ever (21 CFR 11.10(h)).
func SignedContent(of domain.PatientID, id instrument.ID, capturedAt time.Time, zone string, answers Answers, entered Entered,
) ([]byte, error) {
	given := make(map[instrument.ItemID]any, len(answers))
	for item, answer := range answers {
		if text, ok := answer.(string); answer != nil && (!ok || strings.TrimSpace(text) != "") {
			given[item] = answer
		}
	}
	text, err := canonical.JSON(signedEntry{Answers: given, CapturedAt: capturedAt, Device: entered.Device, Instrument: id,
		Language: entered.Language, MonotonicMs: entered.MonotonicMs, Patient: of, Respondent: entered.Respondent,
		Sequence: entered.Sequence, Zone: zone})
	return append([]byte(signedPrefix), text...), err
}

// Signed returns the bytes that the signature of the entry has to be of, made of the entry alone. It refuses what entered refuses.
func (c SubmitDiary) Signed() ([]byte, error) {
	entered, err := c.entered()
	if err != nil {
		return nil, err
	}
	return SignedContent(c.Patient, c.Instrument, c.CapturedAt, c.Zone, c.Answers, entered)
}

// signedBy says whether one of the keys has signed the entry.
func (c SubmitDiary) signedBy(keys []user.DeviceKey, entered Entered) bool {
	content, err := SignedContent(c.Patient, c.Instrument, c.CapturedAt, c.Zone, c.Answers, entered)
	return err == nil && slices.ContainsFunc(keys, func(k user.DeviceKey) bool { return k.Signed(content, c.Signature) })
}

// WithoutSignature implements domain.WithSignature.
func (c SubmitDiary) WithoutSignature() (unsigned any, signed bool) {
	if c.Signature == "" {
		return nil, false
	}
	c.Signature = ""
	return c, true
}

// signing returns who entered a diary with these answers, with the signature where it belongs.
func (e Entered) signing(answers Answers) Entered {
	if e.Signature != "" && answers.HoldsTexts() {
		e.Signature, e.SealedSignature = "", personal.Text(e.Signature)
	}
	return e
}
