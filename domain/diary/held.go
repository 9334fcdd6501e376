package diary

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// Held is an entry that counts nowhere yet, for a reason that nobody can mend on the device. The site decides about it:
// CorrectDiaryWindow lets it count in a window, VoidDiary does not. What a patient has captured is never thrown away.
type Held struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	// Version is that of the instrument whose rules the answers keep to; 0 if there was none to check them with.
	Version int `json:"version"`
	// Window is the moment at which it was captured, under an id of its own.
	Window     Window    `json:"window"`
	CapturedAt time.Time `json:"capturedAt"`
	Answers    Answers   `json:"answers"`
	Why        Why       `json:"why"`
	Entered
	// For is the id of the window that it would have counted in, if there is one, and Late whether it would have been late there.
	For  string `json:"for,omitempty"`
	Late bool   `json:"late,omitempty"`
	// UrgentRisks are the urgent risk rules of the instrument that hold for the answers: the site is told of them before it has decided.
	// Events from before they were recorded have none.
	UrgentRisks []string `json:"urgentRisks,omitempty"`
	// Risks are all risk rules that hold for the answers, as they were when the entry came: afterwards its free texts are sealed. They are
	// flagged when the entry is taken. An empty list says that none holds; without a list, nobody has looked, because there was no
	// instrument to look with, or in events from before they were recorded.
	Risks []HeldRisk `json:"risks,omitzero"`
	// InFuture says that CapturedAt was more than ClockTolerance ahead of the server when it arrived, whatever Why says.
	InFuture bool `json:"inFuture,omitempty"`
}

// HeldRisk is a risk rule that holds for an entry that is held.
type HeldRisk struct {
	Rule     string              `json:"rule"`
	Severity instrument.Severity `json:"severity"`
	Message  string              `json:"message"`
}

func (Held) diaryEvent() {}

// Why says why an entry is held.
type Why string

// The reasons. Each is something that the person with the device can do nothing about, so that a refusal would lose the entry.
// What an app can mend is refused instead, before: an entry without a time, an unknown zone, an id or a language
// that is none, answers that the instrument does not take.
const (
	// WhyDeviceRevoked and WhyDeviceNotEnrolled are about the device that the entry names: another one may send what it has captured.
	WhyDeviceRevoked     Why = "device_revoked"
	WhyDeviceNotEnrolled Why = "device_not_enrolled"
	// WhyUnsigned and WhyWrongSignature: nobody knows whether the device has captured it, because the entry has no signature although
	// the device signs all of them, or one that is not of its key and of these values.
	WhyUnsigned       Why = "signature_missing"
	WhyWrongSignature Why = "signature_wrong"
	// WhyZoneContradicts: the offset of the capture is not that of the zone then, so that nobody knows which day it was.
	WhyZoneContradicts Why = "zone_contradicts_offset"
	// WhyInFuture: the device's clock was more than ClockTolerance ahead of the server's, and the app cannot say by how much. It stays held
	// when the moment has come.
	WhyInFuture Why = "captured_in_future"
	// WhyRespondentContradicts: a minor who is of age by the record, which may be wrong, or a caregiver with the patient's account.
	WhyRespondentContradicts Why = "respondent_contradicts"
	// WhyAnswered: the window has an entry, from this device or another one. What was recorded first counts.
	WhyAnswered Why = "diary_submitted"
	// WhyTooEarly, WhyNoWindow and WhyTooLate: the protocol takes no entry of that moment.
	WhyTooEarly Why = "diary_too_early"
	WhyNoWindow Why = "no_window"
	WhyTooLate  Why = "diary_too_late"
	// WhyNotParticipating and WhyTreatmentEnded: captured after the end, which the device may not have heard of.
	WhyNotParticipating Why = "patient_not_participating"
	WhyTreatmentEnded   Why = "treatment_ended"
	// WhyNotAssigned: the site may assign the instrument later. WhyUnusable: this program is older than the assignment.
	WhyNotAssigned Why = "instrument_not_assigned"
	WhyUnusable    Why = "instrument_unusable"
	// WhyOtherVersion: the answers are those of another version of the instrument than the window asks for, from before an amendment.
	WhyOtherVersion Why = "other_version"
	// WhyDamaged: the patient's record of diaries is damaged, so that nobody knows what is in it (see HoldBeside).
	WhyDamaged Why = "record_damaged"
)

// Whys are all reasons.
var Whys = []Why{WhyDeviceRevoked, WhyDeviceNotEnrolled, WhyUnsigned, WhyWrongSignature, WhyZoneContradicts, WhyInFuture,
	WhyRespondentContradicts, WhyAnswered, WhyTooEarly, WhyNoWindow, WhyTooLate, WhyNotParticipating, WhyTreatmentEnded, WhyNotAssigned,
	WhyUnusable, WhyOtherVersion, WhyDamaged}

// Schema implements domain.HasSchema.
func (Why) Schema() domain.Schema { return domain.OneOf(Whys...) }

// Remedy says what the app can do so that an entry counts that is held for this reason; "" where only the site can do something. Under the
// key of the held entry, the entry is answered as before.
func (w Why) Remedy() string {
	if w == WhyUnsigned {
		return "sign the entry with the key of the device, and send it with the same sequence under a new Idempotency-Key"
	}
	if w == WhyWrongSignature {
		return "sign what signed shows with the key of the device, and send the entry with the same sequence under a new Idempotency-Key"
	}
	if w == WhyDeviceNotEnrolled {
		return "if it is the device that sends it, sign in with its id, which enrols it, and send the entry with the same sequence under a new " +
			"Idempotency-Key; otherwise the site decides"
	}
	return ""
}

// holdable are the refusals of a window in whose place an entry is held.
var holdable = []Why{WhyTooEarly, WhyNoWindow, WhyTooLate, WhyNotParticipating, WhyTreatmentEnded, WhyNotAssigned, WhyUnusable}

// heldPrefix begins the ids of held entries, which go on with the moment of the capture.
const heldPrefix = "held/"

// heldEntry is an entry that is held, or was: its status is then Emptied.
type heldEntry struct {
	instrument instrument.ID
	id         string
	status     Status
	why        Why
}

// heldID begins the id of an entry that is held.
func heldID(capturedAt time.Time) string {
	return heldPrefix + capturedAt.UTC().Truncate(time.Second).Format(time.RFC3339)
}

// capturedAt returns the moment in the id of the entry, to the second.
func (h heldEntry) capturedAt() time.Time {
	moment, _, _ := strings.Cut(strings.TrimPrefix(h.id, heldPrefix), "/")
	at, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		return time.Time{}
	}
	return at
}

// distrusted returns why an entry is held whatever its window is; "" if it need not be.
func (c SubmitDiary) distrusted(who patient.Patient, entered Entered) Why {
	if why := c.ofAnotherDevice(entered); why != "" {
		return why
	}
	switch {
	case c.zoneContradicts():
		return WhyZoneContradicts
	case c.respondentContradicts(who):
		return WhyRespondentContradicts
	}
	return ""
}

// ofAnotherDevice returns why the entry may not be of the device that it names; "" if nothing speaks against it.
func (c SubmitDiary) ofAnotherDevice(entered Entered) Why {
	switch {
	case c.Device != "" && c.Sender.Device == DeviceIsRevoked:
		return WhyDeviceRevoked
	case c.Device != "" && c.Sender.Device == DeviceIsUnknown:
		return WhyDeviceNotEnrolled
	case c.Signature == "" && c.Sender.Signs:
		return WhyUnsigned
	case c.Signature != "" && len(c.Sender.Keys) > 0 && !c.signedBy(c.Sender.Keys, entered):
		return WhyWrongSignature
	}
	return ""
}

// hold holds an entry. meant is the window that it would have counted in, if there is one. It refuses what
// instrument.Instrument.Check refuses, because the app can mend that.
func (d Diary) hold(cmd SubmitDiary, entered Entered, call domain.Call, meant *entryWindow, why Why) ([]Event, error) {
	by, answers, err := d.checked(cmd, meant)
	if err != nil {
		return nil, err
	}
	at := cmd.CapturedAt
	e := Held{Patient: cmd.Patient, Instrument: cmd.Instrument, CapturedAt: at, Answers: answers, Why: why, Entered: entered,
		Window: Window{ID: d.freeHeldID(cmd.Instrument, at), Opens: at, Closes: at}, InFuture: inFuture(at, call)}
	if meant != nil && !(e.InFuture && meant.window.Opens.After(call.At)) { // nobody can have answered a window that has not opened
		e.For, e.Late = meant.window.ID, meant.late
	}
	e.Entered = e.signing(answers)
	if by != nil {
		e.Version = by.Definition().Version
		e.Risks = []HeldRisk{}
		for _, risk := range by.Risks(answers, by.Scores(answers)) {
			e.Risks = append(e.Risks, HeldRisk{Rule: risk.ID, Severity: risk.Severity, Message: risk.Message})
			if risk.Severity == instrument.SeverityUrgent {
				e.UrgentRisks = append(e.UrgentRisks, risk.ID)
			}
		}
	}
	return []Event{e}, nil
}

// freeHeldID returns an id for an entry that is held. Two devices may have captured entries in the same second.
func (d Diary) freeHeldID(id instrument.ID, at time.Time) string {
	first := heldID(at)
	free := first
	for n := 2; d.heldAt(id, free) >= 0; n++ {
		free = first + "/" + strconv.Itoa(n)
	}
	return free
}

// checked checks the answers of an entry with the version of the instrument that its window asks for or, if that does not take them,
// with any other version that the patient was assigned: a device that was offline may not have heard of an amendment. by is the version
// that takes them; nil if there is none that this program can use. It refuses what instrument.Instrument.Check refuses, and for an
// entry without an instrument malformed_id, value_too_long and unknown_item.
func (d Diary) checked(cmd SubmitDiary, meant *entryWindow) (by *instrument.Instrument, answers Answers, err error) {
	var candidates []*Assignment
	if meant != nil {
		candidates = append(candidates, meant.assignment)
	}
	for i := len(d.assignments) - 1; i >= 0; i-- {
		if a := &d.assignments[i]; a.ID == cmd.Instrument && a.fault == nil {
			candidates = append(candidates, a)
		}
	}
	var first error
	for _, a := range candidates {
		answers, err := a.Instrument.Check(cmd.Answers)
		if err == nil {
			return a.Instrument, answers, nil
		}
		if first == nil {
			first = err
		}
	}
	if first != nil {
		return nil, nil, first
	}
	if cmd.Instrument == "" || len(cmd.Instrument) > maxNameChars {
		return nil, nil, refuse.Malformed("malformed_id", "%q cannot be an instrument", refuse.Shortened(string(cmd.Instrument))).
			At("instrument").Do("use the id of the instrument, as the protocol names it")
	}
	answers, err = cmd.Answers.asSent()
	return nil, answers, err
}

// otherVersionTakes says whether the answers are those of another version of the instrument than the window asks for.
func (d Diary) otherVersionTakes(cmd SubmitDiary, meant entryWindow) bool {
	by, _, err := d.checked(cmd, &meant)
	return err == nil && by.Definition().Version != meant.assignment.Instrument.Definition().Version
}

// The bounds of answers that no instrument checks.
const (
	maxUncheckedItems = 500
	maxUncheckedChars = 10_000
	maxNameChars      = 100
)

// asSent returns answers that no instrument can check, in the form in which they are read back. Any text among them may be one that a
// person wrote. It refuses value_too_long and unknown_item.
func (answers Answers) asSent() (Answers, error) {
	if len(answers) > maxUncheckedItems {
		return nil, refuse.Malformed("value_too_long", "the diary has %d answers", len(answers)).At("answers").
			Do("send the answers of one instrument, at most 500")
	}
	clean := make(Answers, len(answers))
	for item, answer := range answers {
		if item == "" || len(item) > maxNameChars {
			return nil, refuse.Because("unknown_item", "%q cannot be the id of an item", refuse.Shortened(string(item))).At("answers").
				Do("use the item ids of the instrument")
		}
		switch value := plainAnswer(answer).(type) {
		case nil:
		case string:
			if len(value) > maxUncheckedChars {
				return nil, refuse.Malformed("value_too_long", "the answer has %d bytes", len(value)).At("answers." + string(item)).
					Do("use at most 10000")
			}
			clean[item] = personal.Text(value)
		case personal.Text:
			clean[item] = value
		case bool, float64:
			clean[item] = value
		default:
			return nil, refuse.Because("unknown_item", "the answer to %s is neither a number, nor true or false, nor a text", item).
				At("answers." + string(item)).Do("use the types of the instrument's items")
		}
	}
	return clean, nil
}

// HoldBeside decides about SubmitDiary while the patient's stream of diaries is damaged: d is its sound part. Whatever the rest would
// say, the entry is kept, in a stream that BesideStream names. When two people have resolved the damage, the site takes it like any
// other. What may not be of the device that it names is held for that. It refuses what the app can mend, as Submit does.
func HoldBeside(d Diary, _ patient.Patient, cmd SubmitDiary, call domain.Call) ([]Event, error) {
	entered, err := cmd.receivable()
	if err != nil {
		return nil, err
	}
	why := cmp.Or(cmd.ofAnotherDevice(entered), WhyDamaged)
	if d.hasRecorded(cmd, !slices.Contains(doubts, why)) {
		return nil, nil
	}
	events, err := d.hold(cmd, entered, call, nil, why)
	if err != nil {
		return nil, err
	}
	e := events[0].(Held)
	e.Window.ID = heldID(cmd.CapturedAt) + besideMark + BesideKey(cmd)
	return []Event{e}, nil
}

// besideMark separates the moment of the capture from the key of the stream in the id of an entry that is held beside a damaged
// stream.
const besideMark = "/beside-"

// BesideKey names the stream, beside a patient's own, in which an entry is held while that is damaged. The same entry has the same
// key however often it is sent; one that may not be of its device has another key than the true one, which comes later. The key is in the
// clear, so that no text is in it, which could be tried out.
func BesideKey(cmd SubmitDiary) string {
	key := strconv.FormatUint(printOf(cmd.Instrument, cmd.Device, cmd.CapturedAt, cmd.Answers.withTexts(cmd.Answers.strings())), 16)
	if entered, err := cmd.receivable(); err == nil && slices.Contains(doubts, cmd.ofAnotherDevice(entered)) {
		return doubtedMark + key
	}
	return key
}

// doubtedMark begins the key of an entry that may not be of its device; no other key begins with it.
const doubtedMark = "0"

// heldAt returns where the state has a held entry; -1 if it has none with this id.
func (d Diary) heldAt(id instrument.ID, held string) int {
	return slices.IndexFunc(d.held, func(h heldEntry) bool { return h.id == held && h.instrument == id })
}

// whyHeld returns why an entry was held; WhyDamaged if the state does not have it, because it was held beside a damaged stream.
func (d Diary) whyHeld(id instrument.ID, held string) Why {
	if at := d.heldAt(id, held); at >= 0 {
		return d.held[at].why
	}
	return WhyDamaged
}

// withHeld changes the status of a held entry.
func (d Diary) withHeld(id instrument.ID, held string, status Status, why Why) Diary {
	entry := heldEntry{instrument: id, id: held, status: status, why: why}
	at := d.heldAt(id, held)
	d.held = slices.Clone(d.held)
	if at < 0 {
		d.held = append(d.held, entry)
	} else {
		d.held[at] = entry
	}
	return d
}

// lastAssigned returns the last assignment of an instrument, or nil if there is none that this program can use.
func (d Diary) lastAssigned(id instrument.ID) *Assignment {
	for i := len(d.assignments) - 1; i >= 0; i-- {
		if a := &d.assignments[i]; a.ID == id && a.fault == nil {
			return a
		}
	}
	return nil
}
