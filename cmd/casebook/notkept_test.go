package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strconv"
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

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, in.url+"/api/v1/users", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, text := in.do(request, token); !strings.Contains(text, "view_building") || !strings.Contains(text, "no process keeps it") {
		t.Errorf("before any process has kept it, a query is answered %s", text)
	}
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
	// warned returns the views that an answer names as kept by nobody, and the code of a query that waits for a position.
	warned := func() (views, code string) {
		t.Helper()
		answer := func(position string) *http.Response {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, in.url+"/api/v1/users", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+token)
			request.Header.Set("Casebook-Position", position)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			return response
		}
		plain := answer("1")
		_ = plain.Body.Close()
		end, err := s.log.End(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		waiting := answer(strconv.FormatUint(end.Commit, 10))
		defer func() { _ = waiting.Body.Close() }()
		var problem struct{ Code string }
		if err := json.NewDecoder(waiting.Body).Decode(&problem); err != nil {
			t.Fatal(err)
		}
		return plain.Header.Get("Casebook-Not-Kept"), problem.Code
	}
	metric := func() string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.adminAddress+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, text := in.do(request, "")
		_, text, _ = strings.Cut(text, `casebook_view_not_kept{view="user-directory"} `)
		value, _, _ := strings.Cut(text, "\n")
		return value
	}
	if p := await(readmodels.Live, 2*time.Minute); p.Keeper.PID != keeper.Process.Pid || !p.NotKeptSince.IsZero() {
		t.Errorf("it is kept by %+v, and not since %s", p.Keeper, p.NotKeptSince)
	}
	warns := func(when, views, code, value string) {
		t.Helper()
		for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			v, c := warned()
			if m := metric(); v == views && c == code && m == value {
				return
			} else if time.Since(begun) > 20*time.Second {
				t.Fatalf("%s, an answer warns of %q, a position is refused with %q, and the metric is %s", when, v, c, m)
			}
		}
	}
	warns("while it is kept", "", "", "0")
	if err := keeper.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	in.account("berta")
	p := await(readmodels.NotKept, 2*time.Minute)
	if p.Keeper.PID != keeper.Process.Pid || p.NotKeptSince.IsZero() || p.LagMillis < 1000 {
		t.Errorf("it is kept by %+v, not since %s, and lags %d ms", p.Keeper, p.NotKeptSince, p.LagMillis)
	}
	warns("when nobody keeps it", "user-directory", "view_not_kept", "1")
	if status, failed := probe(t, s.httpAddress, "/readyz"); status != http.StatusOK || !all("projections", "view user-directory")(failed) {
		t.Errorf("/readyz answers %d, and %q have failed", status, failed)
	}
	printed := tool(t, exitOK, "projections", "list", "--eventstore", s.stores.eventStoreURL, "--mongo", s.stores.mongoURL)
	if !strings.Contains(printed, " not-kept ") || !strings.Contains(printed, "nobody since") {
		t.Errorf("the list says:\n%s", printed)
	}
	if err := keeper.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(readmodels.Live, 2*time.Minute)
	warns("when it is kept again", "", "", "0")
}
