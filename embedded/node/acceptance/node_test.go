// Package acceptance tests the node with the official clients: it starts `casebook node` as a user would, and runs the
// test suite of the Go client and a script with the Node.js client against it.
//
// It uses only the protocol and must not import the node's packages. Start reading at TestGoClientSuite.
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

// stopGrace is the time that a node may take to end after SIGTERM.
const stopGrace = 20 * time.Second

// sharedDir is a directory with the files that all tests share: the built binary and the populated data directory.
var sharedDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "casebook-acceptance-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		sharedDir = dir
		return m.Run()
	}())
}

// buildBinary builds casebook once, with the race detector if this test has it.
var buildBinary = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(sharedDir, "casebook")
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

// slow skips a test that builds and starts programs if -short is set.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short leaves out tests that build and start programs")
	}
}

// node is a running `casebook node` process.
type node struct {
	endpoint string // host:port
	cmd      *exec.Cmd
	output   bytes.Buffer // standard error; read it only when the process has ended
	ended    chan error
}

// startNode starts a node with the data in dir and returns when it accepts calls.
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
		return nil, fmt.Errorf("the node did not start: it printed %q, %w, and ended with %w\n%s",
			line, err, <-n.ended, n.output.String())
	}
	n.endpoint, _, _ = strings.Cut(address[strings.LastIndex(address, "@")+1:], "?")
	return n, nil
}

// stop ends the node with SIGTERM. It returns an error if the node failed, had a data race, or took too long.
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
		return fmt.Errorf("the node at %s did not end within %s of SIGTERM; killed: %w\n%s",
			n.endpoint, stopGrace, <-n.ended, n.output.String())
	}
}

// withoutUsers is the flag of a node that serves everybody over plain connections.
const withoutUsers = "--insecure"

// modes returns the flags of two kinds of nodes: one without users, over plain connections, and one with the users of
// the client's suite, over TLS with the certificates in certs.
func modes(t *testing.T, certs string) map[string][]string {
	t.Helper()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("changeit\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"plaintext": {withoutUsers},
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
