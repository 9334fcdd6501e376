package randomisation_test

import (
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// A closed arm is never drawn again, whatever scheme is active; its patients stay in it.
func TestAClosedArmIsNotDrawn(t *testing.T) {
	s := studyWith(two)
	given := start(t).Given(activated(t, s, uploading(s, "one", "arm", "verum", "verum", "placebo"))...)
	first := given.When(drawing(s, two, 1)).Then(drawnFromList(1, 1, 1, verum, nil))
	closed := first.When(closing(s, verum)).Then(randomisation.ArmClosed{Study: pain, Arm: blind.Of(verum), Reason: "board decision"})
	if arm, _ := closed.State().ArmOf(patient(1)); opened(t, arm) != verum {
		t.Error("the patient of the closed arm is in another one")
	}
	onlyPlacebo := func(d *randomisation.Draw) { d.Arms, d.InStock = []domain.ArmID{placebo}, []domain.ArmID{placebo} }
	// No stock of the closed arm is needed, and nothing is forced.
	closed.When(drawing(s, []domain.ArmID{placebo}, 2)).Then(skipped(2, 2, 2, verum), drawnFromList(2, 2, 3, placebo, onlyPlacebo)).
		When(drawing(s, two, 3)).Then(refused(3, "list_exhausted", listExhausted), exhausted())

	closed.When(closing(s, verum)).ThenRefused("arm_closed")
	closed.When(closing(s, placebo)).ThenRefused("last_arm")
	given.When(closing(s, comparator)).ThenRefused("arm_not_found")
	given.When(closing(study.Study{}, verum)).ThenRefused("study_not_found")
	given.When(scenario.SentWithFacts(randomisation.DropArm, s, randomisation.CloseArm{InStudy: domain.ForStudy(pain), Arm: verum},
		call)).ThenRefused("reason_required")
	if arms, err := closed.State().Closed(); err != nil || len(arms) != 1 || arms[0] != verum {
		t.Errorf("closed are %v, %v", arms, err)
	}

	// Minimisation does not prefer a closed arm either.
	m := studyWith(three, bySex)
	minimised := start(t).Given(activated(t, m, minimising(m, randomisation.DefineMinimisation{Scheme: "one",
		Ratio: map[domain.ArmID]int{verum: 1, placebo: 1, comparator: 1}, Metric: randomisation.MetricRange, P: 0.9, Seed: theSeed}))...)
	state := randomisation.Decider.Evolve(minimised.State(), randomisation.ArmClosed{Study: pain, Arm: blind.Of(verum)})
	for who := range 20 {
		events := must(t, state, drawing(m, three, who, "sex", "f"))
		if _, draw := theDraw(t, withoutNotices(events)); draw.Arm == verum {
			t.Fatal("the closed arm is drawn")
		}
	}
}

// A scheme that was used can be replaced: old draws stay. They count for the balance of the new one or not, as it is said.
func TestSupersede(t *testing.T) {
	s := studyWith(two, bySex)
	given := start(t).Given(activated(t, s, uploading(s, "one", "sex,arm", "m,verum", "m,verum", "f,placebo"))...)
	drawn := given.When(drawing(s, two, 1, "sex", "m")).Then(drawnFromList(1, 1, 1, verum,
		func(d *randomisation.Draw) { d.Stratum = 1 }, "sex", "m"))

	// The amendment adds an arm and a level.
	withUnknown := study.Factor{ID: "sex", Levels: []string{"f", "m", "unknown"}}
	amended := studyWith(three, withUnknown)
	defined := must(t, drawn.State(), minimising(amended, randomisation.DefineMinimisation{Scheme: "two",
		Ratio: map[domain.ArmID]int{verum: 1, placebo: 1, comparator: 1}, Metric: randomisation.MetricRange, P: 0.9, Seed: theSeed}))
	hash := defined[0].(randomisation.MinimisationDefined).SeedCommitment
	ready := drawn.Given(defined...)
	ready.When(activating(amended, "two", hash)).ThenRefused("scheme_in_use")
	ready.When(superseding(amended, "two", "other", randomisation.CountFresh)).ThenRefused("hash_differs")
	ready.When(superseding(s, "two", hash, randomisation.CountFresh)).ThenRefused("scheme_outdated")
	ready.When(superseding(amended, "three", hash, randomisation.CountFresh)).ThenRefused("scheme_not_found")
	ready.When(superseding(amended, "two", hash, "sometimes")).ThenRefused("unknown_code")
	start(t).Given(defined...).When(superseding(amended, "two", hash, randomisation.CountFresh)).ThenRefused("no_active_scheme")
	for counting, count := range map[randomisation.Counting]int{randomisation.CountEarlier: 1, randomisation.CountFresh: 0} {
		next := ready.When(superseding(amended, "two", hash, counting)).
			Then(randomisation.SchemeSuperseded{Study: pain, Scheme: "two", Former: "one", Counting: counting, Reason: "Amendment 2"})
		if arm, _ := next.State().ArmOf(patient(1)); opened(t, arm) != verum || next.State().LastNumber != 1 {
			t.Error("the old draw has changed")
		}
		_, draw := theDraw(t, must(t, next.State(), drawing(amended, three, 2, "sex", "m")))
		if draw.Counts[0][0] != count || draw.Number != 2 {
			t.Errorf("%s: the earlier patient counts %d times: %v", counting, draw.Counts[0][0], draw.Counts)
		}
		// The new level can be drawn, a second draw is not possible, and a cap counts everybody in any case.
		theDraw(t, must(t, next.State(), drawing(amended, three, 2, "sex", "unknown")))
		if events := must(t, next.State(), drawing(amended, three, 1, "sex", "m")); len(events) > 0 {
			t.Errorf("the patient is drawn again: %v", events)
		}
		capped := randomisation.Decider.Evolve(next.State(), must(t, next.State(),
			capping(amended, randomisation.CohortCap{Factor: "sex", Level: "m", Most: 1}))[0])
		if code := refusal(must(t, capped, drawing(amended, three, 2, "sex", "m"))); code != "cap_reached" {
			t.Errorf("%s: a full level is answered with %q", counting, code)
		}
		// A correction counts once, for patients from before and after.
		corrected := randomisation.Decider.Evolve(next.State(), must(t, next.State(), correcting(1, "sex", "f"))[0])
		if _, draw := theDraw(t, must(t, corrected, drawing(amended, three, 2, "sex", "f"))); draw.Counts[0][0] != count {
			t.Errorf("%s: the corrected patient counts %d times", counting, draw.Counts[0][0])
		}
		if err := randomisation.Replay(next.Events()); err != nil {
			t.Error(err)
		}
	}
	// A list counts nobody: it begins at its first entry.
	list := must(t, drawn.State(), uploading(s, "list", "sex,arm", "m,placebo", "m,verum"))
	part, _ := list[0].(randomisation.ListUploaded).List.Open()
	withList := drawn.Given(list...)
	withList.When(superseding(s, "list", part.SHA256, randomisation.CountEarlier)).ThenRefused("counting_not_possible")
	again := withList.When(superseding(s, "list", part.SHA256, randomisation.CountFresh)).
		Then(randomisation.SchemeSuperseded{Study: pain, Scheme: "list", Former: "one", Counting: randomisation.CountFresh,
			Reason: "Amendment 2"})
	if _, draw := theDraw(t, must(t, again.State(), drawing(s, two, 2, "sex", "m"))); draw.Row != 1 || draw.Arm != placebo {
		t.Errorf("the first draw from the new list is %+v", draw)
	}
}

// A list that ends is extended; nobody is drawn meanwhile, and nobody is lost. Who may know is told before.
func TestExtendAndRunLow(t *testing.T) {
	s := studyWith(two)
	given := start(t).Given(activated(t, s, uploading(s, "one", "arm", "verum", "placebo", "placebo"))...)
	given.When(watching(-1)).ThenRefused("value_out_of_range")
	watched := given.When(watching(2)).Then(randomisation.ListAlertSet{Study: pain, Remaining: 2, Reason: "two weeks of recruitment"})
	watched.When(watching(3)).Then(randomisation.ListAlertSet{Study: pain, Remaining: 3, Reason: "two weeks of recruitment", Was: 2})
	low := func(left int, tell bool) randomisation.ListRanLow {
		return randomisation.ListRanLow{Study: pain, Scheme: "one", Remaining: left, Few: true, Tell: tell}
	}
	end := watched.When(drawing(s, two, 1)).Then(drawnFromList(1, 1, 1, verum, nil)).
		When(drawing(s, two, 2)).Then(drawnFromList(2, 2, 2, placebo, nil), low(1, true)).
		When(drawing(s, two, 3)).Then(drawnFromList(3, 3, 3, placebo, nil), low(0, true)).
		When(drawing(s, two, 4)).Then(refused(4, "list_exhausted", listExhausted), exhausted())

	more := randomisation.ExtendRandomisationList{Scheme: "one", CSV: "arm\nverum\nverum\nplacebo\n"}
	events := must(t, end.State(), extending(more))
	if e := events[len(events)-1].(randomisation.ListRanLow); e.Few || e.Remaining != 3 {
		t.Errorf("after the extension there is %+v", e)
	}
	end.Given(events...).When(drawing(s, two, 4)).Then(drawnFromList(4, 4, 4, verum, nil)).
		When(drawing(s, two, 5)).Then(drawnFromList(5, 5, 5, verum, nil), low(1, true)) // it is told again
	if err := randomisation.Replay(append(end.Events(), events...)); err != nil {
		t.Error(err)
	}

	end.When(extending(randomisation.ExtendRandomisationList{Scheme: "one"})).ThenRefused("value_missing")
	end.When(extending(randomisation.ExtendRandomisationList{Scheme: "one", CSV: "arm\nother\n"})).ThenRefused("invalid_list")
	end.When(extending(randomisation.ExtendRandomisationList{Scheme: "two", CSV: "arm\nverum\n"})).ThenRefused("scheme_not_found")

	// A generated list is extended from its seed, and Replay makes the same entries again.
	g := studyWith(two, bySex)
	generated := start(t).Given(activated(t, g, generating(g, randomisation.GenerateRandomisationList{Scheme: "one", Ratio: equally,
		BlockSizes: []int{2}, PerStratum: 2, Seed: theSeed}))...)
	generated.When(extending(more)).ThenRefused("value_out_of_range")
	grown := must(t, generated.State(), extending(randomisation.ExtendRandomisationList{Scheme: "one", PerStratum: 4}))
	if e := grown[0].(randomisation.ListExtended); e.Rows != 8 {
		t.Errorf("the extension has %d rows", e.Rows)
	}
	if err := randomisation.Replay(append(generated.Events(), grown...)); err != nil {
		t.Error(err)
	}
	forged := grown[0].(randomisation.ListExtended)
	rows := opened(t, forged.List)
	rows.Rows = append([]randomisation.Row{{0, 1 - rows.Rows[0].Arm()}}, rows.Rows[1:]...)
	forged.List = blind.Of(rows)
	if randomisation.Replay(append(generated.Events(), forged)) == nil {
		t.Error("Replay accepts another extension")
	}
	m := start(t).Given(activated(t, g, minimising(g, randomisation.DefineMinimisation{Scheme: "one", Ratio: equally,
		Metric: randomisation.MetricRange, P: 0.9, Seed: theSeed}))...)
	m.When(extending(more)).ThenRefused("not_a_list")
}

// Of each draw an arm stays open, because an arm that is closed stays so. The single arm of a stage may be closed: that ends the stage.
func TestTheLastArmOfAStageStaysOpen(t *testing.T) {
	s := studyTreating(three, study.Treatment{Randomised: true, FirstArms: []string{"verum", "placebo"},
		Stages: []study.Stage{{ID: "second", Arms: []string{"placebo", "comparator"}}, {ID: "open", Arms: []string{"verum"}}}})
	closed := func(arm domain.ArmID) randomisation.ArmClosed {
		return randomisation.ArmClosed{Study: pain, Arm: blind.Of(arm), Reason: "board decision"}
	}
	start(t).When(closing(s, verum)).Then(closed(verum)).When(closing(s, placebo)).ThenRefused("last_arm")
	start(t).When(closing(s, comparator)).Then(closed(comparator)).When(closing(s, placebo)).ThenRefused("last_arm")
	start(t).When(closing(s, placebo)).Then(closed(placebo)).When(closing(s, comparator)).ThenRefused("last_arm")
}

// Each stage has its own scheme. A patient keeps the arm of the first draw in the record, and gets another one.
func TestStages(t *testing.T) {
	s := studyTreating(three, study.Treatment{Randomised: true, FirstArms: []string{"verum", "placebo"},
		Stages: []study.Stage{{ID: "second", Arms: []string{"placebo", "comparator"}}, {ID: "open", Arms: []string{"verum"}}}})
	given := start(t).Given(activated(t, s, uploading(s, "one", "arm", "verum", "placebo"))...)
	inStage := func(stage string, who int) decision {
		cmd := randomise(who)
		cmd.Stage = stage
		return scenario.SentWithFacts(randomisation.Randomise, randomisation.Facts{Study: s}, cmd, call)
	}
	upload := randomisation.UploadRandomisationList{InStudy: domain.ForStudy(pain), Stage: "second", Scheme: "two",
		CSV: "arm\ncomparator\nplacebo\n"}
	first := given.When(inStage("", 1)).Then(drawnFromList(1, 1, 1, verum, func(d *randomisation.Draw) { d.InStock = nil }))
	first.When(inStage("second", 1)).Then(refused(1, "no_active_scheme", "no scheme of randomisation is active in the study"))
	list := must(t, first.State(), scenario.SentWithFacts(randomisation.Upload, s, upload, call))
	part, _ := list[0].(randomisation.ListUploaded).List.Open()
	activate := randomisation.ActivateRandomisation{InStudy: domain.ForStudy(pain), Stage: "second", Scheme: "two", SHA256: part.SHA256}
	elsewhere := activate
	elsewhere.Stage = "third"
	unknown := upload
	unknown.Stage = "third"
	first.When(scenario.SentWithFacts(randomisation.Upload, s, unknown, call)).ThenRefused("stage_not_found")
	first.Given(list...).When(scenario.SentWithFacts(randomisation.Activate, s, elsewhere, call)).ThenRefused("stage_not_found")
	second := first.Given(list...).When(scenario.SentWithFacts(randomisation.Activate, s, activate, call)).
		Then(randomisation.SchemeActivated{Study: pain, Stage: "second", Scheme: "two"})
	events := must(t, second.State(), inStage("second", 1))
	e, draw := theDraw(t, events)
	if draw.Arm != comparator || e.Stage != "second" || e.Number != 2 {
		t.Errorf("the second draw is %+v, %+v", e, draw)
	}
	both := second.Given(events...)
	both.When(inStage("second", 1)).Then()
	both.When(inStage("", 1)).Then()
	if arm, _ := both.State().ArmOf(patient(1)); opened(t, arm) != comparator || !both.State().DrawnIn("", patient(1)) {
		t.Error("the patient is not in the arm of the second draw")
	}
	open := must(t, both.State(), inStage("open", 1))
	if e, draw := theDraw(t, open); draw.Method != randomisation.MethodOnlyArm || draw.Arm != verum || e.Scheme != "" {
		t.Errorf("the open extension is %+v, %+v", e, draw)
	}
	if err := randomisation.Replay(append(both.Events(), open...)); err != nil {
		t.Error(err)
	}
}

// A patient is of a cohort by the levels of the first draw, whether the cap is set before or after a draw of a later stage.
func TestLaterDrawsDoNotMoveBetweenCohorts(t *testing.T) {
	s := studyTreating(two, study.Treatment{Randomised: true, Factors: []study.Factor{bySex, byGrade},
		Stages: []study.Stage{{ID: "open", Arms: []string{"verum"}}}})
	first := start(t).Given(activated(t, s, uploading(s, "one", "sex,grade,arm", "m,mild,verum", "m,mild,placebo", "m,severe,placebo",
		"m,severe,verum"))...)
	first = first.Given(must(t, first.State(), drawing(s, nil, 1, "sex", "m", "grade", "mild"))...)
	again := randomise(1, "sex", "m", "grade", "severe")
	again.Stage = "open"
	caps := bounding(s, randomisation.LevelCap{Levels: factorsOf("grade", "mild"), Most: 1},
		randomisation.LevelCap{Levels: factorsOf("grade", "severe"), Most: 1})
	later := scenario.SentWithFacts(randomisation.Randomise, randomisation.Facts{Study: s}, again, call)
	for order, decisions := range map[string][]decision{"capped first": {caps, later}, "drawn first": {later, caps}} {
		t.Run(order, func(t *testing.T) {
			given := first
			for _, decide := range decisions {
				given = given.Given(must(t, given.State(), decide)...)
			}
			if code := refusal(must(t, given.State(), drawing(s, nil, 2, "sex", "m", "grade", "mild"))); code != "cap_reached" {
				t.Errorf("the cohort of the first draw is answered with %q", code)
			}
			if code := refusal(must(t, given.State(), drawing(s, nil, 2, "sex", "m", "grade", "severe"))); code != "" {
				t.Errorf("the cohort of the later draw is answered with %q", code)
			}
			corrected := given.Given(must(t, given.State(), correcting(1, "sex", "f", "grade", "severe"))...)
			if code := refusal(must(t, corrected.State(), drawing(s, nil, 2, "sex", "m", "grade", "severe"))); code != "cap_reached" {
				t.Errorf("the cohort of a correction is answered with %q", code)
			}
		})
	}
}

// Caps of levels and cohorts are set without knowing arms, and leave the caps of arms as they are.
func TestSetLevelCaps(t *testing.T) {
	s := studyWith(two, bySex, byGrade)
	given := start(t).Given(activated(t, s, uploading(s, "one", "sex,grade,arm", "m,mild,verum", "m,severe,placebo", "m,mild,placebo"))...)
	cohort := randomisation.LevelCap{Levels: map[string]string{"sex": "m", "grade": "mild"}, Most: 1}
	capped := given.Given(must(t, given.State(), capping(s, randomisation.CohortCap{Arm: placebo, Most: 0}))...).
		When(bounding(s, cohort)).Then(randomisation.LevelCapsSet{Study: pain, Caps: []randomisation.LevelCap{cohort}, Reason: "dose cohort"})
	one := capped.Given(must(t, capped.State(), drawing(s, two, 1, "sex", "m", "grade", "mild"))...)
	if code := refusal(must(t, one.State(), drawing(s, two, 2, "sex", "m", "grade", "mild"))); code != "cap_reached" {
		t.Errorf("a full cohort is answered with %q", code)
	}
	if code := refusal(must(t, one.State(), drawing(s, two, 2, "sex", "m", "grade", "severe"))); code != "list_exhausted" {
		t.Errorf("without the capped arm, the list is answered with %q", code) // the cap of the arm holds
	}
	// A correction moves the patient to another cohort.
	moved := one.Given(must(t, one.State(), correcting(1, "sex", "f", "grade", "mild"))...)
	if code := refusal(must(t, moved.State(), drawing(s, two, 2, "sex", "m", "grade", "mild"))); code == "cap_reached" {
		t.Error("the cohort is full without its patient")
	}
	for what, caps := range map[string][]randomisation.LevelCap{
		"no level":      {{Most: 1}},
		"twice":         {cohort, cohort},
		"unknown level": {{Levels: map[string]string{"sex": "x"}, Most: 1}},
		"too high":      {{Levels: map[string]string{"sex": "m"}, Most: 1_000_001}},
	} {
		t.Run(what, func(t *testing.T) { given.When(bounding(s, caps...)).ThenRefused("invalid_caps") })
	}
}

// Nobody is drawn into an arm that the own version of the protocol does not have, whether it is a new arm or a dropped one. The refusal
// is the same when the new arm is closed, so that it does not tell it.
func TestNobodyIsDrawnIntoAnArmOfAnotherVersion(t *testing.T) {
	former, amended := studyWith(two), studyWith(three)
	const reason = "patients are drawn into an arm that the patient's version of the protocol does not have"
	given := start(t).Given(activated(t, amended, uploading(amended, "one", "arm", "comparator", "verum", "placebo"))...)
	none := refused(1, "arms_not_of_version", reason)
	given.When(drawing(former, two, 1)).Then(none)
	closed := given.Given(must(t, given.State(), closing(amended, comparator))...)
	closed.When(drawing(former, two, 1)).Then(none)
	given.When(drawing(amended, three, 1)).
		Then(drawnFromList(1, 1, 1, comparator, func(d *randomisation.Draw) { d.Arms, d.InStock = three, three }))

	// The amendment drops the arm: as long as it is not closed, the scheme cannot be used for who follows the amendment.
	p := *former.Protocol
	p.Version = 2
	dropped := study.Decider.Evolve(amended, study.ProtocolVersionPublished{Study: pain, Protocol: p})
	given.When(drawing(dropped, two, 1)).Then(none)
	if code := refusal(must(t, closed.State(), drawing(dropped, two, 1))); code != "" {
		t.Errorf("after the arm was closed, the draw is refused: %s", code)
	}
}
