package api

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/user"
	"casebook/projections"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	projectionviews "casebook/readmodels/projection"
	safetyviews "casebook/readmodels/safety"
)

// withPast answers asOf as the server does.
func withPast(o *options) {
	o.engine.Past = func(
		ctx context.Context, view string, who domain.PatientID, at readmodels.Moment,
	) (map[string]readmodels.Document, error) {
		p, err := projections.Named(contexts.Projections(), view)
		if err != nil {
			return nil, err
		}
		until := projections.Until{Position: domain.Position{Commit: at.Position, Prepare: at.Position}, Time: at.Time}
		return p.PatientAsOf(ctx, the.verifier, who, until)
	}
}

func TestAPatientIsShownAsOfAMoment(t *testing.T) {
	c := serve(t, withPast)
	tr := newTrial(t)
	crc := c.as(account(t, "crc", user.Grant{Role: user.CRC, Study: tr.study, Site: "01"}))
	id := patientID(tr, unique("P"))
	number := string(id)[len(tr.study)+1:]
	screened := crc.accepted(patient.ScreenPatient{AtSite: domain.ForSite(tr.study, "01"), ScreeningNumber: number, On: domain.DateOf(now)})
	consented := crc.accepted(patient.RecordConsent{OfPatient: domain.ForPatient(id), ConsentVersion: "1.0", On: domain.DateOf(now)})
	path := "/api/v1/patients/" + string(id)
	for asOf, want := range map[string]patient.Status{
		fmt.Sprint(screened.Position): patient.StatusScreened, fmt.Sprint(consented.Position): patient.StatusConsented,
		now.Add(time.Hour).Format(time.RFC3339): patient.StatusConsented,
	} {
		v := read[patientviews.PatientDocument](t, crc.get(path+"?asOf="+asOf))
		if v.Status != want || v.Patient != id {
			t.Errorf("as of %s the patient is %s", asOf, v.Status)
		}
	}
	crc.get(path+"?asOf="+fmt.Sprint(screened.Position-1)).refused(t, http.StatusNotFound, "patient_not_found")
	for _, wrong := range []string{"", "0", "-1", "yesterday", "2026-13-01T00:00:00Z", "99999999999999999999999"} {
		crc.get(path+"?asOf="+wrong).refused(t, http.StatusBadRequest, "malformed_time")
	}
	elsewhere := c.as(account(t, "crc", user.Grant{Role: user.CRC, Study: tr.study, Site: "02"}))
	elsewhere.get(path+"?asOf="+fmt.Sprint(consented.Position)).refused(t, http.StatusForbidden, "not_allowed")
}

// TestADataManagerRebuildsAView over HTTP, and sees it done; who acts for another study, or names no view, is refused.
func TestADataManagerRebuildsAView(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	manager := c.as(account(t, "manager", user.Grant{Role: user.DataManager, Study: tr.study}))
	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin}))
	build := func() string {
		for _, p := range read[projectionviews.ProjectionList](t, manager.get("/api/v1/projections")).Items {
			if p.View == safetyviews.Alerts.Name {
				return p.Build
			}
		}
		return ""
	}
	before := build()
	for _, who := range []struct {
		client
		study domain.StudyID
	}{{manager, tr.study}, {admin, ""}} {
		who.post("/api/v1/commands/RebuildProjection", fmt.Sprintf(`{"projection":%q,"study":%q,"reason":"to see"}`, safetyviews.Alerts.Name,
			who.study)).fine(t)
		for build() == before {
			time.Sleep(5 * time.Millisecond) // the test's own time-out is the bound
		}
		before = build()
	}
	manager.post("/api/v1/commands/RebuildProjection", `{"projection":"alerts","reason":"for all"}`).refused(t, http.StatusForbidden,
		"not_allowed")
	manager.post("/api/v1/commands/RebuildProjection", fmt.Sprintf(`{"projection":"nothing","study":%q,"reason":"x"}`, tr.study)).refused(t,
		http.StatusNotFound, "view_not_found")
	manager.post("/api/v1/commands/CancelRebuild", fmt.Sprintf(`{"projection":"shipments","study":%q,"reason":"x"}`, tr.study)).refused(t,
		http.StatusConflict, "no_rebuild")
	skip := func(stream string, revision int) reply {
		return manager.post("/api/v1/commands/SkipProjectionEvent",
			fmt.Sprintf(`{"projection":"alerts","study":%q,"version":9,"stream":%q,"revision":%d,"reason":"x"}`, tr.study, stream, revision))
	}
	stream := patient.Decider.Stream(string(tr.patient))
	skip(stream, 0).fine(t)
	skip(stream, 0).refused(t, http.StatusConflict, "event_skipped")
	skip(stream, 9999).refused(t, http.StatusNotFound, "event_not_found")
	skip("patient-nobody", 0).refused(t, http.StatusNotFound, "event_not_found")
	skip(patient.Decider.Stream(string(newTrial(t).patient)), 0).refused(t, http.StatusNotFound, "event_not_found")
}

// fine wants a command to be taken.
func (r reply) fine(t testing.TB) {
	t.Helper()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
}
