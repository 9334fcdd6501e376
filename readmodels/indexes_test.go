package readmodels_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	processviews "casebook/readmodels/process"
	safetyviews "casebook/readmodels/safety"
	supplyviews "casebook/readmodels/supply"
	userviews "casebook/readmodels/user"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// indexed are values for the fields that views are indexed by. Some of what a filter names has to be among them.
func indexed(r *rand.Rand, field string, view readmodels.View) any {
	statuses := map[string][]string{patientviews.PatientLists.Name: texts(patient.Statuses), supplyviews.KitInventories.Name: texts(supply.KitStatuses),
		supplyviews.Shipments.Name: texts(supply.ShipmentStatuses), userviews.UserDirectory.Name: texts(userviews.UserStatuses),
		processviews.ParkedMessages.Name: {"waiting", "retried", "abandoned"}}
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	switch field {
	case "study":
		return "S"
	case "trails", "staffOf":
		return bson.A{"S"}
	case "users":
		return bson.A{one("u1", "u2")}
	case "site", "location", "to", "from", "given.site":
		return one("1", "2", "3")
	case "status":
		return one(statuses[view.Name]...)
	case "patient", "given.patient":
		return one("S.1", "S.2")
	case "order":
		if view.Name == safetyviews.Alerts.Name {
			return r.IntN(6)
		}
		return r.Float64()
	case "level":
		return one("patient", "site")
	case "outcome":
		return one(texts(process.Outcomes)...)
	case "instrument":
		return one("pain-diary", "other")
	case "process":
		return one("enrollment", "resupply", "safety")
	case "type":
		return one("DiarySubmitted", "DiaryCorrected")
	case "opens", "raisedAt", "createdAt", "lastStepAt", "since", "updatedAt", "recordedAt", "lastActivityAt", "lastSignInAt":
		return time.Date(2026, 3, 1, 0, 0, r.IntN(10_000), 0, time.UTC)
	}
	return nil
}

func texts[T ~string](of []T) []string {
	all := make([]string, len(of))
	for i, v := range of {
		all[i] = string(v)
	}
	return all
}

// given are values for the parameters of queries, by their types.
var given = map[reflect.Type][]any{
	reflect.TypeFor[domain.StudyID]():            {domain.StudyID("S")},
	reflect.TypeFor[domain.SiteID]():             {domain.SiteID("1")},
	reflect.TypeFor[domain.PatientID]():          {domain.PatientID("S.1")},
	reflect.TypeFor[domain.UserID]():             {domain.UserID("u1")},
	reflect.TypeFor[supply.LocationID]():         {supply.LocationID("1")},
	reflect.TypeFor[supply.KitNumber]():          {supply.KitNumber("K1")},
	reflect.TypeFor[instrument.ID]():             {instrument.ID("pain-diary")},
	reflect.TypeFor[patient.Status]():            {patient.StatusEnrolled, patient.StatusScreened},
	reflect.TypeFor[supply.KitStatus]():          {supply.KitAvailable},
	reflect.TypeFor[supply.ShipmentStatus]():     {supply.ShipmentPacked},
	reflect.TypeFor[process.Outcome]():           {process.Held, process.UnderWay},
	reflect.TypeFor[safety.Severity]():           {safety.Urgent},
	reflect.TypeFor[safetyviews.AlertStatus]():   {safetyviews.AlertOpen},
	reflect.TypeFor[processviews.ParkedStatus](): {processviews.ParkedWaiting},
	reflect.TypeFor[diaryviews.DiaryEnd]():       {diaryviews.DiaryAnswered, diaryviews.DiaryLate, diaryviews.DiaryMissed},
	reflect.TypeFor[userviews.UserStatus]():      {userviews.UserLocked},
	reflect.TypeFor[user.Role]():                 {user.CRC},
	reflect.TypeFor[string]():                    {"enrollment"},
	reflect.TypeFor[float64]():                   {0.5},
	reflect.TypeFor[uint64]():                    {uint64(77)},
	reflect.TypeFor[time.Time]():                 {time.Date(2026, 3, 1, 2, 30, 0, 0, time.UTC)},
	reflect.TypeFor[[]domain.StudyID]():          {[]domain.StudyID{"S"}},
	reflect.TypeFor[[]domain.SiteID]():           {[]domain.SiteID(nil), []domain.SiteID{"1", "2"}},
	reflect.TypeFor[[]supply.LocationID]():       {[]supply.LocationID(nil), []supply.LocationID{"1", "2"}},
	reflect.TypeFor[[]safety.Kind]():             {[]safety.Kind{safety.RiskFlagged}, []safety.Kind{safety.ResupplyShort, safety.KitsAffected}},
	reflect.TypeFor[[]string]():                  {[]string{"enrollment", "DiarySubmitted"}, []string{"resupply", "safety", "DiarySubmitted", "DiaryCorrected"}},
}

// argument draws a value for a parameter of a query; the fields of a filter may be left empty.
func argument(t *testing.T, r *rand.Rand, of reflect.Type) reflect.Value {
	t.Helper()
	if values := given[of]; values != nil {
		return reflect.ValueOf(values[r.IntN(len(values))])
	}
	if of.Kind() != reflect.Struct {
		t.Fatalf("give values for a %v", of)
	}
	filter := reflect.New(of).Elem()
	for i := range of.NumField() {
		if r.IntN(2) == 0 {
			filter.Field(i).Set(argument(t, r, of.Field(i).Type))
			if f := of.Field(i); f.Name == "From" && f.Type == reflect.TypeFor[time.Time]() { // before what lists are asked up to
				filter.Field(i).Set(reflect.ValueOf(time.Date(2026, 3, 1, 0, 0, 5, 0, time.UTC)))
			}
		}
	}
	return filter
}

// aQuery says whether a method of the store asks a view: what it takes is the scope that access is granted in, or a page.
func aQuery(m reflect.Type) bool {
	if m.NumIn() < 2 {
		return false
	}
	switch m.In(1) {
	case reflect.TypeFor[domain.StudyID](), reflect.TypeFor[domain.PatientID](), reflect.TypeFor[[]domain.StudyID]():
		return true
	}
	return m.In(m.NumIn()-1) == reflect.TypeFor[readmodels.Page]()
}

// TestEveryQueryUsesAnIndex calls every query of the store with filters, orders and pages of all kinds, and has the store
// explain what was sent to it. Views are large enough that it would show.
func TestEveryQueryUsesAnIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same on every run
	var mu sync.Mutex
	var sent []bson.Raw
	views := map[string]bool{}
	for _, v := range contexts.Views() {
		views[v.Collection()] = true
	}
	database := newDatabase()
	s := connect(t, database, options.Client().SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if collection, ok := e.Command.Lookup(e.CommandName).StringValueOK(); ok && views[collection] {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, append(bson.Raw{}, e.Command...))
		}
	}}))
	fill(t, s, r)
	sent = nil
	client, err := driver.Connect(options.Client().ApplyURI(mongoURL))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	store, explained := reflect.ValueOf(s), map[string]bool{}
	for i := range store.NumMethod() {
		name, query := store.Type().Method(i).Name, store.Method(i)
		if !aQuery(query.Type()) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			asked := 0
			for range 150 {
				sent = nil
				ask(t, r, query)
				for _, command := range sent {
					if seen := string(shape(command)); explained[seen] {
						continue
					} else {
						explained[seen] = true
					}
					asked++
					if why := badPlan(t, client.Database(database), command); why != "" {
						t.Errorf("%s\n%s", why, command)
					}
				}
			}
			if asked == 0 {
				t.Error("it has asked nothing that others have not")
			}
		})
	}
	if len(explained) < 100 {
		t.Errorf("only %d different questions were asked", len(explained))
	}
}

// ask calls a query with drawn arguments; of a list it takes two pages.
func ask(t *testing.T, r *rand.Rand, query reflect.Value) {
	t.Helper()
	arguments := []reflect.Value{reflect.ValueOf(t.Context())}
	var page *readmodels.Page
	for i := 1; i < query.Type().NumIn(); i++ {
		if query.Type().In(i) != reflect.TypeFor[readmodels.Page]() {
			arguments = append(arguments, argument(t, r, query.Type().In(i)))
			continue
		}
		page = &readmodels.Page{Limit: 1 + r.IntN(5)}
		if orders := orders[query.Type().Out(0)]; len(orders) > 0 {
			page.Sort = orders[r.IntN(len(orders))]
		}
		arguments = append(arguments, reflect.ValueOf(*page))
	}
	answers := query.Call(arguments)
	if page == nil {
		return
	}
	if err, _ := answers[1].Interface().(error); err != nil && !strings.Contains(err.Error(), "log positions are given") {
		t.Fatal(err)
	}
	if page.Cursor = answers[0].FieldByName("Next").String(); page.Cursor != "" {
		arguments[len(arguments)-1] = reflect.ValueOf(*page)
		if err, _ := query.Call(arguments)[1].Interface().(error); err != nil {
			t.Fatal(err)
		}
	}
}

// orders are those of each list.
var orders = map[reflect.Type][]string{
	reflect.TypeFor[readmodels.List[patientviews.PatientRow]]():    patientviews.PatientSorts,
	reflect.TypeFor[readmodels.List[diaryviews.Diary]]():           diaryviews.DiarySorts,
	reflect.TypeFor[readmodels.List[diaryviews.DiaryCompliance]](): diaryviews.ComplianceSorts,
	reflect.TypeFor[readmodels.List[processviews.Process]]():       processviews.ProcessSorts,
	reflect.TypeFor[readmodels.List[processviews.ParkedMessage]](): processviews.ParkedSorts,
	reflect.TypeFor[readmodels.List[safetyviews.Alert]]():          safetyviews.AlertSorts,
	reflect.TypeFor[readmodels.List[supplyviews.KitRow]]():         supplyviews.KitSorts,
	reflect.TypeFor[readmodels.List[supplyviews.Shipment]]():       supplyviews.ShipmentSorts,
	reflect.TypeFor[readmodels.List[auditviews.AuditEvent]]():      auditviews.AuditSorts,
	reflect.TypeFor[readmodels.List[userviews.User]]():             userviews.UserSorts,
}

// fill gives each view documents with the fields that it is indexed by.
func fill(t *testing.T, s *readmodels.Store, r *rand.Rand) {
	t.Helper()
	for _, v := range contexts.Views() {
		fields := map[string]bool{}
		for _, x := range v.Indexes {
			for _, key := range x.Keys.(bson.D) {
				fields[key.Key] = true
			}
		}
		var documents []any
		for n := range 3000 {
			d := bson.M{"_id": fmt.Sprintf("S.%06d", n), "_position": int64(1)}
			for field := range fields {
				value := indexed(r, field, v)
				switch outer, inner, nested := strings.Cut(field, "."); {
				case field == "_id":
				case value == nil:
					t.Fatalf("say what %s of %s can be", field, v.Name)
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

// badPlan says what is wrong with how the store answers a command: it looks at a whole collection, or sorts what it found.
// That the groups of an aggregation are sorted is not wrong; there are as many as it has answers.
func badPlan(t *testing.T, db *driver.Database, command bson.Raw) string {
	t.Helper()
	var plan bson.Raw
	if err := db.RunCommand(t.Context(), bson.D{{Key: "explain", Value: bson.Raw(shape(command))}, {Key: "verbosity", Value: "queryPlanner"}}).Decode(&plan); err != nil {
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
	return ""
}
