package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	safetyviews "casebook/readmodels/safety"
)

// diarySite is a study on a running server whose patients keep diaries of several kinds. All patients live in UTC, so that the windows
// of a day are those of the server's clock.
type diarySite struct {
	*site
	// today is the day on which the test began, and now the moment.
	today domain.Date
	now   time.Time
	// instruments are those of the protocol.
	instruments []instrument.Definition
}

// daily is the pain diary under another name, with a window that takes the whole day.
func daily(id instrument.ID, late instrument.LatePolicy) instrument.Definition {
	d := *instrument.PainDiary()
	d.ID, d.Title = id, string(id)
	d.Schedule = instrument.Schedule{EveryDays: 1, Windows: []instrument.DayWindow{{ID: "day", Opens: "00:00", Closes: "00:00"}}, Late: late}
	return d
}

// openDiarySite starts a server with the study. Its devices have 36 hours to send what they hold, so that only the site records
// windows as missed while the test runs.
func openDiarySite(t testing.TB) *diarySite {
	t.Helper()
	return openDiarySiteOn(t, install(t))
}

// openDiarySiteOn is openDiarySite on a server that runs.
func openDiarySiteOn(t testing.TB, in installation) *diarySite {
	t.Helper()
	const id = domain.StudyID("DIARY")
	inStudy := domain.ForStudy(id)
	s := &diarySite{site: &site{installation: in, study: id, manager: in.account("manager", user.Grant{Role: user.DataManager, Study: id}),
		crc: in.account("crc.one", user.Grant{Role: user.CRC, Study: id, Site: "01"})}, now: time.Now().UTC()}
	s.today = domain.DateOf(s.now)
	late := instrument.LatePolicy{AcceptHours: 12, SyncHours: 36}
	holding := late
	holding.Hold = true
	attacks, afterVisit := daily("attacks", late), daily("after-visit", late)
	attacks.Schedule = instrument.Schedule{Kind: instrument.ByEvent}
	afterVisit.Schedule = instrument.Schedule{Kind: instrument.ByVisit, Late: late,
		AroundVisits: &instrument.AroundVisits{Visits: []string{"week-4"}, DaysBefore: 1, DaysAfter: 2}}
	taken := daily("taken", late)
	taken.Dosing = true
	reminding, worded := daily("reminding", late), daily("worded", late)
	reminding.Schedule.Remind = true
	worded.Items = append(worded.Items, instrument.Item{ID: "note", Text: "Anything else?", Type: instrument.Text},
		instrument.Item{ID: "mood", Text: "Your mood?", Type: instrument.Choice,
			Options: []instrument.Option{{Value: "good", Label: "Good"}, {Value: "bad", Label: "Bad"}}})
	worded.RiskRules = append(worded.RiskRules, instrument.RiskRule{ID: "fall", When: `answers.note.contains("fell")`,
		Severity: instrument.SeverityWatch, Message: "A fall"})
	s.instruments = []instrument.Definition{daily("pain", late), daily("kept", holding), attacks, afterVisit, taken,
		daily("aftercare", late), reminding, worded}
	in.must(s.manager, study.CreateStudy{InStudy: inStudy, Title: "Diaries", Sponsor: "Nobody"})
	in.must(s.manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
		Instruments: s.instruments, InstrumentReferences: []instrument.Reference{s.publishTranslated(late)},
		Visits: []study.Visit{{ID: "week-4", Day: 28}, {ID: "week-8", Day: 56}}, Criteria: []study.Criterion{{ID: "adult"}},
		PhaseInstruments: []study.PhaseInstrument{{Instrument: "taken", Phase: study.PhaseTreatment},
			{Instrument: "aftercare", Phase: study.PhaseFollowUp, Days: 28}},
		Alerts: &study.AlertPolicy{ReviewMinutes: 60, MissedInARow: 50, MissedWithin: &study.MissedWithin{Missed: 3, Days: 7}}}})
	in.must(s.manager, study.AddSite{AtSite: domain.ForSite(inStudy.Study, "01"), Name: "Hospital", Country: "DE", Zone: "UTC"})
	in.must(s.manager, study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, "01"), On: "2026-01-01"})
	in.must(s.manager, enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 50, Study: 50}})
	return s
}

// takesPart is an enrolled patient who answers some instruments since two weeks ago.
func (s *diarySite) takesPart(age int, instruments ...instrument.ID) domain.OfPatient {
	s.t.Helper()
	of := s.screened(func(c *patient.ScreenPatient) { c.Zone, c.AgeYears = "UTC", age })
	s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-02"})
	s.enrol(of)
	for _, id := range instruments {
		s.assign(of, id, s.ago(14), s.ago(14))
	}
	return of
}

func (s *diarySite) assign(of domain.OfPatient, id instrument.ID, from, on domain.Date) answered {
	s.t.Helper()
	return s.must(s.crc, diary.AssignInstrument{OfPatient: of, Instrument: id, From: from, Until: s.ago(-28), On: on})
}

// ago is the day so many days before today.
func (s *diarySite) ago(days int) domain.Date { return s.today.AddDays(-days) }

// at is a moment of a day, such as 20:30.
func (s *diarySite) at(day domain.Date, clock string) time.Time {
	s.t.Helper()
	moment, err := time.Parse("2006-01-02 15:04", string(day)+" "+clock)
	if err != nil {
		s.t.Fatal(err)
	}
	return moment
}

// of a day is the id of its window.
func ofDay(day domain.Date) string { return string(day) + "/day" }

func scale(worst int) diary.Answers {
	return diary.Answers{"worst": worst, "least": 1, "average": 2, "now": 2, "rescue": false}
}

func (s *diarySite) filledIn(of domain.OfPatient, id instrument.ID, day domain.Date) diary.SubmitDiary {
	s.t.Helper()
	return diary.SubmitDiary{OfPatient: of, Instrument: id, CapturedAt: s.at(day, "20:30"), Zone: "Europe/Berlin", Answers: scale(3)}
}

func (s *diarySite) onPaper(of domain.OfPatient, id instrument.ID, day domain.Date) diary.TranscribeDiary {
	s.t.Helper()
	return diary.TranscribeDiary{OfPatient: of, Instrument: id, AnsweredAt: s.at(day, "20:30"), Answers: scale(3), Source: diary.SourcePaper,
		Respondent: diary.RespondentPatient, Reasoned: domain.Because("The phone was broken")}
}

// closeWindows has the site record what was missed until the end of a day, with the time for late entries.
func (s *diarySite) closeWindows(of domain.OfPatient, through domain.Date) answered {
	s.t.Helper()
	return s.must(s.crc, diary.CloseDiaryWindows{OfPatient: of, Through: s.at(through.AddDays(1), "12:00")})
}

// diary returns the document of a window.
func (s *diarySite) diary(of domain.OfPatient, id instrument.ID, window string, position uint64) (d diaryviews.Diary) {
	s.t.Helper()
	for _, one := range s.diaries(of, "?instrument="+string(id), position) {
		if one.Window == window {
			return one
		}
	}
	return d
}

func (s *diarySite) diaries(of domain.OfPatient, query string, position uint64) []diaryviews.Diary {
	s.t.Helper()
	var list readmodels.List[diaryviews.Diary]
	s.query(s.crc, fmt.Sprintf("/api/v1/patients/%s/diaries%s", of.Patient, query), position, &list)
	return list.Items
}

// counts checks a patient's figures in the list of compliance, and in the patient's view.
func (s *diarySite) counts(of domain.OfPatient, position uint64, want diaryviews.Compliance) {
	s.t.Helper()
	var list readmodels.List[diaryviews.DiaryCompliance]
	s.query(s.crc, fmt.Sprintf("/api/v1/studies/%s/compliance?site=01&limit=100", s.study), position, &list)
	i := slices.IndexFunc(list.Items, func(c diaryviews.DiaryCompliance) bool { return c.Patient == of.Patient })
	if i < 0 {
		s.t.Fatalf("nothing is counted for %s", of.Patient)
	}
	for _, got := range []diaryviews.Compliance{list.Items[i].Compliance, s.patient(s.crc, of, position).Compliance} {
		got.Rate = nil
		if got != want {
			s.t.Errorf("the figures are %+v, want %+v", got, want)
		}
	}
}

// instrumentOf returns an instrument of the patient's view.
func (s *diarySite) instrumentOf(of domain.OfPatient, id instrument.ID, position uint64) (a patientviews.AnsweredBy) {
	s.t.Helper()
	for _, one := range s.patient(s.crc, of, position).Instruments {
		if one.Instrument == id {
			return one
		}
	}
	return a
}

// heldFor sends an entry from the patient's phone, which has to be held.
func (s *diarySite) heldFor(of domain.OfPatient, why diary.Why, entry diary.SubmitDiary) answered {
	s.t.Helper()
	a := s.must(s.phone(of), entry)
	if a.Held.Why != why {
		s.t.Errorf("an entry is held for %q, want %q", a.Held.Why, why)
	}
	return a
}

// hidden checks that a query is refused.
func (s *diarySite) hidden(token, path string) {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodGet, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if status, text := s.do(request, token); status != http.StatusForbidden {
		s.t.Errorf("%s is answered %d %s", path, status, text)
	}
}

// TestDailyLifeOfDiaries plays what happens to diaries every day, over HTTP, on a running server. Each scenario has the name that the
// people of a trial give it.
func TestDailyLifeOfDiaries(t *testing.T) {
	s := openDiarySite(t)
	because := domain.Because("The scenario needs it")

	t.Run("attack diary", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "attacks")
		for _, clock := range []string{"06:10", "06:40", "21:05"} {
			attack := s.filledIn(of, "attacks", s.ago(2))
			attack.CapturedAt = s.at(s.ago(2), clock)
			s.must(s.phone(of), attack)
			s.must(s.phone(of), attack) // the same again
		}
		closed := s.closeWindows(of, s.ago(2))
		if len(closed.Events) != 0 {
			t.Errorf("closing the windows of attacks records %+v", closed.Events)
		}
		last := s.must(s.phone(of), s.filledIn(of, "attacks", s.ago(1)))
		s.counts(of, last.Position, diaryviews.Compliance{Events: 4})
		told := s.onPaper(of, "attacks", s.ago(3))
		copied := s.must(s.crc, told)
		s.counts(of, copied.Position, diaryviews.Compliance{Events: 5, EventsTranscribed: 1})
		void := diary.VoidDiary{OfPatient: of, Instrument: "attacks", Window: string(s.ago(3)) + "/20:30:00Z", Reasoned: because}
		s.counts(of, s.must(s.investigator(false), void).Position, diaryviews.Compliance{Events: 4, Voided: 1})
	})

	t.Run("visit questionnaire", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "after-visit")
		s.heldFor(of, "no_window", s.filledIn(of, "after-visit", s.ago(10)))
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-8", On: s.ago(9)}) // the instrument is not about this one
		s.heldFor(of, "no_window", s.filledIn(of, "after-visit", s.ago(9)))
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: s.ago(6)})
		s.heldFor(of, "no_window", s.filledIn(of, "after-visit", s.ago(8)))
		done := s.must(s.phone(of), s.filledIn(of, "after-visit", s.ago(5)))
		if d := s.diary(of, "after-visit", "visit/week-4", done.Position); d.Late || !d.Opens.Equal(s.at(s.ago(7), "00:00")) ||
			!d.Closes.Equal(s.at(s.ago(3), "00:00")) {
			t.Errorf("the diary is %+v", d)
		}
		last := s.heldFor(of, "diary_submitted", s.filledIn(of, "after-visit", s.ago(4)))
		s.counts(of, last.Position, diaryviews.Compliance{Closed: 1, Completed: 1, OnTime: 1, Held: 4})

		// The window had closed when the visit was recorded, so it is not missed. One that is open is recorded, and will be.
		other := s.takesPart(54, "after-visit")
		s.must(s.crc, patient.RecordVisit{OfPatient: other, Visit: "week-4", On: s.ago(6)})
		if missed := s.closeWindows(other, s.ago(2)); len(missed.Events) != 0 {
			t.Errorf("a window that nobody could answer has %+v", missed.Events)
		}
		s.must(s.crc, patient.CorrectVisitDate{OfPatient: other, Visit: "week-4", From: s.ago(6), To: s.ago(0), Reasoned: because})
		s.eventually("the window is recorded as open", func() bool {
			for r, err := range s.log.ReadStream(t.Context(), diary.StreamOf(other.Patient), 0) {
				if err != nil {
					t.Fatal(err)
				}
				if _, opened := r.Event.(diary.VisitWindowOpened); opened {
					return true
				}
			}
			return false
		})
	})

	t.Run("day 0", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54)
		s.assign(of, "pain", s.ago(5), "") // begins today, whatever its first day is
		if missed := s.closeWindows(of, s.ago(2)); len(missed.Events) != 0 {
			t.Errorf("windows from before the assignment are missed: %+v", missed.Events)
		}
		today := s.filledIn(of, "pain", s.today)
		today.CapturedAt = time.Now()
		s.counts(of, s.must(s.phone(of), today).Position, diaryviews.Compliance{Closed: 1, Completed: 1, OnTime: 1})

		// The patient was given it three days ago, and the site records it today.
		afterwards := s.takesPart(54)
		s.assign(afterwards, "pain", s.ago(5), s.ago(4))
		s.counts(afterwards, s.closeWindows(afterwards, s.ago(2)).Position, diaryviews.Compliance{Closed: 3, Missed: 3})
	})

	t.Run("staff entry", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		s.must(s.phone(of), s.filledIn(of, "pain", s.ago(14)))
		before := s.closeWindows(of, s.ago(3)).Position // eleven were missed
		s.counts(of, before, diaryviews.Compliance{Closed: 12, Completed: 1, OnTime: 1, Missed: 11})
		s.refused(s.crc, "not_allowed", s.filledIn(of, "pain", s.ago(13)))
		s.refused(s.phone(of), "not_allowed", s.onPaper(of, "pain", s.ago(13)))
		var last uint64
		for day := 3; day <= 13; day++ {
			last = s.must(s.crc, s.onPaper(of, "pain", s.ago(day))).Position
		}
		want := diaryviews.Compliance{Closed: 12, Completed: 12, OnTime: 1, Transcribed: 11, AfterMissed: 11}
		s.counts(of, last, want)
		if rate := s.patient(s.crc, of, last).Compliance.Rate; rate == nil || *rate > 0.1 {
			t.Errorf("the rate is %v after eleven diaries by staff and one by the patient", rate)
		}
		// A correction changes the answers, not who entered them.
		corrected := s.corrected(s.crc, diary.AskDiaryCorrection{OfPatient: of, Instrument: "pain", Window: ofDay(s.ago(5)),
			Answers: diary.Answers{"worst": 5}, Reasoned: domain.Because("Misread")})
		s.counts(of, corrected, want)
		d := s.diary(of, "pain", ofDay(s.ago(5)), corrected)
		if d.Mode != diary.ByTranscription || d.Source != diary.SourcePaper || d.Reason != "The phone was broken" || d.By != "crc.one" ||
			d.Corrected != 1 || !d.RecordedAt.After(*d.CapturedAt) {
			t.Errorf("the diary is %+v", d)
		}
		if n := len(s.diaries(of, "?only=transcribed", corrected)); n != 11 {
			t.Errorf("%d diaries are listed as transcribed", n)
		}
		trend := s.instrumentOf(of, "pain", corrected).Trend
		if n := len(trend); n != 12 || trend[0].Mode != diary.ByPatient || trend[n-1].Mode != diary.ByTranscription {
			t.Errorf("the trend is %+v", trend)
		}
		// An interview about a day that is over names the window.
		asked := s.onPaper(of, "pain", s.ago(1))
		asked.Source, asked.Window = diary.SourceTelephone, ofDay(s.ago(2))
		told := s.must(s.crc, asked).Position
		if d := s.diary(of, "pain", ofDay(s.ago(2)), told); d.Mode != diary.ByInterviewer || !d.Late {
			t.Errorf("the diary is %+v", d)
		}
		// As it was known then, and per site.
		var then patientviews.PatientView
		s.query(s.crc, fmt.Sprintf("/api/v1/patients/%s?asOf=%d", of.Patient, before), 0, &then)
		if then.Compliance.Missed != 11 || then.Compliance.Transcribed != 0 {
			t.Errorf("before the transcriptions, the figures were %+v", then.Compliance)
		}
		var sites readmodels.List[diaryviews.DiaryCompliance]
		s.query(s.crc, fmt.Sprintf("/api/v1/studies/%s/compliance/sites", s.study), told, &sites)
		if len(sites.Items) != 1 || sites.Items[0].Transcribed != 12 {
			t.Errorf("the site has %+v", sites.Items)
		}
	})

	t.Run("caregiver, minor", func(t *testing.T) {
		s.t = t
		of, other := s.takesPart(9, "pain"), s.takesPart(9, "pain")
		mother := s.account("mother", user.Grant{Role: user.Caregiver, Study: s.study, Patient: of.Patient, Relation: user.RelationParent})
		s.must(mother, s.filledIn(of, "pain", s.ago(4)))
		own := s.filledIn(of, "pain", s.ago(3))
		own.Respondent = diary.RespondentMinor
		s.must(s.phone(of), own)
		helped := s.filledIn(of, "pain", s.ago(2))
		helped.Respondent = diary.RespondentMinor
		last := s.must(mother, helped).Position
		if d := s.diary(of, "pain", ofDay(s.ago(4)), last); d.Mode != diary.ByCaregiver || d.Relation != user.RelationParent || d.By != "mother" {
			t.Errorf("the caregiver's diary is %+v", d)
		}
		if d := s.diary(of, "pain", ofDay(s.ago(3)), last); d.Mode != diary.ByPatient || d.Respondent != diary.RespondentMinor {
			t.Errorf("the minor's diary is %+v", d)
		}
		if d := s.diary(of, "pain", ofDay(s.ago(2)), last); d.Mode != diary.ByCaregiver || d.Respondent != diary.RespondentMinor {
			t.Errorf("the diary of both is %+v", d)
		}
		s.counts(of, last, diaryviews.Compliance{Closed: 3, Completed: 3, OnTime: 3})
		// A caregiver answers for one patient, and sees nothing.
		s.refused(mother, "not_allowed", s.filledIn(other, "pain", s.ago(4)))
		s.refused(mother, "not_allowed", diary.AskDiaryCorrection{OfPatient: other, Instrument: "pain", Window: ofDay(s.ago(4)),
			Answers: diary.Answers{"worst": 5}, Reasoned: because})
		for _, path := range []string{"/patients/" + string(of.Patient), "/patients/" + string(of.Patient) + "/diaries",
			"/studies/" + string(s.study), "/studies/" + string(s.study) + "/patients?site=01",
			"/studies/" + string(s.study) + "/compliance?site=01"} {
			s.hidden(mother, "/api/v1"+path)
		}
		adult := s.takesPart(54, "pain")
		own.OfPatient = adult
		s.heldFor(adult, "respondent_contradicts", own)
	})

	t.Run("language, zone, device", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		set := s.must(s.phone(of), diary.SetDiaryLanguage{OfPatient: of, Language: "tr"})
		if v := s.patient(s.crc, of, set.Position); v.Language != "tr" {
			t.Errorf("the patient is shown %q", v.Language)
		}
		// On a journey, the device's clock shows the next day, which is the day of the diary.
		abroad := s.filledIn(of, "pain", s.ago(3))
		abroad.CapturedAt = s.at(s.ago(3), "20:30").In(time.FixedZone("", 9*3600))
		abroad.Zone, abroad.Device, abroad.Language = "Asia/Tokyo", "tablet-1", "tr"
		sent := s.must(s.phone(of), abroad)
		d := s.diary(of, "pain", ofDay(s.ago(2)), sent.Position)
		if d.Zone != "Asia/Tokyo" || d.Offset != "+09:00" || d.Device != "tablet-1" || d.Language != "tr" || d.Late ||
			!d.CapturedAt.Equal(abroad.CapturedAt) || d.RecordedAt.Before(s.now.Add(-time.Minute)) {
			t.Errorf("the diary is %+v", d)
		}
		abroad.Zone = "Mars/Olympus"
		s.refused(s.phone(of), "unknown_zone", abroad)
	})

	t.Run("instrument stopped, diary voided", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		s.must(s.phone(of), s.filledIn(of, "pain", s.ago(14)))
		s.must(s.phone(of), s.filledIn(of, "pain", s.ago(13)))
		stop := diary.StopInstrument{OfPatient: of, Instrument: "pain", Until: s.ago(14), Reasoned: domain.Because("Too much")}
		s.refused(s.crc, "diaries_recorded", stop)
		stop.Until = s.ago(12)
		s.refused(s.crc, "windows_ran_out", stop)
		stop.Until = ""
		stopped := s.must(s.crc, stop)
		if a := s.instrumentOf(of, "pain", stopped.Position); a.Until != s.today || a.Stopped != "Too much" {
			t.Errorf("the instrument is %+v", a)
		}
		s.counts(of, s.closeWindows(of, s.ago(2)).Position, diaryviews.Compliance{Closed: 13, Completed: 2, OnTime: 2, Missed: 11})
		s.must(s.crc, diary.ReplaceInstrument{OfPatient: s.takesPart(54, "pain"), Replaced: "pain", Instrument: "kept", From: s.ago(0),
			Until: s.ago(-28), Reasoned: because})

		voided := s.must(s.investigator(false), diary.VoidDiary{OfPatient: of, Instrument: "pain", Window: ofDay(s.ago(14)),
			Reasoned: domain.Because("Her son played with the phone")}).Position
		s.counts(of, voided, diaryviews.Compliance{Closed: 12, Completed: 1, OnTime: 1, Missed: 11, Voided: 1})
		d := s.diary(of, "pain", ofDay(s.ago(14)), voided)
		if d.CapturedAt != nil || len(d.Voided) != 1 || len(d.Voided[0].Answers) == 0 || d.Voided[0].Reason != "Her son played with the phone" {
			t.Errorf("the window is %+v", d)
		}
		// Nobody has answered the window now, and that counts.
		s.counts(of, s.closeWindows(of, s.ago(2)).Position, diaryviews.Compliance{Closed: 13, Completed: 1, OnTime: 1, Missed: 12, Voided: 1})
	})

	t.Run("captured before and sent after a withdrawal", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain", "kept")
		s.must(s.crc, patient.WithdrawConsent{OfPatient: of, On: s.ago(5)})
		s.must(s.phone(of), s.filledIn(of, "pain", s.ago(5)))
		s.must(s.phone(of), s.filledIn(of, "kept", s.ago(6)))
		after := s.filledIn(of, "kept", s.ago(4))
		held := s.must(s.phone(of), after).Position
		if again := s.must(s.phone(of), after); len(again.Events) != 1 || again.Position != held {
			t.Errorf("the same diary is held twice: %+v", again.Events)
		}
		s.counts(of, held, diaryviews.Compliance{Closed: 2, Completed: 2, OnTime: 2, Held: 1})
		all := s.diaries(of, "?only=held", held)
		if len(all) != 1 || all[0].Held != "patient_not_participating" || len(all[0].Answers) == 0 {
			t.Fatalf("held are %+v", all)
		}
		s.refused(s.investigator(false), "patient_not_participating", diary.CorrectDiaryWindow{OfPatient: of, Instrument: "kept",
			From: all[0].Window,
			To:   ofDay(s.ago(8)), Reasoned: because})
		asked := s.onPaper(of, "kept", s.ago(3))
		asked.Source, asked.Window = diary.SourceInterview, ofDay(s.ago(8))
		s.refused(s.crc, "patient_not_participating", asked)
		voided := s.must(s.investigator(false), diary.VoidDiary{OfPatient: of, Instrument: "kept", Window: all[0].Window,
			Reasoned: domain.Because("No consent on that day")}).Position
		s.counts(of, voided, diaryviews.Compliance{Closed: 2, Completed: 2, OnTime: 2, Voided: 1})

		// A diary without a window may count after all, late.
		forgotten := s.takesPart(54)
		s.must(s.crc, diary.AssignInstrument{OfPatient: forgotten, Instrument: "kept", From: s.ago(14), Until: s.ago(6), On: s.ago(14)})
		kept := s.must(s.phone(forgotten), s.filledIn(forgotten, "kept", s.ago(4))).Position
		window := s.diaries(forgotten, "?only=held", kept)[0].Window
		counted := s.must(s.investigator(false), diary.CorrectDiaryWindow{OfPatient: forgotten, Instrument: "kept", From: window,
			To:       ofDay(s.ago(6)),
			Reasoned: domain.Because("She meant Monday")}).Position
		s.counts(forgotten, counted, diaryviews.Compliance{Closed: 1, Completed: 1, Late: 1})
	})

	t.Run("a move to another zone", func(t *testing.T) {
		s.t = t
		of := s.takesPart(58, "pain")
		phone, tomorrow := s.phone(of), s.ago(-2) // also where it is tomorrow already
		move := patient.ChangeZone{OfPatient: of, Zone: "Pacific/Auckland", From: tomorrow, Reasoned: domain.Because("A move")}
		late := move
		late.From = s.ago(0)
		s.refused(phone, "value_out_of_range", late)
		s.refused(s.manager, "not_allowed", move)
		position := s.must(phone, move).Position
		s.eventually("the diary follows", func() bool {
			return slices.ContainsFunc(s.patient(s.crc, of, position).Instruments, func(a patientviews.AnsweredBy) bool {
				return a.Instrument == "pain" && a.Zone == "UTC" && len(a.Later) == 1 && a.Later[0].Zone == "Pacific/Auckland" &&
					a.Later[0].From == tomorrow && a.Later[0].Until == s.ago(-28)
			})
		})
	})

	t.Run("a correction is asked for and decided", func(t *testing.T) {
		s.t = t
		of := s.takesPart(56, "pain")
		s.must(s.phone(of), s.filledIn(of, "pain", s.ago(6)))
		window, why := ofDay(s.ago(6)), domain.Because("I slipped")
		ask := diary.AskDiaryCorrection{OfPatient: of, Instrument: "pain", Window: window, Answers: diary.Answers{"worst": 7}, Reasoned: why}
		for who, token := range map[string]string{"data manager": s.manager, "another patient": s.phone(s.takesPart(57, "pain"))} {
			s.t.Logf("asked by the %s", who)
			s.refused(token, "not_allowed", ask)
		}
		asked := s.must(s.phone(of), ask).Position
		d := s.diary(of, "pain", window, asked)
		if len(d.Requests) != 1 || d.Requests[0].Status != diaryviews.RequestWaits || d.Corrected != 0 || d.Answers["worst"] != 3.0 {
			t.Errorf("the diary is %+v", d)
		}
		if n := len(s.diaries(of, "?only=asked", asked)); n != 1 {
			t.Errorf("%d diaries are listed as asked", n)
		}
		apply := diary.CorrectDiary{OfPatient: of, Request: 1, Reasoned: domain.Because("The patient confirms it")}
		for _, token := range []string{s.phone(of), s.crc, s.manager} {
			s.refused(token, "not_allowed", apply)
		}
		// An investigator who asks does not decide either.
		s.must(s.investigator(false), diary.AskDiaryCorrection{OfPatient: of, Instrument: "pain", Window: window,
			Answers: diary.Answers{"worst": 8}, Reasoned: why})
		own := apply
		own.Request = 2
		s.refused(s.investigator(false), "own_correction", own)
		applied := s.must(s.investigator(false), apply).Position
		d = s.diary(of, "pain", window, applied)
		if r := d.Requests[0]; r.Status != diaryviews.RequestApplied || r.DecidedBy != "dr.one" || r.Decision == "" || d.Answers["worst"] != 7.0 {
			t.Errorf("the diary is %+v", d)
		}
		if n := len(s.diaries(of, "?only=asked", applied)); n != 1 { // that of the investigator waits
			t.Errorf("%d diaries are listed as asked", n)
		}
		if c := d.Corrections[0]; c.AskedBy == "" || c.AskedBy == c.DecidedBy || c.DecidedBy != "dr.one" || c.Reason != string(why.Reason) ||
			c.Decision != string(apply.Reason) || c.By != "" {
			t.Errorf("the correction is %+v", c)
		}
		var own2 readmodels.List[diaryviews.OwnDiary]
		s.query(s.phone(of), "/api/v1/me/diaries", applied, &own2)
		if len(own2.Items) != 1 || len(own2.Items[0].Requests) != 2 {
			t.Errorf("the patient sees %+v", own2.Items)
		}
		// A diary that does not count takes its open request with it, and the patient sees that.
		voided := s.must(s.investigator(false), diary.VoidDiary{OfPatient: of, Instrument: "pain", Window: window,
			Reasoned: domain.Because("Another had the phone")}).Position
		s.query(s.phone(of), "/api/v1/me/diaries", voided, &own2)
		if r := own2.Items[0].Requests[1]; r.Status != diaryviews.RequestLapsed || r.DecidedBy != "dr.one" ||
			r.Decision != "Another had the phone" {
			t.Errorf("the request is %+v", r)
		}
		if n := len(s.diaries(of, "?only=asked", voided)); n != 0 {
			t.Errorf("%d diaries are listed as asked", n)
		}
		var waiting readmodels.List[diaryviews.AskedCorrection]
		s.query(s.crc, "/api/v1/studies/"+string(s.study)+"/diary-corrections?site=01&status=lapsed&patient="+string(of.Patient),
			voided, &waiting)
		if len(waiting.Items) != 1 || waiting.Items[0].Request != 2 {
			t.Errorf("the worklist has %+v", waiting.Items)
		}
		s.refused(s.investigator(true), "correction_decided", own)
	})

	t.Run("corrections of a count, the day and the patient", func(t *testing.T) {
		s.t = t
		of, right := s.takesPart(54, "pain"), s.takesPart(54, "pain")
		s.must(s.phone(of), s.filledIn(of, "pain", s.ago(6)))
		count := s.corrected(s.phone(of), diary.AskDiaryCorrection{OfPatient: of, Instrument: "pain", Window: ofDay(s.ago(6)),
			Answers: diary.Answers{"worst": 7}, Reasoned: domain.Because("The patient called: mistyped")})
		if d := s.diary(of, "pain", ofDay(s.ago(6)), count); len(d.Corrections) != 1 || d.Corrections[0].Changes[0].Old != 3.0 ||
			*d.Scores[0].Value != 3 {
			t.Errorf("the diary is %+v", d)
		}
		move := diary.CorrectDiaryWindow{OfPatient: of, Instrument: "pain", From: ofDay(s.ago(6)), To: ofDay(s.ago(7)),
			Reasoned: domain.Because("The phone's date was wrong")}
		s.refused(s.crc, "not_allowed", move)
		moved := s.must(s.investigator(false), move).Position
		s.refused(s.investigator(false), "diary_not_found", move)
		s.counts(of, moved, diaryviews.Compliance{Closed: 1, Completed: 1, Late: 1})
		if d := s.diary(of, "pain", ofDay(s.ago(7)), moved); d.MovedFrom != ofDay(s.ago(6)) || d.Answers["worst"] != 7.0 {
			t.Errorf("the diary is %+v", d)
		}
		if d := s.diary(of, "pain", ofDay(s.ago(6)), moved); d.CapturedAt != nil || d.Voided[0].MovedTo != ofDay(s.ago(7)) {
			t.Errorf("the window is %+v", d)
		}
		s.must(s.investigator(false), diary.VoidDiary{OfPatient: of, Instrument: "pain", Window: ofDay(s.ago(7)),
			Reasoned: domain.Because("Wrong patient")})
		taken := s.onPaper(right, "pain", s.ago(6))
		taken.Source, taken.Answers = diary.SourceOtherPatient, scale(7)
		got := s.must(s.crc, taken).Position
		s.counts(of, got, diaryviews.Compliance{Voided: 1})
		s.counts(right, got, diaryviews.Compliance{Closed: 1, Completed: 1, Transcribed: 1})
	})

	t.Run("instruments follow the phase", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54)
		is := func(id instrument.ID, phase patient.Phase) func() bool {
			return func() bool {
				a := s.instrumentOf(of, id, 0)
				return a.Phase == phase && a.From >= s.today && a.Stopped == ""
			}
		}
		s.eventually("the instrument of the treatment is assigned", is("taken", patient.PhaseTreatment))
		s.must(s.crc, patient.DiscontinueTreatment{OfPatient: of, On: s.ago(1), Reason: patient.EndedByAdverseEvent, Detail: "Nausea"})
		s.eventually("the instrument of the follow-up is assigned", is("aftercare", patient.PhaseFollowUp))
		if a := s.instrumentOf(of, "taken", 0); a.Stopped == "" {
			t.Errorf("the instrument of the treatment is %+v", a)
		}
		s.must(s.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepTreatmentEnd, Reasoned: because})
		s.eventually("the instrument of the treatment is assigned again", is("taken", patient.PhaseTreatment))
		if a := s.instrumentOf(of, "aftercare", 0); a.Stopped == "" {
			t.Errorf("the instrument of the follow-up is %+v", a)
		}
	})

	t.Run("so many missed within so many days", func(t *testing.T) {
		s.t = t
		of := s.takesPart(54, "pain")
		told := func() (n int) {
			var list readmodels.List[safetyviews.Alert]
			s.query(s.crc, fmt.Sprintf("/api/v1/studies/%s/alerts?site=01&limit=100", s.study), 0, &list)
			for _, a := range list.Items {
				if a.Patient == of.Patient && a.Kind == safety.DiariesMissed {
					n++
				}
			}
			return n
		}
		for _, day := range []int{13, 11, 9} {
			s.must(s.phone(of), s.filledIn(of, "pain", s.ago(day)))
		}
		s.closeWindows(of, s.ago(10)) // 14, 12 and 10 days ago, and never two in a row
		s.eventually("the site is told", func() bool { return told() == 1 })
	})
}

// corrected asks for a correction, and has the investigator agree. It returns where the log has the correction.
func (s *diarySite) corrected(by string, ask diary.AskDiaryCorrection) uint64 {
	s.t.Helper()
	asked := s.must(by, ask).Position
	requests := s.diary(ask.OfPatient, ask.Instrument, ask.Window, asked).Requests
	return s.must(s.investigator(false), diary.CorrectDiary{OfPatient: ask.OfPatient, Request: requests[len(requests)-1].Request,
		Reasoned: domain.Because("The source says so")}).Position
}
