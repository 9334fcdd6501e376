package security

import (
	"fmt"
	"time"

	"casebook/domain"
)

// About implements domain.Described.
func (e AccessRefused) About() string { return e.Action + ": " + e.Code }

// About implements domain.Described.
func (e ClockStepped) About() string {
	return e.Host + ": by " + e.To.Sub(e.From).Round(time.Second).String()
}

// Scope implements domain.Scoped: a refusal belongs to the study, site and patient of the refused request.
func (e AccessRefused) Scope() domain.Scope {
	return domain.Scope{Study: e.Study, Site: e.Site, Patient: e.Patient}
}

// ShownIn implements domain.ShownElsewhere: a refusal is shown in the scope of the refused request.
func (e AccessRefused) ShownIn(domain.Scope) []domain.Scope { return []domain.Scope{e.Scope()} }

// DoneBy implements domain.Attributed. The metadata only name the program, which records refusals for the refused
// users.
func (e AccessRefused) DoneBy() (actor domain.UserID, address string) { return e.Actor, e.Address }

// About implements domain.Described. It does not name the subjects: not everybody who sees the trail may know all of them.
func (e RefusalsRepeated) About() string {
	text := fmt.Sprintf("%s: %s, %d more times", e.Action, e.Code, e.Count)
	if e.Subjects < 2 {
		return text
	}
	least, plural := "", map[SubjectKind]string{AboutPatients: "patients", AboutSites: "sites"}[e.Kind]
	if e.AtLeast {
		least = "at least "
	}
	return fmt.Sprintf("%s, about %s%d different %s", text, least, e.Subjects, plural)
}

// Scope implements domain.Scoped: the refusals belong to the study of the refused requests.
func (e RefusalsRepeated) Scope() domain.Scope { return domain.Scope{Study: e.Study} }

// ShownIn implements domain.ShownElsewhere: the refusals are shown in the study of the refused requests.
func (e RefusalsRepeated) ShownIn(domain.Scope) []domain.Scope { return []domain.Scope{e.Scope()} }

// DoneBy implements domain.Attributed.
func (e RefusalsRepeated) DoneBy() (actor domain.UserID, address string) { return e.Actor, "" }
