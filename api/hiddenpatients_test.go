package api

import (
	"net/http"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/readmodels"
)

// TestR9_NobodyLearnsWhichPatientsExist asks every command and every query that names a patient about a patient who exists
// and about one who does not. Those who may not know the first get the same answer about both, and the same is recorded.
func TestR9_NobodyLearnsWhichPatientsExist(t *testing.T) {
	c := serve(t, nil)
	tr, elsewhere := newTrial(t), newTrial(t)
	caughtUp(t, elsewhere.position)
	nobody := tr
	nobody.patient = domain.NewPatientID(tr.study, "S-9") // as long as the id of the patient
	all := append(askers(t, c, tr, elsewhere), asker{client: c.as(account(t, "nobody"))})
	requests := 0
	alike := func(a asker, send func(asker, trial) reply) {
		t.Helper()
		requests++
		ask := func(of trial) (string, int) {
			r := send(a, of)
			p := read[Problem](t, r)
			p.TraceID = ""
			// The refused is allowed to see what it has sent.
			said := strings.ReplaceAll(p.Code+" "+p.Title+" "+p.Detail+" "+p.Field+" "+p.Remedy+" "+p.Instance+" "+p.Type, string(of.patient), "X")
			return said, r.StatusCode
		}
		exists, status := ask(tr)
		if missing, other := ask(nobody); missing != exists || status != other || status != http.StatusForbidden {
			t.Errorf("%s (%s) is told %d %s of a patient who exists, and %d %s of one who does not", a.role, a.where, status, exists, other, missing)
		}
	}
	for _, declared := range contexts.Commands() {
		if declared.Internal() || declared.Patient([]byte(bodyAbout(t, declared.Body(), tr))) == "" {
			continue
		}
		for _, a := range all {
			if may(declared.Name(), a) {
				continue
			}
			alike(a, func(a asker, of trial) reply {
				return a.post("/api/v1/commands/"+declared.Name(), bodyAbout(t, declared.Body(), of))
			})
		}
	}
	for _, q := range contexts.Queries() {
		if q.Reach != readmodels.ReachPatient {
			continue
		}
		for _, a := range all {
			if !may(q.Name, a) {
				alike(a, func(a asker, of trial) reply { return a.get(of.path(q)) })
			}
		}
	}
	if requests < 200 {
		t.Errorf("only %d requests were compared", requests)
	}
}

// TestR9_UnknownPatientsAreRecorded: who may know the patients of the study is told that there is none, and that is recorded
// like a refusal, once in full and then as a number.
func TestR9_UnknownPatientsAreRecorded(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	who := account(t, "safety", user.Grant{Role: user.SafetyOfficer, Study: tr.study})
	nobody := domain.NewPatientID(tr.study, "S-9")
	for range 3 {
		c.as(who).get("/api/v1/patients/"+string(nobody)).refused(t, http.StatusNotFound, "patient_not_found")
	}
	if all := recordedRefusals(t, who); len(all) != 1 || all[0].Code != "patient_not_found" || all[0].Patient != nobody {
		t.Errorf("three questions within a minute are recorded as %+v", all)
	}
}
