package diary

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/user"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// HeldDiaries is the worklist of diaries that are kept and count nowhere, with one document per diary. A diary that was decided about
// stays in it. No index has why: a site has few of them.
var HeldDiaries = readmodels.View{Name: "held-diaries", Version: 2, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "status", "recordedAt", "_id"),
	readmodels.IndexOn("study", "site", "status", "recordedAt", "_id"),
	readmodels.IndexOn("patient", "status", "recordedAt", "_id"),
}}

// HeldStatus says what became of a held diary.
type HeldStatus string

// The statuses: the site has to decide, or has let it count in a window, or has said that it does not count.
const (
	HeldWaiting  HeldStatus = "waiting"
	HeldTaken    HeldStatus = "taken"
	HeldSetAside HeldStatus = "set_aside"
)

// HeldStatuses are all statuses, in the order of the worklist.
var HeldStatuses = []HeldStatus{HeldWaiting, HeldTaken, HeldSetAside}

// Schema implements domain.HasSchema.
func (HeldStatus) Schema() domain.Schema { return domain.OneOf(HeldStatuses...) }

// HeldDiary is a diary that was held, as it was captured, and what the site has decided.
type HeldDiary struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID    `bson:"site" json:"site" doc:"The patient's site when it was recorded"`
	Instrument        instrument.ID    `bson:"instrument" json:"instrument" doc:"The instrument"`
	Version           int              `bson:"version,omitempty" json:"version,omitempty" doc:"Version of the instrument whose rules the answers keep to; left out if there was none to check them with"`
	Held              string           `bson:"held" json:"held" doc:"Its id: CorrectDiaryWindow takes it as from, VoidDiary as window"`
	Why               diary.Why        `bson:"why" json:"why" doc:"Why it does not count"`
	Status            HeldStatus       `bson:"status" json:"status" doc:"Whether the site has decided about it, and how"`
	For               string           `bson:"for,omitempty" json:"for,omitempty" doc:"The window that it would have counted in; left out if there is none"`
	UrgentRisks       []string         `bson:"urgentRisks,omitempty" json:"urgentRisks,omitempty" doc:"The urgent risk rules of the instrument that hold for the answers: the site was told of them by an alert"`
	Captured          `bson:",inline"`
	RecordedAt        time.Time        `bson:"recordedAt" json:"recordedAt" doc:"When the server recorded it"`
	By                domain.UserID    `bson:"by" json:"by" doc:"The account that sent it"`
	Mode              diary.Mode       `bson:"mode,omitempty" json:"mode,omitempty" doc:"caregiver for the entry of a caregiver; left out for the patient's own"`
	Respondent        diary.Respondent `bson:"respondent,omitempty" json:"respondent,omitempty" doc:"Who answered, if that is not clear from the account"`
	Relation          user.Relation    `bson:"relation,omitempty" json:"relation,omitempty" doc:"What the caregiver is to the patient"`
	Language          diary.Language   `bson:"language,omitempty" json:"language,omitempty" doc:"Language in which it was answered"`
	Answers           Answers          `bson:"answers,omitempty" json:"answers,omitempty" doc:"The answers, as they were captured"`
	DecidedBy         domain.UserID    `bson:"decidedBy,omitempty" json:"decidedBy,omitempty" doc:"Who has decided about it"`
	DecidedAt         *time.Time       `bson:"decidedAt,omitempty" json:"decidedAt,omitempty" doc:"When it was decided"`
	Reason            string           `bson:"reason,omitempty" json:"reason,omitempty" doc:"Why it was decided so"`
	TakenInto         string           `bson:"takenInto,omitempty" json:"takenInto,omitempty" doc:"The window in which it counts now"`
	// Counts is read with the line.
	Counts *Diary `bson:"-" json:"counts,omitempty" doc:"What the window that it would have counted in has now, to compare them"`
}

// Captured says where and when a device captured a diary, as the device says.
type Captured struct {
	CapturedAt time.Time     `bson:"capturedAt" json:"capturedAt" doc:"When it was answered, by the device's clock"`
	Offset     string        `bson:"offset" json:"offset" doc:"The offset from UTC that the device said it had, such as +13:00; Z if it said none" example:"+01:00"`
	Zone       string        `bson:"zone,omitempty" json:"zone,omitempty" doc:"Time zone of the device at that time"`
	Device     user.DeviceID `bson:"device,omitempty" json:"device,omitempty" doc:"The device on which it was captured"`
	Sequence   int64         `bson:"sequence,omitempty" json:"sequence,omitempty" doc:"Its number among the entries of the device"`
	Monotonic  int64         `bson:"monotonicMs,omitempty" json:"monotonicMs,omitempty" doc:"Milliseconds at the capture by a clock of the device that nobody can set"`
}

// OffsetOf returns the offset of a time as it is shown.
func OffsetOf(at time.Time) string { return at.Format("Z07:00") }

var heldOrders = []readmodels.Order[HeldDiary]{
	readmodels.Ascending("oldest", func(h HeldDiary) []any { return []any{h.RecordedAt.UTC(), h.ID} }, "recordedAt", "_id"),
	readmodels.Descending("newest", func(h HeldDiary) []any { return []any{h.RecordedAt.UTC(), h.ID} }, "recordedAt", "_id"),
}

// heldDiaries is the query of the worklist.
var heldDiaries = readmodels.Declare(readmodels.Query{
	Name: "HeldDiaries", Path: "/api/v1/studies/{study}/held-diaries", Summary: "Diaries that are kept and do not count",
	Doc: "What patients and caregivers have captured and what cannot count, with the reason, and beside it what the window has that it " +
		"would have counted in. CorrectDiaryWindow lets it count in a window, VoidDiary sets it aside.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{HeldDiaries, Diaries},
	Sort: readmodels.SortBy(heldOrders, "By when they were recorded;"),
}, ListHeldDiaries)

// HeldDiariesQuery asks for held diaries of a study; empty fields do not narrow the list.
type HeldDiariesQuery struct {
	Study   domain.StudyID   `path:"study" doc:"The study"`
	Site    domain.SiteID    `query:"site" doc:"Only this site"`
	Patient domain.PatientID `query:"patient" doc:"Only this patient"`
	Why     diary.Why        `query:"why" doc:"Only those that are held for this reason"`
	Status  HeldStatus       `query:"status" doc:"Only those with this status, such as waiting"`
	readmodels.Page
}

// ListHeldDiaries returns a page of held diaries, each with what counts in its place.
func ListHeldDiaries(ctx context.Context, r readmodels.Request, q HeldDiariesQuery) (list readmodels.List[HeldDiary], err error) {
	filter, some := readmodels.OfStudyOrPatient(q.Study, q.Patient)
	if !some {
		return list, nil
	}
	filter = append(filter, readmodels.OneOrAny("status", q.Status, HeldStatuses))
	filter = readmodels.Equal(readmodels.Equal(filter, "site", q.Site), "why", q.Why)
	list, err = readmodels.Listed(ctx, r.Store.Collection(HeldDiaries), q.Page, filter, heldOrders)
	if err != nil {
		return list, err
	}
	return list, withCounting(ctx, r, list.Items)
}

// withCounting adds what the windows have that the diaries would have counted in.
func withCounting(ctx context.Context, r readmodels.Request, all []HeldDiary) error {
	var keys []string
	for _, h := range all {
		if h.For != "" {
			keys = append(keys, DiaryKey(h.Patient, h.Instrument, h.For))
		}
	}
	windows, err := DiariesOf(ctx, r, keys)
	for i, h := range all { // no window has the key of a diary that would have counted in none
		all[i].Counts = windows[DiaryKey(h.Patient, h.Instrument, h.For)]
	}
	return err
}

// DiariesOf returns what windows have, by their keys. Those that were answered at a site of which the caller may not know patients, such as
// the one to which a patient has moved, are left out.
func DiariesOf(ctx context.Context, r readmodels.Request, keys []string) (map[string]*Diary, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	found, err := r.Store.Collection(Diaries).Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: keys}}}})
	if err != nil {
		return nil, err
	}
	var windows []Diary
	if err := found.All(ctx, &windows); err != nil {
		return nil, err
	}
	byKey := map[string]*Diary{}
	for n := range windows {
		if d := &windows[n]; r.MayKnowPatients(d.Study, d.Site) {
			byKey[d.ID] = d
		}
	}
	return byKey, nil
}
