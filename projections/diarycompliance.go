package projections

import (
	"strings"

	"casebook/domain/diary"
	"casebook/readmodels"
)

type compliance = readmodels.DiaryCompliance

// DiaryCompliance makes a document for each patient, site and study with a diary.
var DiaryCompliance = New(readmodels.DiaryCompliances, func(at Envelope) []string {
	m := at.Metadata
	return []string{
		readmodels.ComplianceKey(readmodels.OfPatient, string(patientOf(at))),
		readmodels.ComplianceKey(readmodels.OfSite, string(m.Study)+"/"+string(m.Site)),
		readmodels.ComplianceKey(readmodels.OfStudy, string(m.Study)),
	}
},
	On(func(c *compliance, _ diary.InstrumentAssigned, at Envelope) {
		about(c, at)
		c.Ordered()
	}),
	On(func(c *compliance, e diary.Submitted, at Envelope) {
		about(c, at)
		c.Answered(e.Late, e.AfterMissed)
		c.Ordered()
	}),
	On(func(c *compliance, _ diary.WindowMissed, at Envelope) {
		about(c, at)
		c.WasMissed()
		c.Ordered()
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
