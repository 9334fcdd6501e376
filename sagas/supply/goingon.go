package supply

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// goingOn is what the process of a study's resupply that goes on remembers: the depots of the sites that have a rule.
type goingOn struct {
	Depots map[domain.SiteID]supply.LocationID `json:"depots,omitempty"`
}

// GoingOn is the process that has rules looked at again when something ends that kept kits from sites: a pause, a site that was not
// active, a depot without kits, a lot that was not released, an arm, or a type of kits, of which nothing was sent. Without it, who
// waits for a kit would wait for the next night. Nothing is decided where no site has a rule.
var GoingOn = sagas.Define("resupply-goes-on",
	sagas.Sends(supply.PlanResupply{}),
	sagas.On(inStudy[supply.ResupplyRuleSet], goingOn.ruleSet),
	sagas.On(inStudy[supply.ResupplyEnded], goingOn.ruleEnded),
	sagas.On(inStudy[study.SiteActivated], goingOn.siteActivated),
	sagas.On(inStudy[study.SiteReopened], goingOn.siteReopened),
	sagas.On(inStudy[study.SiteResumed], goingOn.siteResumed),
	sagas.On(inStudy[study.Resumed], goingOn.resumed),
	sagas.On(inStudy[supply.BatchReleased], goingOn.batchReleased),
	sagas.On(inStudy[supply.ResupplyOfArmResumed], goingOn.armResumed),
	sagas.On(inStudy[supply.ResupplyOfKitTypesResumed], goingOn.typesResumed),
	sagas.On(inStudy[supply.DeliveryTakenIn], arrivesAtDepot),
	sagas.On(inStudy[supply.ShipmentReceived], arrivesAtDepot),
	sagas.On(inStudy[supply.KitsReleased], arrivesAtDepot),
).InGroup("resupply-goes-on-2")

// inStudy names the instance of the study in which something happened.
func inStudy[E any](_ E, at eventlog.Recorded) []string { return sagas.Instance(at.Metadata.Study) }

type goes = sagas.Reaction[goingOn]

// The rule itself is looked at by the resupply of the site.
func (s goingOn) ruleSet(e supply.ResupplyRuleSet, _ sagas.Occurrence) (goes, bool) {
	if s.Depots[e.Rule.Site] == e.Rule.Depot {
		return goes{}, false
	}
	s.Depots = sagas.Put(s.Depots, e.Rule.Site, e.Rule.Depot)
	return goes{State: s, Stage: s.stage()}, true
}

func (s goingOn) ruleEnded(e supply.ResupplyEnded, _ sagas.Occurrence) (goes, bool) {
	if _, ruled := s.Depots[e.Site]; !ruled {
		return goes{}, false
	}
	s.Depots = maps.Clone(s.Depots)
	delete(s.Depots, e.Site)
	return goes{State: s, Stage: s.stage()}, true
}

func (s goingOn) siteActivated(e study.SiteActivated, _ sagas.Occurrence) (goes, bool) {
	return s.plan(e.Study, e.Site)
}

func (s goingOn) siteReopened(e study.SiteReopened, _ sagas.Occurrence) (goes, bool) {
	return s.plan(e.Study, e.Site)
}

func (s goingOn) siteResumed(e study.SiteResumed, _ sagas.Occurrence) (goes, bool) {
	if !slices.Contains(e.Activities, study.ActivityShipping) {
		return goes{}, false
	}
	return s.plan(e.Study, e.Site)
}

// resumed looks at all sites, also where those of one country go on: the rules of the others demand nothing new.
func (s goingOn) resumed(e study.Resumed, _ sagas.Occurrence) (goes, bool) {
	if !slices.Contains(e.Activities, study.ActivityShipping) {
		return goes{}, false
	}
	return s.plan(e.Study, s.ruled()...)
}

func (s goingOn) batchReleased(e supply.BatchReleased, _ sagas.Occurrence) (goes, bool) {
	return s.plan(e.Study, s.ruled()...)
}

func (s goingOn) armResumed(e supply.ResupplyOfArmResumed, _ sagas.Occurrence) (goes, bool) {
	return s.plan(e.Study, e.Sites...)
}

func (s goingOn) typesResumed(e supply.ResupplyOfKitTypesResumed, _ sagas.Occurrence) (goes, bool) {
	return s.plan(e.Study, e.Sites...)
}

// arrivesAtDepot looks at the sites that the depot supplies, if there are any.
func arrivesAtDepot[E aboutStock](s goingOn, e E, _ sagas.Occurrence) (goes, bool) {
	at := e.AboutStock()
	return s.plan(at.Study, slices.DeleteFunc(s.ruled(), func(site domain.SiteID) bool { return s.Depots[site] != at.Location })...)
}

// ruled are the sites with a rule, in ascending order.
func (s goingOn) ruled() []domain.SiteID { return slices.Sorted(maps.Keys(s.Depots)) }

// plan looks at those of the sites that have a rule.
func (s goingOn) plan(in domain.StudyID, sites ...domain.SiteID) (goes, bool) {
	r := goes{State: s, Stage: s.stage()}
	for _, site := range sites {
		if depot, ruled := s.Depots[site]; ruled {
			r.Commands = append(r.Commands, supply.PlanResupply{AtDepot: supply.AtDepot{Study: in, Depot: depot}, Site: site})
		}
	}
	return r, len(r.Commands) > 0
}

func (s goingOn) stage() string {
	if len(s.Depots) == 0 {
		return "no site has a rule"
	}
	return "sites have rules"
}
