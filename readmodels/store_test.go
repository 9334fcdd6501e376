package readmodels_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/embedded/storetest"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	studyviews "casebook/readmodels/study"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"
)

// mongoURL is that of the store that the tests share.
var mongoURL string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "readmodels")
	if err != nil {
		panic(err)
	}
	var closeMongo func() error
	if mongoURL, closeMongo, err = storetest.Mongo(context.Background(), dir); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := errors.Join(closeMongo(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func connect(t *testing.T, database string, more ...*options.ClientOptions) *readmodels.Store {
	t.Helper()
	s, err := readmodels.Connect(t.Context(), mongoURL, database, contexts.Views(), more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := s.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func newDatabase() string { return "db" + uuid.NewString()[:8] }

func put(t *testing.T, s *readmodels.Store, v readmodels.View, documents ...any) {
	t.Helper()
	if _, err := s.Collection(v).InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
}

// everything is a request of somebody who may see all of the study S.
func everything(s *readmodels.Store) readmodels.Request {
	return requestOf(s, user.Grant{Role: user.DataManager, Study: "S"})
}

func requestOf(s *readmodels.Store, grants ...user.Grant) readmodels.Request {
	return readmodels.Request{Store: s, WholeStudy: true, Caller: readmodels.Caller{Principal: access.Principal{User: "somebody",
		Grants: grants}}}
}

// ordersOf are those of a query's list, and none named.
func ordersOf(query string) []string {
	for _, q := range contexts.Queries() {
		if q.Name == query {
			return append(slices.Clone(q.Sort.Names), "")
		}
	}
	return nil
}

func row(n int, site domain.SiteID, status patient.Status) patientviews.PatientRow {
	id := fmt.Sprintf("S.P%04d", n)
	return patientviews.PatientRow{Header: readmodels.Header{ID: id}, Patient: domain.PatientID(id), Study: "S", Site: site, Status: status}
}

func pages[T any](t *testing.T, limit int, ask func(readmodels.Page) (readmodels.List[T], error)) []T {
	t.Helper()
	var all []T
	for page := (readmodels.Page{Limit: limit}); ; {
		l, err := ask(page)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Items) > limit {
			t.Fatalf("a page of %d", len(l.Items))
		}
		all = append(all, l.Items...)
		if page.Cursor = l.Next; page.Cursor == "" {
			return all
		}
	}
}

func TestPagesAreWholeAndStable(t *testing.T) {
	s := connect(t, newDatabase())
	for n := 0; n < 60; n += 2 {
		put(t, s, patientviews.PatientLists, row(n, domain.SiteID(fmt.Sprint(n%3)), patient.StatusEnrolled))
	}
	first, err := patientviews.ListPatients(t.Context(), everything(s), patientviews.PatientsQuery{Study: "S",
		Page: readmodels.Page{Limit: 10}})
	if err != nil || len(first.Items) != 10 || first.Next == "" {
		t.Fatalf("%d items, %v", len(first.Items), err)
	}
	put(t, s, patientviews.PatientLists, row(1, "0", patient.StatusEnrolled),
		row(21, "0", patient.StatusEnrolled)) // before and behind the cursor
	second, err := patientviews.ListPatients(t.Context(), everything(s),
		patientviews.PatientsQuery{Study: "S", Page: readmodels.Page{Limit: 10, Cursor: first.Next}})
	if err != nil || second.Items[0].ID != "S.P0020" || second.Items[1].ID != "S.P0021" {
		t.Errorf("the second page begins with %+v, %v", second.Items[:2], err)
	}
	all := pages(t, 7, func(p readmodels.Page) (readmodels.List[patientviews.PatientRow], error) {
		return patientviews.ListPatients(t.Context(), everything(s), patientviews.PatientsQuery{Study: "S", Page: p})
	})
	if len(all) != 32 {
		t.Errorf("%d of 32 patients", len(all))
	}
	for i := 1; i < len(all); i++ {
		if all[i-1].ID >= all[i].ID {
			t.Errorf("%s before %s", all[i-1].ID, all[i].ID)
		}
	}
}

func TestListsAreNarrowed(t *testing.T) {
	s := connect(t, newDatabase())
	for n := range 30 {
		status := patient.StatusEnrolled
		if n%5 == 0 {
			status = patient.StatusScreenFailed
		}
		put(t, s, patientviews.PatientLists, row(n, domain.SiteID(fmt.Sprint(n%3)), status))
	}
	for _, c := range []struct {
		query patientviews.PatientsQuery
		want  int
	}{
		{patientviews.PatientsQuery{Study: "S"}, 30}, {patientviews.PatientsQuery{Study: "S", Site: "1"},
			10}, {patientviews.PatientsQuery{Study: "T"}, 0},
		{patientviews.PatientsQuery{Study: "S", Status: patient.StatusScreenFailed}, 6},
		{patientviews.PatientsQuery{Study: "S", Site: "0", Status: patient.StatusScreenFailed}, 2},
	} {
		l, err := patientviews.ListPatients(t.Context(), everything(s), c.query)
		if err != nil || len(l.Items) != c.want {
			t.Errorf("%+v: %d items, %v", c.query, len(l.Items), err)
		}
	}
}

func TestTheWorstRateComesFirstAndNoneLast(t *testing.T) {
	s := connect(t, newDatabase())
	for n := range 25 {
		c := diaryviews.DiaryCompliance{Header: readmodels.Header{ID: fmt.Sprintf("patient/S.%02d", n)}, Level: diaryviews.OfPatient,
			Study: "S", Site: "1", Order: 2}
		if n%6 != 0 {
			rate := float64(n%5) / 5
			c.Rate, c.Order = &rate, rate
		}
		put(t, s, diaryviews.DiaryCompliances, c)
	}
	put(t, s, diaryviews.DiaryCompliances, diaryviews.DiaryCompliance{Header: readmodels.Header{ID: "site/S/1"}, Level: diaryviews.OfSite,
		Study: "S", Site: "1"})
	for _, site := range []domain.SiteID{"", "1"} {
		all := pages(t, 4, func(p readmodels.Page) (readmodels.List[diaryviews.DiaryCompliance], error) {
			return diaryviews.ListPatientsByCompliance(t.Context(), everything(s), diaryviews.ComplianceQuery{Study: "S", Site: site, Page: p})
		})
		if len(all) != 25 {
			t.Fatalf("%d of 25", len(all))
		}
		seen := map[string]bool{}
		for i, c := range all {
			if seen[c.ID] || i > 0 && all[i-1].Order > c.Order {
				t.Errorf("%d: %s with %v", i, c.ID, c.Order)
			}
			seen[c.ID] = true
		}
		if all[24].Rate != nil || all[0].Rate == nil {
			t.Error("those without a rate do not come last")
		}
	}
	sites, err := diaryviews.ListSitesByCompliance(t.Context(), everything(s), diaryviews.ComplianceBySiteQuery{Study: "S"})
	if err != nil || len(sites.Items) != 1 {
		t.Errorf("%d sites, %v", len(sites.Items), err)
	}
}

func TestWhatIsNotThereOrNotUnderstoodIsRefused(t *testing.T) {
	s := connect(t, newDatabase())
	r := everything(s)
	patients := func(p readmodels.Page) error {
		_, err := patientviews.ListPatients(t.Context(), r, patientviews.PatientsQuery{Study: "S", Page: p})
		return err
	}
	_, noPatient := patientviews.LoadPatientView(t.Context(), r, patientviews.PatientQuery{Patient: "S.1"})
	_, noStudy := studyviews.LoadStudyOverview(t.Context(), r, studyviews.StudyOverviewQuery{Study: "S"})
	badCursor := patients(readmodels.Page{Cursor: "???"})
	tooMany, negative := patients(readmodels.Page{Limit: 501}), patients(readmodels.Page{Limit: -1})
	_, otherCursor := diaryviews.ListDiaries(t.Context(), r, diaryviews.DiariesQuery{Patient: "S.1",
		DiariesFilter: diaryviews.DiariesFilter{Page: readmodels.Page{Cursor: "WzFd"}}}) // [1]
	for code, err := range map[string]error{"patient_not_found": noPatient, "study_not_found": noStudy} {
		if r, ok := refuse.As(err); !ok || r.Code != code || r.Kind != refuse.KindNotFound {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	for _, err := range []error{badCursor, otherCursor} {
		if r, ok := refuse.As(err); !ok || r.Code != "malformed_cursor" {
			t.Errorf("got %v", err)
		}
	}
	for _, err := range []error{tooMany, negative} {
		if r, ok := refuse.As(err); !ok || r.Code != "value_out_of_range" {
			t.Errorf("got %v", err)
		}
	}
}

func TestWaitingForAPosition(t *testing.T) {
	database := newDatabase()
	here, elsewhere := connect(t, database), connect(t, database)
	at := func(commit uint64) readmodels.Checkpoint {
		return readmodels.Checkpoint{Collection: patientviews.PatientLists.Collection(), View: patientviews.PatientLists.Name, Version: 1,
			Position: domain.Position{Commit: commit, Prepare: commit}, At: time.Now()}
	}
	if _, err := here.TakeLease(t.Context(), readmodels.Lease{View: patientviews.PatientLists.Name}, "somebody", time.Minute); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if r, ok := refuse.As(here.WaitFor(short, patientviews.PatientLists, 7)); !ok || r.Code != "view_behind" || r.Kind != refuse.KindOverload {
		t.Errorf("got %v", r)
	}
	done := make(chan error, 2)
	for _, s := range []*readmodels.Store{here, elsewhere} {
		go func() { done <- s.WaitFor(t.Context(), patientviews.PatientLists, 7) }()
	}
	for _, commit := range []uint64{3, 7} {
		if err := here.SaveCheckpoint(t.Context(), at(commit)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := elsewhere.WaitFor(t.Context(), patientviews.PatientLists, 5); err != nil {
		t.Error(err)
	}
	all, err := elsewhere.Checkpoints(t.Context())
	if err != nil || len(all) != 1 || all[0].Position.Commit != 7 {
		t.Errorf("checkpoints %+v, %v", all, err)
	}
}

func TestOtherSitesAreTakenOut(t *testing.T) {
	o := studyviews.StudyOverview{Figures: &studyviews.Figures{EnrollmentFigures: studyviews.EnrollmentFigures{Screened: 9}}}
	for _, site := range []domain.SiteID{"3", "1", "2"} {
		o.SiteOf(site).Figures.Screened = 3
	}
	if len(o.Sites) != 3 || o.Sites[0].Site != "1" || o.Sites[2].Site != "3" {
		t.Fatalf("the sites are %+v", o.Sites)
	}
	o.OnlySites([]domain.SiteID{"2"})
	if o.Figures != nil || len(o.Sites) != 1 || o.Sites[0].Site != "2" {
		t.Errorf("left are %+v", o)
	}
}
