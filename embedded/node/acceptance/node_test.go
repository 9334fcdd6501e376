// Package acceptance holds the node to what others expect of an EventStoreDB: it starts `casebook node` as a user would
// and runs the test suite of the official Go client and a script of the official Node.js client against it.
//
// It must not reach into the node: what these tests know comes from the protocol. Begin with TestGoClientSuite.
package acceptance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// stopGrace bounds how long a node may take to end after it was asked to.
const stopGrace = 20 * time.Second

// workshop is a directory for what all tests share: the built binary and the populated data directory.
var workshop string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "casebook-acceptance-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		workshop = dir
		return m.Run()
	}())
}

// buildBinary builds casebook once, with the race detector where this test has it.
var buildBinary = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(workshop, "casebook")
	args := []string{"build", "-o", binary}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "casebook/cmd/casebook")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("casebook does not build: %w\n%s", err, out)
	}
	return binary, nil
})

// slow skips a test that starts processes when only the quick ones are wanted.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short leaves out what builds the binary and starts clients' own suites; run without it")
	}
}

// node is a running `casebook node` process.
type node struct {
	endpoint string // host:port
	cmd      *exec.Cmd
	output   bytes.Buffer // standard error, to be read when the process has ended
	ended    chan error
}

// startNode starts a node over the data in dir and returns when it takes calls.
func startNode(ctx context.Context, dir string, flags ...string) (*node, error) {
	binary, err := buildBinary()
	if err != nil {
		return nil, err
	}
	n := &node{ended: make(chan error, 1)}
	n.cmd = exec.CommandContext(ctx, binary, append([]string{"node", "--data", dir, "--listen", "127.0.0.1:0"}, flags...)...)
	n.cmd.Stderr = &n.output
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { n.ended <- n.cmd.Wait() }()
	address, isAddress := strings.CutPrefix(strings.TrimSpace(line), "event store: esdb://")
	if err != nil || !isAddress {
		_ = n.cmd.Process.Kill()
		return nil, fmt.Errorf("the node did not start: it printed %q, %w, and ended with %w\n%s", line, err, <-n.ended, n.output.String())
	}
	n.endpoint, _, _ = strings.Cut(address, "?")
	return n, nil
}

// stop asks the node to end and says what was wrong with its end: a failure, a data race, or that it took too long.
func (n *node) stop() error {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-n.ended:
		if err != nil {
			return fmt.Errorf("the node at %s ended with %w\n%s", n.endpoint, err, n.output.String())
		}
		return nil
	case <-time.After(stopGrace):
		_ = n.cmd.Process.Kill()
		return fmt.Errorf("the node at %s did not end within %s of being asked to; killed: %w\n%s", n.endpoint, stopGrace, <-n.ended, n.output.String())
	}
}

// modes returns the flags of a node that anybody may use, over plain connections, and of one that knows the client's
// users, over TLS with the certificates in certs.
func modes(t *testing.T, certs string) map[string][]string {
	t.Helper()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("changeit\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"plaintext": nil,
		"TLS": {
			"--tls-cert", filepath.Join(certs, "node", "node.crt"), "--tls-key", filepath.Join(certs, "node", "node.key"),
			"--admin-password-file", password, "--ops-password-file", password,
		},
	}
}

// runNode starts a node that ends with the test.
func runNode(t *testing.T, dir string, flags ...string) *node {
	t.Helper()
	n, err := startNode(context.WithoutCancel(t.Context()), dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// connect returns a client of the node that is closed with the test.
func connect(t *testing.T, n *node) *esdb.Client {
	t.Helper()
	c, err := dial(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func dial(n *node) (*esdb.Client, error) {
	config, err := esdb.ParseConnectionString("esdb://" + n.endpoint + "?tls=false")
	if err != nil {
		return nil, err
	}
	config.Logger = esdb.NoopLogging()
	return esdb.NewClient(config)
}
