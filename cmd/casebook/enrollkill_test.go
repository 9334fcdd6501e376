package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
	patientviews "casebook/readmodels/patient"
)

// TestKilledWhileEnrolling kills the whole process again and again while patients are enrolled, with draw and kit, and
// finds at the end that everybody has one place, one arm and one kit.
func TestKilledWhileEnrolling(t *testing.T) {
	const id = domain.StudyID("K2")
	const rounds, each = 6, 5
	dir := t.TempDir()
	tokens, err := loadTokens(filepath.Join(dir, "token.key"))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(u domain.UserID) string {
		token, err := tokens.SignFor(u, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	c := spawn(t, dir)
	in := installation{t: t, url: c.url}
	supplied(in, id, sign, rounds*each)
	who := func(i int) domain.PatientID { return domain.NewPatientID(id, fmt.Sprint(i)) }
	for round := range rounds {
		for i := round * each; i < (round+1)*each; i++ {
			in.must(sign("crc"), patient.EnrollPatient{OfPatient: domain.ForPatient(who(i)), On: "2026-01-02", Factors: map[string]string{"age": []string{"young", "old"}[i%2]}})
		}
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond) // the moment of the kill is the point
		c.kill()
		c = spawn(t, dir)
		in.url = c.url
	}
	crc := sign("crc")
	for i := range rounds * each {
		status := patient.Status("")
		for began := time.Now(); status != patient.StatusEnrolled && time.Since(began) < 30*time.Second; time.Sleep(5 * time.Millisecond) {
			var v patientviews.PatientView
			in.query(crc, "/api/v1/patients/"+string(who(i)), 0, &v)
			status = v.Status
		}
		if status != patient.StatusEnrolled {
			t.Errorf("%s is %s", who(i), status)
		}
	}
	c.kill()
	final := startIn(t, dir)
	places, draws, kits, of := map[domain.PatientID]int{}, map[domain.PatientID]int{}, map[domain.PatientID]int{}, map[supply.KitNumber]domain.PatientID{}
	var drawn []randomisation.Event
	final.eachEvent(t, func(r eventlog.Recorded) {
		switch e := r.Event.(type) {
		case enrollment.PlaceReserved:
			places[e.Patient]++
		case enrollment.PlaceReleased:
			t.Errorf("the place of %s was given back", e.Patient)
		case randomisation.PatientRandomised:
			draws[e.Patient]++
		case supply.KitAllocated:
			kits[e.Patient]++
			if other, has := of[e.Kit]; has {
				t.Errorf("kit %s has two patients, %s and %s", e.Kit, other, e.Patient)
			}
			of[e.Kit] = e.Patient
		}
		if e, ok := r.Event.(randomisation.Event); ok {
			drawn = append(drawn, e)
		}
	})
	for i := range rounds * each {
		if p := who(i); places[p] != 1 || draws[p] != 1 || kits[p] != 1 {
			t.Errorf("%s has %d places, %d arms and %d kits", p, places[p], draws[p], kits[p])
		}
	}
	if err := randomisation.Replay(drawn); err != nil {
		t.Errorf("R38: the draws cannot be repeated from the log: %v", err)
	}
}

// supplied makes a study that randomises and gives kits, with enough of them at its site, and patients who have
// consented.
func supplied(in installation, id domain.StudyID, sign func(domain.UserID) string, patients int) {
	in.t.Helper()
	admin := sign(demoAdmin)
	for name, role := range map[domain.UserID]user.Grant{"manager": {Role: user.DataManager}, "crc": {Role: user.CRC, Site: "01"},
		"supplier": {Role: user.UnblindedSupplyManager}, "statistician": {Role: user.Statistician}} {
		role.Study = id
		in.must(admin, user.RegisterUser{OfUser: domain.ForUser(name), Name: string(name)})
		in.must(admin, user.GrantRole{OfUser: domain.ForUser(name), Grant: role})
	}
	manager, crc, supplier, statistician := sign("manager"), sign("crc"), sign("supplier"), sign("statistician")
	for _, command := range []any{
		study.CreateStudy{InStudy: domain.ForStudy(id), Title: "x", Sponsor: "y"},
		study.PublishProtocolVersion{InStudy: domain.ForStudy(id), Protocol: study.Protocol{Version: 1, ConsentVersion: "1", Arms: []study.Arm{{ID: "X"}, {ID: "Y"}},
			Treatment: &study.Treatment{Randomised: true, Kits: true, Factors: []study.Factor{{ID: "age", Levels: []string{"young", "old"}}}}}},
		study.AddSite{InStudy: domain.ForStudy(id), Site: "01", Name: "Site", Country: "DE", Zone: "UTC"},
		study.ActivateSite{InStudy: domain.ForStudy(id), Site: "01", On: "2020-01-01"},
		enrollment.OpenEnrollment{InStudy: domain.ForStudy(id), Caps: enrollment.Caps{Target: 50, Study: 500}},
	} {
		in.must(manager, command)
	}
	status, _, text := in.command(statistician, "", randomisation.DefineMinimisation{InStudy: domain.ForStudy(id), Scheme: "m", Ratio: map[domain.ArmID]int{"X": 1, "Y": 1},
		Metric: randomisation.MetricRange, P: 0.8})
	var defined struct {
		Events []struct {
			Data struct {
				SeedCommitment string `json:"seedCommitment"`
			} `json:"data"`
		} `json:"events"`
	}
	if err := json.Unmarshal([]byte(text), &defined); err != nil || status != http.StatusOK {
		in.t.Fatal(err, text)
	}
	status, _, text = in.command(statistician, "", randomisation.ActivateRandomisation{InStudy: domain.ForStudy(id), Scheme: "m", SHA256: "wrong"})
	if status != http.StatusUnprocessableEntity || !strings.Contains(text, "hash_differs") {
		in.t.Errorf("a wrong commitment was answered %d %s", status, text)
	}
	in.must(statistician, randomisation.ActivateRandomisation{InStudy: domain.ForStudy(id), Scheme: "m", SHA256: defined.Events[0].Data.SeedCommitment})
	in.must(supplier, supply.OpenDepot{InStudy: domain.ForStudy(id), Depot: "D", Name: "Depot"})
	var csv strings.Builder
	var kits []supply.KitNumber
	csv.WriteString("kit,arm,lot,expiry\n")
	for i, k := range rand.New(rand.NewPCG(1, 1)).Perm(2 * (patients + 10)) {
		fmt.Fprintf(&csv, "%04d,%s,L1,2099-01-01\n", i, []string{"X", "Y"}[k%2])
		kits = append(kits, supply.KitNumber(fmt.Sprintf("%04d", i)))
	}
	in.must(supplier, supply.RegisterKits{InStudy: domain.ForStudy(id), Depot: "D", CSV: csv.String()})
	in.must(supplier, supply.ReleaseBatch{InStudy: domain.ForStudy(id), Lot: "L1", Certificate: "c"})
	for range 200 { // a process takes the delivery in
		if status, _, text = in.command(supplier, "", supply.CreateShipment{FromLocation: supply.FromLocation{Study: id, From: "D"}, To: "01", Kits: kits, Reasoned: domain.Because("x")}); status == http.StatusOK {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if status != http.StatusOK {
		in.t.Fatal(text)
	}
	in.must(supplier, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: id, From: "D"}, Shipment: "D-0001", On: "2026-01-01"})
	in.must(crc, supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: id, Location: "01"}, From: "D", Shipment: "D-0001", On: "2026-01-01", Temperature: supply.TemperatureInRange})
	for i := range patients {
		in.must(crc, patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: fmt.Sprint(i), On: "2026-01-01"})
		in.must(crc, patient.RecordConsent{OfPatient: domain.ForPatient(domain.NewPatientID(id, fmt.Sprint(i))), ConsentVersion: "1", On: "2026-01-01"})
	}
}
