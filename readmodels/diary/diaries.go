package diary

import (
	"context"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Diaries is the view of diaries, with one document per decided window of a patient.
var Diaries = readmodels.View{Name: "diaries", Version: 3, Indexes: []mongo.IndexModel{
	{Keys: bson.D{{Key: "patient", Value: 1}, {Key: "instrument", Value: 1}, {Key: "opens", Value: -1}, {Key: "_id", Value: -1}}},
	{Keys: bson.D{{Key: "patient", Value: 1}, {Key: "opens", Value: -1}, {Key: "_id", Value: -1}}},
}}

// MaxCorrections bounds the newest corrections that a document holds. A diary is corrected once or twice; the bound keeps
// endless corrections from making a document that the store does not take. The log holds all corrections.
const MaxCorrections = 100

// Diary is a decided window: what was answered, or that nothing was.
type Diary struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID    `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID      `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID       `bson:"site" json:"site" doc:"The site"`
	Instrument        instrument.ID       `bson:"instrument" json:"instrument" doc:"The instrument"`
	Version           int                 `bson:"version,omitempty" json:"version,omitempty" doc:"Version of its definition"`
	Window            string              `bson:"window" json:"window" doc:"Local day and name of the window"`
	Opens             time.Time           `bson:"opens" json:"opens" doc:"When it opened"`
	Closes            time.Time           `bson:"closes" json:"closes" doc:"When it closed"`
	Missed            bool                `bson:"missed,omitempty" json:"missed,omitempty" doc:"It passed unanswered"`
	CapturedAt        *time.Time          `bson:"capturedAt,omitempty" json:"capturedAt,omitempty" doc:"When the patient answered, by the device's clock"`
	RecordedAt        time.Time           `bson:"recordedAt" json:"recordedAt" doc:"When the server recorded it"`
	Late              bool                `bson:"late,omitempty" json:"late,omitempty" doc:"Captured after the window"`
	AfterMissed       bool                `bson:"afterMissed,omitempty" json:"afterMissed,omitempty" doc:"Received after the window had been recorded as missed"`
	Answers           Answers             `bson:"answers,omitempty" json:"answers,omitempty" doc:"The answers, with all corrections"`
	Scores            []diary.ScoreResult `bson:"scores,omitempty" json:"scores,omitempty" doc:"The scores, with all corrections"`
	Risks             []string            `bson:"risks,omitempty" json:"risks,omitempty" doc:"Rules that flagged a risk"`
	Corrected         int                 `bson:"corrected,omitempty" json:"corrected,omitempty" doc:"How often it was corrected"`
	Corrections       []Correction        `bson:"corrections,omitempty" json:"corrections,omitempty" doc:"What was changed, by whom and why; the newest 100"`
}

// Answers are the answers of a diary, by item.
type Answers map[string]any

// Correction is one change of a recorded diary.
type Correction struct {
	Changes    []diary.Change `bson:"changes" json:"changes" doc:"Old and new values"`
	Reason     string         `bson:"reason" json:"reason" doc:"Why"`
	By         domain.UserID  `bson:"by" json:"by" doc:"Who"`
	RecordedAt time.Time      `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// Correct changes answers and scores, and keeps the correction.
func (d *Diary) Correct(c Correction, scores []diary.ScoreResult) {
	if d.Answers == nil {
		d.Answers = Answers{}
	}
	for _, change := range c.Changes {
		if change.New == nil {
			delete(d.Answers, string(change.Item))
		} else {
			d.Answers[string(change.Item)] = change.New
		}
	}
	d.Scores = scores
	d.Corrected++
	d.Corrections = readmodels.LatestOf(append(d.Corrections, c), MaxCorrections)
}

// Flag adds a risk. A rule that also holds after a correction is named once.
func (d *Diary) Flag(rule string) {
	if !slices.Contains(d.Risks, rule) {
		d.Risks = append(d.Risks, rule)
	}
}

// DiaryKey is the key of a window's document.
func DiaryKey(patient domain.PatientID, id instrument.ID, window string) string {
	return string(patient) + "/" + string(id) + "/" + window
}

// DiaryEnd is how a window ended.
type DiaryEnd string

// The ways in which a window can end. Late windows are answered too.
const (
	DiaryAnswered DiaryEnd = "answered"
	DiaryLate     DiaryEnd = "late"
	DiaryMissed   DiaryEnd = "missed"
)

// Schema implements domain.HasSchema.
func (DiaryEnd) Schema() domain.Schema { return domain.OneOf(DiaryAnswered, DiaryLate, DiaryMissed) }

// Windows are ordered by time, because their names are not in the order of the day: evening comes before morning.
var diaryOrders = []readmodels.Order[Diary]{
	readmodels.Descending("newest", func(d Diary) []any { return []any{d.Opens.UTC(), d.ID} }, "opens", "_id"),
	readmodels.Ascending("oldest", func(d Diary) []any { return []any{d.Opens.UTC(), d.ID} }, "opens", "_id"),
}

// diaries is the query of a patient's diaries.
var diaries = readmodels.Declare(readmodels.Query{
	Name: "PatientDiaries", Path: "/api/v1/patients/{patient}/diaries", Summary: "A patient's diaries",
	Doc:    "Every decided window with answers, scores, risks and corrections.",
	OpenTo: access.To(access.ClinicalReaders, access.ThePatient), Reach: readmodels.ReachPatient, Views: []readmodels.View{Diaries},
	Sort: readmodels.SortBy(diaryOrders, "By when the windows opened;"),
}, ListDiaries)

// DiariesQuery asks for a patient's diaries, as they are or as they were at a moment; empty fields do not narrow the list.
type DiariesQuery struct {
	Patient    domain.PatientID  `path:"patient" doc:"The patient"`
	AsOf       readmodels.Moment `query:"asOf"`
	Instrument instrument.ID     `query:"instrument" doc:"Only this instrument"`
	Only       DiaryEnd          `query:"only" doc:"Only windows with this outcome; windows that were answered late are also answered"`
	From       time.Time         `query:"from" doc:"Only windows that opened then or later"`
	// To is the first moment that is not included.
	To time.Time `query:"to" doc:"Only windows that opened before"`
	readmodels.Page
}

// filter is the filter in the store. No index has how a window ended; a patient has some hundreds of windows.
func (q DiariesQuery) filter() bson.D {
	filter := readmodels.Equal(bson.D{{Key: "patient", Value: string(q.Patient)}}, "instrument", q.Instrument)
	filter = readmodels.Between(filter, "opens", q.From, q.To)
	switch q.Only {
	case DiaryAnswered: // the fields are left out where they are false
		filter = append(filter, bson.E{Key: "missed", Value: bson.D{{Key: "$ne", Value: true}}})
	case DiaryLate:
		filter = append(filter, bson.E{Key: "late", Value: true})
	case DiaryMissed:
		filter = append(filter, bson.E{Key: "missed", Value: true})
	}
	return filter
}

// finds is filter for a document of the past, which is not stored.
func (q DiariesQuery) finds(d *Diary) bool {
	return (q.Instrument == "" || d.Instrument == q.Instrument) && !d.Opens.Before(q.From) && (q.To.IsZero() || d.Opens.Before(q.To)) &&
		(q.Only == "" || d.Missed == (q.Only == DiaryMissed) && (q.Only != DiaryLate || d.Late))
}

// ListDiaries returns a page of a patient's diaries.
func ListDiaries(ctx context.Context, r readmodels.Request, q DiariesQuery) (readmodels.List[Diary], error) {
	if q.AsOf.IsPresent() {
		return readmodels.Listed(ctx, r.Store.Collection(Diaries), q.Page, q.filter(), diaryOrders)
	}
	past, err := r.AsOf(ctx, Diaries, q.Patient, q.AsOf)
	if err != nil {
		return readmodels.List[Diary]{}, err
	}
	return q.ofPast(past)
}

// ofPast returns a page of folded documents of one patient.
func (q DiariesQuery) ofPast(documents map[string]readmodels.Document) (readmodels.List[Diary], error) {
	var found []Diary
	for _, document := range documents {
		if d, ok := document.(*Diary); ok && q.finds(d) {
			found = append(found, *d)
		}
	}
	return readmodels.Paged(found, q.Page, diaryOrders)
}
