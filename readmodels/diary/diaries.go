package diary

import (
	"context"
	"maps"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Diaries is the view of diaries, a document a decided window of a patient.
var Diaries = readmodels.View{Name: "diaries", Version: 3, Indexes: []mongo.IndexModel{
	{Keys: bson.D{{Key: "patient", Value: 1}, {Key: "instrument", Value: 1}, {Key: "opens", Value: -1}, {Key: "_id", Value: -1}}},
	{Keys: bson.D{{Key: "patient", Value: 1}, {Key: "opens", Value: -1}, {Key: "_id", Value: -1}}},
}}

// MaxCorrections bounds the corrections that a document holds, the newest: a diary is corrected once or twice, and whoever
// does it without end must not make a document that no store takes. All of them are in the log.
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
	Answers           Answers             `bson:"answers,omitempty" json:"answers,omitempty" doc:"The answers as they stand"`
	Scores            []diary.ScoreResult `bson:"scores,omitempty" json:"scores,omitempty" doc:"The scores as they stand"`
	Risks             []string            `bson:"risks,omitempty" json:"risks,omitempty" doc:"Rules that flagged a risk"`
	Corrected         int                 `bson:"corrected,omitempty" json:"corrected,omitempty" doc:"How often it was corrected"`
	Corrections       []Correction        `bson:"corrections,omitempty" json:"corrections,omitempty" doc:"What was changed, by whom and why; the newest 100"`
}

// Answers are the answers of a diary, by item.
type Answers map[string]any

// MarshalBSON writes the answers in the order of their items, so that the same diary is always the same bytes, whenever
// its view is made.
func (a Answers) MarshalBSON() ([]byte, error) {
	ordered := make(bson.D, 0, len(a))
	for _, item := range slices.Sorted(maps.Keys(a)) {
		ordered = append(ordered, bson.E{Key: item, Value: a[item]})
	}
	return bson.Marshal(ordered)
}

// Correction is one change of a recorded diary.
type Correction struct {
	Changes    []diary.Change `bson:"changes" json:"changes" doc:"Old and new values"`
	Reason     string         `bson:"reason" json:"reason" doc:"Why"`
	By         domain.UserID  `bson:"by" json:"by" doc:"Who"`
	RecordedAt time.Time      `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// Correct changes answers and scores, and keeps what was changed.
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
	d.Corrections = readmodels.Newest(append(d.Corrections, c), MaxCorrections)
}

// Flag adds a risk. A rule that a correction lets hold once more is named once.
func (d *Diary) Flag(rule string) {
	if !slices.Contains(d.Risks, rule) {
		d.Risks = append(d.Risks, rule)
	}
}

// DiaryKey is the key of a window's document.
func DiaryKey(patient domain.PatientID, id instrument.ID, window string) string {
	return string(patient) + "/" + string(id) + "/" + window
}

// DiaryFilter narrows a list of diaries; empty fields do not.
type DiaryFilter struct {
	Instrument instrument.ID
	// Only leaves the windows that ended so.
	Only DiaryEnd
	// From and To bound when the windows opened; To is the first moment that is left out.
	From, To time.Time
}

// DiaryEnd is how a window ended.
type DiaryEnd string

// The ways a window can end, of which a list leaves one. Late windows are answered too.
const (
	DiaryAnswered DiaryEnd = "answered"
	DiaryLate     DiaryEnd = "late"
	DiaryMissed   DiaryEnd = "missed"
)

// Schema implements domain.Described.
func (DiaryEnd) Schema() domain.Schema { return domain.OneOf(DiaryAnswered, DiaryLate, DiaryMissed) }

// Names of windows would not do for the order: morning comes behind evening in the alphabet.
var diaryOrders = []readmodels.Order[Diary]{
	readmodels.Descending("newest", func(d Diary) []any { return []any{d.Opens.UTC(), d.ID} }, "opens", "_id"),
	readmodels.Ascending("oldest", func(d Diary) []any { return []any{d.Opens.UTC(), d.ID} }, "opens", "_id"),
}

// DiarySorts are the orders of a list of diaries, by when their windows opened.
var DiarySorts = readmodels.Names(diaryOrders)

// ListDiaries returns a page of a patient's diaries. How a window ended is looked at in each: a patient has some hundreds.
func ListDiaries(ctx context.Context, s *readmodels.Store, patient domain.PatientID, f DiaryFilter, page readmodels.Page) (readmodels.List[Diary], error) {
	filter := readmodels.Equal(bson.D{{Key: "patient", Value: string(patient)}}, "instrument", f.Instrument)
	filter = readmodels.Between(filter, "opens", f.From, f.To)
	switch f.Only {
	case DiaryAnswered: // the fields are left out where they are false
		filter = append(filter, bson.E{Key: "missed", Value: bson.D{{Key: "$ne", Value: true}}})
	case DiaryLate:
		filter = append(filter, bson.E{Key: "late", Value: true})
	case DiaryMissed:
		filter = append(filter, bson.E{Key: "missed", Value: true})
	}
	return readmodels.Listed(ctx, s.Collection(Diaries), page, filter, diaryOrders)
}

// Of is Diaries of documents that were folded rather than stored, all of one patient.
func (f DiaryFilter) Of(documents map[string]readmodels.Document, page readmodels.Page) (readmodels.List[Diary], error) {
	var found []Diary
	for _, document := range documents {
		d, ok := document.(*Diary)
		if ok && (f.Instrument == "" || d.Instrument == f.Instrument) && !d.Opens.Before(f.From) && (f.To.IsZero() || d.Opens.Before(f.To)) &&
			(f.Only == "" || d.Missed == (f.Only == DiaryMissed) && (f.Only != DiaryLate || d.Late)) {
			found = append(found, *d)
		}
	}
	return readmodels.Paged(found, page, diaryOrders)
}
