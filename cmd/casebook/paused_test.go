package main

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/user"
)

// serveBeside starts a process of its own, with the role api, on the stores and the keys of the installation. It returns the
// process and the address of its API.
func (in installation) serveBeside() (*exec.Cmd, string) {
	in.t.Helper()
	process := exec.Command(os.Args[0], "serve", "--data", in.t.TempDir(), "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--roles", "api", "--log-level", "error", "--key-file", filepath.Join(in.dir, tokenKeyFile),
		"--blinding-key-file", filepath.Join(in.dir, blindingKeyFile))
	process.Env = append(os.Environ(), asMain+"=1", "CASEBOOK_EVENTSTORE="+in.stores.eventStoreURL, "CASEBOOK_MONGO="+in.stores.mongoURL)
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	if err != nil {
		in.t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if url, _, _ := strings.Cut(strings.TrimSpace(rest), " "); name == "API" {
			return process, url
		}
	}
	in.t.Fatal("the process names no address of its API")
	return nil, ""
}

// TestR9_APausedProcessAsksBeforeItAnswers revokes a role while a process is paused, with a request in front of it. The
// process must not answer from what it remembers when it goes on.
func TestR9_APausedProcessAsksBeforeItAnswers(t *testing.T) {
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
	in := installation{server: s, t: t, url: s.url(), dir: flags.Stores.Data}
	grant := user.Grant{Role: user.Auditor, Study: "PAIN1"}
	of := domain.ForUser("auditor")
	token := in.account(of.User, grant)
	process, url := in.serveBeside()
	ask := func() int {
		request, err := http.NewRequest(http.MethodGet, url+"/api/v1/projections", nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Error(err)
			return 0
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	for range 3 {
		for begun := time.Now(); ask() != http.StatusOK; time.Sleep(10 * time.Millisecond) {
			if time.Since(begun) > 10*time.Second {
				t.Fatal("the process does not answer the auditor")
			}
		}
		if err := process.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		// A process stops a little after the signal. What it has authorised until then, before the role is revoked, it may answer.
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(process.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
			t.Fatalf("the process has not stopped: %v, %v", status, err)
		}
		const requests = 8
		answers := make(chan int, requests)
		for range requests {
			go func() { answers <- ask() }()
		}
		in.send(administrator("first.admin"), user.RevokeRole{OfUser: of, Grant: grant, Reasoned: domain.Because("left")})
		time.Sleep(1100 * time.Millisecond)
		if err := process.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		for range requests {
			if status := <-answers; status != http.StatusForbidden {
				t.Errorf("the process went on, and answered %d", status)
			}
		}
		in.send(administrator("first.admin"), user.GrantRole{OfUser: of, Grant: grant})
	}
	http.DefaultClient.CloseIdleConnections()
}
