package readmodels_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// lookedAt lists the parameters that no index finds, by query: they are looked at in each document that the others find.
// Some are so only beside one of the parameters that are named with them. It is so for all of a query without any.
var lookedAt = map[string]map[string][]string{
	"Alerts":     {"kind": nil, "patient": nil}, // which of those of a patient
	"Deviations": {"what": nil, "only": nil, "site": {"patient", "asOf"}, "asOf": nil, "status": {"asOf"}},
	// Strata that have few entries, or had them, and the patients of a study.
	"EndingLists":      {"asOf": nil, "stage": nil},
	"DosingCompliance": {"asOf": nil, "site": {"asOf", "patient"}},
	"PatientDiaries":   {"only": nil},
	"MyDiaries":        {"only": nil},
	"HeldDiaries":      {"why": nil, "site": {"patient"}}, // few diaries of a site or a patient are held
	"StudyDiaries":     {"instrument": nil},
	"DiaryCorrections": {"site": {"patient"}},
	// Two patients at most have one number.
	"Patients":   {"treatment": nil, "phase": nil, "endCode": nil, "site": {"number"}, "status": {"number"}},
	"Reconsents": {"asOf": nil, "state": {"asOf"}, "dueBefore": {"asOf", "state"}},
	"Processes":  {"process": {"site", "sort", "patient"}, "stage": nil, "site": {"patient"}}, // a patient has few runs
	"StudyUsers": {"role": nil},
	"Users":      {"role": nil},
	"WithoutKit": {}, // the kind of the alerts
	"Shipments":  {"from": {"to"}, "onTheWaySince": nil},
	// What all of a study's kits, or those of its patients, were.
	"Kits":                    {"asOf": nil, "patient": nil}, // which of those that were a patient's
	"Reconciliation":          {"asOf": nil},
	"Accountability":          {"asOf": nil},
	"AccountabilityByPatient": {"asOf": nil},
	// The patients of a site; few kits are recalled while patients have them.
	"RecalledKits": {"action": nil, "site": nil, "asOf": nil},
	// A study has a few dozen of them.
	"ShippingApprovals": {"asOf": nil, "status": nil, "country": {"site"}, "site": {"country"}},
	"SiteDashboard":     {}, // which of a site's processes are enrolments
	"StudyTrail":        {}, // one filter has an index, and the store chooses which
	"AccountTrail":      {},
	"StudyAccountTrail": {},
}

// TestEveryQueryUsesAnIndex asks every declared query, by all kinds of callers and with filters, orders and pages of all
// kinds, and has the store explain what was sent to it: it must not look at a whole collection, nor sort what it found, and
// not at many more documents than it answers with. Views are large enough that it would show.
func TestEveryQueryUsesAnIndex(t *testing.T) {
	if raceEnabled {
		t.Skip("it does one thing at a time, and the race detector makes it five times as long: test/all runs it without")
	}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same on every run
	var mu sync.Mutex
	var sent []bson.Raw
	views := map[string]bool{}
	for _, v := range contexts.Views() {
		views[v.Collection()] = true
	}
	database := newDatabase()
	s := connect(t, database, options.Client().SetMonitor(&event.CommandMonitor{Started: func(_ context.Context,
		e *event.CommandStartedEvent) {
		if collection, ok := e.Command.Lookup(e.CommandName).StringValueOK(); ok && views[collection] {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, append(bson.Raw{}, e.Command...))
		}
	}}))
	fill(t, s, r)
	for _, v := range contexts.Views() {
		if err := s.SaveCheckpoint(t.Context(), readmodels.Checkpoint{Collection: v.Collection(), View: v.Name, Version: v.Version,
			State: readmodels.Live}); err != nil {
			t.Fatal(err)
		}
	}
	client, err := driver.Connect(options.Client().ApplyURI(mongoURL))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	engine := readmodels.NewEngine(readmodels.EngineOptions{Store: s, Queries: contexts.Queries(),
		ScopeOf: func(_ context.Context, id domain.PatientID) (domain.Scope, error) {
			return domain.Scope{Study: id.Study(), Site: "DE-01", Patient: id}, nil
		}})
	explained := map[string]bool{}
	declared := map[string]bool{}
	for _, q := range contexts.Queries() {
		declared[q.Name] = true
		for _, p := range q.Parameters {
			declared[q.Name+"."+p.Name] = true
		}
	}
	for query, parameters := range lookedAt {
		for name := range parameters {
			if !declared[query+"."+name] {
				t.Errorf("lookedAt names the parameter %s of %s, which does not exist: remove it", name, query)
			}
		}
		if !declared[query] {
			t.Errorf("lookedAt names the query %s, which does not exist: remove it", query)
		}
	}
	for _, q := range contexts.Queries() {
		if len(q.Views) == 0 {
			continue
		}
		t.Run(q.Name, func(t *testing.T) {
			answered, different := 0, 0
			for n := range 70 {
				sent = nil
				question := drawnQuestion(t, r, q, callers[n%len(callers)])
				next, ok := ask(t, engine, question)
				if ok {
					answered++
				}
				first := len(sent)
				if next != "" {
					question.Given["cursor"] = []string{next}
					ask(t, engine, question)
				}
				for i, command := range sent {
					if seen := string(shape(command)); explained[seen] {
						continue
					} else {
						explained[seen] = true
					}
					different++
					if why := badPlan(t, client.Database(database), command, i < first && allFound(question)); why != "" {
						t.Errorf("%s\n%s", why, command)
					}
				}
			}
			// SiteClosing counts as the dashboard does, PatientVisits reads the patient too, and MyDiaries asks as PatientDiaries does.
			if answered == 0 || different == 0 && !slices.Contains([]string{"SiteClosing", "Patient", "MyDiaries"}, q.Name) {
				t.Errorf("it was answered %d times, with %d commands that no other query has sent", answered, different)
			}
		})
	}
	if len(explained) < 100 {
		t.Errorf("only %d different commands were explained", len(explained))
	}
}

// callers see the study as a whole, single sites, or what is about supply.
var callers = [][]user.Grant{
	{{Role: user.DataManager, Study: "PAIN1"}},
	{{Role: user.Auditor, Study: "PAIN1"}, {Role: user.Auditor, Study: "OTHER"}},
	{{Role: user.CRC, Study: "PAIN1", Site: "DE-01"}},
	{{Role: user.Monitor, Study: "PAIN1", Site: "DE-01"}, {Role: user.Monitor, Study: "PAIN1", Site: "DE-02"}},
	{{Role: user.SupplyManager, Study: "PAIN1"}},
	{{Role: user.Statistician, Study: "PAIN1"}},
	{{Role: user.Admin}},
	{{Role: user.PatientRole, Study: "PAIN1", Patient: "PAIN1.S-0001"}},
}

// drawnQuestion asks for the first page with some of the parameters.
func drawnQuestion(t *testing.T, r *rand.Rand, q readmodels.Query, grants []user.Grant) readmodels.Question {
	question := readmodels.Question{Query: q.Name, Path: map[string]string{}, Given: map[string][]string{},
		Caller: readmodels.Caller{Principal: access.Principal{User: "somebody", Grants: grants}}}
	for _, p := range q.Parameters {
		switch {
		case p.InPath:
			question.Path[p.Name] = p.Example
		case p.Name == "cursor", p.Example == (readmodels.Moment{}).Schema().Example: // what is folded is not in the store
		case r.IntN(2) == 0:
			question.Given[p.Name] = []string{drawn(t, r, p)}
		}
	}
	return question
}

// ask asks a question. It returns the cursor of the next page, and whether the store was asked.
func ask(t *testing.T, engine *readmodels.Engine, question readmodels.Question) (next string, ok bool) {
	t.Helper()
	answer, err := engine.Answer(t.Context(), question)
	if refusal, refused := refuse.As(err); refused {
		switch {
		case refusal.Kind == refuse.KindNotFound:
			return "", true
		case refusal.Kind == refuse.KindForbidden, refusal.Code == "positions_out_of_order", refusal.Code == "value_missing":
			return "", false
		}
	}
	if err != nil {
		t.Fatalf("%+v: %v", question, err)
	}
	if field := reflect.ValueOf(answer).FieldByName("Next"); field.IsValid() {
		next = field.String()
	}
	return next, true
}

// allFound says whether an index finds all that a question asks for.
func allFound(question readmodels.Question) bool {
	looked, some := lookedAt[question.Query]
	if !some {
		return true
	}
	given := func(name string) bool { return question.Given[name] != nil }
	for name, beside := range looked {
		if given(name) && (beside == nil || slices.ContainsFunc(beside, given)) {
			return false
		}
	}
	return len(looked) > 0 && question.Caller.Grants[0].Role != user.SupplyManager // whose lists are narrowed by kind or process
}

// drawn is a value that a parameter can have.
func drawn(t *testing.T, r *rand.Rand, p readmodels.Parameter) string {
	switch {
	case len(p.Enum) > 0:
		return p.Enum[r.IntN(len(p.Enum))]
	case p.Max > 0:
		return strconv.Itoa(p.Min + r.IntN(5))
	case p.Name == "to" && strings.HasSuffix(p.Example, "Z"): // behind what lists begin with
		return "2026-03-01T02:30:00Z"
	}
	if p.Example == "" {
		t.Fatalf("the parameter %s needs an example: add the tag example to its field", p.Name)
	}
	several := strings.Split(p.Example, ",")
	return strings.Join(several[:1+r.IntN(len(several))], ",")
}

// stored is a value for a field that a view is indexed by: one that a query of the view filters by, where there is one.
func stored(r *rand.Rand, field string, view readmodels.View) any {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	switch field {
	case "staffOf":
		return one("PAIN1", "OTHER", "THIRD")
	case "numbers":
		return one("S-0001", "S-0002", "S-0003")
	case "trails":
		return one("PAIN1", "") // the other is the trail of accounts
	case "of":
		return fmt.Sprintf("PAIN1.S-%04d", 1+r.IntN(1000))
	case "process":
		return one("enrollment", "resupply", "safety")
	case "version", "build":
		return 1 + r.IntN(5)
	case "by":
		return fmt.Sprintf("2026-03-%02d", 1+r.IntN(28))
	case "users":
		return one("nurse.one", "nurse.two")
	case "few", "enrolled", "several":
		return r.IntN(2) == 0
	case "level":
		return one("patient", "site")
	case "order":
		if slices.ContainsFunc(view.Indexes, func(x driver.IndexModel) bool { return slices.Contains(fieldsOf(x), "raisedAt") }) {
			return r.IntN(12)
		}
		return r.Float64()
	case "recalled", "wasRecalled":
		return r.IntN(2) == 0
	case "given.patient":
		return one("PAIN1.S-0001", "PAIN1.S-0002")
	case "site", "given.site", "place":
		return one("DE-01", "DE-02", "DE-03")
	case "opens", "raisedAt", "createdAt", "lastStepAt", "since", "updatedAt", "recordedAt", "lastActivityAt", "lastSignInAt", "askedAt":
		return time.Date(2026, 3, 1, 0, 0, r.IntN(10_000), 0, time.UTC)
	}
	for _, q := range contexts.Queries() {
		if !slices.ContainsFunc(q.Views, func(v readmodels.View) bool { return v.Name == view.Name }) {
			continue
		}
		for _, p := range q.Parameters {
			switch {
			case p.Name != field:
			case len(p.Enum) > 0:
				return one(p.Enum...)
			case field == "study":
				return p.Example
			default:
				first, _, _ := strings.Cut(p.Example, ",")
				return one(first, first+"-2", first+"-3")
			}
		}
	}
	return nil
}

func fieldsOf(x driver.IndexModel) (fields []string) {
	keys, _ := x.Keys.(bson.D)
	for _, key := range keys {
		fields = append(fields, key.Key)
	}
	return fields
}

// listsOf says which fields of a view's documents are lists.
func listsOf(v readmodels.View) map[string]bool {
	lists := map[string]bool{}
	for _, p := range contexts.Projections() {
		if p.View.Name != v.Name {
			continue
		}
		for _, field := range reflect.VisibleFields(reflect.TypeOf(p.Blank("")).Elem()) {
			name, _, _ := strings.Cut(field.Tag.Get("bson"), ",")
			if field.Type.Kind() == reflect.Slice {
				lists[name] = true
			}
		}
	}
	return lists
}

// fill gives each view documents with the fields that it is indexed by.
func fill(t *testing.T, s *readmodels.Store, r *rand.Rand) {
	t.Helper()
	for _, v := range contexts.Views() {
		var fields []string
		for _, x := range v.Indexes {
			fields = append(fields, fieldsOf(x)...)
		}
		slices.Sort(fields)
		fields = slices.Compact(fields)
		lists := listsOf(v)
		var documents []any
		for n := range 3000 {
			d := bson.M{"_id": fmt.Sprintf("PAIN1.%06d", n), "_position": int64(1)}
			for _, field := range fields {
				if field == "_id" {
					continue
				}
				value := stored(r, field, v)
				outer, inner, nested := strings.Cut(field, ".")
				switch {
				case value == nil:
					t.Fatalf("add a case to the function stored: what can %s of %s be?", field, v.Name)
				case lists[field]:
					d[field] = bson.A{value}
				case nested && d[outer] == nil:
					d[outer] = bson.M{inner: value}
				case nested:
					d[outer].(bson.M)[inner] = value
				default:
					d[field] = value
				}
			}
			documents = append(documents, d)
		}
		put(t, s, v, documents...)
	}
}

// shape is a command without what differs from call to call.
func shape(command bson.Raw) []byte {
	var d bson.D
	if bson.Unmarshal(command, &d) != nil {
		return command
	}
	kept := bson.D{}
	for _, e := range d {
		switch e.Key {
		case "lsid", "$clusterTime", "maxTimeMS", "$db", "limit":
		default:
			kept = append(kept, e)
		}
	}
	raw, err := bson.Marshal(kept)
	if err != nil {
		return command
	}
	return raw
}

// badPlan says what is wrong with how the store answers a command: it looks at a whole collection, sorts what it found, or,
// where an index finds all that was asked for, looks at many documents that it does not answer with. That the groups of an
// aggregation are sorted is not wrong; there are as many as it has answers.
func badPlan(t *testing.T, db *driver.Database, command bson.Raw, allFound bool) string {
	t.Helper()
	var plan bson.Raw
	explain := bson.D{{Key: "explain", Value: bson.Raw(shape(command))}, {Key: "verbosity", Value: "executionStats"}}
	if err := db.RunCommand(t.Context(), explain).Decode(&plan); err != nil {
		t.Fatalf("%v\n%s", err, command)
	}
	text, err := bson.MarshalExtJSON(plan, false, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"COLLSCAN", "SORT"} {
		if strings.Contains(string(text), `"stage":"`+stage+`"`) {
			return stage + ": " + string(text)
		}
	}
	if !strings.Contains(string(text), `"stage":"IXSCAN"`) && !strings.Contains(string(text), `"stage":"IDHACK"`) {
		return "no index: " + string(text)
	}
	var stats struct {
		ExecutionStats struct{ NReturned, TotalDocsExamined int } `bson:"executionStats"`
	}
	if err := bson.Unmarshal(plan, &stats); err != nil {
		t.Fatal(err)
	}
	found, looked := stats.ExecutionStats.NReturned, stats.ExecutionStats.TotalDocsExamined
	if _, find := command.Lookup("find").StringValueOK(); find && allFound && looked > found+found/2+10 {
		return fmt.Sprintf("%d documents looked at for %d found: give the filters an index, or name them in lookedAt: %s",
			looked, found, text)
	}
	return ""
}
