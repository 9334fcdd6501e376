package commands_test

import (
	"encoding/json"
	"strings"
	"testing"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain/diary"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

func TestDecodeIsStrict(t *testing.T) {
	for _, c := range []struct{ name, body, code, field string }{
		{"nothing", ``, "malformed_json", ""},
		{"not JSON", `{"patient":`, "malformed_json", ""},
		{"something after the object", `{} {}`, "malformed_json", ""},
		{"a name twice", `{"patient":"A.1","patient":"A.2"}`, "malformed_json", ""},
		{"an unknown field", `{"patient":"A.1","dose":3}`, "unknown_field", "dose"},
		{"a field in another case", `{"Patient":"A.1"}`, "unknown_field", "Patient"},
		{"a number for a string", `{"patient":7}`, "wrong_type", "patient"},
		{"a string for an object", `{"answers":"x"}`, "wrong_type", "answers"},
		{"a text for a time", `{"capturedAt":"yesterday"}`, "wrong_type", "capturedAt"},
		{"an array", `[]`, "wrong_type", ""},
		{"a number", `7`, "wrong_type", ""},
		{"answers given twice", `{"answers":{"worst":2,"worst":9}}`, "malformed_json", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var body diary.SubmitDiary
			r, ok := refuse.As(commands.Decode([]byte(c.body), &body))
			if !ok {
				t.Fatalf("%s was read as %+v", c.body, body)
			}
			if r.Code != c.code || r.Field != c.field || r.Kind != refuse.KindMalformed || r.Remedy == "" {
				t.Errorf("refused with %+v, want code %s and field %q", r, c.code, c.field)
			}
		})
	}
}

func TestRefusalsDoNotRepeatLongInput(t *testing.T) {
	var body diary.SubmitDiary
	err := commands.Decode([]byte(`{"`+strings.Repeat("x", 100_000)+`":1}`), &body)
	if r, ok := refuse.As(err); !ok || len(r.Sentence) > 300 {
		t.Errorf("the sentence has %d characters", len(r.Sentence))
	}
}

// FuzzDecode checks that Decode either reads a body or refuses it as malformed, and never panics.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"patient":"PAIN1.S-1","instrument":"pain","capturedAt":"2026-03-01T20:30:00+01:00","answers":{"worst":7,"rescue":true}}`,
		`{"study":"S","protocol":{"version":1,"consentVersion":"1","forms":[{"id":"f","title":"t","definition":{"a":[1,2,{}]}}]}}`,
		`{}`, `null`, `[`, `{"answers":{"a":1e400}}`, `{"capturedAt":"2026-13-01T00:00:00Z"}`, "\xff", `{"a":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		decode := func(into any) {
			if err := commands.Decode(body, into); err != nil {
				r, ok := refuse.As(err)
				if !ok || r.Kind != refuse.KindMalformed || r.Code == "" || r.Sentence == "" {
					t.Errorf("%q: %v is not a proper refusal", body, err)
				}
			}
		}
		decode(&diary.SubmitDiary{})
		decode(&diary.AskDiaryCorrection{})
		decode(&study.PublishProtocolVersion{})
	})
}

// TestNoTextFieldTakesWhatNobodySees goes through every field of every command.
func TestNoTextFieldTakesWhatNobodySees(t *testing.T) {
	p := run(t)
	fields := 0
	for _, declared := range contexts.Commands() {
		if declared.Example() == nil {
			continue
		}
		body, err := json.Marshal(declared.Example())
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"\u202e", "\x1b"} {
			var whole any
			if err := json.Unmarshal(body, &whole); err != nil {
				t.Fatal(err)
			}
			eachString(whole, text, func() {
				changed, err := json.Marshal(whole)
				if err != nil {
					t.Fatal(err)
				}
				fields++
				_, err = p.Do(t.Context(), commands.Request{Name: declared.Name(), Body: changed, Principal: access.Principal{User: "nobody"}})
				if got := code(err); got != "value_unprintable" && got != "wrong_type" { // a time is no text
					t.Errorf("%s takes %s: %v", declared.Name(), changed, err)
				}
			})
		}
	}
	if fields < 200 {
		t.Errorf("only %d fields were tried", fields)
	}
}

// eachString appends a text to every string in a decoded JSON object, one after the other, and calls visit each time.
func eachString(value any, appended string, visit func()) {
	try := func(v any, set func(any)) {
		text, is := v.(string)
		if !is {
			eachString(v, appended, visit)
			return
		}
		set(text + appended)
		visit()
		set(text)
	}
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			try(member, func(to any) { v[name] = to })
		}
	case []any:
		for i, member := range v {
			try(member, func(to any) { v[i] = to })
		}
	}
}
