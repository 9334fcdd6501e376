package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

// world is the running product behind the API: stores, handler and projections. All tests share it.
type world struct {
	eventStoreURL string
	mongoURL      string
	closeStores   func() error
	// log has the blinding keys, as decisions need them; blinded has none, as views are made.
	log     *eventlog.Log
	blinded *eventlog.Log
	store   *readmodels.Store
	// verifier verifies the blinded log.
	verifier *eventlog.Verifier
	handler  *commands.Handler
	stop     context.CancelFunc
	parts    *errgroup.Group
}

var the world

// now is the time of the command handler, so that diaries of fixed days are neither late nor in the future.
var now = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if the, err = openWorld(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	// The proxy that cuts a process off leaves its pipes behind.
	leaks := []goleak.Option{goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write")}
	if err := errors.Join(the.close(), goleak.Find(leaks...)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

func openWorld(dir string) (w world, err error) {
	ctx := context.Background()
	eventStore, closeEventStore, _, err := storetest.Own(ctx, dir)
	if err != nil {
		return w, err
	}
	mongo, closeMongo, err := storetest.Mongo(ctx, dir)
	if err != nil {
		return w, err
	}
	w.eventStoreURL, w.mongoURL = eventStore, mongo
	w.closeStores = func() error { return errors.Join(closeMongo(), closeEventStore()) }
	keys, err := eventlog.NewBlindingKeys(bytes.Repeat([]byte{7}, eventlog.BlindingKeyBytes))
	if err != nil {
		return w, err
	}
	if w.log, err = eventlog.Connect(ctx, eventlog.Options{URL: eventStore, Registry: contexts.Registry(),
		BlindingKeys: keys}); err != nil {
		return w, err
	}
	if w.blinded, err = eventlog.Connect(ctx, eventlog.Options{URL: eventStore, Registry: contexts.Registry()}); err != nil {
		return w, err
	}
	if w.store, err = readmodels.Connect(ctx, mongo, "casebook-"+uuid.NewString()[:8], contexts.Views()); err != nil {
		return w, err
	}
	factors, err := access.NewFactors(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		return w, err
	}
	w.verifier = eventlog.NewVerifier(eventlog.VerifierOptions{Log: w.blinded, Store: w.store})
	w.handler = commands.NewHandler(commands.Options{Log: w.log, Verifier: w.verifier, Factors: factors, Commands: contexts.Commands(),
		Now:   func() time.Time { return now },
		Build: "test"})
	engine := projections.NewEngine(projections.Options{Log: w.blinded, Store: w.store, Projections: contexts.Projections(),
		Verifier: w.verifier})
	running, stop := context.WithCancel(ctx)
	w.stop = stop
	w.parts, running = errgroup.WithContext(running)
	w.parts.Go(func() error { return w.verifier.Run(running) })
	w.parts.Go(func() error { return w.handler.Run(running) })
	w.parts.Go(func() error { return engine.Run(running) })
	return w, w.handler.Ready(ctx)
}

func (w world) close() error {
	w.stop()
	err := w.parts.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return errors.Join(err, w.log.Close(), w.blinded.Close(), w.store.DropAll(ctx), w.store.Close(ctx), w.closeStores())
}
