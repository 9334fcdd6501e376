package study

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// A version of the protocol is published for the study, reaches a site with its approval, and reaches a patient when it is applied
// to the patient. Versions that were published before sites and patients had versions of their own were in force for everybody at
// once (ICH E6(R3) 2.8.2, 4.3.5).

// Reconsent says who has to sign the consent again when the version is applied to them, and until when.
type Reconsent struct {
	Who        ReconsentGroup `json:"who" doc:"Who has to sign again"`
	WithinDays int            `json:"withinDays" minimum:"0" maximum:"365" doc:"How many days after the version is applied to the patient"`
	Blocks     []Blocked      `json:"blocks,omitempty" doc:"What the patient does not get before; nothing when left out"`
}

// ReconsentGroup is the patients who have to sign the consent again.
type ReconsentGroup string

// Who has to sign the consent again.
const (
	// ReconsentEverybody are all patients who are enrolled and take part.
	ReconsentEverybody ReconsentGroup = "everybody"
	// ReconsentTreated are those of them whose treatment has not ended.
	ReconsentTreated ReconsentGroup = "treated"
)

// ReconsentGroups are all groups.
var ReconsentGroups = []ReconsentGroup{ReconsentEverybody, ReconsentTreated}

// Schema implements domain.HasSchema.
func (ReconsentGroup) Schema() domain.Schema {
	s := domain.OneOf(ReconsentGroups...)
	s.Description = "everybody: all enrolled patients who take part. treated: those of them whose treatment has not ended."
	return s
}

// Blocked is something that a patient does not get before the consent is signed again.
type Blocked string

// What can be blocked.
const (
	BlocksVisits     Blocked = "visits"
	BlocksDispensing Blocked = "dispensing"
)

// AllBlocked is everything that can be blocked.
var AllBlocked = []Blocked{BlocksVisits, BlocksDispensing}

// Schema implements domain.HasSchema.
func (Blocked) Schema() domain.Schema { return domain.OneOf(AllBlocked...) }

// Minors says who signs for a patient who is not of age (ICH E6(R3) 2.8.12).
type Minors struct {
	AgeOfMajority int `json:"ageOfMajority" minimum:"1" maximum:"30" doc:"A legal representative signs for patients below this age, years"`
	AssentFrom    int `json:"assentFrom,omitempty" minimum:"0" maximum:"29" doc:"Minors of this age or older give their assent; left out where nobody is asked"`
}

// ApproveProtocolAtSite records that an ethics committee has approved a version of the protocol for a site.
type ApproveProtocolAtSite struct {
	domain.AtSite
	Version    int         `json:"version" minimum:"1" doc:"The version of the protocol"`
	ApprovedOn domain.Date `json:"approvedOn" doc:"Day of the approval"`
	By         string      `json:"by" minLength:"1" maxLength:"200" doc:"The ethics committee"`
	Reference  string      `json:"reference,omitempty" maxLength:"100" doc:"The committee's reference"`
}

// WithdrawSiteApproval takes the approval of a version back, because it was recorded in error or the committee has withdrawn it.
type WithdrawSiteApproval struct {
	domain.AtSite
	Version         int `json:"version" minimum:"1" doc:"The version of the protocol"`
	domain.Reasoned `doc:"Why"`
}

// ProtocolApprovedAtSite says that a version of the protocol is approved for a site.
type ProtocolApprovedAtSite struct {
	Study      domain.StudyID `json:"study"`
	Site       domain.SiteID  `json:"site"`
	Version    int            `json:"version"`
	ApprovedOn domain.Date    `json:"approvedOn"`
	By         string         `json:"by"`
	Reference  string         `json:"reference,omitempty"`
}

// SiteApprovalWithdrawn says that a version of the protocol is not approved for a site any more. Patients to whom it was applied
// stay on it.
type SiteApprovalWithdrawn struct {
	Study   domain.StudyID `json:"study"`
	Site    domain.SiteID  `json:"site"`
	Version int            `json:"version"`
	Reason  personal.Text  `json:"reason"`
}

func (ProtocolApprovedAtSite) studyEvent() {}
func (SiteApprovalWithdrawn) studyEvent()  {}

// ApproveAtSite decides about ApproveProtocolAtSite. It refuses study_not_found, site_not_found, protocol_version_not_found,
// value_missing, value_too_long, malformed_date, captured_in_future, approved_before_publication and protocol_approved.
func ApproveAtSite(s Study, cmd ApproveProtocolAtSite, call domain.Call) ([]Event, error) {
	site, protocol, err := s.siteAndVersion(cmd.Study, cmd.Site, cmd.Version)
	if err != nil {
		return nil, err
	}
	err = domain.First(domain.Text("by", cmd.By, 200), domain.OptionalText("reference", cmd.Reference, 100),
		cmd.ApprovedOn.NotAfterToday("approvedOn", call),
		cmd.ApprovedOn.NotBefore(protocol.PublishedOn, "approved_before_publication", "approvedOn", "the approval", "the publication"))
	if err != nil {
		return nil, err
	}
	if on, approved := site.Approved[cmd.Version]; approved {
		return nil, refuse.WrongState("protocol_approved", "version %d is approved for site %s already, since %s", cmd.Version, cmd.Site, on).
			At("version").Do("withdraw the approval first if it was recorded in error")
	}
	return []Event{ProtocolApprovedAtSite{Study: cmd.Study, Site: cmd.Site, Version: cmd.Version, ApprovedOn: cmd.ApprovedOn, By: cmd.By,
		Reference: cmd.Reference}}, nil
}

// WithdrawApproval decides about WithdrawSiteApproval. It refuses study_not_found, site_not_found, protocol_version_not_found,
// reason_required, value_too_long and protocol_not_approved.
func WithdrawApproval(s Study, cmd WithdrawSiteApproval, _ domain.Call) ([]Event, error) {
	site, _, err := s.siteAndVersion(cmd.Study, cmd.Site, cmd.Version)
	if err != nil {
		return nil, err
	}
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	if _, approved := site.Approved[cmd.Version]; !approved {
		return nil, refuse.WrongState("protocol_not_approved", "no approval of version %d is recorded for site %s", cmd.Version, cmd.Site).
			At("version").Do("nothing is left to do")
	}
	return []Event{SiteApprovalWithdrawn{Study: cmd.Study, Site: cmd.Site, Version: cmd.Version, Reason: cmd.Reason}}, nil
}

func (s Study) siteAndVersion(study domain.StudyID, id domain.SiteID, version int) (Site, *Protocol, error) {
	site, err := s.site(study, id)
	if err != nil {
		return site, nil, err
	}
	protocol := s.Version(version)
	if protocol == nil {
		return site, nil, refuse.NotFound("protocol_version_not_found", "study %s has no version %d of the protocol", study, version).
			At("version").Do("publish it first")
	}
	return site, protocol, nil
}

// published is a version of the protocol with what is said about it in the log.
type published struct {
	*Protocol
	forEverybody bool
}

// withVersion returns the versions with one more, or with another of its number.
func withVersion(all []published, v published) []published {
	if n := v.Version; n > 0 && n <= len(all) {
		all = slices.Clone(all)
		all[n-1] = v
		return all
	}
	return append(slices.Clip(all), v)
}

// Version returns a version of the protocol, or nil if it is not published.
func (s Study) Version(n int) *Protocol {
	if n < 1 || n > len(s.versions) {
		return nil
	}
	return s.versions[n-1].Protocol
}

// Newest returns the number of the newest version, 0 for none.
func (s Study) Newest() int { return len(s.versions) }

// As returns the study with another version of the protocol in force; none for a version that is not published.
func (s Study) As(version int) Study {
	s.Protocol = s.Version(version)
	return s
}

// Following returns the version that somebody follows to whom a version was applied, 0 for none: an amendment of the time when
// versions were in force for everybody has replaced older ones.
func (s Study) Following(version int) int {
	for n := len(s.versions); n > version; n-- {
		if s.versions[n-1].forEverybody {
			return n
		}
	}
	return max(version, min(1, len(s.versions)))
}

// Reached returns since when a site may work by a version; "" for ever since. It says false if the version has not reached the site.
func (s Study) Reached(version int, site domain.SiteID) (since domain.Date, reached bool) {
	if s.Version(version) == nil {
		return "", false
	}
	v := s.versions[version-1]
	switch {
	case v.forEverybody:
		return "", true
	case v.SiteApproval:
		since, reached = s.Sites[site].Approved[version]
		return since, reached
	}
	return v.PublishedOn, true
}

// InForceAt returns the version by which a site works on a day, 0 for none. Without a day, it is the version of today.
func (s Study) InForceAt(site domain.SiteID, on domain.Date) int {
	for n := len(s.versions); n > 0; n-- {
		if since, reached := s.Reached(n, site); reached && (on == "" || since <= on) {
			return n
		}
	}
	return 0
}

// applyWithinDays is within how many days after a version has reached a site it is to be applied to the site's patients, where the
// version asks nobody to sign again.
const applyWithinDays = 14

// ToApply is a version of the protocol that is to be applied to a patient.
type ToApply struct {
	Version int
	// Since is the day on which the version has reached the patient's site, and By the last day on which it is applied in time: as many
	// days later as patients have for signing again, otherwise 14.
	Since, By domain.Date
}

// ToApply returns the version that is to be applied to an enrolled patient at a site who follows a version: the one in force there, if
// it is newer. It returns the zero value if there is none.
func (s Study) ToApply(site domain.SiteID, follows int) ToApply {
	v := s.InForceAt(site, "")
	if v <= s.Following(follows) {
		return ToApply{}
	}
	within := applyWithinDays
	if r := s.Version(v).Reconsent; r != nil {
		within = r.WithinDays
	}
	since, _ := s.Reached(v, site)
	return ToApply{Version: v, Since: since, By: since.AddDays(within)}
}

// MustBeApproved refuses a site that has no approved version of the protocol (code protocol_not_approved).
func (s Study) MustBeApproved(site domain.SiteID) error {
	if len(s.versions) == 0 || s.InForceAt(site, "") > 0 {
		return nil
	}
	return refuse.WrongState("protocol_not_approved", "no version of the protocol is approved for site %s", site).At("site").
		Do("record the approval of the ethics committee first (ICH E6(R3) 4.3.5)")
}

// HasDropped says whether a version before the one in force drew patients into an arm in a stage.
func (s Study) HasDropped(stage string, arm domain.ArmID) bool {
	return s.Protocol != nil && slices.ContainsFunc(s.versions, func(v published) bool {
		if v.Version >= s.Protocol.Version {
			return false
		}
		arms, _ := s.As(v.Version).ArmsOf(stage)
		return slices.Contains(arms, arm)
	})
}

// Randomises says whether patients are drawn by any version of the protocol.
func (s Study) Randomises() bool {
	return slices.ContainsFunc(s.versions, func(v published) bool { return v.Treatment != nil && v.Treatment.Randomised })
}

// AssignsByPhase says whether any version of the protocol assigns instruments to phases.
func (s Study) AssignsByPhase() bool {
	return slices.ContainsFunc(s.versions, func(v published) bool { return len(v.PhaseInstruments) > 0 })
}

// Arms returns the arms of all versions of the protocol, those of the newest first. Patients who were drawn into an arm that a
// later version has dropped are still supplied.
func (s Study) Arms() []Arm { return s.ofAllVersions(func(p *Protocol) []Arm { return p.Arms }) }

// Kinds returns the kinds of kits that patients of any version of the protocol can get: types where there are some, arms otherwise.
func (s Study) Kinds() []Arm { return s.ofAllVersions(func(p *Protocol) []Arm { return p.Kinds() }) }

// TypeOf returns a type of kits as the newest version of the protocol that has it says.
func (s Study) TypeOf(id string) (KitType, bool) {
	for _, v := range slices.Backward(s.versions) {
		if v.Treatment == nil {
			continue
		}
		if is, typed := v.Treatment.TypeOf(id); typed {
			return is, true
		}
	}
	return KitType{}, false
}

// ofAllVersions returns what all versions of the protocol have, each once, that of the newest version first.
func (s Study) ofAllVersions(of func(*Protocol) []Arm) (all []Arm) {
	for _, v := range slices.Backward(s.versions) {
		for _, one := range of(v.Protocol) {
			if !slices.ContainsFunc(all, func(a Arm) bool { return a.ID == one.ID }) {
				all = append(all, one)
			}
		}
	}
	return all
}

// Supplied returns the newest version of the protocol with the arms and types of kits of all versions, because patients who follow an
// older one stay supplied; nil without a protocol.
func (s Study) Supplied() *Protocol {
	if s.Protocol == nil {
		return nil
	}
	all := *s.Protocol
	all.Arms = s.Arms()
	if treatment := s.Treatment(); treatment.Plan != nil {
		plan := *treatment.Plan
		plan.Types = nil
		for _, kind := range s.Kinds() {
			if is, typed := s.TypeOf(kind.ID); typed {
				plan.Types = append(plan.Types, is)
			}
		}
		treatment.Plan, all.Treatment = &plan, &treatment
	}
	return &all
}

// Concerns says whether a patient has to sign again; treated says whether the patient's treatment has not ended.
func (r *Reconsent) Concerns(treated bool) bool {
	return r != nil && (r.Who == ReconsentEverybody || treated)
}

// rollout completes what a version says about its way to sites and patients. An amendment whose day of publication is left out is
// published today, by the clock that is furthest behind. It refuses malformed_date, captured_in_future, invalid_protocol and
// value_out_of_range.
func (p Protocol) rollout(before *Protocol, call domain.Call) (Protocol, error) {
	if p.PublishedOn == "" && before != nil {
		p.PublishedOn = domain.DateOf(call.At.In(time.FixedZone("UTC-12", -12*3600)))
	}
	if p.PublishedOn != "" {
		if err := p.PublishedOn.NotAfterToday("protocol.publishedOn", call); err != nil {
			return p, err
		}
	}
	if before != nil && p.PublishedOn < before.PublishedOn {
		return p, invalidProtocol("publishedOn", "version %d was published on %s, before version %d on %s", p.Version, p.PublishedOn,
			before.Version, before.PublishedOn).Do("check the day")
	}
	if m := p.Minors; m != nil {
		if err := domain.First(domain.Between("protocol.minors.ageOfMajority", m.AgeOfMajority, 1, 30),
			domain.Between("protocol.minors.assentFrom", m.AssentFrom, 0, m.AgeOfMajority-1)); err != nil {
			return p, err
		}
	}
	r := p.Reconsent
	switch {
	case r == nil:
		return p, nil
	case before == nil:
		return p, invalidProtocol("reconsent", "nobody has signed before the first version").Do("leave reconsent out")
	case before.ConsentVersion == p.ConsentVersion:
		return p, invalidProtocol("reconsent", "patients have signed consent version %s already", p.ConsentVersion).
			Do("give the form a new version, or leave reconsent out")
	case !slices.Contains(ReconsentGroups, r.Who):
		return p, invalidProtocol("reconsent", "%.40q is no group of patients", string(r.Who)).Do("use everybody or treated")
	}
	for i, b := range r.Blocks {
		if !slices.Contains(AllBlocked, b) || slices.Contains(r.Blocks[:i], b) {
			return p, invalidProtocol("reconsent", "%.40q cannot be blocked, or is named twice", string(b)).Do("use visits and dispensing")
		}
	}
	return p, domain.Between("protocol.reconsent.withinDays", r.WithinDays, 0, 365)
}

// withApproval returns the sites with another day of approval of a version; "" for none.
func withApproval(sites map[domain.SiteID]Site, id domain.SiteID, version int, on domain.Date) map[domain.SiteID]Site {
	site := sites[id]
	approved := map[int]domain.Date{}
	maps.Copy(approved, site.Approved)
	if approved[version] = on; on == "" {
		delete(approved, version)
	}
	site.Approved = approved
	return with(sites, id, site)
}

// consentVersions lists the versions of the protocol that have a consent form, for a sentence.
func (s Study) consentVersions(consent string) (all []int) {
	for _, v := range s.versions {
		if v.ConsentVersion == consent {
			all = append(all, v.Version)
		}
	}
	return all
}

// ConsentOn returns the version of the protocol under which a consent form could be signed at a site on a day: the form of the version
// that was in force there. On the day on which a version reaches the site, the form of the version before may have been signed too.
// It refuses consent_version_not_in_force, consent_before_publication and consent_before_approval.
func (s Study) ConsentOn(consent string, site domain.SiteID, on domain.Date) (version int, err error) {
	for _, n := range []int{s.InForceAt(site, on), s.InForceAt(site, on.AddDays(-1))} {
		if v := s.Version(n); v != nil && v.ConsentVersion == consent {
			return n, nil
		}
	}
	with := s.consentVersions(consent)
	if len(with) == 0 {
		return 0, refuse.Because("consent_version_not_in_force", "no version of the protocol has consent version %.80q", consent).
			At("consentVersion").Do("check the version on the form")
	}
	first := s.Version(with[0])
	if on < first.PublishedOn {
		return 0, refuse.Because("consent_before_publication", "consent version %s was published on %s, after %s", consent,
			first.PublishedOn, on).At("on").Do("check the day and the version on the form")
	}
	if !slices.ContainsFunc(with, func(n int) bool {
		since, reached := s.Reached(n, site)
		return reached && since <= on
	}) {
		return 0, refuse.Because("consent_before_approval", "consent version %s was not approved for site %s on %s", consent, site, on).
			At("on").Do("record the approval first, or check the day and the version on the form")
	}
	return 0, refuse.Because("consent_version_not_in_force", "consent version %s was not the one in force at site %s on %s", consent,
		site, on).At("consentVersion").Do(fmt.Sprintf("have the version signed that is in force, %s", s.consentInForce(site)))
}

func (s Study) consentInForce(site domain.SiteID) string {
	if v := s.Version(s.InForceAt(site, "")); v != nil {
		return v.ConsentVersion
	}
	return "when there is one"
}
