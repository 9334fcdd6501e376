package instrument

import (
	"fmt"
	"math"
	"regexp"
	"unicode/utf8"

	"casebook/domain/localtime"
	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// How large a definition may be. The bounds are far above real questionnaires; they keep what a protocol brings from
// becoming a burden on every diary.
const (
	maxItems       = 200
	maxOptions     = 100
	maxScores      = 20
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
	maxValueChars  = 100
	// defaultMaxChars is the longest text answer where the item does not say.
	defaultMaxChars = 500
)

var (
	namePattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,39}$`)
)

// reserved are the words that CEL keeps for itself; an item of that name could not be used in a rule.
var reserved = map[string]bool{
	"as": true, "break": true, "const": true, "continue": true, "else": true, "false": true, "for": true,
	"function": true, "if": true, "import": true, "in": true, "let": true, "loop": true, "namespace": true, "null": true,
	"package": true, "return": true, "true": true, "var": true, "void": true, "while": true,
}

// Validate refuses a definition that could not be used as it stands. The code is invalid_instrument, or invalid_rule
// for a skip or risk rule; Field names the part, such as items[2].options.
func (d *Definition) Validate() error {
	_, err := Compile(d)
	return err
}

// compile validates the instrument's definition part by part, and keeps what it parses on the way.
func (i *Instrument) compile() error {
	d := &i.definition
	if !namePattern.MatchString(string(d.ID)) {
		return invalid("id", "an instrument's id has 1 to 64 letters, digits and . _ -, and begins with a letter or digit")
	}
	if d.Version < 1 {
		return invalid("version", "the version is %d, and counts from 1", d.Version)
	}
	if err := required("title", d.Title, maxTitleChars); err != nil {
		return err
	}
	if err := atMost("source", d.Source, maxTextChars); err != nil {
		return err
	}
	for _, part := range []func() error{i.compileItems, i.compileScores, i.compileRisks, i.compileSchedule} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (i *Instrument) compileItems() error {
	d := &i.definition
	if err := count("items", len(d.Items), 1, maxItems); err != nil {
		return err
	}
	i.index = make(map[ItemID]int, len(d.Items))
	earlier := map[string]rule.Type{}
	for n := range d.Items {
		it := &d.Items[n]
		field := fmt.Sprintf("items[%d]", n)
		if err := validVariable(field+".id", string(it.ID)); err != nil {
			return err
		}
		if _, taken := i.index[it.ID]; taken {
			return invalid(field+".id", "the item %s is defined twice", it.ID)
		}
		if err := validateItem(field, it); err != nil {
			return err
		}
		compiled := item{Item: it}
		if it.Type == Choice {
			compiled.points = make(map[string]float64, len(it.Options))
			for _, o := range it.Options {
				compiled.points[o.Value] = o.Score
			}
		}
		if it.AskedWhen != "" {
			// Only earlier items are declared: a patient fills in from the top, and rules that point at each other would
			// have no answer.
			asked, err := i.compileRule(field+".askedWhen", it.AskedWhen, rule.Variables{groupAnswers: earlier})
			if err != nil {
				return err
			}
			compiled.asked = asked
		}
		i.index[it.ID] = n
		i.items = append(i.items, compiled)
		earlier[string(it.ID)] = ruleType(it.Type)
	}
	return nil
}

func validateItem(field string, it *Item) error {
	if err := required(field+".text", it.Text, maxTextChars); err != nil {
		return err
	}
	if err := atMost(field+".unit", it.Unit, maxValueChars); err != nil {
		return err
	}
	numeric := it.Type == Integer || it.Type == Decimal
	switch {
	case !numeric && it.Type != Boolean && it.Type != Text && it.Type != Choice && it.Type != DateDay:
		return invalid(field+".type", "%q is not a type of answer", shortened(string(it.Type)))
	case !numeric && (it.Min != nil || it.Max != nil):
		return invalid(field+".min", "a range is for numbers; %s is of type %s", it.ID, it.Type)
	case it.Min != nil && it.Max != nil && *it.Min > *it.Max:
		return invalid(field+".min", "the smallest number of %s is above its largest", it.ID)
	case it.Type != Choice && len(it.Options) > 0:
		return invalid(field+".options", "options are for a choice; %s is of type %s", it.ID, it.Type)
	case it.Type != Text && it.MaxChars != 0:
		return invalid(field+".maxChars", "a length is for texts; %s is of type %s", it.ID, it.Type)
	case it.MaxChars < 0 || it.MaxChars > rule.MaxTextChars:
		return invalid(field+".maxChars", "a text can have 1 to %d characters", rule.MaxTextChars)
	case it.Type == Choice:
		return validateOptions(field+".options", it)
	}
	return nil
}

func validateOptions(field string, it *Item) error {
	if err := count(field, len(it.Options), 1, maxOptions); err != nil {
		return err
	}
	seen := map[string]bool{}
	for n, o := range it.Options {
		at := fmt.Sprintf("%s[%d]", field, n)
		if err := required(at+".value", o.Value, maxValueChars); err != nil {
			return err
		}
		if err := atMost(at+".label", o.Label, maxLabelChars); err != nil {
			return err
		}
		if seen[o.Value] {
			return invalid(at+".value", "the item %s has the option %q twice", it.ID, o.Value)
		}
		seen[o.Value] = true
	}
	return nil
}

func (i *Instrument) compileScores() error {
	d := &i.definition
	if err := count("scores", len(d.Scores), 0, maxScores); err != nil {
		return err
	}
	seen := map[string]bool{}
	for n := range d.Scores {
		s := &d.Scores[n]
		field := fmt.Sprintf("scores[%d]", n)
		if err := validVariable(field+".id", s.ID); err != nil {
			return err
		}
		if seen[s.ID] {
			return invalid(field+".id", "the score %s is defined twice", s.ID)
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
	if err := atMost(field+".title", s.Title, maxTitleChars); err != nil {
		return score{}, err
	}
	if s.Method != Sum && s.Method != Mean && s.Method != Max {
		return score{}, invalid(field+".method", "%q is not a way to make a score; sum, mean and max are", shortened(string(s.Method)))
	}
	if err := count(field+".items", len(s.Items), 1, maxItems); err != nil {
		return score{}, err
	}
	counted := map[ItemID]bool{}
	for n, id := range s.Items {
		at := fmt.Sprintf("%s.items[%d]", field, n)
		index, ok := i.index[id]
		if !ok {
			return score{}, invalid(at, "the score %s counts %q, which is not an item", s.ID, shortened(string(id)))
		}
		if t := i.items[index].Type; t == Text || t == DateDay {
			return score{}, invalid(at, "the score %s counts %s, which is of type %s and has no number", s.ID, id, t)
		}
		if counted[id] {
			return score{}, invalid(at, "the score %s counts %s twice", s.ID, id)
		}
		counted[id] = true
		compiled.items = append(compiled.items, index)
	}
	if s.MaxMissing < 0 || s.MaxMissing >= len(s.Items) {
		return score{}, invalid(field+".maxMissing", "of the %d items of the score %s, 0 to %d may be unanswered", len(s.Items), s.ID, len(s.Items)-1)
	}
	if s.Decimals != nil && (*s.Decimals < 0 || *s.Decimals > maxDecimals) {
		return score{}, invalid(field+".decimals", "a score is rounded to 0 to %d decimals", maxDecimals)
	}
	return compiled, validateBands(field+".bands", s)
}

func validateBands(field string, s *Score) error {
	if err := count(field, len(s.Bands), 0, maxBands); err != nil {
		return err
	}
	for n, b := range s.Bands {
		at := fmt.Sprintf("%s[%d]", field, n)
		if err := required(at+".label", b.Label, maxLabelChars); err != nil {
			return err
		}
		if b.From > b.To {
			return invalid(at, "the band %q of the score %s ends before it begins", b.Label, s.ID)
		}
		if n > 0 && b.From <= s.Bands[n-1].To {
			return invalid(at, "the band %q of the score %s does not begin after the end of the one before it", b.Label, s.ID)
		}
	}
	return nil
}

func (i *Instrument) compileRisks() error {
	d := &i.definition
	if err := count("riskRules", len(d.RiskRules), 0, maxRiskRules); err != nil {
		return err
	}
	variables := rule.Variables{groupAnswers: {}, groupScores: {}}
	for _, it := range i.items {
		variables[groupAnswers][string(it.ID)] = ruleType(it.Type)
	}
	for _, s := range i.scores {
		variables[groupScores][s.ID] = rule.Decimal
	}
	seen := map[string]bool{}
	for n := range d.RiskRules {
		r := &d.RiskRules[n]
		field := fmt.Sprintf("riskRules[%d]", n)
		if !namePattern.MatchString(r.ID) {
			return invalid(field+".id", "a rule's id has 1 to 64 letters, digits and . _ -")
		}
		if seen[r.ID] {
			return invalid(field+".id", "the rule %s is defined twice", r.ID)
		}
		seen[r.ID] = true
		if r.Severity != SeverityWatch && r.Severity != SeverityUrgent {
			return invalid(field+".severity", "%q is not a severity; watch and urgent are", shortened(string(r.Severity)))
		}
		if err := required(field+".message", r.Message, maxLabelChars); err != nil {
			return err
		}
		when, err := i.compileRule(field+".when", r.When, variables)
		if err != nil {
			return err
		}
		i.risks = append(i.risks, risk{RiskRule: r, when: when})
	}
	return nil
}

func (i *Instrument) compileSchedule() error {
	s := &i.definition.Schedule
	if s.EveryDays < 1 || s.EveryDays > maxEveryDays {
		return invalid("schedule.everyDays", "an instrument is asked every 1 to %d days", maxEveryDays)
	}
	if s.Late.AcceptHours < 0 || s.Late.AcceptHours > maxAcceptHours {
		return invalid("schedule.late.acceptHours", "a late entry can be accepted for 0 to %d hours", maxAcceptHours)
	}
	if s.Late.SyncHours < 0 || s.Late.SyncHours > maxSyncHours {
		return invalid("schedule.late.syncHours", "the wait for offline devices is 0 to %d hours", maxSyncHours)
	}
	if err := count("schedule.windows", len(s.Windows), 1, maxDayWindows); err != nil {
		return err
	}
	seen := map[string]bool{}
	for n, w := range s.Windows {
		field := fmt.Sprintf("schedule.windows[%d]", n)
		if !namePattern.MatchString(w.ID) {
			return invalid(field+".id", "a window's id has 1 to 64 letters, digits and . _ -")
		}
		if seen[w.ID] {
			return invalid(field+".id", "the window %s is defined twice", w.ID)
		}
		seen[w.ID] = true
		opens, err := localtime.ParseClock(w.Opens)
		if err != nil {
			return invalid(field+".opens", "%q is not a time HH:MM", shortened(w.Opens))
		}
		closes, err := localtime.ParseClock(w.Closes)
		if err != nil {
			return invalid(field+".closes", "%q is not a time HH:MM", shortened(w.Closes))
		}
		i.windows = append(i.windows, dayWindow{id: w.ID, opens: opens, closes: closes, nextDay: closes <= opens})
		if n > 0 && (i.windows[n-1].nextDay || opens < i.windows[n-1].closes) {
			return invalid(field+".opens", "the window %s opens before the one above it has closed; windows stand in the order of the day", w.ID)
		}
	}
	last := i.windows[len(i.windows)-1]
	if last.nextDay && last.closes > i.windows[0].opens {
		return invalid(fmt.Sprintf("schedule.windows[%d].closes", len(i.windows)-1), "the window %s reaches into the first window of the next day", last.id)
	}
	return nil
}

// compileRule compiles a rule, and holds it against the options of the choices that it names: a misspelt option would
// be a risk rule that never holds, or always.
func (i *Instrument) compileRule(field, expression string, variables rule.Variables) (*rule.Rule, error) {
	compiled, err := rule.Compile(expression, variables)
	if r, ok := refuse.As(err); ok {
		return nil, r.At(field)
	}
	if err != nil {
		return nil, err
	}
	for _, c := range compiled.Comparisons() {
		index, ok := i.index[ItemID(c.Name)]
		if !ok || c.Group != groupAnswers || i.items[index].Type != Choice {
			continue
		}
		if _, isOption := i.items[index].points[c.Text]; !isOption {
			return nil, refuse.Because("invalid_rule", "the rule %q cannot be used: %q is not an option of %s", shortened(expression), shortened(c.Text), c.Name).
				At(field).Do("compare with " + i.items[index].optionList())
		}
	}
	return compiled, nil
}

func ruleType(t ItemType) rule.Type {
	switch t {
	case Integer:
		return rule.Integer
	case Decimal:
		return rule.Decimal
	case Boolean:
		return rule.Boolean
	default:
		return rule.Text
	}
}

func validVariable(field, id string) error {
	if !variablePattern.MatchString(id) || reserved[id] {
		return invalid(field, "%q cannot be used in rules: a name has 1 to 40 letters, digits and _, begins with a letter and is no word of CEL", shortened(id))
	}
	return nil
}

func required(field, text string, maxChars int) error {
	if text == "" {
		return invalid(field, "it is empty")
	}
	return atMost(field, text, maxChars)
}

func atMost(field, text string, maxChars int) error {
	if n := utf8.RuneCountInString(text); n > maxChars {
		return invalid(field, "it has %d characters, more than %d", n, maxChars)
	}
	return nil
}

func count(field string, n, from, to int) error {
	if n < from || n > to {
		return invalid(field, "there are %d, and there can be %d to %d", n, from, to)
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	r := refuse.Because("invalid_instrument", format, args...).At(field).Do("correct " + field + " of the definition")
	r.Sentence = field + ": " + r.Sentence
	return r
}

func shortened(s string) string {
	if runes := []rune(s[:min(len(s), 400)]); len(runes) > 80 {
		return string(runes[:80]) + "..."
	}
	return s
}

func finite(n float64) bool { return !math.IsNaN(n) && !math.IsInf(n, 0) }
