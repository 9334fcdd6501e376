package sagas_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/embedded/node"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	"casebook/sagas"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// world is an event store with one study, which many processes can work on.
type world struct {
	t     testing.TB
	clock *clock
	url   string
	// inside is the connection to an event store in this program; nil where it is reached over the network.
	inside grpc.ClientConnInterface
	// stats are those of that store.
	stats func() node.Stats
	*part
	// study is the world's own, manager and crc work in it.
	study        domain.StudyID
	manager, crc access.Principal
	// begun is where a shared log ended when the world began.
	begun domain.Position
	// shared says that other worlds write the log too.
	shared   bool
	screened int
	// perStratum is how many places a randomisation list has at least.
	perStratum int
	ofManager  *esdb.Client // see client
}

// part is one process of the product: its own connection, its own cached states.
type part struct {
	log     *eventlog.Log
	handler *commands.Handler
	// crashed says that the log was closed under it, so that it cannot end well.
	crashed bool
}

// worlds counts the worlds of this program.
var worlds atomic.Int64

// newWorld opens an event store of its own, with the active site A and enrolment open up to the cap. On a server that is given, the
// worlds have studies of their own, and share everything else.
func newWorld(t testing.TB, most int) *world {
	t.Helper()
	url, stop, own, err := storetest.Own(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return newWorldOn(t, url, !own, most)
}

// newWorldInside is newWorld on an embedded event store that the program reaches as a server reaches its own.
func newWorldInside(t testing.TB, most int) *world {
	t.Helper()
	n, err := node.Open(t.Context(), node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, url: n.ConnectionString(), inside: n.InProcess(), stats: n.Stats}
	w.begin(most)
	return w
}

// newWorldOn is newWorld on an event store, which it shares with other worlds or not.
func newWorldOn(t testing.TB, url string, shared bool, most int) *world {
	t.Helper()
	w := &world{t: t, url: url, shared: shared}
	w.begin(most)
	return w
}

// begin sets up the study.
func (w *world) begin(most int) {
	t, shared := w.t, w.shared
	t.Helper()
	w.clock, w.study = &clock{now: time.Date(2026, 2, 3, 9, 0, 0, 0, time.UTC)}, "PAIN1"
	if shared {
		w.study = domain.StudyID(fmt.Sprintf("P%d-%d", time.Now().UnixMilli()%100_000_000, worlds.Add(1)))
	}
	w.manager = access.Principal{User: "manager", Grants: []user.Grant{{Role: user.DataManager, Study: w.study}}}
	w.crc = access.Principal{User: "crc", Grants: []user.Grant{{Role: user.CRC, Study: w.study, Site: "A"}}}
	w.part = w.newPart()
	if shared {
		var err error
		if w.begun, err = w.log.End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	quick := *instrument.PHQ9()
	quick.Schedule.Late = instrument.LatePolicy{}
	w.must(w.manager, study.CreateStudy{InStudy: domain.ForStudy(w.study), Title: "Pain", Sponsor: "Nobody"})
	w.must(w.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(w.study),
		Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
			Instruments: []instrument.Definition{*instrument.PainDiary(), quick}}})
	w.must(w.manager, study.AddSite{AtSite: domain.ForSite(w.study, "A"), Name: "Charite", Country: "DE", Zone: "Europe/Berlin"})
	w.must(w.manager, study.ActivateSite{AtSite: domain.ForSite(w.study, "A"), On: "2026-01-01"})
	w.must(w.manager, enrollment.OpenEnrollment{InStudy: domain.ForStudy(w.study), Caps: enrollment.Caps{Target: 1, Study: most}})
}

// holds says that an event is of this world.
func (w *world) holds(e eventlog.Recorded) bool { return !w.shared || e.Metadata.Study == w.study }

// blindingKeys are those of all tests.
func blindingKeys(t testing.TB) *eventlog.BlindingKeys {
	t.Helper()
	keys, err := eventlog.NewBlindingKeys(bytes.Repeat([]byte{7}, eventlog.BlindingKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// newPart starts one more process; it ends with the test, or when it is closed before.
func (w *world) newPart() *part {
	w.t.Helper()
	return w.newPartWith(contexts.Commands())
}

// newPartWith is newPart for a program that takes other commands.
func (w *world) newPartWith(all []commands.Command) *part {
	w.t.Helper()
	log, err := eventlog.Connect(w.t.Context(), eventlog.Options{URL: w.url, InProcess: w.inside, Registry: contexts.Registry(),
		BlindingKeys: blindingKeys(w.t), Patience: time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	h := commands.NewHandler(commands.Options{Log: log, Commands: all, Now: w.clock.Now})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	p := &part{log: log, handler: h}
	go func() { ended <- h.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, log.Close()); err != nil && !p.crashed {
			w.t.Error(err)
		}
	})
	if err := h.Ready(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// runner runs processes on a part.
func (w *world) runner(p *part) *sagas.Runner {
	return &sagas.Runner{Handler: p.handler, Logger: slog.New(slog.DiscardHandler), Now: w.clock.Now}
}

func nameOf(command any) string { return reflect.TypeOf(command).Name() }

func (p *part) do(who access.Principal, command any) (commands.Answer, error) {
	body, err := json.Marshal(command)
	if err != nil {
		return commands.Answer{}, err
	}
	return p.handler.Do(context.Background(), commands.Request{Name: nameOf(command), Body: body, Principal: who})
}

func (w *world) must(who access.Principal, command any) {
	w.t.Helper()
	if _, err := w.do(who, command); err != nil {
		w.t.Fatalf("%T: %v", command, err)
	}
}

// screen returns a new patient, who has only been screened.
// phone is the patient's own account.
func (w *world) phone(who domain.PatientID) access.Principal {
	return access.Principal{User: "phone", Grants: []user.Grant{{Role: user.PatientRole, Study: w.study, Patient: who}}}
}

func (w *world) screen() domain.PatientID {
	w.t.Helper()
	w.screened++
	number := fmt.Sprintf("S-%03d", w.screened)
	w.must(w.crc, patient.ScreenPatient{AtSite: domain.ForSite(w.study, "A"), ScreeningNumber: number, On: "2026-02-01"})
	return domain.NewPatientID(w.study, number)
}

// consented returns a new patient whose enrolment can be asked for.
func (w *world) consented() domain.PatientID {
	w.t.Helper()
	id := w.screen()
	w.must(w.crc, patient.RecordConsent{OfPatient: domain.ForPatient(id), ConsentVersion: "1.0", On: "2026-02-01"})
	return id
}

// request returns a new patient whose enrolment has been asked for.
func (w *world) request() domain.PatientID {
	w.t.Helper()
	id := w.consented()
	w.must(w.crc, patient.EnrollPatient{OfPatient: domain.ForPatient(id), On: "2026-02-02"})
	return id
}

// enroll returns a new patient who participates. Where processes run, they may be faster.
func (w *world) enroll() domain.PatientID {
	w.t.Helper()
	id := w.request()
	for _, command := range []any{
		enrollment.ReservePlace{InStudy: domain.ForStudy(w.study), Site: "A", OfPatient: domain.ForPatient(id)},
		patient.ConfirmEnrollment{OfPatient: domain.ForPatient(id), PatientNumber: "1"},
	} {
		_, err := w.do(access.Process("enrollment"), command)
		if refusal, refused := refuse.As(err); err != nil && !(refused && refusal.Code == "patient_status") {
			w.t.Fatalf("%T: %v", command, err)
		}
	}
	return id
}

// events returns a stream's events.
func (w *world) events(stream string) []any {
	w.t.Helper()
	var all []any
	for r, err := range w.log.ReadStream(context.Background(), stream, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r.Event)
	}
	return all
}

// ofType returns those events that are of type E.
func ofType[E any](events []any) []E {
	var some []E
	for _, e := range events {
		if e, ok := e.(E); ok {
			some = append(some, e)
		}
	}
	return some
}

// types returns the stable names of a stream's events.
func (w *world) types(stream string) []string {
	w.t.Helper()
	var all []string
	for r, err := range w.log.ReadStream(context.Background(), stream, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r.Type)
	}
	return all
}
