package commands_test

import (
	"testing"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/embedded/storetest"
	"casebook/eventlog"
)

// sent sends a command until it is not answered log_replaced any more, as its sender would.
func (p process) sent(who access.Principal, key string, command any) (commands.Answer, error) {
	p.t.Helper()
	for {
		answer, err := p.as(who, key, command)
		if refusal, is := refuse.As(err); is && refusal.Code == "log_replaced" {
			continue
		}
		return answer, err
	}
}

// TestNoCommandIsDecidedOnALostPast replaces the log under a running process by an older copy, which has grown to the length of the
// lost one in the stream that the process knows. The process decides on what the log holds: streams, facts, keys and rights.
func TestNoCommandIsDecidedOnALostPast(t *testing.T) {
	store := storetest.OpenReplaceable(t)
	tr := newTrial(t, runOn(t, store.ConnectionString(), nil))
	admin := access.Principal{User: "root", Grants: []user.Grant{{Role: user.Admin}}}
	tr.must(admin, user.RegisterUser{OfUser: domain.ForUser("berta"), Name: "Berta"})
	tr.must(tr.self, tr.entry(4, 5))
	older := store.Backup()

	second := domain.NewPatientID(tr.study, "S-2")
	tr.must(tr.crc, patient.ScreenPatient{AtSite: domain.ForSite(tr.study, "01"), ScreeningNumber: "S-2", On: "2026-02-01"})
	lost, err := tr.as(tr.self, "fifth", tr.entry(5, 5))
	if err != nil {
		t.Fatal(err)
	}
	tr.must(admin, user.GrantRole{OfUser: domain.ForUser("berta"), Grant: user.Grant{Role: user.DataManager, Study: tr.study}})
	berta, err := tr.Principal(t.Context(), "berta")
	if err != nil || len(berta.Grants) != 1 {
		t.Fatalf("berta is %+v, %v", berta, err)
	}

	store.Restart(older)
	elsewhere := tr
	elsewhere.process = runOn(t, store.ConnectionString(), nil) // another process has begun with the older log
	if got := elsewhere.must(elsewhere.self, elsewhere.entry(6, 5)); *got.Revision != *lost.Revision {
		t.Fatalf("the other diary is at revision %d, the lost one was at %d", *got.Revision, *lost.Revision)
	}
	if _, err := tr.sent(tr.self, "", tr.entry(7, 5)); err != nil {
		t.Errorf("a diary is answered %v", err)
	}
	consent := patient.RecordConsent{OfPatient: domain.ForPatient(second), ConsentVersion: "1.0", On: "2026-02-01"}
	if _, err := tr.sent(tr.crc, "", consent); err == nil {
		t.Error("a patient has consented who was never screened")
	}
	if again, err := tr.sent(tr.self, "fifth", tr.entry(5, 5)); err != nil || *again.Revision <= *lost.Revision {
		t.Errorf("a diary that was lost, sent again with its key, is answered %+v, %v", again, err)
	}
	if _, err := tr.sent(tr.self, "fifth-2", tr.entry(8, 5)); err != nil {
		t.Errorf("the next diary is answered %v", err)
	}
	if now, err := tr.Principal(t.Context(), "berta"); err != nil || len(now.Grants) != 0 {
		t.Errorf("berta, whose role was lost, is %+v, %v", now, err)
	}
	tr.refused("log_replaced", berta, patient.RecordConsent{OfPatient: domain.ForPatient(tr.patient), ConsentVersion: "1.0", On: "2026-02-01"})
	tail, diaries := eventlog.EmptyTail, 0
	for _, r := range tr.events() {
		var damage *domain.Damage
		if tail, damage = tr.log.Registry().CheckNext(tail, r); damage != nil {
			t.Fatalf("the stream is damaged: %s", damage.Reason)
		}
		if r.Type == "DiarySubmitted" {
			diaries++
		}
	}
	if diaries != 5 {
		t.Errorf("the log holds %d diaries, want those of the days 4 to 8 without the lost one, and that again", diaries)
	}
}

// TestARestartOfTheStoreLosesNoPast: commands that are under way while the same log comes back are accepted, and nobody is told to
// send them again.
func TestARestartOfTheStoreLosesNoPast(t *testing.T) {
	store := storetest.OpenReplaceable(t)
	tr := newTrial(t, runOn(t, store.ConnectionString(), nil))
	tr.must(tr.self, tr.entry(4, 5))
	sent := make(chan error, 1)
	for day := range 3 {
		go func() {
			time.Sleep(10 * time.Millisecond)
			_, err := tr.as(tr.self, "", tr.entry(5+day, 5))
			sent <- err
		}()
		store.Restart(store.Dir)
		if err := <-sent; err != nil {
			t.Errorf("during a restart a diary is answered %v", err)
		}
	}
}
