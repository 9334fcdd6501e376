package instrument

import (
	"fmt"
	"regexp"
	"slices"

	"casebook/domain/form"
	"casebook/domain/localtime"
	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// Limits of a definition, in addition to those of a form. They are far above real questionnaires, and keep the work for
// every diary small.
const (
	maxScores      = 20
	maxScoreItems  = 200
	maxRiskRules   = 50
	maxDayWindows  = 24
	maxBands       = 20
	maxEveryDays   = 366
	maxAcceptHours = 168
	maxSyncHours   = 336
	maxDecimals    = 6
	maxTitleChars  = 300
	maxTextChars   = 2000
	maxLabelChars  = 500
)

// questionnaire is the kind of form of an instrument. A patient fills it in from top to bottom, so skip rules may name
// only earlier items. Rules see days as texts.
var questionnaire = form.Kind{
	Code:       "invalid_instrument",
	Noun:       "diary",
	Types:      []ItemType{Integer, Decimal, Boolean, Text, Choice, DateDay},
	TopDown:    true,
	DaysAsText: true,
}

var (
	parts       = form.Parts{Code: questionnaire.Code}
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

// Validate refuses an invalid definition. The code is invalid_instrument, or invalid_rule for a skip or risk rule.
// Field names the part, such as items[2].options.
func (d *Definition) Validate() error {
	_, err := Compile(d)
	return err
}

// compile validates the definition part by part, and stores the compiled parts.
func (i *Instrument) compile() error {
	d := &i.definition
	if !namePattern.MatchString(string(d.ID)) {
		return parts.Invalid("id", "an instrument's id has 1 to 64 letters, digits and . _ -, and begins with a letter or digit")
	}
	if d.Version < 1 {
		return parts.Invalid("version", "the version is %d, and counts from 1", d.Version)
	}
	if err := parts.Required("title", d.Title, maxTitleChars); err != nil {
		return err
	}
	if err := parts.AtMost("source", d.Source, maxTextChars); err != nil {
		return err
	}
	if d.MinAnswers < 0 || d.MinAnswers > len(d.Items) {
		return parts.Invalid("minAnswers", "of %d items, 0 to %d can have to be answered", len(d.Items), len(d.Items))
	}
	for _, part := range []func() error{i.compileForm, i.compileScores, i.compileRisks, i.compileSchedule,
		i.compileImages, i.compileTranslations} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (i *Instrument) compileScores() error {
	d := &i.definition
	if err := parts.Count("scores", len(d.Scores), 0, maxScores); err != nil {
		return err
	}
	seen := map[string]bool{}
	for n := range d.Scores {
		s := &d.Scores[n]
		field := fmt.Sprintf("scores[%d]", n)
		if err := parts.Variable(field+".id", s.ID); err != nil {
			return err
		}
		if seen[s.ID] {
			return parts.Invalid(field+".id", "the score %s is defined twice", s.ID)
		}
		seen[s.ID] = true
		compiled, err := i.compileScore(field, s)
		if err != nil {
			return err
		}
		i.scores = append(i.scores, compiled)
	}
	return nil
}

func (i *Instrument) compileScore(field string, s *Score) (score, error) {
	compiled := score{Score: s}
	if err := parts.AtMost(field+".title", s.Title, maxTitleChars); err != nil {
		return score{}, err
	}
	if s.Method != Sum && s.Method != Mean && s.Method != Max {
		return score{}, parts.Invalid(field+".method", "%q is not a way to make a score; sum, mean and max are",
			refuse.Shortened(string(s.Method)))
	}
	if err := parts.Count(field+".items", len(s.Items), 1, maxScoreItems); err != nil {
		return score{}, err
	}
	counted := map[ItemID]bool{}
	for n, id := range s.Items {
		at := fmt.Sprintf("%s.items[%d]", field, n)
		index, ok := i.form.Index(id)
		if !ok {
			return score{}, parts.Invalid(at, "the score %s counts %q, which is not an item", s.ID, refuse.Shortened(string(id)))
		}
		if t := i.definition.Items[index].Type; !t.HasPoints() {
			return score{}, parts.Invalid(at, "the score %s counts %s, which is of type %s and has no number", s.ID, id, t)
		}
		if counted[id] {
			return score{}, parts.Invalid(at, "the score %s counts %s twice", s.ID, id)
		}
		counted[id] = true
		compiled.items = append(compiled.items, index)
	}
	if s.MaxMissing < 0 || s.MaxMissing >= len(s.Items) {
		return score{}, parts.Invalid(field+".maxMissing", "of the %d items of the score %s, 0 to %d may be unanswered", len(s.Items), s.ID,
			len(s.Items)-1)
	}
	if s.Decimals != nil && (*s.Decimals < 0 || *s.Decimals > maxDecimals) {
		return score{}, parts.Invalid(field+".decimals", "a score is rounded to 0 to %d decimals", maxDecimals)
	}
	return compiled, validateBands(field+".bands", s)
}

func validateBands(field string, s *Score) error {
	if err := parts.Count(field, len(s.Bands), 0, maxBands); err != nil {
		return err
	}
	for n, b := range s.Bands {
		at := fmt.Sprintf("%s[%d]", field, n)
		if err := parts.Required(at+".label", b.Label, maxLabelChars); err != nil {
			return err
		}
		if b.From > b.To {
			return parts.Invalid(at, "the band %q of the score %s ends before it begins", b.Label, s.ID)
		}
		if n > 0 && b.From <= s.Bands[n-1].To {
			return parts.Invalid(at, "the band %q of the score %s does not begin after the end of the one before it", b.Label, s.ID)
		}
	}
	return nil
}

func (i *Instrument) compileRisks() error {
	d := &i.definition
	if err := parts.Count("riskRules", len(d.RiskRules), 0, maxRiskRules); err != nil {
		return err
	}
	scores := map[string]rule.Type{}
	for _, s := range i.scores {
		scores[s.ID] = rule.Decimal
	}
	seen := map[string]bool{}
	for n := range d.RiskRules {
		r := &d.RiskRules[n]
		field := fmt.Sprintf("riskRules[%d]", n)
		if err := parts.Name(field+".id", "a rule's id", r.ID); err != nil {
			return err
		}
		if seen[r.ID] {
			return parts.Invalid(field+".id", "the rule %s is defined twice", r.ID)
		}
		seen[r.ID] = true
		if r.Severity != SeverityWatch && r.Severity != SeverityUrgent {
			return parts.Invalid(field+".severity", "%q is not a severity; watch and urgent are", refuse.Shortened(string(r.Severity)))
		}
		if err := parts.Required(field+".message", r.Message, maxLabelChars); err != nil {
			return err
		}
		when, err := i.form.CompileRule(field+".when", r.When, rule.Variables{groupScores: scores})
		if err != nil {
			return err
		}
		i.risks = append(i.risks, risk{RiskRule: r, when: when})
	}
	return nil
}

func (i *Instrument) compileSchedule() error {
	s := &i.definition.Schedule
	if err := s.Late.validate(); err != nil {
		return err
	}
	if s.Quiet != nil && !s.Remind {
		return parts.Invalid("schedule.quiet", "a schedule without reminders has no quiet hours")
	}
	if s.Quiet != nil && s.Quiet.Validate("schedule.quiet") != nil {
		return parts.Invalid("schedule.quiet", "quiet hours are from and until local times, written HH:MM")
	}
	switch s.Kind {
	case ByTime:
		return i.compileWindows()
	case ByVisit, ByEvent:
		return s.validateKind()
	}
	return parts.Invalid("schedule.kind", "%q is not a kind of schedule; visit and event are", refuse.Shortened(string(s.Kind)))
}

func (p LatePolicy) validate() error {
	if p.AcceptHours < 0 || p.AcceptHours > maxAcceptHours {
		return parts.Invalid("schedule.late.acceptHours", "a late entry can be accepted for 0 to %d hours", maxAcceptHours)
	}
	if p.SyncHours < 0 || p.SyncHours > maxSyncHours {
		return parts.Invalid("schedule.late.syncHours", "the wait for offline devices is 0 to %d hours", maxSyncHours)
	}
	return nil
}

// validateKind refuses what does not belong to a schedule by visits or events.
func (s *Schedule) validateKind() error {
	a := s.AroundVisits
	switch {
	case s.EveryDays != 0 || len(s.Windows) > 0:
		return parts.Invalid("schedule.windows", "a schedule of the kind %s has no windows of the day", s.Kind)
	case s.Remind:
		return parts.Invalid("schedule.remind", "a schedule of the kind %s has no reminders", s.Kind)
	case (s.Kind == ByVisit) != (a != nil):
		return parts.Invalid("schedule.aroundVisits", "a schedule by visits, and no other, says around which visits it asks")
	case s.Kind == ByEvent && s.Late.AcceptHours != 0:
		return parts.Invalid("schedule.late.acceptHours", "an entry about an event is never late")
	case a == nil:
		return nil
	case a.DaysBefore < 0 || a.DaysBefore > maxEveryDays || a.DaysAfter < 0 || a.DaysAfter > maxEveryDays:
		return parts.Invalid("schedule.aroundVisits", "a window reaches 0 to %d days before and after a visit", maxEveryDays)
	}
	seen := map[string]bool{}
	for n, visit := range a.Visits {
		at := fmt.Sprintf("schedule.aroundVisits.visits[%d]", n)
		if err := parts.Name(at, "a visit's id", visit); err != nil {
			return err
		}
		if seen[visit] {
			return parts.Invalid(at, "the visit %s is named twice", visit)
		}
		seen[visit] = true
	}
	return nil
}

// Around says whether the schedule has a window around the visit.
func (s *Schedule) Around(visit string) bool {
	return s.AroundVisits != nil && (len(s.AroundVisits.Visits) == 0 || slices.Contains(s.AroundVisits.Visits, visit))
}

func (i *Instrument) compileWindows() error {
	s := &i.definition.Schedule
	if s.AroundVisits != nil {
		return parts.Invalid("schedule.aroundVisits", "a schedule with windows of the day is not around visits")
	}
	if s.EveryDays < 1 || s.EveryDays > maxEveryDays {
		return parts.Invalid("schedule.everyDays", "an instrument is asked every 1 to %d days", maxEveryDays)
	}
	if err := parts.Count("schedule.windows", len(s.Windows), 1, maxDayWindows); err != nil {
		return err
	}
	seen := map[string]bool{}
	for n, w := range s.Windows {
		field := fmt.Sprintf("schedule.windows[%d]", n)
		if err := parts.Name(field+".id", "a window's id", w.ID); err != nil {
			return err
		}
		if seen[w.ID] {
			return parts.Invalid(field+".id", "the window %s is defined twice", w.ID)
		}
		seen[w.ID] = true
		opens, err := localtime.ParseClock(w.Opens)
		if err != nil {
			return parts.Invalid(field+".opens", "%q is not a time HH:MM", refuse.Shortened(w.Opens))
		}
		closes, err := localtime.ParseClock(w.Closes)
		if err != nil {
			return parts.Invalid(field+".closes", "%q is not a time HH:MM", refuse.Shortened(w.Closes))
		}
		i.windows = append(i.windows, dayWindow{id: w.ID, opens: opens, closes: closes, nextDay: closes <= opens})
		if n > 0 && (i.windows[n-1].nextDay || opens < i.windows[n-1].closes) {
			return parts.Invalid(field+".opens", "the window %s opens before the one above it has closed; windows stand in the order of the day",
				w.ID)
		}
	}
	last := i.windows[len(i.windows)-1]
	if last.nextDay && last.closes > i.windows[0].opens {
		return parts.Invalid(fmt.Sprintf("schedule.windows[%d].closes", len(i.windows)-1),
			"the window %s reaches into the first window of the next day", last.id)
	}
	return nil
}
