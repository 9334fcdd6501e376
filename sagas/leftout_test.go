package sagas_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"

	"github.com/prometheus/client_golang/prometheus"
)

// ticking is a process whose timers fail while broken is set.
func ticking(broken *atomic.Bool, steps *atomic.Int64) sagas.Process {
	type nothing struct{}
	return sagas.Define("ticking", sagas.Sends(supply.HoldStock{}),
		sagas.On(byScreened, func(s nothing, _ patient.Screened, o sagas.Occurrence) (sagas.Reaction[nothing], bool) {
			return sagas.Reaction[nothing]{State: s, Stage: "set", Set: []process.Timer{{Name: "tick", At: o.At}}}, true
		}),
		sagas.OnTimer(func(s nothing, _ sagas.Fired, _ sagas.Occurrence) (sagas.Reaction[nothing], bool) {
			r := sagas.Reaction[nothing]{State: s, Stage: "ticked"}
			if broken.Load() {
				r.Commands = []any{supply.AllocateKit{}} // it does not say that it sends these
			} else {
				steps.Add(1)
			}
			return r, true
		}))
}

// driveWith is driveThese with a drive that can be asked.
func (w *world) driveWith(registry *prometheus.Registry, processes ...sagas.Process) *sagas.Drive {
	w.t.Helper()
	p := w.newPart()
	d := &sagas.Drive{URL: w.url, Log: p.log, Handler: p.handler, Processes: processes, Registerer: registry,
		Logger: slog.New(slog.DiscardHandler), Now: w.clock.Now}
	w.runDrive(d)
	return d
}

// TestTimerThatFailsIsParkedAndRetried: the step of a timer fails. The timer is shown as a parked message with its reason, which raises
// an urgent alert, also after a restart, and takes its step when a person has it retried.
func TestTimerThatFailsIsParkedAndRetried(t *testing.T) {
	w := newWorld(t, 10)
	var broken atomic.Bool
	var steps atomic.Int64
	broken.Store(true)
	stop := w.driveThese([]sagas.Process{ticking(&broken, &steps)})
	who := w.screen()
	parked := w.wait("MessageParked", func(any) bool { return true }).Event.(process.MessageParked)
	if parked.Process != "ticking" || parked.Type != "ProcessTimerSet" || parked.Study != w.study ||
		!strings.Contains(parked.Reason, "AllocateKit") || parked.Stream != "saga-ticking."+string(who) {
		t.Errorf("parked was %+v", parked)
	}
	raised := w.wait("AlertRaised", func(any) bool { return true }).Event.(safety.AlertRaised)
	if raised.Kind != safety.ProcessStuck || raised.Severity != safety.Urgent || raised.Study != w.study || raised.Source != parked.Event {
		t.Errorf("raised was %+v", raised)
	}
	stop()
	broken.Store(false)
	registry := prometheus.NewRegistry()
	d := w.driveWith(registry, ticking(&broken, &steps))
	until(t, "it knows that a message is parked", func() bool { return d.Waiting().Parked["ticking"] == 1 })
	if n := gauge(t, registry, "casebook_process_parked_messages", "ticking"); n != 1 {
		t.Errorf("the metric says that %v are parked", n)
	}
	time.Sleep(500 * time.Millisecond)
	if n := steps.Load(); n != 0 {
		t.Errorf("a parked timer has fired %d times", n)
	}
	w.must(w.manager, process.RetryParkedMessage{InStudy: domain.ForStudy(w.study), Process: parked.Process, Event: parked.Event,
		Reasoned: domain.Because("mended")})
	w.wait("ProcessTimerFired", func(any) bool { return true })
	until(t, "nothing is parked", func() bool { return d.Waiting().Parked["ticking"] == 0 })
}

// TestTimerThatIsGivenUpDoesNotFire: neither at once, nor after a restart.
func TestTimerThatIsGivenUpDoesNotFire(t *testing.T) {
	w := newWorld(t, 10)
	var broken atomic.Bool
	var steps atomic.Int64
	broken.Store(true)
	stop := w.driveThese([]sagas.Process{ticking(&broken, &steps)})
	w.screen()
	parked := w.wait("MessageParked", func(any) bool { return true }).Event.(process.MessageParked)
	w.must(w.manager, process.AbandonParkedMessage{InStudy: domain.ForStudy(w.study), Process: parked.Process, Event: parked.Event,
		Reasoned: domain.Because("done by hand")})
	stop()
	broken.Store(false)
	w.driveThese([]sagas.Process{ticking(&broken, &steps)})
	w.screen() // its timer fires
	w.wait("ProcessTimerFired", func(any) bool { return true })
	if n := steps.Load(); n != 1 {
		t.Errorf("%d timers have fired", n)
	}
}

// TestTimerCommandsAreSentAfterACrash: the program ends between the step of a timer and its commands. The next one sends them.
func TestTimerCommandsAreSentAfterACrash(t *testing.T) {
	w := newWorld(t, 10)
	type nothing struct{}
	p := sagas.Define("daily", sagas.Sends(safety.RaiseAlert{}),
		sagas.On(byScreened, func(s nothing, _ patient.Screened, o sagas.Occurrence) (sagas.Reaction[nothing], bool) {
			return sagas.Reaction[nothing]{State: s, Stage: "set", Set: []process.Timer{{Name: "tick", At: o.At}}}, true
		}),
		sagas.OnTimer(func(s nothing, _ sagas.Fired, o sagas.Occurrence) (sagas.Reaction[nothing], bool) {
			return sagas.Reaction[nothing]{State: s, Stage: "ticked", Commands: []any{safety.RaiseAlert{OfAlert: sagas.AlertFrom(w.study, o.ID),
				Study: w.study, Kind: safety.RiskFlagged, Severity: safety.Urgent, Summary: "It ticks.", Source: o.ID, OccurredAt: o.At}}}, true
		}))
	dying := w.runner(w.part)
	dying.Fault = func(point string) error {
		if point == "before RaiseAlert" {
			return errKilled
		}
		return nil
	}
	screened := w.recorded("patient-" + string(w.screen()))[0]
	if err := dying.Deal(t.Context(), p, screened); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.recorded("saga-daily." + string(screened.Metadata.Patient)) {
		if _, is := e.Event.(process.TimerSet); is {
			if err := dying.Fire(t.Context(), p, e); !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
		}
	}
	w.driveThese([]sagas.Process{p})
	w.wait("AlertRaised", func(e any) bool { return e.(safety.AlertRaised).Summary == "It ticks." })
}

// recorded returns a stream's events with their places.
func (w *world) recorded(stream string) (all []eventlog.Recorded) {
	w.t.Helper()
	for r, err := range w.log.ReadStream(w.t.Context(), stream, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// until waits until something holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// TestTurnThatFailsIsParkedAndRetried: a turn by the clock fails again and again. The instance is shown as a parked message, takes no
// turns until a person has it retried, and all others go on.
func TestTurnThatFailsIsParkedAndRetried(t *testing.T) {
	w := newWorld(t, 10)
	first, second := w.assign(painDiary), w.assign(painDiary)
	broken := true
	turns := map[string]int{}
	p := sagas.DefineByClock("by-clock", nil, func(_ context.Context, d *sagas.Desk, of string, _ int) (time.Time, error) {
		if turns[of]++; broken && of == string(first) {
			return time.Time{}, errors.New("it does not work")
		}
		return d.Now().Add(time.Hour), nil
	}, sagas.Begin(sagas.ByPatient, func(known int, _ diary.InstrumentAssigned, at eventlog.Recorded) (int, time.Time) {
		return known + 1, at.Metadata.RecordedAt
	}))
	newClock := func() *sagas.Clock {
		r := w.runner(w.part)
		return sagas.NewClock(p, r).ParkingWith(r)
	}
	clock := newClock()
	var seen domain.Position
	follow := func() {
		c := w.courier(w.part)
		c.seen = seen
		for _, e := range c.fresh() {
			clock.Take(e)
		}
		seen = c.seen
		for clock.TakeTurn(t.Context()) {
		}
	}
	follow()
	for range 20 {
		w.clock.set(w.clock.Now().Add(2 * time.Minute))
		follow()
	}
	parked := ofType[process.MessageParked](w.parkedEvents())
	if len(parked) != 1 || parked[0].Process != "by-clock" || parked[0].Type != "InstrumentAssigned" || parked[0].Study != w.study ||
		parked[0].Stream != "diary-"+string(first) || !strings.Contains(parked[0].Reason, "does not work") ||
		!strings.Contains(parked[0].Reason, string(first)) {
		t.Fatalf("parked are %+v", parked)
	}
	if turns[string(first)] != 10 || turns[string(second)] == 0 || clock.Follows(string(first)) {
		t.Errorf("they took turns: %v", turns)
	}
	clock, seen, turns = newClock(), domain.Position{}, map[string]int{} // after a restart
	follow()
	if turns[string(first)] != 0 || turns[string(second)] == 0 {
		t.Errorf("after a restart they took turns: %v", turns)
	}
	broken = false
	w.must(w.manager, process.RetryParkedMessage{InStudy: domain.ForStudy(w.study), Process: parked[0].Process, Event: parked[0].Event,
		Reasoned: domain.Because("mended")})
	follow()
	if turns[string(first)] != 1 {
		t.Errorf("after it was retried it has taken %d turns", turns[string(first)])
	}
}

// parkedEvents are the events of all parked messages.
func (w *world) parkedEvents() (all []any) {
	w.t.Helper()
	c := w.courier(w.part)
	for _, e := range c.fresh() {
		all = append(all, e.Event)
	}
	return all
}

// TestMessageThatIsParkedRaisesOneAlert: a message about an alert that cannot be sent raises one alert a day, and not one about itself.
func TestMessageThatIsParkedRaisesOneAlert(t *testing.T) {
	w := newWorld(t, 10)
	channel := &recorder{name: "broker", fail: func(int) error { panic("a mistake of ours") }}
	w.drive(channel)
	for _, id := range []string{"x", "y", "z"} {
		w.must(access.Process("safety"), safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: safety.AlertID("PAIN1." + id)},
			Study: w.study, Site: "A",
			Kind: safety.RiskFlagged, Severity: safety.Urgent, Summary: "A risk.", Source: id, OccurredAt: w.clock.Now()})
	}
	raised := w.wait("AlertRaised", func(e any) bool { return e.(safety.AlertRaised).Kind == safety.ProcessStuck }).Event.(safety.AlertRaised)
	w.wait("MessageParked", func(e any) bool { return e.(process.MessageParked).Stream == "alert-"+string(raised.Alert) })
	time.Sleep(300 * time.Millisecond)
	n := 0
	for _, e := range ofType[safety.AlertRaised](w.parkedEvents()) {
		if e.Kind == safety.ProcessStuck {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d alerts were raised", n)
	}
}

// TestStuckProcessesAreCounted: the metric and the drive tell how many instances of each process are stuck.
func TestStuckProcessesAreCounted(t *testing.T) {
	w := newWorld(t, 10)
	registry := prometheus.NewRegistry()
	d := w.driveWith(registry, contexts.Processes()...)
	take := func(trigger string, after int, outcome process.Outcome) {
		w.must(access.Process("dispensing"), process.TakeStep{After: after, Step: process.StepTaken{
			Instance: process.Instance{Process: "dispensing", Of: "PAIN1.S-9"}, Study: w.study, Trigger: trigger, TriggerType: "x", Stage: "s",
			Outcome: outcome}})
	}
	take("a", 0, process.Stuck)
	until(t, "one is stuck", func() bool { return d.Waiting().Stuck["dispensing"] == 1 })
	if n := gauge(t, registry, "casebook_process_stuck", "dispensing"); n != 1 {
		t.Errorf("the metric says that %v are stuck", n)
	}
	for _, p := range contexts.Processes() {
		if !p.ByClock() && gauge(t, registry, "casebook_process_foreign_members", p.Group()) != 0 {
			t.Errorf("the group %s has foreign members", p.Group())
		}
	}
	group := contexts.Processes()[0].Group()
	d.ReportForeign(group, []string{"a stranger", "another one"})
	if n := gauge(t, registry, "casebook_process_foreign_members", group); n != 2 {
		t.Errorf("the metric says that %s has %v foreign members", group, n)
	}
	d.ReportForeign(group, nil)
	if n := gauge(t, registry, "casebook_process_foreign_members", group); n != 0 {
		t.Errorf("when they have left, the metric says that %s has %v foreign members", group, n)
	}
	take("b", 1, "")
	until(t, "none is stuck", func() bool { return d.Waiting().Stuck["dispensing"] == 0 })
}

// gauge reads a metric with one label.
func gauge(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s of %s", name, label)
	return 0
}

func byScreened(e patient.Screened, _ eventlog.Recorded) []string { return sagas.Instance(e.Patient) }
