package sagas_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/eventlog/pubsub"
	"casebook/notify"
	"casebook/sagas"
	enrollmentprocesses "casebook/sagas/enrollment"
	safetyprocesses "casebook/sagas/safety"
	userprocesses "casebook/sagas/user"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// recorder is a channel that keeps the messages that it is sent, and fails where fail says so.
type recorder struct {
	name string
	mu   sync.Mutex
	got  []notify.Message
	fail func(n int) error
	sent int
	// of is the study of whose messages it takes note; empty for all.
	of string
}

func (r *recorder) Name() string { return r.name }
func (r *recorder) Close() error { return nil }
func (r *recorder) Send(_ context.Context, m notify.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Topic != userprocesses.AccountTopic && !strings.Contains(m.Subject+m.Text+string(m.Payload), r.of) {
		return nil
	}
	r.sent++
	if r.fail != nil {
		if err := r.fail(r.sent); err != nil {
			return err
		}
	}
	r.got = append(r.got, m)
	return nil
}

// ids are those of the messages that were taken, each once.
func (r *recorder) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, m := range r.got {
		if !slices.Contains(all, m.ID) {
			all = append(all, m.ID)
		}
	}
	return all
}

// drive runs all processes on a part of their own until the function that it returns is called.
func (w *world) drive(channels ...notify.Channel) (stop func()) {
	w.t.Helper()
	for _, c := range channels {
		if r, is := c.(*recorder); is && w.shared {
			r.mu.Lock()
			r.of = string(w.study)
			r.mu.Unlock()
		}
	}
	return w.driveThese(contexts.Processes(channels...))
}

func (w *world) driveThese(processes []sagas.Process) (stop func()) {
	w.t.Helper()
	return w.driveOn(w.newPart(), processes)
}

// driveOn runs processes on a part, beside what else it does.
func (w *world) driveOn(p *part, processes []sagas.Process) (stop func()) {
	w.t.Helper()
	return w.runDrive(&sagas.Drive{URL: w.url, Log: p.log, Handler: p.handler, Processes: processes,
		Logger: slog.New(slog.DiscardHandler), Now: w.clock.Now})
}

// runDrive runs a drive until the function that it returns is called.
func (w *world) runDrive(d *sagas.Drive) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				w.t.Error(err)
			}
		})
	}
	w.t.Cleanup(stop)
	for _, process := range d.Processes {
		for began := time.Now(); process.BeginsAtEnd() && !w.hasGroup(process.Group()); time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				w.t.Fatalf("the group %s is not made", process.Group())
			}
		}
	}
	return stop
}

// hasGroup says whether the event store has a consumer group.
func (w *world) hasGroup(name string) bool {
	w.t.Helper()
	_, err := w.client().GetPersistentSubscriptionInfoToAll(w.t.Context(), name, esdb.GetPersistentSubscriptionOptions{})
	return err == nil
}

// withoutGroup deletes a consumer group that other worlds have left behind.
func (w *world) withoutGroup(name string) {
	w.t.Helper()
	if !w.shared || !w.hasGroup(name) {
		return
	}
	if err := w.client().DeletePersistentSubscriptionToAll(w.t.Context(), name, esdb.DeletePersistentSubscriptionOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// client is a client of the event store, as somebody has who manages it.
func (w *world) client() *esdb.Client {
	w.t.Helper()
	if w.ofManager != nil {
		return w.ofManager
	}
	settings, err := esdb.ParseConnectionString(w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	settings.Logger = esdb.NoopLogging()
	client, err := esdb.NewClient(settings)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := client.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.ofManager = client
	return client
}

// wait waits until the log holds an event of these types for which is returns true, and returns it.
func (w *world) wait(types string, is func(any) bool) eventlog.Recorded {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), time.Minute)
	defer stop()
	var found *eventlog.Recorded
	of := eventlog.Subscription{After: w.begun, Types: []string{types}, KeepUnreadable: w.shared}
	err := w.log.Follow(ctx, of, func(_ context.Context, b eventlog.Batch) error {
		for _, e := range b.Events {
			if found == nil && w.holds(e) && is(e.Event) {
				found = &e
				stop()
			}
		}
		return nil
	})
	if err != nil || found == nil {
		w.t.Fatalf("no such %s came: %v", types, err)
	}
	return *found
}

func TestDriveEnrolsWithTwoPrograms(t *testing.T) {
	w := newWorld(t, 1000)
	text, numbers := kits(10_000, 20)
	w.treated(nil, text)
	w.drive()
	w.drive()
	w.wait("DeliveryTakenIn", func(any) bool { return true })
	w.ship(numbers...)
	var who []domain.PatientID
	for range 12 {
		who = append(who, w.request())
	}
	for _, p := range who {
		w.wait("PatientEnrolled", func(e any) bool { return e.(patient.Enrolled).Patient == p })
	}
	w.wait("ProcessStepTaken", func(e any) bool {
		s, ok := e.(process.StepTaken)
		return ok && s.Of == string(who[11]) && s.Stage == "enrolled"
	})
	for _, p := range who {
		w.verify(p)
	}
}

// makeGroup makes the consumer group of a process.
func (w *world) makeGroup(client *esdb.Client, p sagas.Process, settings esdb.PersistentSubscriptionSettings, from esdb.AllPosition) {
	w.t.Helper()
	types, err := sagas.GroupFilter(w.log.Registry(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := client.CreatePersistentSubscriptionToAll(w.t.Context(), p.Group(), esdb.PersistentAllSubscriptionOptions{Settings: &settings,
		StartFrom: from, Filter: &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Prefixes: types}}); err != nil {
		w.t.Fatal(err)
	}
}

// An earlier version of the program let the store wait two minutes for the answer to an event. A frozen program would hold it for
// as long.
func TestDriveUpdatesGroupsOfEarlierVersions(t *testing.T) {
	w := newWorld(t, 10)
	settings, group := pubsub.DefaultSettings(), enrollmentprocesses.Enrollment.Group()
	settings.MessageTimeout = 120_000
	client := w.client()
	w.withoutGroup(group)
	w.makeGroup(client, enrollmentprocesses.Enrollment, settings, esdb.Start{})
	w.drive()
	who := w.request()
	w.wait("PatientEnrolled", func(e any) bool { return e.(patient.Enrolled).Patient == who })
	info, err := client.GetPersistentSubscriptionInfoToAll(t.Context(), group, esdb.GetPersistentSubscriptionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if info.Settings.MessageTimeout > 10_000 {
		t.Errorf("the store waits %d ms for an answer", info.Settings.MessageTimeout)
	}
}

// A diary with a risk becomes an alert, the alert a message on every channel; nobody looks, and it is escalated; somebody
// looks, and it is not.
func TestARiskBecomesAMessageAndIsEscalated(t *testing.T) {
	w := newWorld(t, 10)
	broker, mail := &recorder{name: "broker"}, &recorder{name: "email", fail: func(n int) error {
		if n < 3 {
			return errors.New("the server is away")
		}
		return nil
	}}
	who := w.assign(phq9)
	w.drive(broker, mail)
	w.clock.set(berlin(3, 20, 30, 0))
	w.must(w.phone(who), diary.SubmitDiary{OfPatient: domain.ForPatient(who), Instrument: phq9, CapturedAt: berlin(3, 20, 0, 0),
		Answers: riskyPHQ9()})
	raised := w.wait("AlertRaised", func(any) bool { return true }).Event.(safety.AlertRaised)
	if raised.Patient != who || raised.Kind != safety.RiskFlagged || raised.Severity != safety.Urgent ||
		!raised.ReviewBy.Equal(w.clock.Now().Add(time.Hour)) {
		t.Errorf("raised was %+v", raised)
	}
	told := func(channel string, level int) {
		t.Helper()
		w.wait("NotificationSent", func(e any) bool {
			n := e.(safety.NotificationSent)
			return n.Channel == channel && n.Level == level
		})
	}
	told("broker", 0)
	told("email", 0)
	var m safetyprocesses.AlertMessage
	if err := json.Unmarshal(broker.got[0].Payload, &m); err != nil || m.Alert != raised.Alert || m.Level != 0 || m.Patient != who {
		t.Errorf("the broker got %+v, %v", m, err)
	}
	w.clock.set(raised.ReviewBy)
	told("broker", 1)
	w.must(w.crc, safety.ReviewAlert{OfAlert: safety.OfAlert{Alert: raised.Alert}, Note: "called the patient"})
	w.wait("ProcessTimerCancelled", func(any) bool { return true })
	w.clock.set(raised.ReviewBy.Add(2 * time.Hour))
	told("email", 1)
	if a, b := len(broker.ids()), len(mail.ids()); a != 2 || b != 2 {
		t.Errorf("the broker got %d messages, the mail server %d", a, b)
	}
	if n := len(ofType[safety.AlertEscalated](w.events("alert-" + string(raised.Alert)))); n != 1 {
		t.Errorf("it was escalated %d times", n)
	}
}

// The site hears of an urgent risk in a diary that is held before it has decided, once: also when it takes the diary later.
func TestTheSiteHearsOfARiskInAHeldDiaryOnce(t *testing.T) {
	w := newWorld(t, 10)
	who := w.assign(painDiary)
	w.drive()
	severe := func(day, hour int, worst float64) diary.SubmitDiary {
		return diary.SubmitDiary{OfPatient: domain.ForPatient(who), Instrument: painDiary, CapturedAt: berlin(day, hour, 0, 0),
			Answers: diary.Answers{"worst": worst, "least": 1, "average": 2, "now": 2, "rescue": false}}
	}
	w.clock.set(berlin(4, 22, 0, 0))
	w.must(w.phone(who), severe(3, 20, 3))
	w.must(w.phone(who), severe(3, 21, 7)) // held, and no risk
	w.must(w.phone(who), severe(3, 22, 9))
	held := w.wait("DiaryHeld", func(e any) bool { return len(e.(diary.Held).UrgentRisks) > 0 })
	if risks := held.Event.(diary.Held).UrgentRisks; !slices.Equal(risks, []string{"pain-severe"}) {
		t.Errorf("the risks are %v", risks)
	}
	raised := w.wait("AlertRaised", func(any) bool { return true }).Event.(safety.AlertRaised)
	if raised.Source != held.ID.String() || raised.Patient != who || raised.Kind != safety.RiskFlagged || raised.Severity != safety.Urgent ||
		raised.Site != "A" || !strings.Contains(raised.Summary, "held") || raised.Rule != "pain-severe" || raised.Message == "" {
		t.Errorf("raised was %+v", raised)
	}
	because := domain.Because("The patient was asked")
	doctor := access.Principal{User: "doctor", Grants: []user.Grant{{Role: user.Investigator, Study: w.study, Site: "A"}}}
	w.must(doctor, diary.VoidDiary{OfPatient: domain.ForPatient(who), Instrument: painDiary, Window: "2026-02-03/evening", Reasoned: because})
	w.must(doctor, diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(who), Instrument: painDiary, From: held.Event.(diary.Held).Window.ID,
		To: "2026-02-03/evening", Reasoned: because})
	flagged := w.wait("RiskFlagged", func(any) bool { return true }).Event.(diary.RiskFlagged)
	if !flagged.ToldWhenHeld || flagged.Rule != "pain-severe" {
		t.Errorf("flagged was %+v", flagged)
	}
	// Another diary is behind it.
	w.must(w.phone(who), severe(4, 20, 9))
	next := w.wait("RiskFlagged", func(e any) bool { return e.(diary.RiskFlagged).Window == "2026-02-04/evening" })
	alerts := 0
	w.wait("AlertRaised", func(e any) bool {
		alerts++
		return e.(safety.AlertRaised).Source == next.ID.String()
	})
	if alerts != 2 {
		t.Errorf("%d alerts were raised", alerts)
	}
}

// riskyPHQ9 are answers of which the ninth crosses the risk rule.
func riskyPHQ9() diary.Answers {
	answers := diary.Answers{"phq9": "2", "difficulty": "0"}
	for i := 1; i <= 8; i++ {
		answers[instrument.ItemID(fmt.Sprintf("phq%d", i))] = "0"
	}
	return answers
}

// When a window opens, the patient gets one reminder, although two programs follow the clock.
func TestPatientsAreRemindedOnce(t *testing.T) {
	w := newWorld(t, 10)
	w.amend(true)
	who := w.assign(painDiary)
	broker := &recorder{name: "broker"}
	stops := []func(){w.drive(broker), w.drive(broker)}
	for n, day := range []int{3, 4} {
		w.clock.set(berlin(day, 19, 0, 0))
		for began := time.Now(); len(broker.ids()) <= n && time.Since(began) < time.Minute; time.Sleep(5 * time.Millisecond) {
		}
	}
	for _, stop := range stops {
		stop()
	}
	if n := len(ofType[diary.ReminderDue](w.events(diary.Decider.Stream(string(who))))); n != 2 || len(broker.ids()) != 2 {
		t.Errorf("%d reminders are recorded, %d sent", n, len(broker.ids()))
	}
}

// The program dies before the message, after it, and before it is recorded: each channel has the message, under one id.
func TestExactlyOneNotificationWhateverDies(t *testing.T) {
	w := newWorld(t, 10)
	alert := safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: safety.AlertID(w.study + ".x")},
		Study: w.study, Site: "A",
		Kind:     safety.RiskFlagged,
		Severity: safety.Urgent, Summary: "A risk.", Source: "x", OccurredAt: w.clock.Now()}
	w.must(access.Process("safety"), alert)
	var raised eventlog.Recorded
	for e, err := range w.log.ReadStream(t.Context(), "alert-"+string(w.study)+".x", 0) {
		if err != nil {
			t.Fatal(err)
		}
		raised = e
	}
	channel := &recorder{name: "broker"}
	for _, dies := range []string{"before the message", "after the message", "never", "never"} {
		runner := w.runner(w.newPart())
		runner.Fault = func(point string) error {
			if point == dies {
				return errKilled
			}
			return nil
		}
		if err := runner.Deal(t.Context(), safetyprocesses.Notifier(channel), raised); err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
	if ids := channel.ids(); len(ids) != 1 || channel.sent != 2 {
		t.Errorf("it was sent %d times, under the ids %v", channel.sent, ids)
	}
	if n := len(ofType[safety.NotificationSent](w.events("alert-" + string(w.study) + ".x"))); n != 1 {
		t.Errorf("it is recorded %d times", n)
	}
	// What the receiver will never take is recorded, and not sent again.
	refusing := &recorder{name: "webhook", fail: func(int) error { return fmt.Errorf("no: %w", notify.ErrRejected) }}
	for range 2 {
		if err := w.runner(w.part).Deal(t.Context(), safetyprocesses.Notifier(refusing), raised); err != nil {
			t.Fatal(err)
		}
	}
	if f := ofType[safety.NotificationFailed](w.events("alert-" + string(w.study) + ".x")); len(f) != 1 || refusing.sent != 1 {
		t.Errorf("failed: %+v, sent %d times", f, refusing.sent)
	}
}

// TestAChannelThatIsAddedLaterGetsNothingOfThePast: neither when its consumer group is new, nor when the group was deleted.
func TestAChannelThatIsAddedLaterGetsNothingOfThePast(t *testing.T) {
	w := newWorld(t, 10)
	raise := func(id string) {
		of := safety.OfAlert{Alert: safety.AlertID(string(w.study) + "." + id)}
		w.must(access.Process("safety"), safety.RaiseAlert{OfAlert: of, Study: w.study, Site: "A",
			Kind: safety.RiskFlagged, Severity: safety.Urgent, Summary: id, Source: id, OccurredAt: w.clock.Now()})
	}
	sent := func(id, channel string) bool {
		all := ofType[safety.NotificationSent](w.events("alert-" + string(w.study) + "." + id))
		return slices.ContainsFunc(all, func(n safety.NotificationSent) bool {
			return n.Channel == channel
		})
	}
	until := func(what string, holds func() bool) {
		t.Helper()
		for began := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("it never came to this: %s", what)
			}
		}
	}
	webhook := &recorder{name: "webhook"}
	const group = "casebook-notify-webhook"
	w.withoutGroup(group)
	stop := w.drive(&recorder{name: "broker"})
	raise("before")
	until("the broker has the first alert", func() bool { return sent("before", "broker") })
	stop()

	stop = w.drive(&recorder{name: "broker"}, webhook)
	raise("with")
	until("the webhook has the second alert", func() bool { return sent("with", "webhook") })
	stop()
	raise("meanwhile") // a group that is there keeps its place
	stop = w.drive(&recorder{name: "broker"}, webhook)
	until("the webhook has the third alert", func() bool { return sent("meanwhile", "webhook") })

	if err := w.client().DeletePersistentSubscriptionToAll(t.Context(), group, esdb.DeletePersistentSubscriptionOptions{}); err != nil {
		t.Fatal(err)
	}
	until("the webhook's group is made again", func() bool { return w.hasGroup(group) })
	raise("after")
	until("the webhook has the fourth alert", func() bool { return sent("after", "webhook") })
	stop()
	if n := len(webhook.ids()); n != 3 || sent("before", "webhook") {
		t.Errorf("the webhook has %d messages, and that of before: %v", n, sent("before", "webhook"))
	}
}

// A process learns to listen to one more type of event. In a new group it is delivered what was recorded before, and takes
// no step twice.
func TestAProcessInANewGroupIsDeliveredEverything(t *testing.T) {
	w := newWorld(t, 10)
	type nothing struct{}
	counts := func(s nothing) (sagas.Reaction[nothing], bool) {
		return sagas.Reaction[nothing]{State: s, Stage: "seen"}, true
	}
	screened := sagas.On(func(e patient.Screened, _ eventlog.Recorded) []string { return sagas.Instance(e.Patient) },
		func(s nothing, _ patient.Screened, _ sagas.Occurrence) (sagas.Reaction[nothing], bool) {
			return counts(s)
		})
	consented := sagas.On(func(e patient.ConsentRecorded, _ eventlog.Recorded) []string { return sagas.Instance(e.Patient) },
		func(s nothing, _ patient.ConsentRecorded, _ sagas.Occurrence) (sagas.Reaction[nothing], bool) {
			return counts(s)
		})
	who := w.consented()
	step := func(of domain.PatientID, trigger string) {
		w.wait("ProcessStepTaken", func(e any) bool {
			s := e.(process.StepTaken)
			return s.Of == string(of) && s.TriggerType == trigger
		})
	}
	stop := w.driveThese([]sagas.Process{sagas.Define("greeter", nil, screened)})
	step(who, "PatientScreened")
	stop()
	w.driveThese([]sagas.Process{sagas.Define("greeter", nil, screened, consented).InGroup("greeter-2")})
	later := w.consented()
	for _, of := range []domain.PatientID{who, later} {
		step(of, "PatientScreened")
		step(of, "ConsentRecorded")
		if steps := w.events("saga-greeter." + string(of)); len(steps) != 2 {
			t.Errorf("%s has led to %d steps", of, len(steps))
		}
	}
}

// A message that cannot be dealt with is parked with its reason, does not block the others, and is dealt with when it is
// retried.
func TestAPoisonedMessageIsParkedAndRetried(t *testing.T) {
	w := newWorld(t, 10)
	broken := true
	var mu sync.Mutex
	channel := &recorder{name: "broker", fail: func(int) error {
		mu.Lock()
		defer mu.Unlock()
		if broken {
			panic("a mistake of ours")
		}
		return nil
	}}
	w.drive(channel)
	w.must(access.Process("safety"), safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: safety.AlertID(w.study + ".x")},
		Study: w.study, Site: "A",
		Kind: safety.RiskFlagged, Severity: safety.Urgent, Summary: "A risk.", Source: "x", OccurredAt: w.clock.Now()})
	parked := w.wait("MessageParked", func(any) bool { return true }).Event.(process.MessageParked)
	if parked.Process != "notify-broker" || parked.Type != "AlertRaised" || parked.Study != w.study || parked.Reason == "" {
		t.Errorf("parked was %+v", parked)
	}
	who := w.request() // the others go on
	w.wait("PatientEnrolled", func(e any) bool { return e.(patient.Enrolled).Patient == who })
	mu.Lock()
	broken = false
	mu.Unlock()
	w.must(w.manager, process.RetryParkedMessage{InStudy: domain.ForStudy(w.study), Process: parked.Process, Event: parked.Event,
		Reasoned: domain.Because("mended")})
	w.wait("NotificationSent", func(any) bool { return true })
	if _, err := w.do(w.manager, process.AbandonParkedMessage{InStudy: domain.ForStudy(w.study), Process: parked.Process,
		Event: parked.Event, Reasoned: domain.Because("x")}); err == nil {
		t.Error("a message that was retried could be abandoned")
	}
}
