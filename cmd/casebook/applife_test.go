package main

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/rule"
	"casebook/domain/user"
	diaryviews "casebook/readmodels/diary"
)

// reply is what an app gets from the API.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request as an app does: it takes packed answers, and unpacks them itself.
func (s *diarySite) ask(method, path, token string, header ...string) reply {
	s.t.Helper()
	request, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	request.Header.Set("Accept-Encoding", "gzip")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var body io.Reader = response.Body
	if response.Header.Get("Content-Encoding") == "gzip" && method != http.MethodHead && response.StatusCode == http.StatusOK {
		if body, err = gzip.NewReader(body); err != nil {
			s.t.Fatal(err)
		}
	}
	text, err := io.ReadAll(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

// schedule is what the app of a patient or a caregiver is shown, without waiting for anything.
func (s *diarySite) schedule(token, query string) (shown diaryviews.Schedule) {
	s.t.Helper()
	r := s.ask(http.MethodGet, "/api/v1/me/schedule"+query, token)
	if err := json.Unmarshal([]byte(r.body), &shown); r.status != http.StatusOK || err != nil {
		s.t.Fatalf("the schedule is answered %d %s, %v", r.status, r.body, err)
	}
	return shown
}

// stands is how a window stands in a schedule; "" if it is not in it.
func stands(shown diaryviews.Schedule, id instrument.ID, window string) diary.Standing {
	for _, of := range shown.Instruments {
		for _, w := range of.Windows {
			if of.Instrument == id && w.Window == window {
				return w.Status
			}
		}
	}
	return ""
}

// definition is an instrument as the study has published it.
func (s *diarySite) definition(id instrument.ID) *instrument.Definition {
	s.t.Helper()
	for _, d := range s.instruments {
		if d.ID == id {
			return &d
		}
	}
	s.t.Fatalf("the study has no instrument %s", id)
	return nil
}

// settled waits until the process of phases has assigned what the protocol asks for during the treatment.
func (s *diarySite) settled(of domain.OfPatient) {
	s.t.Helper()
	s.eventually("the instrument of the phase is assigned", func() bool {
		return scheduled(s.schedule(s.phone(of), ""), "taken") != nil
	})
}

// scheduled is an instrument in a schedule; nil if it is not in it.
func scheduled(shown diaryviews.Schedule, id instrument.ID) *diaryviews.ScheduledDiary {
	for i := range shown.Instruments {
		if shown.Instruments[i].Instrument == id {
			return &shown.Instruments[i]
		}
	}
	return nil
}

// TestDailyLifeOfAnApp plays what the app on a patient's phone does every day, over HTTP, on a running server.
func TestDailyLifeOfAnApp(t *testing.T) {
	s := openDiarySite(t)

	t.Run("what is due, missed and sent", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain", "kept")
		phone := s.phone(of)
		are := func(want map[domain.Date]diary.Standing) {
			t.Helper()
			shown := s.schedule(phone, "")
			for day, standing := range want {
				if got := stands(shown, "pain", ofDay(day)); got != standing {
					t.Errorf("the window of %s stands %q, want %q", day, got, standing)
				}
			}
		}
		are(map[domain.Date]diary.Standing{s.today: diary.StandsOpen, s.ago(-1): diary.StandsUpcoming, s.ago(-14): diary.StandsUpcoming,
			s.ago(-15): "", s.ago(2): diary.StandsPassed, s.ago(14): diary.StandsPassed, s.ago(15): ""})
		// The phone sees its own entry at once, and those of days on which it was offline.
		s.must(phone, s.filledIn(of, "pain", s.ago(3)))
		sent := s.must(phone, s.filledIn(of, "pain", s.ago(2)))
		are(map[domain.Date]diary.Standing{s.ago(3): diary.StandsSent, s.ago(2): diary.StandsSent, s.ago(4): diary.StandsPassed})
		if shown := s.schedule(phone, ""); shown.Position < sent.Position || !shown.Asked || shown.Zone != "UTC" {
			t.Errorf("it is %+v, and not at %d", shown, sent.Position)
		}
		s.closeWindows(of, s.ago(4))
		are(map[domain.Date]diary.Standing{s.ago(4): diary.StandsMissed, s.ago(3): diary.StandsSent})
		s.must(phone, s.filledIn(of, "pain", s.ago(4))) // it arrives after all
		are(map[domain.Date]diary.Standing{s.ago(4): diary.StandsSent, s.ago(5): diary.StandsMissed})
		// An entry that the site has to decide about is shown however old it is.
		s.must(phone, s.filledIn(of, "kept", s.ago(30)))
		held := 0
		for _, of := range s.schedule(phone, "").Instruments {
			for _, w := range of.Windows {
				if w.Status == diary.StandsHeld && of.Instrument == "kept" {
					held++
				}
			}
		}
		if held != 1 {
			t.Errorf("%d entries are held", held)
		}
	})

	t.Run("events, visits and languages", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "attacks")
		phone := s.phone(of)
		s.must(s.crc, diary.SetDiaryLanguage{OfPatient: of, Language: "de"})
		s.must(phone, s.filledIn(of, "attacks", s.ago(1)))
		shown := s.schedule(phone, "")
		attacks := scheduled(shown, "attacks")
		if attacks == nil || attacks.Kind != instrument.ByEvent || len(attacks.Windows) != 1 ||
			attacks.Windows[0].Status != diary.StandsSent || shown.Language != "de" {
			t.Errorf("it is %+v", shown)
		}
	})

	t.Run("the same answer is not sent again, and is small", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain", "attacks")
		s.settled(of)
		phone := s.phone(of)
		first := s.ask(http.MethodGet, "/api/v1/me/schedule", phone)
		tag := first.header.Get("Etag")
		size, err := strconv.Atoi(first.header.Get("Content-Length"))
		if first.header.Get("Content-Encoding") != "gzip" || err != nil || size > 2000 || len(first.body) < size {
			t.Errorf("%d bytes, as %s: %v", size, first.header.Get("Content-Encoding"), err)
		}
		if vary := first.header.Get("Vary"); !strings.Contains(vary, "Accept-Encoding") {
			t.Errorf("a cache is told that the answer varies by %q", vary)
		}
		// What happens to others changes nothing.
		other := s.takesPart(54, "pain")
		s.must(s.phone(other), s.filledIn(other, "pain", s.ago(2)))
		if again := s.ask(http.MethodGet, "/api/v1/me/schedule", phone, "If-None-Match", tag); again.status != http.StatusNotModified ||
			again.body != "" || again.header.Get("Etag") != tag {
			t.Errorf("it is answered %d, %s", again.status, again.body)
		}
		plain := s.ask(http.MethodGet, "/api/v1/me/schedule", phone, "Accept-Encoding", "identity")
		if plain.body != first.body || plain.header.Get("Etag") == tag || plain.header.Get("Content-Encoding") != "" {
			t.Errorf("unpacked, it is %q as %s", plain.body, plain.header.Get("Etag"))
		}
		s.must(phone, s.filledIn(of, "pain", s.ago(2)))
		if again := s.ask(http.MethodGet, "/api/v1/me/schedule", phone, "If-None-Match", tag); again.status != http.StatusOK {
			t.Errorf("a new entry is answered %d", again.status)
		}
	})

	t.Run("nobody else's", func(t *testing.T) {
		s.t = t
		child, other, stranger := s.takesPart(12, "pain"), s.takesPart(14, "attacks"), s.takesPart(54, "pain")
		caring := func(of domain.OfPatient) user.Grant {
			return user.Grant{Role: user.Caregiver, Study: s.study, Patient: of.Patient, Relation: user.RelationParent}
		}
		one, both := s.account("caring.one", caring(child)), s.account("caring.both", caring(child), caring(other))
		if shown := s.schedule(one, ""); shown.Patient != child.Patient {
			t.Errorf("the caregiver is shown %s", shown.Patient)
		}
		if shown := s.schedule(both, "?patient="+string(other.Patient)); shown.Patient != other.Patient ||
			stands(shown, "pain", ofDay(s.today)) != "" {
			t.Errorf("the caregiver is shown %+v", shown)
		}
		for _, refused := range []struct {
			token, query string
			status       int
			code         string
		}{
			{both, "", http.StatusBadRequest, "value_missing"},
			{one, "?patient=" + string(other.Patient), http.StatusForbidden, "not_allowed"},
			{s.phone(stranger), "?patient=" + string(child.Patient), http.StatusForbidden, "not_allowed"},
			{s.phone(stranger), "?patient=" + string(s.study) + ".NOBODY", http.StatusForbidden, "not_allowed"},
			{s.crc, "", http.StatusForbidden, "not_allowed"},
			{s.crc, "?patient=" + string(child.Patient), http.StatusForbidden, "not_allowed"},
		} {
			r := s.ask(http.MethodGet, "/api/v1/me/schedule"+refused.query, refused.token)
			if r.status != refused.status || !strings.Contains(r.body, `"`+refused.code+`"`) {
				t.Errorf("%q is answered %d %s, want %s", refused.query, r.status, r.body, refused.code)
			}
		}
	})

	t.Run("what the app renders", func(t *testing.T) {
		s.t = t
		of, other := s.takesPart(54, "pain", "attacks"), s.takesPart(54, "kept")
		s.settled(of)
		phone := s.phone(of)
		var listed diaryviews.MyInstruments
		if r := s.ask(http.MethodGet, "/api/v1/me/instruments", phone); json.Unmarshal([]byte(r.body), &listed) != nil ||
			len(listed.Instruments) != 3 || !slices.ContainsFunc(listed.Instruments, func(i diaryviews.MyInstrument) bool {
			return i.Instrument == "pain" && i.Version == 1
		}) {
			t.Errorf("the instruments are %d %s", r.status, r.body)
		}
		first := s.ask(http.MethodGet, "/api/v1/me/instruments/pain", phone)
		var shown instrument.Asked
		if err := json.Unmarshal([]byte(first.body), &shown); err != nil || first.status != http.StatusOK {
			t.Fatalf("the instrument is answered %d %s, %v", first.status, first.body, err)
		}
		skipped := slices.IndexFunc(shown.Items, func(it instrument.AskedItem) bool { return it.Rule != "" })
		hash, err := s.definition("pain").SHA256()
		if err != nil || shown.Version != 1 || shown.SHA256 != hash || shown.Licence == "" || skipped < 0 || shown.Items[skipped].Asked == nil {
			t.Errorf("the app is shown %+v, %v", shown, err)
		}
		for _, word := range []string{`"score`, "risk", "severity", "urgent"} { // these are for the site
			if strings.Contains(first.body, word) {
				t.Errorf("the app is told of %s: %s", word, first.body)
			}
		}
		if r := s.ask(http.MethodGet, "/rules.mjs", ""); r.status != http.StatusOK || r.body != rule.Evaluator ||
			!strings.HasPrefix(r.header.Get("Content-Type"), "text/javascript") {
			t.Errorf("the module that evaluates rules is answered %d %v", r.status, r.header)
		}
		s.must(phone, s.filledIn(of, "pain", s.ago(1)))
		again := s.ask(http.MethodGet, "/api/v1/me/instruments/pain?version=1", phone, "If-None-Match", first.header.Get("Etag"))
		if again.status != http.StatusNotModified {
			t.Errorf("the same version is answered %d", again.status)
		}
		for path, token := range map[string]string{"kept": phone, "pain?version=2": phone, "pain": s.phone(other)} {
			if r := s.ask(http.MethodGet, "/api/v1/me/instruments/"+path, token); r.status != http.StatusNotFound ||
				!strings.Contains(r.body, "instrument_not_found") {
				t.Errorf("%s is answered %d %s", path, r.status, r.body)
			}
		}
	})

	t.Run("after the participation", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		s.must(s.crc, patient.EndParticipation{OfPatient: of, On: s.today, Reason: patient.EndedBySubject})
		shown := s.schedule(s.phone(of), "")
		if shown.Asked || stands(shown, "pain", ofDay(s.today)) != diary.StandsOpen || stands(shown, "pain", ofDay(s.ago(-1))) != "" {
			t.Errorf("it is %+v", shown)
		}
	})
}

// BenchmarkSchedule asks for a schedule over HTTP, as a phone does that has no answer yet, and reports the median.
func BenchmarkSchedule(b *testing.B) {
	s := openDiarySite(b)
	of := s.takesPart(54, "pain", "kept", "attacks")
	phone := s.phone(of)
	for day := 1; day < 14; day++ {
		s.must(phone, s.filledIn(of, "pain", s.ago(day)))
	}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if r := s.ask(http.MethodGet, "/api/v1/me/schedule", phone); r.status != http.StatusOK {
			b.Fatal(r.body)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
