package study

import (
	"slices"

	"casebook/domain"
)

// Factor is a property of patients with a few levels, such as a site's country or a grade of severity.
type Factor struct {
	ID     string   `json:"id" minLength:"1"`
	Title  string   `json:"title"`
	Levels []string `json:"levels" minItems:"1"`
	// DerivedFrom says what in the patient's record the level follows from. Nobody has to type it.
	DerivedFrom FactorSource `json:"derivedFrom,omitempty" doc:"What in the patient's record the level follows from; without it somebody gives the level"`
	// Bounds are the ages at which the second level and each later one begins.
	Bounds []int `json:"bounds,omitempty" doc:"For the age: the ages at which the second level and each later one begins, such as 50 for under-50 and 50-or-more"`
}

// FactorSource is something in the patient's record that the level of a factor follows from.
type FactorSource string

// What the level of a factor can follow from.
const (
	FromAge     FactorSource = "age"
	FromSex     FactorSource = "sex"
	FromSite    FactorSource = "site"
	FromCountry FactorSource = "country"
)

// Schema implements domain.HasSchema.
func (FactorSource) Schema() domain.Schema {
	return domain.OneOf(FromAge, FromSex, FromSite, FromCountry)
}

// LevelOfAge returns the level of a factor that follows from the age.
func (f Factor) LevelOfAge(years int) string {
	level := 0
	for level < len(f.Bounds) && years >= f.Bounds[level] {
		level++
	}
	if level >= len(f.Levels) {
		return ""
	}
	return f.Levels[level]
}

// validateSource refuses a source that the levels do not fit (code invalid_protocol).
func (f Factor) validateSource() error {
	switch f.DerivedFrom {
	case "", FromSite, FromCountry, FromSex:
		if len(f.Bounds) > 0 {
			return invalidProtocol("treatment.factors", "factor %s has bounds, and does not follow from the age", f.ID).Do("leave the bounds out")
		}
	case FromAge:
		if len(f.Bounds) != len(f.Levels)-1 || !slices.IsSorted(f.Bounds) || len(slices.Compact(slices.Clone(f.Bounds))) != len(f.Bounds) {
			return invalidProtocol("treatment.factors", "factor %s has %d levels and the bounds %v", f.ID, len(f.Levels), f.Bounds).
				Do("give the ages at which the second level and each later one begins, in ascending order")
		}
	default:
		return invalidProtocol("treatment.factors", "factor %s cannot follow from %.40q", f.ID, string(f.DerivedFrom)).
			Do("use age, sex, site or country")
	}
	return nil
}
