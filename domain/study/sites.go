package study

import (
	"strings"

	"casebook/domain"
	"casebook/domain/localtime"
	"casebook/domain/refuse"
)

// Add adds a site. It refuses study_not_found, malformed_id, value_missing, value_too_long, malformed_country,
// unknown_zone and site_exists.
func Add(s Study, cmd AddSite, _ domain.Call) ([]Event, error) {
	if err := s.mustExist(cmd.Study); err != nil {
		return nil, err
	}
	err := domain.First(cmd.Site.Validate(), domain.Text("name", cmd.Name, 200), Country(cmd.Country))
	if err != nil {
		return nil, err
	}
	if _, err := localtime.Load(cmd.Zone); err != nil {
		return nil, domain.At("zone", err)
	}
	if _, exists := s.Sites[cmd.Site]; exists {
		return nil, refuse.WrongState("site_exists", "study %s has a site %s already", cmd.Study, cmd.Site).At("site").Do("choose another id")
	}
	return []Event{SiteAdded{Study: cmd.Study, Site: cmd.Site, Name: cmd.Name, Country: cmd.Country, Zone: cmd.Zone}}, nil
}

// Activate allows a site to screen and enrol patients. It needs a protocol in force, because approvals are given for a
// protocol version (ICH E6(R3) 4.3.5). It refuses study_not_found, site_not_found, malformed_date, captured_in_future,
// no_protocol, protocol_not_approved, site_active and site_closed.
func Activate(s Study, cmd ActivateSite, call domain.Call) ([]Event, error) {
	site, err := s.site(cmd.Study, cmd.Site)
	if err != nil {
		return nil, err
	}
	if err := cmd.On.NotAfterToday("on", call); err != nil {
		return nil, err
	}
	switch {
	case s.Protocol == nil:
		return nil, refuse.WrongState("no_protocol", "study %s has no protocol in force", cmd.Study).At("study").
			Do("publish a protocol version first")
	case site.Status == SiteActive:
		return nil, refuse.WrongState("site_active", "site %s is active already, since %s", cmd.Site, site.ActivatedOn).At("site").
			Do("nothing is left to do: it may screen and enrol")
	case site.Status == SiteIsClosed:
		return nil, siteClosed(cmd.Site)
	}
	if err := s.MustBeApproved(cmd.Site); err != nil {
		return nil, err
	}
	return []Event{SiteActivated{Study: cmd.Study, Site: cmd.Site, On: cmd.On}}, nil
}

// Close ends a site's screening and enrolment. A site that was never active can be closed too. It refuses
// study_not_found, site_not_found, reason_required, value_too_long, malformed_date, captured_in_future, checklist_incomplete, site_closed
// and closed_before_activation.
func Close(s Study, cmd CloseSite, call domain.Call) ([]Event, error) {
	site, err := s.site(cmd.Study, cmd.Site)
	if err != nil {
		return nil, err
	}
	if err := domain.First(domain.Reason(cmd.Reason), cmd.On.NotAfterToday("on", call), checklist(cmd.Checklist)); err != nil {
		return nil, err
	}
	if site.Status == SiteIsClosed {
		return nil, siteClosed(cmd.Site)
	}
	if err := cmd.On.NotBefore(site.ActivatedOn, "closed_before_activation", "on", "the closing", "the activation"); err != nil {
		return nil, err
	}
	return []Event{SiteClosed{Study: cmd.Study, Site: cmd.Site, On: cmd.On, Reason: cmd.Reason, Checklist: cmd.Checklist}}, nil
}

func (s Study) site(study domain.StudyID, id domain.SiteID) (Site, error) {
	if err := s.mustExist(study); err != nil {
		return Site{}, err
	}
	site, ok := s.Sites[id]
	if !ok {
		return Site{}, refuse.NotFound("site_not_found", "study %s has no site %s", study, id).
			At("site").Do("check the id, or add the site first")
	}
	return site, nil
}

// Country refuses a value that does not have the form of an ISO 3166-1 code: two or three capital letters.
func Country(code string) error {
	if err := domain.Text("country", code, 3); err != nil {
		return err
	}
	if len(code) < 2 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return refuse.Malformed("malformed_country", "%q is not a country's code", code).At("country").
			Do("use the two or three capital letters of ISO 3166, such as DE or DEU")
	}
	return nil
}

func siteClosed(id domain.SiteID) error {
	return refuse.WrongState("site_closed", "site %s is closed", id).At("site").Do("reopen it if it takes part again")
}
