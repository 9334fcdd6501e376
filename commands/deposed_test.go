package commands_test

import (
	"testing"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/user"
	"casebook/embedded/node/clustertest"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// TestDeposedLeaderRefusesNothing: a leader that is cut off takes itself for the leader for a while, and answers reads with what the
// log held before. Another process has recorded commands at the new leader meanwhile. Commands that follow from these are accepted,
// and nobody is refused, or told that nothing is left to do, because of the old state.
func TestDeposedLeaderRefusesNothing(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: 100 * time.Millisecond, Belief: time.Hour})
	one := newTrial(t, runOn(t, c.URL(), nil))
	admin := access.Principal{User: "admin", Grants: []user.Grant{{Role: user.Admin}}}
	for _, u := range []domain.UserID{"anna", "bert"} {
		one.must(admin, user.RegisterUser{OfUser: domain.ForUser(u), Name: string(u)})
	}
	one.must(admin, user.LockUser{OfUser: domain.ForUser("bert"), Reasoned: domain.Because("a test")})
	other := one
	if err := one.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}

	deposed := c.Leader()
	deposed.CutOff()
	if _, err := c.AwaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.process = runOn(t, c.URL(), nil) // it finds the new leader

	late := domain.NewPatientID(one.study, "S-2")
	other.must(one.crc, patient.ScreenPatient{AtSite: domain.ForSite(one.study, "01"), ScreeningNumber: "S-2", On: "2026-02-01"})
	other.must(admin, user.LockUser{OfUser: domain.ForUser("anna"), Reasoned: domain.Because("a test")})
	other.must(admin, user.UnlockUser{OfUser: domain.ForUser("bert"), Reasoned: domain.Because("a test")})
	if _, found, err := one.log.Last(t.Context(), "patient-"+string(late)); err != nil || found {
		t.Fatalf("the process does not read from the deposed leader any more: %t, %v", found, err)
	}

	for _, command := range []any{
		patient.RecordConsent{OfPatient: domain.ForPatient(late), ConsentVersion: "1.0", On: "2026-02-01"}, // otherwise patient_not_found
		user.UnlockUser{OfUser: domain.ForUser("anna"), Reasoned: domain.Because("a test")},                // otherwise user_not_locked
		user.LockUser{OfUser: domain.ForUser("bert"), Reasoned: domain.Because("a test")},                  // otherwise user_locked
	} {
		who := one.crc
		if _, of := command.(domain.AboutUser); of {
			who = admin
		}
		if answer := one.must(who, command); len(answer.Events) == 0 {
			t.Errorf("%T has recorded nothing", command)
		}
	}
	one.refused("user_not_found", admin, user.LockUser{OfUser: domain.ForUser("carl"), Reasoned: domain.Because("a test")})
}

// TestTwoOfThreeNodesRefuse: with one node of a cluster away, whether it answers nothing or cannot be reached, commands are refused
// as ever.
func TestTwoOfThreeNodesRefuse(t *testing.T) {
	for name, fault := range map[string]func(m *clustertest.Member){
		"killed": (*clustertest.Member).Kill, "frozen": (*clustertest.Member).Freeze, "cut off": (*clustertest.Member).CutOff,
	} {
		t.Run(name, func(t *testing.T) {
			c := clustertest.Run(t, clustertest.Options{})
			p := runOn(t, c.URL(), nil)
			fault(c.Followers()[1])
			admin := access.Principal{User: "admin", Grants: []user.Grant{{Role: user.Admin}}}
			for range 5 {
				p.refused("user_not_found", admin, user.LockUser{OfUser: domain.ForUser("carl"), Reasoned: domain.Because("a test")})
			}
		})
	}
}

// TestAppendsThatAreNotTakenAreNamed: a command whose events the event store will not store is refused with what is the matter.
func TestAppendsThatAreNotTakenAreNamed(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	p := runOn(t, c.URL(), nil)
	admin := access.Principal{User: "admin", Grants: []user.Grant{{Role: user.Admin}}}
	register := func(u domain.UserID) user.RegisterUser {
		return user.RegisterUser{OfUser: domain.ForUser(u), Name: string(u)}
	}

	c.Deny(clustertest.Append, true)
	p.refused("store_refuses", admin, register("anna"))
	c.Deny(clustertest.Append, false)
	p.must(admin, register("anna"))

	client, err := esdb.NewClient(must(t, c.NodeURL()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	_, err = client.TombstoneStream(t.Context(), user.Decider.Stream("anna"), esdb.TombstoneStreamOptions{ExpectedRevision: esdb.Any{}})
	if err != nil {
		t.Fatal(err)
	}
	p.refused("record_deleted", admin, user.LockUser{OfUser: domain.ForUser("anna"), Reasoned: domain.Because("a test")})
	p.refused("record_deleted", admin, user.LockUser{OfUser: domain.ForUser("anna"), Reasoned: domain.Because("a test")})
	p.must(admin, register("bert"))
}

// must returns the settings of a connection string.
func must(t *testing.T, url string) *esdb.Configuration {
	t.Helper()
	settings, err := esdb.ParseConnectionString(url)
	if err != nil {
		t.Fatal(err)
	}
	settings.Logger = esdb.NoopLogging()
	return settings
}
