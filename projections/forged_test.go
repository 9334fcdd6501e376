package projections_test

import (
	"encoding/json"
	"testing"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/user"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	patientviews "casebook/readmodels/patient"
	projectionviews "casebook/readmodels/projection"
	userviews "casebook/readmodels/user"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// forge appends an event with the official client, as somebody does who gets at the event store without the program.
func (w *world) forge(stream, eventType string, event any, metadata string) {
	w.t.Helper()
	data, err := json.Marshal(event)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.last, err = storetest.Forge(w.t.Context(), w.url, stream, eventType, data, []byte(metadata)); err != nil {
		w.t.Fatal(err)
	}
}

// metadataOf is what somebody writes who knows what our metadata look like.
func (w *world) metadataOf(who domain.PatientID, previousHash string) string {
	w.t.Helper()
	raw, err := json.Marshal(eventlog.Metadata{Actor: "investigator.one", Role: "investigator", Study: w.study, Site: "01", Patient: who,
		Reason: "as agreed", Command: "RecordConsent", CommandID: "0d3c56a0-2f34-4b8e-9b0e-6a1f2f6a9c55", Schema: 1, PreviousHash: previousHash})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(raw)
}

// TestR1_ForgedEventsAreLeftOutAndAlarmed: views leave out what is no part of the record, whatever its metadata look like,
// the audit index marks it and names nobody, and everything else goes on. A rebuilt view is the same.
func TestR1_ForgedEventsAreLeftOutAndAlarmed(t *testing.T) {
	w := newWorldAlone(t)
	sound := w.screen(0)
	hashOfOther := w.tails["patient-"+string(sound)].Hash
	consent := func(id domain.PatientID) patient.ConsentRecorded {
		return patient.ConsentRecorded{Patient: id, ConsentVersion: "9", On: "2026-01-02"}
	}
	forgeries := map[string]func(id domain.PatientID){
		"no metadata":    func(id domain.PatientID) { w.forge("patient-"+string(id), "ConsentRecorded", consent(id), "") },
		"empty metadata": func(id domain.PatientID) { w.forge("patient-"+string(id), "ConsentRecorded", consent(id), "{}") },
		"wrong hash": func(id domain.PatientID) {
			w.forge("patient-"+string(id), "ConsentRecorded", consent(id), w.metadataOf(id, "bm8="))
		},
		"hash of another's": func(id domain.PatientID) {
			w.forge("patient-"+string(id), "ConsentRecorded", consent(id), w.metadataOf(id, hashOfOther))
		},
		"right hash": func(id domain.PatientID) {
			w.forge("patient-"+string(id), "ConsentRecorded", consent(id), w.metadataOf(id, w.tails["patient-"+string(id)].Hash))
		},
		"unknown type": func(id domain.PatientID) {
			w.forge("patient-"+string(id), "PatientCured", consent(id), w.metadataOf(id, ""))
		},
		"type of others": func(id domain.PatientID) {
			w.forge("patient-"+string(id), "RoleGranted", user.RoleGranted{User: "mallory"}, w.metadataOf(id, w.tails["patient-"+string(id)].Hash))
		},
	}
	forged := map[domain.PatientID]string{}
	stop := w.run()
	for name, forge := range forgeries {
		id := w.screen(len(forged) + 1)
		forged[id] = name
		forge(id)
		// What follows is no part of the record either, though it continues the forged event.
		w.forge("patient-"+string(id), "ConsentRecorded", consent(id), w.metadataOf(id, "aGFzaA=="))
	}
	// A patient who was never screened, in a stream of their own: no hash has to match in its first event.
	never := domain.PatientID(string(w.study) + ".S-9999")
	w.forge("patient-"+string(never), "PatientScreened", patient.Screened{Patient: never, Study: w.study, Site: "01"}, w.metadataOf(never, ""))
	late := w.screen(len(forged) + 1)
	for _, p := range contexts.Projections() {
		w.wait(p.View)
	}
	check := func(when string) {
		t.Helper()
		for id, name := range forged {
			shown, err := patientviews.LoadPatientView(t.Context(), readmodels.Request{Store: w.store}, patientviews.PatientQuery{Patient: id})
			if err != nil {
				t.Fatal(err)
			}
			if shown.Status != patient.StatusScreened || len(shown.Steps) != 1 {
				t.Errorf("%s, %s: the forged consent is shown: %+v", when, name, shown.PatientDocument)
			}
			if len(shown.Damaged) != 1 || shown.Damaged[0].Revision != 1 || shown.Damaged[0].Stream != "patient-"+string(id) {
				t.Errorf("%s, %s: the patient is not marked: %+v", when, name, shown.Damaged)
			}
		}
		for _, id := range []domain.PatientID{sound, late} {
			shown, err := patientviews.LoadPatientView(t.Context(), readmodels.Request{Store: w.store}, patientviews.PatientQuery{Patient: id})
			if err != nil || len(shown.Damaged) > 0 {
				t.Errorf("%s: a sound patient is %+v, %v", when, shown.Damaged, err)
			}
		}
		list, err := projectionviews.ListProjections(t.Context(), readmodels.Request{Store: w.store, Caller: readmodels.Caller{
			Principal: access.Principal{User: "admin", Grants: []user.Grant{{Role: user.Admin}}}}}, projectionviews.ProjectionsQuery{})
		if err != nil || len(list.Damaged) != len(forged)+1 {
			t.Errorf("%s: %d of %d damaged streams are listed, %v", when, len(list.Damaged), len(forged)+1, err)
		}
		if named := w.count(auditviews.AuditIndex, bson.D{{Key: "actor", Value: "investigator.one"}}); named != 0 {
			t.Errorf("%s: %d events in the audit index name the forged author", when, named)
		}
		ofDamaged := bson.D{{Key: "damaged", Value: bson.D{{Key: "$exists", Value: true}}}}
		if marked := w.count(auditviews.AuditIndex, ofDamaged); marked != 2*len(forged)+1 {
			t.Errorf("%s: %d events are marked as damaged in the audit index, of %d", when, marked, 2*len(forged)+1)
		}
		if shown := w.count(patientviews.PatientViews, bson.D{{Key: "_id", Value: never}}); shown != 0 {
			t.Errorf("%s: a patient is shown who was forged from the first event on", when)
		}
	}
	check("live")
	stop()
	for _, p := range contexts.Projections() { // a fresh fold leaves out the same
		c, err := projections.Compare(t.Context(), w.log, w.store, p, w.active(p.View), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Same() {
			t.Errorf("%s differs from a fresh fold: %+v", p.View.Name, c.Differences)
		}
	}
	// The next program knows what this one has found, without reading the whole log again.
	stop = w.run()
	defer stop()
	w.screen(len(forged) + 2)
	w.wait(patientviews.PatientViews)
	check("after a restart")
}

// TestForgedRoleIsNotShown: a forged grant never appears in the directory of users.
func TestForgedRoleIsNotShown(t *testing.T) {
	w := newWorldAlone(t)
	w.record("user-mallory", "", user.Registered{User: "mallory", Name: "Mallory"})
	w.forge("user-mallory", "RoleGranted", user.RoleGranted{User: "mallory", Grant: user.Grant{Role: user.Investigator, Study: w.study}},
		w.metadataOf("", "bm8="))
	// A foreign stream may hold events that are called like ours.
	w.forge("crm-1", "RoleGranted", user.RoleGranted{User: "mallory", Grant: user.Grant{Role: user.Investigator, Study: w.study}},
		w.metadataOf("", ""))
	w.record("user-other", "", user.Registered{User: "other", Name: "Other"})
	stop := w.run()
	defer stop()
	w.wait(userviews.UserDirectory)
	if granted := w.count(userviews.UserDirectory, bson.D{{Key: "grants.role", Value: "investigator"}}); granted != 0 {
		t.Error("a forged role is shown in the directory of users")
	}
}

// count counts documents of a view's active build.
func (w *world) count(v readmodels.View, filter bson.D) int {
	w.t.Helper()
	n, err := w.store.Collection(v).CountDocuments(w.t.Context(), filter)
	if err != nil {
		w.t.Fatal(err)
	}
	return int(n)
}

// active returns the active build of a view.
func (w *world) active(v readmodels.View) readmodels.Build {
	w.t.Helper()
	builds, err := w.store.BuildsOf(w.t.Context(), v)
	if err != nil {
		w.t.Fatal(err)
	}
	return builds.Active
}
