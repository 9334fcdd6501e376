package supply

import (
	"maps"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// ApproveShippingToSite gives a site its green light.
type ApproveShippingToSite struct {
	domain.InStudy
	Site      domain.SiteID `json:"site" doc:"The site"`
	Reference string        `json:"reference" minLength:"1" maxLength:"200" doc:"Reference of the documents that the approval rests on"`
}

// WithdrawShippingToSite takes a site's green light back.
type WithdrawShippingToSite struct {
	domain.InStudy
	Site            domain.SiteID `json:"site" doc:"The site"`
	domain.Reasoned `doc:"Why it is sent no more kits"`
}

// ApproveShippingToCountry gives a country its green light. Each of its sites needs its own as well.
type ApproveShippingToCountry struct {
	domain.InStudy
	Country   string `json:"country" minLength:"2" maxLength:"3" doc:"The country, by the code that its sites have"`
	Reference string `json:"reference" minLength:"1" maxLength:"200" doc:"Reference of the documents that the approval rests on"`
}

// WithdrawShippingToCountry takes a country's green light back.
type WithdrawShippingToCountry struct {
	domain.InStudy
	Country         string `json:"country" minLength:"2" maxLength:"3" doc:"The country"`
	domain.Reasoned `doc:"Why its sites are sent no more kits"`
}

// ShippingApproved gives a site, or a country, its green light (ICH E6(R3) 3.15.3; EU GMP Annex 13, 43-44).
type ShippingApproved struct {
	Study   domain.StudyID `json:"study"`
	Site    domain.SiteID  `json:"site,omitempty"`
	Country string         `json:"country,omitempty"`
	// Sites are those whose resupply may go on: the site, or those of the country.
	Sites     []domain.SiteID `json:"sites"`
	Reference string          `json:"reference"`
}

// ShippingApprovalWithdrawn takes the green light of a site, or of a country, back. What was sent goes on its way.
type ShippingApprovalWithdrawn struct {
	Study   domain.StudyID `json:"study"`
	Site    domain.SiteID  `json:"site,omitempty"`
	Country string         `json:"country,omitempty"`
	Reason  personal.Text  `json:"reason"`
}

func (ShippingApproved) supplyEvent()          {}
func (ShippingApprovalWithdrawn) supplyEvent() {}

// GreenLights are the sites and countries that kits may be shipped to.
type GreenLights struct {
	Sites     map[domain.SiteID]bool
	Countries map[string]bool
	// Changes counts the approvals and withdrawals.
	Changes int
}

// after returns the green lights after a site, or a country, got or lost its own.
func (g GreenLights) after(site domain.SiteID, country string, approved bool) GreenLights {
	g.Changes++
	if site != "" {
		g.Sites = withValue(g.Sites, site, approved)
		return g
	}
	g.Countries = withValue(g.Countries, country, approved)
	return g
}

// withValue returns the set with or without a key.
func withValue[K comparable](set map[K]bool, key K, in bool) map[K]bool {
	next := map[K]bool{}
	maps.Copy(next, set)
	if next[key] = in; !in {
		delete(next, key)
	}
	return next
}

// ApproveSite gives a site its green light. It refuses value_missing, value_too_long, site_not_found and shipping_approved.
func ApproveSite(s Supply, in study.Study, cmd ApproveShippingToSite, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Text("reference", cmd.Reference, 200), mustHaveSite(in, cmd.Study, cmd.Site)); err != nil {
		return nil, err
	}
	if s.GreenLights.Sites[cmd.Site] {
		return nil, shippingApproved("site "+string(cmd.Site), "site")
	}
	return []Event{ShippingApproved{Study: cmd.Study, Site: cmd.Site, Sites: []domain.SiteID{cmd.Site}, Reference: cmd.Reference}}, nil
}

// WithdrawSite takes a site's green light back. It refuses reason_required, value_too_long, site_not_found and site_not_approved.
func WithdrawSite(s Supply, in study.Study, cmd WithdrawShippingToSite, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), mustHaveSite(in, cmd.Study, cmd.Site)); err != nil {
		return nil, err
	}
	if !s.GreenLights.Sites[cmd.Site] {
		return nil, refuse.WrongState("site_not_approved", "site %s has no green light", cmd.Site).At("site").Do("nothing is left to do")
	}
	return []Event{ShippingApprovalWithdrawn{Study: cmd.Study, Site: cmd.Site, Reason: cmd.Reason}}, nil
}

// ApproveCountry gives a country its green light. It refuses value_missing, value_too_long, country_not_found and shipping_approved.
func ApproveCountry(s Supply, in study.Study, cmd ApproveShippingToCountry, _ domain.Call) ([]Event, error) {
	sites, err := mustHaveSitesIn(in, cmd.Country)
	if err := domain.First(domain.Text("reference", cmd.Reference, 200), err); err != nil {
		return nil, err
	}
	if s.GreenLights.Countries[cmd.Country] {
		return nil, shippingApproved("country "+cmd.Country, "country")
	}
	return []Event{ShippingApproved{Study: cmd.Study, Country: cmd.Country, Sites: sites, Reference: cmd.Reference}}, nil
}

// WithdrawCountry takes a country's green light back. It refuses reason_required, value_too_long, country_not_found and
// country_not_approved.
func WithdrawCountry(s Supply, in study.Study, cmd WithdrawShippingToCountry, _ domain.Call) ([]Event, error) {
	_, err := mustHaveSitesIn(in, cmd.Country)
	if err := domain.First(domain.Reason(cmd.Reason), err); err != nil {
		return nil, err
	}
	if !s.GreenLights.Countries[cmd.Country] {
		return nil, refuse.WrongState("country_not_approved", "country %s has no green light", cmd.Country).At("country").
			Do("nothing is left to do")
	}
	return []Event{ShippingApprovalWithdrawn{Study: cmd.Study, Country: cmd.Country, Reason: cmd.Reason}}, nil
}

func shippingApproved(what, field string) error {
	return refuse.WrongState("shipping_approved", "%s has its green light already", what).At(field).Do("nothing is left to do")
}

// mustHaveSite refuses a site that the study does not have (code site_not_found).
func mustHaveSite(in study.Study, of domain.StudyID, site domain.SiteID) error {
	if _, exists := in.Sites[site]; !exists {
		return refuse.NotFound("site_not_found", "study %s has no site %.40s", of, site).At("site").Do("check the id")
	}
	return nil
}

// mustHaveSitesIn returns the study's sites in a country, in ascending order. It refuses a country without any (code
// country_not_found), which is a typing error.
func mustHaveSitesIn(in study.Study, country string) ([]domain.SiteID, error) {
	sites := in.SitesIn(country)
	if len(sites) == 0 {
		return nil, refuse.NotFound("country_not_found", "the study has no site in %.10q", country).At("country").Do("check the code")
	}
	return sites, nil
}

// mustBeApproved refuses a shipment to a site without green lights where the protocol asks for them (codes country_not_approved,
// site_not_approved). A depot needs none.
func (f Facts) mustBeApproved(to LocationID, field string) error {
	site, isSite := f.Study.Sites[domain.SiteID(to)]
	if !isSite || !f.Study.Treatment().GreenLights {
		return nil
	}
	remedy := "ask a qualified person for the green light"
	switch {
	case !f.Supply.GreenLights.Countries[site.Country]:
		return refuse.WrongState("country_not_approved", "kits may not be shipped to %s yet", site.Country).At(field).Do(remedy)
	case !f.Supply.GreenLights.Sites[domain.SiteID(to)]:
		return refuse.WrongState("site_not_approved", "kits may not be shipped to site %s yet", to).At(field).Do(remedy)
	}
	return nil
}

// Label are kits whose label allows some countries.
type Label struct {
	// Countries are in ascending order.
	Countries []string    `json:"countries"`
	Kits      []KitNumber `json:"kits"`
}

// readCountries reads the countries of a label: codes with spaces between them.
func readCountries(text string) ([]string, error) {
	codes := strings.Fields(text)
	for _, code := range codes {
		if err := study.Country(code); err != nil {
			return nil, err
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes), nil
}

// labelsOf groups kits by the countries of their labels. Kits whose label allows every country are in no group.
func labelsOf(countries map[KitNumber][]string) []Label {
	groups := map[string]*Label{}
	for _, n := range slices.Sorted(maps.Keys(countries)) {
		if len(countries[n]) == 0 {
			continue
		}
		key := strings.Join(countries[n], " ")
		if groups[key] == nil {
			groups[key] = &Label{Countries: countries[n]}
		}
		groups[key].Kits = append(groups[key].Kits, n)
	}
	var all []Label
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, *groups[key])
	}
	return all
}

// allows says whether the label of a kit allows a country. Labels without countries allow all.
func (s Supply) allows(kit KitNumber, country string) bool {
	label, limited := s.labels.Get(kit)
	return !limited || slices.Contains(label, country)
}

// allowedIn returns those of some kits whose labels allow a country.
func (s Supply) allowedIn(country string, kits kitSet) kitSet {
	if s.labels.Len() == 0 {
		return kits
	}
	some := kits
	for n := range kits.All() {
		if !s.allows(n, country) {
			some = some.Delete(n)
		}
	}
	return some
}

// labelsMustAllow refuses kits whose labels do not allow the country of a site (code label_not_for_country). The label is on the box,
// so that the refusal may name the kit.
func (f Facts) labelsMustAllow(to LocationID, kits []KitNumber, field string) error {
	site, isSite := f.Study.Sites[domain.SiteID(to)]
	if !isSite {
		return nil
	}
	for _, n := range kits {
		if !f.Supply.allows(n, site.Country) {
			return refuse.Because("label_not_for_country", "the label of kit %s does not allow %s", n, site.Country).At(field).
				Do("send kits that are labelled for the country")
		}
	}
	return nil
}
