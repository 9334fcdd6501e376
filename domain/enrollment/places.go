package enrollment

import (
	"maps"

	"casebook/domain"
	"casebook/domain/persistent"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Enrollment is the state of a study's places.
type Enrollment struct {
	// Opened says whether enrolment has ever been open, Open whether it is open now.
	Opened, Open bool
	Caps         Caps
	// LastNumber is the last running number of a reservation. A number is never used again, even if its place is released.
	LastNumber int
	// Taken counts the places that patients hold in the study, AtSite those at each site.
	Taken  int
	AtSite map[domain.SiteID]int

	held persistent.Map[domain.PatientID, domain.SiteID]
}

// Decider is the decider of a study's places.
var Decider = domain.Decider[Enrollment, Event]{Category: "enrollment", Key: domain.ByStudy, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams()}

// PlaceOf returns the site at which the patient holds a place.
func (e Enrollment) PlaceOf(p domain.PatientID) (domain.SiteID, bool) { return e.held.Get(p) }

// withTaken returns the state with the number of places taken at a site changed by a number.
func (e Enrollment) withTaken(at domain.SiteID, by int) Enrollment {
	e.Taken += by
	e.AtSite = maps.Clone(e.AtSite)
	if e.AtSite == nil {
		e.AtSite = map[domain.SiteID]int{}
	}
	e.AtSite[at] += by
	return e
}

func evolve(e Enrollment, event Event) Enrollment {
	switch event := event.(type) {
	case Opened:
		e.Opened, e.Open, e.Caps = true, true, event.Caps
	case Closed:
		e.Open = false
	case TargetSet:
		e.Caps = event.Caps
	case PlaceReserved:
		e = e.withTaken(event.Site, 1)
		e.held, e.LastNumber = e.held.Set(event.Patient, event.Site), event.Number
	case PlaceReleased:
		site, _ := e.held.Get(event.Patient)
		e = e.withTaken(site, -1)
		e.held = e.held.Delete(event.Patient)
	case PlaceRefused: // no place was taken
	}
	return e
}

// Open opens enrolment. It refuses study_not_found, no_protocol, no_active_site, enrollment_open and invalid_caps.
func Open(e Enrollment, s study.Study, cmd OpenEnrollment, _ domain.Call) ([]Event, error) {
	if e.Open {
		return nil, refuse.WrongState("enrollment_open", "enrolment of study %s is open already", cmd.Study).At("study").
			Do("change its caps with SetEnrollmentTarget")
	}
	if err := cmd.Caps.validate(s, cmd.Study); err != nil {
		return nil, err
	}
	if s.Protocol == nil {
		return nil, refuse.WrongState("no_protocol", "study %s has no protocol in force", cmd.Study).At("study").
			Do("publish a protocol version first")
	}
	for id := range s.Sites {
		if s.SiteIsActive(id) {
			return []Event{Opened{Study: cmd.Study, Caps: cmd.Caps}}, nil
		}
	}
	return nil, refuse.WrongState("no_active_site", "study %s has no active site", cmd.Study).At("study").Do("activate a site first")
}

// Close closes enrolment. It refuses enrollment_closed, reason_required and value_too_long.
func Close(e Enrollment, cmd CloseEnrollment, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	if !e.Open {
		return nil, refuse.WrongState("enrollment_closed", "enrolment of study %s is not open", cmd.Study).At("study").
			Do("nothing is left to do: nobody can enrol")
	}
	return []Event{Closed{Study: cmd.Study, Reason: cmd.Reason}}, nil
}

// SetTarget changes target and caps. A cap below the number of places that are taken takes no place away; it only stops
// new ones. SetTarget refuses study_not_found, enrollment_closed and invalid_caps.
func SetTarget(e Enrollment, s study.Study, cmd SetEnrollmentTarget, _ domain.Call) ([]Event, error) {
	if err := cmd.Caps.validate(s, cmd.Study); err != nil {
		return nil, err
	}
	if !e.Open {
		return nil, refuse.WrongState("enrollment_closed", "enrolment of study %s is not open", cmd.Study).At("study").
			Do("open it with the new caps")
	}
	return []Event{TargetSet{Study: cmd.Study, Caps: cmd.Caps, Was: &e.Caps}}, nil
}

// Facts are what a place needs to know from other streams: the study, and the patient's levels of its factors.
type Facts struct {
	Study   study.Study
	Factors map[string]string
}

// Reserve reserves a place for a patient. It records PlaceReserved or PlaceRefused, so that the enrolment process
// always finds an answer in the log. If the patient holds a place already, it records nothing: the log has the answer
// to the first request.
func Reserve(e Enrollment, f Facts, cmd ReservePlace, _ domain.Call) ([]Event, error) {
	if _, held := e.PlaceOf(cmd.Patient); held {
		return nil, nil
	}
	refused := func(code string, reason personal.Text) ([]Event, error) {
		return []Event{PlaceRefused{Study: cmd.Study, Site: cmd.Site, Patient: cmd.Patient, Code: code, Reason: reason}}, nil
	}
	s, siteCap := f.Study, e.Caps.Sites[cmd.Site]
	switch {
	case !e.Open:
		return refused("enrollment_closed", "enrolment of the study is not open")
	case !s.SiteIsActive(cmd.Site):
		return refused("site_not_active", "the site is not active")
	case s.PausedFor(cmd.Site, f.Factors, study.ActivityRandomisation):
		return refused("activity_paused", "randomisation is paused for the time being")
	case e.Taken >= e.Caps.Study:
		return refused("study_cap_reached", "all places of the study are taken")
	case siteCap > 0 && e.AtSite[cmd.Site] >= siteCap:
		return refused("site_cap_reached", "all places of the site are taken")
	case e.countryIsFull(s, s.Sites[cmd.Site].Country):
		return refused("country_cap_reached", "all places of the country are taken")
	}
	return []Event{PlaceReserved{Study: cmd.Study, Site: cmd.Site, Patient: cmd.Patient, Number: e.LastNumber + 1}}, nil
}

// countryIsFull says whether the patients of a country's sites hold all places that the country may have.
func (e Enrollment) countryIsFull(s study.Study, country string) bool {
	most := e.Caps.Countries[country]
	if most <= 0 {
		return false
	}
	taken := 0
	for site, n := range e.AtSite {
		if s.Sites[site].Country == country {
			taken += n
		}
	}
	return taken >= most
}

// Release gives a place back. It refuses reason_required, value_too_long and place_not_held. It does not accept a
// release without a place, because the sender would believe that a place has become free.
func Release(e Enrollment, cmd ReleasePlace, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	site, held := e.PlaceOf(cmd.Patient)
	if !held {
		return nil, refuse.WrongState("place_not_held", "patient %s holds no place in study %s", cmd.Patient, cmd.Study).At("patient").
			Do("there is nothing to give back")
	}
	return []Event{PlaceReleased{Study: cmd.Study, Site: site, Patient: cmd.Patient, Reason: cmd.Reason}}, nil
}

func (c Caps) validate(s study.Study, id domain.StudyID) error {
	if !s.Exists() {
		return refuse.NotFound("study_not_found", "there is no study %s", id).At("study").Do("check the id, or create the study first")
	}
	const most = 1_000_000
	switch {
	case c.Study < 1 || c.Study > most:
		return invalidCaps("caps.study", "the study's cap is %d", c.Study)
	case c.Target < 1 || c.Target > c.Study:
		return invalidCaps("caps.target", "the target is %d and the cap %d", c.Target, c.Study)
	}
	for site, siteCap := range c.Sites {
		if _, known := s.Sites[site]; !known {
			return invalidCaps("caps.sites", "study %s has no site %s", id, site)
		}
		if siteCap < 0 || siteCap > c.Study {
			return invalidCaps("caps.sites", "the cap of site %s is %d", site, siteCap)
		}
	}
	for country, most := range c.Countries {
		if !s.HasSitesIn(country) {
			return invalidCaps("caps.countries", "study %s has no site in %.10q", id, country)
		}
		if most < 0 || most > c.Study {
			return invalidCaps("caps.countries", "the cap of %s is %d", country, most)
		}
	}
	return nil
}

func invalidCaps(field, format string, args ...any) error {
	return refuse.Because("invalid_caps", format, args...).At(field).
		Do("use a target from 1 up to the study's cap, and caps of sites and countries from 0 (none) up to it")
}
