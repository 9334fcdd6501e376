package diary

import (
	"strings"

	"casebook/domain/diary"
	"casebook/projections"
	diaryviews "casebook/readmodels/diary"
)

type compliance = diaryviews.DiaryCompliance

// DiaryCompliance makes one document per patient, site and study that has diaries.
var DiaryCompliance = projections.New(diaryviews.DiaryCompliances, projections.KeysOf(func(_ any, at projections.Envelope) []string {
	m := at.Metadata
	return []string{
		diaryviews.ComplianceKey(diaryviews.OfPatient, string(projections.PatientOf(at))),
		diaryviews.ComplianceKey(diaryviews.OfSite, string(m.Study)+"/"+string(m.Site)),
		diaryviews.ComplianceKey(diaryviews.OfStudy, string(m.Study)),
	}
}),
	projections.On(func(c *compliance, _ diary.InstrumentAssigned, at projections.Envelope) {
		about(c, at)
		c.Ordered()
	}),
	projections.On(func(c *compliance, e diary.Submitted, at projections.Envelope) {
		about(c, at)
		c.Answered(e)
		c.Ordered()
	}),
	projections.On(func(c *compliance, e diary.Voided, at projections.Envelope) {
		about(c, at)
		c.Void(e)
		c.Ordered()
	}),
	projections.On(func(c *compliance, _ diary.Held, at projections.Envelope) {
		about(c, at)
		c.Held++
		c.Ordered()
	}),
	projections.On(func(c *compliance, _ diary.WindowMissed, at projections.Envelope) {
		about(c, at)
		c.WasMissed()
		c.Ordered()
	}),
)

// about sets the document's level, study, site and patient. The level follows from the document's key.
func about(c *compliance, at projections.Envelope) {
	level, _, _ := strings.Cut(c.ID, "/")
	c.Level, c.Study = diaryviews.Level(level), at.Metadata.Study
	switch c.Level {
	case diaryviews.OfPatient:
		c.Patient, c.Site = projections.PatientOf(at), at.Metadata.Site
	case diaryviews.OfSite:
		c.Site = at.Metadata.Site
	case diaryviews.OfStudy:
	}
}
