package diary_test

import (
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/personal"
	"casebook/domain/scenario"
	"casebook/domain/user"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sending is a diary of the evening of 1 March from the phone that the account has enrolled, unless it is changed.
func sending(t *testing.T, change func(*diary.SubmitDiary)) func(diary.Diary) ([]diary.Event, error) {
	t.Helper()
	cmd := evenings(t)
	if change != nil {
		change(&cmd)
	}
	return submit(enrolled("Asia/Shanghai"), cmd, call(shanghai(t, "2026-03-20 10:00")))
}

func evenings(t *testing.T) diary.SubmitDiary {
	t.Helper()
	return diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, CapturedAt: shanghai(t, "2026-03-01 20:30"),
		Zone: "Asia/Shanghai", Device: "phone-1", Sequence: 1, Answers: mild()}
}

func evolved(g scenario.Given[diary.Diary, diary.Event], events ...diary.Event) scenario.Given[diary.Diary, diary.Event] {
	return g.Given(events...)
}

// A device that the account has revoked or never enrolled may have captured an entry all the same.
func TestAnEntryOfAnUnknownDeviceIsHeld(t *testing.T) {
	for standing, why := range map[diary.DeviceStanding]diary.Why{diary.DeviceIsRevoked: diary.WhyDeviceRevoked,
		diary.DeviceIsUnknown: diary.WhyDeviceNotEnrolled} {
		h := isHeld(t, march(t), sending(t, func(c *diary.SubmitDiary) { c.Sender.Device = standing }), why)
		if h.For != "2026-03-01/evening" || h.Sequence != 1 || h.Device != "phone-1" {
			t.Errorf("held is %+v", h)
		}
	}
	account := user.Decider.Fold(user.Registered{User: "anna"}, user.DeviceEnrolled{User: "anna", Device: "phone-1", Enrolment: 1},
		user.DeviceEnrolled{User: "anna", Device: "phone-2", Enrolment: 2}, user.DeviceRevoked{User: "anna", Device: "phone-2"})
	for id, want := range map[user.DeviceID]diary.DeviceStanding{"phone-1": diary.DeviceIsTrusted, "phone-2": diary.DeviceIsRevoked,
		"phone-3": diary.DeviceIsUnknown, "": diary.DeviceIsTrusted} {
		if got := diary.StandingOf(account, id); got != want {
			t.Errorf("the device %q is %q, want %q", id, got, want)
		}
	}
	ended := user.Decider.Evolve(account, user.SessionsEnded{User: "anna", Version: 1})
	if got := diary.StandingOf(ended, "phone-1"); got != diary.DeviceIsTrusted {
		t.Errorf("a device whose session has ended is %q", got)
	}
	back := user.Decider.Evolve(ended, user.DeviceEnrolled{User: "anna", Device: "phone-2", Enrolment: 3})
	if got := diary.StandingOf(back, "phone-2"); got != diary.DeviceIsTrusted {
		t.Errorf("a device that was enrolled again is %q", got)
	}
	// An account of an identity provider enrols no devices.
	if got := diary.StandingOf(user.Decider.Fold(user.Registered{User: "anna"}), "phone-1"); got != diary.DeviceIsTrusted {
		t.Errorf("a device of an account without devices is %q", got)
	}
}

// TestTheNumberOfAnotherAccountsDeviceIsNotReceived: what one account sends under the name of another account's device says nothing about
// the entries of that device, whatever the site decides, and whichever program has recorded the decision.
func TestTheNumberOfAnotherAccountsDeviceIsNotReceived(t *testing.T) {
	of := func(sequence int64, standing diary.DeviceStanding) func(*diary.SubmitDiary) {
		return func(c *diary.SubmitDiary) {
			c.Sequence, c.Sender.Device = sequence, standing
			c.CapturedAt = c.CapturedAt.AddDate(0, 0, int(sequence)-1)
		}
	}
	own, err := sending(t, of(1, diary.DeviceIsTrusted))(march(t).State())
	if err != nil {
		t.Fatal(err)
	}
	given := march(t).Given(own...)
	foreign := isHeld(t, given, sending(t, of(2, diary.DeviceIsUnknown)), diary.WhyDeviceNotEnrolled)
	given = given.Given(foreign)
	entry := diary.EntryOf([]diary.Event{foreign}, painNRS, foreign.Window.ID)
	because, now := domain.Because("Asked by telephone"), call(shanghai(t, "2026-03-20 10:00"))
	void := scenario.SentWithFacts(diary.Void, entry, diary.VoidDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS,
		Window: foreign.Window.ID, Reasoned: because}, now)
	take := scenario.SentWithFacts(diary.CorrectWindow, diary.Relocation{Patient: enrolled("Asia/Shanghai"), Entry: entry},
		diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: foreign.Window.ID, To: "2026-03-02/evening",
			Reasoned: because}, now)
	voided := diary.Voided{Patient: anna, Instrument: painNRS, Window: foreign.Window, Reason: "Asked by telephone", Held: true}
	given.When(void).Then(voided)
	taken, err := take(given.State())
	if err != nil {
		t.Fatal(err)
	}
	older := voided
	older.Device, older.Sequence = foreign.Device, foreign.Sequence
	for name, decided := range map[string][]diary.Event{"set aside": {voided}, "taken": taken, "set aside by an earlier program": {older}} {
		after := given.Given(decided...)
		if all := after.State().Devices(); len(all) != 1 || all[0].Highest() != 1 {
			t.Errorf("%s: the device has the numbers %+v", name, all)
		}
		// The entry of the device itself is another one, and then the number is its own.
		events, err := sending(t, of(2, diary.DeviceIsTrusted))(after.State())
		if err != nil || len(events) == 0 {
			t.Fatalf("%s: the device's own entry is answered %v, %v", name, events, err)
		}
		if all := after.Given(events...).State().Devices(); len(all) != 1 || all[0].HeldThrough() != 2 {
			t.Errorf("%s: with its own entry, the device has the numbers %+v", name, all)
		}
	}
}

// The same entry is recorded once, whatever has become of it, and under whatever key it is sent.
func TestTheSameEntryIsRecordedOnce(t *testing.T) {
	first, err := sending(t, nil)(march(t).State())
	if err != nil {
		t.Fatal(err)
	}
	counted := march(t).Given(first...)
	again := func(c *diary.SubmitDiary) { // with another number, and the time written in another zone
		c.Sequence, c.CapturedAt = 9, c.CapturedAt.UTC()
		c.Answers = diary.Answers{"worst": 3, "least": 1, "average": 2, "now": 2, "rescue": false, "doses": nil}
	}
	counted.When(sending(t, again)).Then()
	voided := diary.Voided{Patient: anna, Instrument: painNRS, Window: evening(t, "2026-03-01"), Reason: "Wrong patient"}
	evolved(counted, voided).When(sending(t, again)).Then()
	moved := first[0].(diary.Submitted)
	moved.Window, moved.MovedFrom = evening(t, "2026-03-02"), "2026-03-01/evening"
	voided.MovedTo = moved.Window.ID
	evolved(counted, voided, moved).When(sending(t, again)).Then()

	held := isHeld(t, counted, sending(t, func(c *diary.SubmitDiary) { c.Device = "phone-2" }), diary.WhyAnswered)
	twice := evolved(counted, held)
	twice.When(sending(t, func(c *diary.SubmitDiary) { c.Device = "phone-2" })).Then()
	// Another one of the same second is another entry, under an id of its own.
	third := isHeld(t, twice, sending(t, func(c *diary.SubmitDiary) { c.Device = "phone-3" }), diary.WhyAnswered)
	if third.Window.ID != held.Window.ID+"/2" {
		t.Errorf("two entries have the ids %s and %s", held.Window.ID, third.Window.ID)
	}
	for name, change := range map[string]func(*diary.SubmitDiary){
		"device":  func(c *diary.SubmitDiary) { c.Device = "phone-2" },
		"moment":  func(c *diary.SubmitDiary) { c.CapturedAt = c.CapturedAt.Add(time.Millisecond) },
		"answers": func(c *diary.SubmitDiary) { c.Answers = with(mild(), diary.Answers{"worst": 4}) },
	} {
		t.Run(name, func(t *testing.T) { isHeld(t, counted, sending(t, change), diary.WhyAnswered) })
	}
	if !diary.Repeats(evenings(t), first[0]) || diary.Repeats(evenings(t), held) || diary.Repeats(evenings(t), moved) {
		t.Error("an entry is not told from others")
	}
}

// What the site decides about entries of each kind.
func TestTheSiteTakesWhatIsHeldOrSetsItAside(t *testing.T) {
	who := enrolled("Asia/Shanghai")
	now := call(shanghai(t, "2026-03-20 10:00"))
	because := domain.Because("Asked by telephone")
	take := func(h diary.Held, into string) func(diary.Diary) ([]diary.Event, error) {
		facts := diary.Relocation{Patient: who, Entry: diary.EntryOf([]diary.Event{h}, painNRS, h.Window.ID)}
		return scenario.SentWithFacts(diary.CorrectWindow, facts,
			diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: h.Window.ID, To: into, Reasoned: because}, now)
	}
	void := func(e diary.Event, window string) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.Void, diary.EntryOf([]diary.Event{e}, painNRS, window),
			diary.VoidDiary{OfPatient: domain.ForPatient(anna), Instrument: painNRS, Window: window, Reasoned: because}, now)
	}
	// The second phone: the site takes its entry in place of the first one.
	first, err := sending(t, nil)(march(t).State())
	if err != nil {
		t.Fatal(err)
	}
	second := isHeld(t, march(t).Given(first...), sending(t, func(c *diary.SubmitDiary) {
		c.Device, c.Answers = "phone-2", with(mild(), diary.Answers{"worst": 9.0})
	}), diary.WhyAnswered)
	both := march(t).Given(first...).Given(second)
	both.When(take(second, "2026-03-01/evening")).ThenRefused("diary_submitted")
	voided, err := void(first[0], "2026-03-01/evening")(both.State())
	if err != nil {
		t.Fatal(err)
	}
	events, err := take(second, "2026-03-01/evening")(both.Given(voided...).State())
	if err != nil || len(events) != 3 { // voided as held, counted, and the risk that the site was told of
		t.Fatalf("got %v, %v", events, err)
	}
	if !slices.Equal(second.UrgentRisks, []string{"pain-severe"}) || !events[2].(diary.RiskFlagged).ToldWhenHeld {
		t.Errorf("the risks are %v and %+v", second.UrgentRisks, events[2])
	}
	older := second // from before urgent risks were recorded
	older.UrgentRisks = nil
	events, err = take(older, "2026-03-01/evening")(march(t).Given(first...).Given(older).Given(voided...).State())
	if err != nil || events[2].(diary.RiskFlagged).ToldWhenHeld {
		t.Errorf("got %v, %v", events, err)
	}
	if s := events[1].(diary.Submitted); s.Late || !s.Again || s.Device != "phone-2" || s.MovedFrom != second.Window.ID {
		t.Errorf("counted is %+v", s)
	}
	both.Given(voided...).Given(events...).When(take(second, "2026-03-02/evening")).ThenRefused("diary_not_found")

	for _, why := range diary.Whys {
		h := second
		h.Why, h.For, h.Late = why, "2026-03-04/evening", why == diary.WhyTooLate
		given := march(t).Given(h)
		events, err := take(h, "2026-03-04/evening")(given.State())
		if err != nil || events[1].(diary.Submitted).Late != h.Late {
			t.Errorf("%s: got %v, %v", why, events, err)
		}
		set, err := void(h, h.Window.ID)(given.State())
		if err != nil || !set[0].(diary.Voided).Held {
			t.Errorf("%s: got %v, %v", why, set, err)
		}
		given.Given(set...).When(void(h, h.Window.ID)).ThenRefused("diary_not_found")
		// The number of what the device may not have sent is none of it, until the site has decided, and never if it is not the account's.
		if n := len(given.State().Devices()); n != map[bool]int{true: 1}[why.Numbered()] {
			t.Errorf("%s: %d devices have numbers", why, n)
		}
		for _, decided := range [][]diary.Event{events, set} {
			all := given.Given(decided...).State().Devices()
			if why == diary.WhyDeviceNotEnrolled && len(all) == 0 {
				continue
			}
			if len(all) != 1 || all[0].Device != h.Device || all[0].HeldThrough() != h.Sequence {
				t.Errorf("%s: after %v, the devices are %+v", why, decided, all)
			}
		}
	}
	// Of an instrument that nobody has assigned: set aside at once, or taken when it is assigned.
	unasked := scenario.For(t, diary.Decider)
	h := isHeld(t, unasked, sending(t, nil), diary.WhyNotAssigned)
	unasked = unasked.Given(h)
	unasked.When(take(h, "2026-03-01/evening")).ThenRefused("window_not_found")
	unasked.When(void(h, h.Window.ID)).
		Then(diary.Voided{Patient: anna, Instrument: painNRS, Window: h.Window, Reason: because.Reason, Held: true,
			Device: h.Device, Sequence: h.Sequence})
	if events, err := take(h, "2026-03-01/evening")(unasked.Given(assigned(instrument.PainDiary())).State()); err != nil ||
		events[1].(diary.Submitted).Version != 1 {
		t.Errorf("got %v, %v", events, err)
	}
}

// Answers that only another version of the instrument takes are from before an amendment, or from behind it.
func TestAnswersOfAnotherVersionAreHeld(t *testing.T) {
	newer := *instrument.PainDiary()
	newer.Version, newer.Items = 2, slices.Clone(newer.Items)
	newer.Items = append(newer.Items, instrument.Item{ID: "mood", Text: "Mood", Type: newer.Items[0].Type, Min: newer.Items[0].Min,
		Max: newer.Items[0].Max, Required: true})
	amended := assigned(&newer)
	amended.From = "2026-03-10"
	g := march(t).Given(amended)
	old := sending(t, func(c *diary.SubmitDiary) { c.CapturedAt = shanghai(t, "2026-03-12 20:30") })
	if h := isHeld(t, g, old, diary.WhyOtherVersion); h.Version != 1 || h.For != "2026-03-12/evening" {
		t.Errorf("held is %+v", h)
	}
	// What no version takes, the app has to mend.
	g.When(sending(t, func(c *diary.SubmitDiary) {
		c.CapturedAt, c.Answers = shanghai(t, "2026-03-12 20:30"), with(mild(), diary.Answers{"worst": 99})
	})).ThenRefused("answer_out_of_range")
}

// What the app can mend is refused, with the field.
func TestWhatTheAppCanMendIsRefused(t *testing.T) {
	for field, tt := range map[string]struct {
		code   string
		change func(*diary.SubmitDiary)
	}{
		"sequence":    {"value_out_of_range", func(c *diary.SubmitDiary) { c.Sequence = -1 }},
		"monotonicMs": {"value_out_of_range", func(c *diary.SubmitDiary) { c.MonotonicMs = -1 }},
		"device":      {"value_missing", func(c *diary.SubmitDiary) { c.Device = "" }},
		"capturedAt":  {"value_out_of_range", func(c *diary.SubmitDiary) { c.CapturedAt = shanghai(t, "9999-12-31 10:00") }},
		"zone":        {"unknown_zone", func(c *diary.SubmitDiary) { c.Zone = "Mars/Olympus" }},
		"instrument":  {"malformed_id", func(c *diary.SubmitDiary) { c.Instrument = "" }},
	} {
		if r := march(t).When(sending(t, tt.change)).ThenRefused(tt.code); r.Field != field {
			t.Errorf("%s is refused at %q, want %q", tt.code, r.Field, field)
		}
	}
	unknown := func(answers diary.Answers) func(diary.Diary) ([]diary.Event, error) {
		return sending(t, func(c *diary.SubmitDiary) { c.Instrument, c.Answers = "other", answers })
	}
	isHeld(t, march(t), unknown(diary.Answers{"a": "text", "b": true, "c": 1.5}), diary.WhyNotAssigned)
	march(t).When(unknown(diary.Answers{"a": []any{1}})).ThenRefused("unknown_item")
	march(t).When(unknown(diary.Answers{"": 1})).ThenRefused("unknown_item")
	march(t).When(unknown(diary.Answers{"a": string(make([]byte, 10_001))})).ThenRefused("value_too_long")
}

// The risks of an entry that is held are those that its texts showed when it came. Afterwards these are sealed.
func TestTheRisksOfATextThatIsHeldAreFlaggedWhenItIsTaken(t *testing.T) {
	watched := noted()
	watched.RiskRules = append(watched.RiskRules,
		instrument.RiskRule{ID: "dizzy", When: `answers.note.contains("dizzy")`, Severity: instrument.SeverityWatch, Message: "Dizziness"},
		instrument.RiskRule{ID: "silent", When: `!answers.note.contains("l")`, Severity: instrument.SeverityWatch, Message: "Not said"})
	given := scenario.For(t, diary.Decider).Given(assigned(watched))
	sealed := personal.SealedText("key", []byte("x"), []byte("place"))
	answers := with(mild(), diary.Answers{"note": "fell, was dizzy"})
	h := isHeld(t, given, sending(t, func(c *diary.SubmitDiary) { c.Answers, c.CapturedAt = answers, shanghai(t, "2026-03-02 12:00") }),
		diary.WhyTooLate)
	read, _ := asRead(h, sealed).(diary.Held)
	rules := func(h diary.Held, in scenario.Given[diary.Diary, diary.Event], opened diary.Answers) (found []string) {
		t.Helper()
		facts := diary.Relocation{Patient: enrolled("Asia/Shanghai"), Entry: diary.EntryOf([]diary.Event{h}, painNRS, h.Window.ID),
			Opened: opened}
		events, err := scenario.SentWithFacts(diary.CorrectWindow, facts, diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(anna),
			Instrument: painNRS, From: h.Window.ID, To: "2026-03-01/evening", Reasoned: domain.Because("Asked")},
			call(shanghai(t, "2026-03-20 10:00")))(in.Given(h).State())
		if err != nil {
			t.Fatal(err)
		}
		if note := events[1].(diary.Submitted).Answers["note"]; note != sealed { //nolint:forcetypeassert // the cast fails the test
			t.Errorf("the text is recorded as %#v", note)
		}
		for _, e := range events[2:] {
			risk := e.(diary.RiskFlagged) //nolint:forcetypeassert // the cast fails the test
			if risk.ToldWhenHeld != (risk.Severity == instrument.SeverityUrgent && len(h.UrgentRisks) > 0) || risk.Message == "" {
				t.Errorf("the risk is %+v", risk)
			}
			found = append(found, risk.Rule)
		}
		return found
	}
	want := []string{"fall", "dizzy"}
	if got := rules(read, given, nil); !slices.Equal(got, want) {
		t.Errorf("flagged are %v, want %v", got, want)
	}
	// One that nobody could judge, or that an earlier program has recorded, is judged by its opened texts.
	unassigned := scenario.For(t, diary.Decider)
	unknown, _ := asRead(isHeld(t, unassigned, sending(t, func(c *diary.SubmitDiary) { c.Answers = answers }), diary.WhyNotAssigned),
		sealed).(diary.Held)
	if unknown.Risks != nil {
		t.Errorf("without an instrument, the risks are %v", unknown.Risks)
	}
	if got := rules(unknown, unassigned.Given(assigned(watched)), diary.Answers{"note": "fell, was dizzy"}); !slices.Equal(got, want) {
		t.Errorf("flagged are %v, want %v", got, want)
	}
	// Another version of the instrument may look for other risks.
	newer := *watched
	newer.Version, newer.RiskRules = 2, append(slices.Clone(newer.RiskRules), instrument.RiskRule{ID: "comma",
		When: `answers.note.contains(",")`, Severity: instrument.SeverityWatch, Message: "A list"})
	amended := scenario.For(t, diary.Decider).Given(assigned(&newer))
	if got := rules(read, amended, diary.Answers{"note": "fell, was dizzy"}); !slices.Equal(got, append(want, "comma")) {
		t.Errorf("by another version, flagged are %v", got)
	}
	older := read
	older.Risks = nil
	if got := rules(older, given, diary.Answers{"note": "fell, was dizzy"}); !slices.Equal(got, want) {
		t.Errorf("of an older event, flagged are %v, want %v", got, want)
	}
}

// Where no instrument tells options from free texts, every text may be one that a person wrote.
func TestTextsThatNoInstrumentChecksAreSealed(t *testing.T) {
	answers := diary.Answers{"note": "Anna fell", "mood": "bad", "worst": 3.0}
	signature := signedEvening(t, newKeyPair(t)).Signature
	of := func(answers diary.Answers) func(*diary.SubmitDiary) {
		return func(c *diary.SubmitDiary) { c.Instrument, c.Answers, c.Signature = "mood", answers, signature }
	}
	unassigned := scenario.For(t, diary.Decider)
	h := isHeld(t, unassigned, sending(t, of(answers)), diary.WhyNotAssigned)
	want := diary.Answers{"note": personal.Text("Anna fell"), "mood": personal.Text("bad"), "worst": 3.0}
	if diff := cmp.Diff(want, h.Answers); diff != "" || h.Signature != "" || string(h.SealedSignature) != string(signature) {
		t.Errorf("the log would store %+v:\n%s", h.Entered, diff)
	}
	// It is the same entry, also when the instrument is assigned meanwhile, and others of the moment are not.
	mood := noted()
	mood.ID = "mood"
	mood.Items = append(mood.Items, instrument.Item{ID: "mood", Text: "Mood", Type: instrument.Choice,
		Options: []instrument.Option{{Value: "bad", Label: "Bad"}, {Value: "good", Label: "Good"}}})
	for _, held := range []scenario.Given[diary.Diary, diary.Event]{unassigned.Given(h), unassigned.Given(h, assigned(mood))} {
		held.When(sending(t, of(answers))).Then()
		held.When(sending(t, of(with(diary.Answers{"note": "x", "mood": "good"}, diary.Answers{"worst": 3.0})))).Then()
	}
	isHeld(t, unassigned.Given(h), sending(t, of(diary.Answers{"worst": 4.0})), diary.WhyNotAssigned)
	if !diary.Repeats(diary.SubmitDiary{OfPatient: domain.ForPatient(anna), Instrument: "mood", Device: h.Device, CapturedAt: h.CapturedAt,
		Answers: answers}, h) {
		t.Error("the entry is not told to be the same")
	}
	// The name of a stream beside a damaged one is in the clear.
	cmd, other := evenings(t), evenings(t)
	cmd.Answers, other.Answers = answers, diary.Answers{"note": "Maria fell", "worst": 3.0}
	if diary.BesideKey(cmd) != diary.BesideKey(other) {
		t.Error("a text can be found from the name of its stream")
	}
}

// TestWhatIsDoubtedBesideADamagedStream: an entry that may be somebody else's does not stand for the true one there either.
func TestWhatIsDoubtedBesideADamagedStream(t *testing.T) {
	who, now := enrolled("Asia/Shanghai"), call(shanghai(t, "2026-03-20 10:00"))
	key := newKeyPair(t)
	genuine := signedEvening(t, key)
	unsigned, foreign, forged := genuine, genuine, genuine
	unsigned.Signature = ""
	foreign.Sender = diary.Sender{Device: diary.DeviceIsUnknown}
	forged.Signature = newKeyPair(t).signs(t, forged)
	beside := func(c diary.SubmitDiary) func(diary.Diary) ([]diary.Event, error) {
		return func(d diary.Diary) ([]diary.Event, error) { return diary.HoldBeside(d, who, c, now) }
	}
	for why, c := range map[diary.Why]diary.SubmitDiary{diary.WhyUnsigned: unsigned, diary.WhyDeviceNotEnrolled: foreign,
		diary.WhyWrongSignature: forged} {
		h := isHeld(t, march(t), beside(c), why)
		if k, ok := diary.BesideStream(h.Window.ID); !ok || k != diary.BesideKey(c) || k == diary.BesideKey(genuine) {
			t.Errorf("%s: the entry is in the stream %q, and the true one in %q", why, k, diary.BesideKey(genuine))
		}
		inStream := isHeld(t, march(t), submit(who, c, now), why)
		isHeld(t, march(t).Given(inStream), beside(genuine), diary.WhyDamaged)
		march(t).Given(inStream).When(beside(c)).Then()
	}
}

// TestWhatCountsIsNoRepeatOfWhatIsDoubted: the answer to a signed entry that is sent again is that it counts, not that an unsigned copy of
// it is held.
func TestWhatCountsIsNoRepeatOfWhatIsDoubted(t *testing.T) {
	who, now := enrolled("Asia/Shanghai"), call(shanghai(t, "2026-03-20 10:00"))
	genuine := signedEvening(t, newKeyPair(t))
	unsigned := genuine
	unsigned.Signature = ""
	held := isHeld(t, march(t), submit(who, unsigned, now), diary.WhyUnsigned)
	if diary.Repeats(genuine, held) || !diary.Repeats(unsigned, held) {
		t.Error("the signed entry repeats the unsigned one, or that one not itself")
	}
	counted, err := submit(who, genuine, now)(march(t).Given(held).State())
	if err != nil || len(counted) == 0 || !diary.Repeats(genuine, counted[0]) {
		t.Errorf("the signed entry is answered %v, %v", counted, err)
	}
}

// While the stream is damaged, nobody knows what it holds: the entry is kept beside it, once.
func TestAnEntryBesideADamagedStream(t *testing.T) {
	beside := func(d diary.Diary) ([]diary.Event, error) {
		return diary.HoldBeside(d, enrolled("Asia/Shanghai"), evenings(t), call(shanghai(t, "2026-03-20 10:00")))
	}
	h := isHeld(t, march(t), beside, diary.WhyDamaged)
	if key, ok := diary.BesideStream(h.Window.ID); !ok || key != diary.BesideKey(evenings(t)) {
		t.Errorf("the entry %s is in the stream %q", h.Window.ID, key)
	}
	if key, ok := diary.BesideStream("held/2026-03-01T12:30:00Z/2"); ok {
		t.Errorf("an entry of the stream itself is in %q", key)
	}
	// What the sound part has is recorded.
	first, _ := sending(t, nil)(march(t).State())
	march(t).Given(first...).When(beside).Then()
	// When the damage is resolved, the state does not have the entry, and learns of it from what the site decides.
	void := scenario.SentWithFacts(diary.Void, diary.EntryOf([]diary.Event{h}, painNRS, h.Window.ID), diary.VoidDiary{
		OfPatient: domain.ForPatient(anna), Instrument: painNRS, Window: h.Window.ID, Reasoned: domain.Because("A test")},
		call(shanghai(t, "2026-03-20 10:00")))
	march(t).When(void).Then(diary.Voided{Patient: anna, Instrument: painNRS, Window: h.Window, Reason: "A test", Held: true,
		Device: h.Device, Sequence: h.Sequence}).
		When(void).ThenRefused("diary_not_found")
}

// Whatever the order in which numbers come, and how often: what is missing below the highest is a gap, and all before the first gap
// are there.
func TestNumbersOfADevice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n diary.Numbers
		has := map[int64]bool{}
		for _, number := range rapid.SliceOfN(rapid.Int64Range(-1, 60), 0, 120).Draw(t, "numbers") {
			before := slices.Clone(n)
			next := n.With(number)
			if diff := cmp.Diff(before, n); diff != "" {
				t.Fatalf("the numbers before have changed:\n%s", diff)
			}
			n = next
			has[number] = number > 0
		}
		through := int64(0)
		for has[through+1] {
			through++
		}
		missing := map[int64]bool{}
		for _, gap := range n.Gaps() {
			for number := gap.First; number <= gap.Last; number++ {
				missing[number] = true
			}
		}
		if n.HeldThrough() != through {
			t.Fatalf("held through %d, want %d: %v", n.HeldThrough(), through, n)
		}
		for number := int64(1); number <= n.Highest(); number++ {
			if has[number] == missing[number] {
				t.Fatalf("%d is there %v and missing %v: %v", number, has[number], missing[number], n)
			}
		}
	})
	// The bound forgets the highest, so that the device sends too much and never too little.
	var odd diary.Numbers
	for number := int64(1); number < 1000; number += 2 {
		odd = odd.With(number)
	}
	if len(odd) != 100 || odd.HeldThrough() != 1 || odd.Highest() != 199 {
		t.Errorf("held are %d spans up to %d", len(odd), odd.Highest())
	}
}

// The state knows which numbers the record has of each device, counted or held, in whatever order they came.
func TestTheStateKnowsTheNumbersOfDevices(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := march(t).State()
		sent := map[user.DeviceID]diary.Numbers{}
		var last user.DeviceID
		for n := range rapid.IntRange(1, 12).Draw(r, "entries") {
			c := evenings(t)
			c.CapturedAt = c.CapturedAt.AddDate(0, 0, rapid.IntRange(0, 3).Draw(r, "day")).Add(time.Duration(n) * time.Second)
			c.Device = rapid.SampledFrom([]user.DeviceID{"phone-1", "phone-2"}).Draw(r, "device")
			c.Sequence = rapid.Int64Range(0, 6).Draw(r, "sequence")
			events, err := diary.Submit(d, enrolled("Asia/Shanghai"), c, call(shanghai(t, "2026-03-20 10:00")))
			if err != nil {
				r.Fatal(err)
			}
			for _, e := range events {
				d = diary.Decider.Evolve(d, e)
			}
			sent[c.Device], last = sent[c.Device].With(c.Sequence), c.Device
		}
		all := d.Devices()
		if len(all) != len(sent) || all[len(all)-1].Device != last {
			r.Fatalf("the devices are %+v", all)
		}
		for _, of := range all {
			if !slices.Equal(of.Numbers, sent[of.Device]) {
				r.Fatalf("of %s the state has %v, and it has sent %v", of.Device, of.Numbers, sent[of.Device])
			}
		}
	})
}

// TestAnEntryFromTheFutureIsHeld: what a clock shows that is ahead counts in no window by itself, also not when its moment has come. It is
// in time where the site finds that it arrived in the window, and late elsewhere.
func TestAnEntryFromTheFutureIsHeld(t *testing.T) {
	at := func(arrived, captured string, change func(*diary.SubmitDiary)) func(diary.Diary) ([]diary.Event, error) {
		cmd := evenings(t)
		cmd.CapturedAt = shanghai(t, captured)
		if change != nil {
			change(&cmd)
		}
		return submit(enrolled("Asia/Shanghai"), cmd, call(shanghai(t, arrived)))
	}
	take := func(h diary.Held, to string) func(diary.Diary) ([]diary.Event, error) {
		ended := enrolled("Asia/Shanghai")
		ended.EndedOn = "2026-03-03"
		return scenario.SentWithFacts(diary.CorrectWindow, diary.Relocation{Patient: ended,
			Entry: diary.EntryOf([]diary.Event{h}, painNRS, h.Window.ID)},
			diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: h.Window.ID, To: to,
				Reasoned: domain.Because("The clock was ahead")}, call(shanghai(t, "2026-03-20 10:00")))
	}
	taken := func(h diary.Held, to string) diary.Submitted {
		t.Helper()
		events, err := take(h, to)(march(t).Given(h).State())
		if err != nil || len(events) != 2 {
			t.Fatalf("taken into %s: %v, %v", to, events, err)
		}
		return events[1].(diary.Submitted)
	}
	days := isHeld(t, march(t), at("2026-03-01 20:30", "2026-03-02 20:30", nil), diary.WhyInFuture)
	if days.For != "" || !days.InFuture || days.Sequence != 1 {
		t.Errorf("a day ahead: held is %+v", days)
	}
	// It was sent again when its moment had come, and by then the server takes it to be right.
	march(t).Given(days).When(at("2026-03-02 21:00", "2026-03-02 20:30", nil)).Then()
	for _, to := range []string{"2026-03-01/evening", "2026-03-02/evening"} { // in neither it was captured as far as anybody knows
		if e := taken(days, to); !e.Late || !e.InFuture || !e.CapturedAt.Equal(days.CapturedAt) {
			t.Errorf("into %s: taken is %+v", to, e)
		}
	}
	hour := isHeld(t, march(t), at("2026-03-01 20:30", "2026-03-01 21:30", nil), diary.WhyInFuture)
	if e := taken(hour, "2026-03-01/evening"); hour.For != "2026-03-01/evening" || e.Late {
		t.Errorf("an hour ahead: taken is %+v", e)
	}
	years := isHeld(t, march(t), at("2026-03-01 20:30", "9998-03-02 20:30", nil), diary.WhyInFuture)
	if e := taken(years, "2026-03-01/evening"); years.Window.ID != "held/9998-03-02T12:30:00Z" || !e.Late {
		t.Errorf("years ahead: taken is %+v", e)
	}
	// Where there is another doubt too, the moment is none that counts.
	unsigned := isHeld(t, march(t), at("2026-03-01 20:30", "2026-03-02 20:30", func(c *diary.SubmitDiary) { c.Sender.Signs = true }),
		diary.WhyUnsigned)
	if e := taken(unsigned, "2026-03-02/evening"); unsigned.For != "" || !e.Late {
		t.Errorf("without a signature: taken is %+v", e)
	}
	// The true entry is recorded beside one that anybody could have sent.
	isHeld(t, march(t).Given(unsigned), at("2026-03-01 20:31", "2026-03-02 20:30", nil), diary.WhyInFuture)
	march(t).When(at("2026-03-01 20:30", "9999-12-31 10:00", nil)).ThenRefused("value_out_of_range")
}
