package diary

import (
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
)

// ChooseReminders says how the patient is reminded, in place of what was chosen before.
type ChooseReminders struct {
	domain.OfPatient
	Email bool `json:"email,omitempty" doc:"Whether reminders go to the patient's e-mail address when no device has taken them"`
	// Quiet takes the place of those of the instruments.
	Quiet *instrument.QuietHours `json:"quiet,omitempty" doc:"When the patient is not reminded; left out for the quiet hours of each instrument"`
}

// RemindersChosen says how the patient is reminded, in place of what was chosen before.
type RemindersChosen struct {
	Patient domain.PatientID       `json:"patient"`
	Email   bool                   `json:"email,omitempty"`
	Quiet   *instrument.QuietHours `json:"quiet,omitempty"`
}

func (RemindersChosen) diaryEvent() {}

// AboutPatient returns the patient that the event is about.
func (e RemindersChosen) AboutPatient() domain.PatientID { return e.Patient }

// Choose decides about ChooseReminders. It records nothing where it is what was chosen already, and refuses value_missing and
// malformed_time.
func Choose(d Diary, cmd ChooseReminders, _ domain.Call) ([]Event, error) {
	chosen := RemindersChosen{Patient: cmd.Patient, Email: cmd.Email, Quiet: cmd.Quiet}
	if cmd.Quiet != nil {
		if err := cmd.Quiet.Validate("quiet"); err != nil {
			return nil, err
		}
	}
	if now := d.choices().reminders; now.Email == chosen.Email && now.sameQuiet(chosen) {
		return nil, nil
	}
	return []Event{chosen}, nil
}

func (e RemindersChosen) sameQuiet(other RemindersChosen) bool {
	return e.Quiet == other.Quiet || e.Quiet != nil && other.Quiet != nil && *e.Quiet == *other.Quiet
}

// RemindsByEmail says whether the patient, or the site for the patient, has chosen reminders by e-mail.
func (d Diary) RemindsByEmail() bool { return d.choices().reminders.Email }

// QuietHours are those that were chosen for the patient; nil where those of the instruments hold.
func (d Diary) QuietHours() *instrument.QuietHours { return d.choices().reminders.Quiet }

// remindAt returns when the patient is reminded of a window, as things are now: when it opens, or when the quiet hours end in which that,
// or the present moment, lies. If the window closes before they end, it does not wait for them.
func (d Diary) remindAt(a *Assignment, w Window, now time.Time) time.Time {
	quiet := d.QuietHours()
	if quiet == nil {
		quiet = a.Instrument.Definition().Schedule.Quiet
	}
	if quiet == nil {
		return w.Opens
	}
	at := w.Opens
	for _, moment := range []time.Time{w.Opens, now} {
		if end, is := quiet.EndAfter(moment, a.zone); is && !moment.Before(at) && end.Before(w.Closes) {
			at = end
		}
	}
	return at
}
