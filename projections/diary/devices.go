package diary

import (
	"casebook/domain/diary"
	"casebook/domain/user"
	"casebook/projections"
	diaryviews "casebook/readmodels/diary"
)

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
	projections.On(func(d *diaryviews.DiaryDevice, e diary.Voided, at projections.Envelope) {
		ofDevice(d, at, e.Device)
		d.Account(e.Sequence)
	}),
)

// deviceOf returns the device that has sent an entry, or one that the site has decided about; "" for an entry that was moved, which it has
// not sent again.
func deviceOf(e any) user.DeviceID {
	switch e := e.(type) {
	case diary.Submitted:
		if e.MovedFrom == "" {
			return e.Device
		}
	case diary.Voided:
		return e.Device
	case diary.Held:
		if !e.Why.Numbered() {
			return ""
		}
		return e.Device
	}
	return ""
}

func ofDevice(d *diaryviews.DiaryDevice, at projections.Envelope, device user.DeviceID) {
	d.Patient, d.Study, d.Site, d.Device = projections.PatientOf(at), at.Metadata.Study, at.Metadata.Site, device
}
