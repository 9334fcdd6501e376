package main

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"casebook/embedded/storetest"

	"go.uber.org/goleak"
)

// asMain is a variable of the environment. If it is set, the test's binary runs as casebook, for tests that kill a
// process.
const asMain = "CASEBOOK_TEST_RUNS_MAIN"

// asHanging is a variable of the environment. If it is set to a duration, the test's binary runs as a process that does
// not end after a signal, unless the duration ends it.
const asHanging = "CASEBOOK_TEST_HANGS"

// asMongo is a variable of the environment. If it is set to a directory, the test's binary runs the embedded MongoDB in it, for
// tests that freeze it.
const asMongo = "CASEBOOK_TEST_RUNS_MONGO"

func runMongo(dir string) int {
	ctx, stop := untilSignal(endLimit)
	defer stop()
	url, stopStore, err := storetest.Mongo(ctx, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailure
	}
	fmt.Println("MongoDB:", url)
	<-ctx.Done()
	if err := stopStore(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailure
	}
	return exitOK
}

func hangAfterSignal(limit time.Duration) {
	ctx, stop := untilSignal(limit)
	defer stop()
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println("ending")
	select {}
}

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		os.Exit(runUntilSignal())
	}
	if dir := os.Getenv(asMongo); dir != "" {
		os.Exit(runMongo(dir))
	}
	if limit, err := time.ParseDuration(os.Getenv(asHanging)); err == nil {
		hangAfterSignal(limit)
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
