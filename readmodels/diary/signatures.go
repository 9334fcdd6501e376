package diary

import (
	"context"
	"slices"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/personal"
	"casebook/domain/user"
	"casebook/readmodels"
)

// SignedEntry is an entry as a device has sent it, with what proves that the device did (21 CFR 11.70). It is made from the log, anew each
// time: whoever reads it can repeat the verification with what it holds.
type SignedEntry struct {
	Position   uint64        `json:"position" doc:"Log position of the event that recorded it first"`
	Instrument instrument.ID `json:"instrument" doc:"The instrument"`
	Window     string        `json:"window" doc:"The window in which it was recorded first; begins with held/ for an entry that was held"`
	CapturedAt time.Time     `json:"capturedAt" doc:"When it was captured, by the device's clock"`
	RecordedAt time.Time     `json:"recordedAt" doc:"When the server recorded it"`
	By         domain.UserID `json:"by" doc:"The account that has sent it"`
	Device     user.DeviceID `json:"device,omitempty" doc:"The device, as the entry names it"`
	Verified   Verification  `json:"verified" doc:"Whether the signature is that of the key and of this content"`
	Why        WhyUnverified `json:"why,omitempty" doc:"Why it cannot be verified"`
	// Content is not made of texts that the log does not hold any more.
	Content   string         `json:"content,omitempty" doc:"What the device has signed, as UTF-8: a line that says what it is, and canonical JSON (RFC 8785); left out where texts of it cannot be read"`
	Signature user.Signature `json:"signature,omitempty" doc:"The signature, ECDSA on P-256 with SHA-256, as base64url of r and s"`
	Key       *SigningKey    `json:"key,omitempty" doc:"The key that has signed it; of a wrong signature, the device's key at that time"`
	// Stored lets whoever reads the audit trail recompute the hash that it shows.
	Stored readmodels.Stored `json:"stored" doc:"The event that recorded it first, as the log stores it"`
}

// SigningKey is a key of a device, and when it was in force.
type SigningKey struct {
	Device     user.DeviceID  `json:"device" doc:"The device that was enrolled with it"`
	Key        user.DeviceKey `json:"key" doc:"The public key: SubjectPublicKeyInfo (RFC 5280) in base64"`
	EnrolledAt time.Time      `json:"enrolledAt" doc:"When the device was enrolled with it"`
	Enrolled   uint64         `json:"enrolled" doc:"Log position of the event DeviceEnrolled, in the trail of the account"`
	RevokedAt  *time.Time     `json:"revokedAt,omitempty" doc:"When the device was revoked, and the key with it; it may lie before the entry was recorded"`
	Revoked    uint64         `json:"revoked,omitempty" doc:"Log position of the event DeviceRevoked"`
}

// Verification says what came of verifying a signature.
type Verification string

// The outcomes.
const (
	SignatureRight   Verification = "right"
	SignatureWrong   Verification = "wrong"
	SignatureMissing Verification = "not_signed"
	VerifyingFails   Verification = "not_possible"
)

// Schema implements domain.HasSchema.
func (Verification) Schema() domain.Schema {
	return domain.OneOf(SignatureRight, SignatureWrong, SignatureMissing, VerifyingFails)
}

// WhyUnverified says why a signature cannot be verified.
type WhyUnverified string

// The reasons. The signature of an entry with free texts is sealed like these, because it would tell of each guess whether it is the text.
const (
	TextsErased     WhyUnverified = "texts_erased"
	TextsUnreadable WhyUnverified = "texts_unreadable"
	NoKey           WhyUnverified = "no_key"
)

// Schema implements domain.HasSchema.
func (WhyUnverified) Schema() domain.Schema { return domain.OneOf(TextsErased, TextsUnreadable, NoKey) }

var signedEntryOrders = []readmodels.Order[SignedEntry]{
	readmodels.Ascending("position", func(e SignedEntry) []any { return []any{int64(e.Position)} }, "position"),
}

// signedEntries is the query of the signatures of a patient's entries. Its answer holds answers, but nothing that tells an arm.
var signedEntries = readmodels.Declare(readmodels.Query{
	Name: "SignedEntries", Path: "/api/v1/audit/patients/{patient}/signed-entries",
	Summary: "The signatures of a patient's entries, with what is needed to verify them",
	Doc: "Every entry that was sent from the patient's side, also held, moved and voided ones, as it was captured: the exact content that " +
		"the device has signed, the signature, the public key with its enrolment and revocation, and whether the signature is right. An " +
		"entry whose free texts are erased cannot be verified any more: verified is not_possible, and why is texts_erased. Entries by " +
		"staff have no signature and are left out. With the stored event, the hash in the audit trail can be recomputed.",
	OpenTo: access.To(access.Monitors, access.DataManagers, access.Auditors), Reach: readmodels.ReachPatient, OfStates: true,
	Class: admission.Exports, Sort: readmodels.SortBy(signedEntryOrders, ""),
}, ListSignedEntries)

// SignedEntriesQuery asks for the signatures of a patient's entries; empty fields do not narrow the list.
type SignedEntriesQuery struct {
	Patient    domain.PatientID `path:"patient" doc:"The patient"`
	Instrument instrument.ID    `query:"instrument" doc:"Only this instrument"`
	From       time.Time        `query:"from" doc:"Only what was captured then or later"`
	// To is the first moment that is not included.
	To time.Time `query:"to" doc:"Only what was captured before"`
	readmodels.Page
}

// ListSignedEntries returns a page of the signatures of a patient's entries, in the order of the log.
func ListSignedEntries(ctx context.Context, r readmodels.Request, q SignedEntriesQuery) (list readmodels.List[SignedEntry], err error) {
	events, err := r.EventsOf(ctx, diary.Decider.Streams(), string(q.Patient))
	if err != nil {
		return list, err
	}
	sent := map[uint64]sentEntry{}
	var found []SignedEntry
	for _, at := range events {
		s, is := sentIn(at)
		if !is || q.Instrument != "" && s.instrument != q.Instrument || s.capturedAt.Before(q.From) ||
			!q.To.IsZero() && !s.capturedAt.Before(q.To) {
			continue
		}
		sent[at.Position] = s
		found = append(found, SignedEntry{Position: at.Position, Instrument: s.instrument, Window: s.window, CapturedAt: s.capturedAt.UTC(),
			RecordedAt: at.RecordedAt.UTC(), By: at.Actor, Device: s.entered.Device, Stored: at.Stored})
	}
	if list, err = readmodels.Paged(found, q.Page, signedEntryOrders); err != nil {
		return list, err
	}
	accounts := map[domain.UserID][]SigningKey{}
	for i := range list.Items {
		e := &list.Items[i]
		keys, known := accounts[e.By]
		if !known {
			if keys, err = signingKeys(ctx, r, e.By); err != nil {
				return list, err
			}
			accounts[e.By] = keys
		}
		e.verify(ctx, r, q.Patient, sent[e.Position], keys)
	}
	return list, nil
}

// sentEntry is an entry as the event that records it first holds it.
type sentEntry struct {
	instrument instrument.ID
	window     string
	capturedAt time.Time
	zone       string
	answers    diary.Answers
	entered    diary.Entered
}

// sentIn returns the entry that an event records first; false for other events, and for an entry by staff.
func sentIn(at readmodels.Recorded) (s sentEntry, is bool) {
	switch e := at.Event.(type) {
	case diary.Submitted:
		s, is = sentEntry{e.Instrument, e.Window.ID, e.CapturedAt, at.Zone, e.Answers, e.Entered}, e.MovedFrom == ""
	case diary.Held:
		s, is = sentEntry{e.Instrument, e.Window.ID, e.CapturedAt, at.Zone, e.Answers, e.Entered}, true
	}
	return s, is && !s.entered.Mode.ByStaff()
}

// signingKeys returns all keys that devices of an account were ever enrolled with, in the order of the log.
func signingKeys(ctx context.Context, r readmodels.Request, account domain.UserID) (keys []SigningKey, err error) {
	events, err := r.EventsOf(ctx, user.Decider.Streams(), string(account))
	if err != nil {
		return nil, err
	}
	for _, at := range events {
		switch e := at.Event.(type) {
		case user.DeviceEnrolled:
			if e.Key != "" {
				keys = append(keys, SigningKey{Device: e.Device, Key: e.Key, EnrolledAt: at.RecordedAt.UTC(), Enrolled: at.Position})
			}
		case user.DeviceRevoked:
			for i := range keys {
				if k := &keys[i]; k.Device == e.Device && k.RevokedAt == nil {
					revoked := at.RecordedAt.UTC()
					k.RevokedAt, k.Revoked = &revoked, at.Position
				}
			}
		}
	}
	return keys, nil
}

// verify sets the content, the signature and the key, and what comes of them. The content has the texts as they were captured.
func (e *SignedEntry) verify(ctx context.Context, r readmodels.Request, of domain.PatientID, s sentEntry, keys []SigningKey) {
	e.Signature = s.entered.Signature
	var sealed []personal.Text
	for _, answer := range s.answers {
		if text, is := answer.(personal.Text); is && text.Sealed() {
			sealed = append(sealed, text)
		}
	}
	if text := s.entered.SealedSignature; text.Sealed() {
		sealed = append(sealed, text)
	} else if text != "" {
		e.Signature = user.Signature(text)
	}
	for i := range slices.Backward(keys) { // the newest first: it is the one in force
		if k := &keys[i]; k.Enrolled < e.Position && (e.Device == "" || k.Device == e.Device) {
			e.Key = k
			break
		}
	}
	sealed = distinct(sealed)
	opened, err := r.Opened(ctx, sealed)
	switch {
	case e.Signature == "" && s.entered.SealedSignature == "":
		e.Verified = SignatureMissing
	case err != nil:
		e.Verified, e.Why = VerifyingFails, TextsUnreadable
	case len(opened) < len(sealed):
		e.Verified, e.Why = VerifyingFails, TextsErased
	}
	if err != nil || len(opened) < len(sealed) {
		return
	}
	answers := make(diary.Answers, len(s.answers))
	for item, answer := range s.answers {
		if text, is := answer.(personal.Text); is {
			answer = string(text)
			if plain, was := opened[text]; was {
				answer = plain
			}
		}
		answers[item] = answer
	}
	if plain, was := opened[s.entered.SealedSignature]; was {
		e.Signature = user.Signature(plain)
	}
	content, err := diary.SignedContent(of, s.instrument, s.capturedAt, s.zone, answers, s.entered)
	if err != nil {
		e.Verified, e.Why = VerifyingFails, TextsUnreadable
		return
	}
	e.Content = string(content)
	switch {
	case e.Verified == SignatureMissing:
	case e.Key == nil:
		e.Verified, e.Why = VerifyingFails, NoKey
	default:
		e.Verified = SignatureWrong
		for i := range slices.Backward(keys) { // a device may send what it has signed with an earlier key
			k := &keys[i]
			if k.Enrolled < e.Position && (e.Device == "" || k.Device == e.Device) && k.Key.Signed(content, e.Signature) {
				e.Key, e.Verified = k, SignatureRight
				return
			}
		}
	}
}

// distinct returns texts, each once.
func distinct(texts []personal.Text) []personal.Text {
	slices.Sort(texts)
	return slices.Compact(texts)
}
