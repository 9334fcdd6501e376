package supply

import (
	"cmp"
	"slices"

	"casebook/domain"
	"casebook/domain/study"
)

// ShowExpiringKits shows which kits expire until a day, and what they hold. When kits expire is blinded, so that no view has it: the
// command shows it to its sender alone, and that somebody has looked is recorded.
type ShowExpiringKits struct {
	domain.InStudy
	Through  domain.Date `json:"through" doc:"Kits that expire until this day"`
	Location LocationID  `json:"location,omitempty" doc:"Only kits of this site or depot"`
}

// ExpiringKitsShown says that somebody was shown which kits expire until a day. It holds no kits.
type ExpiringKitsShown struct {
	Study   domain.StudyID `json:"study"`
	Through domain.Date    `json:"through"`
	// Location is empty for all locations.
	Location LocationID `json:"location,omitempty"`
}

func (ExpiringKitsShown) supplyEvent() {}

// ExpiringKit is a kit that expires, or has expired, and is neither with a patient nor gone.
type ExpiringKit struct {
	Kit      KitNumber   `json:"kit" doc:"The kit"`
	Location LocationID  `json:"location" doc:"Where it is; for a kit in transit, where it comes from"`
	Status   KitStatus   `json:"status" doc:"Its status"`
	Lot      string      `json:"lot" doc:"Its lot"`
	Kind     study.Kind  `json:"kind" doc:"Its type, or its arm where the protocol has no types"`
	Expiry   domain.Date `json:"expiry" doc:"The last day of its label"`
}

// Compare puts the kits in the order in which they expire.
func (k ExpiringKit) Compare(other ExpiringKit) int {
	return cmp.Or(cmp.Compare(k.Expiry, other.Expiry), cmp.Compare(k.Location, other.Location), cmp.Compare(k.Kit, other.Kit))
}

// ShowExpiring decides about ShowExpiringKits. It refuses study_not_found, malformed_date and location_not_found.
func ShowExpiring(s Supply, in study.Study, cmd ShowExpiringKits, _ domain.Call) ([]Event, error) {
	if err := domain.First(studyMustExist(in, cmd.Study), domain.At("through", cmd.Through.Validate())); err != nil {
		return nil, err
	}
	if cmd.Location != "" {
		if err := (Facts{Study: in, Supply: s}).mustHave(cmd.Location, "location", cmd.Study); err != nil {
			return nil, err
		}
	}
	return []Event{ExpiringKitsShown{Study: cmd.Study, Through: cmd.Through, Location: cmd.Location}}, nil
}

// Expiring returns the kits at the locations of a study that expire until a day, those that expire first in front. It returns
// ErrKeysMissing if their contents are sealed.
func Expiring(stocks map[LocationID]Stock, through domain.Date) (all []ExpiringKit, _ error) {
	kept := []KitStatus{KitAvailable, KitPacked, KitInTransit, KitIsAllocated, KitUnavailable, KitQuarantined, KitIsRecalled, KitExpired}
	for at, s := range stocks {
		for n, k := range s.Kits.All() {
			if !slices.Contains(kept, k.Status) || k.Status == KitInTransit && s.hasArrived(k.Shipment, stocks) {
				continue
			}
			c, known := s.contents.Get(n)
			if !known {
				return nil, ErrKeysMissing
			}
			if c.Expiry <= through {
				all = append(all, ExpiringKit{Kit: n, Location: at, Status: k.Status, Lot: c.Lot, Kind: c.kind(), Expiry: c.Expiry})
			}
		}
	}
	slices.SortFunc(all, ExpiringKit.Compare)
	return all, nil
}

// hasArrived says whether a shipment that was sent from here has ended, by the stock of its receiver.
func (s Stock) hasArrived(id ShipmentID, stocks map[LocationID]Stock) bool {
	sent, _ := s.Sent.Get(id)
	_, ended := stocks[sent.To].Arrived.Get(id)
	return ended
}
