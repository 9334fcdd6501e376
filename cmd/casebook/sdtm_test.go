package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	studyviews "casebook/readmodels/study"
)

// TestPilotStudyIsReproduced replays the CDISC pilot study through the HTTP API, as if its sites had used Casebook.
//
// How SDTM variables become commands:
//
//	DM.STUDYID                                    CreateStudy, PublishProtocolVersion, OpenEnrollment
//	DM.SITEID, COUNTRY                            AddSite, ActivateSite (on the day of the site's first screening)
//	DM.SUBJID, DMDTC, SEX, AGE                    ScreenPatient: number, day, sex, age
//	DM.DMDTC                                      RecordConsent: the day; RFICDTC is empty in this study, and no data
//	                                              are collected before the consent
//	DS.DSDECOD = SCREEN FAILURE, DSSTDTC, DSTERM  RecordScreenFailure: day, reason
//	DS.DSDECOD = RANDOMIZED, DSSTDTC              EnrollPatient: the day
//	EX.EXDOSE, EXSTDTC                            RecordDoseChange: up or down where the next record has another dose, its day
//	DS.DSCAT = DISPOSITION EVENT, DSDECOD, DSTERM, with the last EX.EXENDTC:
//	   COMPLETED, DEATH                           EndParticipation on DSSTDTC, which ends the treatment too
//	   any other                                  DiscontinueTreatment on EXENDTC, and EndParticipation on DM.RFPENDTC: DSDECOD
//	                                              as the coded reason, DSTERM as the detail. Six patients have no day of the
//	                                              last dose: EndParticipation alone
//	SV.VISIT = RETRIEVAL, SVSTDTC                 RecordVisit: the day; the visit of those whose treatment ended early
//
// RFPENDTC is the day of the last record: the disposition, or a retrieval visit or a follow-up of an adverse event after it.
// DM.ARM is in no command, because the users are blinded.
func TestPilotStudyIsReproduced(t *testing.T) {
	dm := readCSV(t, shared(t, "sdtm/pilot/dm.csv"))
	courses := pilotCourses(t, dm)
	slices.SortFunc(dm, func(a, b map[string]string) int { // in the order of the screenings
		return cmp.Compare(a["DMDTC"]+a["USUBJID"], b["DMDTC"]+b["USUBJID"])
	})

	in := install(t)
	id := domain.StudyID(dm[0]["STUDYID"])
	manager, inStudy := in.account("manager", user.Grant{Role: user.DataManager, Study: id}), domain.ForStudy(id)
	in.must(manager, study.CreateStudy{
		InStudy: inStudy, Title: "Safety and Efficacy of the Xanomeline Transdermal Therapeutic System", Sponsor: "CDISC", Phase: "II",
	})
	in.must(manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{
		Version: 1, ConsentVersion: "1", Arms: []study.Arm{
			{ID: "Pbo", Title: "Placebo"}, {ID: "Xan_Lo", Title: "Xanomeline Low Dose"}, {ID: "Xan_Hi", Title: "Xanomeline High Dose"},
		}, Visits: []study.Visit{{ID: "RETRIEVAL", Title: "Retrieval", Day: 168}},
		Treatment: &study.Treatment{Titration: &study.Titration{Steps: 2}},
	}})
	coordinators := map[string]string{} // tokens by site
	for _, r := range dm {
		site := r["SITEID"]
		if coordinators[site] != "" {
			continue
		}
		siteID := domain.SiteID(site)
		coordinators[site] = in.account(domain.UserID("crc"+site), user.Grant{Role: user.CRC, Study: id, Site: siteID})
		in.must(manager, study.AddSite{
			AtSite: domain.ForSite(id, siteID), Name: "Site " + site, Country: r["COUNTRY"], Zone: "America/New_York",
		})
		in.must(manager, study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, siteID), On: domain.Date(r["DMDTC"])})
	}
	in.must(manager, enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 254, Study: 300}})

	var position uint64
	for _, r := range dm {
		crc := coordinators[r["SITEID"]]
		age, err := strconv.Atoi(r["AGE"])
		if err != nil {
			t.Fatal(err)
		}
		who := domain.NewPatientID(id, r["SUBJID"])
		of := domain.ForPatient(who)
		in.must(crc, patient.ScreenPatient{
			AtSite: domain.ForSite(id, domain.SiteID(r["SITEID"])), ScreeningNumber: r["SUBJID"],
			On: domain.Date(r["DMDTC"]), Sex: patient.Sex(r["SEX"]), AgeYears: age,
		})
		position = in.must(crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1", On: domain.Date(r["DMDTC"])}).Position
		for _, step := range courses[r["USUBJID"]] {
			switch step.what {
			case "enrolled":
				in.waitEnrolled(crc, who, in.must(crc, patient.EnrollPatient{OfPatient: of, On: step.on}).Position)
			case "dose":
				position = in.must(crc, patient.RecordDoseChange{OfPatient: of, Direction: patient.DoseDirection(step.code), On: step.on,
					Reasoned: domain.Because("EX of the study's own data")}).Position
			case "treatment ended":
				position = in.must(crc, patient.DiscontinueTreatment{OfPatient: of, On: step.on, Reason: patient.EndReason(step.code),
					Detail: personal.Text(step.text)}).Position
			case "visit":
				position = in.must(crc, patient.RecordVisit{OfPatient: of, Visit: step.code, On: step.on}).Position
			case "screen failure":
				failure := patient.RecordScreenFailure{OfPatient: of, On: step.on, Reasoned: domain.Because(step.text)}
				position = in.must(crc, failure).Position
			case "ended":
				position = in.must(crc, patient.EndParticipation{OfPatient: of, On: step.on, Reason: patient.EndReason(step.code),
					Detail: personal.Text(step.text)}).Position
			}
		}
	}

	var overview studyviews.StudyOverview
	in.query(manager, "/api/v1/studies/"+string(id), position, &overview)
	if f := overview.Figures; f == nil || f.Screened != 306 || f.Enrolled != 254 || f.ScreenFailures != 52 ||
		f.Completed != 110 || f.Withdrawn != 27 || f.Discontinued != 117 {
		t.Errorf("the study's figures are %+v", f)
	}
	if len(overview.Sites) != 17 {
		t.Errorf("the study has %d sites", len(overview.Sites))
	}
	screened, enrolled := map[domain.SiteID]int{}, map[domain.SiteID]int{}
	for _, r := range dm {
		screened[domain.SiteID(r["SITEID"])]++
		if r["ARM"] != "Screen Failure" {
			enrolled[domain.SiteID(r["SITEID"])]++
		}
	}
	for _, s := range overview.Sites {
		if s.Figures.Screened != screened[s.Site] || s.Figures.Enrolled != enrolled[s.Site] {
			t.Errorf("site %s: %+v, want %d screened and %d enrolled", s.Site, s.Figures, screened[s.Site], enrolled[s.Site])
		}
	}
	// The numbers are counted in the files, with no code of this test: DSDECOD in DS, the doses in EX, the days in DM.
	ends := map[patient.EndReason]int{patient.EndedAsPlanned: 110, patient.EndedByAdverseEvent: 92, patient.EndedBySubject: 27,
		patient.EndedBySponsor: 7, patient.EndedByViolation: 6, patient.EndedByLackOfEfficacy: 4, patient.EndedByDeath: 3,
		patient.EndedByPhysician: 3, patient.EndedByLossToFollowUp: 2}
	rows := in.allPatients(manager, id, "", position)
	statuses, numbers, of := map[patient.Status]int{}, map[string]bool{}, map[string]patientviews.PatientRow{}
	ended, treatmentEnded := map[patient.EndReason]int{}, map[patient.EndReason]int{}
	followed := 0
	for _, r := range rows {
		statuses[r.Status]++
		of[r.ScreeningNumber] = r
		if r.EndCode != "" {
			ended[r.EndCode]++
		}
		if r.TreatmentEndCode != "" {
			treatmentEnded[r.TreatmentEndCode]++
		}
		if r.PatientNumber != "" {
			numbers[r.PatientNumber] = true
		}
		if r.TreatmentEndedOn < r.EndedOn && r.EnrolledOn != "" {
			followed++
		}
	}
	want := map[patient.Status]int{patient.StatusScreenFailed: 52, patient.StatusCompleted: 110, patient.StatusWithdrawn: 27,
		patient.StatusDiscontinued: 117}
	if len(rows) != 306 || len(numbers) != 254 || !maps.Equal(statuses, want) {
		t.Errorf("the list holds %d patients, %d numbers, %v; want %v", len(rows), len(numbers), statuses, want)
	}
	if !maps.Equal(ended, ends) || !maps.Equal(treatmentEnded, ends) {
		t.Errorf("participations ended by %v, treatments by %v; want %v", ended, treatmentEnded, ends)
	}
	if followed != 127 {
		t.Errorf("%d patients took part after their treatment, want 127", followed)
	}
	dispositions := map[string]string{}
	for _, r := range readCSV(t, shared(t, "sdtm/pilot/ds.csv")) {
		if r["DSCAT"] == "DISPOSITION EVENT" {
			dispositions[r["USUBJID"]] = r["DSSTDTC"]
		}
	}
	for _, r := range dm { // the days follow from DM, not from EX
		row := of[r["SUBJID"]]
		if row.EnrolledOn == "" {
			continue
		}
		treated, part := domain.Date(r["RFXENDTC"]), domain.Date(r["RFPENDTC"][:len("2006-01-02")])
		if row.EndCode == patient.EndedAsPlanned || row.EndCode == patient.EndedByDeath {
			treated, part = domain.Date(dispositions[r["USUBJID"]]), domain.Date(dispositions[r["USUBJID"]])
		} else if slices.Contains(pilotWithoutLastDose, r["SUBJID"]) {
			treated = part
		}
		if row.Treatment != patient.TreatmentEnded || row.TreatmentEndedOn != treated || row.EndedOn != part {
			t.Errorf("%s: the treatment is %s until %s, the participation until %s; want %s and %s", row.ScreeningNumber, row.Treatment,
				row.TreatmentEndedOn, row.EndedOn, treated, part)
		}
	}
	// 72 patients went up to 81 mg, and 28 of them back. 38 came to a retrieval visit, after the end of their treatment.
	changed, atHigh, retrieved := map[string]int{}, 0, 0
	for _, r := range dm {
		if !slices.ContainsFunc(courses[r["USUBJID"]], func(s pilotStep) bool { return s.what == "dose" || s.what == "visit" }) {
			continue
		}
		var view patientviews.PatientDocument
		in.query(manager, "/api/v1/patients/"+string(domain.NewPatientID(id, r["SUBJID"])), position, &view)
		stopped := false
		for _, step := range view.Steps {
			switch step.What {
			case "DoseChanged":
				direction, _, _ := strings.Cut(step.Note, ":")
				changed[direction]++
			case "TreatmentDiscontinued":
				stopped = true
			case "VisitRecorded":
				if retrieved++; !stopped {
					t.Errorf("%s: the retrieval visit comes before the end of the treatment: %+v", r["SUBJID"], view.Steps)
				}
			}
		}
		if view.DoseStep == 2 {
			atHigh++
		}
	}
	if !maps.Equal(changed, map[string]int{"up": 72, "down": 28}) || atHigh != 72-28 || retrieved != 38 {
		t.Errorf("the doses were changed %v; %d patients are at 81 mg; %d were retrieved", changed, atHigh, retrieved)
	}
	if n := len(in.allPatients(coordinators["701"], id, "701", position)); n != screened["701"] {
		t.Errorf("site 701's list holds %d of %d patients", n, screened["701"])
	}
	first := dm[0]
	var view patientviews.PatientDocument
	in.query(manager, "/api/v1/patients/"+string(domain.NewPatientID(id, first["SUBJID"])), position, &view)
	if view.Steps[0].What != "PatientScreened" || string(view.Steps[0].On) != first["DMDTC"] {
		t.Errorf("the first patient's first step is %+v, want the study's own date %s", view.Steps[0], first["DMDTC"])
	}
}

// pilotStep is a step of a patient of the pilot study: what happened, when, the code and the words of the files.
type pilotStep struct {
	what       string
	on         domain.Date
	code, text string
}

// pilotWithoutLastDose are the patients whose last record of doses has no end.
var pilotWithoutLastDose = []string{"1018", "1031", "1233", "1303", "1377", "1382"}

// pilotCourses are the courses of the pilot study's patients, by USUBJID, each in the order of its days.
func pilotCourses(t *testing.T, dm []map[string]string) map[string][]pilotStep {
	t.Helper()
	courses, doses, until := map[string][]pilotStep{}, map[string][]map[string]string{}, map[string]string{}
	add := func(who, what, on, code, text string) {
		courses[who] = append(courses[who], pilotStep{what: what, on: domain.Date(on), code: code, text: text})
	}
	for _, r := range dm {
		if r["RFPENDTC"] != "" {
			until[r["USUBJID"]] = r["RFPENDTC"][:len("2006-01-02")] // some have the time of the day too
		}
	}
	for _, r := range readCSV(t, shared(t, "sdtm/pilot/ex.csv")) {
		doses[r["USUBJID"]] = append(doses[r["USUBJID"]], r)
	}
	for who, of := range doses {
		slices.SortFunc(of, func(a, b map[string]string) int { return cmp.Compare(a["EXSTDTC"], b["EXSTDTC"]) })
		for i := 1; i < len(of); i++ {
			if before, now := of[i-1]["EXDOSE"], of[i]["EXDOSE"]; now > before { // doses have two digits
				add(who, "dose", of[i]["EXSTDTC"], string(patient.DoseUp), "")
			} else if now < before {
				add(who, "dose", of[i]["EXSTDTC"], string(patient.DoseDown), "")
			}
		}
	}
	for _, r := range readCSV(t, shared(t, "sdtm/pilot/sv.csv")) {
		if r["VISIT"] == "RETRIEVAL" {
			add(r["USUBJID"], "visit", r["SVSTDTC"], r["VISIT"], "")
		}
	}
	for _, r := range readCSV(t, shared(t, "sdtm/pilot/ds.csv")) {
		who, on, code := r["USUBJID"], r["DSSTDTC"], r["DSDECOD"]
		switch {
		case code == "RANDOMIZED":
			add(who, "enrolled", on, "", "")
		case code == "SCREEN FAILURE":
			add(who, "screen failure", on, "", r["DSTERM"])
		case r["DSCAT"] != "DISPOSITION EVENT": // the last samples, and the retrieval visit again
		case code == string(patient.EndedAsPlanned), code == string(patient.EndedByDeath):
			add(who, "ended", on, code, r["DSTERM"])
		default:
			if of := doses[who]; of[len(of)-1]["EXENDTC"] != "" {
				add(who, "treatment ended", of[len(of)-1]["EXENDTC"], code, r["DSTERM"])
			}
			add(who, "ended", until[who], code, r["DSTERM"])
		}
	}
	order := []string{"screen failure", "enrolled", "dose", "treatment ended", "visit", "ended"} // of what happened on one day
	for _, course := range courses {
		slices.SortStableFunc(course, func(a, b pilotStep) int {
			return cmp.Or(cmp.Compare(a.on, b.on), cmp.Compare(slices.Index(order, a.what), slices.Index(order, b.what)))
		})
	}
	return courses
}

// waitEnrolled waits until a patient is enrolled. requested is the position of the request for the enrolment.
func (in installation) waitEnrolled(token string, who domain.PatientID, requested uint64) {
	in.t.Helper()
	for range 500 {
		var v patientviews.PatientDocument
		in.query(token, "/api/v1/patients/"+string(who), requested, &v)
		if v.Status == patient.StatusEnrolled {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	in.t.Fatalf("%s is not enrolled", who)
}

// allPatients reads the list of patients page by page.
func (in installation) allPatients(token string, id domain.StudyID, site domain.SiteID, position uint64) []patientviews.PatientRow {
	in.t.Helper()
	var all []patientviews.PatientRow
	for next := ""; ; {
		path := fmt.Sprintf("/api/v1/studies/%s/patients?limit=40", id)
		if site != "" {
			path += "&site=" + string(site)
		}
		if next != "" {
			path += "&cursor=" + next
		}
		var page readmodels.List[patientviews.PatientRow]
		in.query(token, path, position, &page)
		all = append(all, page.Items...)
		if next = page.Next; next == "" {
			return all
		}
	}
}

func TestR4_AnotherSitesPatientsAreOutOfReach(t *testing.T) {
	in := install(t)
	const id = domain.StudyID("S1")
	manager := in.account("manager", user.Grant{Role: user.DataManager, Study: id})
	crc := in.account("crc", user.Grant{Role: user.CRC, Study: id, Site: "01"})
	other := in.account("other", user.Grant{Role: user.CRC, Study: id, Site: "02"})
	inStudy := domain.ForStudy(id)
	in.must(manager, study.CreateStudy{InStudy: inStudy, Title: "x", Sponsor: "y"})
	in.must(manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{Version: 1, ConsentVersion: "1"}})
	for _, site := range []domain.SiteID{"01", "02"} {
		in.must(manager, study.AddSite{AtSite: domain.ForSite(inStudy.Study, site), Name: "Site", Country: "DE", Zone: "Europe/Berlin"})
		in.must(manager, study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, site), On: "2026-01-01"})
	}
	position := in.must(crc, patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: "A", On: "2026-01-02"}).Position
	for _, path := range []string{"/api/v1/patients/S1.A", "/api/v1/studies/S1/patients?site=01", "/api/v1/studies/S1/patients"} {
		request, err := http.NewRequest(http.MethodGet, in.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		status, text := in.do(request, other)
		if siteless := !strings.Contains(path, "patients/") && !strings.Contains(path, "site="); status != http.StatusForbidden &&
			(!siteless || status != http.StatusBadRequest) {
			t.Errorf("%s answers another site's coordinator %d %s", path, status, text)
		}
	}
	var overview studyviews.StudyOverview
	in.query(other, "/api/v1/studies/S1", position, &overview)
	if overview.Figures != nil || len(overview.Sites) != 1 || overview.Sites[0].Site != "02" {
		t.Errorf("another site's coordinator sees %+v", overview)
	}
	consent := patient.RecordConsent{OfPatient: domain.ForPatient("S1.A"), ConsentVersion: "1", On: "2026-01-02"}
	status, _, text := in.command(other, "", consent)
	if status != http.StatusForbidden {
		t.Errorf("a command of another site's coordinator is answered %d %s", status, text)
	}
}

// readCSV reads a CSV file as maps from column to value. It leaves out the value NA.
func readCSV(t *testing.T, path string) []map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, name := range lines[0] {
			if line[i] != "NA" {
				row[name] = line[i]
			}
		}
		rows = append(rows, row)
	}
	return rows
}
