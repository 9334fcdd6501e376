package diary_test

import (
	"encoding/json"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/personal"
	"casebook/domain/scenario"

	"github.com/google/go-cmp/cmp"
)

// correcting asks for a correction and agrees to it.
func correcting(entry *diary.Entry, answers diary.Answers, reason string) func(diary.Diary) ([]diary.Event, error) {
	return agreeing(entry, diary.AskDiaryCorrection{OfPatient: domain.ForPatient(anna), Instrument: painNRS,
		Window: "2026-03-01/evening", Answers: answers, Reasoned: domain.Because(reason)}, diaryCall)
}

// agreeing is correcting for any request. It returns what the decision records.
func agreeing(entry *diary.Entry, ask diary.AskDiaryCorrection, at domain.Call) func(diary.Diary) ([]diary.Event, error) {
	return func(d diary.Diary) ([]diary.Event, error) {
		at.Actor = "crc"
		asked, err := diary.AskCorrection(d, entry, ask, at)
		if err != nil {
			return nil, err
		}
		request := asked[0].(diary.CorrectionAsked)
		at.Actor = "dr"
		return diary.Correct(diary.Decider.Evolve(d, request), entry, diary.CorrectDiary{OfPatient: ask.OfPatient, Request: request.Request,
			Reasoned: domain.Because("the source says so")}, at)
	}
}

var diaryCall = call(instantOf("2026-03-02T10:00:00Z"))

func corrected(scores []diary.ScoreResult, reason string, changes ...diary.Change) diary.Corrected {
	return diary.Corrected{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Changes: changes,
		Reason: personal.Text(reason), Scores: scores,
		Request: 1, Decision: "the source says so"}
}

func TestCorrect(t *testing.T) {
	past := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
	entry := diary.EntryOf([]diary.Event{past}, painNRS, "2026-03-01/evening")
	given := march(t).Given(past)

	given.When(correcting(entry, diary.Answers{"worst": 5, "least": 1.0}, " typed 3 for 5 ")).
		Then(corrected(intensity(2.5, "mild"), "typed 3 for 5", diary.Change{Item: "worst", Old: 3.0, New: 5.0}))

	// A changed answer can make another item necessary.
	given.When(correcting(entry, diary.Answers{"rescue": true}, "patient's call")).ThenRefused("item_required")
	given.When(correcting(entry, diary.Answers{"rescue": true, "doses": 1.0}, "patient's call")).
		Then(corrected(intensity(2, "mild"), "patient's call", diary.Change{Item: "rescue", Old: false, New: true},
			diary.Change{Item: "doses", Old: nil, New: 1.0}))

	given.When(correcting(entry, diary.Answers{"worst": 5}, "")).ThenRefused("reason_required")
	given.When(correcting(entry, diary.Answers{"worst": 5}, " \n")).ThenRefused("reason_required")
	given.When(correcting(entry, diary.Answers{"worst": 5}, strings.Repeat("ä", 501))).ThenRefused("value_too_long")
	given.When(correcting(entry, diary.Answers{"worst": 3}, "none")).ThenRefused("nothing_changed")
	given.When(correcting(entry, nil, "none")).ThenRefused("nothing_changed")
	given.When(correcting(entry, diary.Answers{"worst": 11}, "slip")).ThenRefused("answer_out_of_range")
	given.When(correcting(entry, diary.Answers{"worst": nil}, "slip")).ThenRefused("item_required")
	given.When(correcting(nil, diary.Answers{"worst": 5}, "slip")).ThenRefused("diary_not_found")
	march(t).When(correcting(entry, diary.Answers{"worst": 5}, "slip")).ThenRefused("diary_not_found")
	scenario.For(t, diary.Decider).When(correcting(entry, diary.Answers{"worst": 5}, "slip")).ThenRefused("diary_not_found")
}

func TestCorrectFlagsOnlyNewRisks(t *testing.T) {
	past := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
	first := corrected(intensity(3.25, "mild"), "read it again", diary.Change{Item: "worst", Old: 3.0, New: 8.0})
	entry := diary.EntryOf([]diary.Event{past}, painNRS, "2026-03-01/evening")
	after := march(t).Given(past).
		When(correcting(entry, diary.Answers{"worst": 8}, "read it again")).
		Then(first, diary.RiskFlagged{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Rule: "pain-severe",
			Severity: instrument.SeverityUrgent, Message: "Worst pain of 8 or more in the last 24 hours"})

	entry = diary.EntryOf([]diary.Event{past, first}, painNRS, "2026-03-01/evening")
	after.When(correcting(entry, diary.Answers{"worst": 9}, "read it once more")).
		Then(corrected(intensity(3.5, "mild"), "read it once more", diary.Change{Item: "worst", Old: 8.0, New: 9.0}))
}

// After n corrections, n+1 values can be read from the events, and the old value of each correction is the value
// recorded before it (21 CFR 11.10(e)).
func TestCorrectionsNeverObscurePriorValues(t *testing.T) {
	past := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
	d, events := march(t).Given(past).State(), []diary.Event{past}
	values := []any{3.0, 4.0, 5.0, 4.0, 6.0, 2.0, 7.0}
	for _, value := range values[1:] {
		entry := diary.EntryOf(events, painNRS, "2026-03-01/evening")
		news, err := correcting(entry, diary.Answers{"worst": value, "least": 1.0}, "source checked")(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range news {
			d, events = diary.Decider.Evolve(d, e), append(events, e)
		}
	}
	readable := []any{events[0].(diary.Submitted).Answers["worst"]}
	for _, e := range events[1:] {
		if c, ok := e.(diary.Corrected); ok {
			if c.Changes[0].Old != readable[len(readable)-1] {
				t.Errorf("the correction has the old value %v, but %v was recorded", c.Changes[0].Old, readable[len(readable)-1])
			}
			readable = append(readable, c.Changes[0].New)
		}
	}
	if diff := cmp.Diff(values, readable); diff != "" {
		t.Errorf("the readable values differ (-want +got):\n%s", diff)
	}
	entry := diary.EntryOf(events, painNRS, "2026-03-01/evening")
	if entry.Answers["worst"] != 7.0 || entry.Corrections != len(values)-1 || past.Answers["worst"] != 3.0 {
		t.Errorf("the entry is %+v", entry)
	}
}

// The log stores answers as JSON. The same answers, compared with those read back from the log, are no change.
func TestAnswersReadBackFromTheLogAreNotChanged(t *testing.T) {
	d := march(t).State()
	answers := diary.Answers{"worst": 3, "least": 1, "average": 2, "now": 2, "rescue": true, "doses": 2}
	events, err := submitting(enrolled("Asia/Shanghai"), shanghai(t, "2026-03-01 20:30"), answers)(d)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(events[0])
	if err != nil {
		t.Fatal(err)
	}
	var read diary.Submitted
	if err := json.Unmarshal(stored, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(events[0], diary.Event(read)); diff != "" {
		t.Errorf("the event read back differs:\n%s", diff)
	}
	entry := diary.EntryOf([]diary.Event{read}, painNRS, "2026-03-01/evening")
	march(t).Given(read).When(correcting(entry, diary.Answers{"worst": 3, "doses": 2, "rescue": true}, "none")).ThenRefused("nothing_changed")
}

func TestEntryOfFindsOneWindow(t *testing.T) {
	correctedTo := func(from, to any) diary.Corrected {
		return diary.Corrected{Patient: anna, Instrument: painNRS, Window: "2026-03-02/evening",
			Changes: []diary.Change{{Item: "interference", Old: from, New: to}}, Scores: intensity(2, "mild")}
	}
	events := []diary.Event{
		assigned(instrument.PainDiary()), missed(t, "2026-03-01"),
		submitted(t, "2026-03-02", shanghai(t, "2026-03-02 20:30")), correctedTo(nil, 4.0), correctedTo(4.0, nil),
	}
	if got := diary.EntryOf(events, painNRS, "2026-03-01/evening"); got != nil {
		t.Errorf("a missed window has the entry %+v", got)
	}
	if got := diary.EntryOf(events, "phq-9", "2026-03-02/evening"); got != nil {
		t.Errorf("another instrument has the entry %+v", got)
	}
	got := diary.EntryOf(events, painNRS, "2026-03-02/evening")
	if diff := cmp.Diff(mild(), got.Answers); diff != "" || got.Corrections != 2 {
		t.Errorf("the entry is %+v\n%s", got, diff)
	}
}

// A correction is asked for and decided by two people, once, and only on the answers that it was asked for.
func TestCorrectionsAreAskedForAndDecided(t *testing.T) {
	past := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
	entry := diary.EntryOf([]diary.Event{past}, painNRS, "2026-03-01/evening")
	of := domain.ForPatient(anna)
	by := func(who domain.UserID) domain.Call {
		at := diaryCall
		at.Actor = who
		return at
	}
	asking := func(worst float64) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.AskCorrection, entry, diary.AskDiaryCorrection{OfPatient: of, Instrument: painNRS,
			Window: "2026-03-01/evening", Answers: diary.Answers{"worst": worst}, Reasoned: domain.Because(" slipped ")}, by("anna"))
	}
	asked := func(request int, worst float64) diary.CorrectionAsked {
		return diary.CorrectionAsked{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Request: request, By: "anna",
			Changes: []diary.Change{{Item: "worst", Old: 3.0, New: worst}}, Reason: "slipped"}
	}
	deciding := func(request int, entry *diary.Entry, who domain.UserID, why string) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.Correct, entry, diary.CorrectDiary{OfPatient: of, Request: request, Reasoned: domain.Because(why)},
			by(who))
	}
	declining := func(request int, who domain.UserID, why string) func(diary.Diary) ([]diary.Event, error) {
		return scenario.Sent(diary.DeclineCorrection, diary.DeclineDiaryCorrection{OfPatient: of, Request: request,
			Reasoned: domain.Because(why)}, by(who))
	}
	waits := march(t).Given(past).When(asking(5)).Then(asked(1, 5)).When(asking(6)).Then(asked(2, 6))
	waits.When(deciding(1, entry, "dr", " ")).ThenRefused("reason_required")
	waits.When(deciding(0, entry, "dr", "r")).ThenRefused("correction_not_found")
	waits.When(deciding(3, entry, "dr", "r")).ThenRefused("correction_not_found")
	waits.When(deciding(1, entry, "anna", "r")).ThenRefused("own_correction")
	waits.When(declining(1, "anna", "r")).ThenRefused("own_correction")
	waits.When(deciding(1, nil, "dr", "r")).ThenRefused("diary_not_found")
	declined := waits.When(declining(2, "dr", "r")).
		Then(diary.CorrectionDeclined{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Request: 2, Reason: "r"})
	declined.When(deciding(2, entry, "dr", "r")).ThenRefused("correction_decided")
	change := diary.Corrected{Patient: anna, Instrument: painNRS, Window: "2026-03-01/evening", Reason: "slipped", Decision: "r", Request: 1,
		Changes: asked(1, 5).Changes, Scores: intensity(2.5, "mild")}
	applied := waits.When(deciding(1, entry, "dr", "r")).Then(change)
	applied.When(declining(1, "dr", "r")).ThenRefused("correction_decided")
	after := diary.EntryOf([]diary.Event{past, change}, painNRS, "2026-03-01/evening")
	applied.When(deciding(2, after, "dr", "r")).ThenRefused("diary_changed")
	applied.When(declining(2, "dr", "r"))
}

// TestWhatIsAskedAboutADiaryLapsesWithIt: nobody waits for a decision about a diary that does not count any more, and no request is applied
// to another diary of the window.
func TestWhatIsAskedAboutADiaryLapsesWithIt(t *testing.T) {
	past := submitted(t, "2026-03-01", shanghai(t, "2026-03-01 20:30"))
	const window = "2026-03-01/evening"
	entry := diary.EntryOf([]diary.Event{past}, painNRS, window)
	asked := func(number int, of string) diary.CorrectionAsked {
		return diary.CorrectionAsked{Patient: anna, Instrument: painNRS, Window: of, Request: number, By: "crc", Reason: "slipped",
			Changes: []diary.Change{{Item: "worst", Old: 3.0, New: 5.0}}}
	}
	declined := diary.CorrectionDeclined{Patient: anna, Instrument: painNRS, Window: window, Request: 1, Reason: "no"}
	given := march(t).Given(past, asked(1, window), declined, asked(2, window), asked(3, "2026-03-02/evening"), asked(4, window))
	of := domain.ForPatient(anna)
	lapsed := func(number int, why, to string) diary.CorrectionLapsed {
		return diary.CorrectionLapsed{Patient: anna, Instrument: painNRS, Window: window, Request: number, Reason: personal.Text(why),
			MovedTo: to}
	}

	void := func(d diary.Diary) ([]diary.Event, error) {
		return diary.Void(d, entry, diary.VoidDiary{OfPatient: of, Instrument: painNRS, Window: window,
			Reasoned: domain.Because(" another had the phone ")}, diaryCall)
	}
	voided := diary.Voided{Patient: anna, Instrument: painNRS, Window: past.Window, Reason: "another had the phone"}
	after := given.When(void).Then(voided, lapsed(2, "another had the phone", ""), lapsed(4, "another had the phone", ""))

	move := func(d diary.Diary) ([]diary.Event, error) {
		return diary.CorrectWindow(d, diary.Relocation{Patient: enrolled("Asia/Shanghai"), Entry: entry}, diary.CorrectDiaryWindow{OfPatient: of,
			Instrument: painNRS, From: window, To: "2026-03-02/evening", Reasoned: domain.Because("wrong date")},
			call(instantOf("2026-03-02T15:00:00Z")))
	}
	events, err := move(given.State())
	if err != nil || len(events) != 4 {
		t.Fatalf("a move records %+v, %v", events, err)
	}
	if diff := cmp.Diff([]diary.Event{lapsed(2, "wrong date", "2026-03-02/evening"), lapsed(4, "wrong date", "2026-03-02/evening")},
		events[2:]); diff != "" {
		t.Errorf("a move records (-want +got):\n%s", diff)
	}

	// The request is closed, and the one about another diary is not.
	decide := func(number int) func(diary.Diary) ([]diary.Event, error) {
		return func(d diary.Diary) ([]diary.Event, error) {
			return diary.Correct(d, entry, diary.CorrectDiary{OfPatient: of, Request: number, Reasoned: domain.Because("yes")}, diaryCall)
		}
	}
	decline := func(number int) func(diary.Diary) ([]diary.Event, error) {
		return func(d diary.Diary) ([]diary.Event, error) {
			return diary.DeclineCorrection(d, diary.DeclineDiaryCorrection{OfPatient: of, Request: number, Reasoned: domain.Because("no")},
				diaryCall)
		}
	}
	after.When(decide(2)).ThenRefused("correction_decided")
	after.When(decline(4)).ThenRefused("correction_decided")
	if r, _ := after.State().Request(3); r.Decided {
		t.Error("a request about another diary is closed")
	}

	// In an older log the request stays open. The window was answered again, with the answers of the request; it is not about that diary.
	older := march(t).Given(past, asked(1, window), voided, past)
	if refusal := older.When(decide(1)).ThenRefused("diary_changed"); !strings.Contains(refusal.Remedy, "decline") {
		t.Errorf("the remedy is %q", refusal.Remedy)
	}
	older.When(decline(1)).Then(declined)
	older.When(void).Then(diary.Voided{Patient: anna, Instrument: painNRS, Window: past.Window, Reason: "another had the phone"})
}
