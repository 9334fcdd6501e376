package supply

import (
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// EndResupplyOfKitTypes ends that rules send kits of some types, while they go on with those of other types. Types are named together
// because each arm has its own: the end of one alone could tell an arm.
type EndResupplyOfKitTypes struct {
	domain.InStudy
	Types           KitTypes      `json:"types" minItems:"1" maxItems:"100" doc:"The types: what each arm gets in place of the others, together"`
	Site            domain.SiteID `json:"site,omitempty" doc:"Only for this site"`
	Country         string        `json:"country,omitempty" maxLength:"3" doc:"Only for the sites of this country"`
	domain.Reasoned `doc:"Why there are no more kits of them"`
}

// ResumeResupplyOfKitTypes lets rules send kits of some types again.
type ResumeResupplyOfKitTypes struct {
	domain.InStudy
	Types           KitTypes      `json:"types" minItems:"1" maxItems:"100" doc:"The types"`
	Site            domain.SiteID `json:"site,omitempty" doc:"Only for this site"`
	Country         string        `json:"country,omitempty" maxLength:"3" doc:"Only for the sites of this country"`
	domain.Reasoned `doc:"Why there are kits of them again"`
}

// ResupplyOfKitTypesEnded says that the rules of sites send no more kits of some types.
type ResupplyOfKitTypesEnded struct {
	Study  domain.StudyID        `json:"study"`
	Sites  []domain.SiteID       `json:"sites"`
	Types  blind.Value[KitTypes] `json:"types"`
	Reason personal.Text         `json:"reason"`
}

// ResupplyOfKitTypesResumed says that the rules of sites send kits of some types again.
type ResupplyOfKitTypesResumed struct {
	Study  domain.StudyID        `json:"study"`
	Sites  []domain.SiteID       `json:"sites"`
	Types  blind.Value[KitTypes] `json:"types"`
	Reason personal.Text         `json:"reason"`
}

func (ResupplyOfKitTypesEnded) supplyEvent()   {}
func (ResupplyOfKitTypesResumed) supplyEvent() {}

// ReasonRevealsArm implements domain.ArmRevealing: the reason may name the types.
func (ResupplyOfKitTypesEnded) ReasonRevealsArm() bool { return true }

// ReasonRevealsArm implements domain.ArmRevealing.
func (ResupplyOfKitTypesResumed) ReasonRevealsArm() bool { return true }

// KitTypes are ids of types of kits.
type KitTypes []study.Kind

// PaddedTo implements blind.Padded.
func (KitTypes) PaddedTo() int { return sealedTypes }

// validate refuses a list that is empty, too long or names a type that no version of the protocol has (codes value_out_of_range,
// unknown_kit_type).
func (all KitTypes) validate(in study.Study) error {
	if err := domain.Between("types", len(all), 1, maxEndedTypes); err != nil {
		return err
	}
	for _, kind := range all {
		if err := mustHaveKitType(in, string(kind), "types"); err != nil {
			return err
		}
	}
	return nil
}

// EndTypes ends that rules send kits of some types, at the sites that have a rule: those of a country, one of them, or all. In a study
// that is blinded, patients of several arms have to get their kits, or of none, in each case of the plan. It refuses reason_required,
// value_too_long, value_out_of_range, unknown_kit_type, country_not_found, site_not_found, no_resupply_rule, resupply_of_types_ended,
// last_kit_type and resupply_end_reveals_arm.
func EndTypes(s Supply, in study.Study, cmd EndResupplyOfKitTypes, _ domain.Call) ([]Event, error) {
	sites, err := s.ruledSites(in, cmd.InStudy, cmd.Site, cmd.Country, cmd.Reason, cmd.Types.validate(in))
	if err != nil {
		return nil, err
	}
	sites = slices.DeleteFunc(sites, func(site domain.SiteID) bool {
		return !slices.ContainsFunc(cmd.Types, func(k study.Kind) bool { return !slices.Contains(s.endedTypes[site], k) })
	})
	if len(sites) == 0 {
		return nil, refuse.WrongState("resupply_of_types_ended", "the resupply of the types has ended there already").At("types").
			Do("nothing is left to do")
	}
	types := blind.Of(cmd.Types.once())
	after := s.withTypes(sites, types, true)
	for _, site := range sites {
		if !slices.ContainsFunc(in.Kinds(), func(k study.Arm) bool { return after.sends(in, site, study.Kind(k.ID)) }) {
			return nil, refuse.WrongState("last_kit_type", "site %s gets kits of no other type", site).At("types").
				Do("end the resupply of the site")
		}
	}
	if err := s.mustNotLeaveOneArm(after, in, in.LeavesOneArm, sites, "types"); err != nil {
		return nil, err
	}
	return []Event{ResupplyOfKitTypesEnded{Study: cmd.Study, Sites: sites, Types: types, Reason: cmd.Reason}}, nil
}

// ResumeTypes lets rules send kits of some types again. It refuses reason_required, value_too_long, value_out_of_range, unknown_kit_type,
// country_not_found, site_not_found, no_resupply_rule, resupply_of_types_not_ended and resupply_end_reveals_arm.
func ResumeTypes(s Supply, in study.Study, cmd ResumeResupplyOfKitTypes, _ domain.Call) ([]Event, error) {
	sites, err := s.ruledSites(in, cmd.InStudy, cmd.Site, cmd.Country, cmd.Reason, cmd.Types.validate(in))
	if err != nil {
		return nil, err
	}
	sites = slices.DeleteFunc(sites, func(site domain.SiteID) bool {
		return !slices.ContainsFunc(cmd.Types, func(k study.Kind) bool { return slices.Contains(s.endedTypes[site], k) })
	})
	if len(sites) == 0 {
		return nil, refuse.WrongState("resupply_of_types_not_ended", "the resupply of the types has not ended there").At("types").
			Do("nothing is left to do")
	}
	types := blind.Of(cmd.Types.once())
	if err := s.mustNotLeaveOneArm(s.withTypes(sites, types, false), in, in.LeavesOneArm, sites, "types"); err != nil {
		return nil, err
	}
	return []Event{ResupplyOfKitTypesResumed{Study: cmd.Study, Sites: sites, Types: types, Reason: cmd.Reason}}, nil
}

// once returns the types in ascending order, each once.
func (all KitTypes) once() KitTypes { return slices.Compact(slices.Sorted(slices.Values(all))) }

// withTypes returns the supply after rules have ended, or begun again, to send kits of some types.
func (s Supply) withTypes(sites []domain.SiteID, sealed blind.Value[KitTypes], ended bool) Supply {
	types, open := sealed.Open()
	s.endedSealed = s.endedSealed || !open
	s.endedTypes = changed(s.endedTypes, sites, types, ended)
	return s
}
