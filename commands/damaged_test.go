package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/security"
	"casebook/domain/user"
	"casebook/embedded/node"
	"casebook/embedded/storetest"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// forge appends an event with the official client, as somebody does who gets at the event store without the program.
func forge(t *testing.T, stream, eventType string, event any, metadata string) {
	t.Helper()
	data, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Forge(t.Context(), eventStoreURL, stream, eventType, data, []byte(metadata)); err != nil {
		t.Fatal(err)
	}
}

// forgedMetadata are what somebody writes who knows what our metadata look like, but for the hash.
func forgedMetadata(t *testing.T, previousHash string) string {
	t.Helper()
	raw, err := json.Marshal(eventlog.Metadata{Actor: "admin", Role: "admin", Command: "GrantRole",
		CommandID: "0d3c56a0-2f34-4b8e-9b0e-6a1f2f6a9c55", RecordedAt: now, Schema: 1, PreviousHash: previousHash})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestR1_CommandsOnADamagedStreamAreRefused: a forged event makes its stream take no commands any more, whether a program
// knew the stream before or not, and nothing else is affected. What a patient has captured is held beside it.
func TestR1_CommandsOnADamagedStreamAreRefused(t *testing.T) {
	for name, metadata := range map[string]string{"no metadata": "", "empty metadata": "{}", "wrong hash": forgedMetadata(t, "bm8=")} {
		t.Run(name, func(t *testing.T) {
			p, other := run(t), run(t)
			tr := newTrial(t, p)
			tr.must(tr.self, tr.entry(4, 5))
			sound := newTrial(t, p)
			forge(t, diary.Decider.Stream(string(tr.patient)), "DiaryWindowMissed", diary.WindowMissed{Patient: tr.patient}, metadata)
			language := diary.SetDiaryLanguage{OfPatient: domain.ForPatient(tr.patient), Language: "de"}
			tr.refused("record_damaged", tr.self, language)
			if _, err := other.as(tr.self, "", language); !isDamaged(err) {
				t.Errorf("another program gets %v", err)
			}
			// Both programs get the same entry, which is held once.
			held := tr.must(tr.self, tr.entry(5, 5))
			again, err := other.as(tr.self, "", tr.entry(5, 5))
			if err != nil || held.Held == nil || held.Held.Why != diary.WhyDamaged || again.Held == nil || again.Events[0].ID != held.Events[0].ID {
				t.Errorf("an entry is answered %+v, and again %+v, %v", held, again, err)
			}
			sound.must(sound.self, sound.entry(4, 5))
			// The patient's other streams still take commands, and refuse them for reasons of their own.
			tr.refused("consent_recorded", tr.crc,
				patient.RecordConsent{OfPatient: domain.ForPatient(tr.patient), ConsentVersion: "1.0", On: "2026-02-03"})
		})
	}
}

func isDamaged(err error) bool {
	refusal, ok := refuse.As(err)
	return ok && refusal.Code == "record_damaged" && refusal.Kind == refuse.KindState
}

// TestForgedRoleGivesNoRights: a damaged account has the roles of its sound part, and no others. An account in which an
// event was altered does not get back what was taken away since.
func TestForgedRoleGivesNoRights(t *testing.T) {
	kept, taken := user.Grant{Role: user.CRC, Study: "ANY", Site: "01"}, user.Grant{Role: user.Monitor, Study: "ANY"}
	wanted := user.Grant{Role: user.Investigator, Study: "ANY", Site: "01"}
	p, admin := run(t), access.Process("operator")
	account := func() domain.UserID {
		name := domain.UserID(fmt.Sprintf("nurse%d", time.Now().UnixNano()))
		p.must(admin, user.RegisterUser{OfUser: domain.ForUser(name), Name: "A nurse"})
		p.must(admin, user.GrantRole{OfUser: domain.ForUser(name), Grant: kept})
		p.must(admin, user.GrantRole{OfUser: domain.ForUser(name), Grant: taken})
		return name
	}
	for name, metadata := range map[string]string{"no metadata": "", "wrong hash": forgedMetadata(t, "bm8="), "right hash": ""} {
		for _, known := range []bool{true, false} { // whether the program has read the account before
			who := account()
			stream := user.Decider.Stream(string(who))
			if known {
				if _, err := p.Principal(t.Context(), who); err != nil {
					t.Fatal(err)
				}
			}
			if name == "right hash" {
				last, _, err := p.log.Last(t.Context(), stream)
				if err != nil {
					t.Fatal(err)
				}
				metadata = forgedMetadata(t, eventlog.TailAfter(last).Hash)
			}
			forge(t, stream, "RoleGranted", user.RoleGranted{User: who, Grant: wanted}, metadata)
			reader := p
			if !known {
				reader = run(t)
			}
			principal, err := reader.Principal(t.Context(), who)
			if err != nil {
				t.Fatalf("%s: the account cannot be used any more: %v", name, err)
			}
			if len(principal.Grants) != 2 {
				t.Errorf("%s: the account has %v", name, principal.Grants)
			}
			p.refused("record_damaged", admin, user.GrantRole{OfUser: domain.ForUser(who), Grant: wanted})
		}
	}
	// A whole account, in a stream of its own: no hash has to match in its first event.
	nobody := domain.UserID(fmt.Sprintf("nobody%d", time.Now().UnixNano()))
	forge(t, user.Decider.Stream(string(nobody)), "UserRegistered", user.Registered{User: nobody, Name: "Nobody"}, forgedMetadata(t, ""))
	if principal, err := run(t).Principal(t.Context(), nobody); err == nil {
		t.Errorf("a forged account is %+v", principal)
	}
	p.refused("record_damaged", admin, user.GrantRole{OfUser: domain.ForUser(nobody), Grant: wanted})

	who := account()
	stream := user.Decider.Stream(string(who))
	forge(t, stream, "UserRenamed", struct{}{}, forgedMetadata(t, "bm8="))
	forge(t, stream, "RoleRevoked", user.RoleRevoked{User: who, Grant: taken}, forgedMetadata(t, "bm8="))
	forge(t, stream, "UserLocked", user.Locked{User: who, Reason: "stolen phone"}, forgedMetadata(t, "bm8="))
	_, err := run(t).Principal(t.Context(), who)
	if refusal, ok := refuse.As(err); !ok || refusal.Code != "account_locked" {
		t.Errorf("an account that was locked after the damage gets %v", err)
	}
}

// TestAStepOfTheClockIsRecorded: a program whose clock is behind what was recorded last says so in the security log.
func TestAStepOfTheClockIsRecorded(t *testing.T) {
	n, err := node.Open(t.Context(), node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: n.ConnectionString(), Registry: contexts.Registry()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(log.Close(), n.Close()); err != nil {
			t.Error(err)
		}
	}()
	ahead := time.Now().Add(time.Hour).UTC()
	if _, err := log.Append(t.Context(), "user-a", eventlog.EmptyTail, uuid.New(), eventlog.Metadata{Actor: "a", RecordedAt: ahead},
		user.Registered{User: "a", Name: "A"}); err != nil {
		t.Fatal(err)
	}
	h := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Build: "test"})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	for {
		var steps []security.ClockStepped
		for r, err := range log.ReadStream(t.Context(), security.Decider.Stream(string(domain.DateOf(time.Now().UTC()))), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if s, is := r.Event.(security.ClockStepped); is {
				steps = append(steps, s)
			}
		}
		if len(steps) > 0 {
			if s := steps[0]; !s.From.Equal(ahead) || s.From.Sub(s.To) < 59*time.Minute {
				t.Errorf("recorded is %+v", s)
			}
			break
		}
		time.Sleep(5 * time.Millisecond) // the test's own time-out is the bound
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestNobodyLearnsThatAnAccountIsDamaged but who knows its password.
func TestNobodyLearnsThatAnAccountIsDamaged(t *testing.T) {
	p := run(t)
	const password = "velvet anchor copper mist"
	name := domain.UserID(fmt.Sprintf("doctor%d", time.Now().UnixNano()))
	p.must(access.Process("operator"), user.RegisterUser{OfUser: domain.ForUser(name), Name: "A doctor", Password: password})
	forge(t, user.Decider.Stream(string(name)), "UserRenamed", struct{}{}, forgedMetadata(t, "bm8="))
	signIn := func(password string) error {
		_, err := usercommands.SignIn(t.Context(), p.Handler, usercommands.Entered{User: name, Password: password, Address: "10.0.0.1"})
		return err
	}
	wrong, err := refuse.As(signIn("wrong"))
	if !err || wrong.Code != "sign_in_failed" || wrong.Kind != refuse.KindUnauthenticated {
		t.Errorf("a wrong password is answered %v", wrong)
	}
	if err := signIn(password); !isDamaged(err) {
		t.Errorf("the right password is answered %v", err)
	}
}
