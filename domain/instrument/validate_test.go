package instrument_test

import (
	"math"
	"strings"
	"testing"

	"casebook/domain/instrument"
	"casebook/domain/refuse"
)

// choice is an item with these options.
func choice(options ...instrument.Option) instrument.Item {
	return instrument.Item{ID: "region", Text: "Where?", Type: instrument.Choice, Options: options}
}

func TestTheInstrumentsOfTheProductAreValid(t *testing.T) {
	for _, d := range []*instrument.Definition{instrument.PainDiary(), instrument.PHQ9()} {
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", d.ID, err)
		}
		if d.Source == "" {
			t.Errorf("%s has no source and licence", d.ID)
		}
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		field  string
		code   string
		change func(*instrument.Definition)
	}{
		{"id", "", func(d *instrument.Definition) { d.ID = "pain diary" }},
		{"version", "", func(d *instrument.Definition) { d.Version = 0 }},
		{"title", "", func(d *instrument.Definition) { d.Title = "" }},
		{"title", "", func(d *instrument.Definition) { d.Title = strings.Repeat("ä", 301) }},
		{"source", "", func(d *instrument.Definition) { d.Source = strings.Repeat("a", 2001) }},

		{"items", "", func(d *instrument.Definition) { d.Items = nil }},
		{"items", "", func(d *instrument.Definition) { d.Items = make([]instrument.Item, 201) }},
		{"items[1].id", "", func(d *instrument.Definition) { d.Items[1].ID = "worst" }},
		{"items[1].id", "", func(d *instrument.Definition) { d.Items[1].ID = "least pain" }},
		{"items[1].id", "", func(d *instrument.Definition) { d.Items[1].ID = "in" }},
		{"items[1].text", "", func(d *instrument.Definition) { d.Items[1].Text = "" }},
		{"items[1].type", "", func(d *instrument.Definition) { d.Items[1].Type = "slider" }},
		{"items[1].min", "", func(d *instrument.Definition) { d.Items[1].Min = new(11.0) }},
		{"items[4].min", "", func(d *instrument.Definition) { d.Items[4].Max = new(1.0) }},
		{"items[1].options", "", func(d *instrument.Definition) { d.Items[1].Options = []instrument.Option{{Value: "1"}} }},
		{"items[1].maxChars", "", func(d *instrument.Definition) { d.Items[1].MaxChars = 10 }},
		{"items[6].maxChars", "", func(d *instrument.Definition) {
			d.Items[6] = instrument.Item{ID: "note", Text: "Note", Type: instrument.Text, MaxChars: 4001}
		}},
		{"items[6].options", "", func(d *instrument.Definition) {
			d.Items[6] = choice()
		}},
		{"items[6].options[1].value", "", func(d *instrument.Definition) {
			d.Items[6] = choice(instrument.Option{Value: "back"}, instrument.Option{Value: "back"})
		}},
		{"items[6].options[0].value", "", func(d *instrument.Definition) {
			d.Items[6] = choice(instrument.Option{Label: "back"})
		}},
		{"items[5].askedWhen", "invalid_rule", func(d *instrument.Definition) { d.Items[5].AskedWhen = "answers.rescue &&" }},
		{"items[5].askedWhen", "invalid_rule", func(d *instrument.Definition) { d.Items[5].AskedWhen = "answers.interference > 3" }},
		{"items[5].askedWhen", "invalid_rule", func(d *instrument.Definition) { d.Items[5].AskedWhen = "answers.doses > 3" }},
		{"items[5].askedWhen", "invalid_rule", func(d *instrument.Definition) { d.Items[5].AskedWhen = "scores.intensity > 3" }},
		{"items[5].askedWhen", "invalid_rule", func(d *instrument.Definition) { d.Items[5].AskedWhen = "answers.worst" }},

		{"scores[0].id", "", func(d *instrument.Definition) { d.Scores[0].ID = "" }},
		{"scores[1].id", "", func(d *instrument.Definition) { d.Scores = append(d.Scores, d.Scores[0]) }},
		{"scores[0].method", "", func(d *instrument.Definition) { d.Scores[0].Method = "median" }},
		{"scores[0].items", "", func(d *instrument.Definition) { d.Scores[0].Items = nil }},
		{"scores[0].items[0]", "", func(d *instrument.Definition) { d.Scores[0].Items[0] = "strongest" }},
		{"scores[0].items[1]", "", func(d *instrument.Definition) { d.Scores[0].Items[1] = "worst" }},
		{"scores[0].items[0]", "", func(d *instrument.Definition) {
			d.Items[6] = instrument.Item{ID: "note", Text: "Note", Type: instrument.Text}
			d.Scores[0].Items[0] = "note"
		}},
		{"scores[0].maxMissing", "", func(d *instrument.Definition) { d.Scores[0].MaxMissing = 4 }},
		{"scores[0].maxMissing", "", func(d *instrument.Definition) { d.Scores[0].MaxMissing = -1 }},
		{"scores[0].decimals", "", func(d *instrument.Definition) { d.Scores[0].Decimals = new(7) }},
		{"scores[0].bands[1]", "", func(d *instrument.Definition) { d.Scores[0].Bands[1].From = 0 }},
		{"scores[0].bands[0]", "", func(d *instrument.Definition) { d.Scores[0].Bands[0].From = 1 }},
		{"scores[0].bands[0].label", "", func(d *instrument.Definition) { d.Scores[0].Bands[0].Label = "" }},

		{"minAnswers", "", func(d *instrument.Definition) { d.MinAnswers = len(d.Items) + 1 }},
		{"minAnswers", "", func(d *instrument.Definition) { d.MinAnswers = -1 }},
		{"checks[0].item", "", func(d *instrument.Definition) { d.Checks = []instrument.Check{{ID: "c", Item: "mood"}} }},
		{"checks[0].effect", "", func(d *instrument.Definition) {
			d.Checks = []instrument.Check{{ID: "c", Item: d.Items[0].ID, When: "true", Message: "m", Effect: "shout"}}
		}},

		{"riskRules[0].id", "", func(d *instrument.Definition) { d.RiskRules[0].ID = "" }},
		{"riskRules[1].id", "", func(d *instrument.Definition) { d.RiskRules[1].ID = d.RiskRules[0].ID }},
		{"riskRules[0].severity", "", func(d *instrument.Definition) { d.RiskRules[0].Severity = "high" }},
		{"riskRules[0].message", "", func(d *instrument.Definition) { d.RiskRules[0].Message = "" }},
		{"riskRules[0].when", "invalid_rule", func(d *instrument.Definition) { d.RiskRules[0].When = "" }},
		{"riskRules[0].when", "invalid_rule", func(d *instrument.Definition) { d.RiskRules[0].When = "scores.total > 3" }},
		{"riskRules[0].when", "invalid_rule", func(d *instrument.Definition) {
			d.Items[6] = choice(instrument.Option{Value: "back"}, instrument.Option{Value: "leg"})
			d.RiskRules[0].When = `answers.region in ["back", "legs"]`
		}},
		{"items", "", func(d *instrument.Definition) { d.Items[0].Max = new(math.NaN()) }},

		{"schedule.everyDays", "", func(d *instrument.Definition) { d.Schedule.EveryDays = 0 }},
		{"schedule.windows", "", func(d *instrument.Definition) { d.Schedule.Windows = nil }},
		{"schedule.windows[0].id", "", func(d *instrument.Definition) { d.Schedule.Windows[0].ID = "in the/evening" }},
		{"schedule.windows[0].opens", "", func(d *instrument.Definition) { d.Schedule.Windows[0].Opens = "6 pm" }},
		{"schedule.windows[0].closes", "", func(d *instrument.Definition) { d.Schedule.Windows[0].Closes = "24:00" }},
		{"schedule.windows[1].opens", "", func(d *instrument.Definition) {
			d.Schedule.Windows = []instrument.DayWindow{{ID: "a", Opens: "08:00", Closes: "10:00"}, {ID: "b", Opens: "09:59", Closes: "12:00"}}
		}},
		{"schedule.windows[1].opens", "", func(d *instrument.Definition) {
			d.Schedule.Windows = []instrument.DayWindow{{ID: "a", Opens: "22:00", Closes: "02:00"}, {ID: "b", Opens: "23:00", Closes: "23:30"}}
		}},
		{"schedule.windows[1].closes", "", func(d *instrument.Definition) {
			d.Schedule.Windows = []instrument.DayWindow{{ID: "a", Opens: "01:00", Closes: "10:00"}, {ID: "b", Opens: "23:00", Closes: "01:01"}}
		}},
		{"schedule.windows[1].id", "", func(d *instrument.Definition) {
			d.Schedule.Windows = []instrument.DayWindow{{ID: "a", Opens: "08:00", Closes: "10:00"}, {ID: "a", Opens: "10:00", Closes: "12:00"}}
		}},
		{"schedule.late.acceptHours", "", func(d *instrument.Definition) { d.Schedule.Late.AcceptHours = 169 }},
		{"schedule.late.acceptHours", "", func(d *instrument.Definition) { d.Schedule.Late.AcceptHours = -1 }},
		{"schedule.late.syncHours", "", func(d *instrument.Definition) { d.Schedule.Late.SyncHours = 337 }},
		{"schedule.quiet", "", func(d *instrument.Definition) {
			d.Schedule.Quiet = &instrument.QuietHours{From: "22:00", Until: "07:00"}
		}},
		{"schedule.quiet", "", func(d *instrument.Definition) {
			d.Schedule.Remind, d.Schedule.Quiet = true, &instrument.QuietHours{From: "22:00", Until: "7"}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.field, func(t *testing.T) {
			d := instrument.PainDiary()
			tt.change(d)
			if tt.code == "" {
				tt.code = "invalid_instrument"
			}
			r, ok := refuse.As(d.Validate())
			if !ok || r.Code != tt.code || r.Field != tt.field || r.Remedy == "" {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestValidateAcceptsAdjacentWindows(t *testing.T) {
	d := instrument.PainDiary()
	d.Schedule.Windows = []instrument.DayWindow{
		{ID: "a", Opens: "08:00", Closes: "10:00"},
		{ID: "b", Opens: "10:00", Closes: "20:00"},
		{ID: "c", Opens: "20:00", Closes: "08:00"},
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	d.Schedule.Windows = []instrument.DayWindow{{ID: "whole", Opens: "12:00", Closes: "12:00"}}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
}

// A change of the definition after Compile does not change the instrument.
func TestCompileCopies(t *testing.T) {
	d := instrument.PainDiary()
	compiled, err := instrument.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	*d.Items[0].Max = 3
	d.Items[0].ID = "strongest"
	given := answers{"worst": 10.0, "least": 1.0, "average": 2.0, "now": 1.0, "rescue": false}
	if _, err := compiled.Check(given); err != nil {
		t.Error(err)
	}
	again, err := instrument.Compile(instrument.PainDiary())
	if err != nil || again != compiled {
		t.Errorf("an equal definition was compiled again, %v", err)
	}
}
