package study

import (
	"maps"
	"slices"
	"strings"

	"casebook/domain/refuse"

	"casebook/domain"
)

// Cohort is a group of patients: those who have all of these levels of factors, by the factor's id.
type Cohort map[string]string

// Has says whether a patient with these levels belongs to the cohort. Nobody belongs to the empty cohort.
func (c Cohort) Has(factors map[string]string) bool {
	for factor, level := range c {
		if factors[factor] != level {
			return false
		}
	}
	return len(c) > 0
}

// String returns the cohort as sentences have it, such as age under-50, sex F.
func (c Cohort) String() string {
	var levels []string
	for _, factor := range slices.Sorted(maps.Keys(c)) {
		levels = append(levels, factor+" "+c[factor])
	}
	return strings.Join(levels, ", ")
}

// SuspendedCohort is a cohort for which activities are stopped.
type SuspendedCohort struct {
	Cohort     Cohort
	Activities []Activity
}

// ofCohort are the activities that can be stopped for a cohort: the levels of a patient are known at the enrolment, and a
// shipment is for no cohort.
var ofCohort = []Activity{ActivityRandomisation, ActivityDispensing}

// mustHaveCohort refuses a cohort of levels that the protocol does not have, and activities that cannot be stopped for one.
func (s Study) mustHaveCohort(c Cohort, country string, activities []Activity) error {
	if err := notEmpty(c); c == nil || err != nil {
		return err
	}
	if country != "" {
		return refuse.Because("unknown_cohort", "a cohort has no country").At("cohort").Do("name a country or a cohort")
	}
	for factor, level := range c {
		if !slices.Contains(s.Treatment().levelsOf(factor), level) {
			return refuse.Because("unknown_cohort", "the protocol has no factor %.80q with this level", factor).At("cohort").
				Do("use levels of the protocol's factors")
		}
	}
	for _, a := range activities {
		if slices.Contains(Activities, a) && !slices.Contains(ofCohort, a) {
			return refuse.Because("activity_not_of_cohort", "%s cannot be stopped for a cohort", a).At("activities").
				Do("use randomisation and dispensing; stop the others in the study or a country")
		}
	}
	return nil
}

// suspendedFor returns what is stopped for a cohort, or without one in a country; "" is the whole study.
func (s Study) suspendedFor(country string, c Cohort) []Activity {
	if len(c) == 0 {
		return s.Suspended[country]
	}
	for _, one := range s.SuspendedCohorts {
		if maps.Equal(one.Cohort, c) {
			return one.Activities
		}
	}
	return nil
}

// withSuspension returns the study with what is stopped for a cohort, or without one in a country.
func (s Study) withSuspension(country string, c Cohort, activities []Activity) Study {
	if len(c) > 0 {
		s.SuspendedCohorts = withSuspendedCohort(s.SuspendedCohorts, c, activities)
	} else {
		s.Suspended = withSuspended(s.Suspended, country, activities)
	}
	return s
}

// withSuspendedCohort returns what is stopped for cohorts, after a change of one.
func withSuspendedCohort(all []SuspendedCohort, c Cohort, activities []Activity) []SuspendedCohort {
	next := slices.DeleteFunc(slices.Clone(all), func(one SuspendedCohort) bool { return maps.Equal(one.Cohort, c) })
	if len(activities) > 0 {
		next = append(next, SuspendedCohort{c, activities})
	}
	return next
}

// PausedFor says whether an activity is stopped for a patient with these levels at a site.
func (s Study) PausedFor(at domain.SiteID, factors map[string]string, a Activity) bool {
	return s.Paused(at, a) || slices.ContainsFunc(s.SuspendedCohorts, func(one SuspendedCohort) bool {
		return one.Cohort.Has(factors) && slices.Contains(one.Activities, a)
	})
}

// MustNotBePausedFor refuses an activity that is stopped for a patient with these levels at a site (code activity_paused).
func (s Study) MustNotBePausedFor(at domain.SiteID, factors map[string]string, a Activity, field string) error {
	if s.Paused(at, a) || !s.PausedFor(at, factors, a) {
		return s.MustNotBePaused(at, a, field)
	}
	return refuse.WrongState("activity_paused", "%s is paused for the patient's cohort for the time being", a).At(field).
		Do("wait until the sponsor lets it go on")
}

// notEmpty refuses a cohort without levels (code unknown_cohort): the whole study is not to be stopped, or to go on, because somebody
// has left out of the cohort what it was to hold.
func notEmpty(c Cohort) error {
	if c == nil || len(c) > 0 {
		return nil
	}
	return refuse.Because("unknown_cohort", "the cohort has no level of a factor").At("cohort").
		Do("name levels of the protocol's factors, or leave the cohort out for the whole study")
}
