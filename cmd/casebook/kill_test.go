package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	studyviews "casebook/readmodels/study"
	"casebook/simulation"
)

// mustLiveThroughAll fails unless what can happen to a patient in a simulated study has happened to somebody. Whether the first site
// has a recalled kit to tell somebody of is left to chance.
func mustLiveThroughAll(t *testing.T, s simulation.Summary) {
	t.Helper()
	for what, n := range map[string]int{"signed again": s.Reconsented, "given another kit": s.KitsReplaced,
		"given another dose":            s.DosesChanged,
		"followed up without treatment": s.TreatmentStopped, "transcribed": s.Transcribed} {
		if n == 0 {
			t.Errorf("nobody was %s: %+v", what, s.Counts)
		}
	}
}

// TestViewsShowTheSimulatedStudy simulates a small study, repeats the simulation, which must record nothing more, and
// compares the views with what the simulation counted.
func TestViewsShowTheSimulatedStudy(t *testing.T) {
	in := install(t)
	if err := in.bootstrapAdmins(t.Context(), "a password for a test"); err != nil {
		t.Fatal(err)
	}
	options := simulation.Options{
		BaseURL: in.url, Admin: demoAdmin, Deputy: demoDeputy, Password: "casebook-demo-2026", Patients: 20, Days: 24, Seed: 5,
		Today: domain.DateOf(time.Now().UTC()), Workers: 4,
		SignAs: signedInAs(in.tokens, time.Hour),
	}
	first, err := simulation.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	mustLiveThroughAll(t, first)
	again, err := simulation.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if first.Counts != again.Counts {
		t.Errorf("the second run counts %+v, the first %+v", again.Counts, first.Counts)
	}
	manager, err := in.tokens.Sign("data.manager", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	end := lastRecorded(t, in.log)
	var overview studyviews.StudyOverview
	in.query(manager, "/api/v1/studies/PAIN1", end, &overview)
	want := studyviews.Figures{
		EnrollmentFigures: studyviews.EnrollmentFigures{Screened: first.Screened, ScreenFailures: first.ScreenFailures,
			Enrolled: first.Enrolled, EnrollmentsFailed: first.NoKit},
		ClinicalFigures: studyviews.ClinicalFigures{Diaries: first.Diaries, LateDiaries: first.Late, MissedWindows: first.Missed,
			TranscribedDiaries: first.Transcribed,
			Risks:              countRecorded(t, in.log, "RiskFlagged")},
	}
	got := *overview.Figures
	if got.Withdrawn+got.Discontinued != first.EndedEarly {
		t.Errorf("%d ended early, the view shows %+v", first.EndedEarly, got)
	}
	got.Withdrawn, got.Discontinued = 0, 0
	if got != want {
		t.Errorf("the view shows %+v, want %+v", got, want)
	}
	if first.Diaries < 100 || first.Late == 0 || first.Missed == 0 || first.Risks == 0 ||
		first.NoKit == 0 || first.KitsDispensed == 0 || first.Shipments < 4 {
		t.Errorf("the simulation lacks variety: %+v", first.Counts)
	}
	var compliance readmodels.List[diaryviews.DiaryCompliance]
	in.query(manager, "/api/v1/studies/PAIN1/compliance/sites", end, &compliance)
	completed, missed := 0, 0
	for _, c := range compliance.Items {
		completed += c.Completed
		missed += c.Missed
	}
	if completed != first.Diaries || missed != first.Missed {
		t.Errorf("the compliance view counts %d completed and %d missed, want %d and %d", completed, missed, first.Diaries, first.Missed)
	}
}

// child is a server in a process of its own.
type child struct {
	process *exec.Cmd
	// url is the address of the API, admin that of metrics and profiles.
	url, admin string
}

// spawn starts a server on the stores in a directory.
func spawn(t *testing.T, dir string) child {
	t.Helper()
	admin := freePort(t)
	process := exec.Command(os.Args[0], "bench-server", "--data", dir, "--http", "127.0.0.1:0", "--admin", admin,
		"--node-listen", "127.0.0.1:0", "--mongo-listen", "127.0.0.1:0", "--log-level", "error")
	process.Env = append(os.Environ(), asMain+"=1")
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // if the test has not ended the process
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ready := strings.CutPrefix(strings.TrimSpace(line), benchReady)
	if err != nil || !ready {
		t.Fatalf("the server printed %q: %v", line, err)
	}
	return child{process: process, url: url, admin: "http://" + admin}
}

// signer returns what makes the tokens of people who have just signed in to the server of a data directory.
func signer(t *testing.T, dir string) func(domain.UserID) string {
	t.Helper()
	tokens, err := loadTokens(filepath.Join(dir, "token.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	return func(u domain.UserID) string {
		token, err := signedInAs(tokens, time.Hour)(u)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
}

// kill ends the process without a chance to finish anything.
func (c child) kill() {
	_ = c.process.Process.Kill()
	_ = c.process.Wait()
}

// TestR35_NothingAcknowledgedIsLost kills the server repeatedly while phones submit diaries. After each restart, the
// views have to show every acknowledged diary exactly once.
func TestR35_NothingAcknowledgedIsLost(t *testing.T) {
	dir := t.TempDir()
	sign := signer(t, dir)
	const id = domain.StudyID("K1")
	const phones = 6
	c := spawn(t, dir)
	in := installation{t: t, url: c.url}
	setUp(in, id, sign, phones)

	acknowledged := make([]map[string]bool, phones)
	next := make([]int, phones)
	for i := range acknowledged {
		acknowledged[i] = map[string]bool{}
	}
	const rounds = 6
	for round := range rounds {
		var wait sync.WaitGroup
		for i := range phones {
			wait.Go(func() {
				for {
					day := domain.Date("2020-01-01").AddDays(next[i])
					if !submit(c.url, sign("phones"), domain.NewPatientID(id, fmt.Sprint(i)), day) {
						return // the server was killed; the same diary is submitted again in the next round
					}
					acknowledged[i][string(day)+"/evening"] = true
					next[i]++
				}
			})
		}
		time.Sleep(time.Duration(200+rand.IntN(400)) * time.Millisecond) // a random moment for the kill
		c.kill()
		wait.Wait()
		c = spawn(t, dir)
		in.url = c.url
		for i := range phones {
			// This command records nothing. Its answer has the patient's last position, for which the query waits.
			who := domain.NewPatientID(id, fmt.Sprint(i))
			position := in.must(sign("crc"), diary.CloseDiaryWindows{
				OfPatient: domain.ForPatient(who), Through: time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC),
			}).Position
			shown := map[string]int{}
			path := fmt.Sprintf("/api/v1/patients/%s/diaries?limit=200", who)
			for next := path; next != ""; {
				var page readmodels.List[diaryviews.Diary]
				in.query(sign("crc"), next, position, &page)
				for _, d := range page.Items {
					shown[d.Window]++
				}
				if next = ""; page.Next != "" {
					next = path + "&cursor=" + page.Next
				}
			}
			for window := range acknowledged[i] {
				if shown[window] != 1 {
					t.Fatalf("round %d: %s of %s was acknowledged and is shown %d times", round, window, who, shown[window])
				}
			}
			if extra := len(shown) - len(acknowledged[i]); extra > 1 { // one may have been stored before the kill, but not answered
				t.Errorf("round %d: %s has %d diaries that were not acknowledged", round, who, extra)
			}
		}
	}
	c.kill()
	total := 0
	for _, a := range acknowledged {
		total += len(a)
	}
	if total < rounds*phones {
		t.Errorf("only %d diaries were acknowledged", total)
	}
	t.Logf("%d diaries were acknowledged over %d kills", total, rounds)
}

// setUp creates a study with one site, and enrolled patients who have a diary. The account phones is that of all of them.
func setUp(in installation, id domain.StudyID, sign func(domain.UserID) string, phones int) {
	admin := sign(demoAdmin)
	for name, grant := range map[domain.UserID]user.Grant{
		"manager": {Role: user.DataManager, Study: id},
		"crc":     {Role: user.CRC, Study: id, Site: "01"},
	} {
		in.must(admin, user.RegisterUser{OfUser: domain.ForUser(name), Name: string(name)})
		in.must(admin, user.GrantRole{OfUser: domain.ForUser(name), Grant: grant})
	}
	in.must(admin, user.RegisterUser{OfUser: domain.ForUser("phones"), Name: "phones"})
	manager, crc := sign("manager"), sign("crc")
	protocol := study.Protocol{Version: 1, ConsentVersion: "1", Instruments: []instrument.Definition{*instrument.PainDiary()}}
	for _, command := range []any{
		study.CreateStudy{InStudy: domain.ForStudy(id), Title: "x", Sponsor: "y"},
		study.PublishProtocolVersion{InStudy: domain.ForStudy(id), Protocol: protocol},
		study.AddSite{AtSite: domain.ForSite(id, "01"), Name: "Site", Country: "DE", Zone: "UTC"},
		study.ActivateSite{AtSite: domain.ForSite(id, "01"), On: "2020-01-01"},
		enrollment.OpenEnrollment{InStudy: domain.ForStudy(id), Caps: enrollment.Caps{Target: 50, Study: 50}},
	} {
		in.must(manager, command)
	}
	for i := range phones {
		who := domain.NewPatientID(id, fmt.Sprint(i))
		in.must(crc, patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: fmt.Sprint(i), On: "2020-01-01"})
		in.must(crc, patient.RecordConsent{OfPatient: domain.ForPatient(who), ConsentVersion: "1", On: "2020-01-01"})
		requested := in.must(crc, patient.EnrollPatient{OfPatient: domain.ForPatient(who), On: "2020-01-01"}).Position
		in.waitEnrolled(crc, who, requested)
		in.must(crc, diary.AssignInstrument{
			OfPatient: domain.ForPatient(who), Instrument: "pain-diary", From: "2020-01-01", Until: "2026-01-01", On: "2020-01-01",
		})
		in.must(admin, user.GrantRole{OfUser: domain.ForUser("phones"), Grant: user.Grant{Role: user.PatientRole, Study: id, Patient: who}})
	}
}

// submit submits the diary of a day with its idempotency key, and reports whether it was acknowledged.
func submit(url, token string, who domain.PatientID, day domain.Date) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]any{
		"patient": who, "instrument": "pain-diary", "capturedAt": string(day) + "T20:30:00Z",
		"answers": map[string]any{"worst": 5, "least": 1, "average": 3, "now": 2, "rescue": false},
	})
	if err != nil {
		return false
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/commands/SubmitDiary", strings.NewReader(string(body)))
	if err != nil {
		return false
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Idempotency-Key", string(who)+string(day))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK
}
