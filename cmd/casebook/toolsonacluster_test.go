package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/user"
	"casebook/embedded/node/clustertest"
)

// TestToolsOutliveAChangeOfLeader runs the tools of the command line while one leader after the other is killed, frozen, cut
// off or moved. Each of them has to do its work, and to report it once.
func TestToolsOutliveAChangeOfLeader(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: 500 * time.Millisecond, WriteTimeout: 500 * time.Millisecond})
	f := flagsOn(t, c)
	in := serveOn(t, f)
	for i := range 200 { // something to rebuild
		in.send(operator(), user.RegisterUser{OfUser: domain.ForUser(domain.UserID(fmt.Sprintf("somebody.%d", i))), Name: "Somebody"})
	}
	in.account("confirmed")
	log, views := "--eventstore="+c.URL(), "--mongo="+in.stores.mongoURL
	data := "--data=" + f.Stores.Data

	failing, stop := context.WithCancel(t.Context())
	var faults sync.WaitGroup
	faults.Go(func() {
		for kind := 0; failing.Err() == nil; kind = (kind + 1) % 5 {
			fault(t, c, kind, func(time.Time) {})
			pause(failing, 700*time.Millisecond)
		}
	})
	defer faults.Wait()
	defer stop()
	runs := 0
	for round := range 3 {
		anna := fmt.Sprintf("anna.%d", round)
		for _, c := range []struct{ args, prints string }{
			{"users add " + anna + " --name Anna --no-password --role crc --study S1 --site 01 " + log, "granted crc"},
			{"users grant " + anna + " --role monitor --study S1 " + log, "granted monitor"},
			{"users revoke " + anna + " --role monitor --study S1 --reason left " + log, "revoked monitor"},
			{"users lock " + anna + " --reason lost " + log, "locked " + anna},
			{"users unlock " + anna + " --reason found " + log, "unlocked " + anna},
			{"token --user confirmed " + data + " " + log, "."},
			{"users set-password " + anna + " " + log, "password (shown once)"},
			{"users list " + log, anna},
			{"projections rebuild user-directory --events-per-second 300 " + log + " " + views, "the active build of user-directory is now"},
			{"projections verify user-directory " + log + " " + views, "differing  0"},
			{"projections as-of user-directory --time 2100-01-01T00:00:00Z " + log + " " + views, anna},
			{"audit verify " + log + " --blinding-key-file " + f.Stores.blindingKeyFile(), "findings  0"},
		} {
			var out, errOut bytes.Buffer
			code := run(t.Context(), strings.Fields(c.args), &out, &errOut)
			if code != exitOK || !strings.Contains(out.String(), c.prints) {
				t.Errorf("casebook %s ends with %d: %s%s", c.args, code, out.String(), errOut.String())
			}
			runs++
		}
	}
	t.Logf("%d tools were run during %d elections", runs, len(c.Elections()))
}

// TestToolsWaitForALeader starts tools while nobody leads: each waits until there is a leader again, however long an election takes
// that goes well.
func TestToolsWaitForALeader(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: 12 * time.Second})
	f := flagsOn(t, c)
	in := serveOn(t, f)
	in.account("anna")
	log, views := "--eventstore="+c.URL(), "--mongo="+in.stores.mongoURL
	c.Leader().Kill()
	begun := time.Now()
	var tools sync.WaitGroup
	for _, c := range []struct{ args, prints string }{
		{"audit verify " + log + " --blinding-key-file " + f.Stores.blindingKeyFile(), "findings  0"},
		{"projections list " + log + " " + views, "user-directory"},
		{"projections as-of user-directory --time 2100-01-01T00:00:00Z " + log + " " + views, "anna"},
		{"users list " + log, "anna"},
	} {
		tools.Go(func() {
			var out, errOut bytes.Buffer
			code := run(t.Context(), strings.Fields(c.args), &out, &errOut)
			if code != exitOK || !strings.Contains(out.String(), c.prints) {
				t.Errorf("after %s casebook %s ends with %d: %s%s", time.Since(begun), c.args, code, out.String(), errOut.String())
			}
		})
	}
	tools.Wait()
	if elections := c.Elections(); len(elections) != 1 || elections[0] < 11*time.Second {
		t.Errorf("the elections took %s", elections)
	}
}
