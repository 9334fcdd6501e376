package diary_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/user"
)

// from is a diary of the evening of 1 March that an account sends.
func from(t *testing.T, sender diary.Sender, change func(*diary.SubmitDiary)) func(diary.Diary) ([]diary.Event, error) {
	who := enrolled("Asia/Shanghai")
	who.AgeYears = 15
	at := shanghai(t, "2026-03-01 20:30")
	cmd := diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: at, Answers: mild(), Sender: sender}
	if change != nil {
		change(&cmd)
	}
	return submit(who, cmd, call(at))
}

func TestEveryDiarySaysWhoEnteredIt(t *testing.T) {
	want := func(e diary.Entered) diary.Submitted {
		s := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
		s.Entered = e
		return s
	}
	mother := diary.Sender{Caregiver: true, Relation: user.RelationParent}
	march(t).When(from(t, diary.Sender{}, nil)).Then(want(diary.Entered{}))
	march(t).When(from(t, diary.Sender{}, func(c *diary.SubmitDiary) { c.Respondent = diary.RespondentPatient })).Then(want(diary.Entered{}))
	march(t).When(from(t, diary.Sender{}, func(c *diary.SubmitDiary) {
		c.Device, c.Language, c.Respondent = "phone-1", "de", diary.RespondentMinor
	})).Then(want(diary.Entered{Device: "phone-1", Language: "de", Respondent: diary.RespondentMinor}))
	march(t).When(from(t, mother, nil)).Then(want(diary.Entered{Mode: diary.ByCaregiver, Relation: user.RelationParent}))
	march(t).When(from(t, mother, func(c *diary.SubmitDiary) { c.Respondent = diary.RespondentMinor })).
		Then(want(diary.Entered{Mode: diary.ByCaregiver, Relation: user.RelationParent, Respondent: diary.RespondentMinor}))

	for code, refused := range map[string]func(diary.Diary) ([]diary.Event, error){
		"entered_by_staff":   from(t, diary.Sender{Staff: true}, nil),
		"unknown_code":       from(t, diary.Sender{}, func(c *diary.SubmitDiary) { c.Respondent = "dog" }),
		"malformed_id":       from(t, diary.Sender{}, func(c *diary.SubmitDiary) { c.Device = "my phone" }),
		"malformed_language": from(t, diary.Sender{}, func(c *diary.SubmitDiary) { c.Language = "German!" }),
	} {
		march(t).When(refused).ThenRefused(code)
	}
	isHeld(t, march(t), from(t, diary.Sender{}, func(c *diary.SubmitDiary) { c.Respondent = diary.RespondentCaregiver }),
		diary.WhyRespondentContradicts)
	adult := enrolled("Asia/Shanghai")
	adult.AgeYears = 54
	at := shanghai(t, "2026-03-01 20:30")
	isHeld(t, march(t), submit(adult, diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: at,
		Respondent: diary.RespondentMinor, Answers: mild()}, call(at)), diary.WhyRespondentContradicts)
}

// transcribing records a diary from paper, of 20:30 on 1 March unless it is changed.
func transcribing(t *testing.T, who patient.Patient, change func(*diary.TranscribeDiary)) func(diary.Diary) ([]diary.Event, error) {
	cmd := diary.TranscribeDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, AnsweredAt: shanghai(t, "2026-03-01 20:30"),
		Answers: mild(), Source: diary.SourcePaper, Respondent: diary.RespondentPatient, Reasoned: domain.Because("Phone broken")}
	if change != nil {
		change(&cmd)
	}
	return scenario.SentWithFacts(diary.Transcribe, who, cmd, call(shanghai(t, "2026-03-20 10:00")))
}

func TestTranscribe(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	want := func(change func(*diary.Submitted)) diary.Submitted {
		s := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
		s.Entered = diary.Entered{Mode: diary.ByTranscription, Respondent: diary.RespondentPatient, Source: diary.SourcePaper,
			Reason: "Phone broken"}
		if change != nil {
			change(&s)
		}
		return s
	}
	march(t).When(transcribing(t, who, nil)).Then(want(nil)).
		When(transcribing(t, who, nil)).ThenRefused("diary_submitted")
	march(t).Given(missed(t, "2026-03-01")).When(transcribing(t, who, nil)).Then(want(func(s *diary.Submitted) { s.AfterMissed = true }))
	march(t).When(transcribing(t, who, func(c *diary.TranscribeDiary) {
		c.Source, c.Respondent, c.Relation, c.Window = diary.SourceTelephone, diary.RespondentCaregiver, user.RelationSpouse, "2026-03-01/evening"
		c.AnsweredAt = shanghai(t, "2026-03-05 09:00")
	})).Then(want(func(s *diary.Submitted) {
		s.CapturedAt, s.Late = shanghai(t, "2026-03-05 09:00"), true
		s.Entered = diary.Entered{Mode: diary.ByInterviewer, Respondent: diary.RespondentCaregiver, Relation: user.RelationSpouse,
			Source: diary.SourceTelephone, Reason: "Phone broken"}
	}))

	for _, tt := range []struct {
		code   string
		change func(*diary.TranscribeDiary)
	}{
		{"reason_required", func(c *diary.TranscribeDiary) { c.Reason = "" }},
		{"value_missing", func(c *diary.TranscribeDiary) { c.AnsweredAt = time.Time{} }},
		{"value_missing", func(c *diary.TranscribeDiary) { c.Respondent = "" }},
		{"captured_in_future", func(c *diary.TranscribeDiary) { c.AnsweredAt = shanghai(t, "2026-03-21 20:00") }},
		{"unknown_code", func(c *diary.TranscribeDiary) { c.Source = "hearsay" }},
		{"unknown_code", func(c *diary.TranscribeDiary) { c.Respondent, c.Relation = diary.RespondentCaregiver, "cousin's dog" }},
		{"respondent_contradicts", func(c *diary.TranscribeDiary) { c.Respondent = diary.RespondentCaregiver }},
		{"respondent_contradicts", func(c *diary.TranscribeDiary) { c.Relation = user.RelationSpouse }},
		{"malformed_language", func(c *diary.TranscribeDiary) { c.Language = "?" }},
		{"window_not_found", func(c *diary.TranscribeDiary) { c.Window = "2026-04-01/evening" }},
		{"diary_too_early", func(c *diary.TranscribeDiary) { c.Window = "2026-03-02/evening" }},
		{"diary_too_early", func(c *diary.TranscribeDiary) { c.AnsweredAt = shanghai(t, "2026-03-01 17:00") }},
		{"instrument_not_assigned", func(c *diary.TranscribeDiary) { c.Instrument, c.Window = "phq-9", "2026-03-02/x" }},
		{"answer_out_of_range", func(c *diary.TranscribeDiary) { c.Answers = with(mild(), diary.Answers{"worst": 11.0}) }},
	} {
		t.Run(tt.code, func(t *testing.T) {
			march(t).When(transcribing(t, who, tt.change)).ThenRefused(tt.code)
		})
	}
	march(t).When(transcribing(t, withdrawn("2026-02-28"), nil)).ThenRefused("patient_not_participating")
	// What was asked after the participation does not count for a day before its end.
	march(t).When(transcribing(t, withdrawn("2026-03-04"), func(c *diary.TranscribeDiary) {
		c.Source, c.Window, c.AnsweredAt = diary.SourceInterview, "2026-03-01/evening", shanghai(t, "2026-03-05 09:00")
	})).ThenRefused("patient_not_participating")
}

// A refusal names the field that is wrong, not that of another command.
func TestRefusedTranscriptionsNameTheField(t *testing.T) {
	d := march(t).State()
	for field, change := range map[string]func(*diary.TranscribeDiary){
		"window":     func(c *diary.TranscribeDiary) { c.Window = "2026-04-01/evening" },
		"instrument": func(c *diary.TranscribeDiary) { c.Instrument = "phq-9" },
		"answeredAt": func(c *diary.TranscribeDiary) { c.AnsweredAt = shanghai(t, "2026-03-01 17:00") },
		"respondent": func(c *diary.TranscribeDiary) { c.Respondent = "" },
	} {
		_, err := transcribing(t, enrolled("Asia/Shanghai"), change)(d)
		if r, refused := refuse.As(err); !refused || r.Field != field {
			t.Errorf("wrong is %s, and the answer is %v at %+v", field, err, r)
		}
	}
}

// An interview is an assessment; to copy a paper is none.
func TestWhoKnowsTheArmInterviewsNobody(t *testing.T) {
	who := patient.Decider.Evolve(enrolled("Asia/Shanghai"), patient.Unblinded{Patient: anna, Kind: study.UnblindedInEmergency,
		KnownTo: []domain.UserID{"anna"}, AssessmentsByOthers: true}) // the actor of the calls
	for source, allowed := range map[diary.Source]bool{diary.SourceInterview: false, diary.SourceTelephone: false, diary.SourcePaper: true,
		diary.SourceOtherPatient: true} {
		_, err := transcribing(t, who, func(c *diary.TranscribeDiary) { c.Source = source })(march(t).State())
		if r, refused := refuse.As(err); refused == allowed || refused && r.Code != "assessor_unblinded" {
			t.Errorf("a diary from %s: %v", source, err)
		}
	}
}

// A correction of the answers, the day or the window never changes how a diary came in.
func TestCorrectionsKeepTheMode(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	first := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
	first.Entered = diary.Entered{Mode: diary.ByTranscription, Respondent: diary.RespondentPatient, Source: diary.SourcePaper,
		Reason: "Broken"}
	corrected := diary.Corrected{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Reason: "mistyped",
		Changes: []diary.Change{{Item: "worst", Old: 3.0, New: 4.0}}, Scores: intensity(2.25, "mild")}
	events := []diary.Event{first, corrected}
	entry := diary.EntryOf(events, painNRS, "2026-03-01/evening")
	if entry == nil || entry.Mode != diary.ByTranscription || entry.Answers["worst"] != 4.0 {
		t.Fatalf("the entry is %+v", entry)
	}
	march(t).Given(events...).When(scenario.SentWithFacts(diary.CorrectWindow, diary.Relocation{Patient: who, Entry: entry},
		diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: "2026-03-01/evening",
			To: "2026-03-02/evening", Reasoned: domain.Because("The sheet was of the next day")}, call(shanghai(t, "2026-03-20 10:00")))).
		Then(
			diary.Voided{Patient: anna, Instrument: painNRS, Window: evening(t, "2026-03-01"), Reason: "The sheet was of the next day",
				Mode: diary.ByTranscription, MovedTo: "2026-03-02/evening"},
			func() diary.Event {
				moved := first
				moved.Window, moved.Late, moved.MovedFrom = evening(t, "2026-03-02"), true, "2026-03-01/evening"
				moved.Answers, moved.Scores = with(mild(), diary.Answers{"worst": 4.0}), intensity(2.25, "mild")
				return moved
			}())
}

func TestVoid(t *testing.T) {
	first := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
	first.AfterMissed = true
	events := []diary.Event{missed(t, "2026-03-01"), first}
	void := func(window, reason string, events ...diary.Event) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.Void, diary.EntryOf(events, painNRS, window), diary.VoidDiary{OfPatient: domain.ForPatient(anna),
			Instrument: painNRS, Window: window, Reasoned: domain.Because(reason)}, call(shanghai(t, "2026-03-20 10:00")))
	}
	g := march(t).Given(events...).When(void("2026-03-01/evening", "Her husband had the phone", events...)).
		Then(diary.Voided{Patient: anna, Instrument: painNRS, Window: evening(t, "2026-03-01"), Reason: "Her husband had the phone",
			AfterMissed: true})
	if got := g.State().Status(painNRS, "2026-03-01/evening"); got != diary.Missed {
		t.Errorf("the window has the status %d", got)
	}
	// It is gone, and the right one may come in.
	g.When(void("2026-03-01/evening", "again")).ThenRefused("diary_not_found")
	again := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:31"))
	again.AfterMissed, again.Again = true, true
	g.When(submittingAt(enrolled("Asia/Shanghai"), shanghai(t, "2026-03-01 20:31"), shanghai(t, "2026-03-20 10:00"), mild())).Then(again)
	march(t).Given(events...).When(void("2026-03-01/evening", " ", events...)).ThenRefused("reason_required")

	// A window that had not been missed is missed when its time is over.
	first.AfterMissed = false
	late := missed(t, "2026-03-01")
	late.Again = true
	march(t).Given(first).When(void("2026-03-01/evening", "Wrong patient", first)).
		Then(diary.Voided{Patient: anna, Instrument: painNRS, Window: evening(t, "2026-03-01"), Reason: "Wrong patient"}).
		When(closingFor(enrolled("Asia/Shanghai"), shanghai(t, "2026-03-02 20:00"), shanghai(t, "2026-03-20 10:00"))).Then(late)
}

func TestADiaryIsMovedOnlyIntoAFreeWindow(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	first := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
	second := submitted(t, "2026-03-02", shanghai(t, "2026-03-02 20:30"))
	events := []diary.Event{first, second}
	move := func(who patient.Patient, from, to string) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.CorrectWindow, diary.Relocation{Patient: who, Entry: diary.EntryOf(events, painNRS, from)},
			diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: from, To: to,
				Reasoned: domain.Because("wrong day")}, call(shanghai(t, "2026-03-20 10:00")))
	}
	g := march(t).Given(events...)
	g.When(move(who, "2026-03-01/evening", "2026-03-02/evening")).ThenRefused("diary_submitted")
	g.When(move(who, "2026-03-01/evening", "2026-03-01/evening")).ThenRefused("nothing_to_correct")
	g.When(move(who, "2026-03-01/evening", "2026-03-03/morning")).ThenRefused("window_not_found")
	g.When(move(who, "2026-03-04/evening", "2026-03-03/evening")).ThenRefused("diary_not_found")
	g.When(move(who, "2026-03-01/evening", "2026-03-25/evening")).ThenRefused("window_not_open")
	g.When(move(withdrawn("2026-03-02"), "2026-03-01/evening", "2026-03-03/evening")).ThenRefused("patient_not_participating")
	// What was captured after the end does not count before it.
	third := submitted(t, "2026-03-05", shanghai(t, "2026-03-05 20:30"))
	events = append(events, third)
	g.Given(third).When(move(withdrawn("2026-03-04"), "2026-03-05/evening", "2026-03-03/evening")).ThenRefused("patient_not_participating")
}

func TestWhatHasNoWindowIsHeld(t *testing.T) {
	at := shanghai(t, "2026-03-05 17:00") // between two windows
	held := diary.Held{Patient: anna, Instrument: painNRS, Version: 1, Why: "diary_too_late", CapturedAt: at, Answers: mild(),
		Window: diary.Window{ID: "held/2026-03-05T09:00:00Z", Opens: at, Closes: at}}
	who := enrolled("Asia/Shanghai")
	given := march(t)
	g := given.When(submitting(who, at, mild())).Then(held)
	g.When(submitting(who, at, mild())).Then() // the same entry again

	// Captured after a withdrawal, and before it but sent after it.
	gone, after := withdrawn("2026-03-02"), held
	after.CapturedAt, after.Why = shanghai(t, "2026-03-03 20:30"), "patient_not_participating"
	after.Window = diary.Window{ID: "held/2026-03-03T12:30:00Z", Opens: after.CapturedAt, Closes: after.CapturedAt}
	given.When(submitting(gone, after.CapturedAt, mild())).Then(after)
	given.When(submittingAt(gone, shanghai(t, "2026-03-02 20:30"), shanghai(t, "2026-03-20 10:00"), mild())).
		Then(submitted(t, "2026-03-02", shanghai(t, "2026-03-02 20:30")))
	given.When(submitting(who, at, with(mild(), diary.Answers{"worst": 99.0}))).ThenRefused("answer_out_of_range")

	// The site lets it count, late, or not.
	entry := diary.EntryOf([]diary.Event{held}, painNRS, held.Window.ID)
	counted := submitted(t, "2026-03-04", at)
	counted.Late, counted.MovedFrom = true, held.Window.ID
	g.When(scenario.SentWithFacts(diary.CorrectWindow, diary.Relocation{Patient: who, Entry: entry},
		diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: held.Window.ID, To: "2026-03-04/evening",
			Reasoned: domain.Because("She was in theatre")}, call(shanghai(t, "2026-03-20 10:00")))).
		Then(diary.Voided{Patient: anna, Instrument: painNRS, Window: held.Window, Reason: "She was in theatre", Held: true,
			MovedTo: "2026-03-04/evening"}, counted)
	g.When(scenario.SentWithFacts(diary.Void, entry, diary.VoidDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS,
		Window: held.Window.ID, Reasoned: domain.Because("A test")}, call(shanghai(t, "2026-03-20 10:00")))).
		Then(diary.Voided{Patient: anna, Instrument: painNRS, Window: held.Window, Reason: "A test", Held: true})
}

func TestSetLanguage(t *testing.T) {
	set := func(l diary.Language) func(diary.Diary) ([]diary.Event, error) {
		return scenario.Sent(diary.SetLanguage, diary.SetDiaryLanguage{OfPatient: domain.ForPatient(anna), Language: l},
			call(shanghai(t, "2026-03-01 10:00")))
	}
	g := march(t).When(set("zh-Hans")).Then(diary.LanguageSet{Patient: anna, Language: "zh-Hans"})
	g.When(set("de")).Then(diary.LanguageSet{Patient: anna, Language: "de", Was: "zh-Hans"})
	g.When(set("zh-Hans")).Then()
	g.When(set("")).ThenRefused("value_missing")
	g.When(set("Chinese")).ThenRefused("malformed_language")
	if g.State().Language() != "zh-Hans" {
		t.Errorf("the language is %q", g.State().Language())
	}
}
