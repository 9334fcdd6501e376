package clustertest

import "testing"

// Run starts a cluster for as long as a test runs, in a directory of its own.
func Run(t testing.TB, o Options) *Cluster {
	t.Helper()
	o.Dir = t.TempDir()
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
