package readmodels_test

import (
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/readmodels"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// aQuery has a parameter of each kind.
type aQuery struct {
	Study  domain.StudyID    `path:"study" doc:"The study"`
	Site   domain.SiteID     `query:"site" pattern:"" example:"FR-02" doc:"Only this site"`
	Status patient.Sex       `query:"status" doc:"Only these"`
	Grade  string            `query:"grade" enum:"low,high"`
	Name   string            `query:"name" maxLength:"3"`
	From   time.Time         `query:"from"`
	First  uint64            `query:"first"`
	Day    domain.Date       `query:"day"`
	AsOf   readmodels.Moment `query:"asOf"`
	// Other has no tag, so it is not a parameter.
	Other string
	readmodels.Page
}

func TestParametersAreDerivedFromAQuery(t *testing.T) {
	want := readmodels.Parameters{
		{Name: "study", Doc: "The study", InPath: true, Example: "PAIN1", Pattern: domain.NamePattern},
		{Name: "site", Doc: "Only this site", Example: "FR-02"},
		{Name: "status", Doc: "Only these", Enum: []string{"F", "M", "U", "UNDIFFERENTIATED"}},
		{Name: "grade", Enum: []string{"low", "high"}},
		{Name: "name"},
		{Name: "from", Example: "2026-03-01T00:00:00Z"},
		{Name: "first", Example: "48210"},
		{Name: "day", Example: "2026-03-01"},
		{Name: "asOf", Doc: "A log position or a time (RFC 3339); the answer is what it was then", Example: "2026-03-01T12:00:00Z"},
		// The list has one order, so it has no parameter sort.
		{Name: "limit", Doc: "How many items are wanted", Min: 1, Max: 200, Default: 50},
		{Name: "cursor", Doc: "The value of next in the previous page"},
		{Name: "total", Doc: "count, to be told how many items there are on all pages", Enum: []string{"count"}},
	}
	if diff := cmp.Diff(want, readmodels.ParametersOf[aQuery](), cmpopts.IgnoreUnexported(readmodels.Parameter{}),
		cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestParametersAreRead(t *testing.T) {
	var q aQuery
	given := map[string][]string{"site": {"01"}, "status": {"F"}, "grade": {"high"}, "name": {"abc"}, "from": {"2026-03-01T10:00:00+01:00"},
		"first": {"7"},
		"day":   {"2026-02-28"}, "asOf": {"12"}, "cursor": {"x"}}
	if err := readmodels.ParametersOf[aQuery]().Read(&q, map[string]string{"study": "S"}, given); err != nil {
		t.Fatal(err)
	}
	want := aQuery{Study: "S", Site: "01", Status: patient.Female, Grade: "high", Name: "abc", From: time.Date(2026, 3, 1, 9, 0, 0, 0,
		time.UTC), First: 7,
		Day: "2026-02-28", AsOf: readmodels.Moment{Position: 12}, Page: readmodels.Page{Limit: 50, Cursor: "x"}}
	if diff := cmp.Diff(want, q); diff != "" {
		t.Error(diff)
	}
}

func TestValuesThatAParameterCannotHaveAreRefused(t *testing.T) {
	all := readmodels.ParametersOf[aQuery]()
	for _, c := range []struct{ name, value, code string }{
		{"site", "", "value_missing"}, {"site", "a b", "malformed_id"}, {"status", "", "malformed_parameter"}, {"status", "X",
			"malformed_parameter"},
		{"grade", "medium", "malformed_parameter"}, {"name", "", "malformed_parameter"}, {"name", "abcd", "malformed_parameter"},
		{"from", "today", "malformed_time"}, {"from", "0001-01-01T00:00:00Z", "malformed_time"}, {"first", "0", "malformed_position"},
		{"first", "-1", "malformed_position"}, {"day", "2026-02-30", "malformed_date"}, {"asOf", "soon", "malformed_time"}, {"asOf", "0",
			"malformed_time"},
		{"limit", "0", "malformed_parameter"}, {"limit", "201", "malformed_parameter"}, {"limit", "x", "malformed_parameter"},
		{"cursor", strings.Repeat("x", 501), "malformed_parameter"}, {"colour", "red", "unknown_parameter"}, {"study", "S", "unknown_parameter"},
	} {
		err := all.Read(&aQuery{}, map[string]string{"study": "S"}, map[string][]string{c.name: {c.value}})
		if r, ok := refuse.As(err); !ok || r.Code != c.code || r.Field != c.name || r.Remedy == "" {
			t.Errorf("%s=%q: %v, want %s", c.name, c.value, err, c.code)
		}
	}
	err := all.Read(&aQuery{}, map[string]string{"study": "S"}, map[string][]string{"site": {"01", "02"}})
	if r, ok := refuse.As(err); !ok || r.Code != "malformed_parameter" {
		t.Errorf("a parameter given twice: %v", err)
	}
	err = all.Read(&aQuery{}, map[string]string{"study": "a b"}, nil)
	if r, ok := refuse.As(err); !ok || r.Code != "malformed_id" || r.Field != "study" {
		t.Errorf("a malformed path: %v", err)
	}
}

// TestARangeThatEndsBeforeItBeginsIsRefused, whether of moments, days or log positions. The two ends of a shipment are no range.
func TestARangeThatEndsBeforeItBeginsIsRefused(t *testing.T) {
	type moments struct {
		From  time.Time `query:"from"`
		To    time.Time `query:"to"`
		First uint64    `query:"first"`
		Last  uint64    `query:"last"`
	}
	type days struct {
		From domain.Date `query:"from"`
		To   domain.Date `query:"to"`
	}
	type places struct {
		From domain.SiteID `query:"from"`
		To   domain.SiteID `query:"to"`
	}
	for _, c := range []struct {
		into  any
		all   readmodels.Parameters
		given [4]string // names and values of both ends
		field string
	}{
		{&moments{}, readmodels.ParametersOf[moments](), [4]string{"from", "2026-03-02T00:00:00Z", "to", "2026-03-01T23:59:59Z"}, "to"},
		{&moments{}, readmodels.ParametersOf[moments](), [4]string{"from", "2026-03-02T00:00:00+02:00", "to", "2026-03-01T23:00:00Z"}, ""},
		{&moments{}, readmodels.ParametersOf[moments](), [4]string{"first", "8", "last", "7"}, "last"},
		{&moments{}, readmodels.ParametersOf[moments](), [4]string{"first", "9", "last", "10"}, ""},
		{&moments{}, readmodels.ParametersOf[moments](), [4]string{"first", "7", "last", "7"}, ""},
		{&moments{}, readmodels.ParametersOf[moments](), [4]string{"from", "2026-03-02T00:00:00Z", "last", "7"}, ""},
		{&days{}, readmodels.ParametersOf[days](), [4]string{"from", "2026-03-02", "to", "2026-03-01"}, "to"},
		{&days{}, readmodels.ParametersOf[days](), [4]string{"from", "2026-03-02", "to", "2026-03-02"}, ""},
		{&places{}, readmodels.ParametersOf[places](), [4]string{"from", "02", "to", "01"}, ""},
	} {
		err := c.all.Read(c.into, nil, map[string][]string{c.given[0]: {c.given[1]}, c.given[2]: {c.given[3]}})
		r, refused := refuse.As(err)
		if c.field == "" && err != nil || c.field != "" && (!refused || r.Code != "malformed_parameter" || r.Field != c.field) {
			t.Errorf("%v: got %v", c.given, err)
		}
	}
}
