package supply

import (
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// EndResupply ends the resupply of a site, or of all sites of a country, by their rules.
type EndResupply struct {
	domain.InStudy
	Site            domain.SiteID `json:"site,omitempty" doc:"The site"`
	Country         string        `json:"country,omitempty" maxLength:"3" doc:"The country, whose sites all have their rule ended"`
	domain.Reasoned `doc:"Why there are no more kits"`
}

// EndResupplyOfArm ends that rules send kits of an arm.
type EndResupplyOfArm struct {
	domain.InStudy
	Arm             domain.ArmID  `json:"arm" doc:"The arm"`
	Site            domain.SiteID `json:"site,omitempty" doc:"Only for this site"`
	Country         string        `json:"country,omitempty" maxLength:"3" doc:"Only for the sites of this country"`
	domain.Reasoned `doc:"Why there are no more kits of it"`
}

// ResumeResupplyOfArm lets rules send kits of an arm again.
type ResumeResupplyOfArm struct {
	domain.InStudy
	Arm             domain.ArmID  `json:"arm" doc:"The arm"`
	Site            domain.SiteID `json:"site,omitempty" doc:"Only for this site"`
	Country         string        `json:"country,omitempty" maxLength:"3" doc:"Only for the sites of this country"`
	domain.Reasoned `doc:"Why there are kits of it again"`
}

// ResupplyOfArmEnded says that the rules of sites send no more kits of an arm.
type ResupplyOfArmEnded struct {
	Study  domain.StudyID            `json:"study"`
	Sites  []domain.SiteID           `json:"sites"`
	Arm    blind.Value[domain.ArmID] `json:"arm"`
	Reason personal.Text             `json:"reason"`
}

// ResupplyOfArmResumed says that the rules of sites send kits of an arm again.
type ResupplyOfArmResumed struct {
	Study  domain.StudyID            `json:"study"`
	Sites  []domain.SiteID           `json:"sites"`
	Arm    blind.Value[domain.ArmID] `json:"arm"`
	Reason personal.Text             `json:"reason"`
}

func (ResupplyOfArmEnded) supplyEvent()   {}
func (ResupplyOfArmResumed) supplyEvent() {}

// ReasonRevealsArm implements domain.ArmRevealing: the reason may name the arm.
func (ResupplyOfArmEnded) ReasonRevealsArm() bool { return true }

// ReasonRevealsArm implements domain.ArmRevealing.
func (ResupplyOfArmResumed) ReasonRevealsArm() bool { return true }

// EndRule ends the resupply of a site, or of a country's sites. It refuses reason_required, value_too_long, value_missing,
// country_not_found and no_resupply_rule.
func EndRule(s Supply, in study.Study, cmd EndResupply, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	sites := []domain.SiteID{cmd.Site}
	switch {
	case (cmd.Site == "") == (cmd.Country == ""):
		return nil, refuse.Malformed("value_missing", "the resupply ends at one site, or in one country").At("site").Do("name one of them")
	case cmd.Country != "":
		var err error
		if sites, err = mustHaveSitesIn(in, cmd.Country); err != nil {
			return nil, err
		}
	}
	var events []Event
	for _, site := range sites {
		if rule, ruled := s.Rules[site]; ruled {
			events = append(events, ResupplyEnded{Study: cmd.Study, Site: site, Depot: rule.Depot, Reason: cmd.Reason})
		}
	}
	if len(events) == 0 {
		return nil, refuse.WrongState("no_resupply_rule", "there is no resupply rule for it").At("site").Do("nothing is left to do")
	}
	return events, nil
}

// EndArm ends that rules send kits of an arm, at the sites that have a rule: those of a country, one of them, or all. Later kits of
// these sites are of the other arms, so two have to be left in a study that is blinded. It refuses reason_required, value_too_long,
// unknown_arm, country_not_found, site_not_found, no_resupply_rule, resupply_of_arm_ended, last_arm and resupply_end_reveals_arm.
func EndArm(s Supply, in study.Study, cmd EndResupplyOfArm, _ domain.Call) ([]Event, error) {
	sites, err := s.ruledSites(in, cmd.InStudy, cmd.Site, cmd.Country, cmd.Reason, mustHaveArm(in, cmd.Arm))
	if err != nil {
		return nil, err
	}
	sites = slices.DeleteFunc(sites, func(site domain.SiteID) bool { return slices.Contains(s.ended[site], cmd.Arm) })
	if len(sites) == 0 {
		return nil, refuse.WrongState("resupply_of_arm_ended", "the resupply of the arm has ended there already").At("arm").
			Do("nothing is left to do")
	}
	for _, site := range sites {
		switch left := len(in.Arms()) - len(s.ended[site]) - 1; {
		case left == 0:
			return nil, refuse.WrongState("last_arm", "site %s gets kits of no other arm", site).At("arm").Do("end the resupply of the site")
		case left == 1 && in.Treatment().Randomised:
			return nil, revealsArm(site, "arm")
		}
	}
	after := s.withArm(sites, blind.Of(cmd.Arm), true)
	if err := s.mustNotLeaveOneArm(after, in, in.Protocol.LeavesOneArm, sites, "arm"); err != nil {
		return nil, err
	}
	return []Event{ResupplyOfArmEnded{Study: cmd.Study, Sites: sites, Arm: blind.Of(cmd.Arm), Reason: cmd.Reason}}, nil
}

// ResumeArm lets rules send kits of an arm again. It refuses reason_required, value_too_long, unknown_arm, country_not_found,
// site_not_found, no_resupply_rule, resupply_of_arm_not_ended and resupply_end_reveals_arm.
func ResumeArm(s Supply, in study.Study, cmd ResumeResupplyOfArm, _ domain.Call) ([]Event, error) {
	sites, err := s.ruledSites(in, cmd.InStudy, cmd.Site, cmd.Country, cmd.Reason, mustHaveArm(in, cmd.Arm))
	if err != nil {
		return nil, err
	}
	sites = slices.DeleteFunc(sites, func(site domain.SiteID) bool { return !slices.Contains(s.ended[site], cmd.Arm) })
	if len(sites) == 0 {
		return nil, refuse.WrongState("resupply_of_arm_not_ended", "the resupply of the arm has not ended there").At("arm").
			Do("nothing is left to do")
	}
	after := s.withArm(sites, blind.Of(cmd.Arm), false)
	if err := s.mustNotLeaveOneArm(after, in, in.Protocol.LeavesOneArm, sites, "arm"); err != nil {
		return nil, err
	}
	return []Event{ResupplyOfArmResumed{Study: cmd.Study, Sites: sites, Arm: blind.Of(cmd.Arm), Reason: cmd.Reason}}, nil
}

// mustHaveArm refuses an arm that no version of the protocol has (code unknown_arm).
func mustHaveArm(in study.Study, arm domain.ArmID) error {
	if !slices.ContainsFunc(in.Arms(), func(a study.Arm) bool { return domain.ArmID(a.ID) == arm }) {
		return refuse.Because("unknown_arm", "the protocol has no such arm").At("arm").Do("use the protocol's arm ids")
	}
	return nil
}

// ruledSites returns the sites with a rule among those that a command on kits is about, in ascending order. known refuses kits that the
// protocol does not have.
func (s Supply) ruledSites(in study.Study, of domain.InStudy, site domain.SiteID, country string, reason personal.Text, known error) (
	sites []domain.SiteID, err error,
) {
	if err := domain.First(domain.Reason(reason), studyMustExist(in, of.Study), known); err != nil {
		return nil, err
	}
	if site != "" {
		if err := mustHaveSite(in, of.Study, site); err != nil {
			return nil, err
		}
	}
	if country != "" {
		if _, err := mustHaveSitesIn(in, country); err != nil {
			return nil, err
		}
	}
	for id := range s.Rules {
		if (site == "" || id == site) && (country == "" || in.Sites[id].Country == country) {
			sites = append(sites, id)
		}
	}
	if len(sites) == 0 {
		return nil, refuse.WrongState("no_resupply_rule", "there is no resupply rule for it").At("site").Do("set one first")
	}
	slices.Sort(sites)
	return sites, nil
}

// withArm returns the supply after rules have ended, or begun again, to send kits of an arm.
func (s Supply) withArm(sites []domain.SiteID, sealed blind.Value[domain.ArmID], ended bool) Supply {
	arm, open := sealed.Open()
	s.endedSealed = s.endedSealed || !open
	s.ended = changed(s.ended, sites, []domain.ArmID{arm}, ended)
	return s
}

// changed returns what of kits has ended at each site after the end of some, or after they have begun again.
func changed(at map[domain.SiteID][]study.Kind, sites []domain.SiteID, some []study.Kind, ended bool) map[domain.SiteID][]study.Kind {
	all := maps.Clone(at)
	if all == nil {
		all = map[domain.SiteID][]study.Kind{}
	}
	for _, site := range sites {
		all[site] = slices.DeleteFunc(slices.Clone(all[site]), func(k study.Kind) bool { return slices.Contains(some, k) })
		if ended {
			all[site] = append(all[site], some...)
		}
	}
	return all
}

// sends says whether rules send kits of an arm or type to a site.
func (s Supply) sends(in study.Study, site domain.SiteID, kind study.Kind) bool {
	is, typed := in.TypeOf(string(kind))
	if !typed {
		return !slices.Contains(s.ended[site], kind)
	}
	return !slices.Contains(s.ended[site], domain.ArmID(is.Arm)) && !slices.Contains(s.endedTypes[site], kind)
}

// mustNotLeaveOneArm refuses that the rules of some sites, after a change, send kits in such a way that who gets one is of one arm (code
// resupply_end_reveals_arm).
func (s Supply) mustNotLeaveOneArm(after Supply, in study.Study, leaves func(before, after func(study.Kind) bool) bool,
	sites []domain.SiteID, field string,
) error {
	looked := map[string]bool{}
	for _, site := range sites {
		// Sites where the same has ended need one look.
		as := fmt.Sprint(s.ended[site], s.endedTypes[site])
		if looked[as] {
			continue
		}
		looked[as] = true
		if leaves(func(k study.Kind) bool { return s.sends(in, site, k) }, func(k study.Kind) bool { return after.sends(in, site, k) }) {
			return revealsArm(site, field)
		}
	}
	return nil
}

func revealsArm(site domain.SiteID, field string) error {
	return refuse.Because("resupply_end_reveals_arm", "later kits of site %s would be of one arm", site).At(field).
		Do("name what each arm gets in its place as well, or end the resupply of the site, and send kits by hand")
}

// resupplied returns the arms, or types of kits, of which rules send kits to a site, in the protocol's order.
func (f Facts) resupplied(site domain.SiteID) (kinds []study.Kind, err error) {
	if f.Supply.endedSealed {
		return nil, ErrKeysMissing
	}
	for _, kind := range f.Study.Kinds() {
		if f.Supply.sends(f.Study, site, study.Kind(kind.ID)) {
			kinds = append(kinds, study.Kind(kind.ID))
		}
	}
	return kinds, nil
}
