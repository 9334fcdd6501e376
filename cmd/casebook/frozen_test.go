package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/supply"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	projectionviews "casebook/readmodels/projection"
)

// freezer is an installation whose stores and roles run in processes of their own, each of which can be frozen.
type freezer struct {
	*ledger
	t                 *testing.T
	eventStore, mongo *worker
	keys              string
	token             func(domain.UserID) string
	in                installation
}

// newFreezer starts the stores, so many processes of each role, and makes administrators.
func newFreezer(t *testing.T, processes map[string]int) *freezer {
	t.Helper()
	if os.Getenv(storetest.EventStoreVariable) != "" || os.Getenv(storetest.MongoVariable) != "" {
		t.Skip("stores that are given cannot be frozen")
	}
	z := &freezer{t: t, keys: t.TempDir()}
	for _, name := range []string{tokenKeyFile, blindingKeyFile} {
		if _, err := access.LoadOrCreateKey(filepath.Join(z.keys, name)); err != nil {
			t.Fatal(err)
		}
	}
	tokens, err := loadTokens(filepath.Join(z.keys, tokenKeyFile), false)
	if err != nil {
		t.Fatal(err)
	}
	fresh := signedInAs(tokens, time.Hour)
	z.token = func(u domain.UserID) string {
		token, err := fresh(u)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	z.eventStore = z.startStore("event-store", asMain+"=1", "node", "serve", "--insecure", "--listen", "127.0.0.1:0", "--data", t.TempDir())
	z.mongo = z.startStore("mongo", asMongo+"="+t.TempDir())
	eventStore, _ := z.eventStore.addresses()
	views, _ := z.mongo.addresses()
	z.ledger = newLedger(newFleetOf(t, processes, "--eventstore", eventStore, "--mongo", views,
		"--key-file", filepath.Join(z.keys, tokenKeyFile), "--blinding-key-file", filepath.Join(z.keys, blindingKeyFile)))
	t.Cleanup(z.client.CloseIdleConnections)
	if err := z.fleet.awaitServing(time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := z.fleet.awaitReady(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	log := z.openLog()
	handler := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Build: buildID()})
	err = (&server{handler: handler}).bootstrapAdmins(t.Context(), "a password for a test")
	if err := errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
	z.in = installation{t: t, url: z.fleet.url()}
	return z
}

// startStore starts a store and waits until it serves.
func (z *freezer) startStore(name, env string, flags ...string) *worker {
	z.t.Helper()
	w := &worker{fleet: &fleet{t: z.t}, name: name, role: name, env: env, flags: flags, condition: down,
		logFile: filepath.Join(z.t.ArtifactDir(), name+".log")}
	w.start()
	z.t.Cleanup(w.kill)
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if address, _ := w.addresses(); address != "" {
			return w
		}
		if time.Since(began) > 30*time.Second {
			z.t.Fatalf("%s does not serve\n%s", name, w.endOfLog())
		}
	}
}

func (z *freezer) openLog() *eventlog.Log {
	z.t.Helper()
	keys, err := blindingKeysIn(filepath.Join(z.keys, blindingKeyFile), "", "")
	if err != nil {
		z.t.Fatal(err)
	}
	address, _ := z.eventStore.addresses()
	log, err := eventlog.Connect(z.t.Context(), eventlog.Options{URL: address, Registry: contexts.Registry(), BlindingKeys: keys})
	if err != nil {
		z.t.Fatal(err)
	}
	return log
}

// of returns the first process of a role.
func (z *freezer) of(role string) *worker {
	for _, w := range z.fleet.workers {
		if w.role == role {
			return w
		}
	}
	z.t.Fatalf("no process has the role %s", role)
	return nil
}

// patientCounts counts something for each patient.
type patientCounts map[domain.PatientID]int

// checkEnrolled checks that each of the patients has one place, one arm, one kit and one confirmation, and that no message was
// parked.
func (z *freezer) checkEnrolled(patients []domain.PatientID) {
	z.t.Helper()
	log := z.openLog()
	defer func() {
		if err := log.Close(); err != nil {
			z.t.Error(err)
		}
	}()
	places, draws, kits, confirmed := patientCounts{}, patientCounts{}, patientCounts{}, patientCounts{}
	(installation{server: &server{log: log}, t: z.t}).eachEvent(z.t, func(r eventlog.Recorded) {
		switch e := r.Event.(type) {
		case enrollment.PlaceReserved:
			places[e.Patient]++
		case enrollment.PlaceReleased:
			z.t.Errorf("the place of %s was released", e.Patient)
		case randomisation.PatientRandomised:
			draws[e.Patient]++
		case supply.KitAllocated:
			kits[e.Patient]++
		case patient.Enrolled:
			confirmed[e.Patient]++
		case process.MessageParked:
			z.t.Errorf("a message of %s was parked: %s of %s@%d: %s", e.Process, e.Type, e.Stream, e.Revision, e.Reason)
		}
	})
	for _, who := range patients {
		if places[who] != 1 || draws[who] != 1 || kits[who] != 1 || confirmed[who] != 1 {
			z.t.Errorf("%s has %d places, %d arms, %d kits and %d confirmations, want one of each", who, places[who], draws[who], kits[who],
				confirmed[who])
		}
	}
}

// TestFrozenSagaProcessDoesNotHoldEnrolments freezes one of two processes with the role sagas while patients are enrolled. The
// messages that it holds come to the other one soon. When it wakes up it goes on with them, and nothing happens twice.
func TestFrozenSagaProcessDoesNotHoldEnrolments(t *testing.T) {
	const id, patients, limit = domain.StudyID("Z1"), 30, 15 * time.Second
	z := newFreezer(t, map[string]int{"api": 1, "projections": 1, "sagas": 2})
	setUpSupply(z.in, id, z.token, patients)
	crc := z.token("crc")
	frozen, thaw := context.WithCancel(t.Context())
	defer thaw()
	woken := make(chan struct{})
	var all []domain.PatientID
	requested := map[domain.PatientID]time.Time{}
	for i := range patients {
		if i == 5 {
			go func() {
				defer close(woken)
				z.of("sagas").freeze(frozen, 2*time.Minute)
			}()
		}
		who := domain.NewPatientID(id, fmt.Sprint(i))
		z.in.must(crc, patient.EnrollPatient{OfPatient: domain.ForPatient(who), On: "2026-01-02",
			Factors: map[string]string{"age": []string{"young", "old"}[i%2]}})
		all, requested[who] = append(all, who), time.Now()
	}
	var slowest time.Duration
	for _, who := range all {
		for {
			var v patientviews.PatientDocument
			z.in.query(crc, "/api/v1/patients/"+string(who), 0, &v)
			if v.Status == patient.StatusEnrolled {
				break
			}
			if time.Since(requested[who]) > 90*time.Second {
				t.Fatalf("%s is %s", who, v.Status)
			}
			time.Sleep(10 * time.Millisecond)
		}
		slowest = max(slowest, time.Since(requested[who]))
	}
	t.Logf("the slowest enrolment took %s", slowest.Round(time.Millisecond))
	if slowest > limit {
		t.Errorf("a frozen process held an enrolment for %s, longer than %s", slowest.Round(time.Millisecond), limit)
	}
	thaw()
	<-woken
	time.Sleep(3 * time.Second) // the process that woke up goes on with what it holds
	if err := z.fleet.awaitReady(t.Context(), 30*time.Second); err != nil {
		t.Error(err)
	}
	z.checkEnrolled(all)
	if err := z.fleet.stopAll(); err != nil {
		t.Error(err)
	}
}

// TestViewsGoOnWhenAFrozenStoreWakesUp freezes the event store, and then MongoDB, for longer than a lease lasts, while phones
// submit diaries. All views go on within a moment of the thaw, whichever process keeps them, and nothing is shown twice.
func TestViewsGoOnWhenAFrozenStoreWakesUp(t *testing.T) {
	const id, phones, frozen, limit = domain.StudyID("Z2"), 4, 14 * time.Second, 5 * time.Second
	z := newFreezer(t, map[string]int{"api": 1, "projections": 2, "sagas": 1})
	setUp(z.in, id, z.token, phones)
	for _, store := range []*worker{z.eventStore, z.mongo} {
		loaded, stop := context.WithCancel(t.Context())
		patience, cancel := context.WithTimeout(t.Context(), time.Minute)
		var load sync.WaitGroup
		for i := range phones {
			load.Go(func() { z.phone(loaded, patience, store.name, domain.NewPatientID(id, fmt.Sprint(i))) })
		}
		time.Sleep(2 * time.Second)
		store.freeze(t.Context(), frozen)
		thawed := time.Now()
		position := z.acknowledgedSince(patience, thawed)
		acknowledged := time.Since(thawed)
		late := z.awaitViews(patience, position)
		took := time.Since(thawed)
		t.Logf("%s was frozen for %s: a command was acknowledged %s after the thaw, all views showed it after %s", store.name, frozen,
			acknowledged.Round(time.Millisecond), took.Round(time.Millisecond))
		if took > limit {
			t.Errorf("after %s was frozen, the views went on %s after the thaw; the last was %s", store.name, took.Round(time.Millisecond), late)
		}
		time.Sleep(time.Second)
		stop()
		load.Wait()
		cancel()
	}
	if err := z.fleet.awaitReady(t.Context(), 30*time.Second); err != nil {
		t.Error(err)
	}
	z.checkShown(id, phones)
	if err := z.fleet.stopAll(); err != nil {
		t.Error(err)
	}
	log := z.openLog()
	var events []eventlog.Recorded
	(installation{server: &server{log: log}, t: t}).eachEvent(t, func(e eventlog.Recorded) { events = append(events, e) })
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	z.check(t, events)
}

// phone submits a diary for one day after the other, from a first day that the round chooses.
func (z *freezer) phone(loaded, patience context.Context, round string, who domain.PatientID) {
	day := domain.Date("2020-01-01")
	if round == z.mongo.name {
		day = "2023-01-01"
	}
	phone := z.token("phones")
	for ; loaded.Err() == nil; day = day.AddDays(1) {
		at, err := time.Parse(time.RFC3339, string(day)+"T20:30:00Z")
		if err != nil {
			z.t.Error(err)
			return
		}
		if _, accepted := z.send(patience, phone, string(who)+string(day), diary.SubmitDiary{OfPatient: domain.ForPatient(who),
			Instrument: "pain-diary", CapturedAt: at, Zone: "UTC",
			Answers: diary.Answers{"worst": 5, "least": 1, "average": 3, "now": 2, "rescue": false}}); !accepted {
			return
		}
		pause(loaded, 50*time.Millisecond)
	}
}

// acknowledgedSince waits for the first command that is acknowledged after a moment, and returns its position.
func (z *freezer) acknowledgedSince(patience context.Context, moment time.Time) uint64 {
	z.t.Helper()
	newest := func() (position uint64, last time.Time) {
		z.mu.Lock()
		defer z.mu.Unlock()
		for _, r := range z.receipts {
			position = max(position, r.Position)
		}
		if n := len(z.acknowledged); n > 0 {
			last = z.acknowledged[n-1]
		}
		return position, last
	}
	for patience.Err() == nil {
		if position, last := newest(); last.After(moment) {
			return position
		}
		time.Sleep(10 * time.Millisecond)
	}
	z.t.Fatal("no command was acknowledged")
	return 0
}

// awaitViews waits until all views have come to a position, and returns the name of the last one that had not.
func (z *freezer) awaitViews(patience context.Context, position uint64) (last string) {
	z.t.Helper()
	admin := z.token(demoAdmin)
	for patience.Err() == nil {
		var list projectionviews.ProjectionList
		behind := ""
		if err := z.ask(patience, admin, "/api/v1/projections", 0, &list); err != nil {
			z.t.Fatal(err)
		}
		for _, p := range list.Items {
			if p.Position < position {
				behind = p.View
			}
		}
		if behind == "" {
			return last
		}
		last = behind
		time.Sleep(20 * time.Millisecond)
	}
	z.t.Fatalf("the view %s does not go on", last)
	return last
}

// checkShown checks that each acknowledged diary is shown once, and that each view equals a fresh fold.
func (z *freezer) checkShown(id domain.StudyID, phones int) {
	z.t.Helper()
	eventStore, _ := z.eventStore.addresses()
	mongo, _ := z.mongo.addresses()
	shown := 0
	for i := range phones {
		seen := map[string]int{}
		path := fmt.Sprintf("/api/v1/patients/%s/diaries?limit=200", domain.NewPatientID(id, fmt.Sprint(i)))
		for next := path; next != ""; {
			var page readmodels.List[diaryviews.Diary]
			if err := z.ask(z.t.Context(), z.token("crc"), next, 0, &page); err != nil {
				z.t.Fatal(err)
			}
			for _, d := range page.Items {
				if seen[d.Window]++; seen[d.Window] > 1 {
					z.t.Errorf("%s of patient %d is shown %d times", d.Window, i, seen[d.Window])
				}
			}
			if next = ""; page.Next != "" {
				next = path + "&cursor=" + page.Next
			}
		}
		shown += len(seen)
	}
	if acknowledged := z.commands["SubmitDiary"]; shown != acknowledged {
		z.t.Errorf("%d diaries are shown, and %d were acknowledged", shown, acknowledged)
	}
	for _, view := range contexts.Views() {
		tool(z.t, exitOK, "projections", "verify", view.Name, "--json", "--eventstore", eventStore, "--mongo", mongo)
	}
	z.t.Logf("%d diaries are shown once each, and all views equal a fresh fold", shown)
}
