package diary

import (
	"casebook/domain/diary"
	"casebook/domain/user"
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
		h.Language, h.Answers = e.Language, answersOf(e.Answers)
	}),
	projections.On(func(h *heldDiary, e diary.Voided, at projections.Envelope) {
		decidedAt := at.Metadata.RecordedAt
		h.Status, h.DecidedBy, h.DecidedAt, h.Reason, h.TakenInto = diaryviews.HeldSetAside, at.Metadata.Actor, &decidedAt, e.Reason, e.MovedTo
		if e.MovedTo != "" {
			h.Status = diaryviews.HeldTaken
		}
	}),
).BegunBy(func(at projections.Envelope) bool {
	_, is := at.Event.(diary.Held)
	return is
})

// DiaryDevices makes one document per patient and device that has sent diaries.
var DiaryDevices = projections.New(diaryviews.DiaryDevices, projections.KeysOfSome(func(e any, at projections.Envelope) []string {
	if device := deviceOf(e); device != "" {
		return []string{diaryviews.DeviceKey(projections.PatientOf(at), device)}
	}
	return nil
}),
	projections.On(func(d *diaryviews.DiaryDevice, e diary.Submitted, at projections.Envelope) {
		ofDevice(d, at, e.Device)
		d.Add(e.Sequence, e.CapturedAt, at.Metadata.RecordedAt, at.Metadata.Actor)
	}),
	projections.On(func(d *diaryviews.DiaryDevice, e diary.Held, at projections.Envelope) {
		ofDevice(d, at, e.Device)
		d.Add(e.Sequence, e.CapturedAt, at.Metadata.RecordedAt, at.Metadata.Actor)
	}),
)

// deviceOf returns the device that has sent an entry; "" for an entry that was moved, which it has not sent again.
func deviceOf(e any) user.DeviceID {
	switch e := e.(type) {
	case diary.Submitted:
		if e.MovedFrom == "" {
			return e.Device
		}
	case diary.Held:
		return e.Device
	}
	return ""
}

func ofDevice(d *diaryviews.DiaryDevice, at projections.Envelope, device user.DeviceID) {
	d.Patient, d.Study, d.Site, d.Device = projections.PatientOf(at), at.Metadata.Study, at.Metadata.Site, device
}
