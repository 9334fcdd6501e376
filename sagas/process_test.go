package sagas_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"

	"github.com/google/uuid"
)

// occurs is an event about a patient that comes to the processes of a test.
func (w *world) occurs(id string, event any) eventlog.Recorded {
	name, _ := contexts.Registry().NameOf(event)
	return eventlog.Recorded{ID: uuid.NewSHA1(uuid.Nil, []byte(string(w.study)+id)), Type: name, Event: event,
		Metadata: eventlog.Metadata{Study: w.study, Site: "A"}}
}

// someone is a patient of whom the record knows nothing.
func (w *world) someone() domain.PatientID { return domain.PatientID(w.study + ".S-1") }

// A command that a process has not declared is a mistake in the process: nothing is recorded, and the message is parked.
func TestAProcessSendsOnlyWhatItDeclares(t *testing.T) {
	w := newWorld(t, 10)
	type nothing struct{}
	p := sagas.Define("careless", sagas.Sends(supply.HoldStock{}),
		sagas.On(sagas.ByPatient, func(s nothing, e patient.Completed, _ sagas.Occurrence) (sagas.Reaction[nothing], bool) {
			return sagas.Reaction[nothing]{State: s, Stage: "sent",
				Commands: []any{supply.AllocateKit{OfPatient: domain.ForPatient(e.Patient)}}}, true
		}))
	err := w.runner(w.part).Deal(t.Context(), p, w.occurs("1", patient.Completed{Patient: w.someone()}))
	if !sagas.IsPermanent(err) || !strings.Contains(err.Error(), "AllocateKit") {
		t.Errorf("it was dealt with: %v", err)
	}
	if steps := w.events("saga-careless." + string(w.someone())); len(steps) > 0 {
		t.Errorf("recorded were %v", steps)
	}
}

// Mistakes in a declaration are found when the program starts.
func TestDefineRefusesMistakes(t *testing.T) {
	type nothing struct{}
	completed := func(s nothing, _ patient.Completed, _ sagas.Occurrence) (sagas.Reaction[nothing], bool) {
		return sagas.Reaction[nothing]{State: s}, true
	}
	for name, define := range map[string]func(){
		"an event twice": func() {
			sagas.Define("p", nil, sagas.On(sagas.ByPatient, completed), sagas.On(sagas.ByPatient, completed))
		},
		"the refusal of a command that it does not send": func() {
			sagas.Define("p", nil, sagas.OnRefusal[supply.HoldStock](func(nothing, *refuse.Refusal,
				sagas.Occurrence) (sagas.Reaction[nothing], bool) {
				return sagas.Reaction[nothing]{}, false
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was accepted")
				}
			}()
			define()
		})
	}
}

// What an instance remembers is read in its earlier versions. A program that does not know a version yet leaves the event
// to one that does.
func TestStatesOfEarlierVersionsAreRead(t *testing.T) {
	w := newWorld(t, 10)
	type counting struct {
		Count int `json:"count"`
	}
	type countingSince struct {
		Times int         `json:"times"`
		Since domain.Date `json:"since"`
	}
	earlier := sagas.Define("counting", nil,
		sagas.On(sagas.ByPatient, func(s counting, _ patient.VisitRecorded, _ sagas.Occurrence) (sagas.Reaction[counting], bool) {
			s.Count++
			return sagas.Reaction[counting]{State: s, Stage: "counting"}, true
		}))
	later := sagas.Define("counting", nil,
		sagas.On(sagas.ByPatient, func(s countingSince, _ patient.VisitRecorded, _ sagas.Occurrence) (sagas.Reaction[countingSince], bool) {
			s.Times++
			return sagas.Reaction[countingSince]{State: s, Stage: "counting"}, true
		})).
		Upcast(func(old map[string]any) (map[string]any, error) {
			return map[string]any{"times": old["count"], "since": "2026-01-01"}, nil
		})
	runner := w.runner(w.part)
	deal := func(p sagas.Process, id string) error {
		return runner.Deal(t.Context(), p, w.occurs(id, patient.VisitRecorded{Patient: w.someone()}))
	}
	if err := errors.Join(deal(earlier, "1"), deal(earlier, "2"), deal(later, "3"), deal(later, "4")); err != nil {
		t.Fatal(err)
	}
	steps := ofType[process.StepTaken](w.events("saga-counting." + string(w.someone())))
	for i, want := range []process.StepTaken{{State: json.RawMessage(`{"count":1}`)}, {State: json.RawMessage(`{"count":2}`)},
		{State: json.RawMessage(`{"times":3,"since":"2026-01-01"}`),
			StateVersion: 2}, {State: json.RawMessage(`{"times":4,"since":"2026-01-01"}`), StateVersion: 2}} {
		if got := steps[i]; string(got.State) != string(want.State) || got.StateVersion != want.StateVersion {
			t.Errorf("the %d. step remembers %s in version %d", i+1, got.State, got.StateVersion)
		}
	}
	err := deal(earlier, "5")
	if !errors.Is(err, domain.ErrUnknownVersion) || sagas.IsPermanent(err) {
		t.Errorf("the earlier program dealt with the state of a later one: %v", err)
	}
	for r, err := range w.log.ReadStream(t.Context(), "saga-counting."+string(w.someone()), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Revision == 0 && strings.Contains(string(r.Data), "ersion") {
			t.Errorf("a state of version 1 is stored as %s", r.Data)
		}
	}
}

// A program dies between recording a step and sending its command. The next version of the program, in which the command
// has another shape, sends what was recorded; and each knows what the other has sent.
func TestRecordedCommandsOfEarlierVersionsAreSent(t *testing.T) {
	w := newWorld(t, 10)
	of := safety.OfAlert{Alert: safety.AlertID(w.study + ".x")}
	w.must(access.Process("safety"), safety.RaiseAlert{OfAlert: of, Study: w.study, Kind: safety.RiskFlagged,
		Severity: safety.Urgent,
		Summary:  "A risk.", Source: "x", OccurredAt: w.clock.Now()})
	earlier, earlierProcess := w.remarking(t)
	later, laterProcess := w.remarkingLater(t)
	raised := w.occurs("1", safety.AlertRaised{Alert: safety.AlertID(w.study + ".x")})

	dying := w.runner(earlier)
	dying.Fault = func(point string) error {
		if point == "before Remark" {
			return errKilled
		}
		return nil
	}
	if err := dying.Deal(t.Context(), earlierProcess, raised); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.runner(later).Deal(t.Context(), laterProcess, raised); err != nil {
			t.Fatal(err)
		}
		if err := w.runner(earlier).Deal(t.Context(), earlierProcess, raised); err != nil {
			t.Fatal(err)
		}
	}
	got := ofType[safety.AlertReviewed](w.events("alert-" + string(w.study) + ".x"))
	if len(got) != 1 || got[0].Note != "seen (said by an earlier program)" {
		t.Errorf("recorded were %+v", got)
	}

	// What a later program has recorded, an earlier one leaves to it.
	other := w.occurs("2", safety.AlertRaised{Alert: safety.AlertID(w.study + ".x")})
	dying = w.runner(later)
	dying.Fault = func(point string) error {
		if point == "before Remark" {
			return errKilled
		}
		return nil
	}
	if err := dying.Deal(t.Context(), laterProcess, other); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	if err := w.runner(earlier).Deal(t.Context(), earlierProcess, other); !errors.Is(err, domain.ErrUnknownVersion) || sagas.IsPermanent(err) {
		t.Errorf("the earlier program sent the command of a later one: %v", err)
	}
}

// remarking is a program with a command Remark, and a process that sends it.
func (w *world) remarking(t *testing.T) (*part, sagas.Process) {
	t.Helper()
	type Remark struct {
		safety.OfAlert
		Text string `json:"text"`
	}
	command := commands.Handle(safety.Decider, func(_ safety.Alert, c Remark, _ domain.Call) ([]safety.Event, error) {
		return []safety.Event{safety.AlertReviewed{Alert: c.Alert, Note: personal.Text(c.Text)}}, nil
	}).AllowedTo(access.Processes)
	return w.newPartWith(append(contexts.Commands(), command)),
		remarkingProcess(func(a safety.OfAlert) Remark { return Remark{OfAlert: a, Text: "seen"} })
}

// remarkingLater is a later version of the same program, in which a remark also says whose it is.
func (w *world) remarkingLater(t *testing.T) (*part, sagas.Process) {
	t.Helper()
	type Remark struct {
		safety.OfAlert
		Words string `json:"words"`
		By    string `json:"by"`
	}
	command := commands.Handle(safety.Decider, func(_ safety.Alert, c Remark, _ domain.Call) ([]safety.Event, error) {
		return []safety.Event{safety.AlertReviewed{Alert: c.Alert, Note: personal.Text(c.Words + " (said by " + c.By + ")")}}, nil
	}).AllowedTo(access.Processes).
		Upcast(func(old map[string]any) (map[string]any, error) {
			return map[string]any{"alert": old["alert"], "words": old["text"], "by": "an earlier program"}, nil
		})
	return w.newPartWith(append(contexts.Commands(), command)),
		remarkingProcess(func(a safety.OfAlert) Remark { return Remark{OfAlert: a, Words: "seen", By: "me"} })
}

func remarkingProcess[C any](remark func(safety.OfAlert) C) sagas.Process {
	type nothing struct{}
	var blank C
	return sagas.Define("remarking", sagas.Sends(blank),
		sagas.On(func(e safety.AlertRaised, _ eventlog.Recorded) []string { return sagas.Instance(e.Alert) },
			func(s nothing, e safety.AlertRaised, _ sagas.Occurrence) (sagas.Reaction[nothing], bool) {
				return sagas.Reaction[nothing]{State: s, Stage: "remarked", Commands: []any{remark(safety.OfAlert{Alert: e.Alert})}}, true
			}))
}

// An event to which nothing reacts any more is delivered as before, and means nothing.
func TestDeliveredEventsMeanNothing(t *testing.T) {
	w := newWorld(t, 10)
	type nothing struct{}
	p := sagas.Define("resting", nil, sagas.Delivered[patient.Completed, nothing]())
	if filter, err := sagas.GroupFilter(contexts.Registry(), p); err != nil || !reflect.DeepEqual(filter,
		[]string{"PatientCompleted", "ParkedMessageRetried"}) {
		t.Errorf("the filter is %v, %v", filter, err)
	}
	if err := w.runner(w.part).Deal(t.Context(), p, w.occurs("1", patient.Completed{Patient: w.someone()})); err != nil {
		t.Error(err)
	}
	if steps := w.events("saga-resting." + string(w.someone())); len(steps) > 0 {
		t.Errorf("recorded were %v", steps)
	}
}

// Two processes of one name would share their streams, and one of them would take the other's events.
func TestDriveRefusesTwoProcessesOfOneName(t *testing.T) {
	w := newWorld(t, 10)
	p := sagas.Define[struct{}]("p", nil)
	d := sagas.Drive{URL: w.url, Log: w.log, Handler: w.handler, Processes: []sagas.Process{p, p},
		Logger: w.runner(w.part).Logger}
	if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "two processes are named p") {
		t.Errorf("it ran: %v", err)
	}
}

// TestADriveTellsWhichProcessesTakePart, those that consume and those that work by the clock.
func TestADriveTellsWhichProcessesTakePart(t *testing.T) {
	w := newWorld(t, 10)
	d := sagas.Drive{URL: w.url, Log: w.log, Handler: w.handler, Processes: contexts.Processes(&recorder{name: "broker"}),
		Logger: w.runner(w.part).Logger}
	await := func(want bool) {
		t.Helper()
		for began := time.Now(); (d.CheckTimers() == nil) != want; time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("the timers say: %v", d.CheckTimers())
			}
		}
		for _, p := range d.Processes {
			for began := time.Now(); (d.Check(p) == nil) != want; time.Sleep(5 * time.Millisecond) {
				if time.Since(began) > 20*time.Second {
					t.Fatalf("the process %s says: %v", p.Name, d.Check(p))
				}
			}
		}
	}
	await(false)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	await(true)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	await(false)
}
