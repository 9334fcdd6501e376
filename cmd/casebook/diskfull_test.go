package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/projection"
	"casebook/embedded/diskguard/disktest"
)

// smallDiskServer is a server in a process of its own, with its data on a small disk.
type smallDiskServer struct {
	t          *testing.T
	dir, log   string
	process    *exec.Cmd
	url, admin string
	ended      chan struct{}
}

// start starts the process and waits until it serves.
func (s *smallDiskServer) start() {
	s.t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	admin := freePort(s.t)
	s.process = exec.Command(os.Args[0], "bench-server", "--data", s.dir, "--http", "127.0.0.1:0", "--admin", admin, "--node-listen",
		"127.0.0.1:0", "--mongo-listen", "127.0.0.1:0", "--log-level", "warn")
	s.process.Env = append(os.Environ(), asMain+"=1")
	s.process.Stderr = log
	out, err := s.process.StdoutPipe()
	if err == nil {
		err = s.process.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	url, ready := strings.CutPrefix(lines.Text(), benchReady)
	s.url, s.admin = url, "http://"+admin
	ended := make(chan struct{})
	go func() {
		for lines.Scan() {
			continue // what else it prints
		}
		_ = s.process.Wait()
		close(ended)
	}()
	s.ended = ended
	if !ready {
		s.t.Fatalf("the process does not serve: %s", s.endOfLog())
	}
}

func (s *smallDiskServer) endOfLog() string {
	text, _ := os.ReadFile(s.log)
	return string(text[max(0, len(text)-4000):])
}

// hasEnded says whether the process has ended.
func (s *smallDiskServer) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// readiness returns the status of /readyz, and the checks that have failed; 0 where nothing answers.
func (s *smallDiskServer) readiness() (status int, failed []string) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"/readyz", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Checks []struct {
			Name string
			OK   bool
		}
	}
	_ = json.NewDecoder(response.Body).Decode(&answer)
	for _, c := range answer.Checks {
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	return response.StatusCode, failed
}

// until waits until something holds.
func (s *smallDiskServer) until(what string, within time.Duration, holds func() bool) {
	s.t.Helper()
	for began := time.Now(); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > within {
			s.t.Fatalf("it did not come to this within %s: %s\n%s", within, what, s.endOfLog())
		}
	}
}

// TestRealProcessOnAFullDisk runs the program with its data on a small disk, under diaries and rebuilds, and fills the disk to the
// last byte, several times. It says that it is not ready, loses nothing that it has acknowledged, and goes on when there is room, or
// ends by itself; and it ends within its limit when it is told to while the disk is full.
func TestRealProcessOnAFullDisk(t *testing.T) {
	disk := disktest.Mount(t, 768<<20) // the embedded MongoDB takes no writes while less than half of it is free
	s := &smallDiskServer{t: t, dir: filepath.Join(disk, "data"), log: filepath.Join(t.ArtifactDir(), "server.log")}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	sign := signer(t, s.dir)
	s.start()
	t.Cleanup(func() {
		_ = s.process.Process.Kill()
		<-s.ended
	})
	const id, phones = domain.StudyID("F1"), 6
	in := installation{t: t, url: s.url}
	setUp(in, id, sign, phones)
	crc, manager, phone := sign("crc"), sign("manager"), sign("phones")

	var url atomic.Value
	url.Store(s.url)
	var acknowledged, refused atomic.Int64
	shown := make([]map[string]bool, phones)
	working, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for i := range phones {
		shown[i] = map[string]bool{}
		load.Go(func() {
			for day := domain.Date("2020-01-01"); working.Err() == nil && day < "2025-12-31"; time.Sleep(2 * time.Millisecond) {
				if submit(url.Load().(string), phone, domain.NewPatientID(id, fmt.Sprint(i)), day) {
					shown[i][string(day)+"/evening"] = true
					day = day.AddDays(1)
					acknowledged.Add(1)
				} else {
					refused.Add(1)
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	load.Go(func() { // views are built anew all the time
		for working.Err() == nil {
			for _, view := range []string{"patient-list", "diary-entries", "audit-index"} {
				rebuild(working, url.Load().(string), manager, projection.RebuildProjection{OfView: projection.OfView{Projection: view, Study: id},
					Reasoned: domain.Because("to fill the disk")})
			}
			time.Sleep(300 * time.Millisecond)
		}
	})
	t.Cleanup(func() {
		stop()
		load.Wait()
	})

	for round := range 3 {
		before := acknowledged.Load()
		s.until("diaries are taken", time.Minute, func() bool { return acknowledged.Load() > before+100 })
		was := refused.Load()
		ballast := disktest.Fill(t, disk)
		full := time.Now()
		s.until("it says that it is not ready", 30*time.Second, func() bool {
			status, _ := s.readiness()
			return status == http.StatusServiceUnavailable || s.hasEnded()
		})
		said := time.Since(full)
		s.until("diaries are refused", 30*time.Second, func() bool { return refused.Load() > was+20 })
		_, failed := s.readiness()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		room := time.Now()
		s.until("it is ready again, or has ended", time.Minute, func() bool {
			status, _ := s.readiness()
			return status == http.StatusOK || s.hasEnded()
		})
		how := "healed"
		if s.hasEnded() {
			how = "ended by itself"
			s.start()
			url.Store(s.url)
		}
		t.Logf("round %d: not ready after %s (%v), %s after %s", round, said.Round(time.Millisecond), failed, how,
			time.Since(room).Round(time.Millisecond))
		before = acknowledged.Load()
		s.until("diaries are taken again", time.Minute, func() bool { return acknowledged.Load() > before+20 })
	}

	ballast := disktest.Fill(t, disk)
	s.until("it says that it is not ready", 30*time.Second, func() bool {
		status, _ := s.readiness()
		return status != http.StatusOK
	})
	stop()
	load.Wait()
	told := time.Now()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil && !s.hasEnded() {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
		t.Logf("on a full disk it ends %s after SIGTERM", time.Since(told).Round(time.Millisecond))
	case <-time.After(endLimit + 10*time.Second):
		t.Fatalf("on a full disk it does not end after SIGTERM: %s", s.endOfLog())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.start()
	in.url = s.url
	total := 0
	for i := range phones {
		who := domain.NewPatientID(id, fmt.Sprint(i))
		found := in.windowsShown(crc, who)
		total += len(shown[i])
		for window := range shown[i] {
			if found[window] != 1 {
				t.Errorf("%s of %s was acknowledged and is shown %d times", window, who, found[window])
			}
		}
	}
	t.Logf("%d diaries were acknowledged, %d attempts were not", total, refused.Load())
}

// rebuild asks for a rebuild; a server on a full disk does not take it.
func rebuild(ctx context.Context, url, token string, command projection.RebuildProjection) {
	body, err := json.Marshal(command)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/commands/RebuildProjection", strings.NewReader(string(body)))
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	if response, err := http.DefaultClient.Do(request); err == nil {
		_ = response.Body.Close()
	}
}
