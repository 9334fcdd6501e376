package api

import (
	"fmt"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/refuse"

	"github.com/goccy/go-json/jsontext"
	"pgregory.net/rapid"
)

func TestABatchKnowsWhomItsCommandsAreAbout(t *testing.T) {
	a := &API{handler: the.handler}
	for _, c := range []struct{ command, body, want string }{
		{"SubmitDiary", `{"patient":"A.1","answers":{"patient":"B.2"}}`, "A.1"},
		{"ScreenPatient", `{"study":"A","site":"01","screeningNumber":"1"}`, "A.1"},
		{"AddSite", `{"study":"A","site":"01"}`, ""},
		{"GrantRole", `{"user":"x","grant":{"patient":"A.1"}}`, ""},
		{"SubmitDiary", `{"patient":7}`, ""},
		{"Nothing", `{"patient":"A.1"}`, ""},
	} {
		job := a.newBatchJob(0, jsontext.Value(`{"command":"`+c.command+`","body":`+c.body+`}`))
		if string(job.patient) != c.want {
			t.Errorf("%s %s is about %q, want %q", c.command, c.body, job.patient, c.want)
		}
	}
}

// TestStagesKeepTheOrderThatMatters: every command is done once; one patient's commands stay in order; nothing passes a
// command that is not about a patient.
func TestStagesKeepTheOrderThatMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		jobs := make([]batchJob, rapid.IntRange(0, 40).Draw(t, "commands"))
		for i := range jobs {
			jobs[i] = batchJob{place: i, patient: rapid.SampledFrom([]domain.PatientID{"", "A.1", "A.2", "A.3"}).Draw(t, "patient")}
		}
		seen := map[int]bool{}
		done := -1 // the last place of the stages before
		for _, stage := range stages(jobs) {
			last := done
			owners := map[domain.PatientID]bool{}
			for _, lane := range stage {
				if owners[lane[0].patient] {
					t.Fatalf("two lanes of %q in one stage", lane[0].patient)
				}
				owners[lane[0].patient] = true
				before := -1
				for _, j := range lane {
					if j.patient != lane[0].patient || j.place <= before || j.place <= done || seen[j.place] {
						t.Fatalf("%d of %q is out of order", j.place, j.patient)
					}
					if j.patient == "" && (len(stage) > 1 || len(lane) > 1) {
						t.Fatalf("%d is about no patient and not alone", j.place)
					}
					before, seen[j.place] = j.place, true
					last = max(last, j.place)
				}
			}
			done = last
		}
		if len(seen) != len(jobs) {
			t.Fatalf("%d of %d commands are done", len(seen), len(jobs))
		}
	})
}

func TestBatchesAreReadItemByItem(t *testing.T) {
	for _, c := range []struct {
		name, body, code string
		items            int
	}{
		{"empty", `{"commands":[]}`, "", 0},
		{"faults inside", `{"commands":[7,{"command":"X","command":"Y"},{"other":1},"` + "\xff" + `"]}`, "", 4},
		{"not JSON", `{"commands":[`, "malformed_json", 0},
		{"no commands", `{}`, "malformed_json", 0},
		{"null", `{"commands":null}`, "malformed_json", 0},
		{"an unknown field", `{"commands":[],"more":1}`, "unknown_field", 0},
		{"an object", `{"commands":{}}`, "wrong_type", 0},
		{"too many", `{"commands":[` + strings.Repeat("1,", 500) + `1]}`, "batch_too_large", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			items, err := readBatch([]byte(c.body), 500)
			r, _ := refuse.As(err)
			if c.code == "" && (err != nil || len(items) != c.items) || c.code != "" && (r == nil || r.Code != c.code || r.Remedy == "") {
				t.Errorf("got %d items and %v", len(items), err)
			}
		})
	}
	for text, code := range map[string]string{
		`7`:                                    "wrong_type",
		`{"command":"X","command":"Y"}`:        "malformed_json",
		`{"other":1}`:                          "unknown_field",
		`{}`:                                   "malformed_json",
		"\"\xff\"":                             "malformed_json",
		`{"command":"X","body":{"a":1,"a":2}}`: "malformed_json",
	} {
		if r, ok := refuse.As((&API{handler: the.handler}).newBatchJob(0, jsontext.Value(text)).refused); !ok || r.Code != code {
			t.Errorf("%s is refused with %v, want %s", text, r, code)
		}
	}
}

func FuzzReadBatch(f *testing.F) {
	f.Add(`{"commands":[{"command":"SubmitDiary","idempotencyKey":"k","body":{"patient":"A.1"}}]}`)
	f.Add(`{"commands":[1,null,"x",[]]}`)
	f.Add(fmt.Sprintf(`{"commands":[%s{}]}`, strings.Repeat("{},", 20)))
	f.Fuzz(func(t *testing.T, body string) {
		items, err := readBatch([]byte(body), 500)
		if err != nil {
			if _, ok := refuse.As(err); !ok {
				t.Errorf("%q: %v is no refusal", body, err)
			}
			return
		}
		jobs := make([]batchJob, len(items))
		for i, text := range items {
			jobs[i] = (&API{handler: the.handler}).newBatchJob(i, text)
		}
		stages(jobs)
	})
}
