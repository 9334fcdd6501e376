package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/supply"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	patientviews "casebook/readmodels/patient"
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
