package api

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	diaryviews "casebook/readmodels/diary"
	enrollmentviews "casebook/readmodels/enrollment"
	patientviews "casebook/readmodels/patient"
	studyviews "casebook/readmodels/study"
	userviews "casebook/readmodels/user"

	"github.com/google/go-cmp/cmp"
)

func TestASiteSeesHowItStands(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t).supplied(t)
	waiting := domain.NewPatientID(tr.study, "S-7")
	do(t, patient.ScreenPatient{AtSite: domain.ForSite(tr.study, "01"), ScreeningNumber: "S-7", On: "2026-02-01"})
	do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.patient), Through: now})
	created := do(t, supply.CreateShipment{FromLocation: supply.FromLocation{Study: tr.study, From: "DEPOT"}, To: "01",
		Kits: []supply.KitNumber{"K-2"}, Reasoned: domain.Because("more")})
	caughtUp(t, created.Position)
	path := "/api/v1/studies/" + string(tr.study) + "/sites/01/dashboard"
	d := read[studyviews.SiteDashboard](t, c.as(tr.crc).get(path))
	if d.Patients[patient.StatusEnrolled] != 1 || d.Patients[patient.StatusScreened] != 1 || len(d.Patients) != 2 ||
		d.OpenAlerts[safety.Urgent] != 1 ||
		d.Compliance.Missed == 0 || d.Kits[supply.KitAvailable] != 2 || len(d.Awaited) != 1 || d.Awaited[0].Status != supply.ShipmentPacked {
		t.Errorf("with %s screened the site stands at %+v", waiting, d)
	}
	c.as(tr.otherCRC).get(path).refused(t, http.StatusForbidden, "not_allowed")
	other := read[studyviews.SiteDashboard](t, c.as(tr.otherCRC).get("/api/v1/studies/"+string(tr.study)+"/sites/02/dashboard"))
	if other.Patients[patient.StatusEnrolled] != 1 || len(other.Kits) != 0 || len(other.OpenAlerts) != 0 || len(other.Awaited) != 0 {
		t.Errorf("the other site stands at %+v", other)
	}
}

func TestEnrolmentOverTimeIsShownToEachForTheirSites(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	path := "/api/v1/studies/" + string(tr.study) + "/enrollment"
	for _, asker := range []struct {
		user  domain.UserID
		sites []domain.SiteID
	}{{tr.manager, []domain.SiteID{"01", "02"}}, {tr.crc, []domain.SiteID{"01"}}} {
		var sites []domain.SiteID
		for _, s := range read[readmodels.List[enrollmentviews.EnrollmentSeries]](t, c.as(asker.user).get(path+"?step=day")).Items {
			sites = append(sites, s.Site)
			want := []enrollmentviews.EnrollmentPoint{{From: "2026-02-01", New: enrollmentviews.Enrolling{Screened: 1, Consented: 1},
				Total: enrollmentviews.Enrolling{Screened: 1, Consented: 1}},
				{From: "2026-02-02", New: enrollmentviews.Enrolling{Enrolled: 1}, Total: enrollmentviews.Enrolling{Screened: 1, Consented: 1,
					Enrolled: 1}}}
			if !slices.Equal(s.Points, want) {
				t.Errorf("site %s has %+v", s.Site, s.Points)
			}
		}
		if !slices.Equal(sites, asker.sites) {
			t.Errorf("%s is shown %v", asker.user, sites)
		}
	}
	manager := c.as(tr.manager)
	manager.get(path+"?from=2026-02-02&to=2026-02-01").refused(t, http.StatusBadRequest, "malformed_parameter")
	manager.get(path+"?from=soon").refused(t, http.StatusBadRequest, "malformed_date")
	manager.get(path+"?step=year").refused(t, http.StatusBadRequest, "malformed_parameter")
}

func TestWhoWorksInAStudyIsShownWithoutTheirOtherStudies(t *testing.T) {
	c := serve(t, nil)
	tr, elsewhere := newTrial(t), newTrial(t)
	both := account(t, "monitor", user.Grant{Role: user.Monitor, Study: tr.study, Site: "01"},
		user.Grant{Role: user.Monitor, Study: elsewhere.study, Site: "02"})
	caughtUp(t, do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.patient), Through: now}).Position)
	list := read[readmodels.List[userviews.User]](t, c.as(tr.manager).get("/api/v1/studies/"+string(tr.study)+"/users"))
	var ids []domain.UserID
	for _, u := range list.Items {
		ids = append(ids, u.User)
		for _, g := range u.Grants {
			if g.Grant.Study != tr.study || g.By == "" {
				t.Errorf("%s is shown with %+v", u.User, g)
			}
		}
	}
	for _, known := range []domain.UserID{tr.manager, tr.crc, tr.otherCRC, both} {
		if !slices.Contains(ids, known) {
			t.Errorf("%s is not shown", known)
		}
	}
	if len(ids) != 4 {
		t.Errorf("shown are %v; the patient is none of them", ids)
	}
	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin}))
	named := read[readmodels.List[userviews.User]](t, admin.get("/api/v1/users?role=monitor&limit=200"))
	if i := slices.IndexFunc(named.Items, func(u userviews.User) bool { return u.User == both }); i < 0 || len(named.Items[i].Grants) != 2 {
		t.Errorf("an administrator is shown %+v", named.Items)
	}
	admin.get("/api/v1/users?status=gone").refused(t, http.StatusBadRequest, "malformed_parameter")
}

func TestTheTrailIsBoundToWhatTheAskerMaySee(t *testing.T) {
	c := serve(t, nil)
	tr, elsewhere := newTrial(t), newTrial(t)
	c.as(tr.crc).get("/api/v1/patients/"+string(tr.other)).refused(t, http.StatusForbidden, "not_allowed")
	accepted := c.as(tr.self).accepted(tr.entry(4))
	caughtUp(t, do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.other), Through: now}).Position)
	path := "/api/v1/audit/studies/" + string(tr.study) + "/events"
	trail := func(who domain.UserID, query string) []auditviews.AuditEvent {
		t.Helper()
		return read[readmodels.List[auditviews.AuditEvent]](t, c.as(who).get(path+"?limit=200&"+query)).Items
	}
	auditor := account(t, "auditor", user.Grant{Role: user.Auditor, Study: tr.study})
	monitor := account(t, "monitor", user.Grant{Role: user.Monitor, Study: tr.study, Site: "01"})
	for _, e := range trail(auditor, "") {
		if e.Study != tr.study {
			t.Errorf("of another study is shown %+v", e)
		}
	}
	for _, e := range trail(monitor, "site=01") {
		if e.Site != "01" {
			t.Errorf("a monitor of site 01 is shown %+v", e)
		}
	}
	c.as(monitor).get(path).refused(t, http.StatusBadRequest, "value_missing")
	c.as(monitor).get(path+"?site=02").refused(t, http.StatusForbidden, "not_allowed")
	own := trail(auditor, "user="+string(tr.self)+"&type=DiarySubmitted,RiskFlagged")
	if len(own) != 1 || own[0].Actor != tr.self || own[0].Patient != tr.patient || own[0].Command != "SubmitDiary" ||
		own[0].Position != int64(accepted.Position) {
		t.Errorf("of the patient's own diary is shown %+v", own)
	}
	if at := fmt.Sprint(accepted.Position); len(trail(auditor, "sort=position&first="+at+"&last="+at)) == 0 {
		t.Error("nothing is found at the position of an answer")
	}
	refused := trail(auditor, "type=AccessRefused&user="+string(tr.crc))
	for len(refused) == 0 { // refusals are recorded behind the answer; the test's own time-out is the bound
		time.Sleep(5 * time.Millisecond)
		refused = trail(auditor, "type=AccessRefused&user="+string(tr.crc))
	}
	if len(refused) != 1 || refused[0].Actor != tr.crc || refused[0].About != "Patient: not_allowed" || refused[0].Patient != tr.other {
		t.Errorf("of the refused access is shown %+v", refused)
	}
	if given := trail(auditor, "type=RoleGranted&user="+string(tr.crc)); len(given) != 1 || given[0].About != string(user.CRC) {
		t.Errorf("of the role given is shown %+v", given)
	}
	if len(trail(auditor, "patient="+string(elsewhere.patient))) != 0 {
		t.Error("a patient of another study is shown")
	}
	if at := now.UTC().Format("2006-01-02T15:04:05Z"); len(trail(auditor, "to="+at)) != 0 || len(trail(auditor, "from="+at)) == 0 {
		t.Error("times do not bound the trail")
	}
	r := c.as(auditor).get(path + "?patient=" + string(tr.patient) + "&limit=200")
	if bytes.Contains(r.body, []byte("worst")) {
		t.Errorf("what a diary says is shown: %s", r.body)
	}
	for query, code := range map[string]string{"first=7": "positions_out_of_order", "first=x&sort=position": "malformed_position",
		"from=today":  "malformed_time",
		"sort=random": "malformed_parameter", "type=a,,b": "malformed_parameter"} {
		c.as(auditor).get(path+"?"+query).refused(t, http.StatusBadRequest, code)
	}
	accounts := read[readmodels.List[auditviews.AuditEvent]](t,
		c.as(account(t, "admin", user.Grant{Role: user.Admin})).get("/api/v1/audit/accounts/events?limit=200&user="+string(tr.crc)))
	if len(accounts.Items) == 0 {
		t.Error("an administrator is shown nothing of an account")
	}
	for _, e := range accounts.Items {
		if e.Patient != "" && e.Type != "RoleGranted" && e.Type != "RoleRevoked" {
			t.Errorf("an administrator is shown %+v", e)
		}
	}
}

func TestDiariesAreListedAsOfAMoment(t *testing.T) {
	c := serve(t, withPast)
	tr := newTrial(t)
	first := c.as(tr.self).accepted(tr.entry(4))
	second := c.as(tr.self).accepted(tr.entry(5))
	caughtUp(t, second.Position)
	path := "/api/v1/patients/" + string(tr.patient) + "/diaries"
	for asOf, want := range map[uint64]int{first.Position: 1, second.Position: 2} {
		if got := read[readmodels.List[diaryviews.Diary]](t, c.as(tr.crc).get(fmt.Sprint(path, "?asOf=", asOf))); len(got.Items) != want {
			t.Errorf("as of %d there are %d diaries", asOf, len(got.Items))
		}
	}
	page := read[readmodels.List[diaryviews.Diary]](t, c.as(tr.crc).get(fmt.Sprint(path, "?limit=1&sort=oldest&asOf=", second.Position)))
	next := read[readmodels.List[diaryviews.Diary]](t, c.as(tr.crc).get(fmt.Sprint(path, "?limit=1&sort=oldest&asOf=", second.Position,
		"&cursor=", page.Next)))
	if len(page.Items) != 1 || len(next.Items) != 1 || !page.Items[0].Opens.Before(next.Items[0].Opens) || next.Next != "" {
		t.Errorf("in pages of one there are %+v and %+v", page, next)
	}
}

func TestListsAreSortedAndNarrowed(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t).supplied(t)
	caughtUp(t, do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.patient), Through: now}).Position)
	study := "/api/v1/studies/" + string(tr.study)
	manager := c.as(tr.manager)
	diaries := "/api/v1/patients/" + string(tr.patient) + "/diaries"
	for path, want := range map[string]int{
		study + "/patients?sort=inactive&status=enrolled": 2,
		study + "/compliance?below=0.5":                   1, study + "/compliance?below=0.5&sort=best&site=02": 0,
		study + "/compliance/sites?below=0.5": 1, study + "/alerts?severity=urgent&sort=newest": 1, study + "/alerts?severity=routine": 0,
		study + "/alerts?raisedBefore=2020-01-01T00:00:00Z": 0,
		study + "/kits?sort=changed&status=available":       4, study + "/shipments?sort=oldest": 1,
		study + "/processes?stage=nowhere&sort=longest": 0, study + "/parked-messages?sort=newest": 0,
		diaries + "?only=answered": 0, diaries + "?only=missed&to=2026-02-05T00:00:00Z": 2,
	} {
		if got := read[readmodels.List[any]](t, manager.get(path)); len(got.Items) != want {
			t.Errorf("%s has %d items, want %d", path, len(got.Items), want)
		}
	}
	for _, below := range []string{"0", "-1", "1.5", "x", "NaN", "Inf"} {
		manager.get(study+"/compliance?below="+below).refused(t, http.StatusBadRequest, "malformed_parameter")
	}
	first := read[readmodels.List[patientviews.PatientRow]](t, manager.get(study+"/patients?limit=1&sort=active"))
	manager.get(study+"/patients?limit=1&sort=inactive&cursor="+first.Next).refused(t, http.StatusBadRequest, "malformed_cursor")
}

// TestR6_TheTrailShowsValuesBeforeAndAfter to auditors, and to the investigators of the site, with the reason and the hash.
func TestR6_TheTrailShowsValuesBeforeAndAfter(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	do(t, patient.CorrectAge{OfPatient: domain.ForPatient(tr.patient), From: 0, To: 41, Reasoned: domain.Because("misread")})
	do(t, patient.CorrectAge{OfPatient: domain.ForPatient(tr.other), From: 0, To: 52, Reasoned: domain.Because("misread")})
	last := do(t, patient.CorrectAge{OfPatient: domain.ForPatient(tr.patient), From: 41, To: 42, Reasoned: domain.Because("misread again")})
	caughtUp(t, last.Position)
	auditor := account(t, "auditor", user.Grant{Role: user.Auditor, Study: tr.study})
	investigator := account(t, "investigator", user.Grant{Role: user.Investigator, Study: tr.study, Site: "01"})
	path := "/api/v1/audit/studies/" + string(tr.study) + "/events"
	for _, who := range []domain.UserID{auditor, investigator} {
		l := read[readmodels.List[auditviews.AuditEvent]](t, c.as(who).get(path+"?site=01&type=PatientAgeCorrected"))
		if len(l.Items) != 2 {
			t.Fatalf("%s is shown %+v", who, l.Items)
		}
		newest := l.Items[0]
		want := []auditviews.ValueChange{{Field: "ageYears", Old: 41.0, New: 42.0}}
		if diff := cmp.Diff(want, newest.Changes); diff != "" || newest.Reason != "misread again" {
			t.Errorf("%s: %+v %s", who, newest, diff)
		}
		if first := l.Items[1].Changes; len(first) != 1 || first[0].Old != nil || first[0].New != 41.0 {
			t.Errorf("the first correction is shown as %+v", first)
		}
		// The next event of the stream holds the hash.
		var stored []eventlog.Recorded
		for r, err := range the.log.ReadStream(t.Context(), newest.Stream, 0) {
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, r)
		}
		if at := *newest.Revision; *l.Items[1].Revision != at-1 || stored[at].Metadata.PreviousHash != l.Items[1].Hash || newest.Hash == "" {
			t.Errorf("the hash %q is not that of the event before %d", l.Items[1].Hash, at)
		}
	}
	c.as(investigator).get(path).refused(t, http.StatusBadRequest, "value_missing")
	c.as(investigator).get(path+"?site=02").refused(t, http.StatusForbidden, "not_allowed")
	c.as(tr.crc).get(path+"?site=01").refused(t, http.StatusForbidden, "not_allowed")
}

// TestAuditorsReadTheAccountsOfTheirStudy, without what the accounts may do in other studies.
func TestAuditorsReadTheAccountsOfTheirStudy(t *testing.T) {
	c := serve(t, nil)
	tr, elsewhere := newTrial(t), newTrial(t)
	both := account(t, "monitor", user.Grant{Role: user.Monitor, Study: tr.study, Site: "01"},
		user.Grant{Role: user.Monitor, Study: elsewhere.study, Site: "01"})
	auditor := account(t, "auditor", user.Grant{Role: user.Auditor, Study: tr.study})
	end, err := the.log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	caughtUp(t, end.Commit)
	of := func(study domain.StudyID, who domain.UserID) string {
		return "/api/v1/audit/studies/" + string(study) + "/accounts/" + string(who) + "/events"
	}
	seen := map[string]int{}
	for _, e := range read[readmodels.List[auditviews.AuditEvent]](t, c.as(auditor).get(of(tr.study, both)+"?limit=200")).Items {
		if seen[e.Type]++; e.Account != both || e.Study != "" && e.Study != tr.study {
			t.Errorf("an auditor of %s is shown %+v", tr.study, e)
		}
	}
	if seen["UserRegistered"] != 1 || seen["RoleGranted"] != 1 {
		t.Errorf("of the account are shown %v", seen)
	}
	c.as(auditor).get(of(tr.study, elsewhere.crc)).refused(t, http.StatusNotFound, "user_not_found")
	c.as(auditor).get(of(tr.study, "nobody.at.all")).refused(t, http.StatusNotFound, "user_not_found")
	c.as(auditor).get(of(elsewhere.study, both)).refused(t, http.StatusForbidden, "not_allowed")
	c.as(tr.manager).get(of(tr.study, both)).refused(t, http.StatusForbidden, "not_allowed")
}
