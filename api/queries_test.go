package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	projectionviews "casebook/readmodels/projection"
	studyviews "casebook/readmodels/study"
)

// answered asks a query that has to be answered.
func answered[T any](c client, path string, headers ...string) T {
	c.t.Helper()
	r := c.get(path, headers...)
	if r.StatusCode != http.StatusOK {
		c.t.Fatalf("%s is answered %d: %s", path, r.StatusCode, r.body)
	}
	return read[T](c.t, r)
}

func TestQueriesSeeWhatTheirCallerHasJustWritten(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	crc := c.as(tr.crc)
	path := "/api/v1/patients/" + string(tr.patient)
	position := ""
	for day := 4; day < 9; day++ {
		position = strconv.FormatUint(c.as(tr.self).accepted(tr.entry(day)).Position, 10)
		r := crc.get(path, positionHeader, position)
		view := read[patientviews.PatientDocument](t, r)
		if len(view.Instruments) != 1 || len(view.Instruments[0].Trend) != day-3 {
			t.Fatalf("on day %d the view is %s", day, r.body)
		}
		if r.Header.Get(positionHeader) != position {
			t.Errorf("the answer names the position %q", r.Header.Get(positionHeader))
		}
	}
	diaries := answered[readmodels.List[diaryviews.Diary]](crc, path+"/diaries?instrument=pain-diary", positionHeader, position)
	if len(diaries.Items) != 5 || diaries.Items[4].Answers["worst"] != 6.0 || diaries.Items[0].Window <= diaries.Items[4].Window {
		t.Errorf("the diaries are %+v", diaries)
	}
	if none := answered[readmodels.List[diaryviews.Diary]](crc, path+"/diaries?instrument=mood"); len(none.Items) != 0 {
		t.Errorf("the diaries of another instrument are %+v", none)
	}
}

func TestAPositionThatIsNotReachedIsNotWaitedForLong(t *testing.T) {
	c := serve(t, func(o *options) { o.engine.PositionTimeout = 50 * time.Millisecond })
	tr := newTrial(t)
	path := "/api/v1/patients/" + string(tr.patient)
	c.as(tr.crc).get(path, positionHeader, strconv.FormatUint(1<<62, 10)).refused(t, http.StatusServiceUnavailable, "view_behind")
	for _, named := range []string{"soon", "-1", "1.5", strconv.FormatUint(1<<63, 10) + "000"} {
		c.as(tr.crc).get(path, positionHeader, named).refused(t, http.StatusBadRequest, "malformed_position")
	}
}

func TestAnAnswerThatHasNotChangedIsNotSentAgain(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	crc := c.as(tr.crc)
	path := "/api/v1/studies/" + string(tr.study) + "/patients?site=01"
	first := crc.get(path)
	tag := first.Header.Get("Etag")
	if tag == "" {
		t.Fatal("the answer has no tag")
	}
	for _, given := range []string{tag, `"other", W/` + tag, "*"} {
		if r := crc.get(path, "If-None-Match", given); r.StatusCode != http.StatusNotModified || len(r.body) > 0 || r.Header.Get("Etag") != tag {
			t.Errorf("If-None-Match: %s is answered %d with %d bytes", given, r.StatusCode, len(r.body))
		}
	}
	position := c.as(tr.self).accepted(tr.entry(4)).Position
	if r := crc.get(path, "If-None-Match", tag, positionHeader, strconv.FormatUint(position, 10)); r.StatusCode != http.StatusOK ||
		r.Header.Get("Etag") == tag {
		t.Errorf("the changed answer is answered %d", r.StatusCode)
	}
}

func TestParametersAreReadStrictly(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	manager := c.as(tr.manager)
	base := "/api/v1/studies/" + string(tr.study) + "/patients"
	for query, code := range map[string]string{
		"?sites=01":                           "unknown_parameter",
		"?study=OTHER":                        "unknown_parameter",
		"?site=01&site=02":                    "malformed_parameter",
		"?limit=0":                            "malformed_parameter",
		"?limit=201":                          "malformed_parameter",
		"?limit=many":                         "malformed_parameter",
		"?limit=":                             "malformed_parameter",
		"?status=asleep":                      "malformed_parameter",
		"?site=":                              "value_missing",
		"?site=%00":                           "malformed_id",
		"?cursor=nonsense":                    "malformed_cursor",
		"?cursor=" + strings.Repeat("x", 501): "malformed_parameter",
	} {
		p := manager.get(base+query).refused(t, http.StatusBadRequest, code)
		if p.Field == "" || p.Remedy == "" {
			t.Errorf("%s: the problem names no field or remedy: %+v", query, p)
		}
	}
	manager.get("/api/v1/studies/"+strings.Repeat("x", 33)).refused(t, http.StatusBadRequest, "malformed_id")
	manager.get("/api/v1/patients/nobody").refused(t, http.StatusBadRequest, "malformed_id")
	manager.get("/api/v1/patients/"+string(tr.study)+".S-999").refused(t, http.StatusNotFound, "patient_not_found")
	c.as(account(t, "nobody")).get("/api/v1/patients/"+string(tr.study)+".S-999").refused(t, http.StatusForbidden, "not_allowed")
}

func TestListsArePaged(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	for i := 3; i < 8; i++ {
		id := domain.NewPatientID(tr.study, fmt.Sprint("S-", i))
		tr.position = enrol(t, id, "01", fmt.Sprint("S-", i), fmt.Sprint(i))
	}
	caughtUp(t, tr.position)
	for _, list := range []string{"/patients", "/compliance"} {
		seen := map[domain.PatientID]bool{}
		path, pages := "/api/v1/studies/"+string(tr.study)+list+"?limit=3", 0
		for cursor := ""; pages == 0 || cursor != ""; pages++ {
			page := answered[readmodels.List[struct{ Patient domain.PatientID }]](c.as(tr.manager), path+cursor)
			for _, row := range page.Items {
				if seen[row.Patient] {
					t.Errorf("%s: %s comes twice", list, row.Patient)
				}
				seen[row.Patient] = true
			}
			if cursor = ""; page.Next != "" {
				cursor = "&cursor=" + page.Next
			}
		}
		if len(seen) != 7 || pages != 3 {
			t.Errorf("%s: %d patients on %d pages", list, len(seen), pages)
		}
	}
	one := answered[readmodels.List[patientviews.PatientRow]](c.as(tr.manager),
		"/api/v1/studies/"+string(tr.study)+"/patients?site=02&status=enrolled")
	if len(one.Items) != 1 || one.Items[0].Patient != tr.other {
		t.Errorf("site 02 has %+v", one.Items)
	}
}

func TestStudiesAreThoseOfTheCaller(t *testing.T) {
	c := serve(t, nil)
	tr, elsewhere := newTrial(t), newTrial(t)
	caughtUp(t, elsewhere.position)
	for _, who := range []domain.UserID{tr.manager, tr.crc, tr.self} {
		list := answered[readmodels.List[studyviews.StudyRow]](c.as(who), "/api/v1/studies")
		if len(list.Items) != 1 || list.Items[0].Study != tr.study || list.Items[0].Title != "A trial" || len(list.Items[0].Roles) != 1 {
			t.Errorf("%s sees the studies %+v", who, list.Items)
		}
	}
	both := account(t, "auditor", user.Grant{Role: user.Auditor, Study: tr.study}, user.Grant{Role: user.Auditor, Study: elsewhere.study})
	first := answered[readmodels.List[studyviews.StudyRow]](c.as(both), "/api/v1/studies?limit=1")
	second := answered[readmodels.List[studyviews.StudyRow]](c.as(both), "/api/v1/studies?limit=1&cursor="+first.Next)
	if len(first.Items) != 1 || len(second.Items) != 1 || first.Items[0].Study == second.Items[0].Study || second.Next != "" {
		t.Errorf("the pages are %+v and %+v", first, second)
	}
	if r := c.as(account(t, "nobody")).get("/api/v1/studies"); string(r.body) != `{"items":[]}`+"\n" {
		t.Errorf("who has no role sees %s", r.body)
	}
}

func TestAnOverviewForASiteHasNoTotals(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	path := "/api/v1/studies/" + string(tr.study)
	whole := answered[studyviews.StudyOverview](c.as(tr.manager), path)
	if whole.Figures == nil || whole.Figures.Enrolled != 2 || len(whole.Sites) != 2 {
		t.Errorf("a data manager sees %+v", whole)
	}
	own := answered[studyviews.StudyOverview](c.as(tr.crc), path)
	if own.Figures != nil || len(own.Sites) != 1 || own.Sites[0].Site != "01" || own.Sites[0].Figures.Enrolled != 1 || own.Title != "A trial" {
		t.Errorf("a coordinator of site 01 sees %+v", own)
	}
	sites := answered[readmodels.List[diaryviews.DiaryCompliance]](c.as(account(t, "monitor",
		user.Grant{Role: user.Monitor, Study: tr.study, Site: "02"})), path+"/compliance/sites")
	for _, s := range sites.Items {
		if s.Site != "02" {
			t.Errorf("a monitor of site 02 sees %+v", s)
		}
	}
}

func TestViewsSayWhereTheyStand(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	list := answered[projectionviews.ProjectionList](c.as(tr.manager), "/api/v1/projections")
	if len(list.Items) != len(contexts.Views()) {
		t.Fatalf("%d views are listed", len(list.Items))
	}
	for _, p := range list.Items {
		if p.View == "" || p.State == readmodels.Stopped || p.Position < tr.position {
			t.Errorf("a view stands at %+v, the log at %d", p, tr.position)
		}
	}
}

// TestPatientsSeeNoScoresAndNoRisks on any way on which they see their diaries, and the site sees both.
func TestPatientsSeeNoScoresAndNoRisks(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	self := c.as(tr.self)
	entry := tr.entry(4)
	entry.Answers["worst"] = 10
	sent := self.command(entry)
	if sent.StatusCode != http.StatusOK || !strings.Contains(string(sent.body), `"DiarySubmitted"`) {
		t.Fatalf("answered %d: %s", sent.StatusCode, sent.body)
	}
	again := self.command(entry) // answered with what was recorded
	batch, err := json.Marshal(self.batch(batchOf(t, entry)))
	if err != nil {
		t.Fatal(err)
	}
	position := sent.Header.Get(positionHeader)
	own := self.get("/api/v1/me/diaries", positionHeader, position)
	patient := self.get("/api/v1/patients/"+string(tr.patient), positionHeader, position)
	for way, body := range map[string][]byte{"the answer": sent.body, "a repeat": again.body, "a batch": batch, "the list": own.body,
		"the patient": patient.body, "the schedule": self.get("/api/v1/me/schedule", positionHeader, position).body} {
		for _, word := range []string{"score", "intensity", "RiskFlagged", "pain-severe", `"risk":`} {
			if strings.Contains(string(body), word) {
				t.Errorf("%s tells the patient of %s: %s", way, word, body)
			}
		}
	}
	if list := read[readmodels.List[diaryviews.OwnDiary]](t, own); len(list.Items) == 0 || list.Items[0].Answers["worst"] != 10.0 {
		t.Errorf("the list is %s", own.body)
	}
	path := "/api/v1/patients/" + string(tr.patient)
	self.get(path+"/diaries").refused(t, http.StatusForbidden, "not_allowed")
	for _, of := range []string{path, path + "/diaries"} {
		if seen := c.as(tr.crc).get(of, positionHeader, position); !strings.Contains(string(seen.body), "pain-severe") ||
			!strings.Contains(string(seen.body), `"score`) {
			t.Errorf("the site sees %s", seen.body)
		}
	}
}
