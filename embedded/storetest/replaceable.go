package storetest

import (
	"context"
	"os"
	"testing"

	"casebook/embedded/node"
)

// Replaceable is an embedded event store whose data a test replaces by an older copy, as an operator does who restores a backup. It
// keeps its address.
type Replaceable struct {
	*node.Node
	// Dir holds the data.
	Dir     string
	t       testing.TB
	address string
}

// OpenReplaceable starts an empty event store, until the end of the test.
func OpenReplaceable(t testing.TB) *Replaceable {
	t.Helper()
	r := &Replaceable{Dir: t.TempDir(), t: t, address: "127.0.0.1:0"}
	r.open()
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func (r *Replaceable) open() {
	r.t.Helper()
	n, err := node.Open(context.Background(), node.Options{Dir: r.Dir, Listen: r.address})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Node, r.address = n, n.Addr()
}

func (r *Replaceable) stop() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// Restart stops the store, and starts it again on a directory.
func (r *Replaceable) Restart(dir string) {
	r.t.Helper()
	r.stop()
	r.Dir = dir
	r.open()
}

// Backup returns a copy of the data, for which the store is stopped for a moment.
func (r *Replaceable) Backup() (dir string) {
	r.t.Helper()
	r.stop()
	dir = r.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(r.Dir)); err != nil {
		r.t.Fatal(err)
	}
	r.open()
	return dir
}
