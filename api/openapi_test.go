package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/user"
	"casebook/readmodels"
	studyviews "casebook/readmodels/study"

	"github.com/danielgtaylor/huma/v2"
)

// document returns the description as its readers receive it.
func document(t *testing.T) map[string]any {
	t.Helper()
	text, err := OpenAPI("test", contexts.Commands(), contexts.Queries(), contexts.Streams())
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// operations calls the function each once for every operation of the description.
func operations(t *testing.T, d map[string]any, each func(method, path string, operation map[string]any)) {
	t.Helper()
	for path, item := range d["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			each(method, path, operation.(map[string]any))
		}
	}
}

func TestEveryCommandAndQueryIsDescribed(t *testing.T) {
	described := map[string]bool{}
	operations(t, document(t), func(method, path string, _ map[string]any) { described[method+" "+path] = true })
	expected := map[string]bool{"post /api/v1/commands:batch": true, "post /api/v1/sign-in": true, "post " + refreshRoute: true,
		"post " + activateRoute: true,
		"get /healthz":          true,
		"get /readyz":           true, "get " + changesRoute: true, "get " + pushKeyRoute: true, "post " + ticketRoute: true}
	for _, c := range contexts.Commands() {
		if !c.Internal() {
			expected["post /api/v1/commands/"+c.Name()] = true
		}
	}
	for _, q := range contexts.Queries() {
		expected["get "+q.Path] = true
	}
	for op := range expected {
		if !described[op] {
			t.Errorf("%s is not described", op)
		}
	}
	for op := range described {
		if !expected[op] {
			t.Errorf("%s is described and does not exist", op)
		}
	}
}

// TestTheDescriptionNamesTheRolesThatMay: the roles in the description are those of which the access tests prove that they may, and that
// nobody else may. Single commands may be open to fewer roles than their kind; the description says so.
func TestTheDescriptionNamesTheRolesThatMay(t *testing.T) {
	narrowed, onViews := map[string]bool{}, map[string]bool{}
	for _, c := range contexts.Commands() {
		narrowed[c.Name()], onViews[c.Name()] = c.Narrows(), c.Category() == "projection"
	}
	compared := 0
	operations(t, document(t), func(_, _ string, operation map[string]any) {
		name, _ := operation["operationId"].(string)
		e, known := entitled[name]
		if !known || e.touches == themselves {
			return
		}
		compared++
		said, _ := operation["description"].(string)
		roles := openToPattern.FindStringSubmatch(said)
		var described []user.Role
		if roles != nil {
			for word := range strings.SplitSeq(roles[1], ", ") {
				described = append(described, user.Role(word))
			}
		}
		for _, role := range everyRole {
			is, may := slices.Contains(described, role), slices.Contains(e.roles, role)
			if onViews[name] && role == user.Admin { // may where no study is named
				continue
			}
			if may && !is || is && !may && !narrowed[name] {
				t.Errorf("%s: the role %s may: %v, and the description says: %s", name, role, may, said)
			}
		}
		if narrowed[name] != strings.Contains(said, "single ones to fewer of them") {
			t.Errorf("%s is narrowed: %v, and the description says: %s", name, narrowed[name], said)
		}
	})
	if compared < 150 {
		t.Errorf("only %d commands and queries were compared", compared)
	}
}

// openToPattern finds the roles in a description.
var openToPattern = regexp.MustCompile(`Open to ([a-z_]+(?:, [a-z_]+)*)`)

func TestTheDescriptionHoldsTogether(t *testing.T) {
	d := document(t)
	if v, _ := d["openapi"].(string); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("openapi is %v", d["openapi"])
	}
	info := d["info"].(map[string]any)
	if info["title"] == "" || info["version"] != "test" {
		t.Errorf("info is %v", info)
	}
	walk(d, "#", func(at string, node map[string]any) {
		if ref, ok := node["$ref"].(string); ok && resolve(d, ref) == nil {
			t.Errorf("%s: %s leads nowhere", at, ref)
		}
		if pattern, ok := node["pattern"].(string); ok {
			if _, err := regexp.Compile(pattern); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
		properties, _ := node["properties"].(map[string]any)
		for name, p := range properties {
			if of := p.(map[string]any); of["type"] == nil && of["$ref"] == nil && of["oneOf"] == nil && of["anyOf"] == nil &&
				at+"/"+name != "#/components/schemas/BatchCommand/body" { // each command has its own
				t.Errorf("%s: nothing says what %s is", at, name)
			}
		}
	})
	tags := map[string]bool{}
	for _, tag := range d["tags"].([]any) {
		tags[tag.(map[string]any)["name"].(string)] = true
	}
	ids := map[string]string{}
	operations(t, d, func(method, path string, operation map[string]any) {
		where := method + " " + path
		id, _ := operation["operationId"].(string)
		if other, taken := ids[id]; id == "" || taken {
			t.Errorf("%s has the operationId %q, as has %s", where, id, other)
		}
		ids[id] = where
		for _, field := range []string{"summary", "description"} {
			if text, _ := operation[field].(string); text == "" {
				t.Errorf("%s has no %s", where, field)
			}
		}
		for _, tag := range operation["tags"].([]any) {
			if !tags[tag.(string)] {
				t.Errorf("%s has the undeclared tag %v", where, tag)
			}
		}
		checkParameters(t, where, path, operation)
		checkResponses(t, d, where, operation)
	})
}

var inBraces = regexp.MustCompile(`\{(\w+)\}`)

func checkParameters(t *testing.T, where, path string, operation map[string]any) {
	t.Helper()
	inPathOf := map[string]bool{}
	for _, p := range asList(operation["parameters"]) {
		parameter := p.(map[string]any)
		if parameter["description"] == nil || parameter["schema"] == nil {
			t.Errorf("%s: the parameter %v has no description or no schema", where, parameter["name"])
		}
		if parameter["in"] == "path" {
			inPathOf[parameter["name"].(string)] = true
			if parameter["required"] != true {
				t.Errorf("%s: the parameter %v of the path is not required", where, parameter["name"])
			}
		}
	}
	for _, name := range inBraces.FindAllStringSubmatch(path, -1) {
		if !inPathOf[name[1]] {
			t.Errorf("%s: %s is not declared", where, name[1])
		}
		delete(inPathOf, name[1])
	}
	if len(inPathOf) > 0 {
		t.Errorf("%s: %v are declared and not in the path", where, inPathOf)
	}
}

func checkResponses(t *testing.T, d map[string]any, where string, operation map[string]any) {
	t.Helper()
	responses, mistakes := operation["responses"].(map[string]any), false
	for status, r := range responses {
		response := r.(map[string]any)
		if ref, ok := response["$ref"].(string); ok {
			response = resolve(d, ref)
		}
		if response["description"] == nil {
			t.Errorf("%s: %s has no description", where, status)
		}
		content, _ := response["content"].(map[string]any)
		if status >= "400" && !strings.HasSuffix(where, "/readyz") && content[problemType] == nil {
			t.Errorf("%s: %s is no problem", where, status)
		}
		if status == "200" && content[mediaJSON] == nil && content[mediaEvents] == nil && content[readmodels.FileTypes[0]] == nil {
			t.Errorf("%s: the answer has no schema", where)
		}
		mistakes = mistakes || status >= "400" && status < "500"
	}
	if tag := asList(operation["tags"]); !mistakes && !slices.Contains(tag, any(tagOperations)) {
		t.Errorf("%s: nothing says what becomes of a request that is at fault", where)
	}
}

// TestExamplesAreTaken decodes the example body of every command with the decoder of requests.
func TestExamplesAreTaken(t *testing.T) {
	bodies := map[string]reflect.Type{}
	for _, c := range contexts.Commands() {
		bodies["/api/v1/commands/"+c.Name()] = c.Body()
	}
	seen := 0
	operations(t, document(t), func(_, path string, operation map[string]any) {
		body, ok := bodies[path]
		if !ok {
			return
		}
		seen++
		example := operation["requestBody"].(map[string]any)["content"].(map[string]any)[mediaJSON].(map[string]any)["example"]
		text, err := json.Marshal(example)
		if err != nil || example == nil {
			t.Fatalf("%s: the example is %v, %v", path, example, err)
		}
		value := reflect.New(body)
		if err := commands.Decode(text, value.Interface()); err != nil {
			t.Errorf("%s: its own example is refused: %v\n%s", path, err, text)
		}
		if value.Elem().IsZero() {
			t.Errorf("%s: the example is empty", path)
		}
		fits(t, path, body, example)
		schemas := newSchemas(nil, contexts.Commands())
		fits(t, path+" without its own example", body, exampleOfSchema(schemas.Schema(body, false, ""), schemas, 0))
	})
	if seen == 0 {
		t.Error("no command has an example")
	}
}

// fits checks a value against the schema of a type.
func fits(t *testing.T, where string, body reflect.Type, value any) {
	t.Helper()
	s := newSchemas(nil, nil)
	var result huma.ValidateResult
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	huma.Validate(s, s.Schema(body, false, ""), huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, plain(t, text), &result)
	for _, fault := range result.Errors {
		t.Errorf("%s does not fit its schema: %v\n%.300s", where, fault, text)
	}
}

// TestAnswersAreAsDescribed checks real answers against the schemas of the description.
func TestAnswersAreAsDescribed(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t).supplied(t)
	late := tr.entry(5)
	late.Answers["worst"] = 9 // flags a risk
	for _, entry := range []diary.SubmitDiary{tr.entry(4), late} {
		r := c.as(tr.self).command(entry)
		fits(t, "the answer to a command", reflect.TypeFor[commands.Answer](), plain(t, r.body))
		tr.position = read[commands.Answer](t, r).Position
	}
	do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.patient), Through: now})
	tr.position = do(t, diary.AskDiaryCorrection{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary.ID,
		Window: "2026-02-04/evening", Answers: map[instrument.ItemID]any{"worst": 7}, Reasoned: domain.Because("mistyped")}).Position
	caughtUp(t, tr.position)
	manager := c.as(account(t, "manager", user.Grant{Role: user.DataManager, Study: tr.study}))
	statistician := c.as(account(t, "statistician", user.Grant{Role: user.Statistician, Study: tr.study}))
	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin}))
	auditor := c.as(account(t, "auditor", user.Grant{Role: user.Auditor, Study: tr.study}))
	for _, q := range contexts.Queries() {
		if q.Answer == reflect.TypeFor[readmodels.File]() {
			continue // it is no JSON
		}
		r := manager.get(tr.path(q))
		for _, other := range []client{statistician, admin, auditor, c.as(tr.self)} {
			if r.StatusCode == http.StatusForbidden {
				r = other.get(tr.path(q))
			}
		}
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s is answered %d: %s", q.Name, r.StatusCode, r.body)
			continue
		}
		fits(t, q.Name, q.Answer, plain(t, r.body))
		if bytes.Contains(r.body, []byte("null")) && q.Name != "PatientDiaries" {
			t.Errorf("%s is answered with a null: %s", q.Name, r.body)
		}
	}
	fits(t, "an overview for a site", reflect.TypeFor[studyviews.StudyOverview](),
		plain(t, c.as(tr.crc).get("/api/v1/studies/"+string(tr.study)).body))
	fits(t, "a batch", reflect.TypeFor[BatchAnswer](), plain(t, c.as(tr.self).post("/api/v1/commands:batch",
		`{"commands":[{"command":"X","body":{}},7]}`).body))
	fits(t, "a problem", reflect.TypeFor[Problem](), plain(t, c.get("/nowhere").body))
	fits(t, "readiness", reflect.TypeFor[Readiness](), plain(t, c.get("/readyz").body))
}

func plain(t *testing.T, text []byte) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

func TestTheDescriptionTellsNoSecret(t *testing.T) {
	text, err := OpenAPI("test", contexts.Commands(), contexts.Queries(), contexts.Streams())
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"passwordDigest", "PasswordDigest"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the description tells of %s", secret)
		}
	}
}

func walk(node any, at string, each func(string, map[string]any)) {
	switch node := node.(type) {
	case map[string]any:
		each(at, node)
		for name, child := range node {
			if name == "example" || name == "examples" {
				continue
			}
			walk(child, at+"/"+name, each)
		}
	case []any:
		for i, child := range node {
			walk(child, fmt.Sprint(at, "/", i), each)
		}
	}
}

func resolve(d map[string]any, ref string) map[string]any {
	node := d
	for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		next, ok := node[part].(map[string]any)
		if !ok {
			return nil
		}
		node = next
	}
	return node
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}
