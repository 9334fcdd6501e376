package instrument

// Risks returns the risk rules that are true for checked answers and their scores, in the order of the definition. It
// also returns a rule that cannot be computed for these answers (for example a division by zero), and says so in the
// message: there may be a risk, and the diary must not be refused because of the rule.
func (i *Instrument) Risks(answers map[ItemID]any, scores []ScoreResult) []RiskRule {
	known := values{answers: i.plain(answers), scores: scores}
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
