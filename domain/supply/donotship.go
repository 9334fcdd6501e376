package supply

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// SetDoNotShipDays says how long before its expiry a kit is not shipped to a site any more.
type SetDoNotShipDays struct {
	domain.InStudy
	Lot             string `json:"lot,omitempty" maxLength:"50" doc:"Only kits of this lot"`
	Country         string `json:"country,omitempty" maxLength:"3" doc:"Only shipments to the sites of this country"`
	Type            string `json:"type,omitempty" maxLength:"50" doc:"Only kits of this type. Where people send kits, those that look the same are stopped too"`
	Days            int    `json:"days" minimum:"0" maximum:"3650" doc:"A kit that expires within so many days is not shipped. 0 takes the limit away"`
	domain.Reasoned `doc:"Why"`
}

// DoNotShipDaysSet says how long before its expiry a kit is not shipped to a site any more. It replaces what was set before for the
// same lot and country.
type DoNotShipDaysSet struct {
	Study domain.StudyID `json:"study"`
	// Lot is empty for all lots, and Country for all countries.
	Lot     string        `json:"lot,omitempty"`
	Country string        `json:"country,omitempty"`
	Days    int           `json:"days"`
	Reason  personal.Text `json:"reason"`
}

// DoNotShipDaysOfTypeSet is DoNotShipDaysSet for the kits of one type, which is blinded like the arm.
type DoNotShipDaysOfTypeSet struct {
	Study   domain.StudyID      `json:"study"`
	Type    blind.Value[string] `json:"type"`
	Lot     string              `json:"lot,omitempty"`
	Country string              `json:"country,omitempty"`
	Days    int                 `json:"days"`
	Reason  personal.Text       `json:"reason"`
}

func (DoNotShipDaysSet) supplyEvent()       {}
func (DoNotShipDaysOfTypeSet) supplyEvent() {}

// ReasonRevealsArm implements domain.ArmRevealing: the reason may name the type.
func (DoNotShipDaysOfTypeSet) ReasonRevealsArm() bool { return true }

// shipLimit says for which kits and shipments a number of do-not-ship days holds. What is empty does not narrow it.
type shipLimit struct {
	lot, country string
	kind         study.Kind
}

// holds says whether the limit is about kits of a lot that go to a country.
func (l shipLimit) holds(lot, country string) bool {
	return (l.lot == "" || l.lot == lot) && (l.country == "" || l.country == country)
}

// SetShipDays sets the do-not-ship days of a lot, a country or a type of kits, of what is all of these, or of the whole study. It refuses
// reason_required, value_too_long, value_out_of_range, lot_not_found, country_not_found, unknown_kit_type and days_unchanged.
func SetShipDays(s Supply, in study.Study, cmd SetDoNotShipDays, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), domain.OptionalText("lot", cmd.Lot, 50), domain.Between("days", cmd.Days, 0, 3650),
		studyMustExist(in, cmd.Study)); err != nil {
		return nil, err
	}
	if cmd.Lot != "" {
		if err := s.mustHaveLot(cmd.Lot); err != nil {
			return nil, err
		}
	}
	if cmd.Country != "" {
		if _, err := mustHaveSitesIn(in, cmd.Country); err != nil {
			return nil, err
		}
	}
	if err := mustHaveKitType(in, cmd.Type, "type"); cmd.Type != "" && err != nil {
		return nil, err
	}
	if s.shipDays[shipLimit{cmd.Lot, cmd.Country, study.Kind(cmd.Type)}] == cmd.Days {
		return nil, refuse.WrongState("days_unchanged", "the do-not-ship days are %d already", cmd.Days).At("days").Do("nothing is left to do")
	}
	if cmd.Type != "" {
		return []Event{DoNotShipDaysOfTypeSet{Study: cmd.Study, Type: blind.Of(cmd.Type), Lot: cmd.Lot, Country: cmd.Country, Days: cmd.Days,
			Reason: cmd.Reason}}, nil
	}
	return []Event{DoNotShipDaysSet{Study: cmd.Study, Lot: cmd.Lot, Country: cmd.Country, Days: cmd.Days, Reason: cmd.Reason}}, nil
}

// mustHaveKitType refuses a type that no version of the protocol has (code unknown_kit_type).
func mustHaveKitType(in study.Study, id, field string) error {
	if _, typed := in.TypeOf(id); !typed {
		return refuse.Because("unknown_kit_type", "the protocol has no such type of kits").At(field).
			Do("use the ids of the types in the dispensing plan")
	}
	return nil
}

// withShipDays returns the supply with other do-not-ship days.
func (s Supply) withShipDays(limit shipLimit, days int) Supply {
	all := map[shipLimit]int{}
	maps.Copy(all, s.shipDays)
	if all[limit] = days; days == 0 {
		delete(all, limit)
	}
	s.shipDays = all
	return s
}

// way is where a shipment goes. Do-not-ship days and labels are about shipments to sites; a depot has no country.
type way struct {
	toSite  bool
	country string
}

// wayTo returns the way to a location.
func (f Facts) wayTo(to LocationID) way {
	site, isSite := f.Study.Sites[domain.SiteID(to)]
	return way{toSite: isSite, country: site.Country}
}

// doNotShip returns how long before their expiry kits of a lot and kind do not go on a way any more. A kit that the receiver could not
// give out is never sent. Of several limits that hold, the longest counts.
func (s Supply) doNotShip(lot string, kind study.Kind, w way, keepDays int) int {
	return s.longest(lot, w, keepDays, func(of study.Kind) bool { return of == kind })
}

// longest returns the longest of the limits that hold for kits of a lot, and whose type counts.
func (s Supply) longest(lot string, w way, keepDays int, counts func(study.Kind) bool) int {
	longest := keepDays
	if !w.toSite {
		return longest
	}
	for limit, days := range s.shipDays {
		if limit.holds(lot, w.country) && (limit.kind == "" || counts(limit.kind)) {
			longest = max(longest, days)
		}
	}
	return longest
}

// doNotSend is doNotShip where people send kits: the days of a type count for all types that look like it. Otherwise what may be sent
// would tell which kits are of the type.
func (f Facts) doNotSend(lot string, kind study.Kind, w way, keepDays int) int {
	group, blinded := lookalikes(f.Study, kind)
	return f.Supply.longest(lot, w, keepDays, func(of study.Kind) bool {
		its, alike := lookalikes(f.Study, of)
		return of == kind || blinded && alike && its == group
	})
}

// sendable says whether people may send a kit from a depot on the day: not before its whole delivery may be used, and not in the
// last days before any kit of the delivery expires. So the answer is the same for all kits of a delivery, except those of a recalled
// lot. An earlier expiry of a lot that may be used for longer does not count once all kits of the lot that are here have new labels:
// who is blinded sees people put the labels on anyway. deliveries has the answers about deliveries that were asked for before.
func (s Stock) sendable(f Facts, n KitNumber, c Content, w way, on domain.Date, deliveries map[int]bool) bool {
	in, keepDays := f.Supply, keepDays(f.Study)
	near := func(b batch, expiry domain.Date) bool {
		left := expiry.DaysSince(on) // what has expired is taken out every day, and does not stop the others
		return left > 0 && left <= f.doNotSend(b.lot, b.kind, w, keepDays)
	}
	if !in.usable(n, c.Lot) || !in.decidedAll(n) || c.Expiry.DaysSince(on) <= f.doNotSend(c.Lot, c.kind(), w, keepDays) {
		return false
	}
	delivery, _ := in.numbers.Get(n)
	answer, asked := deliveries[delivery]
	if asked {
		return answer
	}
	answer = !slices.ContainsFunc(in.within[delivery].batches, func(b batch) bool {
		expiries := append([]domain.Date{b.expiry}, slices.DeleteFunc(slices.Clone(in.Lots[b.lot].Extensions),
			func(to domain.Date) bool { return to <= b.expiry })...)
		last := len(expiries) - 1
		return near(b, expiries[last]) || slices.ContainsFunc(expiries[:last], func(e domain.Date) bool {
			return near(b, e) && s.hasLabelled(in, delivery, b.lot, e)
		})
	})
	deliveries[delivery] = answer
	return answer
}

// hasLabelled says whether a kit of a delivery and lot is here whose label has an expiry. Its status does not count, so that nobody
// learns which kit it is by trying.
func (s Stock) hasLabelled(in Supply, delivery int, lot string, expiry domain.Date) bool {
	for n, k := range s.Kits.All() {
		if c, _ := s.contents.Get(n); k.Status != KitInTransit && c.Lot == lot && c.Expiry == expiry {
			if d, _ := in.numbers.Get(n); d == delivery {
				return true
			}
		}
	}
	return false
}

// toShip calls do with the kits of each shelf of a depot that may go to a site. A depot holds no kits for patients.
func (s Stock) toShip(in Supply, choice Choice, do func(domain.ArmID, kitSet)) error {
	if s.shelves.sealed {
		return ErrKeysMissing
	}
	w := way{toSite: true, country: choice.Country}
	for key, of := range s.shelves.byKey.All() {
		if key.expiry.DaysSince(choice.On) > in.doNotShip(key.lot, key.kind, w, choice.KeepDays) {
			do(key.kind, in.allowedIn(choice.Country, in.usableOf(of.free, key.lot)))
		}
	}
	return nil
}

// countShippable counts, for every arm, the kits of a depot that may go to a site.
func (s Stock) countShippable(in Supply, choice Choice) (map[domain.ArmID]int, error) {
	counts := map[domain.ArmID]int{}
	return counts, s.toShip(in, choice, func(arm domain.ArmID, kits kitSet) { counts[arm] += kits.Len() })
}

// shippable lists, for every arm, the kits of a depot that may go to a site, in no order.
func (s Stock) shippable(in Supply, choice Choice) (map[domain.ArmID][]KitNumber, error) {
	all := map[domain.ArmID][]KitNumber{}
	return all, s.toShip(in, choice, func(arm domain.ArmID, kits kitSet) {
		for n := range kits.All() {
			all[arm] = append(all[arm], n)
		}
	})
}
