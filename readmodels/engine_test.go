package readmodels_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
)

// seen is what a query's function is given.
type seen struct {
	Sites []domain.SiteID
	Whole bool
	Knows bool
}

func look(study domain.StudyID, site domain.SiteID, r readmodels.Request) (seen, error) {
	return seen{r.Sites, r.WholeStudy, r.MayKnowPatients(study, site)}, nil
}

type inStudy struct {
	Study domain.StudyID `path:"study"`
}

type atSite struct {
	Study domain.StudyID `path:"study"`
	To    domain.SiteID  `query:"to"`
	From  domain.SiteID  `query:"from"`
}

type ofPatient struct {
	Patient domain.PatientID `path:"patient"`
}

// declared has a query of each reach.
var declared = []readmodels.Query{
	readmodels.Declare(readmodels.Query{Name: "Self", Reach: readmodels.ReachSelf},
		func(_ context.Context, r readmodels.Request, _ struct{}) (seen, error) { return look("", "", r) }),
	readmodels.Declare(readmodels.Query{Name: "Anywhere", Reach: readmodels.ReachAnywhere, OpenTo: access.To(access.Admins, access.Auditors)},
		func(_ context.Context, r readmodels.Request, _ struct{}) (seen, error) { return look("", "", r) }),
	readmodels.Declare(readmodels.Query{Name: "Study", Reach: readmodels.ReachStudy, OpenTo: access.StudyMembers,
		Within: []string{"to", "from"}},
		func(_ context.Context, r readmodels.Request, q atSite) (seen, error) { return look(q.Study, q.To, r) }),
	readmodels.Declare(readmodels.Query{Name: "Sites", Reach: readmodels.ReachSites, OpenTo: access.StudyMembers},
		func(ctx context.Context, r readmodels.Request, q inStudy) (seen, error) {
			if err := r.MustSee(ctx, q.Study, "01"); err != nil {
				return seen{}, err
			}
			return look(q.Study, "01", r)
		}),
	readmodels.Declare(readmodels.Query{Name: "Patient", Reach: readmodels.ReachPatient, OpenTo: access.To(access.ClinicalReaders,
		access.ThePatient)},
		func(_ context.Context, r readmodels.Request, q ofPatient) (seen, error) {
			return look(q.Patient.Study(), "01", r)
		}),
}

// TestTheEngineAnswersThoseToWhomAQueryIsOpen and records whom it refuses, with what they wanted to see.
func TestTheEngineAnswersThoseToWhomAQueryIsOpen(t *testing.T) {
	var recorded []access.Refused
	engine := readmodels.NewEngine(readmodels.EngineOptions{Queries: declared,
		ScopeOf: func(_ context.Context, id domain.PatientID) (domain.Scope, error) {
			if id != "S.1" {
				return domain.Scope{Study: id.Study()}, refuse.NotFound("patient_not_found", "there is no patient %s", id)
			}
			return domain.Scope{Study: "S", Site: "01", Patient: id}, nil
		},
		RecordRefusal: func(_ context.Context, r access.Refused) { recorded = append(recorded, r) }})
	manager, monitor := user.Grant{Role: user.DataManager, Study: "S"}, user.Grant{Role: user.Monitor, Study: "S", Site: "01"}
	second, supplier := user.Grant{Role: user.Monitor, Study: "S", Site: "02"}, user.Grant{Role: user.SupplyManager, Study: "S"}
	self := user.Grant{Role: user.PatientRole, Study: "S", Patient: "S.1"}
	stranger, admin := user.Grant{Role: user.Auditor, Study: "T"}, user.Grant{Role: user.Admin}
	scope := func(site domain.SiteID) domain.Scope { return domain.Scope{Study: "S", Site: site} }
	for _, c := range []struct {
		query  string
		path   string
		given  string // of the parameter to, and then of from
		grants []user.Grant
		want   seen
		code   string
		about  domain.Scope // of the refusal that is recorded
	}{
		{query: "Self"}, {query: "Self", grants: []user.Grant{manager}},
		{query: "Anywhere", grants: []user.Grant{admin}}, {query: "Anywhere", grants: []user.Grant{manager, stranger}},
		{query: "Anywhere", grants: []user.Grant{manager}, code: "not_allowed"}, {query: "Anywhere", code: "not_allowed"},
		{query: "Study", path: "S", grants: []user.Grant{manager}, want: seen{Whole: true, Knows: true}},
		{query: "Study", path: "S", grants: []user.Grant{supplier}, want: seen{Whole: true}},
		{query: "Study", path: "S", grants: []user.Grant{monitor}, code: "value_missing"}, // nothing was attempted
		{query: "Study", path: "S", given: "01", grants: []user.Grant{monitor}, want: seen{Knows: true}},
		{query: "Study", path: "S", given: "02 01", grants: []user.Grant{monitor}, want: seen{}},
		{query: "Study", path: "S", given: "02", grants: []user.Grant{monitor}, code: "not_allowed", about: scope("02")},
		{query: "Study", path: "S", given: "02 03", grants: []user.Grant{monitor}, code: "not_allowed", about: scope("03")},
		{query: "Study", path: "S", grants: []user.Grant{stranger, admin, self}, code: "not_allowed", about: scope("")},
		{query: "Sites", path: "S", grants: []user.Grant{manager}, want: seen{Whole: true, Knows: true}},
		{query: "Sites", path: "S", grants: []user.Grant{monitor, second}, want: seen{Sites: []domain.SiteID{"01", "02"}, Knows: true}},
		{query: "Sites", path: "S", grants: []user.Grant{second}, code: "not_allowed", about: scope("01")}, // by the answer's function
		{query: "Sites", path: "S", grants: []user.Grant{stranger}, code: "not_allowed", about: scope("")},
		{query: "Patient", path: "S.1", grants: []user.Grant{self}}, {query: "Patient", path: "S.1", grants: []user.Grant{monitor},
			want: seen{Knows: true}},
		{query: "Patient", path: "S.1", grants: []user.Grant{second}, code: "not_allowed", about: domain.Scope{Study: "S", Site: "01",
			Patient: "S.1"}},
		{query: "Patient", path: "S.2", grants: []user.Grant{second}, code: "not_allowed", about: domain.Scope{Study: "S", Patient: "S.2"}},
		{query: "Patient", path: "S.2", grants: []user.Grant{manager}, code: "patient_not_found",
			about: domain.Scope{Study: "S", Patient: "S.2"}},
		{query: "Patient", path: "S.2", grants: []user.Grant{stranger}, code: "not_allowed", about: domain.Scope{Study: "S", Patient: "S.2"}},
		{query: "Nothing", code: "query_not_found"},
	} {
		recorded = nil
		question := readmodels.Question{Query: c.query, Path: map[string]string{"study": c.path, "patient": c.path}, Given: map[string][]string{},
			Caller: readmodels.Caller{Principal: access.Principal{User: "somebody", Grants: c.grants}, Address: "192.0.2.1", TraceID: "trace"}}
		var to, from string
		_, _ = fmt.Sscan(c.given, &to, &from)
		for name, value := range map[string]string{"to": to, "from": from} {
			if value != "" {
				question.Given[name] = []string{value}
			}
		}
		got, err := engine.Answer(t.Context(), question)
		if c.code == "" {
			answer, _ := got.(seen)
			if err != nil || !slices.Equal(answer.Sites, c.want.Sites) || answer.Whole != c.want.Whole || answer.Knows != c.want.Knows ||
				len(recorded) > 0 {
				t.Errorf("%+v: got %+v, %v; recorded are %+v", c, got, err, recorded)
			}
			continue
		}
		if r, ok := refuse.As(err); !ok || r.Code != c.code {
			t.Errorf("%+v: got %+v, %v", c, got, err)
		}
		if c.code != "not_allowed" && c.about == (domain.Scope{}) {
			if len(recorded) > 0 {
				t.Errorf("%+v: recorded are %+v", c, recorded)
			}
			continue
		}
		want := access.Refused{User: "somebody", Action: c.query, Scope: c.about, Address: "192.0.2.1", TraceID: "trace", Why: err}
		if len(recorded) != 1 || recorded[0] != want {
			t.Errorf("%+v: recorded are %+v", c, recorded)
		}
	}
}

// TestACallerAtASiteIsToldHowToAsk for it, where the study as a whole is refused.
func TestACallerAtASiteIsToldHowToAsk(t *testing.T) {
	engine := readmodels.NewEngine(readmodels.EngineOptions{Queries: declared})
	monitor := access.Principal{User: "monitor", Grants: []user.Grant{{Role: user.Monitor, Study: "S", Site: "01"}}}
	_, err := engine.Answer(t.Context(), readmodels.Question{Query: "Study", Caller: readmodels.Caller{Principal: monitor},
		Path: map[string]string{"study": "S"}})
	const remedy = "ask with ?to=01 or ?from=01"
	if r, ok := refuse.As(err); !ok || r.Code != "value_missing" || r.Kind != refuse.KindMalformed || r.Field != "to" || r.Remedy != remedy {
		t.Errorf("got %v", err)
	}
	for n := range 11 {
		monitor.Grants = append(monitor.Grants, user.Grant{Role: user.Monitor, Study: "S", Site: domain.SiteID(fmt.Sprintf("1%02d", n))})
	}
	_, err = engine.Answer(t.Context(), readmodels.Question{Query: "Study", Caller: readmodels.Caller{Principal: monitor},
		Path: map[string]string{"study": "S"}})
	if r, ok := refuse.As(err); !ok || r.Remedy != "name one of your sites with to or from" {
		t.Errorf("of many sites: got %v", err)
	}
}

// TestAPositionBehindTheEndOfTheLogHasNoPast, and the present is not shown in its place.
func TestAPositionBehindTheEndOfTheLogHasNoPast(t *testing.T) {
	type then struct {
		AsOf readmodels.Moment `query:"asOf"`
	}
	past := readmodels.Declare(readmodels.Query{Name: "Past", Reach: readmodels.ReachSelf},
		func(context.Context, readmodels.Request, then) (seen, error) { return seen{}, nil })
	engine := readmodels.NewEngine(readmodels.EngineOptions{Queries: []readmodels.Query{past},
		End: func(context.Context) (uint64, error) { return 70, nil }})
	for position, want := range map[string]string{"69": "", "70": "", "71": "as_of_in_future", "2099-01-01T00:00:00Z": "as_of_in_future"} {
		_, err := engine.Answer(t.Context(), readmodels.Question{Query: "Past", Given: map[string][]string{"asOf": {position}}})
		r, refused := refuse.As(err)
		switch {
		case want == "" && err != nil, want != "" && (!refused || r.Code != want || r.Field != "asOf"):
			t.Errorf("as of %s: got %v, want %q", position, err, want)
		case position == "71" && r.Sentence != "asOf is position 71, and the log ends at 70":
			t.Errorf("as of %s: got %v", position, err)
		}
	}
}

// TestAPositionIsWaitedForWithinBounds of time, and of callers who wait.
func TestAPositionIsWaitedForWithinBounds(t *testing.T) {
	s := connect(t, newDatabase())
	manager := access.Principal{User: "manager", Grants: []user.Grant{{Role: user.DataManager, Study: "S"}}}
	ask := func(e *readmodels.Engine, position uint64) string {
		_, err := e.Answer(t.Context(), readmodels.Question{Query: "Patients", Caller: readmodels.Caller{Principal: manager},
			Path: map[string]string{"study": "S"}, Position: position})
		if r, ok := refuse.As(err); ok {
			return r.Code
		}
		if err != nil {
			t.Error(err)
		}
		return ""
	}
	engine := readmodels.NewEngine(readmodels.EngineOptions{Store: s, Queries: contexts.Queries(), PositionTimeout: 50 * time.Millisecond,
		Waiting: 1})
	// A view that is built for the first time does not show all that there is, so it shows nothing.
	begun := readmodels.Checkpoint{Collection: patientviews.PatientLists.Collection(), View: patientviews.PatientLists.Name,
		Position: domain.Position{Commit: 9}, State: readmodels.CatchingUp}
	caughtUp := begun
	caughtUp.State = readmodels.Live
	goesOn := caughtUp.Begun() // as after a restart
	for at, want := range []string{"view_building", "view_building", "", ""} {
		if at > 0 {
			if err := s.SaveCheckpoint(t.Context(), []readmodels.Checkpoint{begun, caughtUp, goesOn}[at-1]); err != nil {
				t.Fatal(err)
			}
		}
		if got := ask(engine, 0); got != want {
			t.Errorf("at checkpoint %d: got %q, want %q", at, got, want)
		}
	}
	if got := ask(engine, 10); got != "view_not_kept" {
		t.Errorf("where nobody keeps the view: got %q", got)
	}
	if not := engine.NotKept(t.Context(), "Patients"); !slices.Equal(not, []string{patientviews.PatientLists.Name}) {
		t.Errorf("%q are not kept", not)
	}
	lease, err := s.TakeLease(t.Context(), readmodels.Lease{View: patientviews.PatientLists.Name}, "somebody", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); len(engine.NotKept(t.Context(), "Patients")) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("the view is not kept by %+v", lease)
		}
	}
	for position, want := range map[uint64]string{0: "", 9: "", 10: "view_behind"} {
		if got := ask(engine, position); got != want {
			t.Errorf("position %d: got %q, want %q", position, got, want)
		}
	}
	codes := make(chan string)
	for range 20 {
		go func() { codes <- ask(engine, 1<<40) }()
	}
	count := map[string]int{}
	for range 20 {
		count[<-codes]++
	}
	if count["overloaded"] == 0 || count["view_behind"] == 0 || count["overloaded"]+count["view_behind"] != 20 {
		t.Errorf("of twenty at once are answered %v", count)
	}
}

// TestThePastIsRefusedWhereItCannotBeFolded rather than answered with the present.
func TestThePastIsRefusedWhereItCannotBeFolded(t *testing.T) {
	r := everything(connect(t, newDatabase()))
	_, err := patientviews.LoadPatientView(t.Context(), r, patientviews.PatientQuery{Patient: "S.1", AsOf: readmodels.Moment{Position: 7}})
	if refusal, ok := refuse.As(err); !ok || refusal.Code != "no_past" {
		t.Errorf("got %v", err)
	}
}

// TestADeclarationThatCannotBeAnsweredIsNone: it is found when the program starts.
func TestADeclarationThatCannotBeAnsweredIsNone(t *testing.T) {
	type odd struct {
		Study domain.StudyID `path:"study"`
		Part  []int          `query:"part"`
	}
	for name, declare := range map[string]func(){
		"a study that no parameter names": func() {
			readmodels.Declare(readmodels.Query{Reach: readmodels.ReachStudy}, func(context.Context, readmodels.Request, struct{}) (seen,
				error) {
				return seen{}, nil
			})
		},
		"a site that no parameter names": func() {
			readmodels.Declare(readmodels.Query{Reach: readmodels.ReachStudy, Within: []string{"location"}},
				func(context.Context, readmodels.Request, inStudy) (seen, error) { return seen{}, nil })
		},
		"a parameter of no known type": func() {
			readmodels.Declare(readmodels.Query{Reach: readmodels.ReachStudy}, func(context.Context, readmodels.Request, odd) (seen,
				error) {
				return seen{}, nil
			})
		},
		"orders without pages": func() {
			readmodels.Declare(readmodels.Query{Reach: readmodels.ReachSelf, Sort: readmodels.Sorting{Names: []string{"a"}}},
				func(context.Context, readmodels.Request, struct{}) (seen, error) { return seen{}, nil })
		},
		"no reach": func() {
			readmodels.Declare(readmodels.Query{}, func(context.Context, readmodels.Request, struct{}) (seen, error) { return seen{}, nil })
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is taken", name)
				}
			}()
			declare()
		}()
	}
}
