package commands_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/security"
	"casebook/embedded/node"
	"casebook/eventlog"

	"github.com/google/go-cmp/cmp"
)

// refused are refusals of a user, as the security log holds them.
type refused struct {
	Full     []security.AccessRefused
	Repeated []security.RefusalsRepeated
	Dropped  int
}

// TestRepeatedRefusalsSayWhen counts refusals by a clock that moves on with each of them.
func TestRepeatedRefusalsSayWhen(t *testing.T) {
	log, h, stop := recorderOfRefusals(t, eventStoreURL)
	who := domain.UserID("repeating")
	begun := h.Now()
	for range 5 {
		h.RecordRefusal(t.Context(), access.Refused{User: who, Action: "SubmitDiary", Why: errors.New("no")})
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	at := func(n int) time.Time { return begun.Add(time.Duration(n) * time.Minute) }
	got := refusalsIn(t, log, who, begun)
	if len(got.Repeated) != 1 || got.Repeated[0].First.Before(at(2)) || !got.Repeated[0].Last.After(got.Repeated[0].First) {
		t.Fatalf("recorded %+v", got)
	}
	want := security.RefusalsRepeated{Actor: who, Action: "SubmitDiary", Code: "failure", Count: 4, First: got.Repeated[0].First,
		Last: got.Repeated[0].Last, Kind: security.AboutNothing}
	if diff := cmp.Diff(want, got.Repeated[0]); diff != "" || len(got.Full) != 1 {
		t.Errorf("recorded %+v\n%s", got, diff)
	}
}

// TestRepeatedRefusalsSayAboutWhom: an account that walks over the patients of two studies is seen with how many they were, and with the
// first of them; what it was refused about a site is told apart.
func TestRepeatedRefusalsSayAboutWhom(t *testing.T) {
	log, h, stop := recorderOfRefusals(t, eventStoreURL)
	who, begun := domain.UserID("walking"), h.Now()
	refuse := func(scope domain.Scope) {
		h.RecordRefusal(t.Context(), access.Refused{User: who, Action: "Patient", Scope: scope, Why: errors.New("no")})
	}
	const patients = 5000
	for range 2 {
		for n := range patients {
			refuse(domain.Scope{Study: "S1", Site: "01", Patient: domain.PatientID(fmt.Sprintf("S1.P-%04d", n))})
		}
	}
	for n := range 3 {
		refuse(domain.Scope{Study: "S2", Patient: domain.PatientID(fmt.Sprintf("S2.P-%04d", n))})
		refuse(domain.Scope{Study: "S1", Site: domain.SiteID(fmt.Sprintf("0%d", n))})
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var got refused
	for day := range 10 { // the clock moves on by a minute for each refusal
		in := refusalsIn(t, log, who, begun.AddDate(0, 0, day))
		got.Full, got.Repeated = append(got.Full, in.Full...), append(got.Repeated, in.Repeated...)
	}
	type breadth struct {
		Study           domain.StudyID
		Kind            security.SubjectKind
		Count, Subjects int
		Named           int
	}
	found := map[breadth]bool{}
	for _, r := range got.Repeated {
		found[breadth{r.Study, r.Kind, r.Count, r.Subjects, len(r.Named)}] = true
		if r.Study == "S1" && r.Kind == security.AboutPatients && (r.Named[0] != "S1.P-0001" || r.AtLeast ||
			r.About() != "Patient: failure, 9999 more times, about 5000 different patients") {
			t.Errorf("recorded is %s: %v", r.About(), r.Named[0])
		}
	}
	want := map[breadth]bool{
		{"S1", security.AboutPatients, 2*patients - 1, patients, security.MaxNamed}: true,
		{"S2", security.AboutPatients, 2, 2, 2}:                                     true, {"S1", security.AboutSites, 2, 2, 2}: true,
	}
	if diff := cmp.Diff(want, found); diff != "" || len(got.Full) != 3 {
		t.Errorf("recorded are %d in full, and (-want +got):\n%s", len(got.Full), diff)
	}
}

// TestAFloodOfKindsTakesNoRoomFromOthers: a user whose refusals are of very many kinds is named with all of them, and the refusal of
// another user is recorded in full.
func TestAFloodOfKindsTakesNoRoomFromOthers(t *testing.T) {
	log, h, stop := recorderOfRefusals(t, eventStoreURL)
	flooding, other, begun := domain.UserID("flooding"), domain.UserID("quiet"), h.Now()
	const kinds, single = 520, 500
	for n := range kinds {
		h.RecordRefusal(t.Context(), access.Refused{User: flooding, Action: "Patient", Scope: domain.Scope{
			Study: domain.StudyID(fmt.Sprintf("S%04d", n))}, Why: errors.New("no")})
	}
	h.RecordRefusal(t.Context(), access.Refused{User: other, Action: "Patient", Why: errors.New("no")})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	full, together, quiet := 0, 0, 0
	for day := range 3 { // the clock moves on by a minute for each refusal
		in := refusalsIn(t, log, flooding, begun.AddDate(0, 0, day))
		full += len(in.Full)
		for _, r := range in.Repeated {
			if r.Action == security.Several && r.Code == security.Several {
				together += r.Count
			}
		}
		quiet += len(refusalsIn(t, log, other, begun.AddDate(0, 0, day)).Full)
	}
	if full != single || together != kinds-single || quiet != 1 {
		t.Errorf("of the flood, %d are recorded in full and %d together; of the other user, %d", full, together, quiet)
	}
}

// TestRefusalsCountWhileTheEventStoreIsAway: what cannot be recorded when it happens is counted, under the user's name, and
// recorded later.
func TestRefusalsCountWhileTheEventStoreIsAway(t *testing.T) {
	at := node.Options{Dir: filepath.Join(t.TempDir(), "node"), Listen: "127.0.0.1:0"}
	n, err := node.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	at.Listen = n.Addr()
	log, h, stop := recorderOfRefusals(t, n.ConnectionString())
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	var refusals atomic.Int64
	who, begun := domain.UserID("patient"), h.Now()
	for range 7 {
		h.RecordRefusal(t.Context(), access.Refused{User: who, Action: "SubmitDiary", Why: errors.New("no"),
			Scope: domain.Scope{Study: "S1", Patient: domain.PatientID(fmt.Sprint("S1.P-", refusals.Add(1)))}})
	}
	time.Sleep(time.Second) // until the handler has given up to record the first one
	if n, err = node.Open(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if err := log.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got, count, subjects := refusalsIn(t, log, who, begun), 0, 0
	for _, r := range got.Repeated {
		count += r.Count
		subjects += r.Subjects
	}
	if len(got.Full)+count != 7 || subjects != count || got.Dropped > 0 {
		t.Errorf("of 7 refusals are recorded %+v", got)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// recorderOfRefusals returns a handler whose clock moves on by a minute each time that it is asked. stop returns when it has
// recorded all refusals.
func recorderOfRefusals(t *testing.T, url string) (*eventlog.Log, *commands.Handler, func() error) {
	t.Helper()
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: url, Registry: contexts.Registry(), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	h := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(),
		Now: func() time.Time { return now.Add(time.Duration(asked.Add(1)) * time.Minute) }})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return log, h, func() error {
		cancel()
		return <-ended
	}
}

// refusalsIn returns what the security log of a day holds about a user.
func refusalsIn(t *testing.T, log *eventlog.Log, who domain.UserID, day time.Time) (found refused) {
	t.Helper()
	for r, err := range log.ReadStream(t.Context(), security.Decider.Stream(string(domain.DateOf(day.UTC()))), 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch e := r.Event.(type) {
		case security.AccessRefused:
			if e.Actor == who {
				found.Full = append(found.Full, e)
			}
		case security.RefusalsRepeated:
			if e.Actor == who {
				found.Repeated = append(found.Repeated, e)
			}
		case security.RefusalsDropped:
			found.Dropped += e.Count
		}
	}
	return found
}
