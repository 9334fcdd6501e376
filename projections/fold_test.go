package projections_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/eventlog"
	"casebook/projections"
	diaryprojections "casebook/projections/diary"
	patientprojections "casebook/projections/patient"
	studyprojections "casebook/projections/study"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	studyviews "casebook/readmodels/study"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var recordedAt = time.Date(2026, 3, 1, 20, 30, 0, 0, time.UTC)

var registry = contexts.Registry()

// story makes envelopes of events as the log would give them out.
type story struct {
	position uint64
	study    domain.StudyID
	site     domain.SiteID
	patient  domain.PatientID
	// stream is that of the events; empty for the patient's.
	stream string
	events []projections.Envelope
}

func newStory() *story { return &story{study: "S", site: "01", patient: "S.1"} }

// in is a story of one stream.
func in(stream string) *story {
	s := newStory()
	s.stream = stream
	return s
}

func (s *story) tell(events ...any) *story {
	stream := s.stream
	if stream == "" {
		stream = "x-" + string(s.patient)
	}
	for _, e := range events {
		s.position += 100
		name, _ := registry.NameOf(e)
		s.events = append(s.events, projections.Envelope{Stream: stream, Revision: s.position / 100, Type: name, Event: e,
			Position: domain.Position{Commit: s.position, Prepare: s.position},
			Metadata: eventlog.Metadata{Actor: "crc", Study: s.study, Site: s.site, Patient: s.patient, RecordedAt: recordedAt}})
	}
	return s
}

// fold applies events to the documents of a projection.
func fold(t testing.TB, p projections.Projection, events []projections.Envelope) map[string]readmodels.Document {
	t.Helper()
	documents := map[string]readmodels.Document{}
	apply(t, p, documents, events)
	return documents
}

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
}

// apply folds events into documents, and returns the keys of those that the last event is about.
func apply(t failer, p projections.Projection, documents map[string]readmodels.Document, events []projections.Envelope) (keys []string) {
	t.Helper()
	for _, e := range events {
		var group string
		keys, group = p.Touches(e)
		if made, ok := documents[group].(projections.Group); ok && len(keys) == 0 {
			keys = made.Members()
		}
		if group != "" {
			keys = append(slices.Clip(keys), group)
		}
		for _, key := range keys {
			if documents[key] == nil {
				documents[key] = p.Blank(key)
			}
			if _, err := p.Apply(documents[key], e); err != nil {
				t.Fatal(err)
			}
		}
	}
	return keys
}

func window(day int) diary.Window {
	opens := time.Date(2026, 3, day, 18, 0, 0, 0, time.UTC)
	return diary.Window{ID: fmt.Sprintf("2026-03-%02d/evening", day), Opens: opens, Closes: opens.Add(6 * time.Hour)}
}

func submitted(day int, worst float64) diary.Submitted {
	return diary.Submitted{Patient: "S.1", Instrument: "pain-diary", Version: 1, Window: window(day),
		CapturedAt: window(day).Opens.Add(time.Hour),
		Answers:    diary.Answers{"worst": worst}, Scores: []diary.ScoreResult{{ID: "intensity", Value: &worst, Band: "mild"}}}
}

func theStudy(s *story) *story {
	return s.tell(
		study.Created{Study: "S", Title: "A study", Sponsor: "Nobody", Phase: "II"},
		study.ProtocolVersionPublished{Study: "S", Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0"}},
		study.SiteAdded{Study: "S", Site: "01", Name: "Site", Country: "DE", Zone: "Europe/Berlin"},
		study.SiteActivated{Study: "S", Site: "01", On: "2026-02-01"},
		enrollment.Opened{Study: "S", Caps: enrollment.Caps{Target: 5, Study: 10}})
}

func aPatient(s *story) *story {
	return s.tell(
		patient.Screened{Patient: "S.1", Study: "S", Site: "01", ScreeningNumber: "1", On: "2026-02-10", Zone: "Europe/Berlin",
			Sex: patient.Female, AgeYears: 40},
		patient.ConsentRecorded{Patient: "S.1", ConsentVersion: "1.0", On: "2026-02-10"},
		patient.EnrollmentRequested{Patient: "S.1", Study: "S", Site: "01", On: "2026-02-11"},
		patient.Enrolled{Patient: "S.1", On: "2026-02-11", PatientNumber: "S-00001"},
		diary.InstrumentAssigned{Patient: "S.1", Instrument: *instrument.PainDiary(), Zone: "Europe/Berlin", From: "2026-02-11",
			Until: "2026-05-01"})
}

func diaries(s *story) *story {
	late := submitted(3, 4)
	late.Late = true
	afterMissed := submitted(4, 2)
	afterMissed.AfterMissed = true
	return s.tell(
		submitted(2, 9),
		diary.RiskFlagged{Patient: "S.1", Instrument: "pain-diary", Window: window(2).ID, Rule: "pain-severe",
			Severity: instrument.SeverityUrgent, Message: "m"},
		late,
		diary.WindowMissed{Patient: "S.1", Instrument: "pain-diary", Window: window(4)},
		diary.WindowMissed{Patient: "S.1", Instrument: "pain-diary", Window: window(5)},
		afterMissed,
		diary.Corrected{Patient: "S.1", Instrument: "pain-diary", Window: window(3).ID, Reason: "misread",
			Changes: []diary.Change{{Item: "worst", Old: 4.0, New: 3.0}}, Scores: []diary.ScoreResult{{ID: "intensity", Value: new(3.0)}}})
}

func TestStudyOverview(t *testing.T) {
	s := diaries(aPatient(theStudy(newStory())))
	s.patient = "S.2"
	s.tell(patient.Screened{Patient: "S.2", Study: "S", Site: "01", ScreeningNumber: "2", On: "2026-02-10", Zone: "UTC"},
		patient.ScreenFailureRecorded{Patient: "S.2", On: "2026-02-11", Reason: "r"}, patient.EnrollmentFailed{Patient: "S.2"},
		patient.ConsentWithdrawn{Patient: "S.2", EndsParticipation: true}, patient.Discontinued{Patient: "S.2"},
		patient.Completed{Patient: "S.2"},
		enrollment.TargetSet{Study: "S", Caps: enrollment.Caps{Target: 6, Study: 12}}, enrollment.Closed{Study: "S"},
		study.SiteClosed{Study: "S", Site: "01"})
	figures := studyviews.Figures{
		EnrollmentFigures: studyviews.EnrollmentFigures{Screened: 2, ScreenFailures: 1, Enrolled: 1, EnrollmentsFailed: 1, Withdrawn: 1,
			Discontinued: 1, Completed: 1},
		ClinicalFigures: studyviews.ClinicalFigures{Diaries: 3, LateDiaries: 1, MissedWindows: 1, Risks: 1},
	}
	want := &studyviews.StudyOverview{Header: readmodels.Header{ID: "S", Position: int64(s.position)}, Study: "S", Title: "A study",
		Sponsor: "Nobody",
		Phase:   "II", ProtocolVersion: 1, ConsentVersion: "1.0", Enrollment: studyviews.EnrollmentView{Target: 6, Cap: 12},
		Figures: &figures,
		Sites: []studyviews.SiteOverview{{Site: "01", Name: "Site", Country: "DE", Zone: "Europe/Berlin", Status: "closed",
			ActivatedOn: "2026-02-01", Figures: figures}},
		UpdatedAt: recordedAt}
	if diff := cmp.Diff(map[string]readmodels.Document{"S": want}, fold(t, studyprojections.StudyOverview, s.events)); diff != "" {
		t.Error(diff)
	}
}

func TestPatientListAndCompliance(t *testing.T) {
	s := diaries(aPatient(newStory()))
	rate := 3.0 / 4
	kept := diaryviews.Compliance{Closed: 4, Completed: 3, OnTime: 2, Late: 1, AfterMissed: 1, Missed: 1, Rate: &rate}
	last := window(4).Opens.Add(time.Hour)
	want := &patientviews.PatientRow{Header: readmodels.Header{ID: "S.1", Position: int64(s.position) - 100}, Patient: "S.1", Study: "S",
		Numbers: []string{"1", "S-00001"},
		Site:    "01", Sites: readmodels.History[domain.SiteID]{}.Since(recordedAt, "01"), ScreeningNumber: "1",
		PatientNumber: "S-00001", Status: patient.StatusEnrolled, Treatment: patient.TreatmentOn, Phase: patient.PhaseTreatment,
		ScreenedOn: "2026-02-10", ConsentedOn: "2026-02-10",
		ConsentVersion: "1.0",
		EnrolledOn:     "2026-02-11", LastDiaryAt: &last, LastActivityAt: recordedAt, Risks: 1, Compliance: kept}
	if diff := cmp.Diff(map[string]readmodels.Document{"S.1": want}, fold(t, patientprojections.PatientList, s.events)); diff != "" {
		t.Error(diff)
	}
	documents := fold(t, diaryprojections.DiaryCompliance, s.events)
	for key, level := range map[string]diaryviews.Level{"patient/S.1": diaryviews.OfPatient, "site/S/01": diaryviews.OfSite,
		"study/S": diaryviews.OfStudy} {
		c, ok := documents[key].(*diaryviews.DiaryCompliance)
		if !ok || c.Level != level || c.Study != "S" || c.Order != rate {
			t.Fatalf("%s is %+v", key, c)
		}
		if diff := cmp.Diff(kept, c.Compliance); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	if len(documents) != 3 {
		t.Errorf("there are %d documents", len(documents))
	}
}

func TestHowPatientsEnd(t *testing.T) {
	for _, c := range []struct {
		event  any
		status patient.Status
		reason string
	}{
		{patient.ScreenFailureRecorded{Patient: "S.1", On: "2026-03-01", Reason: "r"}, patient.StatusScreenFailed, "r"},
		{patient.EnrollmentFailed{Patient: "S.1", Code: "c", Reason: "r"}, patient.StatusEnrollmentFailed, "r"},
		{patient.ConsentWithdrawn{Patient: "S.1", On: "2026-03-01", Reason: "r", EndsParticipation: true, EndsTreatment: true},
			patient.StatusWithdrawn, "r"},
		{patient.ParticipationEnded{Patient: "S.1", On: "2026-03-01", Reason: patient.EndedByLossToFollowUp, Detail: "r"},
			patient.StatusDiscontinued, "r"},
		{patient.Discontinued{Patient: "S.1", On: "2026-03-01", Reason: "r"}, patient.StatusDiscontinued, "r"},
		{patient.Completed{Patient: "S.1", On: "2026-03-01"}, patient.StatusCompleted, ""},
	} {
		s := aPatient(newStory()).tell(c.event)
		row := fold(t, patientprojections.PatientList, s.events)["S.1"].(*patientviews.PatientRow)
		view := fold(t, patientprojections.PatientView, s.events)["S.1"].(*patientviews.PatientDocument)
		if row.Status != c.status || view.Status != c.status || row.EndReason != c.reason {
			t.Errorf("after %T: %s and %s, because of %q", c.event, row.Status, view.Status, row.EndReason)
		}
		if last := view.Steps[len(view.Steps)-1]; last.What == "" || last.By != "crc" || last.RecordedAt != recordedAt {
			t.Errorf("after %T the last step is %+v", c.event, last)
		}
	}
}

func TestPatientView(t *testing.T) {
	s := diaries(aPatient(newStory()))
	v := fold(t, patientprojections.PatientView, s.events)["S.1"].(*patientviews.PatientDocument)
	two, three, nine := 2.0, 3.0, 9.0
	want := []patientviews.TrendPoint{{Window: window(2).ID, Opens: window(2).Opens, Score: &nine, Risk: true},
		{Window: window(3).ID, Opens: window(3).Opens, Late: true, Score: &three},
		{Window: window(4).ID, Opens: window(4).Opens, Score: &two}, {Window: window(5).ID, Opens: window(5).Opens, Missed: true}}
	if diff := cmp.Diff(want, v.Instruments[0].Trend); diff != "" {
		t.Error(diff)
	}
	if len(v.Steps) != 4 || v.Steps[0].What != "PatientScreened" || v.Steps[0].On != "2026-02-10" || v.Status != patient.StatusEnrolled ||
		len(v.Risks) != 1 {
		t.Errorf("the view is %+v", v)
	}
	for day := range 200 { // the trend is bounded, and keeps the newest
		s.tell(diary.WindowMissed{Patient: "S.1", Instrument: "pain-diary",
			Window: diary.Window{ID: string(domain.Date("2026-04-01").AddDays(day)) + "/evening",
				Opens: time.Date(2026, 4, 1+day, 18, 0, 0, 0, time.UTC)}})
	}
	trend := fold(t, patientprojections.PatientView, s.events)["S.1"].(*patientviews.PatientDocument).Instruments[0].Trend
	if len(trend) != patientviews.TrendLength || trend[len(trend)-1].Window != "2026-10-17/evening" {
		t.Errorf("the trend holds %d points, the last of %s", len(trend), trend[len(trend)-1].Window)
	}
}

func TestDiaries(t *testing.T) {
	documents := fold(t, diaryprojections.Diaries, diaries(aPatient(newStory())).events)
	if len(documents) != 4 {
		t.Fatalf("there are %d documents", len(documents))
	}
	of := func(day int) *diaryviews.Diary {
		return documents[diaryviews.DiaryKey("S.1", "pain-diary", window(day).ID)].(*diaryviews.Diary)
	}
	if d := of(2); d.Answers["worst"] != 9.0 || len(d.Risks) != 1 || d.Missed || d.Patient != "S.1" || d.Opens != window(2).Opens {
		t.Errorf("the 2nd is %+v", d)
	}
	if d := of(3); d.Answers["worst"] != 3.0 || *d.Scores[0].Value != 3 || len(d.Corrections) != 1 ||
		d.Corrections[0].Changes[0].Old != 4.0 || !d.Late {
		t.Errorf("the 3rd is %+v", d)
	}
	if d := of(4); d.Missed || !d.AfterMissed || d.Answers["worst"] != 2.0 {
		t.Errorf("the 4th is %+v", d)
	}
	if d := of(5); !d.Missed || d.Answers != nil {
		t.Errorf("the 5th is %+v", d)
	}
	cleared := diaries(aPatient(newStory())).tell(diary.Corrected{Patient: "S.1", Instrument: "pain-diary", Window: window(2).ID,
		Reason:  "r",
		Changes: []diary.Change{{Item: "worst", Old: 9.0, New: nil}}})
	d := fold(t, diaryprojections.Diaries, cleared.events)[diaryviews.DiaryKey("S.1", "pain-diary", window(2).ID)].(*diaryviews.Diary)
	if _, there := d.Answers["worst"]; there {
		t.Error("a cleared answer is still shown")
	}
}

// TestEveryEventIsShownOrLeftOutOnPurpose: a new event is folded by a view, or declared with the reason why by none.
func TestEveryEventIsShownOrLeftOutOnPurpose(t *testing.T) {
	for _, s := range registry.Schemas() {
		shown := slices.ContainsFunc(contexts.Projections(), func(p projections.Projection) bool { return !p.Alike() && p.Folds(s.Go) })
		switch {
		case !shown && s.Unshown == "":
			t.Errorf("no view shows %s: fold it in one, or say why not where it is declared in domain, with .InNoView(\"...\")", s.Name)
		case shown && s.Unshown != "":
			t.Errorf("a view shows %s, which is declared in domain to be in none", s.Name)
		}
	}
}

// TestR25_RepeatsAndCutsChangeNothing delivers a random story in random batches, some of them again, and compares the
// documents with those of one clean delivery.
func TestR25_RepeatsAndCutsChangeNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := aPatient(theStudy(newStory()))
		for day := 1; day <= rapid.IntRange(0, 25).Draw(r, "days"); day++ {
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0:
				s.tell(diary.WindowMissed{Patient: "S.1", Instrument: "pain-diary", Window: window(day)})
			case 1:
				s.tell(submitted(day, float64(day%11)), diary.RiskFlagged{Patient: "S.1", Instrument: "pain-diary",
					Window: window(day).ID, Rule: "x"})
			case 2:
				s.tell(submitted(day, 1), diary.Corrected{Patient: "S.1", Instrument: "pain-diary", Window: window(day).ID, Reason: "r",
					Changes: []diary.Change{{Item: "worst", Old: 1.0, New: 2.0}}})
			}
		}
		for _, p := range contexts.Projections() {
			want := fold(t, p, s.events)
			got := map[string]readmodels.Document{}
			for done := 0; done < len(s.events); {
				again := rapid.IntRange(0, done).Draw(r, "from")
				done = rapid.IntRange(done+1, len(s.events)).Draw(r, "to")
				apply(t, p, got, s.events[again:done])
			}
			if !reflect.DeepEqual(want, got) {
				r.Fatalf("%s differs after repeats:\n%s", p.View.Name, cmp.Diff(want, got))
			}
		}
	})
}

func TestAFoldThatPanicsIsAnErrorThatNamesTheEvent(t *testing.T) {
	broken := projections.New(readmodels.View{Name: "broken"}, projections.ByStream,
		projections.On(func(*patientviews.PatientRow, patient.Completed, projections.Envelope) { panic("no") }))
	s := newStory().tell(patient.Completed{Patient: "S.1"})
	doc := broken.Blank("S.1")
	if folded, err := broken.Apply(doc, s.events[0]); err == nil || folded || doc.Head().Position != 0 {
		t.Errorf("folded %v, error %v, position %d", folded, err, doc.Head().Position)
	}
}

// TestListsWithoutMembersAreStoredAsSuch, and not as null: before the first event, after a fold that makes none, and after
// the document was stored.
func TestListsWithoutMembersAreStoredAsSuch(t *testing.T) {
	for _, p := range contexts.Projections() {
		if raw := extended(t, p.Blank("k")).String(); strings.Contains(raw, "null") {
			t.Errorf("%s begins with %s", p.View.Name, raw)
		}
	}
	p := projections.New(readmodels.View{Name: "lists"}, projections.ByStream,
		projections.On(func(d *listed, e patient.VisitRecorded, _ projections.Envelope) {
			d.Parts, d.Left = append(d.Parts, listedPart{Name: e.Visit, Given: listedGiven{}}), nil
		}))
	doc := fold(t, p, newStory().tell(patient.VisitRecorded{Patient: "S.1", Visit: "week-2"}).events)["S.1"]
	const want = `{"_id": "S.1","_position": {"$numberLong":"100"},` +
		`"parts": [{"name": "week-2","inner": [],"given": {"given": null}}],"left": []}`
	if got := extended(t, doc).String(); got != want {
		t.Errorf("it is stored as\n%s, not as\n%s", got, want)
	}
}

type listed struct {
	readmodels.Header `bson:",inline"`
	Parts             []listedPart `bson:"parts"`
	Left              []string     `bson:"left"`
	Omitted           []string     `bson:"omitted,omitempty"`
}

type listedPart struct {
	Name  string      `bson:"name"`
	Inner []string    `bson:"inner"`
	Given listedGiven `bson:"given"`
}

// listedGiven is part of an event.
type listedGiven struct{ Given []string }

// TestAFoldOfAnEventThatNamesNoDocumentIsFoundAtOnce, when the projection is declared.
func TestAFoldOfAnEventThatNamesNoDocumentIsFoundAtOnce(t *testing.T) {
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said,
			"diaries folds diary.ReminderDue, which does not say which document it is about") {
			t.Errorf("it says %q", said)
		}
	}()
	projections.New(readmodels.View{Name: "diaries"}, projections.KeyOf(func(e diary.OfWindow, _ projections.Envelope) string {
		_, window := e.OfWindow()
		return window
	}), projections.On(func(*diaryviews.Diary, diary.ReminderDue, projections.Envelope) {}))
}

func BenchmarkFold(b *testing.B) {
	s := aPatient(theStudy(newStory()))
	for day := range 90 {
		s.tell(submitted(1, float64(day%10)))
	}
	for b.Loop() {
		for _, p := range contexts.Projections() {
			fold(b, p, s.events)
		}
	}
	b.ReportMetric(float64(b.N*len(s.events)*len(contexts.Projections()))/b.Elapsed().Seconds(), "folds/s")
}

// typeNamed is the Go type of an event.
func typeNamed(t *testing.T, name string) reflect.Type {
	t.Helper()
	for _, s := range contexts.Registry().Schemas() {
		if s.Name == name {
			return s.Go
		}
	}
	t.Fatalf("there is no event %s", name)
	return nil
}
