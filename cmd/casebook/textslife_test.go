package main

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/study"
	"casebook/domain/user"
)

// TestDailyLifeOfTexts gives reasons with names in them, looks for these in all that the program has stored and logged, and destroys
// the key of one.
func TestDailyLifeOfTexts(t *testing.T) {
	const id = domain.StudyID("TEXT")
	in, inStudy := install(t), domain.ForStudy(id)
	at := func(site domain.SiteID, role user.Role, name domain.UserID) string {
		return in.account(name, user.Grant{Role: role, Study: id, Site: site})
	}
	s := &site{installation: in, study: id, manager: at("", user.DataManager, "manager"), crc: at("01", user.CRC, "crc.one")}
	monitor, auditor := at("01", user.Monitor, "monitor"), at("", user.Auditor, "auditor")
	in.must(s.manager, study.CreateStudy{InStudy: inStudy, Title: "Texts", Sponsor: "Nobody"})
	in.must(s.manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
		Criteria: []study.Criterion{{ID: "adult"}}}})
	in.must(s.manager, study.AddSite{AtSite: domain.ForSite(id, "01"), Name: "Hospital 01", Country: "DE", Zone: "UTC"})
	in.must(s.manager, study.ActivateSite{AtSite: domain.ForSite(id, "01"), On: "2026-01-01"})
	first, second := s.screened(nil), s.screened(nil)
	const why, other = "Frau Beispielhuber sagt \"nein\"", "Herr Musterfrau-Klein ist verzogen"
	names := []string{"Beispielhuber", "Musterfrau-Klein"}
	failure := patient.RecordScreenFailure{OfPatient: first, On: "2026-03-02", Reasoned: domain.Because(why)}
	var answers []string
	for range 2 { // the second time, the first answer was lost
		status, _, text := in.command(s.crc, "failure-1", failure)
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
		answers = append(answers, text)
	}
	if !strings.Contains(answers[0], `"reason":"Frau Beispielhuber sagt \"nein\""`) || answers[0] != answers[1] {
		t.Errorf("the sender sees\n%s\n%s", answers[0], answers[1])
	}
	position := in.must(s.crc, patient.RecordScreenFailure{OfPatient: second, On: "2026-03-02", Reasoned: domain.Because(other)}).Position

	// Who may see them sees them, in every view and in the trail.
	type row struct{ Type, Reason, EndReason, Patient string }
	reasons := func(token, path string) map[string]string {
		t.Helper()
		var list struct{ Items []row }
		in.query(token, path, position, &list)
		found := map[string]string{}
		for _, r := range list.Items {
			if text := r.Reason + r.EndReason; text != "" {
				found[r.Patient] = text
			}
		}
		return found
	}
	const trail, patients = "/api/v1/audit/studies/TEXT/events?type=ScreenFailureRecorded", "/api/v1/studies/TEXT/patients?site=01"
	for _, asked := range []struct{ token, path string }{{s.crc, patients}, {monitor, patients}, {auditor, trail}} {
		found := reasons(asked.token, asked.path)
		if found[string(first.Patient)] != why || found[string(second.Patient)] != other {
			t.Errorf("%s shows %v", asked.path, found)
		}
	}

	// Nothing of it is stored or logged in the clear.
	mustNotBeStored(t, in.dir, names)

	// Where the key of one is destroyed, it is gone, and nothing else is.
	for e, err := range in.log.ReadStream(t.Context(), patient.Decider.Stream(string(first.Patient)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if failed, is := e.Event.(patient.ScreenFailureRecorded); is {
			key, _, _ := strings.Cut(string(failed.Reason)[1:], ":")
			if err := in.identities.Destroy(t.Context(), personal.KeyID(key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, asked := range []struct{ token, path string }{{s.crc, patients}, {auditor, trail}} {
		found := reasons(asked.token, asked.path)
		if found[string(first.Patient)] != personal.Redacted || found[string(second.Patient)] != other {
			t.Errorf("after the redaction, %s shows %v", asked.path, found)
		}
	}
	var view map[string]any
	in.query(s.crc, "/api/v1/patients/"+string(first.Patient), 0, &view)
	text, err := json.Marshal(view)
	if err != nil {
		t.Fatal(err)
	}
	mustLack(t, "the patient's view", text, names[:1])
	if !strings.Contains(string(text), personal.Redacted) {
		t.Errorf("the patient's view is %s", text)
	}

	// Nobody can send a sealed text, which would show a text of another place.
	status, _, problem := in.command(s.crc, "", patient.RecordScreenFailure{OfPatient: second, On: "2026-03-03",
		Reasoned: domain.Because(personal.SealedText("a", []byte("b"), []byte("c")))})
	if status != http.StatusBadRequest || !strings.Contains(problem, "value_unprintable") {
		t.Errorf("a sealed text is taken: %d %s", status, problem)
	}
}

// TestTextsWaitForTheStoreOfKeys takes the store of keys away: what has a text is refused, and all else goes on.
func TestTextsWaitForTheStoreOfKeys(t *testing.T) {
	s := openDiarySite(t)
	of, day := s.takesPart(40, "pain"), s.ago(2)
	s.must(s.crc, s.onPaper(of, "pain", s.ago(3)))
	if err := s.identities.Close(); err != nil {
		t.Fatal(err)
	}
	status, _, text := s.command(s.crc, "", s.onPaper(of, "pain", s.ago(1)))
	if status != http.StatusServiceUnavailable {
		t.Errorf("a text without its key is answered %d %s", status, text)
	}
	position := s.must(s.phone(of), s.filledIn(of, "pain", day)).Position
	for _, d := range s.diaries(of, "?instrument=pain", position) {
		if d.Window == ofDay(s.ago(3)) && (d.Reason != personal.Unavailable || d.Answers["worst"] != 3.0) {
			t.Errorf("without the store of keys, the diary is %+v", d)
		}
	}
}

// TestDailyLifeOfTextsInDiaries has a patient write names into a diary, which is corrected, sent again and redacted.
func TestDailyLifeOfTextsInDiaries(t *testing.T) {
	s := openDiarySite(t)
	of, day := s.takesPart(40, "worded"), s.ago(2)
	investigator := s.investigator(false)
	phone := s.phone(of)
	entry := s.filledIn(of, "worded", day)
	entry.Zone, entry.Answers["note"] = "UTC", "Karl-Heinz Musterfrau-Klein made me walk"
	names := []string{"Karl-Heinz", "Musterfrau-Klein"}
	s.must(phone, entry)
	status, answer, text := s.command(phone, "another key", entry)
	if status != http.StatusOK || len(answer.Events) != 1 || !strings.Contains(text, "Karl-Heinz") {
		t.Errorf("sent again, it is answered %d %s", status, text)
	}
	asked := s.must(phone, diary.AskDiaryCorrection{OfPatient: of, Instrument: "worded", Window: ofDay(day),
		Answers: diary.Answers{"worst": 5}, Reasoned: domain.Because("Karl-Heinz says five")})
	position := s.must(investigator, diary.CorrectDiary{OfPatient: of, Request: 1, Reasoned: domain.Because("asked Karl-Heinz")}).Position
	d := s.diary(of, "worded", ofDay(day), max(position, asked.Position))
	if d.Answers["note"] != entry.Answers["note"] || d.Answers["worst"] != 5.0 || len(d.Corrections) != 1 ||
		d.Corrections[0].Reason != "Karl-Heinz says five" {
		t.Fatalf("the site sees %+v", d)
	}
	mustNotBeStored(t, s.dir, names)
	// The note itself is corrected, twice, and the diary is moved with it.
	for n, note := range []string{"Karl-Heinz made me run", "Karl-Heinz made me walk and run"} {
		s.must(phone, diary.AskDiaryCorrection{OfPatient: of, Instrument: "worded", Window: ofDay(day),
			Answers: diary.Answers{"note": note}, Reasoned: domain.Because("misheard Karl-Heinz")})
		position = s.must(investigator, diary.CorrectDiary{OfPatient: of, Request: n + 2, Reasoned: domain.Because("asked Karl-Heinz")}).Position
		if d = s.diary(of, "worded", ofDay(day), position); d.Answers["note"] != note || d.Answers["worst"] != 5.0 {
			t.Errorf("after the correction of the note, the site sees %+v", d)
		}
	}
	moved := s.ago(3)
	position = s.must(s.investigator(false), diary.CorrectDiaryWindow{OfPatient: of, Instrument: "worded", From: ofDay(day), To: ofDay(moved),
		Reasoned: domain.Because("Karl-Heinz had the wrong day")}).Position
	if d = s.diary(of, "worded", ofDay(moved), position); d.Answers["note"] != "Karl-Heinz made me walk and run" {
		t.Errorf("after the move, the site sees %+v", d)
	}
	s.must(phone, diary.AskDiaryCorrection{OfPatient: of, Instrument: "worded", Window: ofDay(moved),
		Answers: diary.Answers{"worst": 4}, Reasoned: domain.Because("it was four")})
	position = s.must(investigator, diary.CorrectDiary{OfPatient: of, Request: 4, Reasoned: domain.Because("asked")}).Position
	if d = s.diary(of, "worded", ofDay(moved), position); d.Answers["note"] != "Karl-Heinz made me walk and run" || d.Answers["worst"] != 4.0 {
		t.Errorf("after the correction of what was moved, the site sees %+v", d)
	}
	mustNotBeStored(t, s.dir, names)
	for e, err := range s.log.ReadStream(t.Context(), diary.Decider.Stream(string(of.Patient)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if submitted, is := e.Event.(diary.Submitted); is {
			note, _ := submitted.Answers["note"].(personal.Text)
			if !note.Sealed() {
				t.Fatalf("the log tells %v", submitted.Answers)
			}
			key, _, _ := strings.Cut(string(note)[1:], ":")
			if err := s.identities.Destroy(t.Context(), personal.KeyID(key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	d = s.diary(of, "worded", ofDay(moved), 0)
	if d.Answers["note"] != personal.Redacted || d.Answers["worst"] != 4.0 || d.Corrections[0].Reason != "it was four" {
		t.Errorf("after the redaction of the note, the site sees %+v", d)
	}
	if again := s.must(phone, entry); len(again.Events) != 1 {
		t.Errorf("sent again after the redaction, it is answered %+v", again)
	}
}

// TestTextsOfADiaryThatNobodyHasAssigned has a patient write a name, in few words, into a diary that no instrument can check. It is
// taken when it is assigned, and its text is looked at then.
func TestTextsOfADiaryThatNobodyHasAssigned(t *testing.T) {
	s := openDiarySite(t)
	of, day := s.takesPart(40, "pain"), s.ago(2)
	phone := s.phone(of)
	entry := s.filledIn(of, "worded", day)
	entry.Zone, entry.Answers["note"], entry.Answers["mood"] = "UTC", "Karl-Heinz fell", "bad"
	held := s.must(phone, entry).Held
	if held.Why != diary.WhyNotAssigned {
		t.Fatalf("the entry is held for %q", held.Why)
	}
	mustNotBeStored(t, s.dir, []string{"Karl-Heinz"})
	assigned := s.assign(of, "worded", s.ago(14), s.ago(14))
	if again := s.must(phone, entry); again.Held != held {
		t.Errorf("sent again after the assignment, it is answered %+v", again)
	}
	var list struct {
		Items []struct {
			Answers map[string]any
		}
	}
	s.query(s.crc, "/api/v1/studies/DIARY/held-diaries?site=01", assigned.Position, &list)
	if len(list.Items) != 1 || list.Items[0].Answers["note"] != "Karl-Heinz fell" || list.Items[0].Answers["mood"] != "bad" {
		t.Errorf("the site sees %+v", list)
	}
	position := s.must(s.investigator(false), diary.CorrectDiaryWindow{OfPatient: of, Instrument: "worded", From: held.ID, To: ofDay(day),
		Reasoned: domain.Because("assigned now")}).Position
	d := s.diary(of, "worded", ofDay(day), position)
	if d.Answers["note"] != "Karl-Heinz fell" || d.Answers["mood"] != "bad" || !slices.Equal(d.Risks, []string{"fall"}) {
		t.Errorf("the diary that was taken is %+v", d)
	}
	mustNotBeStored(t, s.dir, []string{"Karl-Heinz"})

	// Without the store of keys, another one waits.
	other := s.takesPart(40, "pain")
	entry = s.filledIn(other, "worded", day)
	entry.Answers["note"] = "Karl-Heinz fell again"
	waiting := s.must(s.phone(other), entry).Held
	s.assign(other, "worded", s.ago(14), s.ago(14))
	if err := s.identities.Close(); err != nil {
		t.Fatal(err)
	}
	status, _, text := s.command(s.investigator(false), "", diary.CorrectDiaryWindow{OfPatient: other, Instrument: "worded",
		From: waiting.ID, To: ofDay(day),
		Reasoned: domain.Because("assigned now")})
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "texts_unavailable") {
		t.Errorf("without the store of keys, taking is answered %d %s", status, text)
	}
}

// mustNotBeStored looks for words in all files of a data directory.
func mustNotBeStored(t *testing.T, dir string, words []string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if data, err := os.ReadFile(path); err == nil {
			mustLack(t, path, data, words)
			files++
		}
		return nil // a store may remove its files meanwhile
	})
	if err != nil || files < 5 {
		t.Fatalf("%d files were looked at, %v", files, err)
	}
}

// openedText returns a text as the API shows it.
func openedText(t *testing.T, in installation, text personal.Text) (shown string) {
	t.Helper()
	sealed, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := personal.OpenTexts(t.Context(), in.identities, sealed)
	if err == nil {
		err = json.Unmarshal(opened, &shown)
	}
	if err != nil {
		t.Fatal(err)
	}
	return shown
}
