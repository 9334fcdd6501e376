package study

import (
	"maps"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
)

// Study is the state of a study's stream.
type Study struct {
	ID      domain.StudyID
	Title   string
	Sponsor string
	// Protocol is the newest version, nil before the first is published. In what As returns, it is the version that a patient or a
	// site follows.
	Protocol *Protocol
	Sites    map[domain.SiteID]Site
	// Suspended are the activities that are stopped, by country; "" is the whole study.
	Suspended map[string][]Activity
	// SuspendedCohorts are the cohorts for which activities are stopped.
	SuspendedCohorts []SuspendedCohort
	// SecondFactor says that signing and unblinding ask for a second factor.
	SecondFactor bool

	// instruments holds the uses of every instrument by protocol versions, including instruments that the version in force
	// leaves out.
	instruments map[instrument.ID]usage
	// versions are all published versions, in their order.
	versions []published
	// builds are the published builds, by their numbers.
	builds map[int]PublishedBuild
}

// usage is how the study's protocol versions have used one instrument.
type usage struct {
	// contained are the versions that protocols contained, in the order of the protocols, each once.
	contained []*instrument.Definition
	// newest is the version that was used last. sha256 is its hash if it was used by reference; "" if the protocol
	// contained it, and it is then the last of contained.
	newest int
	sha256 string
}

// Site is the state of a site.
type Site struct {
	Name, Country string
	// Zone is the site's IANA time zone.
	Zone        string
	Status      SiteStatus
	ActivatedOn domain.Date
	ClosedOn    domain.Date
	// Paused are the activities that are stopped at this site alone, in ascending order.
	Paused []Activity
	// Approved are the days on which versions of the protocol were approved for the site.
	Approved map[int]domain.Date
	// Build is the build that was released to the site last, 0 for none.
	Build int
}

// SiteStatus is the status of a site. Only an active site may screen and enrol patients.
type SiteStatus string

// The statuses of a site.
const (
	SiteAddedOnly SiteStatus = "added"
	SiteActive    SiteStatus = "active"
	SiteIsClosed  SiteStatus = "closed"
)

// After returns the status of a site after an event that is about it.
func (s SiteStatus) After(event Event) SiteStatus {
	switch event.(type) {
	case SiteAdded:
		return SiteAddedOnly
	case SiteActivated:
		return SiteActive
	case SiteClosed:
		return SiteIsClosed
	case SiteReopened:
		return SiteActive
	}
	return s
}

// Decider decides on a study's stream.
var Decider = domain.Decider[Study, Event]{Category: "study", Key: domain.ByStudy, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams()}

// Exists says whether the study has been created.
func (s Study) Exists() bool { return s.ID != "" }

// SiteIsActive says whether the site may screen and enrol.
func (s Study) SiteIsActive(id domain.SiteID) bool { return s.Sites[id].Status == SiteActive }

// Visit returns a visit of the protocol in force.
func (s Study) Visit(id string) (Visit, bool) {
	if s.Protocol == nil {
		return Visit{}, false
	}
	i := slices.IndexFunc(s.Protocol.Visits, func(v Visit) bool { return v.ID == id })
	if i < 0 {
		return Visit{}, false
	}
	return s.Protocol.Visits[i], true
}

// VisitIDs names the visits of the protocol in force.
func (s Study) VisitIDs() (ids []string) {
	if s.Protocol != nil {
		for _, v := range s.Protocol.Visits {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// SiteIsSupplied says whether the site may get study drug. One that is closed to enrolment keeps its patients supplied.
func (s Study) SiteIsSupplied(id domain.SiteID) bool {
	site := s.Sites[id]
	return site.Status == SiteActive || site.Status == SiteIsClosed && site.ActivatedOn != ""
}

// Instrument returns the definition that the protocol in force contains. It returns nil if the protocol has no such
// instrument, or refers to one that was published on its own (see InstrumentInForce).
func (s Study) Instrument(id instrument.ID) *instrument.Definition {
	if s.Protocol == nil {
		return nil
	}
	for i := range s.Protocol.Instruments {
		if s.Protocol.Instruments[i].ID == id {
			return &s.Protocol.Instruments[i]
		}
	}
	return nil
}

func evolve(s Study, e Event) Study {
	switch e := e.(type) {
	case Created:
		s.ID, s.Title, s.Sponsor = e.Study, e.Title, e.Sponsor
	case ProtocolVersionPublished:
		s.Protocol = &e.Protocol
		s.instruments = s.using(&e.Protocol)
		s.versions = withVersion(s.versions, published{Protocol: &e.Protocol, forEverybody: !e.ByPatient})
	case ProtocolApprovedAtSite:
		s.Sites = withApproval(s.Sites, e.Site, e.Version, e.ApprovedOn)
	case SiteApprovalWithdrawn:
		s.Sites = withApproval(s.Sites, e.Site, e.Version, "")
	case BuildPublished:
		s.builds = withBuild(s.builds, e)
	case BuildReleased:
		site := s.Sites[e.Site]
		site.Build = e.Build
		s.Sites = with(s.Sites, e.Site, site)
	case SecondFactorRequired:
		s.SecondFactor = e.Required
	case SiteAdded:
		s.Sites = with(s.Sites, e.Site, Site{Name: e.Name, Country: e.Country, Zone: e.Zone, Status: s.Sites[e.Site].Status.After(e)})
	case SiteActivated:
		site := s.Sites[e.Site]
		site.Status, site.ActivatedOn = site.Status.After(e), e.On
		s.Sites = with(s.Sites, e.Site, site)
	case SiteClosed:
		site := s.Sites[e.Site]
		site.Status, site.ClosedOn = site.Status.After(e), e.On
		s.Sites = with(s.Sites, e.Site, site)
	case SiteReopened:
		site := s.Sites[e.Site]
		site.Status, site.ClosedOn = site.Status.After(e), ""
		if site.ActivatedOn == "" {
			site.ActivatedOn = e.On
		}
		s.Sites = with(s.Sites, e.Site, site)
	case SitePaused:
		site := s.Sites[e.Site]
		site.Paused = Stopped(site.Paused, e.Activities)
		s.Sites = with(s.Sites, e.Site, site)
	case SiteResumed:
		site := s.Sites[e.Site]
		site.Paused = GoneOn(site.Paused, e.Activities)
		s.Sites = with(s.Sites, e.Site, site)
	case Suspended:
		s = s.withSuspension(e.Country, e.Cohort, Stopped(s.suspendedFor(e.Country, e.Cohort), e.Activities))
	case Resumed:
		s = s.withSuspension(e.Country, e.Cohort, GoneOn(s.suspendedFor(e.Country, e.Cohort), e.Activities))
	}
	return s
}

func with(sites map[domain.SiteID]Site, id domain.SiteID, site Site) map[domain.SiteID]Site {
	sites = maps.Clone(sites)
	if sites == nil {
		sites = map[domain.SiteID]Site{}
	}
	sites[id] = site
	return sites
}

// AlertPolicy returns the alert policy of the protocol in force. The default is 60 minutes and 3 windows.
func (s Study) AlertPolicy() AlertPolicy {
	if s.Protocol == nil || s.Protocol.Alerts == nil {
		return AlertPolicy{ReviewMinutes: 60, MissedInARow: 3}
	}
	return *s.Protocol.Alerts
}

// ReviewWithin returns how long an alert may wait for its review.
func (p AlertPolicy) ReviewWithin() time.Duration {
	return time.Duration(p.ReviewMinutes) * time.Minute
}

// Treatment returns the treatment of the protocol in force. The default has no draw and no kits.
func (s Study) Treatment() Treatment {
	if s.Protocol == nil || s.Protocol.Treatment == nil {
		return Treatment{}
	}
	return *s.Protocol.Treatment
}
