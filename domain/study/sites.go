package study

import (
	"casebook/domain"
	"casebook/domain/localtime"
	"casebook/domain/refuse"
)

// Add lets a site take part. It refuses study_not_found, site_exists, unknown_zone, and what is missing or too long.
func Add(s Study, cmd AddSite, _ domain.Call) ([]Event, error) {
	if err := s.mustExist(cmd.Study); err != nil {
		return nil, err
	}
	err := domain.First(cmd.Site.Validate(), domain.Text("name", cmd.Name, 200), domain.Text("country", cmd.Country, 3))
	if err != nil {
		return nil, err
	}
	if _, err := localtime.Load(cmd.Zone); err != nil {
		return nil, err
	}
	if _, exists := s.Sites[cmd.Site]; exists {
		return nil, refuse.WrongState("site_exists", "study %s has a site %s already", cmd.Study, cmd.Site).Do("choose another id")
	}
	return []Event{SiteAdded(cmd)}, nil
}

// Activate lets a site screen and enrol. It needs a protocol in force, because approvals are given to a version of it
// (ICH E6(R3) 4.3.5). It refuses study_not_found, site_not_found, no_protocol, site_already_active and site_closed.
func Activate(s Study, cmd ActivateSite, call domain.Call) ([]Event, error) {
	site, err := s.site(cmd.Study, cmd.Site)
	if err != nil {
		return nil, err
	}
	if err := cmd.On.NotAfterToday("on", call.At); err != nil {
		return nil, err
	}
	switch {
	case s.Protocol == nil:
		return nil, refuse.WrongState("no_protocol", "study %s has no protocol in force", cmd.Study).Do("publish a protocol version first")
	case site.Status == SiteActive:
		return nil, refuse.WrongState("site_already_active", "site %s is active already", cmd.Site)
	case site.Status == SiteIsClosed:
		return nil, siteClosed(cmd.Site)
	}
	return []Event{SiteActivated(cmd)}, nil
}

// Close ends a site's screening and enrolment. It refuses study_not_found, site_not_found, site_closed and
// reason_required.
func Close(s Study, cmd CloseSite, call domain.Call) ([]Event, error) {
	site, err := s.site(cmd.Study, cmd.Site)
	if err != nil {
		return nil, err
	}
	if err := domain.First(domain.Reason(cmd.Reason), cmd.On.NotAfterToday("on", call.At)); err != nil {
		return nil, err
	}
	if site.Status == SiteIsClosed {
		return nil, siteClosed(cmd.Site)
	}
	return []Event{SiteClosed(cmd)}, nil
}

func (s Study) site(study domain.StudyID, id domain.SiteID) (Site, error) {
	if err := s.mustExist(study); err != nil {
		return Site{}, err
	}
	site, ok := s.Sites[id]
	if !ok {
		return Site{}, refuse.NotFound("site_not_found", "study %s has no site %s", study, id).Do("check the id, or add the site first")
	}
	return site, nil
}

func siteClosed(id domain.SiteID) error {
	return refuse.WrongState("site_closed", "site %s is closed", id).Do("add a new site if it takes part again")
}
