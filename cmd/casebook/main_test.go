package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asMain is a variable of the environment. If it is set, the test's binary runs as casebook, for tests that kill a
// process.
const asMain = "CASEBOOK_TEST_RUNS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(
			goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
			goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
			goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		); err != nil {
			code = 1
			fmt.Fprintln(os.Stderr, errors.Join(errors.New("goroutines are left over"), err))
		}
	}
	os.Exit(code)
}
