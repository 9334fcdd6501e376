package diary

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/user"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// DiaryDevices is the view of devices that have sent diaries, with one document per patient and device.
var DiaryDevices = readmodels.View{Name: "diary-devices", Version: 2, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("patient", "_id"),
	readmodels.IndexOn("study", "numbering", "_id"),
	readmodels.IndexOn("study", "site", "numbering", "_id"),
}}

// Numbering says whether the record has all entries of a device up to its last one.
type Numbering string

// The kinds of numbering.
const (
	NumberingComplete Numbering = "complete"
	NumberingGaps     Numbering = "gaps"
	// NotNumbered is a device that sends no numbers, so that nobody knows.
	NotNumbered Numbering = "none"
)

// Numberings are all kinds.
var Numberings = []Numbering{NumberingComplete, NumberingGaps, NotNumbered}

// Schema implements domain.HasSchema.
func (Numbering) Schema() domain.Schema { return domain.OneOf(Numberings...) }

// DiaryDevice is a device, and which of the diaries that it has captured for a patient the record has, whether they count or not.
type DiaryDevice struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID    `bson:"site" json:"site" doc:"The site"`
	Device            user.DeviceID    `bson:"device" json:"device" doc:"The device, as the app names it"`
	By                domain.UserID    `bson:"by" json:"by" doc:"The account that has sent the last one"`
	Entries           int              `bson:"entries" json:"entries" doc:"How many diaries of it are recorded"`
	HeldThrough       int64            `bson:"heldThrough" json:"heldThrough" doc:"The record has every entry of the device up to this number; it sends again what lies above"`
	Highest           int64            `bson:"highest" json:"highest" doc:"The highest number that the record has"`
	Numbering         Numbering        `bson:"numbering" json:"numbering" doc:"Whether entries are missing below the highest number"`
	Gaps              []diary.Span     `bson:"gaps,omitempty" json:"gaps,omitempty" doc:"The numbers below the highest that are missing: not sent yet, or refused"`
	LastCapturedAt    time.Time        `bson:"lastCapturedAt" json:"lastCapturedAt" doc:"The latest capture, by the device's clock"`
	LastRecordedAt    time.Time        `bson:"lastRecordedAt" json:"lastRecordedAt" doc:"When the last one was recorded"`
	// Numbers are those that the record has.
	Numbers diary.Numbers `bson:"numbers,omitempty" json:"-"`
}

// Add counts an entry of the device.
func (d *DiaryDevice) Add(sequence int64, captured, recorded time.Time, by domain.UserID) {
	d.Entries++
	d.By, d.LastRecordedAt = by, recorded
	if captured.After(d.LastCapturedAt) {
		d.LastCapturedAt = captured.UTC()
	}
	d.Account(sequence)
}

// Account adds the number of an entry.
func (d *DiaryDevice) Account(sequence int64) {
	d.Numbers = d.Numbers.With(sequence)
	d.HeldThrough, d.Highest, d.Gaps = d.Numbers.HeldThrough(), d.Numbers.Highest(), d.Numbers.Gaps()
	switch {
	case len(d.Numbers) == 0:
		d.Numbering = NotNumbered
	case len(d.Gaps) > 0:
		d.Numbering = NumberingGaps
	default:
		d.Numbering = NumberingComplete
	}
}

// DeviceKey is the key of a device's document.
func DeviceKey(patient domain.PatientID, device user.DeviceID) string {
	return string(patient) + "/" + string(device)
}

var deviceOrders = []readmodels.Order[DiaryDevice]{
	readmodels.Ascending("patient", func(d DiaryDevice) []any { return []any{d.ID} }, "_id"),
}

// patientDevices and studyDevices are the queries of devices.
var (
	patientDevices = readmodels.Declare(readmodels.Query{
		Name: "PatientDiaryDevices", Path: "/api/v1/patients/{patient}/diary-devices",
		Summary: "The devices that have sent a patient's diaries, and what the record has of each",
		Doc: "An app sends again what it has kept and what lies above heldThrough, or everything where its device is not listed: after a " +
			"restore, the record may lack what was acknowledged. What the record has is answered as before.",
		OpenTo: access.To(access.ClinicalReaders, access.ThePatient, access.Caregivers), Reach: readmodels.ReachPatient,
		Views: []readmodels.View{DiaryDevices}, Sort: readmodels.SortBy(deviceOrders, ""),
	}, ListPatientDevices)
	studyDevices = readmodels.Declare(readmodels.Query{
		Name: "DiaryDevices", Path: "/api/v1/studies/{study}/diary-devices", Summary: "The devices that send a study's diaries",
		Doc:    "With numbering=gaps, those of which entries are missing: the phone has not sent them yet, or they were refused.",
		OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{DiaryDevices},
		Sort: readmodels.SortBy(deviceOrders, ""),
	}, ListStudyDevices)
)

// PatientDevicesQuery asks for the devices of a patient.
type PatientDevicesQuery struct {
	Patient domain.PatientID `path:"patient" doc:"The patient"`
	readmodels.Page
}

// StudyDevicesQuery asks for the devices of a study; empty fields do not narrow the list.
type StudyDevicesQuery struct {
	Study     domain.StudyID `path:"study" doc:"The study"`
	Site      domain.SiteID  `query:"site" doc:"Only this site"`
	Numbering Numbering      `query:"numbering" doc:"Only devices of which entries are missing, of which none are, or which send no numbers"`
	readmodels.Page
}

// ListPatientDevices returns a page of the devices of a patient.
func ListPatientDevices(ctx context.Context, r readmodels.Request, q PatientDevicesQuery) (readmodels.List[DiaryDevice], error) {
	filter := bson.D{{Key: "patient", Value: string(q.Patient)}}
	return readmodels.Listed(ctx, r.Store.Collection(DiaryDevices), q.Page, filter, deviceOrders)
}

// ListStudyDevices returns a page of the devices of a study.
func ListStudyDevices(ctx context.Context, r readmodels.Request, q StudyDevicesQuery) (readmodels.List[DiaryDevice], error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "site", q.Site)
	filter = append(filter, readmodels.OneOrAny("numbering", q.Numbering, Numberings))
	return readmodels.Listed(ctx, r.Store.Collection(DiaryDevices), q.Page, filter, deviceOrders)
}
