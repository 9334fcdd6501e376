package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"casebook/access"
	"casebook/commands"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/readmodels"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

// OpenAPI returns the description (OpenAPI 3.1) of every command and query that exists, and of nothing else. It needs no
// running server.
func OpenAPI(
	build string, commands []commands.Command, queries []readmodels.Query, streams []domain.StreamType,
) (document []byte, err error) {
	defer func() {
		// The schema generator panics on types that it cannot describe; that is a mistake in a command or query.
		if p := recover(); p != nil {
			err = fmt.Errorf("describe the API: %v", p)
		}
	}()
	return json.MarshalIndent(newDescription(build, commands, queries, streams).document, "", "  ")
}

// description is the document while it is built.
type description struct {
	document *huma.OpenAPI
	schemas  *schemas
	// events are the types of events by the package of their context, in the order of their names.
	events map[string][]domain.EventType
	// answers are the names of what commands are answered.
	answers []string
}

const (
	tagSession    = "session"
	tagQueries    = "queries"
	tagOperations = "operations"
	mediaJSON     = "application/json"
)

func newDescription(build string, all []commands.Command, queries []readmodels.Query, streams []domain.StreamType) *description {
	d := &description{events: map[string][]domain.EventType{}}
	names := map[reflect.Type]string{}
	for _, stream := range streams {
		for _, e := range stream.Events {
			names[e.Go] = e.Name
			d.events[e.Go.PkgPath()] = append(d.events[e.Go.PkgPath()], e)
		}
	}
	for _, of := range d.events {
		slices.SortFunc(of, func(a, b domain.EventType) int { return strings.Compare(a.Name, b.Name) })
	}
	d.schemas = newSchemas(names, all)
	d.document = &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "Casebook", Version: orDev(build), Description: introduction,
			License: &huma.License{Name: "Apache License 2.0", Identifier: "Apache-2.0"}},
		Servers: []*huma.Server{{URL: "/", Description: "This server"}},
		Components: &huma.Components{
			Schemas:   d.schemas,
			Responses: map[string]*huma.Response{},
			SecuritySchemes: map[string]*huma.SecurityScheme{bearerScheme: {Type: "http", Scheme: "bearer", BearerFormat: "JWT",
				Description: "A token from /api/v1/sign-in, or of the identity provider that this server trusts"}},
		},
		Security: []map[string][]string{{bearerScheme: {}}},
	}
	d.problems()
	d.session()
	d.commands(all)
	for _, q := range queries {
		d.query(q)
	}
	d.changes()
	d.ticket()
	d.pushKey()
	d.operations()
	return d
}

const bearerScheme = "bearer"

const introduction = `The backend on which a clinical trial runs. Commands change it, each in one request and with one answer;
queries read views of what was recorded.

A command is safe to send again with the same ` + "`Idempotency-Key`" + `: it gets the same answer and is recorded once. Its answer
names a log position; a query with the header ` + "`Casebook-Position`" + ` waits until its view has seen it.

Errors are problem details (RFC 9457). Programs should look at ` + "`code`" + `, which is stable.`

func orDev(build string) string {
	if build == "" {
		return "dev"
	}
	return build
}

// problemStatuses are the statuses that requests can have besides 200, with what they mean.
var problemStatuses = []struct {
	status int
	name   string
	means  string
}{
	{http.StatusBadRequest, "Malformed", "The request cannot be understood; it would be refused in any state"},
	{http.StatusUnauthorized, "Unauthenticated", "Who asks is not proven"},
	{http.StatusForbidden, "Forbidden", "No grant of the caller allows it here"},
	{http.StatusNotFound, "NotFound", "What the request names does not exist"},
	{http.StatusRequestTimeout, "TooSlow", "The body did not arrive in time"},
	{http.StatusConflict, "WrongState", "The present state does not allow it, or changed meanwhile"},
	{http.StatusRequestEntityTooLarge, "TooLarge", "The body is too large"},
	{http.StatusUnsupportedMediaType, "WrongContentType", "The body is not declared as JSON"},
	{http.StatusUnprocessableEntity, "Rule", "A rule of the protocol, of a regulation or of the instrument forbids it"},
	{http.StatusTooManyRequests, "TooMany", "Too many requests; Retry-After says when to come back"},
	{http.StatusInternalServerError, "Failure", "Something broke on the server's side; the trace id finds it in the log"},
	{http.StatusServiceUnavailable, "Overloaded",
		"The server protects itself, or a store cannot be reached; Retry-After says when to come back"},
	{http.StatusGatewayTimeout, "Timeout", "The request took too long; whether it was done is not known"},
}

func (d *description) problems() {
	problem := d.schemas.Schema(reflect.TypeFor[Problem](), true, "")
	for _, p := range problemStatuses {
		r := &huma.Response{Description: p.means, Headers: traceHeader(),
			Content: map[string]*huma.MediaType{problemType: {Schema: problem}}}
		if p.status == http.StatusServiceUnavailable || p.status == http.StatusTooManyRequests {
			r.Headers["Retry-After"] = &huma.Param{Description: "Seconds to wait", Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: new(1.0)}}
		}
		d.document.Components.Responses[p.name] = r
	}
}

func traceHeader() map[string]*huma.Param {
	return map[string]*huma.Param{"Trace-Id": {Description: "The id to find the request by in the server's log",
		Schema: &huma.Schema{Type: huma.TypeString, Pattern: "^[0-9a-f]{32}$"}}}
}

// responses are those of an operation: its answer, and the problems that it can have.
func (d *description) responses(answer *huma.Response, statuses ...int) map[string]*huma.Response {
	all := map[string]*huma.Response{"200": answer}
	for _, p := range problemStatuses {
		if slices.Contains(statuses, p.status) {
			all[strconv.Itoa(p.status)] = &huma.Response{Ref: "#/components/responses/" + p.name}
		}
	}
	return all
}

// always are the problems that every operation can have.
var always = []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

func (d *description) jsonAnswer(t reflect.Type, means string) *huma.Response {
	return &huma.Response{Description: means, Headers: traceHeader(),
		Content: map[string]*huma.MediaType{mediaJSON: {Schema: d.schemas.Schema(t, true, "")}}}
}

func (d *description) jsonBody(t reflect.Type, example any) *huma.RequestBody {
	return &huma.RequestBody{Required: true,
		Content: map[string]*huma.MediaType{mediaJSON: {Schema: d.schemas.Schema(t, true, ""), Example: example}}}
}

// examplePhrase is shown in the place of a password.
const examplePhrase = "a long pass phrase"

func (d *description) session() {
	d.document.Tags = append(d.document.Tags, &huma.Tag{Name: tagSession, Description: "Signing in"})
	d.document.AddOperation(&huma.Operation{
		OperationID: "SignIn", Method: http.MethodPost, Path: "/api/v1/sign-in", Tags: []string{tagSession},
		Summary: "Sign in", Description: "Answers with an access token of ten minutes, and with a refresh token that gets further ones: for " +
			"twelve hours, or until RevokeDevice for a patient who names the device. SignOut, a new password and a lock end " +
			"all sessions of an account at once. " +
			"Every attempt is recorded; after repeated failures the next one has to wait.",
		RequestBody: d.jsonBody(reflect.TypeFor[SignIn](), SignIn{User: "nurse.weber", Password: examplePhrase}),
		Responses: d.responses(d.jsonAnswer(reflect.TypeFor[Session](), "The token"),
			append([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusConflict, http.StatusRequestTimeout,
				http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusTooManyRequests}, always...)...),
		Security: []map[string][]string{},
	})
	d.document.AddOperation(&huma.Operation{
		OperationID: "Activate", Method: http.MethodPost, Path: activateRoute, Tags: []string{tagSession},
		Summary: "Activate a patient's account", Description: "For the code that OpenPatientAccount or IssueActivationCode has shown: the " +
			"patient chooses the password, and the device is enrolled, with its public key if it has one. The code is good once. Answers " +
			"as a sign-in does. Every attempt is recorded; after repeated failures the next one has to wait.",
		RequestBody: d.jsonBody(reflect.TypeFor[Activation](), Activation{User: "patient.0001", Code: "k3f7-qa2m-xz4d-9tbe",
			Password: examplePhrase, Device: usercommands.Device{ID: "3f2b8c1e-6d0a-4b57-9a43-c5e1f07d2b88", Name: "My telephone"}}),
		Responses: d.responses(d.jsonAnswer(reflect.TypeFor[Session](), "The token"),
			append([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusConflict, http.StatusRequestTimeout,
				http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
				http.StatusTooManyRequests}, always...)...),
		Security: []map[string][]string{},
	})
	d.document.AddOperation(&huma.Operation{
		OperationID: "Refresh", Method: http.MethodPost, Path: refreshRoute, Tags: []string{tagSession},
		Summary: "Get a new access token", Description: "For the refresh token of a session that has not ended. The time of the sign-in " +
			"stays: what asks for a fresh sign-in still asks for it.",
		RequestBody: d.jsonBody(reflect.TypeFor[Refresh](), exampleOfRefresh),
		Responses: d.responses(d.jsonAnswer(reflect.TypeFor[Session](), "The access token"),
			append([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge,
				http.StatusUnsupportedMediaType}, always...)...),
		Security: []map[string][]string{},
	})
}

// commandStatuses are the problems that a command can have.
var commandStatuses = append([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
	http.StatusConflict,
	http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}, always...)

func (d *description) commands(all []commands.Command) {
	seen := map[string]bool{}
	for _, c := range all {
		if c.Internal() {
			continue
		}
		path := c.Body().PkgPath()
		context := path[strings.LastIndex(path, "/")+1:]
		if !seen[context] {
			seen[context] = true
			d.document.Tags = append(d.document.Tags, &huma.Tag{Name: context, Description: "Commands of the context " + context})
		}
		summary := summaryOf(c)
		d.document.AddOperation(&huma.Operation{
			OperationID: c.Name(), Method: http.MethodPost, Path: "/api/v1/commands/" + c.Name(), Tags: []string{context},
			Summary: summary, Description: summary + ". " + commandOpenTo(c) +
				" A 200 means that the events are durable.",
			Parameters:  []*huma.Param{keyParameter(c.Name())},
			RequestBody: d.jsonBody(c.Body(), exampleOf(c, d.schemas)),
			Responses:   d.responses(d.commandAnswer(c, context, path), commandStatuses...),
		})
	}
	d.batch(all)
}

// batch describes how many commands are sent in one request.
func (d *description) batch(all []commands.Command) {
	const kept = "SubmitDiary" // what a device keeps while it is offline
	var body any
	if at := slices.IndexFunc(all, func(c commands.Command) bool { return c.Name() == kept }); at >= 0 {
		body = exampleOf(all[at], d.schemas)
	}
	d.describeBatch(all)
	d.document.Tags = append(d.document.Tags, &huma.Tag{Name: "batch", Description: "Many commands in one request"})
	d.document.AddOperation(&huma.Operation{
		OperationID: "Batch", Method: http.MethodPost, Path: "/api/v1/commands:batch", Tags: []string{"batch"},
		Summary: "Send commands that were kept while a device was offline",
		Description: "Each command is answered by itself, in the batch's order, with the status that it would have had alone. The commands of " +
			"one patient run one after another; those of different patients may run at the same time. A command that is not about a patient " +
			"waits for all before it.",
		RequestBody: d.jsonBody(reflect.TypeFor[Batch](), map[string]any{"commands": []any{map[string]any{"command": kept,
			"idempotencyKey": exampleKey("batch"), "body": body}}}),
		Responses: d.responses(d.jsonAnswer(reflect.TypeFor[BatchAnswer](), "One answer for each command"),
			append([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout,
				http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}, always...)...),
	})
}

// keyParameter describes the key of a command. Each example has its own, because two commands with one key are refused.
func keyParameter(command string) *huma.Param {
	return &huma.Param{Name: keyHeader, In: "header",
		Description: "Makes the command safe to send again: the same key gets the same answer. Use a new one for every command.",
		Schema:      &huma.Schema{Type: huma.TypeString, MaxLength: new(200)}, Example: exampleKey(command)}
}

// exampleKey is the key in an example.
func exampleKey(of string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("/api/v1/commands/"+of)).String()
}

// describeBatch says what the parts of a batch are: each command with its body, and what each can be answered. The commands have been
// described before.
func (d *description) describeBatch(all []commands.Command) {
	command := d.schemas.Schema(reflect.TypeFor[BatchCommand](), false, "")
	for _, c := range all {
		if !c.Internal() {
			command.OneOf = append(command.OneOf, &huma.Schema{Type: huma.TypeObject, Title: c.Name(), Required: command.Required,
				Properties: map[string]*huma.Schema{
					"command": {Type: huma.TypeString, Enum: []any{c.Name()}}, "body": d.schemas.Schema(c.Body(), true, ""),
					"idempotencyKey": command.Properties["idempotencyKey"],
				}})
		}
	}
	item := d.schemas.Schema(reflect.TypeFor[BatchItem](), false, "")
	answer := &huma.Schema{Description: item.Properties["answer"].Description}
	for _, name := range d.answers {
		answer.AnyOf = append(answer.AnyOf, &huma.Schema{Ref: schemaPrefix + name})
	}
	item.Properties["answer"] = answer
	// What answers have in common was described for them, and is no answer.
	for _, t := range []reflect.Type{reflect.TypeFor[commands.Answer](), reflect.TypeFor[commands.AnsweredEvent]()} {
		delete(d.schemas.byName, d.schemas.nameOf(t))
	}
}

// commandAnswer describes the answer to commands of a context with the events that the context can record. A command that reveals
// something has an answer of its own.
func (d *description) commandAnswer(c commands.Command, context, path string) *huma.Response {
	name := strings.ToUpper(context[:1]) + context[1:] + "CommandAnswer"
	toPatients := onlyToPatients(c)
	if c.Reveals() != nil || toPatients {
		name = c.Name() + "Answer"
	}
	if _, known := d.schemas.byName[name]; !known {
		answer := *d.schemas.Schema(reflect.TypeFor[commands.Answer](), false, "")
		answer.Properties = maps.Clone(answer.Properties)
		answer.Properties["events"] = &huma.Schema{Type: huma.TypeArray, Description: answer.Properties["events"].Description,
			Items: d.anyEventOf(path, toPatients)}
		if of := c.Reveals(); of != nil {
			revealed := *d.schemas.Schema(of, true, "")
			revealed.Description = answer.Properties["revealed"].Description
			answer.Properties["revealed"] = &revealed
		} else {
			delete(answer.Properties, "revealed")
		}
		d.schemas.byName[name], d.schemas.types[name] = &answer, nil
		d.answers = append(d.answers, name)
	}
	headers := traceHeader()
	headers["Etag"] = &huma.Param{Description: "The stream's revision after the command; left out where the answer leaves it out",
		Schema: &huma.Schema{Type: huma.TypeString}}
	headers[positionHeader] = &huma.Param{Description: "Log position of the last event",
		Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(0.0)}}
	return &huma.Response{Description: "Recorded, or found recorded under the same key", Headers: headers,
		Content: map[string]*huma.MediaType{mediaJSON: {Schema: &huma.Schema{Ref: schemaPrefix + name}}}}
}

// onlyToPatients says that nobody but patients and caregivers is answered.
func onlyToPatients(c commands.Command) bool {
	return !c.OpenToOwner() && c.OpenTo().IsOfPatients()
}

// anyEventOf describes an answered event of the context: its type tells what its data are. Patients are not shown all of each.
func (d *description) anyEventOf(path string, toPatients bool) *huma.Schema {
	generic := d.schemas.Schema(reflect.TypeFor[commands.AnsweredEvent](), false, "")
	var kinds []*huma.Schema
	for _, e := range d.events[path] {
		if part, is := reflect.Zero(e.Go).Interface().(domain.ShownInPart); is && toPatients {
			shown := part.ShownToPatients()
			if shown == nil {
				continue
			}
			e.Go = reflect.TypeOf(shown)
		}
		data := &huma.Schema{Type: "null", Description: "A digest is never shown"}
		if !e.Secret {
			data = d.schemas.Schema(e.Go, true, "")
		}
		kinds = append(kinds, &huma.Schema{Type: huma.TypeObject, Required: generic.Required, Title: e.Name, Properties: map[string]*huma.Schema{
			"id": generic.Properties["id"], "revision": generic.Properties["revision"],
			"type": {Type: huma.TypeString, Enum: []any{e.Name}, Description: generic.Properties["type"].Description},
			"data": data,
		}})
	}
	if len(kinds) == 1 {
		return kinds[0]
	}
	return &huma.Schema{OneOf: kinds}
}

func (d *description) query(q readmodels.Query) {
	if !slices.ContainsFunc(d.document.Tags, func(t *huma.Tag) bool { return t.Name == tagQueries }) {
		d.document.Tags = append(d.document.Tags, &huma.Tag{Name: tagQueries, Description: "Views of what was recorded"})
	}
	statuses := append([]int{http.StatusBadRequest, http.StatusUnauthorized}, always...)
	if q.Reach != readmodels.ReachSelf {
		statuses = append(statuses, http.StatusForbidden)
	}
	var parameters []*huma.Param
	for _, p := range q.Parameters {
		parameters = append(parameters, describedParameter(p))
		if p.InPath {
			statuses = append(statuses, http.StatusNotFound)
		}
	}
	if len(q.Views) > 0 || q.OfStates {
		parameters = append(parameters, &huma.Param{Name: positionHeader, In: "header",
			Schema:      &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(0.0)},
			Description: "A command's log position: the query waits, for a bounded time, until its view has seen it"})
	}
	parameters = append(parameters, &huma.Param{Name: "If-None-Match", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "An ETag that was answered before; 304 when it still holds"})
	answer := d.queryAnswer(q)
	answer.Headers["Etag"] = &huma.Param{Description: "Tag of the answer", Schema: &huma.Schema{Type: huma.TypeString}}
	if len(q.Views) > 0 {
		answer.Headers[notKeptHeader] = &huma.Param{Schema: &huma.Schema{Type: huma.TypeString},
			Description: "Names of the views that no process keeps; what the answer shows of them grows old"}
	}
	responses := d.responses(answer, statuses...)
	responses["304"] = &huma.Response{Description: "The answer has not changed"}
	d.document.AddOperation(&huma.Operation{
		OperationID: q.Name, Method: http.MethodGet, Path: q.Path, Tags: []string{tagQueries}, Summary: q.Summary,
		Description: strings.TrimSpace(q.Doc + " " + queryOpenTo(q)), Parameters: parameters, Responses: responses,
	})
}

// queryAnswer describes what a query answers: JSON, or a file.
func (d *description) queryAnswer(q readmodels.Query) *huma.Response {
	if q.Answer != reflect.TypeFor[readmodels.File]() {
		return d.jsonAnswer(q.Answer, q.Summary)
	}
	content := map[string]*huma.MediaType{}
	for _, media := range readmodels.FileTypes {
		content[media] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	answer := &huma.Response{Description: q.Summary, Headers: traceHeader(), Content: content}
	answer.Headers["Cache-Control"] = &huma.Param{Description: "It never changes, and may be kept for ever",
		Schema: &huma.Schema{Type: huma.TypeString}}
	return answer
}

// openToAll describes what asks for no role.
const openToAll = "Open to everybody who has signed in."

func queryOpenTo(q readmodels.Query) string {
	switch q.Reach {
	case readmodels.ReachSelf:
		return openToAll
	case readmodels.ReachAnywhere:
		return openTo(q.OpenTo, "")
	case readmodels.ReachSites:
		return openTo(q.OpenTo, " in the study; roles that are bound to sites see those sites alone")
	case readmodels.ReachPatient:
		return openTo(q.OpenTo, " for the patient")
	case readmodels.ReachOwn:
		return openTo(q.OpenTo, " for their own patient")
	case readmodels.ReachStudy:
		return openTo(q.OpenTo, " in the study, or at the site that is asked for; roles that are bound to sites have to name one")
	}
	return ""
}

func commandOpenTo(c commands.Command) string {
	switch {
	case len(c.OpenTo()) == 0:
		return "Open to the owner of the account alone."
	case c.OpenToOwner():
		return openTo(c.OpenTo(), ", and to the owner of the account")
	case c.Narrows():
		return openTo(c.OpenTo(), " in the scope that the command touches; single ones to fewer of them, by what they are about")
	}
	return openTo(c.OpenTo(), " in the scope that the command touches")
}

func openTo(p access.Permission, where string) string {
	words := make([]string, 0, len(p))
	for _, r := range p.Roles() {
		words = append(words, string(r))
	}
	return "Open to " + strings.Join(words, ", ") + where + "."
}

func describedParameter(p readmodels.Parameter) *huma.Param {
	s := &huma.Schema{Type: huma.TypeString, Pattern: p.Pattern}
	if p.Max > 0 {
		s = &huma.Schema{Type: huma.TypeInteger, Minimum: new(float64(p.Min)), Maximum: new(float64(p.Max)), Default: p.Default}
	}
	for _, v := range p.Enum {
		s.Enum = append(s.Enum, v)
	}
	described := &huma.Param{Name: p.Name, In: "query", Description: p.Doc, Required: p.InPath, Schema: s}
	if p.InPath {
		described.In = "path"
	}
	if number, err := strconv.Atoi(p.Example); err == nil && s.Type == huma.TypeInteger {
		described.Example = number
	} else if p.Example != "" {
		described.Example = p.Example
	}
	return described
}

func (d *description) operations() {
	d.document.Tags = append(d.document.Tags, &huma.Tag{Name: tagOperations, Description: "Health of the process"})
	d.document.AddOperation(&huma.Operation{OperationID: "Health", Method: http.MethodGet, Path: "/healthz", Tags: []string{tagOperations},
		Summary: "Whether the process lives", Description: "Answers as long as the process serves requests.", Security: []map[string][]string{},
		Responses: d.responses(d.jsonAnswer(reflect.TypeFor[Health](), "It lives"))})
	ready := d.responses(d.jsonAnswer(reflect.TypeFor[Readiness](), "Requests can be served well"))
	ready["503"] = d.jsonAnswer(reflect.TypeFor[Readiness](), "A check does not pass that the API needs")
	d.document.AddOperation(&huma.Operation{OperationID: "Ready", Method: http.MethodGet, Path: "/readyz", Tags: []string{tagOperations},
		Summary: "Whether requests can be served well",
		Description: "Checks what the API needs: the event log, the followed states and the store of the views. " +
			"It also shows each view and each process manager.",
		Security: []map[string][]string{}, Responses: ready})
}

// exampleOfRefresh is an example of a request for a new access token.
var exampleOfRefresh = Refresh{RefreshToken: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9..."} // #nosec G101 -- it is no token
