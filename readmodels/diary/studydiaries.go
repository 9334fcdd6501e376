package diary

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// DiaryState is what has become of a window. A window is in one state at a time, so that an index finds those in a state.
type DiaryState string

// The states of a window: answered in time, answered late, answered by staff, missed, with a diary that waits for the site, or with one
// that does not count.
const (
	DiaryIsOnTime      DiaryState = "on_time"
	DiaryIsLate        DiaryState = "late"
	DiaryIsTranscribed DiaryState = "transcribed"
	DiaryIsMissed      DiaryState = "missed"
	DiaryIsHeld        DiaryState = "held"
	DiaryIsVoided      DiaryState = "voided"
)

// DiaryStates are all states of a window.
var DiaryStates = []DiaryState{DiaryIsOnTime, DiaryIsLate, DiaryIsTranscribed, DiaryIsMissed, DiaryIsHeld, DiaryIsVoided}

// Schema implements domain.HasSchema.
func (DiaryState) Schema() domain.Schema { return domain.OneOf(DiaryStates...) }

// Settle sets the state, after all else of the window has been changed.
func (d *Diary) Settle() {
	switch {
	case d.Held != "":
		d.State = DiaryIsHeld
	case d.Missed:
		d.State = DiaryIsMissed
	case d.CapturedAt == nil:
		d.State = DiaryIsVoided
	case d.Mode.ByStaff():
		d.State = DiaryIsTranscribed
	case d.Late:
		d.State = DiaryIsLate
	default:
		d.State = DiaryIsOnTime
	}
}

// studyDiaries is the query of the diaries of all patients.
var studyDiaries = readmodels.Declare(readmodels.Query{
	Name: "StudyDiaries", Path: "/api/v1/studies/{study}/diaries", Summary: "The diaries of all patients",
	Doc: "Every decided window of every patient, by site, state and time. A diary stays with the site at which it was recorded. Those " +
		"of one patient have a list of their own, also of the past.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{Diaries},
	Sort: readmodels.SortBy(diaryOrders, "By when the windows opened;"),
}, ListStudyDiaries)

// StudyDiariesQuery asks for the diaries of a study; empty fields do not narrow the list.
type StudyDiariesQuery struct {
	Study      domain.StudyID `path:"study" doc:"The study"`
	Site       domain.SiteID  `query:"site" doc:"Only this site"`
	State      DiaryState     `query:"state" doc:"Only windows in this state"`
	Instrument instrument.ID  `query:"instrument" doc:"Only this instrument"`
	From       time.Time      `query:"from" doc:"Only windows that opened then or later"`
	// To is the first moment that is not included.
	To time.Time `query:"to" doc:"Only windows that opened before"`
	readmodels.Page
}

// ListStudyDiaries returns a page of a study's diaries.
func ListStudyDiaries(ctx context.Context, r readmodels.Request, q StudyDiariesQuery) (readmodels.List[Diary], error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "site", q.Site)
	filter = append(filter, readmodels.OneOrAny("state", q.State, DiaryStates))
	filter = readmodels.Equal(readmodels.Between(filter, "opens", q.From, q.To), "instrument", q.Instrument)
	return readmodels.Listed(ctx, r.Store.Collection(Diaries), q.Page, filter, diaryOrders)
}
