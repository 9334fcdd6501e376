package projections

import (
	"strings"

	"casebook/domain/diary"
	"casebook/readmodels"
)

type compliance = readmodels.DiaryCompliance

// noRate sorts documents without a rate behind all others.
const noRate = 2

// DiaryCompliance makes a document for each patient, site and study with a diary.
var DiaryCompliance = New(readmodels.DiaryCompliances, func(at Envelope) []string {
	m := at.Metadata
	return []string{
		string(readmodels.OfPatient) + "/" + string(patientOf(at)),
		string(readmodels.OfSite) + "/" + string(m.Study) + "/" + string(m.Site),
		string(readmodels.OfStudy) + "/" + string(m.Study),
	}
},
	On(func(c *compliance, _ diary.InstrumentAssigned, at Envelope) {
		began := c.Level != ""
		about(c, at)
		if !began {
			c.Order = noRate
		}
	}),
	On(func(c *compliance, e diary.Submitted, at Envelope) {
		about(c, at)
		c.Answered(e.Late, e.AfterMissed)
		c.Order = *c.Rate
	}),
	On(func(c *compliance, _ diary.WindowMissed, at Envelope) {
		about(c, at)
		c.WasMissed()
		c.Order = *c.Rate
	}),
)

// about says what the document's figures are of, which its key tells.
func about(c *compliance, at Envelope) {
	level, _, _ := strings.Cut(c.ID, "/")
	c.Level, c.Study = readmodels.Level(level), at.Metadata.Study
	switch c.Level {
	case readmodels.OfPatient:
		c.Patient, c.Site = patientOf(at), at.Metadata.Site
	case readmodels.OfSite:
		c.Site = at.Metadata.Site
	case readmodels.OfStudy:
	}
}
