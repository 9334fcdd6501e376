package api

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/safety"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	safetyviews "casebook/readmodels/safety"
	supplyviews "casebook/readmodels/supply"

	"github.com/google/uuid"
)

// TestPatientsAreFoundByTheirNumbers in capital and small letters, where the asker may see the patient.
func TestPatientsAreFoundByTheirNumbers(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	path := "/api/v1/studies/" + string(tr.study) + "/patients"
	for query, want := range map[string]domain.PatientID{"number=s-1": tr.patient, "number=S-2": tr.other, "number=2": tr.other,
		"number=S-1&sort=active": tr.patient, "number=S-1&status=screened": "", "number=S": "", "number=S-1&site=02": ""} {
		l := read[readmodels.List[patientviews.PatientRow]](t, c.as(tr.manager).get(path+"?total=count&"+query))
		if (want == "") != (len(l.Items) == 0) || want != "" && l.Items[0].Patient != want || l.Total == nil || l.Total.Items != len(l.Items) {
			t.Errorf("%s finds %+v of %+v, not %s", query, l.Items, l.Total, want)
		}
	}
	if l := read[readmodels.List[patientviews.PatientRow]](t, c.as(tr.crc).get(path+"?site=01&number=S-2")); len(l.Items) != 0 {
		t.Errorf("the coordinator of site 01 finds %+v", l.Items)
	}
	c.as(tr.crc).get(path+"?number=S-2").refused(t, http.StatusBadRequest, "value_missing")
}

// TestTotalsAreThoseOfAllPages, and are only counted where somebody asks.
func TestTotalsAreThoseOfAllPages(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	for n := range 5 {
		tr.position = do(t, patient.ScreenPatient{AtSite: domain.ForSite(tr.study, "01"), ScreeningNumber: fmt.Sprint("T-", n),
			On: "2026-02-01"}).Position
	}
	caughtUp(t, tr.position)
	path := "/api/v1/studies/" + string(tr.study) + "/patients?site=01&limit=2"
	first := read[readmodels.List[patientviews.PatientRow]](t, c.as(tr.crc).get(path+"&total=count"))
	if len(first.Items) != 2 || first.Total == nil || first.Total.Items != 6 || first.Total.More {
		t.Errorf("the first page has %d of %+v", len(first.Items), first.Total)
	}
	second := read[readmodels.List[patientviews.PatientRow]](t, c.as(tr.crc).get(path+"&total=count&cursor="+first.Next))
	if second.Total == nil || second.Total.Items != 6 {
		t.Errorf("the second page is of %+v", second.Total)
	}
	if none := read[readmodels.List[patientviews.PatientRow]](t, c.as(tr.crc).get(path)); none.Total != nil {
		t.Errorf("nobody has asked for %+v", none.Total)
	}
	c.as(tr.crc).get(path+"&total=yes").refused(t, http.StatusBadRequest, "malformed_parameter")
}

// TestAlertsSayWhichRuleAndValue to those who may read clinical data, and are found by the patient.
func TestAlertsSayWhichRuleAndValue(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	severe := tr.entry(4)
	severe.Answers["worst"] = 9
	c.as(tr.self).accepted(severe)
	const window = "2026-02-04/evening"
	do(t, safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: safety.AlertID(string(tr.study) + ".other")}, Study: tr.study, Site: "02",
		Patient: tr.other, Kind: safety.DiariesMissed, Severity: safety.Routine, Summary: "Missed.", Source: "s", OccurredAt: now})
	raised := do(t, safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: safety.AlertID(string(tr.study) + ".rule")}, Study: tr.study, Site: "01",
		Patient: tr.patient, Kind: safety.RiskFlagged, Severity: safety.Urgent, Summary: "A risk.", Source: "s", OccurredAt: now,
		Instrument: painDiary.ID, Window: window, Rule: "pain-severe", Message: "Worst pain of 8 or more"})
	caughtUp(t, raised.Position)
	path := "/api/v1/studies/" + string(tr.study) + "/alerts?patient=" + string(tr.patient)
	found := read[readmodels.List[safetyviews.Alert]](t, c.as(tr.manager).get(path+"&sort=newest&total=count"))
	if len(found.Items) != 2 || found.Total.Items != 2 {
		t.Fatalf("by the patient are found %+v", found)
	}
	a := found.Items[0]
	if a.Instrument != painDiary.ID || a.Window != window || a.Rule != "pain-severe" || a.Message == "" || a.Diary == nil ||
		a.Diary.Answers["worst"] != 9.0 {
		t.Errorf("the alert says %+v, with %+v", a.Cause, a.Diary)
	}
	// The alert says what raised it, also after another diary has come into the window. That one is still its sender's.
	next := tr.entry(5)
	next.Zone, next.Answers["worst"] = "Europe/Berlin", 8
	next.CapturedAt = next.CapturedAt.In(time.FixedZone("", 3600))
	c.as(tr.self).accepted(next)
	do(t, safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: safety.AlertID(string(tr.study) + ".moved")}, Study: tr.study, Site: "01",
		Patient: tr.patient, Kind: safety.RiskFlagged, Severity: safety.Urgent, Summary: "A risk.", Source: "s", OccurredAt: now,
		Instrument: painDiary.ID, Window: "2026-02-05/evening", Rule: "pain-severe"})
	investigator := account(t, "investigator", user.Grant{Role: user.Investigator, Study: tr.study, Site: "01"})
	c.as(investigator).accepted(diary.VoidDiary{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary.ID, Window: window,
		Reasoned: domain.Because("of another patient")})
	moved := c.as(investigator).accepted(diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary.ID,
		From: "2026-02-05/evening", To: window, Reasoned: domain.Because("the day before")})
	caughtUp(t, moved.Position)
	since := map[string]*safetyviews.CauseDiary{}
	for _, a := range read[readmodels.List[safetyviews.Alert]](t, c.as(tr.manager).get(path)).Items {
		since[a.Window] = a.Diary
	}
	if d := since["2026-02-05/evening"]; d == nil || d.Since != safetyviews.CauseMoved || d.MovedTo != window || d.Answers["worst"] != 8.0 {
		t.Errorf("the alert about the moved diary shows %+v", d)
	}
	a.Diary = since[window]
	if a.Diary == nil || a.Diary.Answers["worst"] != 9.0 || a.Diary.Since != safetyviews.CauseVoided || a.Diary.Now["worst"] != 8.0 ||
		a.Diary.By != tr.self {
		t.Errorf("after the change, the alert shows %+v", a.Diary)
	}
	for _, d := range read[readmodels.List[diaryviews.Diary]](t, c.as(tr.crc).get("/api/v1/patients/"+string(tr.patient)+"/diaries")).Items {
		if d.Window == window && (d.By != tr.self || d.MovedBy != investigator || d.Zone != "Europe/Berlin" || d.Answers["worst"] != 8.0) {
			t.Errorf("the moved diary is %+v", d)
		}
	}
	supplier := account(t, "supplier", user.Grant{Role: user.SupplyManager, Study: tr.study})
	if l := read[readmodels.List[safetyviews.Alert]](t, c.as(supplier).get(path)); len(l.Items) != 0 {
		t.Errorf("a supply manager finds the alerts of a patient: %+v", l.Items)
	}
	if l := read[readmodels.List[safetyviews.Alert]](t, c.as(tr.otherCRC).get(path+"&site=02")); len(l.Items) != 0 {
		t.Errorf("site 02 finds the alerts of a patient of site 01: %+v", l.Items)
	}
}

// TestDiariesAreListedAcrossPatients by site, state and day, and so are the corrections that were asked for.
func TestDiariesAreListedAcrossPatients(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	c.as(tr.self).accepted(tr.entry(4))
	do(t, tr.transcription(5))
	ask := diary.AskDiaryCorrection{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary.ID, Window: "2026-02-04/evening",
		Answers: diary.Answers{"worst": 5}, Reasoned: domain.Because("slipped")}
	c.as(tr.self).accepted(ask)
	ask.Answers = diary.Answers{"worst": 4}
	c.as(tr.crc).accepted(ask)
	investigator := account(t, "investigator", user.Grant{Role: user.Investigator, Study: tr.study, Site: "01"})
	c.as(investigator).accepted(diary.DeclineDiaryCorrection{OfPatient: domain.ForPatient(tr.patient), Request: 2,
		Reasoned: domain.Because("the patient denies it")})
	last := do(t, diary.CloseDiaryWindows{OfPatient: domain.ForPatient(tr.other), Through: now})
	caughtUp(t, last.Position)
	path := "/api/v1/studies/" + string(tr.study) + "/diaries"
	for query, want := range map[string]int{"state=on_time": 1, "state=transcribed": 1, "state=late": 0, "site=01": 2,
		"from=2026-02-05T00:00:00Z&site=01": 1, "to=2026-02-05T00:00:00Z&site=01": 1, "state=missed&site=01": 0,
		"site=01&instrument=other": 0, "state=held": 0} {
		l := read[readmodels.List[diaryviews.Diary]](t, c.as(tr.manager).get(path+"?total=count&"+query))
		if len(l.Items) != want || l.Total.Items != want {
			t.Errorf("%s finds %d of %+v, not %d", query, len(l.Items), l.Total, want)
		}
	}
	missed := read[readmodels.List[diaryviews.Diary]](t, c.as(tr.otherCRC).get(path+"?state=missed&site=02&sort=oldest"))
	if len(missed.Items) == 0 || missed.Items[0].Patient != tr.other || !missed.Items[0].Missed {
		t.Errorf("missed at site 02 are %+v", missed.Items)
	}
	c.as(tr.otherCRC).get(path+"?site=01").refused(t, http.StatusForbidden, "not_allowed")
	path = "/api/v1/studies/" + string(tr.study) + "/diary-corrections"
	waiting := read[readmodels.List[diaryviews.AskedCorrection]](t, c.as(investigator).get(path+"?site=01&status=waits&total=count"))
	if len(waiting.Items) != 1 || waiting.Total.Items != 1 || waiting.Items[0].Request != 1 || waiting.Items[0].By != tr.self ||
		len(waiting.Items[0].Changes) != 1 || waiting.Items[0].Changes[0].Old != 6.0 || waiting.Items[0].Changes[0].New != 5.0 {
		t.Errorf("an investigator finds %+v", waiting.Items)
	}
	decided := read[readmodels.List[diaryviews.AskedCorrection]](t, c.as(tr.crc).get(path+"?site=01&status=declined"))
	if len(decided.Items) != 1 || decided.Items[0].DecidedBy != investigator || decided.Items[0].Decision != "the patient denies it" {
		t.Errorf("the one who asked finds %+v", decided.Items)
	}
	c.as(tr.otherCRC).get(path+"?site=01").refused(t, http.StatusForbidden, "not_allowed")
}

// TestKitsAreFoundByThePatient in the whole study.
func TestKitsAreFoundByThePatient(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t).supplied(t)
	caughtUp(t, tr.position)
	path := "/api/v1/studies/" + string(tr.study) + "/kits?total=count&patient=" + string(tr.patient)
	if l := read[readmodels.List[supplyviews.KitRow]](t, c.as(tr.manager).get(path)); len(l.Items) != 0 || l.Total.Items != 0 {
		t.Errorf("of a patient without a kit are found %+v", l.Items)
	}
}

// TestNumbersInOtherLettersAreTheSame for new patients. Those who have such numbers already are listed.
func TestNumbersInOtherLettersAreTheSame(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	screen := patient.ScreenPatient{AtSite: domain.ForSite(tr.study, "01"), ScreeningNumber: "s-1", On: "2026-02-01"}
	r := c.as(tr.crc).command(screen)
	r.refused(t, http.StatusConflict, "patient_exists")
	c.as(tr.crc).get("/api/v1/patients/"+string(tr.study)+".s-1").refused(t, http.StatusForbidden, "not_allowed")
	screen.ScreeningNumber = "aB-7"
	c.as(tr.crc).accepted(screen)
	for _, other := range []string{"AB-7", "ab-7", "Ab-7"} {
		screen.ScreeningNumber = other
		c.as(tr.crc).command(screen).refused(t, http.StatusConflict, "patient_exists")
	}
	// As an earlier program has recorded it.
	screened := patient.Screened{Patient: domain.NewPatientID(tr.study, "s-2"), Study: tr.study, Site: "01", ScreeningNumber: "s-2",
		On: "2026-02-01", Zone: "Europe/Berlin"}
	out, err := the.log.Append(t.Context(), patient.Decider.Stream(string(screened.Patient)), eventlog.EmptyTail, uuid.New(),
		eventlog.Metadata{Actor: tr.crc, Study: tr.study, Site: "01", Patient: screened.Patient, RecordedAt: now, CommandID: uuid.NewString()},
		screened)
	if err != nil {
		t.Fatal(err)
	}
	caughtUp(t, out.Position.Commit)
	path := "/api/v1/studies/" + string(tr.study) + "/same-numbers"
	l := read[readmodels.List[patientviews.ScreeningNumber]](t, c.as(tr.manager).get(path+"?total=count"))
	if len(l.Items) != 1 || l.Total.Items != 1 || l.Items[0].Number != "S-2" || len(l.Items[0].Patients) != 2 ||
		l.Items[0].Patients[1].Patient != screened.Patient {
		t.Errorf("listed are %+v", l.Items)
	}
	c.as(tr.crc).get(path).refused(t, http.StatusForbidden, "not_allowed")
	screen.ScreeningNumber = "s-2" // both stay
	c.as(tr.crc).command(screen).refused(t, http.StatusConflict, "patient_exists")
}

// TestTheAssignmentInForceIsShown, and the one that is to come beside it.
func TestTheAssignmentInForceIsShown(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	from := domain.DateOf(now).AddDays(400)
	do(t, diary.StopInstrument{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary.ID, Until: domain.DateOf(now).AddDays(30),
		Reasoned: domain.Because("a pause")})
	later := do(t, diary.AssignInstrument{OfPatient: domain.ForPatient(tr.patient), Instrument: painDiary.ID, From: from,
		Until: from.AddDays(10)})
	caughtUp(t, later.Position)
	v := read[patientviews.PatientView](t, c.as(tr.crc).get("/api/v1/patients/"+string(tr.patient)))
	if len(v.Instruments) != 1 || v.Instruments[0].From != "2026-02-03" || v.Instruments[0].Until != domain.DateOf(now).AddDays(30) ||
		len(v.Instruments[0].Later) != 1 || v.Instruments[0].Later[0].From != from {
		t.Errorf("shown is %+v", v.Instruments)
	}
}
