package diary

import (
	"context"
	"maps"
	"slices"
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

// Diaries is the view of diaries, with one document per decided window of a patient.
var Diaries = readmodels.View{Name: "diaries", Version: 8, Indexes: []mongo.IndexModel{
	{Keys: bson.D{{Key: "patient", Value: 1}, {Key: "instrument", Value: 1}, {Key: "opens", Value: -1}, {Key: "_id", Value: -1}}},
	{Keys: bson.D{{Key: "patient", Value: 1}, {Key: "opens", Value: -1}, {Key: "_id", Value: -1}}},
	readmodels.IndexOn("study", "state", "opens", "_id"),
	readmodels.IndexOn("study", "site", "state", "opens", "_id"),
}}

// MaxCorrections bounds the newest corrections that a document holds. A diary is corrected once or twice; the bound keeps
// endless corrections from making a document that the store does not take. The log holds all corrections.
const MaxCorrections = 100

// Diary is a decided window, as the site sees it: what was answered, or that nothing was.
type Diary struct {
	readmodels.Header `bson:",inline"`
	OwnDiary          `bson:",inline"`
	Scores            []diary.ScoreResult `bson:"scores,omitempty" json:"scores,omitempty" doc:"The scores, with all corrections"`
	Risks             []string            `bson:"risks,omitempty" json:"risks,omitempty" doc:"Rules that flagged a risk"`
	Raised            []Raised            `bson:"raised,omitempty" json:"-"`
}

// OwnDiary is what a patient is shown of a decided window. What scores count, and which answers are a risk, is for the site.
type OwnDiary struct {
	Patient     domain.PatientID    `bson:"patient" json:"patient" doc:"The patient"`
	Study       domain.StudyID      `bson:"study" json:"study" doc:"The study"`
	Site        domain.SiteID       `bson:"site" json:"site" doc:"The site"`
	Instrument  instrument.ID       `bson:"instrument" json:"instrument" doc:"The instrument"`
	Version     int                 `bson:"version,omitempty" json:"version,omitempty" doc:"Version of its definition"`
	Window      string              `bson:"window" json:"window" doc:"Local day and name of the window"`
	Opens       time.Time           `bson:"opens" json:"opens" doc:"When it opened"`
	Closes      time.Time           `bson:"closes" json:"closes" doc:"When it closed"`
	Missed      bool                `bson:"missed,omitempty" json:"missed,omitempty" doc:"It passed unanswered"`
	CapturedAt  *time.Time          `bson:"capturedAt,omitempty" json:"capturedAt,omitempty" doc:"When the patient answered, by the device's clock"`
	RecordedAt  time.Time           `bson:"recordedAt" json:"recordedAt" doc:"When the server recorded it"`
	Late        bool                `bson:"late,omitempty" json:"late,omitempty" doc:"Captured after the window"`
	AfterMissed bool                `bson:"afterMissed,omitempty" json:"afterMissed,omitempty" doc:"Received after the window had been recorded as missed"`
	Answers     Answers             `bson:"answers,omitempty" json:"answers,omitempty" doc:"The answers, with all corrections"`
	Mode        diary.Mode          `bson:"mode,omitempty" json:"mode,omitempty" doc:"How it came in: caregiver on a device, or interviewer or transcription by staff; left out for the patient's own entry"`
	Respondent  diary.Respondent    `bson:"respondent,omitempty" json:"respondent,omitempty" doc:"Who answered, if that is not clear from the account"`
	Relation    user.Relation       `bson:"relation,omitempty" json:"relation,omitempty" doc:"What the caregiver is to the patient"`
	By          domain.UserID       `bson:"by,omitempty" json:"by,omitempty" doc:"The account that entered it"`
	Device      user.DeviceID       `bson:"device,omitempty" json:"device,omitempty" doc:"The device on which it was captured"`
	Zone        string              `bson:"zone,omitempty" json:"zone,omitempty" doc:"Time zone of the device at that time"`
	Language    diary.Language      `bson:"language,omitempty" json:"language,omitempty" doc:"Language in which it was answered"`
	Source      diary.Source        `bson:"source,omitempty" json:"source,omitempty" doc:"Where staff have it from"`
	Reason      string              `bson:"reason,omitempty" json:"reason,omitempty" doc:"Why staff entered it"`
	Offset      string              `bson:"offset,omitempty" json:"offset,omitempty" doc:"The offset from UTC that the device said it had at the capture, such as +13:00; Z if it said none" example:"+01:00"`
	Sequence    int64               `bson:"sequence,omitempty" json:"sequence,omitempty" doc:"Its number among the entries of the device"`
	Monotonic   int64               `bson:"monotonicMs,omitempty" json:"monotonicMs,omitempty" doc:"Milliseconds at the capture by a clock of the device that nobody can set"`
	Held        diary.Why           `bson:"held,omitempty" json:"held,omitempty" doc:"Why it is held and counts nowhere"`
	For         string              `bson:"for,omitempty" json:"for,omitempty" doc:"The window that a held diary would have counted in"`
	MovedFrom   string              `bson:"movedFrom,omitempty" json:"movedFrom,omitempty" doc:"The window in which it was recorded first"`
	MovedBy     domain.UserID       `bson:"movedBy,omitempty" json:"movedBy,omitempty" doc:"Who has moved it to this window, or taken it there if it was held"`
	Voided      []VoidedDiary       `bson:"voided,omitempty" json:"voided,omitempty" doc:"Diaries of the window that do not count; the newest 20"`
	Queried     []string            `bson:"queried,omitempty" json:"queried,omitempty" doc:"Checks of the instrument that the answers contradicted when they were recorded"`
	Corrected   int                 `bson:"corrected,omitempty" json:"corrected,omitempty" doc:"How often it was corrected"`
	Requests    []CorrectionRequest `bson:"requests,omitempty" json:"requests,omitempty" doc:"Corrections that were asked for, and where they stand; the newest 100"`
	State       DiaryState          `bson:"state" json:"state" doc:"What has become of the window"`
	Corrections []Correction        `bson:"corrections,omitempty" json:"corrections,omitempty" doc:"What was changed, by whom and why; the newest 100"`
}

// RequestStatus says where a request for a correction stands.
type RequestStatus string

// The statuses of a request.
const (
	RequestWaits    RequestStatus = "waits"
	RequestApplied  RequestStatus = "applied"
	RequestDeclined RequestStatus = "declined"
	// RequestLapsed requests were about a diary that was voided or moved before anybody decided.
	RequestLapsed RequestStatus = "lapsed"
)

// Schema implements domain.HasSchema.
func (RequestStatus) Schema() domain.Schema {
	return domain.OneOf(RequestStatuses...)
}

// CorrectionRequest is a correction that somebody has asked for.
type CorrectionRequest struct {
	Request   int            `bson:"request" json:"request" doc:"Its number, for CorrectDiary and DeclineDiaryCorrection"`
	Status    RequestStatus  `bson:"status" json:"status" doc:"Where it stands"`
	Changes   []diary.Change `bson:"changes" json:"changes" doc:"Old and new values"`
	Reason    string         `bson:"reason" json:"reason" doc:"Why it was asked for"`
	By        domain.UserID  `bson:"by" json:"by" doc:"Who asked"`
	AskedAt   time.Time      `bson:"askedAt" json:"askedAt" doc:"When"`
	Decision  string         `bson:"decision,omitempty" json:"decision,omitempty" doc:"Why it was applied or declined, or why the diary was voided or moved"`
	DecidedBy domain.UserID  `bson:"decidedBy,omitempty" json:"decidedBy,omitempty" doc:"Who decided, or voided or moved the diary"`
	DecidedAt *time.Time     `bson:"decidedAt,omitempty" json:"decidedAt,omitempty" doc:"When it was decided"`
	MovedTo   string         `bson:"movedTo,omitempty" json:"movedTo,omitempty" doc:"The window in which the diary counts now, if the request has lapsed because it was moved"`
}

// Ask keeps a request for a correction.
func (d *Diary) Ask(r CorrectionRequest) {
	d.Requests = readmodels.LatestOf(append(d.Requests, r), MaxCorrections)
}

// RequestOf returns a request by its number; nil if the document does not hold it, or not any more.
func (d *Diary) RequestOf(number int) *CorrectionRequest {
	for i := range d.Requests {
		if r := &d.Requests[i]; r.Request == number {
			return r
		}
	}
	return nil
}

// Decide keeps the decision about a request.
func (d *Diary) Decide(request int, to RequestStatus, why string, by domain.UserID, at time.Time) {
	if r := d.RequestOf(request); r != nil {
		r.Decided(to, why, by, at)
	}
}

// Decided sets the decision about the request.
func (r *CorrectionRequest) Decided(to RequestStatus, why string, by domain.UserID, at time.Time) {
	r.Status, r.Decision, r.DecidedBy, r.DecidedAt = to, why, by, &at
}

// Answers are the answers of a diary, by item.
type Answers map[string]any

// Schema implements domain.HasSchema.
func (Answers) Schema() domain.Schema { return diary.Answers{}.Schema() }

// Correction is one change of a recorded diary: who asked for it and why, and who decided and why. In logs from before anybody had to ask,
// a coordinator made it.
type Correction struct {
	Changes    []diary.Change `bson:"changes" json:"changes" doc:"Old and new values"`
	Request    int            `bson:"request,omitempty" json:"request,omitempty" doc:"The request that it answers; left out in older logs"`
	AskedBy    domain.UserID  `bson:"askedBy,omitempty" json:"askedBy,omitempty" doc:"Who asked for it; left out in older logs"`
	Reason     string         `bson:"reason" json:"reason" doc:"Why it was asked for; in older logs why it was made"`
	DecidedBy  domain.UserID  `bson:"decidedBy,omitempty" json:"decidedBy,omitempty" doc:"The investigator who decided; left out in older logs"`
	Decision   string         `bson:"decision,omitempty" json:"decision,omitempty" doc:"Why the investigator agreed; left out in older logs"`
	By         domain.UserID  `bson:"by,omitempty" json:"by,omitempty" doc:"Who made it, in older logs, in which nobody asked and nobody decided"`
	RecordedAt time.Time      `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// VoidedDiary is a diary that does not count.
type VoidedDiary struct {
	Reason     string        `bson:"reason" json:"reason" doc:"Why it does not count"`
	MovedTo    string        `bson:"movedTo,omitempty" json:"movedTo,omitempty" doc:"The window in which it counts instead"`
	By         domain.UserID `bson:"by" json:"by" doc:"Who voided it"`
	RecordedAt time.Time     `bson:"recordedAt" json:"recordedAt" doc:"When it was voided"`
	Mode       diary.Mode    `bson:"mode,omitempty" json:"mode,omitempty" doc:"How it had come in"`
	EnteredBy  domain.UserID `bson:"enteredBy,omitempty" json:"enteredBy,omitempty" doc:"The account that had entered it"`
	CapturedAt *time.Time    `bson:"capturedAt,omitempty" json:"capturedAt,omitempty" doc:"When it was answered, by the device's clock"`
	Answers    Answers       `bson:"answers,omitempty" json:"answers,omitempty" doc:"Its answers, with all corrections"`
}

// Raised is what a diary was when a rule flagged a risk of it, for the alert. Corrections do not change it, and it stays when the diary
// is voided.
type Raised struct {
	Rule       string              `bson:"rule"`
	At         time.Time           `bson:"at"`
	CapturedAt time.Time           `bson:"capturedAt"`
	Answers    Answers             `bson:"answers"`
	Scores     []diary.ScoreResult `bson:"scores,omitempty"`
	By         domain.UserID       `bson:"by,omitempty"`
	Device     user.DeviceID       `bson:"device,omitempty"`
	Zone       string              `bson:"zone,omitempty"`
	Mode       diary.Mode          `bson:"mode,omitempty"`
}

// maxRaised bounds the newest that a document holds.
const maxRaised = 20

// Raise keeps what the diary is now, when a rule has flagged a risk.
func (d *Diary) Raise(rule string, at time.Time) {
	if d.CapturedAt == nil {
		return
	}
	d.Raised = readmodels.LatestOf(append(d.Raised, Raised{Rule: rule, At: at, CapturedAt: *d.CapturedAt, Answers: maps.Clone(d.Answers),
		Scores: d.Scores, By: d.By, Device: d.Device, Zone: d.Zone, Mode: d.Mode}), maxRaised)
}

// RaisedBy returns what the window had when the rule flagged a risk that an alert was raised for at this moment; nil if it is not known.
func (d *Diary) RaisedBy(rule string, alert time.Time) *Raised {
	for i := range slices.Backward(d.Raised) {
		if r := &d.Raised[i]; r.Rule == rule && !r.At.After(alert) {
			return r
		}
	}
	return nil
}

// maxVoided bounds the newest voided diaries that a document holds.
const maxVoided = 20

// Void takes the diary out of the window, and keeps it beside.
func (d *Diary) Void(v VoidedDiary) {
	v.Mode, v.EnteredBy, v.CapturedAt, v.Answers = d.Mode, d.By, d.CapturedAt, d.Answers
	*d = Diary{Header: d.Header, Raised: d.Raised, OwnDiary: OwnDiary{Patient: d.Patient, Study: d.Study, Site: d.Site,
		Instrument: d.Instrument, Version: d.Version, Window: d.Window, Opens: d.Opens, Closes: d.Closes, RecordedAt: d.RecordedAt,
		Voided: readmodels.LatestOf(append(d.Voided, v), maxVoided), Requests: d.Requests}}
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
	// DiaryTranscribed windows have an entry by staff, and are answered too.
	DiaryTranscribed DiaryEnd = "transcribed"
	// DiaryVoided windows have a diary that does not count.
	DiaryVoided DiaryEnd = "voided"
	// DiaryHeld are entries that wait for the site's decision.
	DiaryHeld DiaryEnd = "held"
	// DiaryAsked are diaries for which a correction was asked, and not decided.
	DiaryAsked DiaryEnd = "asked"
)

// byStaff are the modes of entries by staff.
var byStaff = []diary.Mode{diary.ByInterviewer, diary.ByTranscription}

// Schema implements domain.HasSchema.
func (DiaryEnd) Schema() domain.Schema {
	return domain.OneOf(DiaryAnswered, DiaryLate, DiaryMissed, DiaryTranscribed, DiaryVoided, DiaryHeld, DiaryAsked)
}

// Windows are ordered by time, because their names are not in the order of the day: evening comes before morning.
var diaryOrders = []readmodels.Order[Diary]{
	readmodels.Descending("newest", func(d Diary) []any { return []any{d.Opens.UTC(), d.ID} }, "opens", "_id"),
	readmodels.Ascending("oldest", func(d Diary) []any { return []any{d.Opens.UTC(), d.ID} }, "opens", "_id"),
}

// diaries is the query of a patient's diaries.
var diaries = readmodels.Declare(readmodels.Query{
	Name: "PatientDiaries", Path: "/api/v1/patients/{patient}/diaries", Summary: "A patient's diaries",
	Doc: "Every decided window with answers, scores, risks and corrections, with who entered it and how; and what is held or does " +
		"not count. Patients have a list of their own, MyDiaries.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachPatient, Views: []readmodels.View{Diaries},
	Sort: readmodels.SortBy(diaryOrders, "By when the windows opened;"),
}, ListDiaries)

// myDiaries is the query of the caller's own diaries.
var myDiaries = readmodels.Declare(readmodels.Query{
	Name: "MyDiaries", Path: "/api/v1/me/diaries", Summary: "The patient's own diaries",
	Doc: "Every decided window with answers and corrections, and where a correction stands that was asked for. Scores and risks are for " +
		"the site.",
	OpenTo: access.ThePatient, Reach: readmodels.ReachOwn, Views: []readmodels.View{Diaries},
	Sort: readmodels.SortBy(diaryOrders, "By when the windows opened;"),
}, ListMyDiaries)

// DiariesQuery asks for a patient's diaries, as they are or as they were at a moment; empty fields do not narrow the list.
type DiariesQuery struct {
	Patient domain.PatientID `path:"patient" doc:"The patient"`
	DiariesFilter
}

// MyDiariesQuery asks for the caller's own diaries.
type MyDiariesQuery struct {
	Patient domain.PatientID `query:"patient" doc:"The patient; only for those who are several"`
	DiariesFilter
}

// DiariesFilter says which windows of a patient are asked for, as they are or as they were at a moment.
type DiariesFilter struct {
	AsOf       readmodels.Moment `query:"asOf"`
	Instrument instrument.ID     `query:"instrument" doc:"Only this instrument"`
	Only       DiaryEnd          `query:"only" doc:"Only windows with this outcome; windows that were answered late, or by staff, are also answered"`
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
		filter = append(filter, bson.E{Key: "capturedAt", Value: bson.D{{Key: "$exists", Value: true}}},
			bson.E{Key: "held", Value: bson.D{{Key: "$exists", Value: false}}})
	case DiaryTranscribed:
		filter = append(filter, bson.E{Key: "mode", Value: bson.D{{Key: "$in", Value: byStaff}}})
	case DiaryVoided:
		filter = append(filter, bson.E{Key: "voided", Value: bson.D{{Key: "$exists", Value: true}}})
	case DiaryHeld:
		filter = append(filter, bson.E{Key: "held", Value: bson.D{{Key: "$exists", Value: true}}})
	case DiaryAsked:
		filter = append(filter, bson.E{Key: "requests.status", Value: RequestWaits})
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
		(q.Only == "" || d.endedAs(q.Only))
}

// endedAs says whether the window belongs to those with this outcome.
func (d *Diary) endedAs(end DiaryEnd) bool {
	switch end {
	case DiaryAnswered:
		return d.CapturedAt != nil && d.Held == ""
	case DiaryLate:
		return d.Late
	case DiaryMissed:
		return d.Missed
	case DiaryTranscribed:
		return d.Mode.ByStaff()
	case DiaryVoided:
		return len(d.Voided) > 0
	case DiaryHeld:
		return d.Held != ""
	case DiaryAsked:
		return slices.ContainsFunc(d.Requests, func(r CorrectionRequest) bool { return r.Status == RequestWaits })
	}
	return false
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

// ListMyDiaries returns a page of the caller's own diaries.
func ListMyDiaries(ctx context.Context, r readmodels.Request, q MyDiariesQuery) (own readmodels.List[OwnDiary], err error) {
	all, err := ListDiaries(ctx, r, DiariesQuery{Patient: r.Own, DiariesFilter: q.DiariesFilter})
	if err != nil {
		return own, err
	}
	own = readmodels.List[OwnDiary]{Next: all.Next, Total: all.Total, Items: make([]OwnDiary, len(all.Items))}
	for i, d := range all.Items {
		own.Items[i] = d.OwnDiary
	}
	return own, nil
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
