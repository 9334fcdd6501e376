package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"casebook/access"
	"casebook/api"
	"casebook/cmd/casebook/contexts"
	"casebook/codebreak"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/rule"
	"casebook/eventlog"
	"casebook/keystore"
	"casebook/notify"
	"casebook/projections"
	"casebook/readmodels"
	"casebook/sagas"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
)

// serverFlags are the flags of all commands that run the server.
type serverFlags struct {
	Stores storeFlags `embed:""`
	HTTP   string     `name:"http" help:"Address of the API." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	Admin  string     `help:"Address of metrics and profiles; keep it private." default:"127.0.0.1:8081" placeholder:"HOST:PORT"`
	Roles  []string   `help:"What this process does: api, projections, sagas, and reminders, which sends them to patients and opens personal data for that. Several processes can share the work." default:"api,projections,sagas,reminders" enum:"api,projections,sagas,reminders"`

	TLSCert        string         `name:"tls-cert" help:"Certificate, in PEM, with which the API is served over HTTPS; with the certificates between it and the authority." type:"existingfile" placeholder:"FILE"`
	TLSKey         string         `name:"tls-key" help:"The certificate's private key, in PEM." type:"existingfile" placeholder:"FILE"`
	TrustedProxies []netip.Prefix `help:"Networks of the proxies in front of the API, which say in X-Forwarded-For from where a request comes." placeholder:"CIDR"`

	CORSOrigins []string `name:"cors-origins" help:"Web origins whose pages may call the API from a browser, such as https://diary.example.org; none by default." placeholder:"ORIGIN"`

	KeyFile      string `help:"Key that signs our own tokens; made in --data by default, but not with --eventstore. All processes with the role api need the same." type:"path" placeholder:"FILE"`
	JWKSURL      string `name:"jwks-url" help:"Also accept tokens signed by the keys at this address of an identity provider." placeholder:"URL"`
	JWKSIssuer   string `name:"jwks-issuer" help:"Issuer that such tokens must have."`
	JWKSAudience string `name:"jwks-audience" help:"Audience that such tokens must have." default:"casebook"`

	ViewsBehind time.Duration `help:"How far lists may lag behind what is recorded before commands and diaries are held back, where one process does both. A negative value holds nothing back." default:"300ms"`

	Notify notifyFlags `embed:""`

	Push pushFlags `embed:"" prefix:"push-"`

	Codebreak codebreakFlags `embed:"" prefix:"codebreak-"`

	Log logFlags `embed:"" prefix:"log-"`
}

type serveCommand struct {
	serverFlags
}

// Run serves until ctx ends, and then lets running requests finish.
func (c serveCommand) Run(ctx context.Context, s streams) error {
	server, err := start(ctx, c.serverFlags, c.Log.logger(s.err))
	if err != nil {
		return err
	}
	server.printAddresses(s.out)
	return server.wait()
}

func (serveCommand) servesUntilStopped() {}

// printAddresses prints what the process serves, and where its stores are.
func (s *server) printAddresses(out io.Writer) {
	if s.httpAddress != "" { // only a process with the role api has one
		fmt.Fprintf(out, "API:    %s (description at /docs)\n", s.url())
	}
	fmt.Fprintf(out, "admin:  http://%s/metrics\nevents: %s\nviews:  %s\n",
		s.adminAddress, withoutPassword(s.stores.eventStoreURL), withoutPassword(s.stores.mongoURL))
}

// url returns the address of the API.
func (s *server) url() string { return s.scheme + "://" + s.httpAddress }

// server is a running process: its stores and its parts.
type server struct {
	stores                    *stores
	log                       *eventlog.Log
	blindLog                  *eventlog.Log   // without the blinding keys; the views are built from it
	identities                *keystore.Store // nil if the process has no keys of personal data
	channels                  []notify.Channel
	push                      *notify.Push // nil where devices are sent no notifications
	views                     *readmodels.Store
	verifier                  *eventlog.Verifier
	metrics                   *prometheus.Registry
	handler                   *commands.Handler
	tokens                    *access.Tokens
	scheme                    string // http or https
	httpAddress, adminAddress string

	// clock is what the commands' times are taken from; the machine's if it is empty.
	clock clock

	stop  context.CancelFunc
	parts *errgroup.Group
	ended bool // parts were waited for
	// api and admin answer while the process waits for its stores.
	api, admin *api.Starting
}

// clock shows the time. passed is the time since a fixed moment, by a clock that cannot be set.
type clock struct {
	now    func() time.Time
	passed func() time.Duration
}

const (
	// mutexSampled is the number of waits for a lock of which one is sampled on average.
	mutexSampled = 100
	// blockSampled is the time, in nanoseconds, of waiting for which one sample is taken on average.
	blockSampled = int(10 * time.Millisecond)
)

// ownPatience is how long an event store of this process is asked whether it really ends before what a view has seen. It
// has no leader that might know more.
const ownPatience = time.Second

// startTimeout is how long the start may wait for stores of this process, and then for the handler. It waits for stores that are
// given as long as it takes.
const startTimeout = 60 * time.Second

// The checks of readiness that a starting process shows: what it waits for.
const (
	waitsForLog   = "event-log"
	waitsForViews = "views"
)

// start opens the stores and starts the parts of the process's roles. They run until ctx ends or one of them fails.
func start(ctx context.Context, f serverFlags, logger *slog.Logger) (*server, error) {
	return startWith(ctx, f, clock{}, logger)
}

func startWith(ctx context.Context, f serverFlags, by clock, logger *slog.Logger) (_ *server, err error) {
	slog.SetDefault(logger)
	// Of what waits, as much is sampled for /debug/pprof/mutex and /debug/pprof/block as costs nothing that could be measured.
	runtime.SetMutexProfileFraction(mutexSampled)
	runtime.SetBlockProfileRate(blockSampled)
	s := &server{scheme: "http", clock: by, metrics: prometheus.NewRegistry()}
	defer func() {
		if err == nil {
			return
		}
		if s.parts != nil && !s.ended {
			if failed := s.end(); failed != nil && errors.Is(err, context.Canceled) {
				err = failed // it ended the rest
			}
		}
		err = errors.Join(err, s.release())
	}()
	roles := map[string]bool{}
	for _, r := range f.Roles {
		roles[r] = true
	}
	f.warn(logger, roles["api"])
	secured, err := f.certificate()
	if err != nil {
		return nil, err
	}
	httpListener, adminListener, err := f.listen(ctx, roles["api"])
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	s.stop = stop
	group, run := errgroup.WithContext(run)
	s.parts = group
	group.Go(func() error { return boundHeap(run) })
	// Probes are answered from the beginning. The ports are open already, so that nothing is left behind when one is in use.
	s.api, s.admin = api.NewStarting(buildID(), waitsForLog), api.NewStarting(buildID(), waitsForLog)
	s.adminAddress = adminListener.Addr().String()
	group.Go(func() error { return part("admin server", api.Serve(run, adminListener, s.admin)) })
	if roles["api"] {
		s.httpAddress = httpListener.Addr().String()
		if secured != nil {
			s.scheme, httpListener = "https", tls.NewListener(httpListener, secured)
		}
		group.Go(func() error { return part("API server", api.Serve(run, httpListener, s.api)) })
	}
	if err := s.connect(run, f, logger); err != nil {
		return nil, err
	}

	registry := s.metrics
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.stores.registerMetrics(registry)
	engine := projections.NewEngine(projections.Options{Log: s.blindLog, Store: s.views, Projections: contexts.Projections(),
		Verifier: s.verifier, Logger: logger, Registerer: registry})
	queries := readmodels.NewEngine(readmodels.EngineOptions{Store: s.views, Queries: contexts.Queries(), ScopeOf: s.handler.PatientScope,
		RecordRefusal: s.handler.RecordRefusal, Past: s.past, States: s.handler.StateOf,
		Record: projections.Record(s.blindLog, s.log.PersonalKeys()), Now: s.clock.now,
		FirstAfter: s.blindLog.FirstAfter, End: s.logEnd})
	changes := readmodels.NewChangeFeed(readmodels.ChangeFeedOptions{Log: projections.NewChangeLog(s.verifier, contexts.Projections()),
		Store: s.views, Queries: contexts.Queries(), Logger: logger})
	drive := sagas.Drive{URL: s.stores.eventStoreURL, Log: s.log, Handler: s.handler, Verifier: s.verifier, Logger: logger,
		Registerer: registry}
	var waiting func() api.Waiting
	if roles["sagas"] {
		drive.Processes = contexts.Processes(s.channels...)
		drive.Turns, drive.Program = s.views, programID()
		waiting = func() (w api.Waiting) {
			w.StuckProcesses, w.ParkedMessages, w.UnreadableEvents = drive.Waiting().Total()
			return w
		}
	}
	if roles["reminders"] {
		drive.Processes = append(drive.Processes, s.reminders(logger)...)
	}
	envelopes, err := s.codeBreaks(f.Codebreak, logger)
	if err != nil {
		return nil, err
	}
	var writable func() error
	if s.stores.node != nil {
		writable = s.stores.node.Writable
	}
	web, err := api.New(api.Options{Handler: s.handler, Queries: queries, Tokens: s.tokens, Logger: logger, Build: buildID(),
		Registerer: registry, Gatherer: registry, Ready: s.ready, Writable: writable,
		Leaderless: s.log.Leaderless, Parts: s.otherParts(&drive, envelopes),
		Waiting: waiting, Changes: changes, Shown: engine.Shown, Limits: api.Limits{Behind: f.ViewsBehind},
		TrustedProxies: f.TrustedProxies, Origins: f.CORSOrigins, Evaluator: rule.Evaluator, PushKey: s.pushKey(), Now: s.clock.now})
	if err != nil {
		return nil, err
	}
	s.api.Serve(web.Handler())
	s.admin.Serve(web.Admin())
	group.Go(func() error { return part("verifier", s.verifier.Run(run)) })
	group.Go(func() error { return part("command handler", s.handler.Run(run)) })
	group.Go(func() error { return s.views.NoteVersions(run, logger) })
	group.Go(func() error { return giveMemoryBack(run) })
	if roles["projections"] {
		group.Go(func() error { return part("projections", engine.Run(run)) })
	}
	if len(drive.Processes) > 0 {
		group.Go(func() error { return part("processes", drive.Run(run)) })
	}
	if envelopes != nil {
		group.Go(func() error { return part("code breaks", envelopes.Run(run)) })
	}
	if roles["api"] {
		group.Go(func() error { return part("stream of changes", web.Run(run)) })
	}
	if err := s.awaitReady(run, f.Stores.Eventstore != ""); err != nil {
		return nil, err
	}
	logger.Info("casebook is serving", "build", buildID(), "http", s.httpAddress, "admin", s.adminAddress, "roles", f.Roles)
	return s, nil
}

// awaitReady waits until commands can be taken. If they cannot, it ends all parts. If a part failed meanwhile, its
// failure is the reason, and is returned. It waits for a log that is given as long as it takes.
func (s *server) awaitReady(run context.Context, given bool) error {
	waiting, cancel := starting(run, given)
	defer cancel()
	err := s.handler.Ready(waiting)
	if err == nil {
		return nil
	}
	if failed := s.end(); failed != nil {
		return failed
	}
	return err
}

// certificate returns the settings of HTTPS, nil for plain HTTP.
func (f serverFlags) certificate() (*tls.Config, error) {
	pair, err := certificate(f.TLSCert, f.TLSKey)
	if pair == nil || err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{*pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// certificate reads a certificate and its key; nil if there are none.
func certificate(certFile, keyFile string) (*tls.Certificate, error) {
	switch {
	case certFile == "" && keyFile == "":
		return nil, nil
	case certFile == "" || keyFile == "":
		return nil, errors.New("--tls-cert needs --tls-key, and the other way round; give both or none")
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of --tls-cert and its --tls-key: %w", err)
	}
	return &pair, nil
}

// listen opens the ports. This is the first step of the start, so that nothing is left behind when a port is in use.
func (f serverFlags) listen(ctx context.Context, withAPI bool) (httpListener, adminListener net.Listener, err error) {
	var config net.ListenConfig
	if withAPI {
		if httpListener, err = config.Listen(ctx, "tcp", f.HTTP); err != nil {
			return nil, nil, fmt.Errorf("cannot listen on %s; choose another address with --http: %w", f.HTTP, err)
		}
	}
	if adminListener, err = config.Listen(ctx, "tcp", f.Admin); err != nil {
		if httpListener != nil {
			_ = httpListener.Close()
		}
		return nil, nil, fmt.Errorf("cannot listen on %s; choose another address with --admin: %w", f.Admin, err)
	}
	return httpListener, adminListener, nil
}

// starting bounds the wait for a store, unless it is given.
func starting(ctx context.Context, given bool) (context.Context, context.CancelFunc) {
	if given {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, startTimeout)
}

// connect opens the stores, and what the parts need to reach them.
func (s *server) connect(ctx context.Context, f serverFlags, logger *slog.Logger) (err error) {
	if slices.Contains(f.Roles, "api") || slices.Contains(f.Roles, "sagas") {
		if err := f.Stores.checkBlindingKey(ctx, logger); err != nil {
			return err
		}
	}
	if s.stores, err = f.Stores.open(ctx, true, logger); err != nil {
		return err
	}
	connect, cancel := starting(ctx, f.Stores.Eventstore != "")
	defer cancel()
	log := eventlog.Options{URL: s.stores.eventStoreURL, Registry: contexts.Registry(), Logger: logger}
	if s.stores.node != nil {
		log.Patience, log.InProcess = ownPatience, s.stores.node.InProcess()
	}
	if s.blindLog, err = eventlog.Connect(connect, log); err != nil {
		return err
	}
	if f.Stores.Eventstore != "" {
		if err := checkRights(connect, s.blindLog, f.takesEvents(), logger); err != nil {
			return err
		}
	}
	var factors *access.Factors
	if s.tokens, factors, err = f.tokens(slices.Contains(f.Roles, "api")); err != nil {
		return err
	}
	var key blindingKey
	if slices.Contains(f.Roles, "api") || slices.Contains(f.Roles, "sagas") {
		if key, err = f.Stores.blindingKey(connect, s.blindLog); err != nil {
			return err
		}
		if key.replaces != "" {
			logger.Warn("the blinding key that the log records is not there; no value was sealed with it, so a new one was made, "+
				"which is recorded in its place; back it up", "file", f.Stores.blindingKeyFile())
		}
		log.BlindingKeys = key.keys
		s.blindLog.CheckProofsWith(log.BlindingKeys)
	}
	if slices.Contains(f.Roles, "api") || slices.Contains(f.Roles, "reminders") {
		if s.push, err = f.Push.open(f.Stores); err != nil {
			return err
		}
		if s.identities, err = f.Stores.identityKeys(connect, s.blindLog, logger); err != nil {
			return err
		}
		if s.identities != nil {
			log.PersonalKeys = s.identities
		} else {
			logger.Warn("there is no store of the keys of personal data: who a patient is cannot be recorded, and the texts that people " +
				"write are stored as they are and cannot be redacted; name one with --identity-keys")
		}
	}
	log.Registerer = s.metrics
	if s.log, err = eventlog.Connect(connect, log); err != nil {
		return err
	}
	if f.takesEvents() {
		if s.channels, err = f.Notify.open(ctx, logger); err != nil {
			return err
		}
	}
	s.api.WaitsFor(waitsForViews)
	s.admin.WaitsFor(waitsForViews)
	if s.views, err = f.Stores.connectViews(ctx, s.stores.mongoURL, logger); err != nil {
		return err
	}
	if s.stores.mongo != nil {
		s.views.WriteWith(s.stores.mongo.Write)
	}
	if f.JWKSURL != "" {
		if err := s.tokens.TrustProvider(ctx, f.JWKSURL, f.JWKSIssuer, f.JWKSAudience); err != nil {
			return err
		}
	}
	s.verifier = eventlog.NewVerifier(eventlog.VerifierOptions{Log: s.blindLog, Store: s.views, Logger: logger, Registerer: s.metrics})
	s.handler = commands.NewHandler(commands.Options{Log: s.log, Verifier: s.verifier, Registerer: s.metrics,
		Commands: contexts.Commands(), Now: s.clock.now, Passed: s.clock.passed, Build: buildID(), Logger: logger, Factors: factors})
	if key.keys == nil {
		return nil
	}
	recording, cancel := starting(ctx, f.Stores.Eventstore != "")
	defer cancel()
	return f.Stores.recordBlindingKey(recording, s.handler, key)
}

// past folds one patient's documents up to a moment, without the keys of blinded values.
func (s *server) past(
	ctx context.Context, view string, who domain.PatientID, at readmodels.Moment,
) (map[string]readmodels.Document, error) {
	p, err := projections.Named(contexts.Projections(), view)
	if err != nil {
		return nil, err
	}
	until := projections.Until{Position: domain.Position{Commit: at.Position, Prepare: at.Position}, Time: at.Time}
	return p.PatientAsOf(ctx, s.verifier, who, until)
}

// checkRights fails if the account of the event store lacks a right that the roles need, and warns if it has one that nobody
// needs and that endangers the record.
func checkRights(ctx context.Context, log *eventlog.Log, groups bool, logger *slog.Logger) error {
	rights, err := log.CheckRights(ctx, groups)
	if errors.Is(err, eventlog.ErrMissingRight) {
		return fmt.Errorf("%w; docs/stores.md says how to set up the account", err)
	}
	if err == nil && rights.Delete {
		logger.Warn("the event store's account may delete streams of the record, which nothing needs; docs/stores.md says how to forbid it")
	}
	return err
}

// ready returns an error while no node of the event store leads, or the one that does does not answer.
func (s *server) ready(ctx context.Context) error {
	if err := s.log.Ping(ctx); err != nil {
		return fmt.Errorf("event store: %w", err)
	}
	return nil
}

// otherParts are the parts that readiness shows beside what the API needs: what verifies the log, and each process manager.
func (s *server) otherParts(drive *sagas.Drive, envelopes *codebreak.Exporter) []api.Part {
	parts := []api.Part{{Name: "verifier", Check: s.verifier.KeepsUp}}
	if envelopes != nil {
		parts = append(parts, api.Part{Name: "code breaks", Check: envelopes.Check})
	}
	if len(drive.Processes) > 0 {
		parts = append(parts, api.Part{Name: "timers", Check: func(context.Context) error { return drive.CheckTimers() }})
	}
	for _, p := range drive.Processes {
		parts = append(parts, api.Part{Name: "process " + p.Name, Check: func(context.Context) error { return drive.Check(p) }})
	}
	return parts
}

// logEnd returns the position at which the log ends.
func (s *server) logEnd(ctx context.Context) (uint64, error) {
	end, err := s.log.End(ctx)
	return end.Commit, err
}

// part adds the name of a part to its error.
func part(name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// wait waits until all parts have ended, closes what they ran on, and returns the first error of a part.
func (s *server) wait() error { return errors.Join(s.parts.Wait(), s.release()) }

// close ends the parts, closes what they ran on, and returns the first error of a part.
func (s *server) close() error { return errors.Join(s.end(), s.release()) }

// end stops all parts, waits for them, and returns the first error of a part.
func (s *server) end() error {
	s.ended = true
	s.stop()
	return s.parts.Wait()
}

// release closes what the parts ran on: channels, logs, keys, views and embedded stores.
func (s *server) release() error {
	if s.stop != nil {
		s.stop() // frees its context, when the parts ended by themselves
	}
	var errs []error
	for _, c := range s.channels {
		errs = append(errs, c.Close())
	}
	if s.push != nil {
		errs = append(errs, s.push.Close())
	}
	for _, log := range []*eventlog.Log{s.log, s.blindLog} {
		if log != nil {
			errs = append(errs, log.Close())
		}
	}
	if s.identities != nil {
		errs = append(errs, s.identities.Close())
	}
	if s.views != nil {
		closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		errs = append(errs, s.views.Close(closing))
	}
	if s.stores != nil {
		errs = append(errs, s.stores.close())
	}
	return errors.Join(errs...)
}
