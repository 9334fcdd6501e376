package diary

import (
	"time"

	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/projections"
	diaryviews "casebook/readmodels/diary"
)

type entry = diaryviews.Diary

// Diaries makes one document per window that was answered or missed.
var Diaries = projections.New(diaryviews.Diaries, projections.KeyOf(func(e diary.OfWindow, at projections.Envelope) string {
	id, window := e.OfWindow()
	return diaryviews.DiaryKey(projections.PatientOf(at), id, window)
}),
	projections.On(func(d *entry, e diary.Submitted, at projections.Envelope) {
		captured := e.CapturedAt.UTC()
		ofWindow(d, at, e.Instrument, e.Window)
		d.Version, d.CapturedAt, d.Late, d.AfterMissed, d.Missed = e.Version, &captured, e.Late, e.AfterMissed, false
		d.Answers, d.Scores, d.MovedFrom, d.Queried = answersOf(e.Answers), e.Scores, e.MovedFrom, e.Queried
		entered(d, at, e.Entered, e.CapturedAt)
		if e.MovedFrom != "" { // whoever moved it has not entered it
			d.By, d.Zone, d.MovedBy = e.EnteredBy, e.CapturedZone, at.Metadata.Actor
		}
		d.Settle()
	}),
	projections.On(func(d *entry, e diary.Held, at projections.Envelope) {
		captured := e.CapturedAt.UTC()
		ofWindow(d, at, e.Instrument, e.Window)
		d.Version, d.CapturedAt, d.Answers, d.Held, d.For = e.Version, &captured, answersOf(e.Answers), e.Why, e.For
		entered(d, at, e.Entered, e.CapturedAt)
		for _, rule := range e.UrgentRisks {
			d.Raise(rule, at.Metadata.RecordedAt)
		}
		d.Settle()
	}),
	projections.On(func(d *entry, e diary.Voided, at projections.Envelope) {
		d.Void(diaryviews.VoidedDiary{Reason: string(e.Reason), MovedTo: e.MovedTo, By: at.Metadata.Actor, RecordedAt: at.Metadata.RecordedAt})
		d.Missed = e.AfterMissed
		d.Settle()
	}),
	projections.On(func(d *entry, e diary.RiskFlagged, at projections.Envelope) {
		d.Flag(e.Rule)
		d.Raise(e.Rule, at.Metadata.RecordedAt)
	}),
	projections.On(func(d *entry, e diary.CorrectionAsked, at projections.Envelope) {
		d.Ask(asked(e, at))
	}),
	projections.On(func(d *entry, e diary.CorrectionDeclined, at projections.Envelope) {
		d.Decide(e.Request, diaryviews.RequestDeclined, string(e.Reason), at.Metadata.Actor, at.Metadata.RecordedAt)
	}),
	projections.On(func(d *entry, e diary.CorrectionLapsed, at projections.Envelope) {
		if r := d.RequestOf(e.Request); r != nil {
			lapse(r, e, at)
		}
	}),
	projections.On(func(d *entry, e diary.Corrected, at projections.Envelope) {
		d.Decide(e.Request, diaryviews.RequestApplied, string(e.Decision), at.Metadata.Actor, at.Metadata.RecordedAt)
		d.Correct(correction(d, e, at), e.Scores)
	}),
	projections.On(func(d *entry, e diary.WindowMissed, at projections.Envelope) {
		ofWindow(d, at, e.Instrument, e.Window)
		d.Missed = true
		d.Settle()
	}),
).BegunBy(func(at projections.Envelope) bool {
	switch e := at.Event.(type) {
	case diary.Held:
		return true
	case diary.WindowMissed:
		return !e.Again
	case diary.Submitted:
		return !e.AfterMissed && !e.Again
	}
	return false
}).OfPatient(diary.Decider.Stream)

func ofWindow(d *entry, at projections.Envelope, id instrument.ID, w diary.Window) {
	d.Patient, d.Study, d.Site = projections.PatientOf(at), at.Metadata.Study, at.Metadata.Site
	d.Instrument, d.Window, d.Opens, d.Closes = id, w.ID, w.Opens.UTC(), w.Closes.UTC()
	d.RecordedAt = at.Metadata.RecordedAt
}

// correction says who asked for a correction and why, and who decided and why.
func correction(d *entry, e diary.Corrected, at projections.Envelope) diaryviews.Correction {
	made := diaryviews.Correction{Changes: e.Changes, Request: e.Request, Reason: string(e.Reason), RecordedAt: at.Metadata.RecordedAt}
	if e.Request == 0 {
		made.By = at.Metadata.Actor
		return made
	}
	made.DecidedBy, made.Decision = at.Metadata.Actor, string(e.Decision)
	if asked := d.RequestOf(e.Request); asked != nil {
		made.AskedBy = asked.By
	}
	return made
}

// entered sets who entered the diary, and how.
func entered(d *entry, at projections.Envelope, e diary.Entered, capturedAt time.Time) {
	c := captured(at, e, capturedAt)
	d.Offset, d.Sequence, d.Monotonic = c.Offset, c.Sequence, c.Monotonic
	d.Mode, d.Respondent, d.Relation, d.Device, d.Language, d.Source = e.Mode, e.Respondent, e.Relation, e.Device, e.Language, e.Source
	d.Reason, d.By, d.Zone = string(e.Reason), at.Metadata.Actor, at.Metadata.CapturedZone
}

// captured returns where and when a device captured an entry.
func captured(at projections.Envelope, e diary.Entered, capturedAt time.Time) diaryviews.Captured {
	return diaryviews.Captured{CapturedAt: capturedAt.UTC(), Offset: diaryviews.OffsetOf(capturedAt), Zone: at.Metadata.CapturedZone,
		Device: e.Device, Sequence: e.Sequence, Monotonic: e.MonotonicMs}
}

func answersOf(answers diary.Answers) map[string]any {
	all := make(map[string]any, len(answers))
	for item, answer := range answers {
		all[string(item)] = answer
	}
	return all
}
