package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/user"
)

func TestACommandIsAnsweredWithWhatWasRecorded(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	r := c.as(tr.self).command(tr.entry(4), keyHeader, "first", "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01", "User-Agent", "ePRO/1.2")
	if r.StatusCode != http.StatusOK {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	answer := read[commands.Answer](t, r)
	if answer.Stream != diary.StreamOf(tr.patient) || len(answer.Events) != 1 || answer.Events[0].Type != "DiarySubmitted" ||
		answer.CommandID == "" {
		t.Errorf("the answer is %s", r.body)
	}
	if r.Header.Get("Etag") != `"`+strconv.FormatInt(*answer.Revision, 10)+`"` ||
		r.Header.Get(positionHeader) != strconv.FormatUint(answer.Position, 10) ||
		r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Trace-Id") != trace {
		t.Errorf("the headers are %v", r.Header)
	}
	recorded, found, err := the.log.Last(t.Context(), answer.Stream)
	if err != nil || !found {
		t.Fatal(err)
	}
	if m := recorded.Metadata; m.TraceID != trace || m.App != "ePRO/1.2" || m.Address != "127.0.0.1" || m.Actor != tr.self {
		t.Errorf("the event's metadata are %+v", m)
	}
	again := c.as(tr.self).command(tr.entry(4), keyHeader, "first")
	if string(again.body) != string(r.body) {
		t.Errorf("the same key is answered\n%s\nafter\n%s", again.body, r.body)
	}
	c.as(tr.self).command(tr.entry(5), keyHeader, "first").refused(t, http.StatusConflict, "idempotency_key_reused")
	other := read[commands.Answer](t, c.as(tr.self).command(tr.entry(4), keyHeader, "second"))
	if other.Held != nil || len(other.Events) == 0 {
		t.Errorf("the same diary under another key is answered %+v", other)
	}
}

func TestABodyWithoutATypeIsReadAsJSON(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	for day, media := range []string{"", "application/json; charset=utf-8", "application/vnd.casebook+json"} {
		if r := c.as(tr.self).command(tr.entry(4+day), "Content-Type", media); r.StatusCode != http.StatusOK {
			t.Errorf("%q is answered %d: %s", media, r.StatusCode, r.body)
		}
	}
}

// batch sends a batch that is taken as a whole.
func (c client) batch(b Batch) BatchAnswer {
	c.t.Helper()
	text, err := json.Marshal(b)
	if err != nil {
		c.t.Fatal(err)
	}
	r := c.post("/api/v1/commands:batch", string(text))
	if r.StatusCode != http.StatusOK {
		c.t.Fatalf("the batch is answered %d: %s", r.StatusCode, r.body)
	}
	return read[BatchAnswer](c.t, r)
}

// batchOf makes a batch of commands, each with a key of its own.
func batchOf(t *testing.T, all ...any) Batch {
	t.Helper()
	b := Batch{Commands: []BatchCommand{}}
	for _, command := range all {
		body, err := json.Marshal(command)
		if err != nil {
			t.Fatal(err)
		}
		b.Commands = append(b.Commands, BatchCommand{Command: nameOf(command), Key: unique("key"), Body: body})
	}
	return b
}

func TestABatchAnswersEachCommandByItself(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	late := tr.entry(4)
	late.Answers = diary.Answers{"worst": 99}
	b := batchOf(t, tr.entry(4), late, tr.entry(5), patient.CompletePatient{OfPatient: domain.ForPatient(tr.other), On: "2026-03-01"},
		tr.entry(6))
	b.Commands = append(b.Commands,
		BatchCommand{Command: "StopTheWorld", Key: "a", Body: json.RawMessage(`{}`)},
		BatchCommand{Command: "ConfirmEnrollment", Key: "b", Body: json.RawMessage(`{}`)},
		BatchCommand{Command: "SubmitDiary", Key: "c", Body: json.RawMessage(`{"dose":1}`)},
		BatchCommand{Command: "SubmitDiary", Body: json.RawMessage(`[]`)}, // without a key it would be done twice
		b.Commands[0], // sent twice with the same key, as after a lost answer
	)
	answer := c.as(tr.self).batch(b)
	want := []struct {
		status int
		code   string
	}{{200, ""}, {422, "answer_out_of_range"}, {200, ""}, {403, "not_allowed"}, {200, ""},
		{404, "command_not_found"}, {404, "command_not_found"}, {400, "unknown_field"}, {400, "value_missing"}, {200, ""}}
	if len(answer.Items) != len(want) {
		t.Fatalf("%d items for %d commands", len(answer.Items), len(want))
	}
	for i, w := range want {
		item := answer.Items[i]
		if item.Status != w.status || (w.code == "") != (item.Problem == nil) || (item.Answer == nil) == (item.Problem == nil) {
			t.Errorf("item %d is %+v, want %+v", i, item, w)
			continue
		}
		if p := item.Problem; p != nil && (p.Code != w.code || p.Status != w.status || p.TraceID == "" ||
			p.Instance != "/api/v1/commands:batch#"+strconv.Itoa(i)) {
			t.Errorf("item %d has the problem %+v, want %s", i, *p, w.code)
		}
	}
	if answer.Items[9].Answer.CommandID != answer.Items[0].Answer.CommandID {
		t.Error("the repeat is answered as another command")
	}
}

func TestABatchKeepsOrderWithinAPatient(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	var all []any
	for day := 4; day <= 28; day++ {
		mine, theirs := tr.entry(day), tr.entry(day)
		theirs.Patient = tr.other
		all = append(all, mine, theirs)
	}
	answer := c.as(account(t, "phone", user.Grant{Role: user.PatientRole, Study: tr.study, Patient: tr.patient},
		user.Grant{Role: user.PatientRole, Study: tr.study, Patient: tr.other})).batch(batchOf(t, all...))
	last := map[string]int64{}
	for i, item := range answer.Items {
		if item.Status != http.StatusOK {
			t.Fatalf("item %d is answered %+v", i, item.Problem)
		}
		if before, ok := last[item.Answer.Stream]; ok && *item.Answer.Revision <= before {
			t.Errorf("item %d went in before its predecessor", i)
		}
		last[item.Answer.Stream] = *item.Answer.Revision
	}
	if len(last) != 2 {
		t.Errorf("%d streams were written", len(last))
	}
}

// TestABatchMayScreenAndConsent: a command that makes a patient comes before those that need one.
func TestABatchMayScreenAndConsent(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	var all []any
	for _, number := range []string{"S-11", "S-12", "S-13"} {
		all = append(all, patient.ScreenPatient{AtSite: domain.ForSite(tr.study, "01"), ScreeningNumber: number, On: "2026-02-01"})
	}
	for _, number := range []string{"S-11", "S-12", "S-13"} {
		all = append(all, patient.RecordConsent{OfPatient: domain.ForPatient(patientID(tr, number)), ConsentVersion: "1.0", On: "2026-02-01"})
	}
	for i, item := range c.as(tr.crc).batch(batchOf(t, all...)).Items {
		if item.Status != http.StatusOK {
			t.Errorf("item %d is answered %+v", i, item.Problem)
		}
	}
}

func TestABatchIsRefusedAsAWholeOnlyWhereItCannotBeRead(t *testing.T) {
	c := serve(t, nil).as(newTrial(t).crc)
	c.post("/api/v1/commands:batch", `{"commands":[`).refused(t, http.StatusBadRequest, "malformed_json")
	c.post("/api/v1/commands:batch", `{}`).refused(t, http.StatusBadRequest, "malformed_json")
	if r := c.post("/api/v1/commands:batch", `{"commands":[]}`); r.StatusCode != http.StatusOK || string(r.body) != `{"items":[]}`+"\n" {
		t.Errorf("an empty batch is answered %d: %s", r.StatusCode, r.body)
	}
	c.token = ""
	c.post("/api/v1/commands:batch", `{"commands":[]}`).refused(t, http.StatusUnauthorized, "token_missing")
}
