package main

import (
	"encoding/csv"
	"fmt"
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
//	DS.DSCAT = DISPOSITION EVENT, DSDECOD:
//	   SCREEN FAILURE                             RecordScreenFailure, as above
//	   any other                                  EndParticipation: the day, DSDECOD as the coded reason, DSTERM as the detail
//	EX.EXDOSE, EXSTDTC                            RecordDoseChange: up or down where the next record has another dose, its day
//
// DM.ARM is in no command, because the users are blinded.
func TestPilotStudyIsReproduced(t *testing.T) {
	dm := readCSV(t, shared(t, "sdtm/pilot/dm.csv"))
	dispositions := map[string][]map[string]string{}
	for _, r := range readCSV(t, shared(t, "sdtm/pilot/ds.csv")) {
		if r["DSCAT"] != "OTHER EVENT" {
			dispositions[r["USUBJID"]] = append(dispositions[r["USUBJID"]], r)
		}
	}
	doses := map[string][]map[string]string{}
	for _, r := range readCSV(t, shared(t, "sdtm/pilot/ex.csv")) {
		doses[r["USUBJID"]] = append(doses[r["USUBJID"]], r)
	}
	changes := map[patient.DoseDirection]int{}
	for who, of := range doses {
		slices.SortFunc(of, func(a, b map[string]string) int { return compare(a["EXSTDTC"], b["EXSTDTC"]) })
		for i := 1; i < len(of); i++ {
			// A disposition of the same day comes after the change.
			if of[i]["EXDOSE"] != of[i-1]["EXDOSE"] {
				change := map[string]string{"DSSTDTC": of[i]["EXSTDTC"], "DSDECOD": string(patient.DoseDown)}
				if of[i]["EXDOSE"] > of[i-1]["EXDOSE"] { // doses have two digits
					change["DSDECOD"] = string(patient.DoseUp)
				}
				changes[patient.DoseDirection(change["DSDECOD"])]++
				dispositions[who] = append(dispositions[who], change)
			}
		}
	}
	for _, d := range dispositions {
		slices.SortStableFunc(d, func(a, b map[string]string) int {
			return compare(a["DSSTDTC"]+a["VISITNUM"], b["DSSTDTC"]+b["VISITNUM"])
		})
	}
	slices.SortFunc(dm, func(a, b map[string]string) int { // in the order of the screenings
		return compare(a["DMDTC"]+a["USUBJID"], b["DMDTC"]+b["USUBJID"])
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
		}, Treatment: &study.Treatment{Titration: &study.Titration{Steps: 2}},
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
			InStudy: inStudy, Site: siteID, Name: "Site " + site, Country: r["COUNTRY"], Zone: "America/New_York",
		})
		in.must(manager, study.ActivateSite{InStudy: inStudy, Site: siteID, On: domain.Date(r["DMDTC"])})
	}
	in.must(manager, enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 254, Study: 300}})

	var position uint64
	want, reasons := map[patient.Status]int{}, map[patient.EndReason]int{}
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
		for _, d := range dispositions[r["USUBJID"]] {
			on := domain.Date(d["DSSTDTC"])
			switch d["DSDECOD"] {
			case "RANDOMIZED":
				in.waitEnrolled(crc, who, in.must(crc, patient.EnrollPatient{OfPatient: of, On: on}).Position)
			case string(patient.DoseUp), string(patient.DoseDown):
				position = in.must(crc, patient.RecordDoseChange{OfPatient: of, Direction: patient.DoseDirection(d["DSDECOD"]), On: on,
					Reasoned: domain.Because("EX of the study's own data")}).Position
			case "SCREEN FAILURE":
				failure := patient.RecordScreenFailure{OfPatient: of, On: on, Reasoned: domain.Because(d["DSTERM"])}
				position = in.must(crc, failure).Position
				want[patient.StatusScreenFailed]++
			default:
				reason := patient.EndReason(d["DSDECOD"])
				position = in.must(crc, patient.EndParticipation{OfPatient: of, On: on, Reason: reason, Detail: d["DSTERM"]}).Position
				want[reason.Status()]++
				reasons[reason]++
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
	got, rows := map[patient.Status]int{}, in.allPatients(manager, id, "", position)
	numbers, ended := map[string]bool{}, map[patient.EndReason]int{}
	for _, r := range rows {
		got[r.Status]++
		if r.EndCode != "" {
			ended[r.EndCode]++
		}
		if r.PatientNumber != "" {
			numbers[r.PatientNumber] = true
		}
	}
	if len(rows) != 306 || len(numbers) != 254 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the list holds %d patients, %d numbers, %v; want %v", len(rows), len(numbers), got, want)
	}
	if fmt.Sprint(ended) != fmt.Sprint(reasons) || reasons[patient.EndedAsPlanned] != 110 || reasons[patient.EndedByDeath] == 0 {
		t.Errorf("the list has the reasons %v; want %v", ended, reasons)
	}
	// 72 patients went up to 81 mg, and 28 of them back.
	changed, atHigh := map[patient.DoseDirection]int{}, 0
	for _, r := range dm {
		if !slices.ContainsFunc(dispositions[r["USUBJID"]], func(d map[string]string) bool {
			return d["DSDECOD"] == string(patient.DoseUp)
		}) {
			continue
		}
		var view patientviews.PatientDocument
		in.query(manager, "/api/v1/patients/"+string(domain.NewPatientID(id, r["SUBJID"])), position, &view)
		for _, step := range view.Steps {
			if direction, _, _ := strings.Cut(step.Note, ":"); step.What == "DoseChanged" {
				changed[patient.DoseDirection(direction)]++
			}
		}
		if view.DoseStep == 2 {
			atHigh++
		}
	}
	if fmt.Sprint(changed) != fmt.Sprint(changes) || changes[patient.DoseUp] != 72 || changes[patient.DoseDown] != 28 || atHigh != 72-28 {
		t.Errorf("the doses were changed %v, want %v; %d patients are at 81 mg", changed, changes, atHigh)
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
		in.must(manager, study.AddSite{InStudy: inStudy, Site: site, Name: "Site", Country: "DE", Zone: "Europe/Berlin"})
		in.must(manager, study.ActivateSite{InStudy: inStudy, Site: site, On: "2026-01-01"})
	}
	position := in.must(crc, patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: "A", On: "2026-01-02"}).Position
	for _, path := range []string{"/api/v1/patients/S1.A", "/api/v1/studies/S1/patients?site=01", "/api/v1/studies/S1/patients"} {
		request, err := http.NewRequest(http.MethodGet, in.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, text := in.do(request, other); status != http.StatusForbidden {
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

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
