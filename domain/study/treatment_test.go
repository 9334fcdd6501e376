package study_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain/study"
)

// treated is a protocol with a treatment, criteria and an alert policy that use every field.
func treated() study.Protocol {
	p := protocol(1)
	p.Arms = []study.Arm{{ID: "active"}, {ID: "placebo"}}
	p.Visits = []study.Visit{{ID: "week-4", Day: 28}, {ID: "week-8", Day: 56}}
	p.Criteria = []study.Criterion{{ID: "adult", Title: "18 years or older"}, {ID: "pregnant", Exclusion: true}}
	p.Alerts = &study.AlertPolicy{ReviewMinutes: 30, MissedInARow: 5}
	p.Treatment = &study.Treatment{Randomised: true, Kits: true, ForcedAllocation: true, DoNotDispenseDays: 7,
		DispensingVisits: []string{"week-4", "week-8"},
		Factors:          []study.Factor{{ID: "sex", Levels: []string{"m", "f"}}, {ID: "country", Levels: []string{"DE"}}}}
	return p
}

// named returns n distinct ids.
func named(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint("id-", i))
	}
	return ids
}

func TestPublishAcceptsEveryKindOfTreatment(t *testing.T) {
	open := func(t *study.Treatment) { *t = study.Treatment{} }
	for name, change := range map[string]func(*study.Protocol){
		"everything":              same[study.Protocol],
		"none":                    func(p *study.Protocol) { p.Treatment, p.Alerts, p.Criteria = nil, nil, nil },
		"open, without kits":      func(p *study.Protocol) { open(p.Treatment) },
		"open, without arms":      func(p *study.Protocol) { open(p.Treatment); p.Arms = nil },
		"open, with kits":         func(p *study.Protocol) { open(p.Treatment); p.Treatment.Kits, p.Arms = true, p.Arms[:1] },
		"randomised without kits": func(p *study.Protocol) { *p.Treatment = study.Treatment{Randomised: true} },
		"the least": func(p *study.Protocol) {
			p.Alerts, p.Treatment.DoNotDispenseDays = &study.AlertPolicy{ReviewMinutes: 1, MissedInARow: 1}, 0
		},
		"the most": func(p *study.Protocol) {
			p.Alerts, p.Treatment.DoNotDispenseDays = &study.AlertPolicy{ReviewMinutes: 7 * 24 * 60, MissedInARow: 100}, 36_525
			p.Criteria, p.Treatment.Factors = nil, nil
			for _, id := range named(200) {
				p.Criteria = append(p.Criteria, study.Criterion{ID: id})
			}
			for _, id := range named(10) {
				p.Treatment.Factors = append(p.Treatment.Factors, study.Factor{ID: id, Levels: named(50)})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := treated()
			change(&p)
			begun(t).When(publishing(p)).Then(published(p))
		})
	}
}

func TestPublishChecksTheTreatment(t *testing.T) {
	for name, x := range map[string]struct {
		code, field string
		change      func(*study.Protocol)
	}{
		"too many criteria":      {"invalid_protocol", "criteria", func(p *study.Protocol) { p.Criteria = make([]study.Criterion, 201) }},
		"a criterion twice":      {"invalid_protocol", "criteria", func(p *study.Protocol) { p.Criteria[1].ID = "adult" }},
		"a criterion without id": {"value_missing", "criteria.id", func(p *study.Protocol) { p.Criteria[1].ID = "" }},
		"a long criterion": {"value_too_long", "criteria.title", func(p *study.Protocol) {
			p.Criteria[1].Title = strings.Repeat("x", 301)
		}},

		"no review":     {"value_out_of_range", "alerts.reviewMinutes", func(p *study.Protocol) { p.Alerts.ReviewMinutes = 0 }},
		"a late review": {"value_out_of_range", "alerts.reviewMinutes", func(p *study.Protocol) { p.Alerts.ReviewMinutes = 10_081 }},
		"none missed":   {"value_out_of_range", "alerts.missedInARow", func(p *study.Protocol) { p.Alerts.MissedInARow = 0 }},
		"many missed":   {"value_out_of_range", "alerts.missedInARow", func(p *study.Protocol) { p.Alerts.MissedInARow = 101 }},
		"no days":       {"value_out_of_range", "treatment.doNotDispenseDays", func(p *study.Protocol) { p.Treatment.DoNotDispenseDays = -1 }},
		"too many days": {"value_out_of_range", "treatment.doNotDispenseDays", func(p *study.Protocol) {
			p.Treatment.DoNotDispenseDays = 36_526
		}},
		"an empty policy": {"value_out_of_range", "alerts.reviewMinutes", func(p *study.Protocol) {
			p.Treatment, p.Alerts = nil, &study.AlertPolicy{}
		}},

		"a draw among one arm":      {"invalid_protocol", "treatment", func(p *study.Protocol) { p.Arms = p.Arms[:1] }},
		"a draw among none":         {"invalid_protocol", "treatment", func(p *study.Protocol) { p.Arms = nil }},
		"kits of two arms, no draw": {"invalid_protocol", "treatment", func(p *study.Protocol) { *p.Treatment = study.Treatment{Kits: true} }},
		"kits of no arm": {"invalid_protocol", "treatment", func(p *study.Protocol) {
			*p.Treatment = study.Treatment{Kits: true}
			p.Arms = nil
		}},
		"forced without kits": {"invalid_protocol", "treatment", func(p *study.Protocol) {
			p.Treatment.Kits, p.Treatment.DispensingVisits = false, nil
		}},
		"forced without a draw": {"invalid_protocol", "treatment", func(p *study.Protocol) {
			p.Treatment.Randomised, p.Arms = false, p.Arms[:1]
		}},
		"visits without kits": {"invalid_protocol", "treatment", func(p *study.Protocol) {
			p.Treatment.Kits, p.Treatment.ForcedAllocation = false, false
		}},
		"an unknown visit": {"invalid_protocol", "treatment", func(p *study.Protocol) { p.Treatment.DispensingVisits[1] = "week-9" }},
		"a visit twice": {"invalid_protocol", "treatment.dispensingVisits", func(p *study.Protocol) {
			p.Treatment.DispensingVisits[1] = "week-4"
		}},

		"too many factors": {"invalid_protocol", "treatment.factors", func(p *study.Protocol) { p.Treatment.Factors = make([]study.Factor, 11) }},
		"a factor twice":   {"invalid_protocol", "treatment.factors", func(p *study.Protocol) { p.Treatment.Factors[1].ID = "sex" }},
		"a nameless factor": {"value_missing", "treatment.factors.id", func(p *study.Protocol) {
			p.Treatment.Factors[0].ID = " "
		}},
		"a long factor": {"value_too_long", "treatment.factors.title", func(p *study.Protocol) {
			p.Treatment.Factors[0].Title = strings.Repeat("x", 301)
		}},
		"no levels":       {"invalid_protocol", "treatment.factors", func(p *study.Protocol) { p.Treatment.Factors[0].Levels = nil }},
		"too many levels": {"invalid_protocol", "treatment.factors", func(p *study.Protocol) { p.Treatment.Factors[0].Levels = named(51) }},
		"a level twice":   {"invalid_protocol", "treatment.factors.levels", func(p *study.Protocol) { p.Treatment.Factors[0].Levels[1] = "m" }},
		"an empty level":  {"value_missing", "treatment.factors.levels.id", func(p *study.Protocol) { p.Treatment.Factors[0].Levels[1] = "" }},
	} {
		t.Run(name, func(t *testing.T) {
			p := treated()
			x.change(&p)
			if r := begun(t).When(publishing(p)).ThenRefused(x.code); r.Field != "protocol."+x.field {
				t.Errorf("the field is %s, not protocol.%s", r.Field, x.field)
			}
		})
	}
}

// Treatment and alert policy are those of the protocol in force. Without one, they have defaults.
func TestTreatmentAndAlertsInForce(t *testing.T) {
	none := begun(t).State()
	if got := none.AlertPolicy(); got != (study.AlertPolicy{ReviewMinutes: 60, MissedInARow: 3}) || got.ReviewWithin() != time.Hour {
		t.Errorf("without a protocol, alerts are %+v", got)
	}
	if got := none.Treatment(); got.Randomised || got.Kits || got.ForcedAllocation || len(got.DispensingVisits)+len(got.Factors) > 0 {
		t.Errorf("without a protocol, the treatment is %+v", got)
	}
	bare := begun(t).Given(published(protocol(1))).State()
	if got := bare.AlertPolicy(); got != (study.AlertPolicy{ReviewMinutes: 60, MissedInARow: 3}) {
		t.Errorf("the default policy is %+v", got)
	}
	p := treated()
	p.Version = 2
	s := begun(t).Given(published(protocol(1)), published(p)).State()
	if got := s.AlertPolicy(); got != *p.Alerts || got.ReviewWithin() != 30*time.Minute {
		t.Errorf("alerts are %+v", got)
	}
	got := s.Treatment()
	if !got.Randomised || !got.Kits || got.DoNotDispenseDays != 7 || !slices.Equal(got.DispensingVisits, p.Treatment.DispensingVisits) {
		t.Errorf("the treatment is %+v", got)
	}
}
