package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/commands"
	"casebook/readmodels"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
)

// Options of an API.
type Options struct {
	// Handler takes the commands.
	Handler *commands.Handler
	// Queries answers the queries.
	Queries *readmodels.Engine
	// Tokens proves who asks.
	Tokens *access.Tokens
	// Logger takes the access log and every failure; nil for none.
	Logger *slog.Logger
	// Now is the server's clock; time.Now when nil.
	Now func() time.Time
	// Limits bound what requests may take; each zero field takes its default.
	Limits Limits
	// TokenLifetime is how long an access token is good; ten minutes when 0.
	TokenLifetime time.Duration
	// Changes is what GET /api/v1/events tells of; nil refuses it. Run has to run then.
	Changes *readmodels.ChangeFeed
	// Ready says whether the event log can be reached; nil leaves that check out.
	Ready func(context.Context) error
	// Writable returns why the event log takes nothing at present, although it can be reached; nil where that is not known.
	Writable func() error
	// Leaderless returns since when and until when the event store had no leader the last time; until is zero while it has none.
	// Requests wait for a leader, up to their time-outs. If Leaderless is nil, waiting counts as load.
	Leaderless func() (since, until time.Time)
	// Shown returns how far the views that this process keeps have come; see admission.Options. Nil for none.
	Shown func() (commit uint64, kept bool)
	// Parts are parts of the process that the API does not need. Readiness shows them.
	Parts []Part
	// Waiting counts what waits for people in processes, which readiness shows; nil where this process runs none.
	Waiting func() Waiting
	// Build names the running program in the description and at /healthz.
	Build string
	// Registerer takes the metrics, and Gatherer gives all of the process's for /metrics. Where either is nil, the API
	// has a registry of its own.
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
	// PushKey is the public key that browsers subscribe for to be sent notifications; empty where none are sent.
	PushKey string
	// Evaluator is the ES module that evaluates the trees of rules, for the makers of apps; none is served when it is empty.
	Evaluator string
	// Origins are the web origins, such as https://diary.example.org, whose pages may call the API from a browser; none when empty. No
	// page can make use of credentials that the browser holds, because the API takes none but the header Authorization.
	Origins []string
	// TrustedProxies may say in X-Forwarded-For from where a request comes; nobody else is believed.
	TrustedProxies []netip.Prefix
}

const (
	defaultTokenLifetime = 10 * time.Minute
	// sessionLifetime is a long shift: staff sign in again the next day. A patient's session lasts until it is ended.
	sessionLifetime = 12 * time.Hour
)

// API serves the product over HTTP. It is safe for concurrent use.
type API struct {
	handler  *commands.Handler
	engine   *readmodels.Engine
	tokens   *access.Tokens
	logger   *slog.Logger
	now      func() time.Time
	limits   Limits
	lifetime time.Duration
	session  time.Duration
	ready    func(context.Context) error
	writable func() error
	leads    func() (since, until time.Time)
	parts    []Part
	waiting  func() Waiting
	faults   faults
	asked    singleflight.Group // for readiness
	build    string
	// evaluator is an ES module.
	evaluator string
	pushKey   string

	metrics   *metrics
	verified  *verifiedTokens
	signIns   *signInLimit
	changes   *readmodels.ChangeFeed
	admission *admission.Control
	bodies    *transfers
	answers   *transfers
	streams   gate
	tickets   tickets
	batches   *admission.Tally
	pausing   *admission.Tally // what waits for the end of a pause without being in a class
	signing   signInPlaces
	document  []byte

	public http.Handler
	admin  http.Handler
}

// New returns the API with its routes and its description.
func New(o Options) (*API, error) {
	if o.Handler == nil || o.Queries == nil || o.Tokens == nil {
		return nil, errors.New("the API needs a command handler, an engine for queries and tokens")
	}
	if err := checkOrigins(o.Origins); err != nil {
		return nil, err
	}
	a := &API{handler: o.Handler, engine: o.Queries, tokens: o.Tokens, logger: o.Logger, now: o.Now, limits: o.Limits.orDefaults(),
		lifetime: cmp.Or(o.TokenLifetime, defaultTokenLifetime), session: sessionLifetime,
		changes: o.Changes, ready: o.Ready, writable: o.Writable, leads: o.Leaderless, parts: o.Parts, waiting: o.Waiting, build: o.Build,
		evaluator: o.Evaluator, pushKey: o.PushKey}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	if o.Registerer == nil || o.Gatherer == nil {
		own := prometheus.NewRegistry()
		o.Registerer, o.Gatherer = own, own
	}
	a.streams, a.signing = newGate(a.limits.Streams), newSignInPlaces(a.limits)
	a.batches = admission.NewTally(a.limits.BatchesOfUser, a.limits.BatchesInFlight)
	a.pausing = admission.NewTally(pausingOfUser, pausingInAll)
	a.bodies, a.answers = newTransfers(bodyBounds), newTransfers(answerBounds)
	var err error
	if a.admission, err = admission.NewControl(admission.Options{Bounds: a.limits.Classes, OfUser: a.limits.OfUser, Logger: a.logger,
		Pause: o.Leaderless, Shown: o.Shown, Behind: a.limits.Behind, Registerer: o.Registerer}); err != nil {
		return nil, fmt.Errorf("bound the API's requests: %w", err)
	}
	if a.metrics, err = newMetrics(o.Registerer, a); err == nil {
		err = errors.Join(registerViews(o.Registerer, a.engine.Store()), o.Registerer.Register(newChecks(a)))
	}
	if err != nil {
		return nil, fmt.Errorf("register the API's metrics: %w", err)
	}
	if a.verified, err = newVerifiedTokens(a.limits.VerifiedTokens); err != nil {
		return nil, err
	}
	if a.signIns, err = newSignInLimit(a.limits); err != nil {
		return nil, err
	}
	if a.document, err = OpenAPI(o.Build, o.Handler.Commands(), o.Queries.Queries(), o.Handler.Registry().Streams()); err != nil {
		return nil, err
	}
	if a.public, err = a.routes(o.TrustedProxies, o.Origins); err != nil {
		return nil, err
	}
	a.admin = a.adminRoutes(o.Gatherer)
	return a, nil
}

// Handler returns the public side: API, description, docs and health.
func (a *API) Handler() http.Handler { return a.public }

// Admin returns the operators' side: metrics, profiles and health. It asks nobody who they are and belongs on an address
// that only operators reach.
func (a *API) Admin() http.Handler { return a.admin }

// routes builds the router out of the two catalogues.
func (a *API) routes(proxies []netip.Prefix, origins []string) (http.Handler, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = clientAddress(proxies)
	e.HTTPErrorHandler = a.unrouted
	if len(origins) > 0 {
		e.Use(fromOrigins(origins))
	}

	bounded := func(action string, timeout time.Duration) route {
		return route{action: action, timeout: timeout, body: true}
	}
	a.route(e, http.MethodPost, "/api/v1/commands/{command}", bounded("Command", a.limits.RequestTimeout), a.postCommand)
	a.route(e, http.MethodPost, "/api/v1/commands:batch", bounded("Batch", a.limits.BatchTimeout), a.postBatch)
	a.route(e, http.MethodPost, "/api/v1/sign-in", bounded("SignIn", a.limits.RequestTimeout), a.postSignIn)
	a.route(e, http.MethodPost, activateRoute, bounded("Activate", a.limits.RequestTimeout), a.postActivation)
	a.route(e, http.MethodPost, refreshRoute, bounded("Refresh", a.limits.RequestTimeout), a.postRefresh)
	for _, q := range a.engine.Queries() {
		a.route(e, http.MethodGet, q.Path, route{action: q.Name, timeout: a.limits.RequestTimeout}, a.getQuery(q))
	}
	a.route(e, http.MethodPost, ticketRoute, bounded(readmodels.ChangesName, a.limits.RequestTimeout), a.postTicket)
	a.route(e, http.MethodGet, changesRoute, route{action: readmodels.ChangesName, gate: a.streams}, a.getChanges)
	a.route(e, http.MethodGet, "/openapi.json", route{action: "OpenAPI"}, a.getDocument)
	if a.evaluator != "" {
		a.route(e, http.MethodGet, evaluatorRoute, route{action: "Evaluator"}, func(c *call) error {
			return c.sendTagged([]byte(a.evaluator), mediaScript)
		})
	}
	a.route(e, http.MethodGet, pushKeyRoute, route{action: "PushKey"}, a.getPushKey)
	a.healthRoutes(e)
	return e, a.docsRoutes(e)
}
