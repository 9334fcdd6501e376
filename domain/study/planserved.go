package study

import (
	"iter"
	"slices"

	"casebook/domain"
)

// LeavesOneArm is Protocol.LeavesOneArm for any version of the protocol, because patients follow different ones.
func (s Study) LeavesOneArm(before, after func(Kind) bool) bool {
	return slices.ContainsFunc(s.versions, func(v published) bool { return v.LeavesOneArm(before, after) })
}

// LeavesOneArm says whether a change of the kinds of kits that a site is sent, from those before to those after, leaves one arm alone: in
// some case of the dispensing plan only its patients could be given what is due to them, and so far those of several arms or of none. Who
// gets a kit in this case would be of this arm.
func (p *Protocol) LeavesOneArm(before, after func(Kind) bool) bool {
	if p == nil || p.Treatment == nil || !p.Treatment.Randomised {
		return false
	}
	t := p.Treatment
	if t.Plan == nil {
		return p.oneServed("", Dosing{}, after) && !p.oneServed("", Dosing{}, before)
	}
	if !t.blinded() {
		return false
	}
	for visit, d := range t.cases() {
		if p.oneServed(visit, d, after) && !p.oneServed(visit, d, before) {
			return true
		}
	}
	return false
}

// cases are those that blinded people can tell apart: visits, and what is known of a patient.
func (t *Treatment) cases() iter.Seq2[string, Dosing] {
	visits, weights, levels := t.caseValues()
	return func(yield func(string, Dosing) bool) {
		for _, visit := range visits {
			for _, kg := range weights {
				for _, level := range levels {
					for step := range t.titration().Steps {
						d := Dosing{Step: step + 1, WeightKg: kg, Levels: map[string]string{t.Plan.Factor: level}}
						rescued := d
						rescued.Rescue = true
						if !yield(visit, d) || t.titration().Rescue && !yield(visit, rescued) {
							return
						}
					}
				}
			}
		}
	}
}

// oneServed says whether patients of one arm alone, of several, could be given what is due at a visit.
func (p *Protocol) oneServed(visit string, d Dosing, sent func(Kind) bool) bool {
	served, arms := 0, 0
	for _, arm := range p.Arms {
		sets := Study{Protocol: p}.Due(visit, domain.ArmID(arm.ID), d).Sets
		if len(sets) > 0 {
			arms++
		}
		if slices.ContainsFunc(sets, func(set []Kind) bool {
			return !slices.ContainsFunc(set, func(k Kind) bool { return !sent(k) })
		}) {
			served++
		}
	}
	return arms > 1 && served == 1
}
