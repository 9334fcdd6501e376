package diary_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/personal"
	"casebook/domain/scenario"
	"casebook/domain/user"

	"github.com/google/go-cmp/cmp"
)

// noted is the pain diary with an item of free text, which a rule looks at.
func noted() *instrument.Definition {
	d := instrument.PainDiary()
	d.Items = append(d.Items, instrument.Item{ID: "note", Text: "Anything else?", Type: instrument.Text, MaxChars: 40})
	d.RiskRules = append(d.RiskRules, instrument.RiskRule{ID: "fall", When: `answers.note.contains("fell")`,
		Severity: instrument.SeverityUrgent, Message: "A fall"})
	return d
}

// asRead returns an event as it is read from the log, with its free text sealed.
func asRead(e diary.Event, sealed personal.Text) diary.Event {
	seal := func(answers diary.Answers) diary.Answers {
		read := with(diary.Answers{}, answers)
		if _, is := read["note"].(personal.Text); is {
			read["note"] = sealed
		}
		return read
	}
	switch e := e.(type) {
	case diary.Submitted:
		e.Answers = seal(e.Answers)
		return e
	case diary.Held:
		e.Answers = seal(e.Answers)
		return e
	}
	return e
}

func TestFreeTextsAreSealedAndEntriesAreTheSame(t *testing.T) {
	captured := shanghai(t, "2026-03-01 20:30")
	answers := with(mild(), diary.Answers{"note": "Anna fell"})
	given := scenario.For(t, diary.Decider).Given(assigned(noted()))
	from := func(answers diary.Answers) func(diary.Diary) ([]diary.Event, error) {
		return submit(enrolled("Asia/Shanghai"), diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: captured,
			Zone: "Asia/Shanghai", Answers: answers}, call(captured))
	}
	first, err := from(answers)(given.State())
	if err != nil || len(first) != 2 {
		t.Fatalf("%v, %v; want an entry with a risk", first, err)
	}
	event := first[0].(diary.Submitted) //nolint:forcetypeassert // the cast fails the test
	if event.Answers["note"] != personal.Text("Anna fell") || event.Answers["worst"] != 3.0 {
		t.Fatalf("the log would store %#v", event.Answers)
	}
	sealed := personal.SealedText("key", []byte("x"), []byte("place"))
	read := given.Given(asRead(event, sealed))

	// The same entry is known again although its text is sealed; others of the moment are not the same.
	read.When(from(answers)).Then()
	isHeld(t, read, from(with(mild(), diary.Answers{"note": "Anna fell", "worst": 4.0})), diary.WhyAnswered)
	cmd := diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: captured, Answers: answers}
	if !diary.Repeats(cmd, asRead(event, sealed)) || !diary.Repeats(cmd, event) {
		t.Error("the entry is not told to be the same")
	}
	cmd.Answers = with(mild(), diary.Answers{"worst": 4.0, "note": "Anna fell"})
	if diary.Repeats(cmd, asRead(event, sealed)) {
		t.Error("another entry is told to be the same")
	}
	// So is one that a former program recorded as it was.
	former := event
	former.Answers = answers
	given.Given(former).When(from(answers)).Then()

	// A correction of another answer leaves the text sealed, and finds no change in it.
	for _, as := range []diary.Event{asRead(event, sealed), former} {
		entry := diary.EntryOf([]diary.Event{as}, painNRS, "2026-03-01/evening")
		events, err := correcting(entry, diary.Answers{"worst": 5.0}, "typed 3 for 5")(given.Given(as).State())
		if err != nil || len(events) != 1 {
			t.Fatalf("%v, %v; want a correction without a new risk", events, err)
		}
		if diff := cmp.Diff([]diary.Change{{Item: "worst", Old: 3.0, New: 5.0}}, events[0].(diary.Corrected).Changes); diff != "" {
			t.Errorf("other changes (-want +got):\n%s", diff)
		}
	}
	// A new text is a change, sealed as well.
	entry := diary.EntryOf([]diary.Event{asRead(event, sealed)}, painNRS, "2026-03-01/evening")
	events, err := correcting(entry, diary.Answers{"note": "it was Maria"}, "misheard")(read.State())
	if err != nil {
		t.Fatal(err)
	}
	want := []diary.Change{{Item: "note", Old: sealed, New: personal.Text("it was Maria")}}
	if diff := cmp.Diff(want, events[0].(diary.Corrected).Changes); diff != "" {
		t.Errorf("other changes (-want +got):\n%s", diff)
	}
	// What is too long is refused when it is written; a sealed text, which is longer, was not.
	given.When(from(with(mild(), diary.Answers{"note": "01234567890123456789012345678901234567890"}))).ThenRefused("answer_too_long")
}

// TestWhatIsDoubtedStandsForNothing sends an entry that nobody can trust before the true one: that counts, its number is its own, and the
// signature over a free text is sealed with it.
func TestWhatIsDoubtedStandsForNothing(t *testing.T) {
	captured := shanghai(t, "2026-03-01 20:30")
	cmd := diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: captured, Zone: "Asia/Shanghai",
		Device: "phone-1", Sequence: 1, Answers: with(mild(), diary.Answers{"note": "all is well"}), Sender: diary.Sender{Signs: true}}
	given := scenario.For(t, diary.Decider).Given(assigned(noted()))
	who := enrolled("Asia/Shanghai")
	forged := isHeld(t, given, submit(who, cmd, call(captured)), diary.WhyUnsigned)
	held := given.Given(asRead(forged, personal.SealedText("key", []byte("x"), []byte("place"))))
	if devices := held.State().Devices(); len(devices) != 0 {
		t.Errorf("the number of an entry that nobody can trust is one of %+v", devices)
	}
	held.When(submit(who, cmd, call(captured))).Then() // sent again, it is the same

	key := newKeyPair(t)
	genuine := cmd
	genuine.Answers = with(mild(), diary.Answers{"note": "I fell"})
	genuine.Sender.Keys = []user.DeviceKey{key.public}
	genuine.Signature = key.signs(t, genuine)
	events, err := submit(who, genuine, call(captured))(held.State())
	if err != nil || len(events) != 2 {
		t.Fatalf("%v, %v; want the true entry, and the risk of a fall", events, err)
	}
	counted := events[0].(diary.Submitted) //nolint:forcetypeassert // the cast fails the test
	if counted.Signature != "" || string(counted.SealedSignature) != string(genuine.Signature) || counted.Sequence != 1 {
		t.Errorf("it is recorded as %+v", counted)
	}
	after := held.Given(counted)
	if devices := after.State().Devices(); len(devices) != 1 || devices[0].Device != "phone-1" {
		t.Errorf("the device has the numbers %+v", devices)
	}
	after.When(submit(who, genuine, call(captured))).Then()
}
