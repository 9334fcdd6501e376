package diary

import (
	"maps"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/personal"
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
	// By is the account that entered it, and Zone that of the device at the capture. A diary that was moved says so itself; of others,
	// the metadata of the event at Place among the events say it, and EntryOf leaves them empty.
	By    domain.UserID
	Zone  string
	Moved bool
	Place int
	// For is the window that a held entry would have counted in. UrgentRisks are those that the site was told of when it was held, and
	// Risks all that held then; nil if nobody had looked.
	For         string
	UrgentRisks []string
	Risks       []HeldRisk
	// Why says why it is held; "" if it is not.
	Why Why
	// InFuture says that it was captured in the future when it arrived.
	InFuture bool
	// Corrections is how often it was corrected.
	Corrections int
}

// IsHeld says whether the entry is held, and counts nowhere.
func (entry *Entry) IsHeld() bool { return strings.HasPrefix(entry.Window.ID, heldPrefix) }

// EntryOf folds one diary from the events of the patient's stream. It returns nil if the window has no entry.
func EntryOf(events []Event, id instrument.ID, window string) *Entry {
	var entry *Entry
	for n, e := range events {
		if about, ok := e.(OfWindow); !ok {
			continue
		} else if of, in := about.OfWindow(); of != id || in != window {
			continue
		}
		switch e := e.(type) {
		case Submitted:
			entry = &Entry{Patient: e.Patient, Instrument: id, Version: e.Version, Window: e.Window, CapturedAt: e.CapturedAt,
				Answers: maps.Clone(e.Answers), Scores: e.Scores, Late: e.Late, AfterMissed: e.AfterMissed, Entered: e.Entered, InFuture: e.InFuture,
				By: e.EnteredBy, Zone: e.CapturedZone, Moved: e.MovedFrom != "", Place: n}
		case Held:
			entry = &Entry{Patient: e.Patient, Instrument: id, Version: e.Version, Window: e.Window, CapturedAt: e.CapturedAt,
				Answers: maps.Clone(e.Answers), Entered: e.Entered, For: e.For, Late: e.Late,
				UrgentRisks: e.UrgentRisks, Risks: e.Risks, InFuture: e.InFuture, Place: n, Why: e.Why}
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

// Request is a correction that was asked for.
type Request struct {
	CorrectionAsked
	// Decided says that it was applied or declined, or has lapsed.
	Decided bool
	// withoutDiary says that its diary was voided or moved. In older logs it is open all the same, and can be declined.
	withoutDiary bool
}

// Request returns the request with this number.
func (d Diary) Request(number int) (Request, bool) {
	i := d.indexOf(number)
	if i < 0 {
		return Request{}, false
	}
	return d.requests[i], true
}

func (d Diary) indexOf(request int) int {
	return slices.IndexFunc(d.requests, func(r Request) bool { return r.Request == request })
}

// decided returns the diary after a request was answered.
func (d Diary) decided(number int) Diary {
	if i := d.indexOf(number); i >= 0 {
		d.requests = slices.Clone(d.requests)
		d.requests[i].Decided = true
	}
	return d
}

// withoutDiary returns the diary after an entry was voided or moved: the open requests about it can only be declined.
func (d Diary) withoutDiary(e Voided) Diary {
	if len(d.waiting(e.Instrument, e.Window.ID)) == 0 {
		return d
	}
	d.requests = slices.Clone(d.requests)
	for i := range d.requests {
		if r := &d.requests[i]; r.waitsFor(e.Instrument, e.Window.ID) {
			r.withoutDiary = true
		}
	}
	return d
}

// waiting returns the open requests about the diary of a window.
func (d Diary) waiting(id instrument.ID, window string) (open []Request) {
	for _, r := range d.requests {
		if r.waitsFor(id, window) {
			open = append(open, r)
		}
	}
	return open
}

func (r Request) waitsFor(id instrument.ID, window string) bool {
	return !r.Decided && !r.withoutDiary && r.Instrument == id && r.Window == window
}

// lapsed returns the events that close the open requests about a diary which is voided.
func (d Diary) lapsed(v Voided) (events []Event) {
	for _, r := range d.waiting(v.Instrument, v.Window.ID) {
		events = append(events, CorrectionLapsed{Patient: v.Patient, Instrument: r.Instrument, Window: r.Window, Request: r.Request,
			MovedTo: v.MovedTo, Reason: v.Reason})
	}
	return events
}

// AskCorrection records that somebody asks for a correction. The whole corrected diary has to pass the instrument's checks. Sponsors
// neither ask nor decide (EMA guideline on computerised systems, 2023, A5.1).
//
// entry is the diary that EntryOf returns, or nil. Refusals: reason_required, value_too_long, instrument_unusable,
// diary_not_found, nothing_changed, and those of instrument.Instrument.Check.
func AskCorrection(d Diary, entry *Entry, cmd AskDiaryCorrection, call domain.Call) ([]Event, error) {
	reason := cmd.Reason.Trimmed()
	if err := domain.Reason(reason); err != nil {
		return nil, err
	}
	_, _, changes, err := d.changed(entry, cmd.Instrument, cmd.Window, cmd.Answers)
	if err != nil {
		return nil, err
	}
	return []Event{CorrectionAsked{Patient: cmd.Patient, Instrument: cmd.Instrument, Window: cmd.Window, Request: len(d.requests) + 1,
		By: call.Actor, Changes: changes, Reason: reason}}, nil
}

// changed returns where a diary is, all its answers with others, and what would change. It refuses instrument_unusable,
// diary_not_found, nothing_changed, and what instrument.Instrument.Check refuses.
func (d Diary) changed(entry *Entry, id instrument.ID, window string, others Answers) (place, Answers, []Change, error) {
	if err := d.checkUsable(id); err != nil {
		return place{}, nil, nil, err
	}
	assigned, ok := d.find(id, window)
	if !ok || entry == nil || assigned.status()&Answered == 0 {
		return place{}, nil, nil, refuse.NotFound("diary_not_found", "there is no diary of %s for the window %q", id, refuse.Shortened(window)).
			At("window").Do("take the window from the patient's diaries; one that is missed, held or voided has no answers to correct")
	}
	answers, err := assigned.Instrument.Check(entry.with(others))
	if err != nil {
		return place{}, nil, nil, err
	}
	changes := changesBetween(assigned.Instrument.Definition(), entry.Answers, answers)
	if len(changes) == 0 {
		return place{}, nil, nil, refuse.Because("nothing_changed", "the diary of the window %s has these answers already", window).At("answers").
			Do("nothing is left to do")
	}
	return assigned, answers, changes, nil
}

// Correct changes answers of a recorded diary as was asked for. The old answers stay readable in the events (21 CFR 11.10(e)). An
// investigator of the site decides, who did not ask (EMA guideline on computerised systems, 2023, A5.1). The scores are computed again,
// and risks that did not exist before are flagged.
//
// entry is the diary of the request that EntryOf returns, or nil. Refusals: reason_required, value_too_long, correction_not_found,
// correction_decided, own_correction, diary_changed, and those of AskCorrection.
func Correct(d Diary, entry *Entry, cmd CorrectDiary, call domain.Call) ([]Event, error) {
	asked, reason, err := d.deciding(cmd.Request, cmd.Reason, call)
	if err != nil {
		return nil, err
	}
	if asked.withoutDiary { // also where the window has another diary by now
		return nil, refuse.WrongState("diary_changed", "the diary of the window %s was voided or moved after the request", asked.Window).
			At("request").Do("decline the request; it may be asked again for the diary that counts")
	}
	others := Answers{}
	for _, change := range asked.Changes {
		others[change.Item] = change.New
	}
	assigned, answers, changes, err := d.changed(entry, asked.Instrument, asked.Window, others)
	if err != nil {
		return nil, err
	}
	if !slices.EqualFunc(changes, asked.Changes, sameChange) {
		return nil, refuse.WrongState("diary_changed", "the diary of the window %s was changed after the request", asked.Window).At("request").
			Do("decline the request; it may be asked again")
	}
	scores := assigned.Instrument.Scores(answers)
	events := []Event{Corrected{Patient: cmd.Patient, Instrument: asked.Instrument, Window: asked.Window, Changes: changes,
		Reason: asked.Reason, Scores: scores, Request: asked.Request, Decision: reason}}
	before := assigned.Instrument.Risks(entry.Answers, assigned.Instrument.Scores(entry.Answers))
	for _, risk := range assigned.Instrument.Risks(answers, scores) {
		if !slices.ContainsFunc(before, func(held instrument.RiskRule) bool { return held.ID == risk.ID }) {
			events = append(events, flagged(cmd.Patient, asked.Instrument, asked.Window, risk))
		}
	}
	return events, nil
}

// DeclineCorrection leaves a diary as it is. It refuses reason_required, value_too_long, correction_not_found, correction_decided and
// own_correction.
func DeclineCorrection(d Diary, cmd DeclineDiaryCorrection, call domain.Call) ([]Event, error) {
	asked, reason, err := d.deciding(cmd.Request, cmd.Reason, call)
	if err != nil {
		return nil, err
	}
	return []Event{CorrectionDeclined{Patient: cmd.Patient, Instrument: asked.Instrument, Window: asked.Window, Request: asked.Request,
		Reason: reason}}, nil
}

// deciding returns a request that waits, and the reason of the decision about it.
func (d Diary) deciding(number int, why personal.Text, call domain.Call) (asked Request, reason personal.Text, err error) {
	reason = why.Trimmed()
	if err := domain.Reason(reason); err != nil {
		return asked, "", err
	}
	asked, found := d.Request(number)
	switch {
	case !found:
		return asked, "", refuse.NotFound("correction_not_found", "the patient has no request %d", number).At("request").
			Do("take the number from the diary")
	case asked.Decided:
		return asked, "", refuse.WrongState("correction_decided", "request %d is closed: it was decided, or its diary does not count any more",
			number).At("request").Do("nothing is left to do; the patient's diary shows what became of it")
	case asked.By == call.Actor:
		return asked, "", refuse.Because("own_correction", "who asks for a correction does not decide about it").At("request").
			Do("have another investigator of the site decide")
	}
	return asked, reason, nil
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
		if asWritten(before[item.ID]) != asWritten(after[item.ID]) {
			changes = append(changes, Change{Item: item.ID, Old: before[item.ID], New: after[item.ID]})
		}
	}
	return changes
}

// sameChange says whether two changes are the same, whether their free texts are known as such or not.
func sameChange(a, b Change) bool {
	return a.Item == b.Item && asWritten(a.Old) == asWritten(b.Old) && asWritten(a.New) == asWritten(b.New)
}

func flagged(who domain.PatientID, id instrument.ID, window string, risk instrument.RiskRule) RiskFlagged {
	return RiskFlagged{Patient: who, Instrument: id, Window: window, Rule: risk.ID, Severity: risk.Severity, Message: risk.Message}
}
