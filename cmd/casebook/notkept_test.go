package main

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"casebook/domain/user"
	"casebook/readmodels"
	projectionviews "casebook/readmodels/projection"
)

// TestAViewThatNobodyKeepsIsNamed freezes the process that keeps the views. The process that answers queries says so, and the
// command line does, although the frozen one has noted that they are live; and both see it come back.
func TestAViewThatNobodyKeepsIsNamed(t *testing.T) {
	flags := flagsFor(t.TempDir())
	flags.Roles = []string{"api"}
	s, err := start(context.Background(), flags, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	in := installation{server: s, t: t, url: s.url()}
	token := in.account("admin", user.Grant{Role: user.Admin})

	keeper := exec.Command(os.Args[0], "serve", "--data", t.TempDir(), "--admin", "127.0.0.1:0", "--roles", "projections",
		"--log-level", "error")
	keeper.Env = append(os.Environ(), asMain+"=1", "CASEBOOK_EVENTSTORE="+s.stores.eventStoreURL, "CASEBOOK_MONGO="+s.stores.mongoURL)
	keeper.Stderr = os.Stderr
	out, err := keeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = keeper.Process.Kill()
		_ = keeper.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	await := func(state readmodels.State, within time.Duration) (shown projectionviews.Projection) {
		t.Helper()
		for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			var list projectionviews.ProjectionList
			in.query(token, "/api/v1/projections", 0, &list)
			are := 0
			for _, p := range list.Items {
				if shown = p; p.State == state && p.Keeper != nil {
					are++
				}
			}
			if are == len(list.Items) {
				return shown
			}
			if time.Since(begun) > within {
				t.Fatalf("after %s, %d of %d views are %s; the last is %+v", within, are, len(list.Items), state, shown)
			}
		}
	}
	if p := await(readmodels.Live, 2*time.Minute); p.Keeper.PID != keeper.Process.Pid || !p.NotKeptSince.IsZero() {
		t.Errorf("it is kept by %+v, and not since %s", p.Keeper, p.NotKeptSince)
	}
	if err := keeper.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	in.account("berta")
	p := await(readmodels.NotKept, 2*time.Minute)
	if p.Keeper.PID != keeper.Process.Pid || p.NotKeptSince.IsZero() || p.LagMillis < 1000 {
		t.Errorf("it is kept by %+v, not since %s, and lags %d ms", p.Keeper, p.NotKeptSince, p.LagMillis)
	}
	printed := tool(t, exitOK, "projections", "list", "--eventstore", s.stores.eventStoreURL, "--mongo", s.stores.mongoURL)
	if !strings.Contains(printed, " not-kept ") || !strings.Contains(printed, "nobody since") {
		t.Errorf("the list says:\n%s", printed)
	}
	if err := keeper.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(readmodels.Live, 2*time.Minute)
}
