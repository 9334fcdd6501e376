package instrument

// PainDiary is the daily pain diary that comes with the product. As usual in pain trials, it asks for the worst, the
// least, the average and the present pain on a numerical rating scale from 0 to 10. The wording is our own, because the
// well-known questionnaires with these four questions need a licence.
func PainDiary() *Definition {
	scale := func(id ItemID, text string) Item {
		return Item{ID: id, Text: text, Type: Integer, Unit: "{score}", Min: new(0.0), Max: new(10.0), Required: true}
	}
	interference := scale("interference",
		"How much did pain keep you from your usual activities today? 0 means not at all, 10 means completely.")
	interference.Required = false
	return &Definition{
		ID:      "pain-diary",
		Version: 1,
		Title:   "Pain diary",
		Source:  "Casebook, own wording; numerical rating scale 0 to 10. Free to use.",
		Items: []Item{
			scale("worst", "Think of the last 24 hours. How strong was your pain when it was at its worst? "+
				"0 means no pain, 10 means the strongest pain you can imagine."),
			scale("least", "How strong was your pain in the last 24 hours when it was at its mildest?"),
			scale("average", "How strong was your pain in the last 24 hours most of the time?"),
			scale("now", "How strong is your pain at this moment?"),
			{ID: "rescue", Text: "Did you take your rescue medication in the last 24 hours?", Type: Boolean, Required: true},
			{ID: "doses", Text: "How many doses of it did you take?", Type: Integer, Unit: "{dose}", Min: new(1.0), Max: new(24.0), Required: true,
				AskedWhen: "answers.rescue"},
			interference,
		},
		Scores: []Score{{ID: "intensity", Title: "Pain intensity, mean of four", Method: Mean,
			Items: []ItemID{"worst", "least", "average", "now"}, Decimals: new(2),
			Bands: []Band{
				{From: 0, To: 0, Label: "none"}, {From: 0.01, To: 3.99, Label: "mild"},
				{From: 4, To: 6.99, Label: "moderate"}, {From: 7, To: 10, Label: "severe"},
			}}},
		RiskRules: []RiskRule{
			{ID: "pain-severe", Severity: SeverityUrgent, When: "answers.worst >= 8", Message: "Worst pain of 8 or more in the last 24 hours"},
			{ID: "pain-constant", Severity: SeverityWatch, When: "scores.intensity >= 7", Message: "Mean pain intensity of 7 or more"},
			{ID: "rescue-doses-high", Severity: SeverityWatch, When: "answers.doses >= 4",
				Message: "Four or more doses of rescue medication in 24 hours"},
			{ID: "answers-implausible", Severity: SeverityWatch,
				When: "answers.least > answers.average || answers.average > answers.worst || " +
					"answers.least > answers.worst || answers.now > answers.worst",
				Message: "The answers contradict each other: least, average and present pain cannot be above the worst"},
		},
		Schedule: Schedule{
			EveryDays: 1,
			Windows:   []DayWindow{{ID: "evening", Opens: "18:00", Closes: "00:00"}},
			// Pain that is remembered for longer than a day is not reliable, so late entries are accepted until noon.
			Late: LatePolicy{AcceptHours: 12, SyncHours: 36},
		},
	}
}
