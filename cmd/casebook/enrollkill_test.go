package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
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

// TestKilledWhileEnrolling kills the server repeatedly while patients are enrolled, randomised and given a kit. At the
// end each patient has to have exactly one place, one arm and one kit.
func TestKilledWhileEnrolling(t *testing.T) {
	const id = domain.StudyID("K2")
	const rounds, each = 6, 5
	dir := t.TempDir()
	sign := signer(t, dir)
	c := spawn(t, dir)
	in := installation{t: t, url: c.url}
	setUpSupply(in, id, sign, rounds*each)
	who := func(i int) domain.PatientID { return domain.NewPatientID(id, fmt.Sprint(i)) }
	for round := range rounds {
		for i := round * each; i < (round+1)*each; i++ {
			in.must(sign("crc"), patient.EnrollPatient{
				OfPatient: domain.ForPatient(who(i)), On: "2026-01-02", Factors: map[string]string{"age": []string{"young", "old"}[i%2]},
			})
		}
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond) // a random moment for the kill
		c.kill()
		c = spawn(t, dir)
		in.url = c.url
	}
	crc := sign("crc")
	for i := range rounds * each {
		status := patient.Status("")
		for began := time.Now(); status != patient.StatusEnrolled && time.Since(began) < 30*time.Second; {
			var v patientviews.PatientDocument
			in.query(crc, "/api/v1/patients/"+string(who(i)), 0, &v)
			status = v.Status
			time.Sleep(5 * time.Millisecond)
		}
		if status != patient.StatusEnrolled {
			t.Errorf("%s is %s", who(i), status)
		}
	}
	c.kill()
	final := startIn(t, dir)
	places, draws, kits := map[domain.PatientID]int{}, map[domain.PatientID]int{}, map[domain.PatientID]int{}
	of := map[supply.KitNumber]domain.PatientID{}
	var drawn []randomisation.Event
	final.eachEvent(t, func(r eventlog.Recorded) {
		switch e := r.Event.(type) {
		case enrollment.PlaceReserved:
			places[e.Patient]++
		case enrollment.PlaceReleased:
			t.Errorf("the place of %s was released", e.Patient)
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
			t.Errorf("%s has %d places, %d arms and %d kits, want one of each", p, places[p], draws[p], kits[p])
		}
	}
	if err := randomisation.Replay(drawn); err != nil {
		t.Errorf("R38: the draws cannot be repeated from the log: %v", err)
	}
}

// setUpSupply creates a study with randomisation and kits, enough kits at its site, and patients who have consented.
func setUpSupply(in installation, id domain.StudyID, sign func(domain.UserID) string, patients int) {
	in.t.Helper()
	admin := sign(demoAdmin)
	for name, grant := range map[domain.UserID]user.Grant{
		"manager": {Role: user.DataManager, Study: id}, "crc": {Role: user.CRC, Study: id, Site: "01"},
		"supplier": {Role: user.UnblindedSupplyManager, Study: id}, "statistician": {Role: user.Statistician, Study: id},
	} {
		in.must(admin, user.RegisterUser{OfUser: domain.ForUser(name), Name: string(name)})
		in.must(admin, user.GrantRole{OfUser: domain.ForUser(name), Grant: grant})
		if grant.Role.NeedsTwoPeople() {
			in.must(sign(demoDeputy), user.ConfirmAccount{OfUser: domain.ForUser(name)})
			in.must(sign(demoDeputy), user.ConfirmRole{OfUser: domain.ForUser(name), Grant: grant})
		}
	}
	manager, inStudy := sign("manager"), domain.ForStudy(id)
	for _, command := range []any{
		study.CreateStudy{InStudy: inStudy, Title: "x", Sponsor: "y"},
		study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{
			Version: 1, ConsentVersion: "1", Arms: []study.Arm{{ID: "X"}, {ID: "Y"}},
			Treatment: &study.Treatment{
				Randomised: true, Kits: true, Factors: []study.Factor{{ID: "age", Levels: []string{"young", "old"}}},
			},
		}},
		study.AddSite{AtSite: domain.ForSite(inStudy.Study, "01"), Name: "Site", Country: "DE", Zone: "UTC"},
		study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, "01"), On: "2020-01-01"},
		enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 50, Study: 500}},
	} {
		in.must(manager, command)
	}
	minimise(in, id, sign("statistician"))
	supplySite(in, id, sign("supplier"), sign("crc"), 2*(patients+10))
	crc := sign("crc")
	for i := range patients {
		of := domain.ForPatient(domain.NewPatientID(id, fmt.Sprint(i)))
		in.must(crc, patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: fmt.Sprint(i), On: "2026-01-01"})
		in.must(crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1", On: "2026-01-01"})
	}
}

// minimise defines a minimisation and activates it with its commitment.
func minimise(in installation, id domain.StudyID, statistician string) {
	in.t.Helper()
	status, _, text := in.command(statistician, "", randomisation.DefineMinimisation{
		InStudy: domain.ForStudy(id), Scheme: "m", Ratio: map[domain.ArmID]int{"X": 1, "Y": 1},
		Metric: randomisation.MetricRange, P: 0.8,
	})
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
	activate := randomisation.ActivateRandomisation{InStudy: domain.ForStudy(id), Scheme: "m", SHA256: "wrong"}
	status, _, text = in.command(statistician, "", activate)
	if status != http.StatusUnprocessableEntity || !strings.Contains(text, "hash_differs") {
		in.t.Errorf("a wrong commitment was answered %d %s", status, text)
	}
	activate.SHA256 = defined.Events[0].Data.SeedCommitment
	in.must(statistician, activate)
}

// supplySite opens a depot with kits, and ships all of them to site 01.
func supplySite(in installation, id domain.StudyID, supplier, crc string, count int) {
	in.t.Helper()
	inStudy, fromDepot := domain.ForStudy(id), supply.FromLocation{Study: id, From: "D"}
	in.must(supplier, supply.OpenDepot{InStudy: inStudy, Depot: "D", Name: "Depot"})
	var csv strings.Builder
	var kits []supply.KitNumber
	csv.WriteString("kit,arm,lot,expiry\n")
	for i, k := range rand.New(rand.NewPCG(1, 1)).Perm(count) {
		fmt.Fprintf(&csv, "%04d,%s,L1,2099-01-01\n", i, []string{"X", "Y"}[k%2])
		kits = append(kits, supply.KitNumber(fmt.Sprintf("%04d", i)))
	}
	in.must(supplier, supply.RegisterKits{InStudy: inStudy, Depot: "D", CSV: csv.String()})
	in.must(supplier, supply.ReleaseBatch{InStudy: inStudy, Lot: "L1", Certificate: "c"})
	number := 0
	for shipped := range slices.Chunk(kits, 1_000) { // no shipment is larger
		number++
		shipment := fmt.Sprintf("D-%04d", number)
		in.ship(supplier, supply.CreateShipment{FromLocation: fromDepot, To: "01", Kits: shipped, Reasoned: domain.Because("x")})
		in.must(supplier, supply.DispatchShipment{FromLocation: fromDepot, Shipment: supply.ShipmentID(shipment), On: "2026-01-01"})
		in.must(crc, supply.ReceiveShipment{
			AtLocation: supply.AtLocation{Study: id, Location: "01"}, From: "D", Shipment: supply.ShipmentID(shipment), On: "2026-01-01",
			Temperature: supply.TemperatureInRange,
		})
	}
}

// ship creates a shipment as soon as a process has taken the delivery into stock.
func (in installation) ship(supplier string, shipment supply.CreateShipment) {
	in.t.Helper()
	var status int
	var text string
	for range 200 {
		if status, _, text = in.command(supplier, "", shipment); status == http.StatusOK {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	in.t.Fatal(text)
}
