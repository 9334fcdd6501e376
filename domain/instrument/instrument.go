package instrument

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"casebook/domain/form"
	"casebook/domain/localtime"
	"casebook/domain/rule"
	"casebook/domain/rule/bounded"
)

// Instrument is a compiled, valid definition: a form with its scores, risk rules and schedule. It never changes and is
// safe for concurrent use.
type Instrument struct {
	definition Definition
	form       *form.Form
	scores     []score
	risks      []risk
	windows    []dayWindow
	// texts are the items that ask for free text.
	texts []ItemID
}

type score struct {
	*Score
	// items are the indexes of the score's items in the form.
	items []int
}

type risk struct {
	*RiskRule
	when *rule.Rule
}

type dayWindow struct {
	id            string
	opens, closes localtime.Clock
	// nextDay says that the window closes on the day after it opened.
	nextDay bool
}

// instruments caches compiled instruments. The events of every patient contain an equal definition, so that sharing one
// compiled instrument saves time and memory.
var instruments = bounded.New[[sha256.Size]byte, *Instrument](1024)

// Compile validates and compiles a definition. Its refusals are those of Validate. It copies the definition. Equal
// definitions may share one Instrument.
func Compile(d *Definition) (*Instrument, error) {
	encoded, err := json.Marshal(d)
	if err != nil {
		return nil, parts.Invalid("items", "the definition holds a number that cannot be written: %v", err)
	}
	key := sha256.Sum256(encoded)
	if known, ok := instruments.Get(key); ok {
		return known, nil
	}
	compiled := &Instrument{}
	if err := json.Unmarshal(encoded, &compiled.definition); err != nil {
		return nil, fmt.Errorf("copy the definition of instrument %s: %w", d.ID, err)
	}
	if err := compiled.compile(); err != nil {
		return nil, err
	}
	return instruments.Add(key, compiled), nil
}

// Definition returns the definition of the instrument. It is shared: do not change it.
func (i *Instrument) Definition() *Definition { return &i.definition }

// values are the values that rules can use.
type values struct {
	answers map[ItemID]any
	scores  []ScoreResult
}

// groupScores is the group of variables that holds the scores in risk rules; the answers are in form.Answers.
const groupScores = "scores"

// Value returns answers.<item> or scores.<score>.
func (v *values) Value(group, name string) (any, bool) {
	if group == form.Answers {
		answer, ok := v.answers[ItemID(name)]
		return answer, ok
	}
	for i := range v.scores {
		if v.scores[i].ID == name && v.scores[i].Value != nil {
			return *v.scores[i].Value, true
		}
	}
	return nil, false
}
