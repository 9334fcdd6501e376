package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"casebook/embedded/node"

	"go.uber.org/goleak"
)

// theNode is shared by all tests that do not stop it.
var theNode *node.Node

func TestMain(m *testing.M) {
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
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
