package patient

import (
	"cmp"
	"iter"

	"casebook/domain"
	"casebook/domain/study"
)

// Emergency returns what is known of an arm in an emergency of the patient. Where nothing is known of the patient, because the record
// is damaged, it is what the newest version of the protocol says. levels are those of the draw, with later corrections.
func (p Patient) Emergency(s study.Study, arm domain.ArmID, levels map[string]string) study.Emergency {
	return s.Emergency(arm, p.versionOrNewest(s), p.lastSupplied(s), p.Dosing(levels))
}

// Emergencies are what would be known of the patient in every arm of the study.
func (p Patient) Emergencies(s study.Study, levels map[string]string) iter.Seq2[domain.ArmID, study.Emergency] {
	return s.Emergencies(p.lastSupplied(s), p.Dosing(levels))
}

func (p Patient) versionOrNewest(s study.Study) int {
	if !p.Exists() {
		return s.Newest()
	}
	return cmp.Or(p.ProtocolIn(s), s.Newest())
}

// lastSupplied returns the last visit that took place and gives kits; "" for the enrolment.
func (p Patient) lastSupplied(s study.Study) (visit string) {
	s = s.As(p.versionOrNewest(s))
	if s.Protocol == nil {
		return ""
	}
	var last domain.Date
	for _, v := range s.Protocol.Visits {
		if on := p.Visits[v.ID]; on > last && v.Day >= 0 && s.Gives(v.ID) {
			visit, last = v.ID, on
		}
	}
	return visit
}
