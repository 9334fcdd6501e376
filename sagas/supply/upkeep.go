package supply

import (
	"slices"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/supply"
	"casebook/sagas"
)

// upkeep is what the upkeep of a study's supply remembers.
type upkeep struct {
	Study  domain.StudyID      `json:"study,omitempty"`
	Depots []supply.LocationID `json:"depots,omitempty"`
}

// Upkeep is the process of a study's supply as a whole: registered kits go into their depot's stock, a recalled lot is set
// aside everywhere, a recall that was withdrawn is ended for what patients have at home, and every day what has expired is taken
// out of the depots.
var Upkeep = sagas.Define("supply-upkeep",
	sagas.Sends(supply.TakeInDelivery{}, supply.QuarantineLot{}, supply.EndLotRecall{}, supply.ExpireKits{}),
	sagas.On(inStudy[supply.DepotOpened], upkeep.depotOpened),
	sagas.On(inStudy[supply.KitsRegistered], upkeep.kitsRegistered),
	sagas.On(inStudy[supply.LotRecalled], upkeep.lotRecalled),
	sagas.On(inStudy[supply.LotRecallWithdrawn], upkeep.recallWithdrawn),
	sagas.OnTimer(upkeep.dayBegins),
).InGroup("supply-upkeep-2")

func (s upkeep) depotOpened(e supply.DepotOpened, o sagas.Occurrence) (sagas.Reaction[upkeep], bool) {
	s.Study, s.Depots = e.Study, append(slices.Clone(s.Depots), e.Depot)
	r := s.react()
	r.Set = []process.Timer{nextDay(o)}
	return r, true
}

func (s upkeep) kitsRegistered(e supply.KitsRegistered, _ sagas.Occurrence) (sagas.Reaction[upkeep], bool) {
	return s.react(supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: e.Study, Depot: e.Depot}, Delivery: e.Delivery}), true
}

func (s upkeep) lotRecalled(e supply.LotRecalled, _ sagas.Occurrence) (sagas.Reaction[upkeep], bool) {
	var quarantine []any
	for _, l := range e.Locations {
		quarantine = append(quarantine, supply.QuarantineLot{AtLocation: supply.AtLocation{Study: e.Study, Location: l}, Lot: e.Lot,
			Reasoned: domain.Because(e.Reason)})
	}
	return s.react(quarantine...), true
}

// recallWithdrawn ends the recall of what patients have at home. What is in quarantine, people release.
func (s upkeep) recallWithdrawn(e supply.LotRecallWithdrawn, _ sagas.Occurrence) (sagas.Reaction[upkeep], bool) {
	var end []any
	for _, l := range e.Locations {
		end = append(end, supply.EndLotRecall{AtLocation: supply.AtLocation{Study: e.Study, Location: l}, Lot: e.Lot,
			Reasoned: domain.Because(e.Reason)})
	}
	return s.react(end...), true
}

func (s upkeep) dayBegins(_ sagas.Fired, o sagas.Occurrence) (sagas.Reaction[upkeep], bool) {
	var expire []any
	for _, d := range s.Depots {
		expire = append(expire, supply.ExpireKits{AtLocation: supply.AtLocation{Study: s.Study, Location: d}, Through: domain.DateOf(o.At.UTC())})
	}
	r := s.react(expire...)
	r.Set = []process.Timer{nextDay(o)}
	return r, true
}

func (s upkeep) react(commands ...any) sagas.Reaction[upkeep] {
	return sagas.Reaction[upkeep]{State: s, Stage: "kept up", Commands: commands}
}
