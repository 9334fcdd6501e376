package casebook

// FromScratch returns the checks that hold in a casebook, and what has to be derived, computed over all of its rows.
func FromScratch(c Casebook, facts Facts) (holding []LiveQuery, derived []Event, err error) {
	w := newWork(facts, c)
	all := map[rowPlace]bool{}
	for _, r := range w.all {
		all[r] = true
	}
	derived = w.derive(all, cause{})
	found, err := w.find(all, cause{entered: map[Key]bool{}})
	for _, f := range found {
		if c.isSettled(f) {
			continue
		}
		holding = append(holding, LiveQuery{Check: f.check, Key: f.key})
	}
	return holding, derived, err
}
