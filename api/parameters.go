package api

import (
	"strconv"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/readmodels"
)

// The parameters that queries share.
var (
	studyParameter = Parameter{Name: "study", In: inPath, Doc: "The study", Example: "PAIN1", Pattern: namePattern,
		check: func(v string) error { return domain.StudyID(v).Validate() }}
	patientParameter = Parameter{Name: "patient", In: inPath, Doc: "The patient", Example: "PAIN1.S-0001", Pattern: patientPattern,
		check: func(v string) error { return domain.PatientID(v).Validate() }}
	siteParameter = Parameter{Name: "site", In: inQuery, Doc: "Only this site", Example: "DE-01", Pattern: namePattern,
		check: func(v string) error { return domain.SiteID(v).Validate() }}
	kitParameter = Parameter{Name: "kit", In: inPath, Doc: "The kit's number", Example: "K-10017", Pattern: namePattern,
		check: func(v string) error { return domain.At("kit", domain.SiteID(v).Validate()) }}
	paging = []Parameter{
		{Name: "limit", In: inQuery, Doc: "How many items are wanted", Min: 1, Max: maxPage, Default: defaultPage},
		{Name: "cursor", In: inQuery, Doc: "The cursor that the page before names as next", check: shortText("cursor", maxCursor)},
	}
)

// placeParameter is a depot or a site that an answer is bound to.
func placeParameter(name, doc string) Parameter {
	return Parameter{Name: name, In: inQuery, Doc: doc, Example: "DE-01", Pattern: namePattern,
		check: func(v string) error { return domain.At(name, domain.SiteID(v).Validate()) }}
}

// patientsLeftOut is said of every answer that holds patients for some callers only.
const patientsLeftOut = "Patients are left out for callers who may not read clinical data there."

// shortText refuses an empty text, and one that is longer than anything that it could be.
func shortText(name string, most int) func(string) error {
	return func(value string) error {
		if value == "" || len(value) > most {
			return refuse.Malformed("malformed_parameter", "%s has %d characters", name, len(value)).At(name).Do("leave it out, or give one that an answer named")
		}
		return nil
	}
}

// texts are the values that a parameter may have, as they are written.
func texts[T ~string](values ...T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}

// sorting is the parameter that names one of a list's orders. The first is taken where none is named.
func sorting(orders []string, doc string) Parameter {
	return Parameter{Name: "sort", In: inQuery, Doc: doc + " " + orders[0] + " where none is named", Enum: orders}
}

// timeParameter bounds a list by a time.
func timeParameter(name, doc string) Parameter {
	return Parameter{Name: name, In: inQuery, Doc: doc, Example: "2026-03-01T00:00:00Z", check: func(value string) error {
		if t, err := time.Parse(time.RFC3339, value); err != nil || t.IsZero() {
			return refuse.Malformed("malformed_time", "%s is no time", name).At(name).Do("give one as of RFC 3339, such as 2026-03-01T00:00:00Z")
		}
		return nil
	}}
}

// dateParameter bounds a list by a day.
func dateParameter(name, doc string) Parameter {
	return Parameter{Name: name, In: inQuery, Doc: doc, Example: "2026-03-01", check: func(value string) error {
		return domain.At(name, domain.Date(value).Validate())
	}}
}

// positionParameter bounds a list by a log position.
func positionParameter(name, doc string) Parameter {
	return Parameter{Name: name, In: inQuery, Doc: doc, Example: "48210", check: func(value string) error {
		if n, err := strconv.ParseUint(value, 10, 63); err != nil || n == 0 {
			return refuse.Malformed("malformed_position", "%s is not a log position", name).At(name).Do("give one that an answer named")
		}
		return nil
	}}
}

// time is the value of a parameter that a check has found to be a time, the zero time where it is not given.
func (q asked) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339, q.values[name])
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// position is the value of a parameter that a check has found to be a log position, 0 where it is not given.
func (q asked) position(name string) uint64 {
	n, err := strconv.ParseUint(q.values[name], 10, 63)
	if err != nil {
		return 0
	}
	return n
}

// page is the page that a query asks for.
func (q asked) page() readmodels.Page {
	return readmodels.Page{Limit: q.limit(), Cursor: q.values["cursor"], Sort: q.values["sort"]}
}

var (
	namePattern    = domain.NamePattern
	patientPattern = domain.PatientID("").Schema().Pattern
)
