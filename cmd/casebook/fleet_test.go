package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fleet is an installation of several processes of each role, which run the test's binary as casebook.
type fleet struct {
	t       testing.TB
	workers []*worker

	mu sync.Mutex
	// surprises are the processes that ended by themselves, or did not end as they were asked to.
	surprises []string
	// slowestStart is the longest time from the start of a process until it was ready to serve.
	slowestStart time.Duration
}

// condition says what a worker's process is doing.
type condition int

const (
	running condition = iota
	frozen
	down
)

// worker is a place for one process, which is started again after it was killed.
type worker struct {
	fleet      *fleet
	name, role string
	flags      []string
	// env is the variable of the environment that says as what the test's binary runs; asMain where it is empty.
	env     string
	logFile string

	mu        sync.Mutex
	condition condition
	process   *exec.Cmd
	// wanted says that the process was told to end; ended is closed when it has.
	wanted *atomic.Bool
	ended  chan struct{}
	// api and admin are its addresses, empty until it serves. A store has its connection string in api, and no admin.
	api, admin string
	// unwell is set while the process does not answer probes.
	unwell atomic.Bool
}

// newFleet starts processes of each role with the flags that all of them need, and ends them when the test is over.
func newFleet(t testing.TB, each int, flags ...string) *fleet {
	t.Helper()
	return newFleetOf(t, map[string]int{"api": each, "projections": each, "sagas": each}, flags...)
}

// newFleetOf is newFleet for different numbers of processes of each role.
func newFleetOf(t testing.TB, processes map[string]int, flags ...string) *fleet {
	t.Helper()
	f := &fleet{t: t}
	for _, role := range slices.Sorted(maps.Keys(processes)) {
		for i := range processes[role] {
			w := &worker{fleet: f, name: fmt.Sprintf("%s-%d", role, i+1), role: role, condition: down}
			w.logFile = filepath.Join(t.ArtifactDir(), w.name+".log")
			w.flags = append([]string{"serve", "--roles", role, "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn",
				"--data", filepath.Join(t.TempDir(), w.name)}, flags...)
			f.workers = append(f.workers, w)
		}
	}
	t.Cleanup(func() {
		for _, w := range f.workers {
			w.kill()
		}
	})
	for _, w := range f.workers {
		w.start()
	}
	return f
}

// start starts the process. It does not wait until the process serves.
func (w *worker) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.condition != down {
		return
	}
	process := exec.Command(os.Args[0], w.flags...)
	process.Env = append(os.Environ(), cmp.Or(w.env, asMain+"=1"))
	log, err := os.OpenFile(w.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.fleet.t.Error(err)
		return
	}
	fmt.Fprintf(log, "started at %s\n", time.Now().Format(time.RFC3339Nano))
	process.Stderr = log
	printed, err := process.StdoutPipe()
	if err == nil {
		err = process.Start()
	}
	if err != nil {
		_ = log.Close()
		w.fleet.t.Error(err)
		return
	}
	ended, wanted := make(chan struct{}), &atomic.Bool{}
	w.process, w.condition, w.ended, w.wanted, w.api, w.admin = process, running, ended, wanted, "", ""
	began := time.Now()
	go func() {
		defer close(ended)
		w.readAddresses(printed, began)
		err := process.Wait()
		_ = log.Close()
		if !wanted.Load() {
			w.fleet.surprise("%s ended by itself: %v\n%s", w.name, err, w.endOfLog())
			w.end(syscall.SIGKILL)
			defer w.start()
		}
	}()
}

// readAddresses takes the addresses from what the process prints when it serves, and reads on until the process ends.
func (w *worker) readAddresses(printed io.Reader, began time.Time) {
	lines := bufio.NewScanner(printed)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		address, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		w.mu.Lock()
		switch name {
		case "API", "event store", "MongoDB":
			w.api = address
		case "admin":
			w.admin = strings.TrimSuffix(address, "/metrics")
			w.fleet.started(time.Since(began))
		}
		w.mu.Unlock()
	}
}

func (w *worker) endOfLog() string {
	text, _ := os.ReadFile(w.logFile)
	return string(text[max(0, len(text)-3000):])
}

func (f *fleet) started(took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slowestStart = max(f.slowestStart, took)
}

func (f *fleet) surprise(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.surprises = append(f.surprises, fmt.Sprintf(format, args...))
}

// end marks the process as down and signals it. It returns what is closed when the process has ended; nil if there is none.
func (w *worker) end(how os.Signal) (process *exec.Cmd, ended <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.condition == down {
		return nil, nil
	}
	w.condition, w.api, w.admin = down, "", ""
	w.wanted.Store(true)
	_ = w.process.Process.Signal(how) // it may have ended by itself
	return w.process, w.ended
}

// kill ends the process without a chance to finish anything.
func (w *worker) kill() {
	if _, ended := w.end(syscall.SIGKILL); ended != nil {
		<-ended
	}
}

// stop asks the process to end, as an operator does, and waits until it has. It must end well, within a minute.
func (w *worker) stop() {
	process, ended := w.end(syscall.SIGTERM)
	if ended == nil {
		return
	}
	select {
	case <-ended:
		if code := process.ProcessState.ExitCode(); code != exitOK {
			w.fleet.surprise("%s was asked to end, and ended with %d\n%s", w.name, code, w.endOfLog())
		}
	case <-time.After(endLimit + 10*time.Second):
		w.fleet.surprise("%s was asked to end, and did not\n%s", w.name, w.endOfLog())
		_ = process.Process.Kill()
		<-ended
	}
}

// freeze stops the process as a paused machine is stopped, for a time.
func (w *worker) freeze(ctx context.Context, d time.Duration) {
	w.mu.Lock()
	if w.condition != running {
		w.mu.Unlock()
		return
	}
	w.condition = frozen
	process := w.process.Process
	_ = process.Signal(syscall.SIGSTOP)
	w.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = process.Signal(syscall.SIGCONT)
	if w.condition == frozen {
		w.condition = running
	}
}

// addresses returns the addresses of the API and of the probes, empty while the process does not serve.
func (w *worker) addresses() (api, admin string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.api, w.admin
}

// awaitServing waits until all processes serve.
func (f *fleet) awaitServing(limit time.Duration) error {
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		waiting := slices.IndexFunc(f.workers, func(w *worker) bool {
			_, admin := w.addresses()
			return admin == ""
		})
		if waiting < 0 {
			return nil
		}
		if time.Since(began) > limit {
			w := f.workers[waiting]
			return fmt.Errorf("%s does not serve after %s\n%s", w.name, limit, w.endOfLog())
		}
	}
}

// probe watches whether the processes of the API answer, as a balancer does, until ctx ends.
func (f *fleet) probe(ctx context.Context) {
	client := &http.Client{Timeout: 700 * time.Millisecond, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var wait sync.WaitGroup
	for _, w := range f.workers {
		if w.role != "api" {
			continue
		}
		wait.Go(func() {
			for ctx.Err() == nil {
				api, _ := w.addresses()
				w.unwell.Store(api == "" || statusOf(ctx, client, api+"/healthz") != http.StatusOK)
				time.Sleep(150 * time.Millisecond)
			}
		})
	}
	wait.Wait()
}

// statusOf returns the status of a URL; 0 if there is no answer.
func statusOf(ctx context.Context, client *http.Client, url string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}

// url returns the address of a process of the API that answers probes. If none does, it returns any that serves, or an
// empty address.
func (f *fleet) url() string {
	var well, any []string
	for _, w := range f.workers {
		if api, _ := w.addresses(); w.role == "api" && api != "" {
			if any = append(any, api); !w.unwell.Load() {
				well = append(well, api)
			}
		}
	}
	if len(well) == 0 {
		well = any
	}
	if len(well) == 0 {
		return ""
	}
	return well[rand.IntN(len(well))]
}

// urls returns the addresses of all processes of the API that serve.
func (f *fleet) urls() (all []string) {
	for _, w := range f.workers {
		if api, _ := w.addresses(); api != "" {
			all = append(all, api)
		}
	}
	return all
}

// spare reports whether another process of the same role is running, so that this one can be missed.
func (f *fleet) spare(w *worker) bool {
	for _, other := range f.workers {
		if other == w || other.role != w.role {
			continue
		}
		other.mu.Lock()
		serves := other.condition == running && other.admin != ""
		other.mu.Unlock()
		if serves {
			return true
		}
	}
	return false
}

// awaitReady waits until every process says that it is ready.
func (f *fleet) awaitReady(ctx context.Context, limit time.Duration) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	began := time.Now()
	for _, w := range f.workers {
		for {
			_, admin := w.addresses()
			status := 0
			if admin != "" {
				status = statusOf(ctx, client, admin+"/readyz")
			}
			if status == http.StatusOK {
				break
			}
			if time.Since(began) > limit {
				return fmt.Errorf("%s: /readyz answers %d after %s\n%s", w.name, status, limit, w.endOfLog())
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// stopAll asks all processes to end, at once.
func (f *fleet) stopAll() error {
	var wait sync.WaitGroup
	for _, w := range f.workers {
		wait.Go(w.stop)
	}
	wait.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, s := range f.surprises {
		errs = append(errs, errors.New(s))
	}
	return errors.Join(errs...)
}
