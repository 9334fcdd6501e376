package study

import (
	"iter"
	"slices"
)

// LeavesOneArm is Protocol.LeavesOneArm for any version of the protocol, because patients follow different ones. It also says whether the
// change leaves one arm out: who waits in a case in which the patients of all other arms get their kits would be of this one.
func (s Study) LeavesOneArm(before, after func(Kind) bool) bool {
	return slices.ContainsFunc(s.versions, func(v published) bool {
		return v.singlesOut(before, after, func(served, arms int) bool { return served == 1 || served == arms-1 })
	})
}

// LeavesOneArm says whether a change of the kinds of kits that a site is sent, from those before to those after, leaves one arm alone: in
// some case of the dispensing plan only its patients could be given what is due to them, and so far those of several arms or of none. Who
// gets a kit in this case would be of this arm. The arms are those of one draw: everybody sees for which stage a patient was drawn last.
func (p *Protocol) LeavesOneArm(before, after func(Kind) bool) bool {
	return p.singlesOut(before, after, func(served, _ int) bool { return served == 1 })
}

// singlesOut says whether a change leads, in some case, to a number of served arms that tells one of several that are drawn, and so far it
// was another number.
func (p *Protocol) singlesOut(before, after func(Kind) bool, tells func(served, arms int) bool) bool {
	if p == nil || p.Treatment == nil || !p.Treatment.Randomised {
		return false
	}
	t := p.Treatment
	if t.Plan != nil && !t.blinded() {
		return false
	}
	for _, stage := range append([]Stage{{}}, t.Stages...) {
		for visit, d := range t.cases() {
			was, _ := p.served(stage.ID, visit, d, before)
			if is, arms := p.served(stage.ID, visit, d, after); arms > 1 && is != was && tells(is, arms) {
				return true
			}
		}
	}
	return false
}

// cases are those that blinded people can tell apart: visits, and what is known of a patient. Without a plan there is one.
func (t *Treatment) cases() iter.Seq2[string, Dosing] {
	if t.Plan == nil {
		return func(yield func(string, Dosing) bool) { yield("", Dosing{}) }
	}
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

// served counts the arms of a draw whose patients could be given what is due at a visit, and those to whom something is due.
func (p *Protocol) served(stage, visit string, d Dosing, sent func(Kind) bool) (served, arms int) {
	in := Study{Protocol: p}
	drawn, _ := in.ArmsOf(stage)
	for _, arm := range drawn {
		sets := in.Due(visit, arm, d).Sets
		if len(sets) > 0 {
			arms++
		}
		if slices.ContainsFunc(sets, func(set []Kind) bool {
			return !slices.ContainsFunc(set, func(k Kind) bool { return !sent(k) })
		}) {
			served++
		}
	}
	return served, arms
}
