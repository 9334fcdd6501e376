package readmodels_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	processviews "casebook/readmodels/process"
	safetyviews "casebook/readmodels/safety"
	studyviews "casebook/readmodels/study"
	supplyviews "casebook/readmodels/supply"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"pgregory.net/rapid"
)

// TestADocumentNeverGoesBack writes versions of a document with random positions, as two engines that run side by side do.
// Some have the same commit position. The version with the highest position must stay.
func TestADocumentNeverGoesBack(t *testing.T) {
	s, n := connect(t, newDatabase()), 0
	collection := s.Collection(studyviews.StudyOverviews)
	rapid.Check(t, func(r *rapid.T) {
		n++
		var most domain.Position
		position := rapid.Custom(func(r *rapid.T) domain.Position {
			commit := rapid.Uint64Range(10, 14).Draw(r, "commit")
			return domain.Position{Commit: commit, Prepare: commit - rapid.Uint64Range(0, 3).Draw(r, "prepared before")}
		})
		for _, p := range rapid.SliceOfN(position, 1, 8).Draw(r, "writes") {
			doc := studyviews.StudyOverview{Header: readmodels.Header{ID: fmt.Sprint("S", n)}, Title: fmt.Sprint(p)}
			if doc.Seen(p) {
				r.Fatalf("a new document has seen %v", p)
			}
			doc.See(p)
			if !doc.Seen(p) || !doc.Seen(most) && !p.Before(most) {
				r.Fatalf("a document as of %v has not seen that, or %v", p, most)
			}
			raw, err := bson.Marshal(doc)
			if err != nil {
				r.Fatal(err)
			}
			seenMore, err := s.Replace(t.Context(), collection.Name(), []readmodels.Encoded{{Header: doc.Header, Document: raw}})
			if err != nil || (seenMore == 1) != p.Before(most) {
				r.Fatalf("writing %v over %v: %d, %v", p, most, seenMore, err)
			}
			if most.Before(p) {
				most = p
			}
			is, err := studyviews.LoadStudyOverview(t.Context(), everything(s), studyviews.StudyOverviewQuery{Study: domain.StudyID(doc.ID)})
			if err != nil {
				r.Fatal(err)
			}
			if is.Title != fmt.Sprint(most) || !is.Seen(most) {
				r.Fatalf("stored is %s, and %v was written", is.Title, most)
			}
		}
	})
}

// TestGuardsFindTheirDocumentByItsKey: each write of the engine uses a guard, so a guard must find its document by the key.
func TestGuardsFindTheirDocumentByItsKey(t *testing.T) {
	database := newDatabase()
	s := connect(t, database)
	for n := range 50 {
		put(t, s, patientviews.PatientLists, row(n, "1", patient.StatusEnrolled))
	}
	client, err := driver.Connect(options.Client().ApplyURI(mongoURL))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	for _, p := range []domain.Position{{Commit: 9, Prepare: 9}, {Commit: 9, Prepare: 7}} {
		head := readmodels.Header{ID: "S.P0007"}
		head.See(p)
		var plan bson.M
		if err := client.Database(database).RunCommand(t.Context(),
			bson.D{{Key: "explain", Value: bson.D{{Key: "find", Value: patientviews.PatientLists.Collection()},
				{Key: "filter", Value: head.Guard()}}}, {Key: "verbosity", Value: "executionStats"}}).Decode(&plan); err != nil {
			t.Fatal(err)
		}
		text, err := bson.MarshalExtJSON(plan, false, false)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), `"totalDocsExamined":1`) {
			t.Errorf("the guard at %v is answered by %s", p, text)
		}
	}
}

// TestACursorOfAnotherListIsRefused: each list refuses the cursors of all other lists, even if they have the same form.
func TestACursorOfAnotherListIsRefused(t *testing.T) {
	s := connect(t, newDatabase())
	lists := map[string]func(readmodels.Page) error{
		"studies": func(p readmodels.Page) error {
			_, err := studyviews.ListStudies(t.Context(), everything(s), studyviews.StudiesQuery{Page: p})
			return err
		},
		"patients": func(p readmodels.Page) error {
			_, err := patientviews.ListPatients(t.Context(), everything(s), patientviews.PatientsQuery{Study: "S", Page: p})
			return err
		},
		"diaries": func(p readmodels.Page) error {
			_, err := diaryviews.ListDiaries(t.Context(), everything(s), diaryviews.DiariesQuery{Patient: "S.1",
				DiariesFilter: diaryviews.DiariesFilter{Page: p}})
			return err
		},
		"rates": func(p readmodels.Page) error {
			_, err := diaryviews.ListPatientsByCompliance(t.Context(), everything(s), diaryviews.ComplianceQuery{Study: "S", Page: p})
			return err
		},
		"alerts": func(p readmodels.Page) error {
			_, err := safetyviews.ListAlerts(t.Context(), everything(s), safetyviews.AlertsQuery{Study: "S", Page: p})
			return err
		},
		"processes": func(p readmodels.Page) error {
			_, err := processviews.ListProcesses(t.Context(), everything(s), processviews.ProcessesQuery{Study: "S", Page: p})
			return err
		},
		"accounts": func(p readmodels.Page) error {
			_, err := supplyviews.ListAccountabilityByPatient(t.Context(), everything(s), supplyviews.AccountabilityByPatientQuery{Study: "S",
				Page: p})
			return err
		},
	}
	for _, c := range []struct {
		text string
		good string
	}{
		{`["study","a"]`, "studies"}, {`["screening","a"]`, "patients"}, {`["newest","2026-03-01T18:00:00Z","a"]`, "diaries"},
		{`["moved","2026-03-01T18:00:00Z","a"]`, "processes"}, {`["urgent",1,"2026-03-01T18:00:00Z","a"]`, "alerts"}, {`["worst",0.5,"a"]`,
			"rates"},
		{`[]`, ""}, {`null`, ""}, {`[null]`, ""}, {`[null,null]`, ""}, {`["a","b","c"]`, ""}, {`["a","b"]`, ""}, {`["accounts","a","b"]`,
			"accounts"}, {`[0.5]`, ""},
		{`["oldest","2026-03-01T18:00:00Z","a"]`, ""}, {`["best",0.5,"a"]`, ""}, {`["worst","0.5","a"]`,
			""}, {`["newest","2026-03-01T18:00:00Z"]`, ""},
		{`{}`, ""}, {`"a"`, ""}, {`["a"`, ""}, {``, "studies patients diaries rates alerts processes accounts"}, {`[0.5,null]`,
			""}, {`[{"$gt":""}]`, ""},
	} {
		for name, ask := range lists {
			err := ask(readmodels.Page{Cursor: base64.RawURLEncoding.EncodeToString([]byte(c.text))})
			if strings.Contains(c.good, name) {
				if err != nil {
					t.Errorf("%s with %s: %v", name, c.text, err)
				}
			} else if r, ok := refuse.As(err); !ok || r.Code != "malformed_cursor" {
				t.Errorf("%s with %s: %v, want a refusal", name, c.text, err)
			}
		}
	}
}

// TestDiariesAreInTheOrderOfTheirWindows: diaries of one day are ordered by when their windows open, not by name.
func TestDiariesAreInTheOrderOfTheirWindows(t *testing.T) {
	s := connect(t, newDatabase())
	var want []string
	for day := 20; day > 0; day-- {
		for _, w := range []struct {
			name string
			hour int
		}{{"evening", 18}, {"noon", 12}, {"morning", 6}} {
			opens := time.Date(2026, 3, day, w.hour, 0, 0, 0, time.UTC)
			d := diaryviews.Diary{OwnDiary: diaryviews.OwnDiary{Patient: "S.1", Instrument: "i",
				Window: opens.Format(time.DateOnly) + "/" + w.name, Opens: opens}}
			if w.hour == 12 {
				d.Instrument = "other"
			}
			d.ID = diaryviews.DiaryKey(d.Patient, d.Instrument, d.Window)
			put(t, s, diaryviews.Diaries, d)
			want = append(want, d.ID)
		}
	}
	for _, limit := range []int{1, 2, 7, 60} {
		var got []string
		for _, d := range pages(t, limit, func(p readmodels.Page) (readmodels.List[diaryviews.Diary], error) {
			return diaryviews.ListDiaries(t.Context(), everything(s), diaryviews.DiariesQuery{Patient: "S.1",
				DiariesFilter: diaryviews.DiariesFilter{Page: p}})
		}) {
			got = append(got, d.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in pages of %d:\n%s", limit, diff)
		}
	}
	if one := pages(t, 7, func(p readmodels.Page) (readmodels.List[diaryviews.Diary], error) {
		return diaryviews.ListDiaries(t.Context(), everything(s), diaryviews.DiariesQuery{Patient: "S.1",
			DiariesFilter: diaryviews.DiariesFilter{Instrument: "other", Page: p}})
	}); len(one) != 20 {
		t.Errorf("%d diaries of one instrument", len(one))
	}
}

// TestTwoVersionsOfAViewGoEachAtTheirOwnPace: each version has its own checkpoint, so the new version can be filled while
// the old one still answers.
func TestTwoVersionsOfAViewGoEachAtTheirOwnPace(t *testing.T) {
	s := connect(t, newDatabase())
	older, newer := readmodels.View{Name: "v", Version: 1}, readmodels.View{Name: "v", Version: 2}
	for v, commit := range map[int]uint64{1: 100, 2: 7} {
		view := readmodels.View{Name: "v", Version: v}
		if err := s.SaveCheckpoint(t.Context(), readmodels.Checkpoint{Collection: view.Collection(), View: "v", Version: v,
			Position: domain.Position{Commit: commit, Prepare: commit}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.WaitFor(t.Context(), older, 100); err != nil {
		t.Error(err)
	}
	behind := make(chan error, 1)
	go func() { behind <- s.WaitFor(t.Context(), newer, 8) }()
	for commit := uint64(7); commit <= 8; commit++ {
		select {
		case err := <-behind:
			t.Fatalf("position 8 is said to be reached at %d, or refused: %v", commit-1, err)
		default:
		}
		if err := s.SaveCheckpoint(t.Context(), readmodels.Checkpoint{Collection: newer.Collection(), View: "v", Version: 2,
			Position: domain.Position{Commit: commit, Prepare: commit}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-behind; err != nil {
		t.Error(err)
	}
}

// TestAFormerHolderCannotMoveATakenCheckpoint: the new holder of a lease continues at the checkpoint that it has read. If
// the former holder could still write a later position, the new holder would then move the checkpoint back.
func TestAFormerHolderCannotMoveATakenCheckpoint(t *testing.T) {
	s := connect(t, newDatabase())
	view := readmodels.View{Name: "v", Version: 1}
	at := func(commit uint64, token int64) readmodels.Checkpoint {
		return readmodels.Checkpoint{Collection: view.Collection(), View: view.Name, Version: view.Version, Token: token,
			Position: domain.Position{Commit: commit, Prepare: commit}, State: readmodels.Live}
	}
	for _, begun := range []bool{false, true} {
		former, next := int64(1), int64(2)
		if begun {
			former, next = 2, 3
			if err := s.SaveCheckpoint(t.Context(), at(10, former)); err != nil {
				t.Fatal(err)
			}
		}
		taken, err := s.TakeCheckpoint(t.Context(), view, view.Collection(), next)
		if err != nil || taken.Token != next || taken.View != view.Name || begun != (taken.Position.Commit == 10) {
			t.Fatalf("took %+v, %v", taken, err)
		}
		if err := s.SaveCheckpoint(t.Context(), at(11, former)); !errors.Is(err, readmodels.ErrLeaseLost) {
			t.Errorf("the former holder moved the checkpoint: %v", err)
		}
		if _, err := s.TakeCheckpoint(t.Context(), view, view.Collection(), former); !errors.Is(err, readmodels.ErrLeaseLost) {
			t.Errorf("a former lease took the checkpoint: %v", err)
		}
		if c, err := s.LoadBuildCheckpoint(t.Context(), view, view.Collection()); err != nil || c.Position != taken.Position {
			t.Errorf("it stands at %v, %v", c.Position, err)
		}
	}
}

// TestAProcessThatLeftAViewToAnotherStillSeesIt: a program that no longer projects a view itself reads the checkpoint of
// the program that does.
func TestAProcessThatLeftAViewToAnotherStillSeesIt(t *testing.T) {
	database := newDatabase()
	before, after := connect(t, database), connect(t, database)
	save(t, before, 1)
	seen := make(chan error, 1)
	go func() { seen <- before.WaitFor(t.Context(), diaryviews.Diaries, 9) }()
	save(t, after, 9)
	if err := <-seen; err != nil {
		t.Error(err)
	}
}

func save(t *testing.T, s *readmodels.Store, commit uint64) {
	t.Helper()
	if err := s.SaveCheckpoint(t.Context(), readmodels.Checkpoint{Collection: diaryviews.Diaries.Collection(), View: diaryviews.Diaries.Name,
		Version: diaryviews.Diaries.Version, Position: domain.Position{Commit: commit, Prepare: commit}}); err != nil {
		t.Fatal(err)
	}
}
