package instrument

import "strconv"

// PHQ9 is the Patient Health Questionnaire with nine items (Kroenke, Spitzer, Williams: The PHQ-9, J Gen Intern Med
// 2001;16:606-613), with its published bands. Up to two missing items are replaced by the mean of the others. The total
// is then rounded, because its bands are whole numbers. The values of the options are the standard ones, 0 to 3.
func PHQ9() *Definition {
	frequency := []Option{
		{Value: "0", Label: "Not at all", Score: 0},
		{Value: "1", Label: "Several days", Score: 1},
		{Value: "2", Label: "More than half the days", Score: 2},
		{Value: "3", Label: "Nearly every day", Score: 3},
	}
	d := &Definition{
		ID:      "phq-9",
		Version: 1,
		Title:   "Patient Health Questionnaire (PHQ-9)",
		Source: "PHQ-9, developed by R. L. Spitzer, J. B. W. Williams, K. Kroenke and colleagues with a grant from Pfizer. " +
			"No permission required to reproduce, translate, display or distribute.",
		Scores: []Score{{ID: "total", Title: "PHQ-9 total", Method: Sum, MaxMissing: 2, Decimals: new(0),
			Bands: []Band{
				{From: 0, To: 4, Label: "minimal"}, {From: 5, To: 9, Label: "mild"}, {From: 10, To: 14, Label: "moderate"},
				{From: 15, To: 19, Label: "moderately severe"}, {From: 20, To: 27, Label: "severe"},
			}}},
		RiskRules: []RiskRule{
			{ID: "self-harm", Severity: SeverityUrgent, When: `answers.phq9 != "0"`,
				Message: "Thoughts of being better off dead or of self-harm (item 9)"},
			{ID: "depression-severe", Severity: SeverityUrgent, When: "scores.total >= 20", Message: "PHQ-9 total of 20 or more: severe depression"},
			{ID: "depression-moderately-severe", Severity: SeverityWatch, When: "scores.total >= 15 && scores.total < 20",
				Message: "PHQ-9 total of 15 to 19: moderately severe depression"},
		},
		Schedule: Schedule{
			EveryDays: 14,
			Windows:   []DayWindow{{ID: "day", Opens: "06:00", Closes: "00:00"}},
			// The questions are about two weeks, so an entry that is two days late is still meaningful.
			Late: LatePolicy{AcceptHours: 48, SyncHours: 48},
		},
	}
	anyProblem := ""
	for n, problem := range []string{
		"Little interest or pleasure in doing things",
		"Feeling down, depressed, or hopeless",
		"Trouble falling or staying asleep, or sleeping too much",
		"Feeling tired or having little energy",
		"Poor appetite or overeating",
		"Feeling bad about yourself - or that you are a failure or have let yourself or your family down",
		"Trouble concentrating on things, such as reading the newspaper or watching television",
		"Moving or speaking so slowly that other people could have noticed? Or the opposite - " +
			"being so fidgety or restless that you have been moving around a lot more than usual",
		"Thoughts that you would be better off dead or of hurting yourself in some way",
	} {
		id := "phq" + strconv.Itoa(n+1)
		d.Items = append(d.Items, Item{ID: ItemID(id), Type: Choice, Options: frequency,
			Text: "Over the last 2 weeks, how often have you been bothered by: " + problem})
		d.Scores[0].Items = append(d.Scores[0].Items, ItemID(id))
		if n > 0 {
			anyProblem += " || "
		}
		anyProblem += "answers." + id + ` != "0"`
	}
	d.Items = append(d.Items, Item{ID: "difficulty", Type: Choice, AskedWhen: anyProblem,
		Text: "If you checked off any problems, how difficult have these problems made it for you " +
			"to do your work, take care of things at home, or get along with other people?",
		Options: []Option{
			{Value: "0", Label: "Not difficult at all"}, {Value: "1", Label: "Somewhat difficult"},
			{Value: "2", Label: "Very difficult"}, {Value: "3", Label: "Extremely difficult"},
		}})
	return d
}
