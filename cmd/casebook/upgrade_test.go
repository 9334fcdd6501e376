package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	projectionviews "casebook/readmodels/projection"
)

// nextRelease are the changes that make a newer program of the sources: a new version of an event, a new type of event in the
// same streams, and a new version of a view. Each is the text that is replaced in a file, and what takes its place.
var nextRelease = map[string][][2]string{
	"domain/patient/events.go": {
		{`domain.Stored[ConsentRecorded]("ConsentRecorded", domain.Unchanged),`,
			`domain.Stored[ConsentRecorded]("ConsentRecorded", domain.Unchanged, domain.Unchanged),
	domain.Stored[Greeted]("PatientGreeted").InNoView("it changes nothing"),`},
		{`func (Screened) patientEvent() `, `// Greeted is new in this release.
type Greeted struct{ Patient domain.PatientID }

func (Greeted) patientEvent() {}
func (Screened) patientEvent() `},
	},
	"domain/patient/screen.go": {{`		RescreeningOf: cmd.RescreeningOf}}, nil`,
		`		RescreeningOf: cmd.RescreeningOf},
		Greeted{Patient: domain.NewPatientID(cmd.Study, cmd.ScreeningNumber)}}, nil`}},
	"readmodels/patient/patientlist.go": {{
		fmt.Sprintf(`Name: "patient-list", Version: %d`, patientviews.PatientLists.Version),
		fmt.Sprintf(`Name: "patient-list", Version: %d`, patientviews.PatientLists.Version+1),
	}},
}

// buildNext builds the newer program, and returns its file.
func buildNext(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, changes := range nextRelease {
		source, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		text := string(source)
		for _, c := range changes {
			if strings.Count(text, c[0]) != 1 {
				t.Fatalf("%s does not have this once: %s", file, c[0])
			}
			text = strings.Replace(text, c[0], c[1], 1)
		}
		changed := filepath.Join(dir, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, file)] = changed
	}
	described, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	overlayFile, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "casebook")
	if err := os.WriteFile(overlayFile, described, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlayFile, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("the newer program does not build: %v\n%s", err, out)
	}
	return program
}

// TestTwoVersionsSideBySide runs this program and a newer one on one log, as while processes are replaced one after the other, or
// back. The older one meets events of a newer version and of a type that it does not know. It goes on with all else, lists what
// it cannot read with the reason, and stays ready. The newer one does what the older one cannot, and shows everything at the end.
func TestTwoVersionsSideBySide(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a program")
	}
	const id = domain.StudyID("UP1")
	stores, process, address, _ := apart(t)
	process.program = buildNext(t)
	stores.begin()
	older := func() installation {
		flags := flagsFor(t.TempDir())
		for _, given := range process.env {
			name, url, _ := strings.Cut(given, "=")
			*map[string]*string{"CASEBOOK_EVENTSTORE": &flags.Stores.Eventstore, "CASEBOOK_MONGO": &flags.Stores.Mongo}[name] = url
		}
		flags.Stores.BlindingKeyFile = process.flags[slices.Index(process.flags, "--blinding-key-file")+1]
		flags.KeyFile = process.flags[slices.Index(process.flags, "--key-file")+1]
		s, err := start(t.Context(), flags, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return installation{server: s, t: t, url: s.url()}
	}
	old, next := older(), installation{t: t, url: "http://" + address}
	within := func(what string, holds func() bool) {
		t.Helper()
		begun := time.Now()
		for ; !holds(); time.Sleep(50 * time.Millisecond) {
			if time.Since(begun) > time.Minute {
				t.Fatalf("it never came to this: %s", what)
			}
		}
		t.Logf("%s after %s", what, time.Since(begun).Round(time.Millisecond))
	}
	auditor := old.account("auditor", user.Grant{Role: user.Auditor, Study: id})
	manager := old.account("manager", user.Grant{Role: user.DataManager, Study: id})
	crc := old.account("crc", user.Grant{Role: user.CRC, Study: id, Site: "01"})
	for _, command := range []any{
		study.CreateStudy{InStudy: domain.ForStudy(id), Title: "x", Sponsor: "y"},
		study.PublishProtocolVersion{InStudy: domain.ForStudy(id), Protocol: study.Protocol{Version: 1, ConsentVersion: "1",
			Instruments: []instrument.Definition{*instrument.PainDiary()}}},
		study.AddSite{AtSite: domain.ForSite(id, "01"), Name: "Site", Country: "DE", Zone: "UTC"},
		study.ActivateSite{AtSite: domain.ForSite(id, "01"), On: "2020-01-01"},
		enrollment.OpenEnrollment{InStudy: domain.ForStudy(id), Caps: enrollment.Caps{Target: 50, Study: 50}},
	} {
		old.must(manager, command)
	}
	request := func(by installation, number string) domain.PatientID {
		t.Helper()
		who := domain.NewPatientID(id, number)
		by.must(crc, patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: number, On: "2020-01-01"})
		by.must(crc, patient.RecordConsent{OfPatient: domain.ForPatient(who), ConsentVersion: "1", On: "2020-01-01"})
		by.must(crc, patient.EnrollPatient{OfPatient: domain.ForPatient(who), On: "2020-01-01"})
		return who
	}
	enrolled := func(who domain.PatientID) func() bool {
		return func() bool {
			for e, err := range old.log.ReadStream(t.Context(), patient.Decider.Stream(string(who)), 0) {
				if undecodable := (*eventlog.UndecodableError)(nil); err != nil && !errors.As(err, &undecodable) {
					t.Fatal(err)
				}
				if e.Type == "PatientEnrolled" {
					return true
				}
			}
			return false
		}
	}
	shown := func(by installation) map[domain.PatientID]patient.Status {
		t.Helper()
		var list readmodels.List[patientviews.PatientRow]
		by.query(manager, "/api/v1/studies/"+string(id)+"/patients", 0, &list)
		all := map[domain.PatientID]patient.Status{}
		for _, row := range list.Items {
			all[row.Patient] = row.Status
		}
		return all
	}
	// listed returns the active build of the patient list.
	listed := func(by installation) projectionviews.Projection {
		t.Helper()
		var list projectionviews.ProjectionList
		by.query(manager, "/api/v1/projections", 0, &list)
		for _, p := range list.Items {
			if p.View == patientviews.PatientLists.Name {
				return p
			}
		}
		t.Fatal("the patient list is not listed")
		return projectionviews.Projection{}
	}
	ready := func(when string) {
		t.Helper()
		if status, failed := probe(t, old.httpAddress, "/readyz"); status != http.StatusOK {
			t.Errorf("%s, /readyz of the older program answers %d, and %q have failed", when, status, failed)
		}
	}

	first := request(old, "1")
	within("the first patient is enrolled", enrolled(first))
	process.begin()
	awaitReadiness(t, address, "the newer program", 20*time.Second, http.StatusOK, none)
	second := request(next, "2")
	within("the patient of the newer program is enrolled", enrolled(second))
	third := request(old, "3")
	within("the patient of the older program is enrolled", enrolled(third))
	within("the older program's views show what it can read", func() bool {
		all := shown(old)
		return all[first] == patient.StatusEnrolled && all[third] == patient.StatusEnrolled && all[second] == patient.StatusScreened
	})
	if p := listed(old); len(p.LeftOut) != 1 || p.LeftOut[0].Stream != patient.Decider.Stream(string(second)) || p.LeftOut[0].Revision != 2 ||
		p.State != readmodels.Live || p.Version != patientviews.PatientLists.Version {
		t.Errorf("the older program lists %+v", p)
	}
	printed := tool(t, exitOK, "projections", "list", "--eventstore", old.stores.eventStoreURL, "--mongo", old.stores.mongoURL)
	if !strings.Contains(printed, "read ConsentRecorded: unknown version ") {
		t.Errorf("the list does not tell the reason:\n%s", printed)
	}
	within("the audit trail shows the two events that the older program cannot read", func() bool {
		var trail struct{ Items []struct{ Unreadable bool } }
		old.query(auditor, "/api/v1/audit/studies/"+string(id)+"/events?limit=100", 0, &trail)
		unreadable := 0
		for _, e := range trail.Items {
			if e.Unreadable {
				unreadable++
			}
		}
		return unreadable == 2
	})
	ready("with events of the newer program")
	again := patient.RecordConsent{OfPatient: domain.ForPatient(second), ConsentVersion: "1", On: "2020-01-01"}
	if status, _, text := old.command(crc, "", again); status != http.StatusServiceUnavailable || !strings.Contains(text, "record_newer") {
		t.Errorf("the older program answers a command on what it cannot read with %d %s", status, text)
	}
	if status, _, text := next.command(crc, "", again); status != http.StatusConflict || !strings.Contains(text, "consent_recorded") {
		t.Errorf("the newer program answers the same command with %d %s", status, text)
	}
	next.must(crc, patient.WithdrawConsent{OfPatient: domain.ForPatient(first), On: "2020-01-02"})
	within("the older program shows what the newer one did with its patient", func() bool {
		return shown(old)[first] == patient.StatusWithdrawn
	})

	if err := old.close(); err != nil {
		t.Errorf("the older program ended with %v", err)
	}
	all := map[domain.PatientID]patient.Status{first: patient.StatusWithdrawn, second: patient.StatusEnrolled, third: patient.StatusEnrolled}
	within("the newer program shows everything", func() bool {
		p, now := listed(next), shown(next)
		return p.Version == patientviews.PatientLists.Version+1 && p.State == readmodels.Live && len(p.LeftOut) == 0 &&
			now[first] == all[first] && now[second] == all[second] && now[third] == all[third]
	})

	old = older()
	ready("started beside the newer program")
	fourth := request(old, "4")
	within("the patient of the older program that came back is enrolled", enrolled(fourth))
	within("both programs show everything", func() bool {
		return shown(next)[fourth] == patient.StatusEnrolled && shown(old)[fourth] == patient.StatusEnrolled &&
			shown(old)[second] == patient.StatusEnrolled
	})
	if p := listed(old); p.Version != patientviews.PatientLists.Version+1 || p.State != readmodels.Live || p.Keeper == nil ||
		p.Keeper.PID != process.Process.Pid {
		t.Errorf("the patient list is %+v", p)
	}
	ready("beside the newer program")
	if err := old.close(); err != nil {
		t.Error(err)
	}
	process.end()
	stores.end()
}
