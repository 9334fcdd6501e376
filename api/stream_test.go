package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/user"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
)

// message is one of a stream.
type message struct{ id, event, data string }

func (m message) changes(t *testing.T) readmodels.Changes {
	t.Helper()
	var c readmodels.Changes
	if err := json.Unmarshal([]byte(m.data), &c); err != nil {
		t.Fatalf("%+v: %v", m, err)
	}
	return c
}

// hearing is a stream that is listened to until the test ends.
type hearing struct {
	t        *testing.T
	messages chan message
	stop     context.CancelFunc
}

// hear begins to listen. It returns when the server has begun to send changes.
func (c client) hear(query string, headers ...string) hearing {
	t, ok := c.t.(*testing.T)
	if !ok {
		c.t.Fatal("only tests listen")
	}
	ctx, stop := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/api/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if media := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || media != "text/event-stream" {
		t.Fatalf("answered %d %s", response.StatusCode, media)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	lines.Scan() // the first line, with which the server says that it sends changes from now on
	h := hearing{t: t, messages: make(chan message, 1000), stop: stop}
	go func() {
		defer close(h.messages)
		defer func() { _ = response.Body.Close() }()
		var m message
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "id":
				m.id = value
			case "event":
				m.event = value
			case "data":
				m.data = value
			case "":
				if m != (message{}) && value == "" {
					h.messages <- m
				}
				m = message{}
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		for range h.messages { //nolint:revive // until it has ended
		}
	})
	return h
}

// next is the next message; the test's own time-out bounds the wait.
func (h hearing) next() message {
	h.t.Helper()
	m, open := <-h.messages
	if !open {
		h.t.Fatal("the stream has ended")
	}
	return m
}

// until listens until a patient has changed in a view, and returns that message and all changes up to there.
func (h hearing) until(id domain.PatientID, view readmodels.View) (last message, all []readmodels.Change) {
	h.t.Helper()
	for {
		m := h.next()
		if m.event != "change" {
			h.t.Fatalf("a message %+v", m)
		}
		c := m.changes(h.t)
		all = append(all, c.Changes...)
		if slices.ContainsFunc(c.Changes, func(c readmodels.Change) bool { return c.Patient == id && slices.Contains(c.Views, view.Name) }) {
			return m, all
		}
	}
}

func TestChangesAreToldToThoseWhoMaySeeThem(t *testing.T) {
	c := serve(t, nil)
	tr, elsewhere := newTrial(t), newTrial(t)
	caughtUp(t, elsewhere.position)
	manager, crc, other := c.as(tr.manager).hear("?study="+string(tr.study)), c.as(tr.crc).hear(""), c.as(tr.otherCRC).hear("")
	self, stranger := c.as(tr.self).hear(""), c.as(elsewhere.manager).hear("")
	alerts := c.as(tr.manager).hear("?view=alerts&site=01")
	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin})).hear("")

	accepted := c.as(tr.self).accepted(tr.entry(4))
	for name, h := range map[string]hearing{"manager": manager, "crc": crc, "the patient": self} {
		m, _ := h.until(tr.patient, diaryviews.Diaries)
		told := m.changes(t)
		if told.Position < accepted.Position || len(told.Behind) != 0 {
			t.Errorf("%s is told %+v of position %d", name, told, accepted.Position)
		}
		for _, change := range told.Changes {
			if change.Study != tr.study || change.Site != "01" {
				t.Errorf("%s is told of %+v", name, change)
			}
			of := []string{"patient-view", "diaries", "diary-devices"}
			if name == "the patient" && slices.ContainsFunc(change.Views, func(v string) bool { return !slices.Contains(of, v) }) {
				t.Errorf("%s is told of %v", name, change.Views)
			}
		}
	}
	// Told means shown: no position has to be named.
	got := read[readmodels.List[diaryviews.Diary]](t, c.as(tr.crc).get("/api/v1/patients/"+string(tr.patient)+"/diaries"))
	if len(got.Items) != 1 {
		t.Errorf("after the change was told %d diaries are shown", len(got.Items))
	}
	// Those who may not know have heard nothing of it: the first that they hear of is their own.
	do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.other), Through: now})
	if _, all := other.until(tr.other, diaryviews.Diaries); slices.ContainsFunc(all,
		func(c readmodels.Change) bool { return c.Site != "02" }) {
		t.Errorf("a coordinator of site 02 is told %+v", all)
	}
	do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(elsewhere.patient), Through: now})
	if _, all := stranger.until(elsewhere.patient, diaryviews.Diaries); slices.ContainsFunc(all,
		func(c readmodels.Change) bool { return c.Study != elsewhere.study }) {
		t.Errorf("a manager of another study is told %+v", all)
	}
	late := tr.entry(5)
	late.Answers["worst"] = 9
	c.as(tr.self).accepted(late)
	do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.patient), Through: now})
	account(t, "nobody")
	for m := admin.next(); ; m = admin.next() {
		told := m.changes(t)
		if slices.ContainsFunc(told.Changes, func(c readmodels.Change) bool {
			return c.Patient != "" &&
				slices.Contains(c.Views, "patient-view")
		}) {
			t.Errorf("an administrator is told %+v", told)
		}
		if slices.ContainsFunc(told.Changes, func(c readmodels.Change) bool {
			return c.Study == "" &&
				slices.Contains(c.Views, "user-directory")
		}) {
			break
		}
	}
	select {
	case m := <-alerts.messages:
		t.Errorf("who listens to alerts is told %+v", m)
	default:
	}
}

func TestWhoComesBackIsToldWhatHappenedInBetween(t *testing.T) {
	first := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	h := first.as(tr.manager).hear("?study=" + string(tr.study))
	first.as(tr.self).accepted(tr.entry(4))
	last, _ := h.until(tr.patient, diaryviews.Diaries)
	h.stop()

	do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.other), Through: now})
	do(t, patient.DiscontinuePatient{OfPatient: domain.ForPatient(tr.other), On: "2026-03-01", Reasoned: domain.Because("moved away")})
	second := serve(t, nil) // another process
	again := second.as(tr.manager).hear("?study="+string(tr.study), "Last-Event-ID", last.id)
	m, all := again.until(tr.other, patientviews.PatientViews)
	for _, change := range all {
		if change.Patient != tr.other && change.Patient != "" {
			t.Errorf("told again is %+v", change)
		}
	}
	// Nothing is left to be told: the next that is heard is new.
	quiet := second.as(tr.manager).hear("?study=" + string(tr.study) + "&after=" + m.id)
	second.as(tr.self).accepted(tr.entry(5))
	if _, all := quiet.until(tr.patient, diaryviews.Diaries); slices.ContainsFunc(all,
		func(c readmodels.Change) bool { return c.Patient == tr.other }) {
		t.Errorf("told again is %+v", all)
	}
	// What a command answered is a position too.
	answer := second.as(tr.self).accepted(tr.entry(6))
	second.as(tr.self).accepted(tr.entry(7))
	second.as(tr.manager).hear(fmt.Sprint("?study=", tr.study, "&after=", answer.Position)).until(tr.patient, diaryviews.Diaries)
}

func TestWhoHasMissedTooMuchIsToldToReload(t *testing.T) {
	c := serve(t, func(o *options) { o.changes.MaxReplayed = 3 })
	tr := newTrial(t)
	caughtUp(t, tr.position)
	for _, query := range []string{"?after=1", "?after=9000000000000000000"} { // the second is of another log
		if m := c.as(tr.manager).hear(query).next(); m.event != "reset" || m.id == "" {
			t.Errorf("%s is told %+v", query, m)
		}
	}
}

func TestAStreamEndsWithTheRightToIt(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin}))
	grant := user.Grant{Role: user.CRC, Study: tr.study, Site: "01"}
	ends := func(h hearing, code string) {
		t.Helper()
		for m := range h.messages {
			if m.event == "end" {
				if !strings.Contains(m.data, `"`+code+`"`) {
					t.Errorf("ended with %s, want %s", m.data, code)
				}
				if _, open := <-h.messages; open {
					t.Error("something follows the end")
				}
				return
			}
		}
		t.Errorf("the stream ends without saying %s", code)
	}
	nurse, leaver, both := account(t, "nurse", grant), account(t, "nurse", grant), account(t, "nurse", grant,
		user.Grant{Role: user.CRC, Study: tr.study, Site: "02"})
	revoked, deactivated, moved := c.as(nurse).hear("?study="+string(tr.study)), c.as(leaver).hear(""), c.as(both).hear("")
	admin.accepted(user.RevokeRole{OfUser: domain.ForUser(nurse), Grant: grant, Reasoned: domain.Because("left the site")})
	admin.accepted(user.DeactivateUser{OfUser: domain.ForUser(leaver), Reasoned: domain.Because("left")})
	admin.accepted(user.RevokeRole{OfUser: domain.ForUser(both), Grant: grant, Reasoned: domain.Because("moved")})
	c.as(tr.self).accepted(tr.entry(4))
	ends(revoked, "not_allowed")
	ends(deactivated, "account_deactivated")
	if m := moved.next(); m.event != "reset" || strings.Contains(m.data, string(tr.patient)) {
		t.Errorf("who has lost one of two roles is told %+v", m)
	}
	do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.other), Through: now})
	moved.until(tr.other, diaryviews.Diaries)

	short, err := c.tokens.Sign(tr.crc, time.Now(), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	brief := c
	brief.token = short
	ends(brief.hear(""), "token_expired")
}

// TestAStoppingServerEndsItsStreams: otherwise they would hold it up until they are cut off, which is an error of Serve.
func TestAStoppingServerEndsItsStreams(t *testing.T) {
	tr := newTrial(t)
	var h hearing
	t.Run("server", func(t *testing.T) {
		h = serve(t, nil).as(tr.manager).hear("")
		t.Cleanup(func() {}) // the server's clean-up comes before that of the stream
		h.stop = func() {}
	})
	for m := range h.messages {
		if m.event == "end" && strings.Contains(m.data, "server_stopping") {
			return
		}
	}
}

func TestStreamsAreRefusedAndBounded(t *testing.T) {
	c := serve(t, func(o *options) { o.changes.ListenersOfUser, o.Limits.Streams = 1, 2 })
	tr, elsewhere := newTrial(t), newTrial(t)
	manager := c.as(tr.manager)
	const path = "/api/v1/events"
	c.get(path).refused(t, http.StatusUnauthorized, "token_missing")
	manager.get(path+"?study="+string(elsewhere.study)).refused(t, http.StatusForbidden, "not_allowed")
	manager.get(path+"?patient="+string(elsewhere.patient)).refused(t, http.StatusForbidden, "not_allowed")
	manager.get(path+"?view=nothing").refused(t, http.StatusNotFound, "view_not_found")
	manager.get(path+"?colour=red").refused(t, http.StatusBadRequest, "unknown_parameter")
	for _, wrong := range []string{"x", "-1", "7-9", "1-2-3", ""} {
		manager.get(path+"?after="+wrong).refused(t, http.StatusBadRequest, "malformed_position")
	}
	manager.get(path, "Last-Event-ID", "yesterday").refused(t, http.StatusBadRequest, "malformed_position")
	h := manager.hear("")
	manager.get(path).refused(t, http.StatusTooManyRequests, "too_many_streams")
	c.as(tr.crc).hear("")
	c.as(tr.otherCRC).get(path).refused(t, http.StatusServiceUnavailable, "overloaded")
	h.stop()
	for range h.messages { //nolint:revive // until the client has gone
	}
	c.as(tr.otherCRC).get(path, "Last-Event-ID", "x") // the place is free once the server has noticed
	serve(t, func(o *options) { o.changes = nil }).as(tr.manager).get(path).refused(t, http.StatusServiceUnavailable, "changes_unavailable")
}
