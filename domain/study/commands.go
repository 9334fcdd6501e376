package study

import (
	"casebook/domain"
)

// CreateStudy creates a study.
type CreateStudy struct {
	domain.InStudy `doc:"Id of the new study"`
	Title          string `json:"title" minLength:"1" maxLength:"300" doc:"Full title"`
	Sponsor        string `json:"sponsor" minLength:"1" maxLength:"200" doc:"Who is responsible for the study"`
	Phase          string `json:"phase,omitempty" maxLength:"20" doc:"Clinical phase, such as II"`
}

// PublishProtocolVersion publishes the first version of the protocol, or an amendment.
type PublishProtocolVersion struct {
	domain.InStudy
	Protocol Protocol `json:"protocol" doc:"The whole version"`
}

// AddSite adds a site to a study.
type AddSite struct {
	domain.AtSite `doc:"Id of the site within the study"`
	Name          string `json:"name" minLength:"1" maxLength:"200" doc:"Name of the hospital or practice"`
	Country       string `json:"country" minLength:"2" maxLength:"3" doc:"ISO 3166 code"`
	Zone          string `json:"zone" doc:"IANA time zone, such as Europe/Berlin"`
}

// ActivateSite allows a site to screen and enrol patients.
type ActivateSite struct {
	domain.AtSite
	On domain.Date `json:"on" doc:"Day of activation"`
}

// CloseSite ends a site's screening and enrolment.
type CloseSite struct {
	domain.AtSite
	On domain.Date `json:"on" doc:"Day of closing"`
	// Checklist is what the closer has seen in the checklist of the site.
	Checklist       []ChecklistItem `json:"checklist,omitempty" doc:"What is still open at the site, as the query SiteClosing shows it; each item once, or none"`
	domain.Reasoned `doc:"Why it is closed"`
}

// RequireSecondFactor says whether signing and unblinding in the study ask for a second factor.
type RequireSecondFactor struct {
	domain.InStudy
	Required        bool `json:"required" doc:"Whether a second factor is needed"`
	domain.Reasoned `doc:"Why"`
}
