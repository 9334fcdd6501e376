package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"image"
	"image/png"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/form"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
)

// trial is a study of its own with two sites and an enrolled patient at each.
type trial struct {
	study domain.StudyID
	// patient is at site 01, other at site 02.
	patient, other domain.PatientID
	// manager works across the study; crc and otherCRC at sites 01 and 02; self is the patient's own account.
	manager, crc, otherCRC, self domain.UserID
	// alert is about the patient. kit is at site 01 once the trial is supplied.
	alert safety.AlertID
	kit   supply.KitNumber
	// position is the log position of the last event.
	position uint64
}

var painDiary = instrument.PainDiary()

// publishIllustrated publishes the pain diary with an image, and returns the reference to it.
func publishIllustrated(t testing.TB, of domain.StudyID) []instrument.Reference {
	t.Helper()
	do(t, instrument.PublishImage{InStudy: domain.ForStudy(of), Content: dot, Alt: "A dot"})
	d := instrument.PainDiary()
	d.Items[0].Image = &instrument.Image{SHA256: dotHash, Alt: "A dot"}
	do(t, instrument.PublishInstrument{InStudy: domain.ForStudy(of), Instrument: *d})
	hash, err := d.SHA256()
	if err != nil {
		t.Fatal(err)
	}
	return []instrument.Reference{{ID: d.ID, Version: d.Version, SHA256: hash}}
}

// dot is an image, and dotHash its hash.
var dot, dotHash = func() ([]byte, string) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return b.Bytes(), hex.EncodeToString(sum[:])
}()

func newTrial(t testing.TB) trial {
	t.Helper()
	id := domain.StudyID(unique("T"))
	tr := trial{study: id, patient: domain.NewPatientID(id, "S-1"), other: domain.NewPatientID(id, "S-2")}
	do(t, study.CreateStudy{InStudy: domain.ForStudy(id), Title: "A trial", Sponsor: "Nobody", Phase: "II"})
	do(t, study.PublishProtocolVersion{InStudy: domain.ForStudy(id), Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
		Arms: []study.Arm{{ID: "arm-a", Title: "A"}, {ID: "arm-b", Title: "B"}}, InstrumentReferences: publishIllustrated(t, id)}})
	drawUp(t, id)
	for _, site := range []domain.SiteID{"01", "02"} {
		do(t, study.AddSite{AtSite: domain.ForSite(id, site), Name: "Hospital " + string(site), Country: "DE", Zone: "Europe/Berlin"})
		do(t, study.ActivateSite{AtSite: domain.ForSite(id, site), On: "2026-01-01"})
	}
	do(t, enrollment.OpenEnrollment{InStudy: domain.ForStudy(id), Caps: enrollment.Caps{Target: 5, Study: 10}})
	tr.position = enrol(t, tr.patient, "01", "S-1", "1")
	tr.position = enrol(t, tr.other, "02", "S-2", "2")
	tr.alert = safety.AlertID(string(id) + ".alert")
	tr.position = do(t, safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: tr.alert}, Study: id, Site: "01", Patient: tr.patient,
		Kind: safety.RiskFlagged, Severity: safety.Urgent,
		Summary: "A diary of patient " + string(tr.patient) + " crossed a risk rule.", Source: "diary", OccurredAt: now}).Position
	tr.manager = account(t, "manager", user.Grant{Role: user.DataManager, Study: id})
	tr.crc = account(t, "crc", user.Grant{Role: user.CRC, Study: id, Site: "01"})
	tr.otherCRC = account(t, "crc", user.Grant{Role: user.CRC, Study: id, Site: "02"})
	tr.self = account(t, "patient", user.Grant{Role: user.PatientRole, Study: id, Patient: tr.patient})
	return tr
}

// drawUp seals a build with one form.
func drawUp(t testing.TB, of domain.StudyID) {
	t.Helper()
	first := build.ForBuild(of, 1)
	do(t, build.CreateBuildDraft{OfBuild: first, Title: "First build"})
	do(t, build.PutCodeList{OfBuild: first, List: form.CodeList{ID: "position", Options: []form.Option{{Value: "supine"}}}})
	do(t, build.PutForm{OfBuild: first, Form: build.Form{ID: "VS", Title: form.Plain("Vital signs"), Kind: build.VisitForm,
		Groups: []build.Group{{ID: "VS", Title: form.Plain("Vital signs"), Items: []build.Item{
			{Item: form.Item{ID: "POS", Text: form.Plain("Position"), Type: form.Choice, List: "position"}}}}}}})
	do(t, build.SealBuild{OfBuild: first})
}

// enrol takes a patient through to an assigned diary, as site and processes do, and returns the last log position.
func enrol(t testing.TB, id domain.PatientID, site domain.SiteID, screening, number string) uint64 {
	t.Helper()
	do(t, patient.ScreenPatient{AtSite: domain.ForSite(id.Study(), site), ScreeningNumber: screening, On: "2026-02-01"})
	do(t, patient.RecordConsent{OfPatient: domain.ForPatient(id), ConsentVersion: "1.0", On: "2026-02-01"})
	do(t, patient.EnrollPatient{OfPatient: domain.ForPatient(id), On: "2026-02-02"})
	do(t, enrollment.ReservePlace{InStudy: domain.ForStudy(id.Study()), Site: site, OfPatient: domain.ForPatient(id)})
	do(t, patient.ConfirmEnrollment{OfPatient: domain.ForPatient(id), PatientNumber: number})
	return do(t, diary.AssignInstrument{OfPatient: domain.ForPatient(id), Instrument: painDiary.ID, From: "2026-02-03",
		Until: "2026-12-31", On: "2026-02-03"}).Position
}

// supplied sends kits of both arms from a depot to site 01.
func (tr trial) supplied(t testing.TB) trial {
	t.Helper()
	tr.kit = "K-3"
	do(t, supply.OpenDepot{InStudy: domain.ForStudy(tr.study), Depot: "DEPOT", Name: "Depot"})
	do(t, supply.RegisterKits{InStudy: domain.ForStudy(tr.study), Depot: "DEPOT",
		CSV: "kit,arm,lot,expiry\nK-1,arm-a,L1,2027-01-01\nK-2,arm-b,L1,2027-01-01\n" +
			"K-3,arm-b,L1,2027-01-01\nK-4,arm-a,L1,2027-01-01\n"})
	do(t, supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: tr.study, Depot: "DEPOT"}, Delivery: 1})
	do(t, supply.ReleaseBatch{InStudy: domain.ForStudy(tr.study), Lot: "L1", Certificate: "C-1"})
	tr.position = tr.send(t, "DEPOT", "01", "K-1", tr.kit)
	return tr
}

// send has kits sent and received, and returns the last log position.
func (tr trial) send(t testing.TB, from, to supply.LocationID, kits ...supply.KitNumber) uint64 {
	t.Helper()
	made := do(t, supply.CreateShipment{FromLocation: supply.FromLocation{Study: tr.study, From: from}, To: to, Kits: kits,
		Reasoned: domain.Because("initial supply")})
	created, ok := made.Events[0].Data.(supply.ShipmentCreated)
	if !ok {
		t.Fatalf("a shipment is answered with %+v", made.Events)
	}
	do(t, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: tr.study, From: from}, Shipment: created.Shipment,
		On: "2026-02-01"})
	return do(t, supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: tr.study, Location: to}, From: from,
		Shipment: created.Shipment, On: "2026-02-02", Temperature: supply.TemperatureInRange}).Position
}

// entry is a complete diary of the evening of a day in February.
func (tr trial) entry(day int) diary.SubmitDiary {
	return diary.SubmitDiary{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary.ID, CapturedAt: time.Date(2026, 2, day, 20, 30,
		0, 0, time.FixedZone("", 3600)),
		Zone: "Europe/Berlin", Answers: diary.Answers{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}}
}

// transcription is the diary of an evening as the site has it from paper.
func (tr trial) transcription(day int) diary.TranscribeDiary {
	e := tr.entry(day)
	return diary.TranscribeDiary{OfPatient: e.OfPatient, Instrument: e.Instrument, AnsweredAt: e.CapturedAt, Answers: e.Answers,
		Source: diary.SourcePaper, Respondent: diary.RespondentPatient, Reasoned: domain.Because("The phone was broken")}
}

// path is that of a query about the trial.
func (tr trial) path(q readmodels.Query) string {
	return strings.NewReplacer("{version}", "1", "{study}", string(tr.study), "{patient}", string(tr.patient), "{kit}", string(tr.kit),
		"{site}", "01", "{account}", string(tr.crc), "{instrument}", string(painDiary.ID), "{sha256}", dotHash, "{build}", "1", "{form}", "VS",
		"{kind}", "form", "{part}", "VS").Replace(q.Path)
}

func patientID(tr trial, number string) domain.PatientID {
	return domain.NewPatientID(tr.study, number)
}

// processPrincipal is one of the product's own processes.
var processPrincipal = access.Process("test")

// caughtUp waits until all views have seen a log position.
func caughtUp(t testing.TB, position uint64) {
	t.Helper()
	for _, v := range contexts.Views() {
		if err := the.store.WaitFor(t.Context(), v, position); err != nil {
			t.Fatal(err)
		}
	}
}
