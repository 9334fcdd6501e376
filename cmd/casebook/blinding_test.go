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

// armTokens are the arms of the simulated study, by their ids and by what they are.
var armTokens = []string{"RLV-7Q4", "PLC-2K9"}

// unblindedUsers are those of the simulation who may know arms.
var unblindedUsers = []domain.UserID{"statistician", "supply.unblinded"}

// tap records every answer that goes through to a caller who must stay blinded.
type tap struct {
	in installation

	mu      sync.Mutex
	answers []string
	count   int
}

func (p *tap) serve(t *testing.T) string {
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
		// The data manager's own protocol is answered with what it says: that arms exist is public, who is in one is not.
		if strings.Contains(r.Request.URL.Path, "PublishProtocolVersion") {
			return nil
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.count++
		p.answers = append(p.answers, fmt.Sprint(r.Request.Method, " ", r.Request.URL, " ", r.Header, " ", string(body)))
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

// TestR27_NothingBlindedPeopleSeeTellsAnArm lets a whole trial happen, and looks for its arms in every answer to a
// blinded caller, every view, log line, metric, trace, error, broker message and stored event; then it asks of every
// field of the views whether it separates the arms.
func TestR27_NothingBlindedPeopleSeeTellsAnArm(t *testing.T) {
	in := install(t)
	if err := in.bootstrapAdmin(t.Context(), "a password for a test"); err != nil {
		t.Fatal(err)
	}
	broker := listen(t, in)
	tapped := &tap{in: in}
	o := simulation.Options{BaseURL: tapped.serve(t), Admin: demoAdmin, Password: "casebook-demo-2026", Patients: 60, Days: 20, Seed: 5,
		Today: "2026-03-20", Workers: 4,
		SignAs: func(u domain.UserID) (string, error) { return in.tokens.Sign(u, time.Now(), time.Hour) }}
	summary, err := simulation.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	blinded := map[string]string{}
	for i, answer := range tapped.answers {
		blinded[fmt.Sprint("answer ", i)] = answer
	}
	for _, a := range summary.Accounts {
		if slices.Contains(unblindedUsers, a.User) {
			continue
		}
		in.everything(t, a.User, summary, blinded)
		blinded[fmt.Sprint("changes as ", a.User)] = in.changes(t, a.User)
	}
	in.mistakes(t, summary, blinded)
	in.unblindInAnEmergency(t, o.Password, summary)
	end, err := in.log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.waitForViews(t, end.Commit)
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
	for i, m := range broker() {
		blinded[fmt.Sprint("broker message ", i)] = m
	}
	in.stored(t, blinded)
	for where, text := range blinded {
		for _, token := range armTokens {
			if i := strings.Index(text, token); i >= 0 {
				t.Errorf("%s tells an arm: ...%s...", where, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
	total := 0
	for _, d := range documents {
		total += len(d)
	}
	if tapped.count < 1000 || total < 1000 || len(broker()) == 0 {
		t.Errorf("looked at %d answers, %d documents and %d messages alone", tapped.count, total, len(broker()))
	}

	ofKit, ofPatient := in.truth(t)
	if len(ofPatient) < 30 || len(ofKit) < 100 {
		t.Fatalf("%d patients and %d kits have arms", len(ofPatient), len(ofKit))
	}
	inspect := func(name string, arms map[string]domain.ArmID, key string) int {
		fields := samples(documents[name], key, arms)
		for field, s := range fields {
			if z := s.separation(); z > separationLimit {
				t.Errorf("field %s of %s separates the arms: %.1f standard deviations from chance", field, name, z)
			}
		}
		return len(fields)
	}
	looked := 0
	for name := range documents {
		looked += inspect(name, ofKit, "kit") + inspect(name, ofPatient, "patient")
	}
	if looked < 20 {
		t.Errorf("only %d fields were looked at", looked)
	}
}

// listen collects the messages of the in-process broker.
func listen(t *testing.T, in installation) func() []string {
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

// everything asks every query as a user.
func (in installation) everything(t *testing.T, user domain.UserID, s simulation.Summary, into map[string]string) {
	t.Helper()
	token, err := in.tokens.Sign(user, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range contexts.Queries() {
		path := strings.NewReplacer("{study}", string(s.Study), "{site}", string(s.Site), "{patient}", string(s.Patient), "{kit}",
			"310001").Replace(q.Path)
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
			if status != http.StatusOK && status != http.StatusForbidden {
				t.Errorf("%s?%s as %s is answered %d %s", path, parameters, user, status, text)
			}
			into[fmt.Sprint(path, parameters, " as ", user)] = text
		}
	}
}

// changes is what the stream of changes tells a user of all that has happened.
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
			if !strings.Contains(data, "patient-view") && !strings.Contains(data, "kit-inventory") && !strings.Contains(data, "user-directory") {
				t.Errorf("%s is told %.300s", user, data)
			}
			break
		}
	}
	return text.String()
}

// mistakes sends what is refused, or cannot be read, as blinded people.
func (in installation) mistakes(t *testing.T, s simulation.Summary, into map[string]string) {
	t.Helper()
	token, err := in.tokens.Sign(s.SiteStaff, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for i, command := range []any{
		supply.DispenseKit{Site: s.Site, OfPatient: domain.ForPatient(s.Patient), Kit: "310003", On: "2026-03-18"},
		supply.ReconcileKit{Site: s.Site, OfPatient: domain.ForPatient(s.Patient), Kit: "310003", Used: 3},
		supply.CreateShipment{FromLocation: supply.FromLocation{Study: s.Study, From: "DEPOT-EU"}, To: "01",
			Kits: []supply.KitNumber{"310004"}, Reasoned: domain.Because("x")},
		patient.EnrollPatient{OfPatient: domain.ForPatient(s.Patient), On: "2026-03-18"},
		randomisation.BreakBlind{InStudy: domain.ForStudy(s.Study), OfPatient: domain.ForPatient(s.Patient), Reasoned: domain.Because("x")},
		randomisation.CorrectStratum{InStudy: domain.ForStudy(s.Study), OfPatient: domain.ForPatient(s.Patient),
			Factors: map[string]string{"age": "x"}, Reasoned: domain.Because("x")},
	} {
		_, _, text := in.command(token, fmt.Sprint("mistake/", i), command)
		into[fmt.Sprintf("%T", command)] = text
	}
}

// unblindInAnEmergency breaks one blind, as R28 has it: for a reason, by somebody who has just signed in, shown once,
// told to everyone concerned, and nowhere recorded but as a fact.
func (in installation) unblindInAnEmergency(t *testing.T, password string, s simulation.Summary) {
	t.Helper()
	breakBlind := randomisation.BreakBlind{InStudy: domain.ForStudy(s.Study), OfPatient: domain.ForPatient(s.Patient),
		Reasoned: domain.Because("overdose; treatment depends on it")}
	script, err := in.tokens.Sign("dr.lindner", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text := in.command(script, "", breakBlind); status != http.StatusForbidden ||
		!strings.Contains(text, "reauthentication_required") {
		t.Errorf("without a fresh sign-in it was answered %d %s", status, text)
	}
	request, err := http.NewRequest(http.MethodPost, in.url+"/api/v1/sign-in",
		strings.NewReader(`{"user":"dr.lindner","password":"`+password+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	var session api.Session
	if _, text := in.do(request, ""); json.Unmarshal([]byte(text), &session) != nil {
		t.Fatal(text)
	}
	_, arms := in.truth(t)
	for i, shown := range []bool{true, false} { // the second is the same command again
		status, _, text := in.command(session.Token, "emergency", breakBlind)
		if status != http.StatusOK || strings.Contains(text, string(arms[string(s.Patient)])) != shown {
			t.Errorf("the blind was broken with %d %s (time %d)", status, text, i+1)
		}
	}
	token, err := in.tokens.Sign("safety.officer", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for range 500 {
		request, err := http.NewRequest(http.MethodGet, in.url+"/api/v1/studies/"+string(s.Study)+"/alerts?kind=blind_broken", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, text := in.do(request, token); strings.Contains(text, "blind_broken") {
			told = true
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !told {
		t.Error("nobody was told that the blind was broken")
	}
}

// documents dumps every collection of the read models, by the name of its view.
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

// stored looks at the log's own bytes: what is blinded is sealed there, so that no copy of the log tells it. The
// protocol itself says which arms there are.
func (in installation) stored(t *testing.T, into map[string]string) {
	t.Helper()
	in.eachEvent(t, func(e eventlog.Recorded) {
		if e.Type != "ProtocolVersionPublished" {
			into[fmt.Sprintf("event %s@%d", e.Stream, e.Revision)] = string(e.Data) + string(e.RawMetadata)
		}
	})
}

func (in installation) eachEvent(t *testing.T, look func(eventlog.Recorded)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if err := in.log.Follow(ctx, eventlog.Subscription{}, func(_ context.Context, b eventlog.Batch) error {
		for _, e := range b.Events {
			look(e)
		}
		if b.Live {
			stop()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// truth returns the arms of kits and patients, as only a program with the keys can know them.
func (in installation) truth(t *testing.T) (ofKit, ofPatient map[string]domain.ArmID) {
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

// sample is what a field says of things in one arm and in the other.
type sample struct {
	numbers [2][]float64
	words   map[string]*[2]float64
}

// samples collects, by field, what documents about single kits or patients say. Fields of lists are taken together by
// their number and their first and last entry.
func samples(documents []bson.M, key string, arms map[string]domain.ArmID) map[string]*sample {
	// What several documents say of one thing counts once: they are not independent of one another.
	said := map[string]map[string][]any{}
	for _, d := range documents {
		name, _ := d[key].(string)
		if _, known := arms[name]; !known {
			continue
		}
		flat := map[string]any{}
		flatten("", d, flat)
		for field, value := range flat {
			if said[field] == nil {
				said[field] = map[string][]any{}
			}
			said[field][name] = append(said[field][name], value)
		}
	}
	all := map[string]*sample{}
	for field, of := range said {
		s := &sample{words: map[string]*[2]float64{}}
		all[field] = s
		for name, values := range of {
			side := 0
			if arms[name] == domain.ArmID(armTokens[1]) {
				side = 1
			}
			s.add(side, together(values))
		}
	}
	return all
}

// together is the mean of numbers, and the first of words.
func together(values []any) any {
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

func (s *sample) add(side int, value any) {
	if n, ok := number(value); ok {
		s.numbers[side] = append(s.numbers[side], n)
		return
	}
	word := fmt.Sprint(value)
	if s.words[word] == nil {
		s.words[word] = &[2]float64{}
	}
	s.words[word][side]++
	// The order of words, such as of numbers printed on kits, may tell as well.
	n := 0.0
	for i := range min(8, len(word)) {
		n += float64(word[i]) * math.Pow(256, float64(7-i))
	}
	s.numbers[side] = append(s.numbers[side], n)
}

// separationLimit is how many standard deviations from chance a field may be. There are some two thousand fields and
// values; that one of them goes beyond 5.5 by chance happens once in ten thousand runs.
const separationLimit = 5.5

// separation is how far the field is from telling nothing about the arms: the larger of a rank test (Mann and Whitney
// 1947) over its order, and of a test of two shares for each of its values.
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

// TestTheTestOfSeparationSeparates: a field that goes with the arm is found, by its values or by its order, and one
// that does not is not.
func TestTheTestOfSeparationSeparates(t *testing.T) {
	arms := map[string]domain.ArmID{}
	var documents []bson.M
	for i := range 120 {
		kit := fmt.Sprintf("%06d", (i*7919)%1000)
		arms[kit] = domain.ArmID(armTokens[i%2])
		documents = append(documents, bson.M{"kit": kit, "tells": []string{"x", "y"}[i%2], "leans": float64(i%2*3 + i%5), "often": i%2 == 1 &&
			i%5 < 3, "nothing": float64(i % 7),
			"list": bson.A{bson.D{{Key: "lot", Value: fmt.Sprint("L", i%2)}}}})
	}
	found := samples(documents, "kit", arms)
	for field, tells := range map[string]bool{".tells": true, ".leans": true, ".often": true, ".list.first.lot": true, ".nothing": false,
		".kit": false, ".list.#": false} {
		if got := found[field].separation() > separationLimit; got != tells {
			t.Errorf("%s is taken to tell the arm: %v (%.1f)", field, got, found[field].separation())
		}
	}
}

// waitForViews waits until every view has seen a position.
func (in installation) waitForViews(t *testing.T, position uint64) {
	t.Helper()
	for _, v := range contexts.Views() {
		if err := in.views.WaitFor(t.Context(), v, position); err != nil {
			t.Fatal(err)
		}
	}
}
