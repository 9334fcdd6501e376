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

// Instrument is a definition that has been found valid: a form with its scores, its risk rules and its schedule. It never
// changes and is safe for concurrent use.
type Instrument struct {
	definition Definition
	form       *form.Form
	scores     []score
	risks      []risk
	windows    []dayWindow
}

type score struct {
	*Score
	// items are the places of the score's items in the form.
	items []int
}

type risk struct {
	*RiskRule
	when *rule.Rule
}

type dayWindow struct {
	id            string
	opens, closes localtime.Clock
	// nextDay: it closes on the day after it opened.
	nextDay bool
}

// instruments keeps what has been compiled. Every patient of a study brings an equal definition in the patient's own
// events; sharing one compiled form saves the work and the memory.
var instruments = bounded.New[[sha256.Size]byte, *Instrument](1024)

// Compile validates a definition and makes it ready for use. Its refusals are those of Validate. The definition is
// copied; equal definitions may share one Instrument.
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

// Definition returns the definition that the instrument was made of. It is shared: do not change it.
func (i *Instrument) Definition() *Definition { return &i.definition }

// values are what rules can see.
type values struct {
	answers map[ItemID]any
	scores  []ScoreResult
}

// groupScores is the group of variables that holds the scores in risk rules; the answers are in form.Answers.
const groupScores = "scores"

// Value finds answers.<item> and scores.<score>.
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
