package diary

import (
	"casebook/domain/diary"
	"casebook/projections"
	diaryviews "casebook/readmodels/diary"
)

type heldDiary = diaryviews.HeldDiary

// HeldDiaries makes one document per diary that was held.
var HeldDiaries = projections.New(diaryviews.HeldDiaries, projections.KeysOfSome(func(e diary.OfWindow, at projections.Envelope) []string {
	if voided, is := e.(diary.Voided); is && !voided.Held {
		return nil
	}
	id, window := e.OfWindow()
	return []string{diaryviews.DiaryKey(projections.PatientOf(at), id, window)}
}),
	projections.On(func(h *heldDiary, e diary.Held, at projections.Envelope) {
		m := at.Metadata
		h.Patient, h.Study, h.Site, h.Instrument, h.Version = projections.PatientOf(at), m.Study, m.Site, e.Instrument, e.Version
		h.Held, h.Why, h.Status, h.For, h.Captured = e.Window.ID, e.Why, diaryviews.HeldWaiting, e.For, captured(at, e.Entered, e.CapturedAt)
		h.RecordedAt, h.By, h.Mode, h.Respondent, h.Relation = m.RecordedAt, m.Actor, e.Mode, e.Respondent, e.Relation
		h.Language, h.Answers, h.UrgentRisks = e.Language, answersOf(e.Answers), e.UrgentRisks
	}),
	projections.On(func(h *heldDiary, e diary.Voided, at projections.Envelope) {
		decidedAt := at.Metadata.RecordedAt
		h.Status, h.DecidedBy, h.DecidedAt = diaryviews.HeldSetAside, at.Metadata.Actor, &decidedAt
		h.Reason, h.TakenInto = string(e.Reason), e.MovedTo
		if e.MovedTo != "" {
			h.Status = diaryviews.HeldTaken
		}
	}),
).BegunBy(func(at projections.Envelope) bool {
	_, is := at.Event.(diary.Held)
	return is
})
