package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/api"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/notify"
	safetyprocesses "casebook/sagas/safety"
	"casebook/simulation"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// armIDs are the arms of the simulated study.
var armIDs = []string{"RLV-7Q4", "PLC-2K9"}

// unblindedUsers are the users of the simulation who may know arms.
var unblindedUsers = []domain.UserID{"statistician", "supply.unblinded"}

// recorder is a proxy that records every answer to a blinded caller.
type recorder struct {
	in installation

	mu      sync.Mutex
	answers []string
}

// serve serves the proxy until the test ends, and returns its address.
func (p *recorder) serve(t *testing.T) string {
	target, err := url.Parse(p.in.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		token := strings.TrimPrefix(r.Request.Header.Get("Authorization"), "Bearer ")
		if proof, err := p.in.tokens.Verify(token); err == nil && slices.Contains(unblindedUsers, proof.User) {
			return nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		// The answer to the protocol lists the arms. Which arms exist is public; which patient is in which arm is not.
		if strings.Contains(r.Request.URL.Path, "PublishProtocolVersion") {
			return nil
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.answers = append(p.answers, fmt.Sprint(r.Request.Method, " ", r.Request.URL, " ", r.Header, " ", string(body)))
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

// TestR27_NothingThatBlindedUsersSeeShowsAnArm simulates a trial, and searches for its arms in everything that blinded
// users can see: answers, changes, views, log lines, metrics, broker messages and stored events. Then it checks that no
// field of a view separates the arms statistically.
func TestR27_NothingThatBlindedUsersSeeShowsAnArm(t *testing.T) {
	in := install(t)
	if err := in.bootstrapAdmins(t.Context(), "a password for a test"); err != nil {
		t.Fatal(err)
	}
	brokerMessages := subscribe(t, in)
	proxy := &recorder{in: in}
	o := simulation.Options{
		BaseURL: proxy.serve(t), Admin: demoAdmin, Deputy: demoDeputy, Password: "casebook-demo-2026", Patients: 44, Days: 24, Seed: 5,
		Today: "2026-03-20", Workers: 4,
		SignAs: signedInAs(in.tokens, time.Hour),
	}
	summary, err := simulation.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	mustLiveThroughAll(t, summary)
	if summary.ToldOfRecall == 0 {
		t.Error("nobody was told of a recall")
	}
	blinded := map[string]string{} // everything that blinded people can see, by its origin
	for i, answer := range proxy.answers {
		blinded[fmt.Sprint("answer ", i)] = answer
	}
	for _, a := range summary.Accounts {
		if slices.Contains(unblindedUsers, a.User) {
			continue
		}
		in.answersTo(t, a.User, summary, blinded)
		blinded[fmt.Sprint("changes as ", a.User)] = in.changes(t, a.User)
	}
	in.refusals(t, summary, blinded)
	in.unblindInAnEmergency(t, o.Password, summary)
	in.waitForViews(t, lastRecorded(t, in.log))
	documents := in.documents(t, blinded)
	text, err := os.ReadFile(filepath.Join(in.dir, "casebook.log"))
	if err != nil {
		t.Fatal(err)
	}
	blinded["the log"] = string(text)
	for _, path := range []string{"/metrics", "/debug/vars"} {
		request, err := http.NewRequest(http.MethodGet, "http://"+in.adminAddress+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, blinded["admin "+path] = in.do(request, "")
	}
	for i, m := range brokerMessages() {
		blinded[fmt.Sprint("broker message ", i)] = m
	}
	in.storedEvents(t, blinded)
	ofSupply := 0
	for origin, text := range blinded {
		// Supply managers hear of no patient. A refusal repeats the patient whom they asked about.
		if strings.HasSuffix(origin, " as supply.manager") {
			told := strings.ReplaceAll(text, string(summary.Patient), "")
			if !strings.Contains(text, `"urn:casebook:problem:not_allowed"`) {
				told = text
			}
			if i := strings.Index(told, string(summary.Study)+".S-"); i >= 0 {
				t.Errorf("%s names a patient: ...%s...", origin, told[max(0, i-200):min(len(told), i+100)])
			}
			ofSupply++
		}
		for _, arm := range armIDs {
			if i := strings.Index(text, arm); i >= 0 {
				t.Errorf("%s shows an arm: ...%s...", origin, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
	if ofSupply < len(contexts.Queries()) {
		t.Errorf("only %d answers to a supply manager were searched, of %d queries", ofSupply, len(contexts.Queries()))
	}
	total := 0
	for _, d := range documents {
		total += len(d)
	}
	if len(proxy.answers) < 1000 || total < 1000 || len(brokerMessages()) == 0 {
		t.Errorf("only %d answers, %d documents and %d messages were searched", len(proxy.answers), total, len(brokerMessages()))
	}

	ofKit, ofPatient := in.arms(t)
	if len(ofPatient) < 30 || len(ofKit) < 100 {
		t.Fatalf("%d patients and %d kits have arms", len(ofPatient), len(ofKit))
	}
	examine := func(name string, arms map[string]domain.ArmID, key string) int {
		fields := samples(documents[name], key, arms)
		for field, s := range fields {
			if z := s.separation(); z > separationLimit {
				t.Errorf("field %s of %s separates the arms: %.1f standard deviations from chance", field, name, z)
			}
		}
		return len(fields)
	}
	examined := 0
	for name := range documents {
		examined += examine(name, ofKit, "kit") + examine(name, ofPatient, "patient")
	}
	if examined < 20 {
		t.Errorf("only %d fields were examined", examined)
	}
}

// subscribe collects the messages of the in-process broker, and returns a function that returns them.
func subscribe(t *testing.T, in installation) func() []string {
	t.Helper()
	var mu sync.Mutex
	var got []string
	for _, c := range in.channels {
		broker, ok := c.(*notify.InProcess)
		if !ok {
			continue
		}
		ctx, stop := context.WithCancel(context.Background())
		messages, err := broker.Subscribe(ctx, safetyprocesses.AlertTopic)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for m := range messages {
				mu.Lock()
				got = append(got, fmt.Sprint(m.UUID, m.Metadata, string(m.Payload)))
				mu.Unlock()
				m.Ack()
			}
		}()
		t.Cleanup(func() { stop(); <-done })
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

// answersTo collects the answers to every query of a user.
func (in installation) answersTo(t *testing.T, user domain.UserID, s simulation.Summary, into map[string]string) {
	t.Helper()
	token, err := in.tokens.Sign(user, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range contexts.Queries() {
		path := strings.NewReplacer("{study}", string(s.Study), "{site}", string(s.Site), "{patient}", string(s.Patient), "{kit}",
			"310001", "{version}", "2", "{instrument}", "pain-diary", "{account}", "crc.berlin",
			"{build}", "1", "{form}", "VS", "{kind}", "form", "{part}", "VS").Replace(q.Path)
		asked := []string{""}
		for _, p := range q.Parameters { // those who work at a site have to name it
			switch {
			case p.InPath:
			case p.Name == "limit":
				for i := range asked {
					asked[i] += "&limit=200"
				}
			case p.Name == "site" || slices.Contains(q.Within, p.Name):
				asked = append(asked, asked[0]+"&"+p.Name+"="+string(s.Site))
			}
		}
		for _, parameters := range asked {
			request, err := http.NewRequest(http.MethodGet, in.url+path+"?"+strings.TrimPrefix(parameters, "&"), nil)
			if err != nil {
				t.Fatal(err)
			}
			status, text := in.do(request, token)
			// The simulated trial has no image and no build.
			none := status == http.StatusNotFound && (strings.Contains(q.Path, "{sha256}") || strings.Contains(q.Path, "{build}"))
			siteless := status == http.StatusBadRequest && strings.Contains(text, `"value_missing"`)
			if status != http.StatusOK && status != http.StatusForbidden && !none && !siteless {
				t.Errorf("%s?%s as %s is answered %d %s", path, parameters, user, status, text)
			}
			into[fmt.Sprint(path, parameters, " as ", user)] = text
		}
	}
}

// changes returns the first change that the stream of changes sends to a user, for the whole log.
func (in installation) changes(t *testing.T, user domain.UserID) string {
	t.Helper()
	token, err := in.tokens.Sign(user, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, in.url+"/api/v1/events?after=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var text strings.Builder
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		text.WriteString(lines.Text())
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			named := func(view string) bool { return strings.Contains(data, view) }
			if !named("patient-view") && !named("kit-inventory") && !named("user-directory") {
				t.Errorf("the change for %s names none of the expected views: %.300s", user, data)
			}
			break
		}
	}
	return text.String()
}

// refusals collects the answers to invalid commands of a blinded user.
func (in installation) refusals(t *testing.T, s simulation.Summary, into map[string]string) {
	t.Helper()
	token, err := in.tokens.Sign(s.SiteStaff, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	of, inStudy, because := domain.ForPatient(s.Patient), domain.ForStudy(s.Study), domain.Because("x")
	fromDepot := supply.FromLocation{Study: s.Study, From: "DEPOT-EU"}
	for i, command := range []any{
		supply.DispenseKit{Site: s.Site, OfPatient: of, Kit: "310003", On: "2026-03-18"},
		supply.ReconcileKit{Site: s.Site, OfPatient: of, Kit: "310003", Used: 3},
		supply.CreateShipment{FromLocation: fromDepot, To: "01", Kits: []supply.KitNumber{"310004"}, Reasoned: because},
		patient.EnrollPatient{OfPatient: of, On: "2026-03-18"},
		randomisation.BreakBlind{Patient: of.Patient, Reasoned: because},
		randomisation.CorrectStratum{InStudy: inStudy, OfPatient: of, Factors: map[string]string{"age": "x"}, Reasoned: because},
	} {
		_, _, text := in.command(token, fmt.Sprint("mistake/", i), command)
		into[fmt.Sprintf("%T", command)] = text
	}
}

// unblindInAnEmergency breaks the blind of one patient (R28). The command requires a reason and a new sign-in, its
// answer shows the arm once, and an alert is raised. The arm itself is not recorded.
func (in installation) unblindInAnEmergency(t *testing.T, password string, s simulation.Summary) {
	t.Helper()
	breakBlind := randomisation.BreakBlind{
		Patient:  s.Patient,
		Reasoned: domain.Because("overdose; treatment depends on it"),
	}
	withoutSignIn, err := in.tokens.Sign("dr.lindner", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	status, _, text := in.command(withoutSignIn, "", breakBlind)
	if status != http.StatusForbidden || !strings.Contains(text, "reauthentication_required") {
		t.Errorf("without a new sign-in it was answered %d %s", status, text)
	}
	credentials := strings.NewReader(`{"user":"dr.lindner","password":"` + password + `"}`)
	request, err := http.NewRequest(http.MethodPost, in.url+"/api/v1/sign-in", credentials)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	var session api.Session
	if _, text := in.do(request, ""); json.Unmarshal([]byte(text), &session) != nil {
		t.Fatal(text)
	}
	_, arms := in.arms(t)
	for i := range 2 { // the second time, the answer was lost, and the command is repeated
		status, _, text := in.command(session.Token, "emergency", breakBlind)
		if status != http.StatusOK || !strings.Contains(text, string(arms[string(s.Patient)])) || !strings.Contains(text, "Poison") {
			t.Errorf("attempt %d was answered %d %s", i+1, status, text)
		}
	}
	token, err := in.tokens.Sign("safety.officer", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		request, err := http.NewRequest(http.MethodGet, in.url+"/api/v1/studies/"+string(s.Study)+"/alerts?kind=blind_broken", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, text := in.do(request, token); strings.Contains(text, "blind_broken") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no alert was raised for the broken blind")
}

// documents returns the documents of every collection of the read models, by its name, and collects their texts.
func (in installation) documents(t *testing.T, into map[string]string) map[string][]bson.M {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(in.stores.mongoURL))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	db := client.Database("casebook")
	names, err := db.ListCollectionNames(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]bson.M{}
	for _, name := range names {
		found, err := db.Collection(name).Find(t.Context(), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		var documents []bson.M
		if err := found.All(t.Context(), &documents); err != nil {
			t.Fatal(err)
		}
		for i, d := range documents {
			text, err := bson.MarshalExtJSON(d, false, false)
			if err != nil {
				t.Fatal(err)
			}
			into[fmt.Sprintf("document %d of %s", i, name)] = string(text)
		}
		all[name] = documents
	}
	return all
}

// storedEvents collects the stored bytes of all events. Blinded values are sealed in them, so that no copy of the log
// shows an arm. The protocol is left out, because it lists the arms.
func (in installation) storedEvents(t *testing.T, into map[string]string) {
	t.Helper()
	in.eachEvent(t, func(e eventlog.Recorded) {
		if e.Type != "ProtocolVersionPublished" {
			into[fmt.Sprintf("event %s@%d", e.Stream, e.Revision)] = string(e.Data) + string(e.RawMetadata)
		}
	})
}

// eachEvent calls do with every event of the log.
func (in installation) eachEvent(t *testing.T, do func(eventlog.Recorded)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if err := in.log.Follow(ctx, eventlog.Subscription{}, func(_ context.Context, b eventlog.Batch) error {
		for _, e := range b.Events {
			do(e)
		}
		if b.Live {
			stop()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// arms returns the arms of kits and patients, which it reads with the blinding keys.
func (in installation) arms(t *testing.T) (ofKit, ofPatient map[string]domain.ArmID) {
	t.Helper()
	ofKit, ofPatient = map[string]domain.ArmID{}, map[string]domain.ArmID{}
	in.eachEvent(t, func(e eventlog.Recorded) {
		switch e := e.Event.(type) {
		case supply.KitsRegistered:
			contents, _ := e.Contents.Open()
			for n, c := range contents {
				ofKit[string(n)] = c.Arm
			}
		case randomisation.PatientRandomised:
			ofPatient[string(e.Patient)], _ = e.Arm.Open()
		}
	})
	return ofKit, ofPatient
}

// sample holds the values of a field, for the first arm and for the second.
type sample struct {
	numbers [2][]float64
	words   map[string]*[2]float64 // how often each word occurs
}

// samples collects, by field, the values in documents about single kits or patients. Of a list it collects the length,
// and the first and the last entry.
func samples(documents []bson.M, key string, arms map[string]domain.ArmID) map[string]*sample {
	// Several documents about one kit or patient count as one, because they are not independent of each other.
	values := map[string]map[string][]any{} // by field and by kit or patient
	for _, d := range documents {
		name, _ := d[key].(string)
		if _, known := arms[name]; !known {
			continue
		}
		flat := map[string]any{}
		flatten("", d, flat)
		for field, value := range flat {
			if values[field] == nil {
				values[field] = map[string][]any{}
			}
			values[field][name] = append(values[field][name], value)
		}
	}
	all := map[string]*sample{}
	for field, ofField := range values {
		s := &sample{words: map[string]*[2]float64{}}
		all[field] = s
		for name, several := range ofField {
			arm := 0
			if arms[name] == domain.ArmID(armIDs[1]) {
				arm = 1
			}
			s.add(arm, combined(several))
		}
	}
	return all
}

// combined returns the mean of numbers, or the first of other values.
func combined(values []any) any {
	sum := 0.0
	for _, value := range values {
		n, ok := number(value)
		if !ok {
			return values[0]
		}
		sum += n
	}
	return sum / float64(len(values))
}

// number returns a numeric value, and false for any other value.
func number(value any) (float64, bool) {
	switch v := value.(type) {
	case int:
		return float64(v), true
	case int32:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case bson.DateTime:
		return float64(v), true
	}
	return 0, false
}

// flatten collects the values of a document by their paths.
func flatten(path string, value any, into map[string]any) {
	switch v := value.(type) {
	case bson.M:
		for name, inner := range v {
			flatten(path+"."+name, inner, into)
		}
	case bson.D:
		for _, e := range v {
			flatten(path+"."+e.Key, e.Value, into)
		}
	case bson.A:
		into[path+".#"] = len(v)
		if len(v) > 0 {
			flatten(path+".first", v[0], into)
			flatten(path+".last", v[len(v)-1], into)
		}
	default:
		into[path] = v
	}
}

// add adds a value of an arm.
func (s *sample) add(arm int, value any) {
	if n, ok := number(value); ok {
		s.numbers[arm] = append(s.numbers[arm], n)
		return
	}
	word := fmt.Sprint(value)
	if s.words[word] == nil {
		s.words[word] = &[2]float64{}
	}
	s.words[word][arm]++
	// The order of words, such as the numbers printed on kits, may also reveal an arm.
	n := 0.0
	for i := range min(8, len(word)) {
		n += float64(word[i]) * math.Pow(256, float64(7-i))
	}
	s.numbers[arm] = append(s.numbers[arm], n)
}

// separationLimit is how many standard deviations from chance a field may be. There are about two thousand fields and
// values. One of them exceeds 5.5 by chance about once in ten thousand runs.
const separationLimit = 5.5

// separation returns how much the field separates the arms, in standard deviations from chance. It is the maximum of a
// rank test (Mann and Whitney 1947) of the field's order, and of a test of two proportions for each of its values.
func (s *sample) separation() float64 {
	z := math.Abs(mannWhitney(s.numbers[0], s.numbers[1]))
	total := [2]float64{}
	for _, n := range s.words {
		total[0] += n[0]
		total[1] += n[1]
	}
	for _, n := range s.words {
		if n[0]+n[1] < 8 || total[0] == 0 || total[1] == 0 {
			continue
		}
		share := (n[0] + n[1]) / (total[0] + total[1])
		if spread := math.Sqrt(share * (1 - share) * (1/total[0] + 1/total[1])); spread > 0 {
			z = max(z, math.Abs(n[0]/total[0]-n[1]/total[1])/spread)
		}
	}
	return z
}

// mannWhitney returns the normalised statistic of the rank test: its distance from the mean in standard deviations. It
// returns 0 for fewer than five values of an arm.
func mannWhitney(a, b []float64) float64 {
	type ranked struct {
		value float64
		first bool
	}
	var all []ranked
	for _, v := range a {
		all = append(all, ranked{v, true})
	}
	for _, v := range b {
		all = append(all, ranked{v, false})
	}
	n1, n2 := float64(len(a)), float64(len(b))
	if n1 < 5 || n2 < 5 {
		return 0
	}
	slices.SortFunc(all, func(x, y ranked) int {
		switch {
		case x.value < y.value:
			return -1
		case x.value > y.value:
			return 1
		}
		return 0
	})
	sum, ties, n := 0.0, 0.0, n1+n2
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].value == all[i].value {
			j++
		}
		rank, t := float64(i+j+1)/2, float64(j-i)
		for _, r := range all[i:j] {
			if r.first {
				sum += rank
			}
		}
		ties += t*t*t - t
		i = j
	}
	spread := math.Sqrt(n1 * n2 / 12 * (n + 1 - ties/(n*(n-1))))
	if spread == 0 {
		return 0
	}
	return (sum - n1*(n1+1)/2 - n1*n2/2) / spread
}

// TestSeparationIsDetected checks the statistical test: it has to detect fields that depend on the arm, by their values
// or their order, and only these.
func TestSeparationIsDetected(t *testing.T) {
	arms := map[string]domain.ArmID{}
	var documents []bson.M
	for i := range 120 {
		kit, arm := fmt.Sprintf("%06d", (i*7919)%1000), i%2
		arms[kit] = domain.ArmID(armIDs[arm])
		documents = append(documents, bson.M{
			"kit":    kit,
			"equal":  []string{"x", "y"}[arm], // always depends on the arm
			"higher": float64(arm*3 + i%5),    // is often higher in the second arm
			"often":  arm == 1 && i%5 < 3,     // is only true in the second arm
			"chance": float64(i % 7),          // does not depend on the arm
			"list":   bson.A{bson.D{{Key: "lot", Value: fmt.Sprint("L", arm)}}},
		})
	}
	found := samples(documents, "kit", arms)
	for field, want := range map[string]bool{
		".equal": true, ".higher": true, ".often": true, ".list.first.lot": true, ".chance": false, ".kit": false, ".list.#": false,
	} {
		if got := found[field].separation() > separationLimit; got != want {
			t.Errorf("%s separates the arms: %v (%.1f), want %v", field, got, found[field].separation(), want)
		}
	}
}

// waitForViews waits until every view has reached a position.
func (in installation) waitForViews(t *testing.T, position uint64) {
	t.Helper()
	for _, v := range contexts.Views() {
		if err := in.views.WaitFor(t.Context(), v, position); err != nil {
			t.Fatal(err)
		}
	}
}
