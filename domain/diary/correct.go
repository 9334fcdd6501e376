package diary

import (
	"maps"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
)

// Entry is one recorded diary, or a held one, with all its corrections applied.
type Entry struct {
	Patient    domain.PatientID
	Instrument instrument.ID
	Version    int
	Window     Window
	CapturedAt time.Time
	Answers    Answers
	Scores     []ScoreResult
	// Late and AfterMissed are as they were recorded; of a held entry, Late is as it would have been in the window For.
	Late, AfterMissed bool
	Entered
	// For is the window that a held entry would have counted in.
	For string
	// Corrections is how often it was corrected.
	Corrections int
}

// IsHeld says whether the entry is held, and counts nowhere.
func (entry *Entry) IsHeld() bool { return strings.HasPrefix(entry.Window.ID, heldPrefix) }

// EntryOf folds one diary from the events of the patient's stream. It returns nil if the window has no entry.
func EntryOf(events []Event, id instrument.ID, window string) *Entry {
	var entry *Entry
	for _, e := range events {
		if about, ok := e.(OfWindow); !ok {
			continue
		} else if of, in := about.OfWindow(); of != id || in != window {
			continue
		}
		switch e := e.(type) {
		case Submitted:
			entry = &Entry{Patient: e.Patient, Instrument: id, Version: e.Version, Window: e.Window, CapturedAt: e.CapturedAt,
				Answers: maps.Clone(e.Answers), Scores: e.Scores, Late: e.Late, AfterMissed: e.AfterMissed, Entered: e.Entered}
		case Held:
			entry = &Entry{Patient: e.Patient, Instrument: id, Version: e.Version, Window: e.Window, CapturedAt: e.CapturedAt,
				Answers: maps.Clone(e.Answers), Entered: e.Entered, For: e.For, Late: e.Late}
		case Voided:
			entry = nil
		case Corrected:
			if entry != nil {
				entry.apply(e)
			}
		}
	}
	return entry
}

func (entry *Entry) apply(e Corrected) {
	if entry.Answers == nil {
		entry.Answers = Answers{}
	}
	for _, change := range e.Changes {
		if change.New == nil {
			delete(entry.Answers, change.Item)
		} else {
			entry.Answers[change.Item] = change.New
		}
	}
	entry.Scores = e.Scores
	entry.Corrections++
}

// Correct changes answers of a recorded diary. The old answers stay readable in the events (21 CFR 11.10(e)), and a
// change needs a reason (EMA guideline on computerised systems, 2023). The whole corrected diary has to pass the
// instrument's checks. The scores are computed again, and risks that did not exist before are flagged.
//
// entry is the diary that EntryOf returns, or nil. Refusals: reason_required, value_too_long, instrument_unusable,
// diary_not_found, nothing_changed, and those of instrument.Instrument.Check.
func Correct(d Diary, entry *Entry, cmd CorrectDiary, _ domain.Call) ([]Event, error) {
	reason := strings.TrimSpace(cmd.Reason)
	if err := domain.Reason(reason); err != nil {
		return nil, err
	}
	if err := d.checkUsable(cmd.Instrument); err != nil {
		return nil, err
	}
	assigned, ok := d.find(cmd.Instrument, cmd.Window)
	if !ok || entry == nil || assigned.status()&Answered == 0 {
		return nil, refuse.NotFound("diary_not_found", "there is no diary of %s for the window %q", cmd.Instrument, cmd.Window).At("window")
	}
	answers, err := assigned.Instrument.Check(entry.with(cmd.Answers))
	if err != nil {
		return nil, err
	}
	changes := changesBetween(assigned.Instrument.Definition(), entry.Answers, answers)
	if len(changes) == 0 {
		return nil, refuse.Because("nothing_changed", "the diary of the window %s has these answers already", cmd.Window).At("answers")
	}
	scores := assigned.Instrument.Scores(answers)
	events := []Event{Corrected{
		Patient: cmd.Patient, Instrument: cmd.Instrument, Window: cmd.Window, Changes: changes, Reason: reason, Scores: scores,
	}}
	before := assigned.Instrument.Risks(entry.Answers, assigned.Instrument.Scores(entry.Answers))
	for _, risk := range assigned.Instrument.Risks(answers, scores) {
		if !slices.ContainsFunc(before, func(held instrument.RiskRule) bool { return held.ID == risk.ID }) {
			events = append(events, flagged(cmd.Patient, cmd.Instrument, cmd.Window, risk))
		}
	}
	return events, nil
}

// with returns all answers of the diary with some of them changed; nil clears an answer.
func (entry *Entry) with(changed map[instrument.ItemID]any) map[instrument.ItemID]any {
	answers := make(map[instrument.ItemID]any, len(entry.Answers)+len(changed))
	maps.Copy(answers, entry.Answers)
	maps.Copy(answers, changed)
	return answers
}

// changesBetween returns the items whose answers differ, in the order of the instrument.
func changesBetween(d *instrument.Definition, before, after map[instrument.ItemID]any) []Change {
	var changes []Change
	for _, item := range d.Items {
		if before[item.ID] != after[item.ID] {
			changes = append(changes, Change{Item: item.ID, Old: before[item.ID], New: after[item.ID]})
		}
	}
	return changes
}

func flagged(who domain.PatientID, id instrument.ID, window string, risk instrument.RiskRule) RiskFlagged {
	return RiskFlagged{Patient: who, Instrument: id, Window: window, Rule: risk.ID, Severity: risk.Severity, Message: risk.Message}
}
