package commands_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/security"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/embedded/storetest"
	"casebook/eventlog"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

// eventStoreURL is the address of the event store that the tests share.
var eventStoreURL string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "commands")
	if err != nil {
		panic(err)
	}
	var closeStore func() error
	if eventStoreURL, closeStore, _, err = storetest.Own(context.Background(), dir); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := errors.Join(closeStore(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// process is one running handler. Two of them stand for two processes on the same log.
type process struct {
	*commands.Handler
	t   testing.TB
	log *eventlog.Log
	// stop ends Run, and waits for it.
	stop func()
}

var now = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func run(t testing.TB) process {
	t.Helper()
	return runWith(t, nil)
}

// runWith is run for a process with blinding keys.
func runWith(t testing.TB, keys *eventlog.BlindingKeys) process {
	t.Helper()
	return runOn(t, eventStoreURL, keys)
}

// runOn is runWith on an event store of the test's own.
func runOn(t testing.TB, url string, keys *eventlog.BlindingKeys) process {
	t.Helper()
	return runHandler(t, url, keys, func(*commands.Handler) {})
}

// runHandler is runOn for a handler that is changed before it takes commands.
func runHandler(t testing.TB, url string, keys *eventlog.BlindingKeys, change func(*commands.Handler)) process {
	t.Helper()
	log, err := eventlog.Connect(context.Background(), eventlog.Options{URL: url, Registry: contexts.Registry(), BlindingKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	h := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Now: func() time.Time { return now }, Build: "test"})
	change(h)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	stopped := sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stopped()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return process{Handler: h, t: t, log: log, stop: stopped}
}

// as sends a command and returns its answer.
func (p process) as(who access.Principal, key string, command any) (commands.Answer, error) {
	p.t.Helper()
	body, name := encoded(p.t, command)
	return p.Do(context.Background(), commands.Request{Name: name, Body: body, Key: key, Principal: who})
}

// encoded returns the body and the name of a command.
func encoded(t testing.TB, command any) (body []byte, name string) {
	t.Helper()
	body, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	name = fmt.Sprintf("%T", command)
	return body, name[strings.LastIndex(name, ".")+1:]
}

// must sends a command that has to be accepted.
func (p process) must(who access.Principal, command any) commands.Answer {
	p.t.Helper()
	answer, err := p.as(who, "", command)
	if err != nil {
		p.t.Fatalf("%T: %v", command, err)
	}
	return answer
}

// refused sends a command that has to be refused with this code.
func (p process) refused(code string, who access.Principal, command any) {
	p.t.Helper()
	answer, err := p.as(who, "", command)
	if r, ok := refuse.As(err); !ok || r.Code != code {
		p.t.Errorf("%T: got %v and %v, want the refusal %s", command, answer, err, code)
	}
}

// trial is a new study with one enrolled patient.
type trial struct {
	process
	study           domain.StudyID
	patient         domain.PatientID
	manager, crc    access.Principal
	otherSite, self access.Principal
}

var trials int

func newTrial(t testing.TB, p process) trial {
	t.Helper()
	trials++
	id := domain.StudyID(fmt.Sprintf("T%d-%d", trials, time.Now().UnixNano()%1_000_000))
	tr := trial{process: p, study: id, patient: domain.NewPatientID(id, "S-1")}
	tr.manager = access.Principal{User: "manager", Grants: []user.Grant{{Role: user.DataManager, Study: id}}}
	tr.crc = access.Principal{User: "crc", Grants: []user.Grant{{Role: user.CRC, Study: id, Site: "01"}}}
	tr.otherSite = access.Principal{User: "crc2", Grants: []user.Grant{{Role: user.CRC, Study: id, Site: "02"}}}
	tr.self = access.Principal{User: "p1", Grants: []user.Grant{{Role: user.PatientRole, Study: id, Patient: tr.patient}}}
	p.must(tr.manager, study.CreateStudy{InStudy: domain.ForStudy(id), Title: "A trial", Sponsor: "Nobody"})
	p.must(tr.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(id), Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
		Instruments: []instrument.Definition{*instrument.PainDiary()}}})
	p.must(tr.manager, study.AddSite{AtSite: domain.ForSite(id, "01"), Name: "Charite", Country: "DE", Zone: "Europe/Berlin"})
	p.must(tr.manager, study.ActivateSite{AtSite: domain.ForSite(id, "01"), On: "2026-01-01"})
	p.must(tr.manager, enrollment.OpenEnrollment{InStudy: domain.ForStudy(id), Caps: enrollment.Caps{Target: 5, Study: 10}})
	p.must(tr.crc, patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: "S-1", On: "2026-02-01"})
	p.must(tr.crc, patient.RecordConsent{OfPatient: domain.ForPatient(tr.patient), ConsentVersion: "1.0", On: "2026-02-01"})
	p.must(tr.crc, patient.EnrollPatient{OfPatient: domain.ForPatient(tr.patient), On: "2026-02-02"})
	ofPatient := domain.ForPatient(tr.patient)
	p.must(access.Process("enrollment"), enrollment.ReservePlace{InStudy: domain.ForStudy(id), Site: "01", OfPatient: ofPatient})
	p.must(access.Process("enrollment"), patient.ConfirmEnrollment{OfPatient: ofPatient, PatientNumber: "1"})
	p.must(tr.crc, diary.AssignInstrument{OfPatient: ofPatient, Instrument: painDiary, From: "2026-02-03", Until: "2026-12-31",
		On: "2026-02-03"})
	return tr
}

var painDiary = instrument.PainDiary().ID

// entry is a complete diary of the evening of a day in February 2026.
func (tr trial) entry(day int, worst float64) diary.SubmitDiary {
	return diary.SubmitDiary{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary,
		CapturedAt: time.Date(2026, 2, day, 20, 30, 0, 0, time.FixedZone("", 3600)), Answers: answers(worst)}
}

// transcription is the diary of an evening as the site has it from paper.
func (tr trial) transcription(day int, worst float64) diary.TranscribeDiary {
	e := tr.entry(day, worst)
	return diary.TranscribeDiary{OfPatient: e.OfPatient, Instrument: e.Instrument, AnsweredAt: e.CapturedAt, Answers: e.Answers,
		Source: diary.SourcePaper, Respondent: diary.RespondentPatient, Reasoned: domain.Because("The phone was broken")}
}

func answers(worst float64) diary.Answers {
	a := diary.Answers{}
	for _, item := range instrument.PainDiary().Items {
		if !item.Required || item.AskedWhen != "" {
			continue
		}
		switch item.Type {
		case instrument.Boolean:
			a[item.ID] = false
		default:
			a[item.ID] = min(worst, 2)
		}
	}
	a["worst"] = worst
	return a
}

func (tr trial) events() []eventlog.Recorded {
	tr.t.Helper()
	var all []eventlog.Recorded
	for r, err := range tr.log.ReadStream(context.Background(), diary.Decider.Stream(string(tr.patient)), 0) {
		if err != nil {
			tr.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestR5_EventsNameTheActorTheTimeAndTheCommand(t *testing.T) {
	tr := newTrial(t, run(t))
	answer := tr.must(tr.self, tr.entry(4, 5))
	events := tr.events()
	m := events[len(events)-1].Metadata
	if m.Actor != "p1" || m.Role != "patient" || m.Study != tr.study || m.Site != "01" || m.Patient != tr.patient ||
		m.Command != "SubmitDiary" || m.CommandID != answer.CommandID || !m.RecordedAt.Equal(now) || m.Build != "test" {
		t.Errorf("metadata are %+v", m)
	}
	if m.CapturedAt == nil || m.CapturedAt.Format(time.RFC3339) != "2026-02-04T20:30:00+01:00" {
		t.Errorf("captured time is %v", m.CapturedAt)
	}
	tail := eventlog.EmptyTail
	for _, r := range events {
		var damage *domain.Damage
		if tail, damage = tr.log.Registry().CheckNext(tail, r); damage != nil {
			t.Fatal(damage.Reason)
		}
	}
	if *answer.Revision != tail.Revision || answer.Position != events[len(events)-1].Position.Commit {
		t.Errorf("the answer says revision %d and position %d, the log %d and %d", *answer.Revision, answer.Position,
			tail.Revision, events[len(events)-1].Position.Commit)
	}
}

func TestRepeatedCommandGetsTheFirstAnswer(t *testing.T) {
	p := run(t)
	tr := newTrial(t, p)
	key := string(tr.study) + "/key"
	none := len(tr.events())
	first, err := tr.as(tr.self, key, tr.entry(4, 9))
	if err != nil {
		t.Fatal(err)
	}
	if recorded := len(tr.events()) - none; recorded < 2 || len(first.Events) != 1 {
		t.Fatalf("a diary with worst pain of 9 records %d events, of which the patient is shown %d; it should flag a risk too, and not to "+
			"the patient", recorded, len(first.Events))
	}
	tr.must(tr.self, tr.entry(5, 5))
	before := len(tr.events())
	other := trial{process: run(t), study: tr.study, patient: tr.patient, self: tr.self} // another process, with an empty cache
	for name, again := range map[string]trial{"the same process": tr, "another process": other} {
		second, err := again.as(tr.self, key, tr.entry(4, 9))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("%s gives another answer (-first +second):\n%s", name, diff)
		}
		if _, err := again.as(tr.self, key, tr.entry(4, 3)); code(err) != "idempotency_key_reused" {
			t.Errorf("%s: another body under the same key: %v", name, err)
		}
	}
	if n := len(tr.events()); n != before {
		t.Errorf("the repeats recorded %d events", n-before)
	}
}

func TestKeyCannotBeReusedForAnotherStream(t *testing.T) {
	tr := newTrial(t, run(t))
	key := string(tr.study) + "/key"
	if _, err := tr.as(tr.crc, key, tr.transcription(4, 5)); err != nil {
		t.Fatal(err)
	}
	complete := patient.CompletePatient{OfPatient: domain.ForPatient(tr.patient), On: "2026-03-01"}
	if _, err := tr.as(tr.crc, key, complete); code(err) != "idempotency_key_reused" {
		t.Errorf("got %v", err)
	}
}

func TestCallersMayUseTheSameKey(t *testing.T) {
	tr := newTrial(t, run(t))
	key := string(tr.study) + "/key"
	if _, err := tr.as(tr.self, key, tr.entry(4, 5)); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.as(tr.crc, key, diary.AskDiaryCorrection{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary,
		Window: "2026-02-04/evening", Answers: diary.Answers{"worst": 4}, Reasoned: domain.Because("mistyped")}); err != nil {
		t.Errorf("a key that another caller has used is refused: %v", err)
	}
}

// TestConcurrentSubmissionsLeaveOneEntryPerWindow submits a diary for the same windows through three processes at once.
func TestConcurrentSubmissionsLeaveOneEntryPerWindow(t *testing.T) {
	tr := newTrial(t, run(t))
	processes := []process{tr.process, run(t), run(t)}
	var mu sync.Mutex
	accepted := map[int]int{}
	var group errgroup.Group
	for _, p := range processes {
		for day := 4; day < 14; day++ {
			group.Go(func() error {
				a, err := p.as(tr.self, "", tr.entry(day, 5))
				if err == nil {
					mu.Lock()
					accepted[day+100*len(a.Events)]++ // the same entry: all get the answer of the first
					mu.Unlock()
					return nil
				}
				if c := code(err); c != "conflict" {
					return err
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	windows := map[string]int{}
	for _, r := range tr.events() {
		if e, ok := r.Event.(diary.Submitted); ok {
			windows[e.Window.ID]++
		}
	}
	for day, n := range accepted {
		if day < 100 || n > len(processes) {
			t.Errorf("day %d was answered %d times", day, n)
		}
	}
	for window, n := range windows {
		if n != 1 {
			t.Errorf("window %s has %d entries", window, n)
		}
	}
	if len(windows) != len(accepted) || len(windows) < 8 {
		t.Errorf("%d accepted, %d recorded", len(accepted), len(windows))
	}
}

func TestR4_CommandsNeedAGrant(t *testing.T) {
	tr := newTrial(t, run(t))
	before := len(tr.events())
	stranger := access.Principal{User: "stranger"}
	otherPatient := access.Principal{User: "p2", Grants: []user.Grant{{Role: user.PatientRole, Study: tr.study, Patient: tr.patient + "x"}}}
	otherStudy := access.Principal{User: "crc3", Grants: []user.Grant{{Role: user.CRC, Study: "ELSEWHERE", Site: "01"}}}
	admin := access.Principal{User: "admin", Grants: []user.Grant{{Role: user.Admin}}}
	for _, who := range []access.Principal{stranger, otherPatient, otherStudy, admin, tr.otherSite, tr.manager} {
		tr.refused("not_allowed", who, tr.entry(4, 5))
	}
	if n := len(tr.events()); n != before {
		t.Errorf("refused commands recorded %d events", n-before)
	}
	for _, c := range contexts.Commands() {
		if len(c.OpenTo()) == 0 && !c.OpenToOwner() {
			t.Errorf("%s is open to nobody", c.Name())
		}
	}
	found := 0
	for r, err := range tr.log.ReadStream(context.Background(), security.Decider.Stream("2026-03-10"), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := r.Event.(security.AccessRefused); ok && e.Patient == tr.patient && e.Action == "SubmitDiary" && e.Code == "not_allowed" {
			found++
		}
	}
	if found != 6 {
		t.Errorf("the security log holds %d of 6 refusals", found)
	}
}

func TestPeopleCannotSendInternalCommands(t *testing.T) {
	tr := newTrial(t, run(t))
	ofPatient := domain.ForPatient(tr.patient)
	tr.refused("command_not_found", tr.manager, enrollment.ReservePlace{InStudy: domain.ForStudy(tr.study), Site: "01", OfPatient: ofPatient})
	tr.refused("command_not_found", tr.crc, patient.ConfirmEnrollment{OfPatient: ofPatient, PatientNumber: "1"})
	_, err := tr.Do(t.Context(), commands.Request{Name: "SignInAttempt", Body: []byte(`{}`), Principal: tr.crc})
	if code(err) != "command_not_found" {
		t.Errorf("SignInAttempt: got %v", err)
	}
}

func TestR9_RevokedRoleEndsAtTheNextCommand(t *testing.T) {
	p := run(t)
	other := run(t) // another process, which learns of the change from the log
	admin := access.Process("operator")
	name := domain.UserID(fmt.Sprintf("nurse%d", time.Now().UnixNano()))
	grant := user.Grant{Role: user.CRC, Study: "ANY", Site: "01"}
	p.must(admin, user.RegisterUser{OfUser: domain.ForUser(name), Name: "A nurse"})
	p.must(admin, user.GrantRole{OfUser: domain.ForUser(name), Grant: grant})
	for _, h := range []process{p, other} {
		if who, err := h.Principal(t.Context(), name); err != nil || len(who.Grants) != 1 {
			t.Fatalf("grants %v, %v", who.Grants, err)
		}
	}
	p.must(admin, user.RevokeRole{OfUser: domain.ForUser(name), Grant: grant, Reasoned: domain.Because("left")})
	if who, err := p.Principal(t.Context(), name); err != nil || len(who.Grants) != 0 {
		t.Errorf("in the same process: grants %v, %v", who.Grants, err)
	}
	for {
		who, err := other.Principal(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if len(who.Grants) == 0 {
			return // otherwise the test's own time-out ends the loop
		}
		time.Sleep(time.Millisecond)
	}
}

func TestR16_FailuresDelayAStrangerAndLeaveTheOwnerAlone(t *testing.T) {
	p := run(t)
	name := domain.UserID(fmt.Sprintf("doctor%d", time.Now().UnixNano()))
	const password = "velvet anchor copper mist"
	p.must(access.Process("operator"), user.RegisterUser{OfUser: domain.ForUser(name), Name: "A doctor", Password: password})
	signIn := func(id domain.UserID, password, address string) (access.Principal, error) {
		return usercommands.SignIn(t.Context(), p.Handler, usercommands.Entered{User: id, Password: password, Address: address})
	}
	who, err := signIn(name, password, "10.0.0.1")
	if err != nil || who.User != name || !who.MustChangePassword || who.AuthenticatedAt.IsZero() {
		t.Fatalf("sign-in: %+v, %v", who, err)
	}
	for range 4 {
		if _, err := signIn(name, "wrong", "192.0.2.1"); code(err) != "sign_in_failed" {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := signIn(name, password, "192.0.2.1"); code(err) != "sign_in_delayed" {
		t.Errorf("after four failures: got %v", err)
	}
	if _, err := signIn(name, password, "10.0.0.1"); err != nil {
		t.Errorf("the owner's sign-in: got %v", err)
	}
	if _, err := p.Principal(t.Context(), name); err != nil {
		t.Errorf("the owner's session: got %v", err)
	}
	if _, err := signIn("nobody-at-all", password, "10.0.0.1"); code(err) != "sign_in_failed" {
		t.Errorf("sign-in to an unknown account: got %v", err)
	}
}

// TestR9_TokensEndWithTheirSessions asks for tokens of every kind, before and after sessions end.
func TestR9_TokensEndWithTheirSessions(t *testing.T) {
	p := run(t)
	operator := access.Process("operator")
	before, later := now.Add(-time.Minute), now.Add(time.Minute)
	for what, end := range map[string]func(domain.UserID){
		"sign-out": func(u domain.UserID) { p.must(access.Principal{User: u}, user.SignOut{OfUser: domain.ForUser(u)}) },
		"new password": func(u domain.UserID) {
			p.must(operator, user.ChangePassword{OfUser: domain.ForUser(u), Password: "velvet anchor copper mist"})
		},
		"lock and unlock": func(u domain.UserID) {
			p.must(operator, user.LockUser{OfUser: domain.ForUser(u), Reasoned: domain.Because("stolen")})
			p.must(operator, user.UnlockUser{OfUser: domain.ForUser(u), Reasoned: domain.Because("found")})
		},
	} {
		t.Run(what, func(t *testing.T) {
			u := domain.UserID(fmt.Sprintf("nurse%d", time.Now().UnixNano()))
			p.must(operator, user.RegisterUser{OfUser: domain.ForUser(u), Name: "A nurse"})
			session := access.Proof{User: u, AuthenticatedAt: before, InSession: true}
			ofProvider := access.Proof{User: u, IssuedAt: before, AuthenticatedAt: before}
			ofOperator := access.Proof{User: u, IssuedAt: before}
			for _, proof := range []access.Proof{session, ofProvider, ofOperator, {User: u}} {
				if _, err := p.Authenticated(t.Context(), proof); err != nil {
					t.Fatalf("%+v before the end: %v", proof, err)
				}
			}
			end(u)
			for _, proof := range []access.Proof{session, ofProvider, ofOperator, {User: u},
				{User: u, IssuedAt: later, AuthenticatedAt: before}} { // refreshed by the provider, without a new sign-in
				if _, err := p.Authenticated(t.Context(), proof); code(err) != "session_ended" {
					t.Errorf("%+v after the end: %v", proof, err)
				}
			}
			current, err := p.Principal(t.Context(), u)
			if err != nil {
				t.Fatal(err)
			}
			for _, proof := range []access.Proof{{User: u, AuthenticatedAt: later, InSession: true, Version: current.Sessions},
				{User: u, IssuedAt: later, AuthenticatedAt: later}, {User: u, IssuedAt: later}} {
				if _, err := p.Authenticated(t.Context(), proof); err != nil {
					t.Errorf("%+v of a new session: %v", proof, err)
				}
			}
		})
	}
}

// TestAStolenTokenDoesNotTakeTheAccount: owners prove their old password.
func TestAStolenTokenDoesNotTakeTheAccount(t *testing.T) {
	p := run(t)
	const old, next = "velvet anchor copper mist", "gravel lantern oboe thicket"
	u := domain.UserID(fmt.Sprintf("doctor%d", time.Now().UnixNano()))
	of := domain.ForUser(u)
	p.must(access.Process("operator"), user.RegisterUser{OfUser: of, Name: "A doctor", Password: old})
	thief := access.Principal{User: u, AuthenticatedAt: now} // a fresh sign-in is not enough where there is a password
	change := func(who access.Principal, c user.ChangePassword) string {
		_, err := p.as(who, "", c)
		return code(err)
	}
	if got := change(thief, user.ChangePassword{OfUser: of, Password: next}); got != "current_password_required" {
		t.Errorf("without the old password: %q", got)
	}
	if got := change(thief, user.ChangePassword{OfUser: of, Password: next, CurrentPassword: "wrong"}); got != "wrong_password" {
		t.Errorf("with a wrong password: %q", got)
	}
	account, err := commands.ReadNewest(t.Context(), p.Reader(), user.Decider, string(u))
	if err != nil || account.FailedSignIns != 1 {
		t.Errorf("%d failures are counted, %v", account.FailedSignIns, err)
	}
	if got := change(thief, user.ChangePassword{OfUser: of, Password: "password1234", CurrentPassword: old}); got != "weak_password" {
		t.Errorf("a common password: %q", got)
	}
	if got := change(thief, user.ChangePassword{OfUser: of, Password: next, CurrentPassword: old}); got != "" {
		t.Errorf("the owner: %q", got)
	}

	without := domain.UserID(fmt.Sprintf("doctor%d", time.Now().UnixNano()))
	p.must(access.Process("operator"), user.RegisterUser{OfUser: domain.ForUser(without), Name: "A doctor"})
	if got := change(access.Principal{User: without}, user.ChangePassword{OfUser: domain.ForUser(without), Password: next}); got !=
		"reauthentication_required" {
		t.Errorf("an account without a password, without a fresh sign-in: %q", got)
	}
}

// TestR4_AResetAccountDoesNotAdminister: an administrator cannot reset the account of another one and be two people.
func TestR4_AResetAccountDoesNotAdminister(t *testing.T) {
	p := run(t)
	puppet := access.Principal{User: "puppet", Grants: []user.Grant{{Role: user.Admin}}, Unconfirmed: true}
	of := domain.ForUser("somebody")
	g := user.Grant{Role: user.Statistician, Study: "ANY"}
	for _, command := range []any{
		user.RegisterUser{OfUser: of, Name: "x"}, user.ChangePassword{OfUser: of, Password: "velvet anchor copper mist"},
		user.GrantRole{OfUser: of, Grant: g}, user.ConfirmRole{OfUser: of, Grant: g}, user.ConfirmAccount{OfUser: of},
		user.UnlockUser{OfUser: of, Reasoned: domain.Because("x")}, user.RemoveSecondFactor{OfUser: of, Reasoned: domain.Because("x")},
	} {
		if _, err := p.as(puppet, "", command); code(err) != "account_not_confirmed" {
			t.Errorf("%T: %v", command, err)
		}
	}
}

// TestRepeatedRefusalsAreCounted: a user's forbidden commands fill neither the log nor the auditor's time.
func TestRepeatedRefusalsAreCounted(t *testing.T) {
	p := run(t)
	u := domain.UserID(fmt.Sprintf("patient%d", time.Now().UnixNano()))
	patient := access.Principal{User: u}
	for range 500 {
		forbidden := user.GrantRole{OfUser: domain.ForUser("x"), Grant: user.Grant{Role: user.Admin}}
		if _, err := p.as(patient, "", forbidden); code(err) != "not_allowed" {
			t.Fatal(err)
		}
	}
	if _, err := p.as(patient, "", user.DeactivateUser{OfUser: domain.ForUser("x")}); code(err) != "not_allowed" {
		t.Fatal(err)
	}
	p.stop() // records what is counted
	full, counted := map[string]int{}, 0
	for r, err := range p.log.ReadStream(context.Background(), security.Decider.Stream(string(domain.DateOf(p.Now().UTC()))), 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch e := r.Event.(type) {
		case security.AccessRefused:
			if e.Actor == u {
				full[e.Action]++
			}
		case security.RefusalsRepeated:
			if e.Actor == u {
				counted += e.Count
				if e.Action != "GrantRole" || e.Code != "not_allowed" {
					t.Errorf("counted %+v", e)
				}
			}
		}
	}
	if full["GrantRole"] != 1 || full["DeactivateUser"] != 1 || counted != 499 {
		t.Errorf("recorded in full %v, counted %d", full, counted)
	}
}

func TestPasswordsAreNeitherRecordedNorShown(t *testing.T) {
	p := run(t)
	name := domain.UserID(fmt.Sprintf("secret%d", time.Now().UnixNano()))
	answer := p.must(access.Process("operator"), user.RegisterUser{OfUser: domain.ForUser(name), Name: "x", Password: "a very secret word"})
	for _, e := range answer.Events {
		if e.Type == "PasswordSet" && e.Data != nil {
			t.Errorf("the answer shows the digest: %v", e.Data)
		}
	}
	for _, next := range []string{"another secret word", "a third secret word"} {
		p.must(access.Process("operator"), user.ChangePassword{OfUser: domain.ForUser(name), Password: next})
	}
	hashes := map[string]bool{}
	for r, err := range p.log.ReadStream(t.Context(), user.Decider.Stream(string(name)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Metadata.Command == "ChangePassword" {
			hashes[r.Metadata.CommandHash] = true
		}
	}
	if len(hashes) != 1 {
		t.Error("the hash of a command with a password depends on the password")
	}
}

func TestRefusedCommandsRecordNothing(t *testing.T) {
	tr := newTrial(t, run(t))
	before := len(tr.events())
	future := tr.entry(4, 5)
	future.CapturedAt = time.Date(9999, 12, 31, 12, 0, 0, 0, time.UTC)
	tr.refused("value_out_of_range", tr.self, future)
	tr.refused("answer_out_of_range", tr.self, tr.entry(4, 11))
	unknown := tr.entry(4, 5)
	unknown.Instrument = "unknown"
	unknown.Zone = "Mars/Olympus"
	tr.refused("unknown_zone", tr.self, unknown)
	nobody := tr.entry(4, 5)
	nobody.Patient = domain.NewPatientID(tr.study, "S-999")
	tr.refused("not_allowed", tr.crc, nobody) // the site's staff may not know the patients of other sites
	nobody.Patient = "no-id"
	tr.refused("malformed_id", tr.crc, nobody)
	if n := len(tr.events()); n != before {
		t.Errorf("refused commands recorded %d events", n-before)
	}
}

func TestR6_R18_CorrectionsKeepOldValuesAndReasons(t *testing.T) {
	tr := newTrial(t, run(t))
	tr.must(tr.self, tr.entry(4, 5))
	window := ""
	for _, r := range tr.events() {
		if e, ok := r.Event.(diary.Submitted); ok {
			window = e.Window.ID
		}
	}
	correct := func(worst int, reason string) diary.AskDiaryCorrection {
		return diary.AskDiaryCorrection{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary, Window: window,
			Answers: diary.Answers{"worst": worst}, Reasoned: domain.Because(reason)}
	}
	tr.refused("reason_required", tr.crc, correct(6, ""))
	investigator := access.Principal{User: "dr", Grants: []user.Grant{{Role: user.Investigator, Study: tr.study, Site: "01"}}}
	for worst := 6; worst <= 8; worst++ {
		tr.must(tr.crc, correct(worst, fmt.Sprintf("misread %d", worst)))
		tr.must(investigator, diary.CorrectDiary{OfPatient: domain.ForPatient(tr.patient), Request: worst - 5, Reasoned: domain.Because("right")})
	}
	values := []any{}
	for _, r := range tr.events() {
		switch e := r.Event.(type) {
		case diary.Submitted:
			values = append(values, e.Answers["worst"])
		case diary.Corrected:
			if r.Metadata.Reason == "" || e.Changes[0].Old != values[len(values)-1] {
				t.Errorf("correction %+v with reason %q after %v", e, r.Metadata.Reason, values)
			}
			values = append(values, e.Changes[0].New)
		}
	}
	if diff := cmp.Diff([]any{5.0, 6.0, 7.0, 8.0}, values); diff != "" {
		t.Error(diff)
	}
}

func code(err error) string {
	if r, ok := refuse.As(err); ok {
		return r.Code
	}
	return ""
}

// TestKeyIsRememberedAfterARestart checks that a process that has just started refuses a key that was used for another
// stream before the start.
func TestKeyIsRememberedAfterARestart(t *testing.T) {
	tr := newTrial(t, run(t))
	key := string(tr.study) + "/key"
	if _, err := tr.as(tr.crc, key, tr.transcription(4, 5)); err != nil {
		t.Fatal(err)
	}
	started := trial{process: run(t), study: tr.study, patient: tr.patient}
	complete := patient.CompletePatient{OfPatient: domain.ForPatient(tr.patient), On: "2026-03-01"}
	if _, err := started.as(tr.crc, key, complete); code(err) != "idempotency_key_reused" {
		t.Errorf("got %v", err)
	}
}

func TestTooLargeCommandIsRefused(t *testing.T) {
	tr := newTrial(t, run(t))
	protocol := study.Protocol{Version: 2, ConsentVersion: "2.0"}
	form := json.RawMessage(`"` + string(bytes.Repeat([]byte("x"), 250_000)) + `"`)
	for i := range 5 {
		protocol.Forms = append(protocol.Forms, study.Form{ID: fmt.Sprint(i), Title: "Form", Definition: form})
	}
	tr.refused("command_too_large", tr.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(tr.study), Protocol: protocol})
}

func TestUsersOfOtherStudiesDoNotLearnWhichPatientsExist(t *testing.T) {
	tr := newTrial(t, run(t))
	outsider := access.Principal{User: "outsider", Grants: []user.Grant{{Role: user.CRC, Study: "ELSEWHERE", Site: "01"}}}
	existing := tr.entry(4, 5)
	missing := existing
	missing.Patient = domain.NewPatientID(tr.study, "S-999")
	tr.refused("not_allowed", outsider, existing)
	tr.refused("not_allowed", outsider, missing)
}

// TestRunEndsWhenTheLogCannotBeFollowed runs a handler with a closed log.
func TestRunEndsWhenTheLogCannotBeFollowed(t *testing.T) {
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: eventStoreURL, Registry: contexts.Registry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	h := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands()})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := h.Run(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("Run ends with %v, and its context with %v", err, ctx.Err())
	}
}

// TestStatesOfUnfollowedStreamsAreNotRead: such a state would be read once, kept, and miss every later event.
func TestStatesOfUnfollowedStreamsAreNotRead(t *testing.T) {
	stranger := diary.Decider
	stranger.Category = "stranger"
	_, err := commands.Read(t.Context(), run(t).Reader(), stranger, "PAIN1.S-1")
	if !errors.Is(err, commands.ErrNotFollowed) {
		t.Errorf("got %v", err)
	}
}
