package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hanging starts a process that does not end after a signal, and sends it the first signal.
func hanging(t *testing.T, limit string) (process *exec.Cmd, ended chan error, complaint *bytes.Buffer) {
	t.Helper()
	complaint = &bytes.Buffer{}
	process = exec.Command(os.Args[0])
	process.Env = append(os.Environ(), asHanging+"="+limit)
	process.Stderr = complaint
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Process.Kill() })
	lines := bufio.NewScanner(out)
	for _, want := range []string{"ready", "ending"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("the process said %q instead of %q", lines.Text(), want)
		}
		if want == "ready" {
			if err := process.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	ended = make(chan error, 1)
	go func() { ended <- process.Wait() }()
	return process, ended, complaint
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	process, ended, _ := hanging(t, "1h")
	for deadline := time.After(10 * time.Second); ; {
		_ = process.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
			if status := process.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM { // -1 where none ended it
				t.Errorf("the process ended with %v", process.ProcessState)
			}
			return
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatal("the second signal was ignored")
		}
	}
}

func TestShuttingDownIsBounded(t *testing.T) {
	process, ended, complaint := hanging(t, "100ms")
	select {
	case <-ended:
		if process.ProcessState.ExitCode() != exitFailure || !strings.Contains(complaint.String(), "had not ended") {
			t.Errorf("the process ended with %v: %s", process.ProcessState, complaint)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the process goes on after its limit")
	}
}
