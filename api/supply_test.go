package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	processviews "casebook/readmodels/process"
	safetyviews "casebook/readmodels/safety"
	supplyviews "casebook/readmodels/supply"
)

// newOpenTrial is a study in which all patients get the same drug, so that one of them can be given a kit: patient has
// K-1 of site 01, which expires first; the site is left with K-2.
func newOpenTrial(t testing.TB) trial {
	t.Helper()
	id := domain.StudyID(unique("T"))
	tr := trial{study: id, patient: domain.NewPatientID(id, "S-1"), kit: "K-1"}
	do(t, study.CreateStudy{InStudy: domain.ForStudy(id), Title: "An open trial", Sponsor: "Nobody", Phase: "II"})
	do(t, study.PublishProtocolVersion{InStudy: domain.ForStudy(id), Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
		Arms:        []study.Arm{{ID: "arm-a", Title: "A"}},
		Instruments: []instrument.Definition{*painDiary}, Treatment: &study.Treatment{Kits: true}}})
	do(t, study.AddSite{AtSite: domain.ForSite(id, "01"), Name: "Hospital 01", Country: "DE", Zone: "Europe/Berlin"})
	do(t, study.ActivateSite{AtSite: domain.ForSite(id, "01"), On: "2026-01-01"})
	do(t, enrollment.OpenEnrollment{InStudy: domain.ForStudy(id), Caps: enrollment.Caps{Target: 5, Study: 10}})
	do(t, supply.OpenDepot{InStudy: domain.ForStudy(id), Depot: "DEPOT", Name: "Depot"})
	do(t, supply.RegisterKits{InStudy: domain.ForStudy(id), Depot: "DEPOT",
		CSV: "kit,arm,lot,expiry,units\nK-1,arm-a,LOT-SECRET,2031-07-09,28\nK-2,arm-a,LOT-SECRET,2031-08-09,28\n" +
			"K-3,arm-a,LOT-SECRET,2031-08-09,28\n"})
	do(t, supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: id, Depot: "DEPOT"}, Delivery: 1})
	do(t, supply.ReleaseBatch{InStudy: domain.ForStudy(id), Lot: "LOT-SECRET", Certificate: "C"})
	tr.send(t, "DEPOT", "01", "K-1", "K-2")
	do(t, patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: "S-1", On: "2026-02-01"})
	do(t, patient.RecordConsent{OfPatient: domain.ForPatient(tr.patient), ConsentVersion: "1.0", On: "2026-02-01"})
	do(t, patient.EnrollPatient{OfPatient: domain.ForPatient(tr.patient), On: "2026-02-02"})
	do(t, enrollment.ReservePlace{InStudy: domain.ForStudy(id), Site: "01", OfPatient: domain.ForPatient(tr.patient)})
	do(t, supply.HoldStock{Study: id, Site: "01", OfPatient: domain.ForPatient(tr.patient)})
	do(t, supply.AllocateKit{Study: id, Site: "01", OfPatient: domain.ForPatient(tr.patient)})
	do(t, patient.ConfirmEnrollment{OfPatient: domain.ForPatient(tr.patient), PatientNumber: "1"})
	do(t, supply.DispenseKit{Site: "01", OfPatient: domain.ForPatient(tr.patient), Kit: "K-1", On: "2026-02-03"})
	do(t, supply.ReturnKit{Site: "01", OfPatient: domain.ForPatient(tr.patient), Kit: "K-1", On: "2026-03-03"})
	do(t, supply.ReconcileKit{Site: "01", OfPatient: domain.ForPatient(tr.patient), Kit: "K-1", Returned: 2, Used: 25, Lost: 1})
	tr.position = raise(t, tr, safety.PatientWithoutKit, "01", tr.patient, "There is no kit for patient "+string(tr.patient)+" at site 01.")
	tr.manager = account(t, "manager", user.Grant{Role: user.DataManager, Study: id})
	tr.crc = account(t, "crc", user.Grant{Role: user.CRC, Study: id, Site: "01"})
	return tr
}

// raise raises an alert as processes do, and returns its log position.
func raise(t testing.TB, tr trial, kind safety.Kind, site domain.SiteID, who domain.PatientID, summary string) uint64 {
	t.Helper()
	return do(t, safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: safety.AlertID(string(tr.study) + "." + unique("alert"))},
		Study: tr.study, Site: site, Patient: who, Kind: kind,
		Severity: safety.Routine, Summary: summary, Source: "test", OccurredAt: now}).Position
}

func TestSupplyManagersAreNotToldWhoGotAKit(t *testing.T) {
	c := serve(t, nil)
	tr := newOpenTrial(t)
	caughtUp(t, tr.position)
	base := "/api/v1/studies/" + string(tr.study)
	for _, x := range []struct {
		who   domain.UserID
		knows bool
	}{
		{tr.crc, true}, {tr.manager, true},
		{account(t, "supply", user.Grant{Role: user.SupplyManager, Study: tr.study}), false},
		{account(t, "unblinded", user.Grant{Role: user.UnblindedSupplyManager, Study: tr.study}), false},
	} {
		asker := c.as(x.who)
		for _, path := range []string{"/kits?location=01", "/kits/K-1", "/alerts?site=01", "/shipments?to=01", "/accountability",
			"/processes?site=01"} {
			r := asker.get(base + path)
			if r.StatusCode != http.StatusOK {
				t.Fatalf("%s is answered %d to %s: %s", path, r.StatusCode, x.who, r.body)
			}
			if told := strings.Contains(string(r.body), string(tr.patient)); told && !x.knows {
				t.Errorf("%s tells %s of the patient: %s", path, x.who, r.body)
			}
			for _, secret := range []string{"LOT-SECRET", "2031-07-09", "arm-a", "28"} {
				if text := strings.ReplaceAll(string(r.body), string(tr.study), ""); strings.Contains(withoutNumbers(t, text), secret) {
					t.Errorf("%s tells %s of %s: %s", path, x.who, secret, r.body)
				}
			}
		}
		kit := answered[supplyviews.Kit](asker, base+"/kits/K-1")
		if kit.Status != supply.KitIsReturned || kit.Location != "01" || kit.Patient != "" != x.knows || len(kit.Custody) != 9 {
			t.Errorf("%s sees the kit %+v", x.who, kit)
		}
		if list := answered[readmodels.List[safetyviews.Alert]](asker, base+"/alerts?site=01"); len(list.Items) != 1 ||
			list.Items[0].Patient != "" != x.knows {
			t.Errorf("%s sees the alerts %+v", x.who, list.Items)
		}
	}
}

// withoutNumbers is an answer without its log positions and times, in which any number may be.
func withoutNumbers(t *testing.T, text string) string {
	t.Helper()
	var strip func(any) any
	strip = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range []string{"position", "updatedAt", "recordedAt", "createdAt", "endedAt", "raisedAt", "reviewBy", "occurredAt",
				"next"} {
				delete(v, name)
			}
			for name := range v {
				v[name] = strip(v[name])
			}
		case []any:
			for i := range v {
				v[i] = strip(v[i])
			}
		}
		return v
	}
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(strip(value))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestKitsAreAccountedForByPlaceAndPatient(t *testing.T) {
	c := serve(t, nil)
	tr := newOpenTrial(t)
	caughtUp(t, tr.position)
	base := "/api/v1/studies/" + string(tr.study) + "/accountability"
	places := func(who domain.UserID) map[supply.LocationID]map[supply.KitStatus]int {
		all := map[supply.LocationID]map[supply.KitStatus]int{}
		for _, a := range answered[supplyviews.AccountabilityList](c.as(who), base).Items {
			all[a.Location] = a.Statuses
		}
		return all
	}
	if all := places(tr.manager); len(all) != 2 || all["DEPOT"][supply.KitAvailable] != 1 || all["01"][supply.KitIsReturned] != 1 ||
		all["01"][supply.KitAvailable] != 1 {
		t.Errorf("a data manager sees %v", all)
	}
	if own := places(tr.crc); len(own) != 1 || len(own["01"]) != 2 {
		t.Errorf("a coordinator of site 01 sees %v", own)
	}
	list := answered[readmodels.List[supplyviews.PatientAccountability]](c.as(tr.crc), base+"/patients?site=01")
	want := supplyviews.PatientAccountability{Patient: tr.patient, Site: "01", Allocated: 1, Dispensed: 1, CameBack: 1, Reconciled: 1,
		Returned: 2, Used: 25, Lost: 1}
	if len(list.Items) != 1 || list.Items[0] != want {
		t.Errorf("the patients' kits are accounted for as %+v", list.Items)
	}
}

// TestR4_WhoSeesOneEndOfAWaySeesTheShipment, and nobody else at a site does; kits are seen where they are.
func TestR4_WhoSeesOneEndOfAWaySeesTheShipment(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t).supplied(t)
	created, ok := do(t, supply.CreateShipment{FromLocation: supply.FromLocation{Study: tr.study, From: "01"}, To: "DEPOT",
		Kits: []supply.KitNumber{"K-1"}, Reasoned: domain.Because("too many")}).Events[0].Data.(supply.ShipmentCreated)
	if !ok {
		t.Fatal("no shipment was made")
	}
	tr.position = do(t, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: tr.study, From: "01"}, Shipment: created.Shipment,
		On: "2026-02-03"}).Position
	caughtUp(t, tr.position)
	base := "/api/v1/studies/" + string(tr.study)
	for _, x := range []struct {
		who   domain.UserID
		path  string
		sees  int
		field string
	}{
		{tr.manager, "/shipments", 2, ""}, {tr.manager, "/shipments?status=dispatched", 1, ""}, {tr.manager, "/shipments?to=DEPOT&from=01", 1,
			""},
		{tr.crc, "/shipments?to=01", 1, ""}, {tr.crc, "/shipments?from=01", 1, ""}, {tr.crc, "/shipments?to=DEPOT&from=01", 1, ""},
		{tr.crc, "/shipments?from=DEPOT&to=01", 1, ""}, {tr.otherCRC, "/shipments?to=02", 0, ""},
		{tr.crc, "/shipments", -1, "to"}, {tr.crc, "/shipments?to=DEPOT", -1, ""}, {tr.otherCRC, "/shipments?to=01", -1, ""}, {tr.otherCRC,
			"/shipments?to=DEPOT&from=01", -1, ""},
		{tr.manager, "/kits", 4, ""}, {tr.manager, "/kits?status=in_transit", 1, ""}, {tr.crc, "/kits?location=01&status=available", 1,
			""}, {tr.crc, "/kits?location=01", 2, ""},
		{tr.crc, "/kits", -1, "location"}, {tr.crc, "/kits?location=DEPOT", -1, ""}, {tr.otherCRC, "/kits?location=01", -1, ""},
	} {
		r := c.as(x.who).get(base + x.path)
		if x.sees < 0 {
			status, code := http.StatusForbidden, "not_allowed"
			if x.field != "" { // it is left out, so nothing was tried
				status, code = http.StatusBadRequest, "value_missing"
			}
			if p := r.refused(t, status, code); p.Field != x.field || x.field != "" && !strings.Contains(p.Remedy, "?"+x.field+"=01") {
				t.Errorf("%s for %s: field %q, remedy %q", x.path, x.who, p.Field, p.Remedy)
			}
			continue
		}
		if r.StatusCode != http.StatusOK {
			t.Fatalf("%s is answered %d to %s: %s", x.path, r.StatusCode, x.who, r.body)
		}
		if list := read[readmodels.List[json.RawMessage]](t, r); len(list.Items) != x.sees {
			t.Errorf("%s shows %s %d items: %s", x.path, x.who, len(list.Items), r.body)
		}
	}
	c.as(tr.crc).get(base+"/kits/K-2").refused(t, http.StatusForbidden, "not_allowed") // in the depot
	c.as(tr.otherCRC).get(base+"/kits/"+string(tr.kit)).refused(t, http.StatusForbidden, "not_allowed")
	c.as(tr.manager).get(base+"/kits/K-99").refused(t, http.StatusNotFound, "kit_not_found")
	c.as(tr.manager).get(base+"/kits/K_99").refused(t, http.StatusBadRequest, "malformed_id")
	c.as(tr.manager).get(base+"/shipments?to=a.b").refused(t, http.StatusBadRequest, "malformed_id")
	c.as(tr.manager).get(base+"/kits?site=01").refused(t, http.StatusBadRequest, "unknown_parameter")
}

func TestAlertsAreForThoseWhoCanSeeToThem(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	raise(t, tr, safety.KitsAffected, "01", "", "Kits were set aside.")
	tr.position = raise(t, tr, safety.ResupplyShort, "", "", "Depot DEPOT has not enough kits for site 01.")
	caughtUp(t, tr.position)
	base := "/api/v1/studies/" + string(tr.study) + "/alerts"
	officer := account(t, "officer", user.Grant{Role: user.SafetyOfficer, Study: tr.study})
	supplier := account(t, "supply", user.Grant{Role: user.SupplyManager, Study: tr.study})
	for _, x := range []struct {
		who   domain.UserID
		query string
		kinds []safety.Kind
	}{
		{officer, "", []safety.Kind{safety.RiskFlagged, safety.KitsAffected, safety.ResupplyShort}},
		{officer, "?kind=resupply_short", []safety.Kind{safety.ResupplyShort}},
		{officer, "?status=closed", nil},
		{tr.crc, "?site=01", []safety.Kind{safety.RiskFlagged, safety.KitsAffected}},
		{tr.otherCRC, "?site=02", nil},
		{supplier, "", []safety.Kind{safety.KitsAffected, safety.ResupplyShort}},
		{supplier, "?site=01", []safety.Kind{safety.KitsAffected}},
		{supplier, "?kind=risk_flagged", nil},
	} {
		var kinds []safety.Kind
		for _, a := range answered[readmodels.List[safetyviews.Alert]](c.as(x.who), base+x.query).Items {
			kinds = append(kinds, a.Kind)
		}
		if !slices.Equal(kinds, x.kinds) {
			t.Errorf("%s sees of %q the alerts %v, want %v", x.who, x.query, kinds, x.kinds)
		}
	}
	c.as(tr.crc).get(base).refused(t, http.StatusBadRequest, "value_missing")
	c.as(tr.crc).get(base+"?site=02").refused(t, http.StatusForbidden, "not_allowed")
	c.as(tr.crc).accepted(safety.ReviewAlert{OfAlert: safety.OfAlert{Alert: tr.alert}, Note: "called"})
	position := c.as(officer).accepted(safety.CloseAlert{OfAlert: safety.OfAlert{Alert: tr.alert}, Outcome: "fine"}).Position
	caughtUp(t, position)
	closed := answered[readmodels.List[safetyviews.Alert]](c.as(officer), base+"?status=closed").Items
	if len(closed) != 1 || closed[0].ReviewedBy != tr.crc || closed[0].Note != "called" || closed[0].ClosedBy != officer ||
		closed[0].Outcome != "fine" {
		t.Errorf("the closed alerts are %+v", closed)
	}
}

// TestProcessesAndWhatTheyCouldNotDo: a step and a parked message are shown, and a decision about the message.
func TestProcessesAndWhatTheyCouldNotDo(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	step := func(of process.Instance, site domain.SiteID, outcome process.Outcome) {
		t.Helper()
		sendAs(t, "TakeStep", process.TakeStep{Step: process.StepTaken{Instance: of, Study: tr.study, Site: site, Trigger: unique("event"),
			TriggerType: "PlaceReserved", Stage: "stock",
			Outcome: outcome, Commands: []process.Command{{Name: "HoldStock", Body: []byte(`{}`)}}}, Set: []process.Timer{{Name: "answer",
			At: now}}})
	}
	step(process.Instance{Process: "enrollment", Of: string(tr.patient)}, "01", "")
	step(process.Instance{Process: "enrollment", Of: string(tr.other)}, "02", process.Failed)
	step(process.Instance{Process: "resupply", Of: string(tr.study) + ".01"}, "DEPOT", "")
	parked := process.Parked{Process: "safety", Event: unique("event")}
	tr.position = sendAs(t, "ParkMessage", process.ParkMessage{Message: process.MessageParked{Parked: parked, Study: tr.study,
		Stream: "diary-x", Type: "RiskFlagged", Reason: "no such site"}})
	caughtUp(t, tr.position)
	base := "/api/v1/studies/" + string(tr.study)
	supplier := account(t, "supply", user.Grant{Role: user.SupplyManager, Study: tr.study})
	for _, x := range []struct {
		who   domain.UserID
		query string
		of    []string
	}{
		{tr.manager, "", []string{string(tr.study) + ".01", string(tr.other), string(tr.patient)}},
		{tr.manager, "?process=enrollment", []string{string(tr.other), string(tr.patient)}},
		{tr.manager, "?outcome=failed", []string{string(tr.other)}},
		{tr.manager, "?outcome=under_way&process=enrollment", []string{string(tr.patient)}},
		{tr.crc, "?site=01", []string{string(tr.study) + ".01", string(tr.patient)}},
		{tr.manager, "?patient=" + string(tr.other), []string{string(tr.other)}},
		{tr.manager, "?outcome=under_way&patient=" + string(tr.other), nil},
		{tr.manager, "?process=enrollment&sort=longest&patient=" + string(tr.patient), []string{string(tr.patient)}},
		{tr.crc, "?site=01&patient=" + string(tr.patient), []string{string(tr.patient)}},
		{tr.crc, "?site=01&patient=" + string(tr.other), nil}, // of another site
		{supplier, "", []string{string(tr.study) + ".01"}},
		{supplier, "?patient=" + string(tr.patient), nil},
		{supplier, "?process=enrollment", nil},
		{supplier, "?process=resupply", []string{string(tr.study) + ".01"}},
	} {
		var of []string
		for _, p := range answered[readmodels.List[processviews.Process]](c.as(x.who), base+"/processes"+x.query).Items {
			of = append(of, p.Of)
			if len(p.Timers) != 1 || len(p.Asked) != 1 || p.Asked[0] != "HoldStock" {
				t.Errorf("a process is shown as %+v", p)
			}
		}
		slices.Sort(of)
		slices.Sort(x.of)
		if !slices.Equal(of, x.of) {
			t.Errorf("%s sees of %q the processes of %v, want %v", x.who, x.query, of, x.of)
		}
	}
	manager := c.as(tr.manager)
	if waiting := answered[readmodels.List[processviews.ParkedMessage]](manager,
		base+"/parked-messages?status=waiting").Items; len(waiting) != 1 || waiting[0].Event != parked.Event {
		t.Errorf("waiting are %+v", waiting)
	}
	position := manager.accepted(process.AbandonParkedMessage{InStudy: domain.ForStudy(tr.study), Process: parked.Process,
		Event: parked.Event, Reasoned: domain.Because("done by hand")}).Position
	caughtUp(t, position)
	if gone := answered[readmodels.List[processviews.ParkedMessage]](manager,
		base+"/parked-messages?status=abandoned").Items; len(gone) != 1 || gone[0].DecidedBy != tr.manager ||
		gone[0].Decision != "done by hand" {
		t.Errorf("given up are %+v", gone)
	}
	manager.command(process.RetryParkedMessage{InStudy: domain.ForStudy(tr.study), Process: parked.Process, Event: parked.Event,
		Reasoned: domain.Because("r")}).refused(t, http.StatusNotFound, "message_not_parked")
}

// sendAs sends a command of the machinery of processes, by its name, and returns the log position.
func sendAs(t testing.TB, name string, command any) uint64 {
	t.Helper()
	body, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := the.handler.Do(t.Context(), commands.Request{Name: name, Body: body, Principal: access.Process("test")})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return answer.Position
}
