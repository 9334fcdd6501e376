package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/simulation"
)

// fleetOptions are those of a small fleet; CASEBOOK_TEST_PHONES makes it larger.
func fleetOptions(t *testing.T, in installation, patients int) simulation.FleetOptions {
	t.Helper()
	if err := in.bootstrapAdmins(t.Context(), phonePassword); err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(os.Getenv("CASEBOOK_TEST_PHONES")); err == nil {
		patients = n
	}
	return simulation.FleetOptions{BaseURL: in.url, SignAs: signedInAs(in.tokens, time.Hour), Admin: demoAdmin, Study: "FLEET",
		Patients: patients, Days: 9, Today: domain.DateOf(time.Now().UTC()), Seed: 7, Workers: 8}
}

func buildFleet(t *testing.T, o simulation.FleetOptions) *simulation.Fleet {
	t.Helper()
	f, err := simulation.NewFleet(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// checkFleet checks that every entry of the fleet is in the record once, as it was captured.
func checkFleet(t *testing.T, f *simulation.Fleet) simulation.FleetReport {
	t.Helper()
	r, err := f.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range r.Faults {
		t.Error(fault)
	}
	held, refused := 0, 0
	for _, n := range r.Held {
		held += n
	}
	for _, n := range r.Refused {
		refused += n
	}
	if r.Wrong != len(r.Faults) && len(r.Faults) < 20 || r.Entries != f.Captured() || r.Counted+held+refused != r.Entries || r.Counted == 0 {
		t.Errorf("the report is %+v", r)
	}
	for _, why := range []diary.Why{diary.WhyAnswered, diary.WhyZoneContradicts, diary.WhyTooEarly, diary.WhyDeviceRevoked,
		diary.WhyInFuture} {
		if r.Held[why] == 0 {
			t.Errorf("no entry is held for %s", why)
		}
	}
	if refused != 0 {
		t.Errorf("%d entries were refused", refused)
	}
	return r
}

// TestEveryEntryOfAFleetIsRecordedOnce has phones of all kinds send what they have captured.
func TestEveryEntryOfAFleetIsRecordedOnce(t *testing.T) {
	f := buildFleet(t, fleetOptions(t, install(t), 35))
	if err := f.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := checkFleet(t, f)
	if r.Sent <= int64(r.Entries) {
		t.Errorf("%d entries were sent %d times", r.Entries, r.Sent)
	}
	t.Logf("%+v", r)
}

// TestAFleetLosesNothingWhenAnOlderLogIsRestored is the drill under load: a backup is made while phones send, they are answered, and go
// on sending; the machine is lost, and the older log is restored under them.
func TestAFleetLosesNothingWhenAnOlderLogIsRestored(t *testing.T) {
	in := install(t)
	o := fleetOptions(t, in, 35)
	var f *simulation.Fleet
	begun, busy := make(chan struct{}), make(chan struct{})
	backedUp, moved := make(chan struct{}), make(chan struct{})
	var first, second sync.Once
	o.Answered = func(n int64) {
		switch all := int64(f.Captured()); {
		case n >= 3*all/4:
			second.Do(func() { close(busy) })
			<-moved
		case n >= all/2: // what is answered from here on is not in the backup
			<-backedUp
		case n >= all/4:
			first.Do(func() { close(begun) })
		}
	}
	f = buildFleet(t, o)
	ctx, stop := context.WithCancel(t.Context())
	sent := make(chan error, 1)
	go func() { sent <- f.Send(ctx) }()
	defer stop()

	<-begun
	backup := filepath.Join(t.TempDir(), "log.tar")
	tool(t, exitOK, "node", "backup", "--data", in.dir, "--to", backup)
	close(backedUp)
	<-busy
	dir := filepath.Join(t.TempDir(), "restored")
	restoreInto(t, dir, backup, in.dir)
	restored := startIn(t, dir)
	f.MoveTo(restored.url)
	close(moved)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	// Phones that were done before ask again what the record has.
	if err := f.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", checkFleet(t, f))
}

// restoreInto restores a backup into a directory, with the keys of the former one.
func restoreInto(t *testing.T, dir, backup, former string) {
	t.Helper()
	tool(t, exitOK, "node", "restore", "--from", backup, "--data", dir)
	for _, name := range []string{tokenKeyFile, blindingKeyFile} {
		text, err := os.ReadFile(filepath.Join(former, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
