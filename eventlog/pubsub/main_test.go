package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"casebook/embedded/node"

	"go.uber.org/goleak"
)

// theNode serves all tests that do not stop it.
var theNode *node.Node

// restartCommand is a command line that has whoever listens at an address restart the server: Watermill's suite wants
// one, and the server is a part of this process.
func restartCommand(address string) []string { return []string{os.Args[0], restartArgument, address} }

const restartArgument = "restart-the-server"

func askForRestart(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn) // it is closed when that was done
	return errors.Join(err, conn.Close())
}

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == restartArgument {
		if err := askForRestart(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "pubsub")
	if err != nil {
		panic(err)
	}
	theNode, err = node.Open(context.Background(), node.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		panic(err)
	}
	code := m.Run()
	if err := errors.Join(theNode.Close(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	// The suite's test of a restart leaves the collector of what it published behind.
	if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/pubsub/tests.TestReconnect.func2")); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
