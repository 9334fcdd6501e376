package diary

import (
	"casebook/domain/diary"
	"casebook/projections"
	diaryviews "casebook/readmodels/diary"
)

type askedCorrection = diaryviews.AskedCorrection

// DiaryCorrections makes one document per correction that was asked for. Corrections of older logs were not asked for.
var DiaryCorrections = projections.New(diaryviews.DiaryCorrections,
	projections.KeysOfSome(func(e diary.OfRequest, at projections.Envelope) []string {
		if e.OfRequest() == 0 {
			return nil
		}
		return []string{diaryviews.CorrectionKey(projections.PatientOf(at), e.OfRequest())}
	}),
	projections.On(func(a *askedCorrection, e diary.CorrectionAsked, at projections.Envelope) {
		a.Patient, a.Study, a.Site = projections.PatientOf(at), at.Metadata.Study, at.Metadata.Site
		a.Instrument, a.Window, a.CorrectionRequest = e.Instrument, e.Window, asked(e, at)
	}),
	projections.On(func(a *askedCorrection, e diary.CorrectionDeclined, at projections.Envelope) {
		a.Decided(diaryviews.RequestDeclined, string(e.Reason), at.Metadata.Actor, at.Metadata.RecordedAt)
	}),
	projections.On(func(a *askedCorrection, e diary.CorrectionLapsed, at projections.Envelope) {
		lapse(&a.CorrectionRequest, e, at)
	}),
	projections.On(func(a *askedCorrection, e diary.Corrected, at projections.Envelope) {
		a.Decided(diaryviews.RequestApplied, string(e.Decision), at.Metadata.Actor, at.Metadata.RecordedAt)
	}),
).BegunBy(func(at projections.Envelope) bool {
	_, is := at.Event.(diary.CorrectionAsked)
	return is
})

// lapse closes a request whose diary does not count any more.
func lapse(r *diaryviews.CorrectionRequest, e diary.CorrectionLapsed, at projections.Envelope) {
	r.Decided(diaryviews.RequestLapsed, string(e.Reason), at.Metadata.Actor, at.Metadata.RecordedAt)
	r.MovedTo = e.MovedTo
}

// asked is a request that waits.
func asked(e diary.CorrectionAsked, at projections.Envelope) diaryviews.CorrectionRequest {
	return diaryviews.CorrectionRequest{Request: e.Request, Status: diaryviews.RequestWaits, Changes: e.Changes,
		Reason: string(e.Reason), By: e.By,
		AskedAt: at.Metadata.RecordedAt}
}
