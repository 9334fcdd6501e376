package study

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// Activity is what a site does in a study that can be stopped for a time, by itself.
type Activity string

// The activities.
const (
	ActivityScreening     Activity = "screening"
	ActivityRandomisation Activity = "randomisation" // and every other way into the study
	ActivityDispensing    Activity = "dispensing"
	ActivityShipping      Activity = "shipping" // to sites; what comes back to a depot is never stopped
)

// Activities are all activities.
var Activities = []Activity{ActivityScreening, ActivityRandomisation, ActivityDispensing, ActivityShipping}

// Schema implements domain.HasSchema.
func (Activity) Schema() domain.Schema { return domain.OneOf(Activities...) }

// PauseSite stops activities at a site until they are resumed.
type PauseSite struct {
	domain.AtSite
	Activities      []Activity `json:"activities" minItems:"1" doc:"What stops"`
	domain.Reasoned `doc:"Why"`
}

// ResumeSite lets a site go on with activities.
type ResumeSite struct {
	domain.AtSite
	Activities      []Activity `json:"activities" minItems:"1" doc:"What goes on"`
	domain.Reasoned `doc:"Why"`
}

// ReopenSite lets a site that was closed screen and enrol again.
type ReopenSite struct {
	domain.AtSite
	On              domain.Date `json:"on" doc:"Day"`
	domain.Reasoned `doc:"Why"`
}

// SuspendStudy stops activities at all sites of a study or of a country, or for a cohort.
type SuspendStudy struct {
	domain.InStudy
	Country string `json:"country,omitempty" maxLength:"3" doc:"Only the sites of this country"`
	// Cohort is a combination of levels of factors.
	Cohort          Cohort     `json:"cohort,omitempty" doc:"Only the patients with all of these levels of factors, by the factor's id; their randomisation and dispensing can be stopped"`
	Activities      []Activity `json:"activities" minItems:"1" doc:"What stops"`
	domain.Reasoned `doc:"Why"`
}

// ResumeStudy lets the sites of a study or of a country, or a cohort, go on with activities.
type ResumeStudy struct {
	domain.InStudy
	Country         string     `json:"country,omitempty" maxLength:"3" doc:"The country whose sites were stopped; empty for the whole study"`
	Cohort          Cohort     `json:"cohort,omitempty" doc:"The cohort that was stopped, by the same levels"`
	Activities      []Activity `json:"activities" minItems:"1" doc:"What goes on"`
	domain.Reasoned `doc:"Why"`
}

// SitePaused stops activities at a site.
type SitePaused struct {
	Study      domain.StudyID `json:"study"`
	Site       domain.SiteID  `json:"site"`
	Activities []Activity     `json:"activities"`
	Reason     personal.Text  `json:"reason"`
}

// SiteResumed lets a site go on with activities.
type SiteResumed struct {
	Study      domain.StudyID `json:"study"`
	Site       domain.SiteID  `json:"site"`
	Activities []Activity     `json:"activities"`
	Reason     personal.Text  `json:"reason"`
}

// SiteReopened lets a site that was closed screen and enrol again.
type SiteReopened struct {
	Study  domain.StudyID `json:"study"`
	Site   domain.SiteID  `json:"site"`
	On     domain.Date    `json:"on"`
	Reason personal.Text  `json:"reason"`
}

// Suspended stops activities at all sites of the study or of a country, or for a cohort.
type Suspended struct {
	Study      domain.StudyID `json:"study"`
	Country    string         `json:"country,omitempty"`
	Cohort     Cohort         `json:"cohort,omitempty"`
	Activities []Activity     `json:"activities"`
	Reason     personal.Text  `json:"reason"`
}

// Resumed lets the sites of the study or of a country, or a cohort, go on with activities. What a site paused by itself stays paused.
type Resumed struct {
	Study      domain.StudyID `json:"study"`
	Country    string         `json:"country,omitempty"`
	Cohort     Cohort         `json:"cohort,omitempty"`
	Activities []Activity     `json:"activities"`
	Reason     personal.Text  `json:"reason"`
}

func (SitePaused) studyEvent()   {}
func (SiteResumed) studyEvent()  {}
func (SiteReopened) studyEvent() {}
func (Suspended) studyEvent()    {}
func (Resumed) studyEvent()      {}

// Pause stops activities at a site. It refuses study_not_found, site_not_found, reason_required, value_too_long, value_out_of_range,
// unknown_code and activity_paused.
func Pause(s Study, cmd PauseSite, _ domain.Call) ([]Event, error) {
	site, err := s.site(cmd.Study, cmd.Site)
	if err != nil {
		return nil, err
	}
	if err := domain.First(domain.Reason(cmd.Reason), allOf(cmd.Activities, site.Paused, false)); err != nil {
		return nil, err
	}
	return []Event{SitePaused{Study: cmd.Study, Site: cmd.Site, Activities: inOrder(cmd.Activities), Reason: cmd.Reason}}, nil
}

// Resume lets a site go on. It refuses study_not_found, site_not_found, reason_required, value_too_long, value_out_of_range,
// unknown_code and activity_not_paused.
func Resume(s Study, cmd ResumeSite, _ domain.Call) ([]Event, error) {
	site, err := s.site(cmd.Study, cmd.Site)
	if err != nil {
		return nil, err
	}
	if err := domain.First(domain.Reason(cmd.Reason), allOf(cmd.Activities, site.Paused, true)); err != nil {
		return nil, err
	}
	return []Event{SiteResumed{Study: cmd.Study, Site: cmd.Site, Activities: inOrder(cmd.Activities), Reason: cmd.Reason}}, nil
}

// Reopen lets a closed site screen and enrol again. It refuses study_not_found, site_not_found, reason_required, value_too_long,
// malformed_date, captured_in_future, site_not_closed and reopened_before_closing.
func Reopen(s Study, cmd ReopenSite, call domain.Call) ([]Event, error) {
	site, err := s.site(cmd.Study, cmd.Site)
	if err != nil {
		return nil, err
	}
	if err := domain.First(domain.Reason(cmd.Reason), cmd.On.NotAfterToday("on", call)); err != nil {
		return nil, err
	}
	if site.Status != SiteIsClosed {
		return nil, refuse.WrongState("site_not_closed", "site %s is not closed", cmd.Site).At("site").Do("nothing is left to do")
	}
	if err := cmd.On.NotBefore(site.ClosedOn, "reopened_before_closing", "on", "the reopening", "the closing"); err != nil {
		return nil, err
	}
	return []Event{SiteReopened{Study: cmd.Study, Site: cmd.Site, On: cmd.On, Reason: cmd.Reason}}, nil
}

// Suspend stops activities at all sites of the study or of a country, or for a cohort. It refuses study_not_found, reason_required,
// value_too_long, value_out_of_range, malformed_country, country_not_found, unknown_cohort, activity_not_of_cohort, unknown_code and
// activity_paused.
func Suspend(s Study, cmd SuspendStudy, _ domain.Call) ([]Event, error) {
	if err := domain.First(s.mustExist(cmd.Study), domain.Reason(cmd.Reason), s.mustHaveSitesIn(cmd.Country),
		s.mustHaveCohort(cmd.Cohort, cmd.Country, cmd.Activities),
		allOf(cmd.Activities, s.suspendedFor(cmd.Country, cmd.Cohort), false)); err != nil {
		return nil, err
	}
	return []Event{Suspended{Study: cmd.Study, Country: cmd.Country, Cohort: cmd.Cohort, Activities: inOrder(cmd.Activities),
		Reason: cmd.Reason}}, nil
}

// GoOn lets the sites of the study or of a country, or a cohort, go on. It refuses study_not_found, reason_required, value_too_long,
// value_out_of_range, malformed_country, country_not_found, unknown_cohort, unknown_code and activity_not_paused.
func GoOn(s Study, cmd ResumeStudy, _ domain.Call) ([]Event, error) {
	if err := domain.First(s.mustExist(cmd.Study), domain.Reason(cmd.Reason), s.mustHaveSitesIn(cmd.Country), notEmpty(cmd.Cohort),
		allOf(cmd.Activities, s.suspendedFor(cmd.Country, cmd.Cohort), true)); err != nil {
		return nil, err
	}
	return []Event{Resumed{Study: cmd.Study, Country: cmd.Country, Cohort: cmd.Cohort, Activities: inOrder(cmd.Activities),
		Reason: cmd.Reason}}, nil
}

// mustHaveSitesIn refuses a country without sites, so that nobody stops what is not there by a typing error.
func (s Study) mustHaveSitesIn(code string) error {
	if code == "" {
		return nil
	}
	if err := Country(code); err != nil {
		return err
	}
	if s.HasSitesIn(code) {
		return nil
	}
	return refuse.NotFound("country_not_found", "the study has no site in %s", code).At("country").Do("check the code")
}

// HasSitesIn says whether the study has a site in the country.
func (s Study) HasSitesIn(country string) bool { return len(s.SitesIn(country)) > 0 }

// SitesIn returns the study's sites in the country, in ascending order.
func (s Study) SitesIn(country string) (sites []domain.SiteID) {
	for id, site := range s.Sites {
		if site.Country == country {
			sites = append(sites, id)
		}
	}
	slices.Sort(sites)
	return sites
}

// allOf refuses activities that are unknown or named twice, or of which one is paused already, or is not paused.
func allOf(activities, paused []Activity, are bool) error {
	if err := domain.Between("activities", len(activities), 1, len(Activities)); err != nil {
		return err
	}
	for i, a := range activities {
		switch {
		case !slices.Contains(Activities, a) || slices.Contains(activities[:i], a):
			return refuse.Malformed("unknown_code", "%.40q is no activity, or is named twice", string(a)).At("activities").
				Do("use screening, randomisation, dispensing and shipping, each once")
		case !are && slices.Contains(paused, a):
			return refuse.WrongState("activity_paused", "%s is paused already", a).At("activities").Do("leave it out")
		case are && !slices.Contains(paused, a):
			return refuse.WrongState("activity_not_paused", "%s is not paused", a).At("activities").Do("leave it out")
		}
	}
	return nil
}

func inOrder(activities []Activity) []Activity { return slices.Sorted(slices.Values(activities)) }

// Stopped returns what is paused after more activities are.
func Stopped(paused, more []Activity) []Activity {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(paused, more))))
}

// GoneOn returns what is paused after some activities go on.
func GoneOn(paused, on []Activity) []Activity {
	return slices.DeleteFunc(slices.Clone(paused), func(a Activity) bool { return slices.Contains(on, a) })
}

// withSuspended returns what is suspended by country, after a change of one.
func withSuspended(all map[string][]Activity, country string, activities []Activity) map[string][]Activity {
	next := map[string][]Activity{}
	maps.Copy(next, all)
	if next[country] = activities; len(activities) == 0 {
		delete(next, country)
	}
	return next
}

// Paused says whether an activity is stopped at a site: by the site's own pause, or with its country or the study.
func (s Study) Paused(at domain.SiteID, a Activity) bool {
	site := s.Sites[at]
	return slices.Contains(site.Paused, a) || slices.Contains(s.Suspended[""], a) ||
		site.Country != "" && slices.Contains(s.Suspended[site.Country], a)
}

// MustNotBePaused refuses an activity that is stopped at a site (code activity_paused).
func (s Study) MustNotBePaused(at domain.SiteID, a Activity, field string) error {
	if !s.Paused(at, a) {
		return nil
	}
	return refuse.WrongState("activity_paused", "%s is paused at site %s for the time being", a, at).At(field).
		Do("wait until the sponsor lets it go on")
}
