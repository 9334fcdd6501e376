package instrument

// Risks returns the risk rules that hold for checked answers and their scores, in the order of the definition. A rule
// that cannot be computed for these answers (a division by zero, say) is returned as well, with that in its message: a
// risk that was perhaps overlooked is a risk, and the diary must not be lost over it.
func (i *Instrument) Risks(answers map[ItemID]any, scores []ScoreResult) []RiskRule {
	known := values{answers: answers, scores: scores}
	var found []RiskRule
	for n := range i.risks {
		r := &i.risks[n]
		holds, err := r.when.Holds(&known)
		switch {
		case err != nil:
			flagged := *r.RiskRule
			flagged.Message += " (this rule could not be computed for these answers; look at them)"
			found = append(found, flagged)
		case holds:
			found = append(found, *r.RiskRule)
		}
	}
	return found
}
