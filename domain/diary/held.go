package diary

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
)

// Held is an entry that counts nowhere yet: there was no window for it, or the patient was not asked any more. The site decides
// about it: CorrectDiaryWindow lets it count in a window, VoidDiary does not. What a patient has captured is never thrown away.
type Held struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Version    int              `json:"version"`
	// Window is the moment at which it was captured, under an id of its own.
	Window     Window    `json:"window"`
	CapturedAt time.Time `json:"capturedAt"`
	Answers    Answers   `json:"answers"`
	// Why is the code with which the entry would be refused if it were not held.
	Why string `json:"why"`
	Entered
}

func (Held) diaryEvent() {}

// heldPrefix begins the ids of held entries, which end with the moment of the capture.
const heldPrefix = "held/"

// holdable are the refusals in whose place an entry is held: those that nobody can mend on the device.
var holdable = []string{"diary_too_early", "no_window", "diary_too_late", "patient_not_participating", "treatment_ended"}

// hold holds an entry that was refused, if the instrument says so, and returns the refusal otherwise. The same entry is held once.
func (d Diary) hold(cmd SubmitDiary, entered Entered, why error) ([]Event, error) {
	refusal, ok := refuse.As(why)
	a := d.lastAssigned(cmd.Instrument)
	if !ok || a == nil || !a.Instrument.Definition().Schedule.Late.Hold || !slices.Contains(holdable, refusal.Code) {
		return nil, why
	}
	answers, err := a.Instrument.Check(cmd.Answers)
	if err != nil {
		return nil, err
	}
	at := cmd.CapturedAt
	w := Window{ID: heldPrefix + at.UTC().Truncate(time.Second).Format(time.RFC3339), Opens: at, Closes: at}
	if _, held := d.find(cmd.Instrument, w.ID); held {
		return nil, nil
	}
	return []Event{Held{Patient: cmd.Patient, Instrument: a.ID, Version: a.Instrument.Definition().Version, Window: w, CapturedAt: at,
		Answers: answers, Why: refusal.Code, Entered: entered}}, nil
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
