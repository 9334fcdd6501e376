package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/api"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/record"
	"casebook/domain/user"
	"casebook/embedded/storetest"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	"casebook/simulation"
)

// heldSite is a study whose patients have phones.
type heldSite struct{ *diarySite }

// appOf is a phone of a patient: what it has captured, and in which order.
type appOf struct {
	s      *heldSite
	of     domain.OfPatient
	token  string
	device user.DeviceID
	last   int64
	kept   []diary.SubmitDiary
}

const phonePassword = "velvet anchor copper mist"

// enrolPhone signs the patient in on a device, which enrols it. The account is made when its first device comes.
func (s *heldSite) enrolPhone(of domain.OfPatient, device user.DeviceID) *appOf {
	s.t.Helper()
	return s.enrolPhoneWithKey(of, device, "")
}

// enrolPhoneWithKey is enrolPhone for a phone that signs its entries.
func (s *heldSite) enrolPhoneWithKey(of domain.OfPatient, device user.DeviceID, key user.DeviceKey) *appOf {
	s.t.Helper()
	id := domain.UserID("phone." + strings.ToLower(string(of.Patient)))
	if s.phones[id] == "" {
		s.phone(of)
		s.setsPassword(id)
	}
	p := s.signsInOn(of, id, device, key)
	s.phones[id] = p.token
	return p
}

// setsPassword has an account choose a password.
func (s *heldSite) setsPassword(id domain.UserID) {
	s.t.Helper()
	s.installation.send(access.Principal{User: id, AuthenticatedAt: time.Now()},
		user.ChangePassword{OfUser: domain.ForUser(id), Password: phonePassword})
}

// signsInOn signs an account in on a device, which enrols it.
func (s *heldSite) signsInOn(of domain.OfPatient, id domain.UserID, device user.DeviceID, key user.DeviceKey) *appOf {
	s.t.Helper()
	body, err := json.Marshal(api.SignIn{User: id, Password: phonePassword, Device: user.DeviceAtSignIn{ID: device, Key: key}})
	if err != nil {
		s.t.Fatal(err)
	}
	status, text := s.post("/api/v1/sign-in", "", body)
	var session api.Session
	if err := json.Unmarshal([]byte(text), &session); err != nil || status != http.StatusOK {
		s.t.Fatalf("sign-in is answered %d %s", status, text)
	}
	return &appOf{s: s, of: of, token: session.Token, device: device}
}

func (s *heldSite) post(path, token string, body []byte) (int, string) {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodPost, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return s.do(request, token)
}

// captures is what the phone keeps of one entry: it has a number, and is sent under one key.
func (p *appOf) captures(id instrument.ID, at time.Time, worst int) diary.SubmitDiary {
	p.last++
	c := diary.SubmitDiary{OfPatient: p.of, Instrument: id, CapturedAt: at, Answers: scale(worst), Device: p.device, Sequence: p.last,
		MonotonicMs: 60_000 * p.last}
	p.kept = append(p.kept, c)
	return c
}

func (p *appOf) key(sequence int64) string { return fmt.Sprintf("%s-%d", p.device, sequence) }

// sent is the answer to one entry.
type sent struct {
	Stream   string         `json:"stream"`
	Revision uint64         `json:"revision"`
	Held     *commands.Held `json:"held"`
	Events   []struct {
		ID   string          `json:"id"`
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	} `json:"events"`
	Position uint64 `json:"position"`
}

// entry returns the entry that was recorded, with what both kinds of it have.
func (a sent) entry() (e diary.Submitted) {
	_ = json.Unmarshal(a.Events[0].Data, &e)
	return e
}

// sends sends an entry by itself, which has to be accepted, and returns the answer.
func (p *appOf) sends(c diary.SubmitDiary, key string) (a sent) {
	p.s.t.Helper()
	status, _, text := p.s.command(p.token, key, c)
	if err := json.Unmarshal([]byte(text), &a); err != nil || status != http.StatusOK {
		p.s.t.Fatalf("the entry %+v is answered %d %s", c, status, text)
	}
	return a
}

// batch sends entries together, and returns what became of each.
func (p *appOf) batch(entries ...diary.SubmitDiary) []api.BatchItem {
	p.s.t.Helper()
	b := api.Batch{Commands: []api.BatchCommand{}}
	for _, c := range entries {
		body, err := json.Marshal(c)
		if err != nil {
			p.s.t.Fatal(err)
		}
		b.Commands = append(b.Commands, api.BatchCommand{Command: "SubmitDiary", Key: p.key(c.Sequence), Body: body})
	}
	body, err := json.Marshal(b)
	if err != nil {
		p.s.t.Fatal(err)
	}
	status, text := p.s.post("/api/v1/commands:batch", p.token, body)
	var answer api.BatchAnswer
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != http.StatusOK {
		p.s.t.Fatalf("the batch is answered %d %s", status, text)
	}
	return answer.Items
}

// isHeldFor checks that an answer says plainly that the entry is held, and why.
func (s *heldSite) isHeldFor(a sent, why diary.Why) string {
	s.t.Helper()
	if a.Held == nil || a.Held.Why != why || len(a.Events) != 1 || a.Events[0].Type != "DiaryHeld" || a.Held.ID != a.entry().Window.ID {
		s.t.Fatalf("the answer is %+v, want that it is held for %s", a, why)
	}
	return a.Held.ID
}

// worklist returns the held diaries of the site.
func (s *heldSite) worklist(token, narrowed string, position uint64) []diaryviews.HeldDiary {
	s.t.Helper()
	var list readmodels.List[diaryviews.HeldDiary]
	s.query(token, fmt.Sprintf("/api/v1/studies/%s/held-diaries?site=01&limit=100%s", s.study, narrowed), position, &list)
	return list.Items
}

// devices returns what the patient's own app sees of the devices.
func (p *appOf) devices(position uint64) map[user.DeviceID]diaryviews.DiaryDevice {
	p.s.t.Helper()
	var list readmodels.List[diaryviews.DiaryDevice]
	p.s.query(p.token, fmt.Sprintf("/api/v1/patients/%s/diary-devices", p.of.Patient), position, &list)
	all := map[user.DeviceID]diaryviews.DiaryDevice{}
	for _, d := range list.Items {
		all[d.Device] = d
	}
	return all
}

// TestNoDiaryIsLost plays, over HTTP, what happens to diaries that cannot count. Each scenario has the name that the people of a trial
// give it.
func TestNoDiaryIsLost(t *testing.T) {
	s := &heldSite{openDiarySite(t)}
	because := domain.Because("The patient was asked by telephone")
	investigator := s.investigator(false)

	t.Run("two phones, one window", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		p, other := s.enrolPhone(of, "phone-1"), s.enrolPhone(of, "phone-2")
		first := p.captures("pain", s.at(s.ago(3), "20:30"), 3)
		first.Zone = "UTC"
		counted := p.sends(first, "")
		if counted.Held != nil || counted.entry().Window.ID != ofDay(s.ago(3)) {
			t.Fatalf("the first entry is answered %+v", counted)
		}
		// The same again, under another key: the answer that it got before.
		if again := p.sends(first, "another"); again.Held != nil || len(again.Events) != 1 || again.Events[0].ID != counted.Events[0].ID {
			t.Errorf("the same entry is answered %+v, and was answered %+v", again, counted)
		}
		second := other.captures("pain", s.at(s.ago(3), "21:00"), 9)
		second.Zone = "UTC"
		answer := other.sends(second, "key")
		held := s.isHeldFor(answer, diary.WhyAnswered)
		for _, key := range []string{"key", "key of the second phone"} {
			if again := other.sends(second, key); again.Held == nil || *again.Held != *answer.Held || again.Events[0].ID != answer.Events[0].ID {
				t.Errorf("the same entry is answered %+v, and was answered %+v", again, answer)
			}
		}
		s.counts(of, answer.Position, diaryviews.Compliance{Closed: 1, Completed: 1, OnTime: 1, Held: 1})
		all := s.worklist(s.crc, "&why=diary_submitted&status=waiting&patient="+string(of.Patient), answer.Position)
		if len(all) != 1 {
			t.Fatalf("the worklist is %+v", all)
		}
		if h := all[0]; h.Held != held || h.Device != "phone-2" || h.Zone != "UTC" || h.Offset != "Z" || h.By == "" || h.Sequence != 1 ||
			h.Monotonic != 60_000 || h.Answers["worst"] != 9.0 ||
			h.Counts == nil || h.Counts.Device != "phone-1" || h.Counts.Answers["worst"] != 3.0 {
			t.Errorf("the worklist has %+v, and beside it %+v", h, h.Counts)
		}
		// The investigator takes the second one in place of the first.
		move := diary.CorrectDiaryWindow{OfPatient: of, Instrument: "pain", From: held, To: ofDay(s.ago(3)), Reasoned: because}
		s.refused(s.crc, "not_allowed", move) // a coordinator does not decide
		s.refused(investigator, "diary_submitted", move)
		s.must(investigator, diary.VoidDiary{OfPatient: of, Instrument: "pain", Window: ofDay(s.ago(3)), Reasoned: because})
		taken := s.must(investigator, move)
		s.counts(of, taken.Position, diaryviews.Compliance{Closed: 1, Completed: 1, OnTime: 1, Voided: 1})
		if all := s.worklist(s.crc, "&status=taken&patient="+string(of.Patient), taken.Position); len(all) != 1 ||
			all[0].TakenInto != ofDay(s.ago(3)) || all[0].DecidedBy != "dr.one" || all[0].Counts.Device != "phone-2" {
			t.Errorf("the worklist is %+v", all)
		}
		// Neither counts twice, however often they are sent.
		p.sends(first, "once more")
		s.counts(of, other.sends(second, "once more, the second").Position, diaryviews.Compliance{Closed: 1, Completed: 1, OnTime: 1, Voided: 1})
	})

	t.Run("lost phone, phone of another account", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		lost, p := s.enrolPhone(of, "phone-1"), s.enrolPhone(of, "phone-2")
		captured := lost.captures("pain", s.at(s.ago(3), "20:30"), 3)
		account := domain.ForUser("phone." + domain.UserID(strings.ToLower(string(of.Patient))))
		s.installation.send(administrator("first.admin"), user.RevokeDevice{OfUser: account, Device: "phone-1", Reasoned: domain.Because("lost")})
		// Without a valid token, nothing is stored.
		before := s.diaries(of, "", 0)
		if status, _, text := s.command(lost.token, "", captured); status != http.StatusUnauthorized {
			t.Errorf("a revoked phone is answered %d %s", status, text)
		}
		if after := s.diaries(of, "", s.must(s.crc, diary.SetDiaryLanguage{OfPatient: of, Language: "de"}).Position); len(after) != len(before) {
			t.Errorf("a revoked phone has stored %+v", after)
		}
		// What it had captured comes from the next one.
		a := p.sends(captured, "")
		held := s.isHeldFor(a, diary.WhyDeviceRevoked)
		lent := p.captures("pain", s.at(s.ago(4), "20:30"), 3)
		lent.Device = "tablet-of-the-ward"
		s.isHeldFor(p.sends(lent, ""), diary.WhyDeviceNotEnrolled)
		taken := s.must(s.investigator(false), diary.CorrectDiaryWindow{OfPatient: of, Instrument: "pain", From: held, To: ofDay(s.ago(3)),
			Reasoned: because})
		s.counts(of, taken.Position, diaryviews.Compliance{Closed: 1, Completed: 1, OnTime: 1, Held: 1})
	})

	t.Run("clock ahead", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		p := s.enrolPhone(of, "phone-1")
		ahead := p.captures("pain", time.Now().Add(48*time.Hour).UTC().Truncate(time.Second), 3)
		a := p.sends(ahead, "")
		held := s.isHeldFor(a, diary.WhyInFuture)
		if again := p.sends(ahead, "another key"); again.Held == nil || *again.Held != *a.Held {
			t.Errorf("the same entry is answered %+v, and was answered %+v", again, a)
		}
		far := p.captures("pain", time.Date(9998, 1, 1, 20, 30, 0, 0, time.UTC), 3)
		aside := s.isHeldFor(p.sends(far, ""), diary.WhyInFuture)
		right := p.sends(p.captures("pain", s.at(s.ago(3), "20:30"), 3), "")
		if right.Held != nil {
			t.Errorf("an entry of the right clock is answered %+v", right)
		}
		shown := s.schedule(p.token, "")
		if len(shown.Devices) != 1 || shown.Devices[0].HeldThrough != 3 {
			t.Errorf("the schedule has the devices %+v", shown.Devices)
		}
		if all := s.worklist(s.crc, "&why=captured_in_future&status=waiting&patient="+string(of.Patient), right.Position); len(all) != 2 ||
			all[0].Held != held || !all[0].CapturedAt.Equal(ahead.CapturedAt) || all[1].Held != aside ||
			!all[1].CapturedAt.Equal(far.CapturedAt) {
			t.Errorf("the worklist is %+v", all)
		}
		if all := s.diaries(of, "?only=held", right.Position); len(all) != 2 {
			t.Errorf("the held diaries are %+v", all)
		}
		s.must(investigator, diary.CorrectDiaryWindow{OfPatient: of, Instrument: "pain", From: held, To: ofDay(s.ago(4)), Reasoned: because})
		last := s.must(investigator, diary.VoidDiary{OfPatient: of, Instrument: "pain", Window: aside, Reasoned: because})
		s.counts(of, last.Position, diaryviews.Compliance{Closed: 2, Completed: 2, OnTime: 1, Late: 1, Voided: 1})
		var list readmodels.List[patientviews.PatientRow]
		s.query(s.crc, fmt.Sprintf("/api/v1/studies/%s/patients?site=01&limit=100", s.study), last.Position, &list)
		for _, row := range list.Items {
			if row.Patient == of.Patient && (row.LastDiaryAt == nil || row.LastDiaryAt.After(time.Now())) {
				t.Errorf("the newest diary is of %v", row.LastDiaryAt)
			}
		}
	})

	t.Run("traveller", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		p := s.enrolPhone(of, "phone-1")
		evening := func(day domain.Date, offset int, zone string) diary.SubmitDiary {
			c := p.captures("pain", s.at(day, "20:00").Add(-time.Duration(offset)*time.Hour).In(time.FixedZone("", offset*3600)), 9)
			c.Zone = zone
			return c
		}
		// In Brisbane, where no clocks change, the evening of a day is its morning at home, and in Honolulu the morning of the next one.
		for day, at := range map[domain.Date]struct {
			offset int
			zone   string
		}{s.ago(9): {10, "Australia/Brisbane"}, s.ago(8): {-10, "Pacific/Honolulu"}} {
			a := p.sends(evening(day, at.offset, at.zone), "")
			if a.Held != nil || a.entry().Window.ID != ofDay(day) || a.entry().Late || len(a.Events) != 1 {
				t.Errorf("the evening of %s in %s is answered %+v", day, at.zone, a)
			}
		}
		contradiction := p.sends(evening(s.ago(7), 1, "Asia/Tokyo"), "")
		s.isHeldFor(contradiction, diary.WhyZoneContradicts)
		all := s.worklist(s.crc, "&why=zone_contradicts_offset", contradiction.Position)
		if len(all) != 1 || all[0].Zone != "Asia/Tokyo" || all[0].Offset != "+01:00" || all[0].For != "" {
			t.Errorf("the worklist is %+v", all)
		}
		s.refused(p.token, "unknown_zone", evening(s.ago(7), 0, "Mars/Olympus")) // the app can mend that
	})

	t.Run("not asked, too late, after the end", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		p := s.enrolPhone(of, "phone-1")
		s.isHeldFor(p.sends(p.captures("attacks", s.at(s.ago(3), "20:30"), 3), ""), diary.WhyNotAssigned)
		s.isHeldFor(p.sends(p.captures("pain", s.at(s.ago(20), "20:30"), 3), ""), diary.WhyTooEarly)
		s.must(s.crc, patient.EndParticipation{OfPatient: of, On: s.ago(5), Reason: patient.EndedByPhysician})
		a := p.sends(p.captures("pain", s.at(s.ago(4), "20:30"), 3), "")
		held := s.isHeldFor(a, diary.WhyNotParticipating)
		before := p.sends(p.captures("pain", s.at(s.ago(6), "20:30"), 3), "")
		if before.Held != nil {
			t.Errorf("what was captured before the end is answered %+v", before)
		}
		s.refused(s.investigator(false), "patient_not_participating", diary.CorrectDiaryWindow{OfPatient: of, Instrument: "pain", From: held,
			To:       ofDay(s.ago(7)),
			Reasoned: because})
		for _, h := range s.worklist(s.crc, "&patient="+string(of.Patient), before.Position) {
			a := s.must(investigator, diary.VoidDiary{OfPatient: of, Instrument: h.Instrument, Window: h.Held, Reasoned: because})
			if left := s.worklist(s.crc, "&status=waiting&patient="+string(of.Patient), a.Position); slices.ContainsFunc(left,
				func(l diaryviews.HeldDiary) bool { return l.Held == h.Held }) {
				t.Errorf("after it was set aside, the worklist has %+v", left)
			}
		}
		s.counts(of, 0, diaryviews.Compliance{Closed: 1, Completed: 1, OnTime: 1, Voided: 3})
	})

	t.Run("days offline, in any order", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		p := s.enrolPhone(of, "phone-1")
		var entries []diary.SubmitDiary
		for day := 14; day > 8; day-- {
			entries = append(entries, p.captures("pain", s.at(s.ago(day), "20:30"), 3))
		}
		items := p.batch(entries[5], entries[1], entries[0], entries[1], entries[3])
		for _, item := range items {
			if item.Status != http.StatusOK || item.Answer.Held != nil {
				t.Errorf("an entry is answered %+v", item)
			}
		}
		last := items[4].Answer.Position
		mother := s.account("mother", user.Grant{Role: user.Caregiver, Study: s.study, Patient: of.Patient, Relation: user.RelationParent})
		for name, token := range map[string]string{"the patient": p.token, "the mother": mother} { // at once, without a view
			shown := s.schedule(token, "").Devices
			if len(shown) != 1 || shown[0].Device != "phone-1" || shown[0].HeldThrough != 2 || shown[0].Highest != 6 ||
				!slices.Equal(shown[0].Gaps, []diary.Span{{First: 3, Last: 3}, {First: 5, Last: 5}}) {
				t.Errorf("the schedule of %s has the devices %+v", name, shown)
			}
			var list readmodels.List[diaryviews.DiaryDevice]
			if s.query(token, fmt.Sprintf("/api/v1/patients/%s/diary-devices", of.Patient), last, &list); len(list.Items) != 1 {
				t.Errorf("%s sees the devices %+v", name, list.Items)
			}
		}
		if d := p.devices(last)["phone-1"]; d.HeldThrough != 2 || d.Highest != 6 || d.Numbering != diaryviews.NumberingGaps ||
			!slices.Equal(d.Gaps, []diary.Span{{First: 3, Last: 3}, {First: 5, Last: 5}}) || d.Entries != 4 {
			t.Errorf("the device is %+v", d)
		}
		var gapped readmodels.List[diaryviews.DiaryDevice]
		s.query(s.crc, fmt.Sprintf("/api/v1/studies/%s/diary-devices?site=01&numbering=gaps", s.study), last, &gapped)
		if len(gapped.Items) != 1 || gapped.Items[0].Patient != of.Patient {
			t.Errorf("devices with gaps are %+v", gapped.Items)
		}
		items = p.batch(entries...)
		if shown := s.schedule(p.token, "").Devices; len(shown) != 1 || shown[0].HeldThrough != 6 || len(shown[0].Gaps) != 0 {
			t.Errorf("the schedule has the devices %+v", shown)
		}
		if d := p.devices(items[4].Answer.Position)["phone-1"]; d.HeldThrough != 6 || d.Numbering != diaryviews.NumberingComplete {
			t.Errorf("the device is %+v", d)
		}
		s.counts(of, items[4].Answer.Position, diaryviews.Compliance{Closed: 6, Completed: 6, OnTime: 6})

		// An item without a key would be done twice.
		status, text := s.post("/api/v1/commands:batch", p.token, []byte(`{"commands":[{"command":"SubmitDiary","body":{}}]}`))
		var answer api.BatchAnswer
		if err := json.Unmarshal([]byte(text), &answer); err != nil || status != http.StatusOK ||
			answer.Items[0].Status != http.StatusBadRequest ||
			answer.Items[0].Problem.Field != "idempotencyKey" {
			t.Errorf("an item without a key is answered %s", text)
		}
	})

	t.Run("damaged record", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		p := s.enrolPhone(of, "phone-1")
		s.eventually("the instruments of the phase are assigned", func() bool { return s.instrumentOf(of, "taken", 0).Instrument == "taken" })
		sound := p.captures("pain", s.at(s.ago(5), "20:30"), 3)
		before := p.sends(sound, "1")
		stream, forged := diary.StreamOf(of.Patient), before.Revision+1
		if _, err := storetest.Forge(t.Context(), s.stores.eventStoreURL, stream, "DiaryWindowMissed", []byte(`{}`), nil); err != nil {
			t.Fatal(err)
		}
		entry := p.captures("pain", s.at(s.ago(4), "20:30"), 3)
		a := p.sends(entry, "2")
		held := s.isHeldFor(a, diary.WhyDamaged)
		if a.Stream == stream || !strings.HasPrefix(a.Stream, stream+".") {
			t.Errorf("it is held in %s", a.Stream)
		}
		for _, key := range []string{"2", "3", ""} {
			if again := p.sends(entry, key); again.Held == nil || again.Events[0].ID != a.Events[0].ID {
				t.Errorf("the same entry is answered %+v, and was answered %+v", again, a)
			}
		}
		for _, key := range []string{"1", "4"} { // what was sound is answered as before
			if again := p.sends(sound, key); again.Held != nil || len(again.Events) != 1 || again.Events[0].ID != before.Events[0].ID {
				t.Errorf("a sound entry is answered %+v, and was answered %+v", again, before)
			}
		}
		if all := s.worklist(s.crc, "&why=record_damaged", a.Position); len(all) != 1 || all[0].Held != held || all[0].Patient != of.Patient {
			t.Errorf("the worklist is %+v", all)
		}
		if d := p.devices(a.Position)["phone-1"]; d.HeldThrough != 2 {
			t.Errorf("the device is %+v", d)
		}
		move := diary.CorrectDiaryWindow{OfPatient: of, Instrument: "pain", From: held, To: ofDay(s.ago(4)), Reasoned: because}
		s.refused(s.investigator(false), "record_damaged", move)
		damaged := record.OfStream{Stream: stream, Revision: forged}
		for _, who := range []domain.UserID{"first.admin", "second.admin"} {
			admin := administrator(who)
			admin.AuthenticatedAt = time.Now()
			if who == "first.admin" {
				s.installation.send(admin, record.ResolveDamage{OfStream: damaged, Reasoned: domain.Because("The credentials are replaced")})
			} else {
				s.installation.send(admin, record.ConfirmDamageResolution{OfStream: damaged})
			}
		}
		taken := s.must(s.investigator(false), move)
		s.refused(s.investigator(false), "diary_not_found", move)
		s.counts(of, taken.Position, diaryviews.Compliance{Closed: 2, Completed: 2, OnTime: 2})
	})
}

// TestR10_ThePhoneHasCapturedWhatItSigned plays phones with keys, over HTTP.
func TestR10_ThePhoneHasCapturedWhatItSigned(t *testing.T) {
	s := &heldSite{openDiarySite(t)}
	key, other := newPhoneKey(t), newPhoneKey(t)
	of := s.takesPart(54, "pain")
	p := s.enrolPhoneWithKey(of, "phone-1", key.Public)
	captured := func(day int, k simulation.PhoneKey) diary.SubmitDiary {
		c := p.captures("pain", s.at(s.ago(day), "20:30"), 3)
		c.Zone = "UTC"
		return signedBy(t, k, c)
	}
	first := captured(10, key)
	counted := p.sends(first, "1")
	if counted.Held != nil || counted.entry().Signature != first.Signature {
		t.Fatalf("a signed entry is answered %+v", counted)
	}
	again := signedBy(t, key, first)
	if again.Signature == first.Signature {
		t.Fatal("the signatures are the same")
	}
	for _, sent := range []string{"1", "2"} { // also under the same key
		if a := p.sends(again, sent); len(a.Events) != 1 || a.Events[0].ID != counted.Events[0].ID {
			t.Errorf("an entry that was signed again is answered %+v", a)
		}
	}
	unsigned := captured(9, key)
	unsigned.Signature = ""
	s.isHeldFor(p.sends(unsigned, ""), diary.WhyUnsigned)
	unnamed := unsigned
	unnamed.Device, unnamed.Sequence = "", 0
	s.isHeldFor(p.sends(unnamed, ""), diary.WhyUnsigned)
	altered := captured(8, key)
	altered.Answers = scale(9)
	held := p.sends(altered, "")
	s.isHeldFor(held, diary.WhyWrongSignature)
	if all := s.worklist(s.crc, "&why=signature_wrong", held.Position); len(all) != 1 || all[0].Answers["worst"] != 9.0 {
		t.Errorf("the worklist is %+v", all)
	}
	for _, item := range p.batch(captured(7, key), captured(6, other)) {
		if day := item.Answer.Events[0].Type; item.Status != http.StatusOK || (item.Answer.Held != nil) != (day == "DiaryHeld") {
			t.Errorf("an entry of a batch is answered %+v", item)
		}
	}
	// The phone is enrolled again with another key, and sends what it has signed with the first one.
	p.token = s.enrolPhoneWithKey(of, "phone-1", other.Public).token
	for day, k := range map[int]simulation.PhoneKey{5: key, 4: other} {
		if a := p.sends(captured(day, k), ""); a.Held != nil {
			t.Errorf("an entry of day %d is answered %+v", day, a)
		}
	}
	// It is revoked and replaced: what comes with its old keys is held.
	lost := captured(3, key)
	account := domain.ForUser("phone." + domain.UserID(strings.ToLower(string(of.Patient))))
	s.installation.send(administrator("first.admin"), user.RevokeDevice{OfUser: account, Device: "phone-1", Reasoned: domain.Because("lost")})
	replaced := newPhoneKey(t)
	p.token = s.enrolPhoneWithKey(of, "phone-2", replaced.Public).token
	s.isHeldFor(p.sends(lost, ""), diary.WhyDeviceRevoked)
	p.token = s.enrolPhoneWithKey(of, "phone-1", replaced.Public).token
	s.isHeldFor(p.sends(captured(2, key), ""), diary.WhyWrongSignature)
	if a := p.sends(captured(1, replaced), ""); a.Held != nil {
		t.Errorf("the new phone is answered %+v", a)
	}
}

// TestAPhoneIsToldOnlyOfItsOwnEntries has the mother's account send entries under the name of the patient's phone: whatever the site
// decides about them, the phone's own numbers are those of what the phone has sent.
func TestAPhoneIsToldOnlyOfItsOwnEntries(t *testing.T) {
	s := &heldSite{openDiarySite(t)}
	of := s.takesPart(54, "pain")
	p := s.enrolPhone(of, "phone-1")
	if a := p.sends(p.captures("pain", s.at(s.ago(9), "20:30"), 3), ""); a.Held != nil {
		t.Fatalf("the first entry is answered %+v", a)
	}
	own := []diary.SubmitDiary{p.captures("pain", s.at(s.ago(8), "20:30"), 3), p.captures("pain", s.at(s.ago(7), "20:30"), 3)}

	s.account("mother", user.Grant{Role: user.Caregiver, Study: s.study, Patient: of.Patient, Relation: user.RelationParent})
	s.setsPassword("mother")
	mother := s.signsInOn(of, "mother", "tablet", "")
	because := domain.Because("The patient was asked by telephone")
	var held []string
	for _, c := range own {
		a := mother.sends(c, "")
		held = append(held, s.isHeldFor(a, diary.WhyDeviceNotEnrolled))
		if !strings.Contains(a.Held.Remedy, "sign in") || a.Held.Signed != "" {
			t.Errorf("the mother is told %+v", a.Held)
		}
	}
	s.must(s.investigator(false), diary.CorrectDiaryWindow{OfPatient: of, Instrument: "pain", From: held[0], To: ofDay(s.ago(8)),
		Reasoned: because})
	decided := s.must(s.investigator(false), diary.VoidDiary{OfPatient: of, Instrument: "pain", Window: held[1], Reasoned: because})
	through := func(position uint64, want int64) {
		t.Helper()
		for name, token := range map[string]string{"the patient": p.token, "the mother": mother.token} {
			if shown := s.schedule(token, "").Devices; len(shown) != 1 || shown[0].HeldThrough != want || shown[0].Highest != want {
				t.Errorf("%s is shown the devices %+v, want the numbers up to %d", name, shown, want)
			}
		}
		if d := p.devices(position)["phone-1"]; d.HeldThrough != want || d.Numbering != diaryviews.NumberingComplete {
			t.Errorf("the view has %+v, want the numbers up to %d", d, want)
		}
	}
	through(decided.Position, 1)
	// The phone sends its own: the window that the site has filled has an entry, and the other one is free.
	s.isHeldFor(p.sends(own[0], ""), diary.WhyAnswered)
	last := p.sends(own[1], "")
	if last.Held != nil {
		t.Errorf("the phone's own entry is answered %+v", last)
	}
	through(last.Position, 3)
}

// TestAnAppFindsOutWhyItsSignatureIsWrong: it is told what was verified, and how it has the entry count.
func TestAnAppFindsOutWhyItsSignatureIsWrong(t *testing.T) {
	s := &heldSite{openDiarySite(t)}
	key := newPhoneKey(t)
	of := s.takesPart(54, "pain")
	p := s.enrolPhoneWithKey(of, "phone-1", key.Public)
	c := p.captures("pain", s.at(s.ago(5), "20:30"), 3)
	c.Zone = "UTC"

	// In another form, it is refused, and the app still has the entry.
	malformed := c
	malformed.Signature = "MEUCIQ"
	if status, _, text := s.command(p.token, "1", malformed); status != http.StatusBadRequest ||
		!strings.Contains(text, `"code":"invalid_signature"`) || !strings.Contains(text, `"field":"signature"`) {
		t.Errorf("a malformed signature is answered %d %s", status, text)
	}
	// A signature of another text is held, with the text that it should be of.
	wrong := signedBy(t, key, c)
	wrong.Answers = scale(4)
	a := p.sends(wrong, "1")
	s.isHeldFor(a, diary.WhyWrongSignature)
	want, err := wrong.Signed()
	if err != nil || a.Held.Signed != string(want) || !strings.Contains(a.Held.Signed, `"worst":4`) {
		t.Errorf("told is %q, want %q, %v", a.Held.Signed, want, err)
	}
	// The same key gets the same answer, also for the right signature; it says how the entry counts.
	mended := signedBy(t, key, wrong)
	again := p.sends(mended, "1")
	s.isHeldFor(again, diary.WhyWrongSignature)
	if again.Events[0].ID != a.Events[0].ID || !strings.Contains(again.Held.Remedy, "new Idempotency-Key") ||
		again.Held.Signed != a.Held.Signed {
		t.Errorf("under the same key it is answered %+v", again)
	}
	if shown := s.schedule(p.token, "").Devices; len(shown) != 0 {
		t.Errorf("the schedule has the devices %+v", shown)
	}
	if counted := p.sends(mended, "2"); counted.Held != nil {
		t.Errorf("under a new key it is answered %+v", counted.Held)
	}
	// So does an entry that was sent without a signature.
	unsigned := p.captures("pain", s.at(s.ago(4), "20:30"), 3)
	u := p.sends(unsigned, "3")
	s.isHeldFor(u, diary.WhyUnsigned)
	if !strings.Contains(u.Held.Remedy, "new Idempotency-Key") || u.Held.Signed != "" {
		t.Errorf("told is %+v", u.Held)
	}
	mended = signedBy(t, key, unsigned)
	if again := p.sends(mended, "3"); again.Held == nil || again.Events[0].ID != u.Events[0].ID {
		t.Errorf("under the same key it is answered %+v", again)
	}
	if counted := p.sends(mended, "4"); counted.Held != nil {
		t.Errorf("under a new key it is answered %+v", counted.Held)
	}
	if shown := s.schedule(p.token, "").Devices; len(shown) != 1 || shown[0].HeldThrough != 2 {
		t.Errorf("the schedule has the devices %+v", shown)
	}
}

func newPhoneKey(t testing.TB) simulation.PhoneKey {
	t.Helper()
	key, err := simulation.NewPhoneKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signedBy returns an entry with a signature.
func signedBy(t testing.TB, k simulation.PhoneKey, c diary.SubmitDiary) diary.SubmitDiary {
	t.Helper()
	c, err := k.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNothingIsLostAfterARestoreOfAnOlderLog is the drill: phones send entries, a backup is made, they send more, and the machine is
// lost. The backup is restored. The phones ask what it has, and send again what they have kept of the rest, by the rule of docs/epro.md.
func TestNothingIsLostAfterARestoreOfAnOlderLog(t *testing.T) {
	s := &heldSite{openDiarySite(t)}
	const patients = 6
	var phones []*appOf
	for n := range patients {
		of := s.takesPart(54, "pain")
		p := s.enrolPhone(of, user.DeviceID(fmt.Sprintf("phone-%d", n)))
		phones = append(phones, p)
		if n == 0 { // a second phone, of which the record has nothing before the backup
			phones = append(phones, s.enrolPhone(of, "phone-new"))
		}
	}
	send := func(from, to int, skipNew bool) (position uint64) {
		for _, p := range phones {
			if p.device == "phone-new" && skipNew {
				continue
			}
			var entries []diary.SubmitDiary
			for day := from; day > to; day-- {
				entries = append(entries, p.captures("pain", s.at(s.ago(day), "20:30"), day%8))
			}
			for _, item := range p.batch(entries...) {
				if item.Status != http.StatusOK {
					t.Fatalf("an entry is answered %+v", item.Problem)
				}
				position = max(position, item.Answer.Position)
			}
		}
		return position
	}
	send(14, 10, true)
	backup := filepath.Join(t.TempDir(), "log.tar")
	tool(t, exitOK, "node", "backup", "--data", s.dir, "--to", backup)
	send(10, 5, false)
	// One entry names a device that the account has never enrolled, so that no number ever says that the record has it.
	lent := phones[2].captures("pain", s.at(s.ago(5), "20:30"), 3)
	lent.Device = "tablet-of-the-ward"
	phones[2].kept[len(phones[2].kept)-1] = lent
	item := phones[2].batch(lent)[0]
	if item.Answer == nil || item.Answer.Held == nil {
		t.Fatalf("an entry of another device is answered %+v", item)
	}
	before := s.all(item.Answer.Position)

	// The machine is lost, and the backup is an hour older.
	dir := filepath.Join(t.TempDir(), "restored")
	restoreInto(t, dir, backup, s.dir)
	s.installation = startIn(t, dir)
	lost := 0
	for _, p := range phones {
		var through int64
		for _, line := range s.schedule(p.token, "").Devices {
			if line.Device == p.device {
				through = line.HeldThrough
			}
		}
		if want := map[bool]int64{true: 0, false: 4}[p.device == "phone-new"]; through != want {
			t.Errorf("of %s, the restored record has what came up to %d, want %d", p.device, through, want)
		}
		missing := p.lacking()
		lost += len(missing)
		for _, item := range p.batch(missing...) {
			if item.Status != http.StatusOK {
				t.Errorf("an entry is answered %+v", item.Problem)
			}
		}
	}
	if lost != 5*(patients+1)+1 {
		t.Errorf("%d entries were sent again", lost)
	}
	for _, p := range phones {
		if still := p.lacking(); len(still) > 1 || len(still) == 1 && still[0].Device != lent.Device {
			t.Errorf("after that, the record still lacks %+v", still)
		}
	}
	// A phone that sends all it has kept changes nothing.
	var position uint64
	for _, p := range phones {
		slices.Reverse(p.kept)
		for _, item := range p.batch(p.kept...) {
			if item.Status != http.StatusOK {
				t.Errorf("an entry is answered %+v", item.Problem)
			}
			position = max(position, item.Answer.Position)
		}
	}
	after := s.all(position)
	if len(after) != len(before) {
		t.Errorf("%d diaries were recorded, and %d after the restore", len(before), len(after))
	}
	for key, was := range before {
		if is := after[key]; is != was {
			t.Errorf("the diary %s was %s, and is %s", key, was, is)
		}
	}
}

// lacking returns what the phone has kept and the record lacks, as the schedule says.
func (p *appOf) lacking() (missing []diary.SubmitDiary) {
	p.s.t.Helper()
	devices := p.s.schedule(p.token, "").Devices
	for _, c := range p.kept {
		at := slices.IndexFunc(devices, func(d diaryviews.SentDevice) bool { return d.Device == c.Device })
		if at < 0 || c.Sequence > devices[at].Highest ||
			slices.ContainsFunc(devices[at].Gaps, func(g diary.Span) bool { return g.First <= c.Sequence && c.Sequence <= g.Last }) {
			missing = append(missing, c)
		}
	}
	return missing
}

// all returns all diaries of the study: their windows, and what matters of each.
func (s *heldSite) all(position uint64) map[string]string {
	s.t.Helper()
	found := map[string]string{}
	for n := 1; n <= s.patients; n++ {
		of := domain.ForPatient(domain.NewPatientID(s.study, fmt.Sprintf("S-%02d", n)))
		for _, d := range s.diaries(of, "?limit=200", position) {
			found[diaryviews.DiaryKey(d.Patient, d.Instrument, d.Window)] = fmt.Sprintf("%s %d of %s at %s: %v, held %q", d.Device, d.Sequence,
				d.By, d.CapturedAt.UTC(), d.Answers["worst"], d.Held)
		}
	}
	return found
}
