package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"casebook/embedded/node"
	"casebook/embedded/storetest"

	"go.uber.org/goleak"
)

// server is an event store.
type server interface{ ConnectionString() string }

// given is an event store that runs already.
type given string

func (g given) ConnectionString() string { return string(g) }

// theNode is shared by all tests that do not stop it, or see its connections.
var theNode server

// embeddedNode returns the shared node, and skips the test where a server is given.
func embeddedNode(t *testing.T) *node.Node {
	t.Helper()
	n, is := theNode.(*node.Node)
	if !is {
		t.Skip("this test reaches into the node")
	}
	return n
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pubsub")
	if err != nil {
		panic(err)
	}
	var closeNode func() error
	if os.Getenv(storetest.EventStoreVariable) != "" {
		var url string
		url, closeNode, _, err = storetest.Own(context.Background(), dir)
		theNode = given(url)
	} else {
		var n *node.Node
		if n, err = node.Open(context.Background(), node.Options{Dir: dir, Listen: "127.0.0.1:0"}); err == nil {
			theNode, closeNode = n, n.Close
		}
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	if err := errors.Join(closeNode(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
