package readmodels

import (
	"context"
	"reflect"
	"slices"
	"strconv"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/domain"
	"casebook/domain/refuse"
)

// EngineOptions of an Engine.
type EngineOptions struct {
	Store *Store
	// Queries are those that the engine answers.
	Queries []Query
	// ScopeOf returns the scope of a patient, or refuses patient_not_found.
	ScopeOf func(context.Context, domain.PatientID) (domain.Scope, error)
	// RecordRefusal puts a refusal of access into the security log.
	RecordRefusal func(context.Context, access.Refused)
	// Past folds documents of the past. If it is nil, queries about the past are refused.
	Past Past
	// States returns the states of streams. If it is nil, queries that are answered from them are refused.
	States States
	// Record reads what the log holds beyond the views. If it is zero, queries that need it are refused.
	Record Record
	// Now is the server's clock; time.Now when nil.
	Now func() time.Time
	// FirstAfter tells from the log how far views lag behind. If it is nil, they lag as far as they noted last.
	FirstAfter FirstAfter
	// ReadTimeout bounds how long a query waits for the store: 5 s when 0.
	ReadTimeout time.Duration
	// PositionTimeout bounds how long a query waits for a log position, Waiting how many queries wait at a time, and
	// WaitingOfUser how many of them are one user's: 5 s, 1024 and 16 when 0.
	PositionTimeout        time.Duration
	Waiting, WaitingOfUser int
	// End returns the position at which the log ends. A query that names a later one is refused at once. If End is nil, it
	// waits like any other.
	End func(context.Context) (uint64, error)
}

// Past folds the documents of one patient in a view up to a moment, and returns them by their keys.
type Past func(ctx context.Context, view string, patient domain.PatientID, at Moment) (map[string]Document, error)

// States returns the state of the stream of this kind and id, and the log position of the stream's last event in it; 0 for a stream
// without events. It includes all events up to the position after, or all that this process has recorded if after is 0.
type States func(ctx context.Context, of domain.StreamType, id string, after uint64) (state any, position uint64, err error)

const (
	defaultReadTimeout     = 5 * time.Second
	defaultPositionTimeout = 5 * time.Second
	defaultWaiting         = 1024
	defaultWaitingOfUser   = 16
)

// Engine answers queries for every kind of caller: the API, pages, exports. It is safe for concurrent use.
type Engine struct {
	options EngineOptions
	byName  map[string]Query
	// waiting bounds how many queries wait for a log position.
	waiting *admission.Tally
	end     *logEnd
}

// NewEngine returns an engine for declared queries.
func NewEngine(o EngineOptions) *Engine {
	orDefault(&o.ReadTimeout, defaultReadTimeout)
	orDefault(&o.PositionTimeout, defaultPositionTimeout)
	orDefault(&o.Waiting, defaultWaiting)
	orDefault(&o.WaitingOfUser, defaultWaitingOfUser)
	e := &Engine{options: o, byName: map[string]Query{}, waiting: admission.NewTally(o.WaitingOfUser, o.Waiting), end: newLogEnd(o.End)}
	if e.options.Now == nil {
		e.options.Now = time.Now
	}
	for _, q := range o.Queries {
		e.byName[q.Name] = q
	}
	return e
}

// Queries returns the queries that the engine answers, in the order in which they were given.
func (e *Engine) Queries() []Query { return slices.Clone(e.options.Queries) }

// Status returns what becomes of the builds of all views.
func (e *Engine) Status(ctx context.Context) ([]BuildStatus, error) {
	return e.options.Store.Status(ctx, e.options.FirstAfter)
}

// NotKept returns the names of those views of a query that no process keeps: what is answered from them grows old.
func (e *Engine) NotKept(ctx context.Context, query string) []string {
	return e.options.Store.NotKept(ctx, e.byName[query].Views...)
}

// Store returns the store that the engine reads.
func (e *Engine) Store() *Store { return e.options.Store }

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Caller is the proven identity that asks, and the origin of the request for the security log.
type Caller struct {
	access.Principal
	Address, TraceID string
}

// Question is a query with its parameters, as a caller asks it.
type Question struct {
	// Query is the name of the query.
	Query  string
	Caller Caller
	// Path holds the values of the parameters in the query's path, Given those of the others.
	Path  map[string]string
	Given map[string][]string
	// Position is a log position that the views must have seen before the answer; 0 means none.
	Position uint64
	// Aside runs the wait for the position, so that a caller who bounds how many questions are answered at a time can give
	// the place of this one to another meanwhile. If Aside is nil, the wait keeps its place.
	Aside func(wait func() error) error
}

// Answer answers a question. It refuses wrong parameters, callers without a role in the scope, a view that is being built for
// the first time or was made from another log, a position behind the end of the log, and one that a view does not see in time; the
// query itself may refuse too. Refusals of access are recorded. A list of the answer is only nil if JSON leaves it out.
func (e *Engine) Answer(ctx context.Context, question Question) (any, error) {
	q, ok := e.byName[question.Query]
	if !ok {
		return nil, refuse.NotFound("query_not_found", "there is no query %q", shortened(question.Query)).Do("/openapi.json lists the queries")
	}
	parameters := reflect.New(q.parameters).Interface()
	if err := q.Parameters.Read(parameters, question.Path, question.Given); err != nil {
		return nil, err
	}
	r := Request{Store: e.options.Store, Caller: question.Caller, Past: e.options.Past, Now: e.options.Now(),
		engine: e, query: q, position: question.Position}
	if err := r.authorize(ctx, parameters); err != nil {
		return nil, err
	}
	if err := e.checkAsOf(ctx, question.Given); err != nil {
		return nil, err
	}
	if err := e.mustBeBuilt(ctx, q.Views); err != nil {
		return nil, err
	}
	if err := e.waitFor(ctx, q, question); err != nil {
		return nil, err
	}
	// The time-out is shorter than that of the request, so that the caller still gets an answer.
	ctx, cancel := context.WithTimeout(ctx, e.options.ReadTimeout)
	defer cancel()
	return q.read(ctx, r, parameters)
}

// clockTolerance is how far the clock of who asks may be ahead.
const clockTolerance = time.Minute

// checkAsOf refuses to tell what will be (code as_of_in_future): at a time that is to come, or at a position behind the end of the log.
func (e *Engine) checkAsOf(ctx context.Context, given map[string][]string) error {
	for _, text := range given["asOf"] {
		if position, err := strconv.ParseUint(text, 10, 63); err == nil && e.end.isBefore(ctx, position) {
			return refuse.Malformed("as_of_in_future", "asOf is position %d, and the log ends at %d", position, e.end.known.Load()).At("asOf").
				Do("give a position up to there, or leave it out for the present")
		}
		if at, err := time.Parse(time.RFC3339, text); err == nil && at.Sub(e.options.Now()) > clockTolerance {
			return refuse.Malformed("as_of_in_future", "asOf is %s, which lies in the future", shortened(text)).At("asOf").
				Do("give a moment of the past, or leave it out for the present")
		}
	}
	return nil
}

// mustBeBuilt refuses a view that is being built for the first time, or was made from another log.
func (e *Engine) mustBeBuilt(ctx context.Context, views []View) error {
	ctx, cancel := context.WithTimeout(ctx, e.options.ReadTimeout)
	defer cancel()
	for _, view := range views {
		if err := e.options.Store.Built(ctx, view); err != nil {
			return err
		}
		if err := e.options.Store.OfThisLog(ctx, view); err != nil {
			return err
		}
	}
	return nil
}

// waitFor waits for a bounded time until the query's views have seen the position that the question names.
func (e *Engine) waitFor(ctx context.Context, q Query, question Question) error {
	position := question.Position
	if position > 0 && q.OfStates && e.end.isBefore(ctx, position) {
		return positionAhead(position)
	}
	if position == 0 || e.options.Store.reached(ctx, q.Views, position) {
		return nil // a query for a position that the views have seen needs no place among those that wait
	}
	// The number of waiting queries is bounded, so that positions that are long in coming cannot block the process.
	user := string(question.Caller.User)
	if !e.waiting.Take(user) {
		return refuse.Overload("overloaded", "the server has as many requests under way as it takes").
			Do("send the same request again in a moment, with the same Idempotency-Key")
	}
	defer e.waiting.Give(user)
	wait := func() error {
		if e.end.isBefore(ctx, position) {
			return positionAhead(position)
		}
		ctx, cancel := context.WithTimeout(ctx, e.options.PositionTimeout)
		defer cancel()
		for _, view := range q.Views {
			if err := e.options.Store.WaitFor(ctx, view, position); err != nil {
				return err
			}
		}
		return nil
	}
	if question.Aside == nil {
		return wait()
	}
	return question.Aside(wait)
}

func positionAhead(position uint64) error {
	return refuse.Overload("position_ahead", "the log ends before position %d", position).
		Do("ask again in a moment; if this lasts, ask without Casebook-Position for what the log has: an older log was restored, which never " +
			"had this position, and what was acknowledged above it has to be sent again")
}

// Request is what the function of a query knows besides the parameters: the store, the caller, and how much of the study
// the caller may see.
type Request struct {
	Store  *Store
	Caller Caller
	// WholeStudy says that the caller may see the whole study. Otherwise Sites are the sites to which the answer of a
	// ReachSites query is bound.
	Sites      []domain.SiteID
	WholeStudy bool
	// Past folds documents of the past; nil if it cannot be shown.
	Past Past
	// Own is the patient of a ReachOwn query.
	Own domain.PatientID
	// Now is the server's time of the request.
	Now time.Time

	engine   *Engine
	query    Query
	position uint64
}

// authorize refuses a caller without a role in the scope of the query, and sets how much of the study the caller may see.
func (r *Request) authorize(ctx context.Context, parameters any) error {
	study := domain.StudyID(r.query.Parameters.text(parameters, "study"))
	scope, err := domain.Scope{}, error(nil)
	switch r.query.Reach {
	case ReachSelf:
		return nil
	case ReachAnywhere:
		for _, g := range r.Caller.Grants {
			if _, err = r.may(r.query.OpenTo, domain.Scope{Study: g.Study, Site: g.Site}); err == nil {
				return nil
			}
		}
		err = r.Caller.NotAllowed(r.query.Name, r.query.OpenTo, scope)
	case ReachSites:
		scope = domain.Scope{Study: study}
		if r.Sites, r.WholeStudy = r.Caller.Sites(r.query.OpenTo, study); r.WholeStudy || len(r.Sites) > 0 {
			return nil
		}
		_, err = r.may(r.query.OpenTo, scope)
	case ReachStudy:
		scope, err = r.authorizeInStudy(study, parameters)
	case ReachPatient:
		patient := domain.PatientID(r.query.Parameters.text(parameters, "patient"))
		if scope, err = r.engine.options.ScopeOf(ctx, patient); err != nil {
			return r.orForbidden(ctx, patient, err)
		}
		_, err = r.may(r.query.OpenTo, scope)
	case ReachOwn:
		scope, err = r.ownPatient(ctx, domain.PatientID(r.query.Parameters.text(parameters, "patient")))
	}
	return r.recorded(ctx, scope, err)
}

// ownPatient finds the patient that the caller is, or answers for. It refuses not_allowed for everybody else, and value_missing if it
// could be several.
func (r *Request) ownPatient(ctx context.Context, named domain.PatientID) (scope domain.Scope, err error) {
	var own []domain.PatientID
	for _, g := range r.Caller.Grants {
		if slices.Contains(r.query.OpenTo, g.Role) && g.Patient != "" && !slices.Contains(own, g.Patient) {
			own = append(own, g.Patient)
		}
	}
	switch {
	case named != "":
		if err := named.Validate(); err != nil {
			return scope, err
		}
		r.Own = named
	case len(own) > 1:
		return scope, refuse.Malformed("value_missing", "%s answers for several patients", r.Caller.User).At("patient").
			Do("name one of them in the parameter patient")
	case len(own) == 1:
		r.Own = own[0]
	}
	if !slices.Contains(own, r.Own) { // also where the patient does not exist
		return r.may(r.query.OpenTo, domain.Scope{Study: r.Own.Study(), Patient: r.Own})
	}
	if scope, err = r.engine.options.ScopeOf(ctx, r.Own); err != nil {
		return scope, err
	}
	return r.may(r.query.OpenTo, scope)
}

// may refuses if the caller holds none of the roles in the scope. It returns the scope.
func (r *Request) may(permission access.Permission, scope domain.Scope) (domain.Scope, error) {
	_, err := r.Caller.Authorize(r.query.Name, permission, scope)
	return scope, err
}

// authorizeInStudy requires a role at one of the sites that the parameters name, or in the whole study if they name none. It refuses
// value_missing where the parameter is all that a caller with roles at sites lacks.
func (r *Request) authorizeInStudy(study domain.StudyID, parameters any) (scope domain.Scope, err error) {
	for _, name := range r.query.BoundBy() {
		site := r.query.Parameters.text(parameters, name)
		if site == "" {
			continue
		}
		// Several sites are the two ends of shipments. A caller who may see one end may see the answer.
		if scope, err = r.may(r.query.OpenTo, domain.Scope{Study: study, Site: domain.SiteID(site)}); err == nil {
			return scope, nil
		}
	}
	if scope.Site != "" {
		return scope, err
	}
	r.WholeStudy = true
	if scope, err = r.may(r.query.OpenTo, domain.Scope{Study: study}); err != nil {
		_, takesSite := r.query.Parameters.named(r.query.BoundBy()[0])
		if sites, _ := r.Caller.Sites(r.query.OpenTo, study); takesSite && len(sites) > 0 {
			return scope, r.siteMissing(sites)
		}
	}
	return scope, err
}

// siteMissing refuses a question about the whole study by a caller who may ask about some of its sites, and says how to do that.
func (r *Request) siteMissing(sites []domain.SiteID) error {
	by := r.query.BoundBy()
	remedy := "name one of your sites with " + domain.Either(by...)
	if len(sites) <= fewSites {
		var words []string
		for _, s := range sites {
			for _, name := range by {
				words = append(words, "?"+name+"="+string(s))
			}
		}
		remedy = "ask with " + domain.Either(words...)
	}
	return refuse.Malformed("value_missing", "your roles are bound to sites, and the question names none").At(by[0]).Do(remedy)
}

// fewSites is up to how many sites a refusal names.
const fewSites = 10

// orForbidden hides which patients do not exist from callers who may not ask about all patients of the study: they get the
// same answer as for a patient who exists. The error for a patient who does not exist is recorded, whichever it is.
func (r *Request) orForbidden(ctx context.Context, patient domain.PatientID, err error) error {
	if refusal, ok := refuse.As(err); !ok || refusal.Kind != refuse.KindNotFound {
		return err
	}
	scope, forbidden := r.may(r.query.OpenTo, domain.Scope{Study: patient.Study(), Patient: patient})
	if forbidden != nil {
		err = forbidden
	}
	return r.recorded(ctx, scope, err)
}

// recorded puts a refusal into the security log and returns it; it does nothing if err is nil. A question that lacks a value, or has a
// malformed one, attempted nothing that the log should tell of.
func (r *Request) recorded(ctx context.Context, scope domain.Scope, err error) error {
	refusal, ok := refuse.As(err)
	if malformed := ok && refusal.Kind == refuse.KindMalformed; err != nil && !malformed && r.engine.options.RecordRefusal != nil {
		r.engine.options.RecordRefusal(ctx, access.Refused{User: r.Caller.User, Action: r.query.Name, Scope: scope, Address: r.Caller.Address,
			TraceID: r.Caller.TraceID, Why: err})
	}
	return err
}

// MustSee refuses if the caller may not see a site, and records the refusal. A ReachSites query calls it when its answer
// turns out to be about one site.
func (r Request) MustSee(ctx context.Context, study domain.StudyID, site domain.SiteID) error {
	scope, err := r.may(r.query.OpenTo, domain.Scope{Study: study, Site: site})
	return r.recorded(ctx, scope, err)
}

// MayKnowPatients says whether the caller may read clinical data at a site, or in the whole study if the site is empty.
// Other callers, such as supply managers, need not know which patient something is about.
func (r Request) MayKnowPatients(study domain.StudyID, site domain.SiteID) bool {
	return r.Caller.MayKnowPatient(domain.Scope{Study: study, Site: site})
}

// Holds says whether the caller has a role in the whole study that the permission is open to.
func (r Request) Holds(permission access.Permission, study domain.StudyID) bool {
	_, err := r.Caller.Authorize(r.query.Name, permission, domain.Scope{Study: study})
	return err == nil
}

// MayKnowArms says whether the caller has a role that knows the arms of the study.
func (r Request) MayKnowArms(study domain.StudyID) bool { return r.Holds(access.KnowingArms, study) }

// AsOf returns the documents of a patient in a view as they were at a moment, by their keys.
func (r Request) AsOf(ctx context.Context, view View, patient domain.PatientID, at Moment) (map[string]Document, error) {
	if r.Past == nil {
		return nil, refuse.Malformed("no_past", "this process cannot show the past").At("asOf").Do("ask without asOf")
	}
	return r.Past(ctx, view.Name, patient, at)
}

// StateOf returns the state of a decider's stream, with the log position of the stream's last event in it. It includes what this process
// has recorded, and all events up to the position that the request names.
func StateOf[S, E any](ctx context.Context, r Request, of domain.Decider[S, E], id string) (state S, position uint64, err error) {
	if r.engine == nil || r.engine.options.States == nil {
		return state, 0, refuse.Overload("states_unavailable", "this process cannot read states").Do("ask another server")
	}
	found, position, err := r.engine.options.States(ctx, of.Streams(), id, r.position)
	if err != nil {
		return state, 0, err
	}
	return found.(S), position, nil //nolint:forcetypeassert // folded by the decider
}

// Status returns what becomes of the builds of all views.
func (r Request) Status(ctx context.Context) ([]BuildStatus, error) {
	if r.engine == nil {
		return r.Store.Status(ctx, nil)
	}
	return r.engine.Status(ctx)
}

// PatientsLeftOut is part of the description of answers in which only some callers see patients.
const PatientsLeftOut = "Patients are left out for callers who may not read clinical data there."

// ShownTo returns the values to which a list is narrowed: the wanted value, or nil for all values. Callers who may not read
// clinical data only see the values that are about supply. some is false if the list must be empty.
func ShownTo[T ~string](r Request, study domain.StudyID, site domain.SiteID, wanted T, ofSupply []T) (values []T, some bool) {
	all := r.MayKnowPatients(study, site)
	switch {
	case wanted == "" && all:
		return nil, true
	case wanted == "":
		return ofSupply, true
	}
	return []T{wanted}, all || slices.Contains(ofSupply, wanted)
}
