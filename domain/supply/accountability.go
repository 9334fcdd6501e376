package supply

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// Quarantine puts kits into quarantine until somebody decides about them. It refuses reason_required, value_too_long,
// unknown_code, value_out_of_range, kit_not_at_location, kit_named_twice and kit_status.
func Quarantine(s Stock, cmd QuarantineKits, _ domain.Call) ([]StockEvent, error) {
	if cmd.Cause != CauseExcursion && cmd.Cause != CauseOther {
		return nil, refuse.Malformed("unknown_code", "%.40q is no cause of a quarantine", string(cmd.Cause)).
			At("cause").Do("use excursion or other")
	}
	if err := domain.First(domain.Reason(cmd.Reason), domain.Between("kits", len(cmd.Kits), 1, 1000),
		s.eachOnce("kits", "a quarantine", cmd.Kits, quarantinable)); err != nil {
		return nil, err
	}
	return s.quarantined(cmd.stock(), cmd.Kits, cmd.Cause, cmd.Reason), nil
}

// quarantinable says whether a patient could still get the kit. Used or expired kits that are packed to be sent back
// cannot go to anybody.
func quarantinable(k Kit) bool {
	return k.Status == KitAvailable || k.Status == KitIsAllocated || k.Status == KitPacked && k.Packed == KitAvailable
}

// quarantined puts the kits into quarantine. A held kit stays in its hold, because releasing the hold would show that
// the kit was held. The allocation skips a held kit that cannot be used.
func (s Stock) quarantined(at OfStock, kits []KitNumber, cause Cause, reason personal.Text) []StockEvent {
	e := KitsQuarantined{OfStock: at, Kits: slices.Sorted(slices.Values(kits)), Cause: cause, Reason: reason, Affected: s.slotsOf(kits)}
	e.Again = s.again(e)
	return []StockEvent{e}
}

// QuarantineKitsOfLot puts into quarantine all kits of a recalled lot that are in this stock and were not given out.
// The event names every patient who got a kit of the lot. It may be sent again: then it has an effect only if kits of
// the lot have arrived since.
func QuarantineKitsOfLot(s Stock, cmd QuarantineLot, _ domain.Call) ([]StockEvent, error) {
	kits, all := []KitNumber{}, []KitNumber{}
	var atHome []KitNumber
	for n, k := range s.Kits.All() {
		if !quarantinable(k) && k.Patient == "" {
			continue // no patient had it at this location, and none will get it
		}
		c, known := s.contents.Get(n)
		if !known {
			return nil, ErrKeysMissing
		}
		if c.Lot != cmd.Lot {
			continue
		}
		all = append(all, n)
		switch {
		case quarantinable(k):
			kits = append(kits, n)
		case k.Recalled:
		case k.Status == KitIsDispensed, k.Status == KitLostByPatient && k.NotReturned: // what never came back may still be at home
			atHome = append(atHome, n)
		}
	}
	affected := s.slotsOf(all)
	if len(kits) == 0 && len(atHome) == 0 && (len(affected) == 0 || s.Recalled[cmd.Lot]) {
		return nil, nil
	}
	slices.Sort(kits)
	slices.Sort(atHome)
	return []StockEvent{KitsQuarantined{OfStock: cmd.stock(), Kits: kits, Cause: CauseRecall, Reason: cmd.Reason, Lot: cmd.Lot,
		Affected: affected, AtHome: atHome, Holders: PatientsOf(s.slotsOf(atHome))}}, nil
}

// QuarantineRecalledLot decides about QuarantineLot. It has no effect where the recall was withdrawn meanwhile, so that it cannot set
// aside what may be used.
func QuarantineRecalledLot(s Stock, f Facts, cmd QuarantineLot, call domain.Call) ([]StockEvent, error) {
	if !f.Supply.Lots[cmd.Lot].Recalled {
		return nil, nil
	}
	return QuarantineKitsOfLot(s, cmd, call)
}

// EndRecallOfLot ends a recall that was withdrawn, for what patients have at home. It has no effect while the lot is recalled, so that
// it cannot end a later recall.
func EndRecallOfLot(s Stock, f Facts, cmd EndLotRecall, _ domain.Call) ([]StockEvent, error) {
	if f.Supply.Lots[cmd.Lot].Recalled {
		return nil, nil
	}
	var kits []KitNumber
	for n, k := range s.Kits.All() {
		if !k.Recalled {
			continue
		}
		c, known := s.contents.Get(n)
		if !known {
			return nil, ErrKeysMissing
		}
		if c.Lot == cmd.Lot {
			kits = append(kits, n)
		}
	}
	if len(kits) == 0 && !s.Recalled[cmd.Lot] {
		return nil, nil
	}
	slices.Sort(kits)
	ended := LotRecallEnded{OfStock: cmd.stock(), Lot: cmd.Lot, Reason: cmd.Reason, AtHome: kits, Holders: PatientsOf(s.slotsOf(kits))}
	ended.Affected = s.backBy(ended, kits)
	return []StockEvent{ended}, nil
}

// ReleaseFromQuarantine gives kits back the status that they had before. It refuses reason_required, value_too_long,
// value_out_of_range, kit_not_at_location, kit_named_twice, kit_status, lot_recalled and kit_replaced.
func ReleaseFromQuarantine(s Stock, f Facts, cmd ReleaseKits, _ domain.Call) ([]StockEvent, error) {
	if err := domain.First(domain.Reason(cmd.Reason), domain.Between("kits", len(cmd.Kits), 1, 1000),
		s.eachOnce("kits", "a release", cmd.Kits, func(k Kit) bool { return k.Status.InQuarantine() })); err != nil {
		return nil, err
	}
	for _, n := range cmd.Kits {
		k, _ := s.Kits.Get(n)
		c, known := s.contents.Get(n)
		switch {
		case !known:
			return nil, ErrKeysMissing
		case f.Supply.Lots[c.Lot].Recalled:
			return nil, refuse.WrongState("lot_recalled", "some of the kits are recalled").At("kits").
				Do("leave them in quarantine; an unblinded supply manager knows which they are")
		case k.Replaced || k.Wanted:
			return nil, refuse.WrongState("kit_replaced", "the patient of kit %s gets another one", n).At("kits").Do("have it destroyed")
		}
	}
	released := KitsReleased{OfStock: cmd.stock(), Kits: slices.Sorted(slices.Values(cmd.Kits)), Reason: cmd.Reason}
	released.Affected = s.backBy(released, cmd.Kits)
	return []StockEvent{released}, nil
}

// Expire takes expired kits out of stock. It may be sent at any time; without expired kits it has no effect. It refuses
// malformed_date.
func Expire(s Stock, cmd ExpireKits, _ domain.Call) ([]StockEvent, error) {
	if err := cmd.Through.Validate(); err != nil {
		return nil, domain.At("through", err)
	}
	var kits []KitNumber
	for n, k := range s.Kits.All() {
		if !quarantinable(k) && !k.Status.InQuarantine() {
			continue
		}
		c, known := s.contents.Get(n)
		if !known {
			return nil, ErrKeysMissing
		}
		if c.Expiry <= cmd.Through {
			kits = append(kits, n)
		}
	}
	if len(kits) == 0 {
		return nil, nil
	}
	slices.Sort(kits)
	return []StockEvent{KitsExpired{OfStock: cmd.stock(), Kits: kits, Through: cmd.Through, Affected: s.slotsOf(kits)}}, nil
}

// Destroy records that kits were destroyed. It refuses malformed_date, captured_in_future, value_missing,
// value_too_long, value_out_of_range, kit_not_at_location, kit_named_twice, kit_status, kit_not_reconciled,
// destruction_not_approved and witness_required.
func Destroy(s Stock, f Facts, cmd DestroyKits, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(cmd.On.NotAfterToday("on", call), domain.Text("certificate", cmd.Certificate, 200),
		domain.Between("kits", len(cmd.Kits), 1, 1000),
		s.eachOnce("kits", "destroying it", cmd.Kits, func(k Kit) bool {
			return k.Status == KitPendingDestruction || destroyable(k)
		}), s.destructionMustBeApproved(f, cmd, call)); err != nil {
		return nil, err
	}
	if err := s.mustBeReconciled(cmd.Kits); err != nil {
		return nil, err
	}
	return []StockEvent{KitsDestroyed{OfStock: cmd.stock(), Kits: slices.Sorted(slices.Values(cmd.Kits)), On: cmd.On,
		Certificate: cmd.Certificate, Witness: cmd.Witness}}, nil
}

// destroyable says whether nobody needs the kit any more.
func destroyable(k Kit) bool {
	return slices.Contains([]KitStatus{KitIsReturned, KitSentBack, KitUnavailable, KitExpired, KitDamaged, KitQuarantined, KitIsRecalled},
		k.Status)
}

// destructionMustBeApproved refuses a destruction at a site that was not approved (code destruction_not_approved), or that no second
// person of the site has seen (code witness_required): ICH E6(R3) 2.10, 3.15.3(c).
func (s Stock) destructionMustBeApproved(f Facts, cmd DestroyKits, call domain.Call) error {
	if _, depot := f.Supply.Depots[cmd.Location]; depot {
		return nil
	}
	for _, n := range cmd.Kits {
		if k, _ := s.Kits.Get(n); k.Status != KitPendingDestruction {
			return refuse.WrongState("destruction_not_approved", "nobody has allowed site %s to destroy kit %s", cmd.Location, n).At("kits").
				Do("ask a supply manager to approve it, or send the kit back")
		}
	}
	if cmd.Witness == "" || cmd.Witness == call.Actor || !f.WitnessAtSite {
		return refuse.Because("witness_required", "a second person of site %s has to see the destruction", cmd.Location).At("witness").
			Do("name another member of its staff")
	}
	return nil
}

// Approve lets a site destroy kits that nobody needs any more. It refuses reason_required, value_too_long, value_out_of_range,
// kit_not_at_location, kit_named_twice, kit_status and kit_not_reconciled.
func Approve(s Stock, cmd ApproveDestruction, _ domain.Call) ([]StockEvent, error) {
	if err := domain.First(domain.Reason(cmd.Reason), domain.Between("kits", len(cmd.Kits), 1, 1000),
		s.eachOnce("kits", "destroying it", cmd.Kits, destroyable), s.mustBeReconciled(cmd.Kits)); err != nil {
		return nil, err
	}
	return []StockEvent{DestructionApproved{OfStock: cmd.stock(), Kits: slices.Sorted(slices.Values(cmd.Kits)), Reason: cmd.Reason}}, nil
}

// mustBeReconciled refuses kits that patients had and that are not accounted for (code kit_not_reconciled).
func (s Stock) mustBeReconciled(kits []KitNumber) error {
	for _, n := range kits {
		if k, _ := s.Kits.Get(n); k.Dispensed && !k.Reconciled {
			return refuse.WrongState("kit_not_reconciled", "the doses of kit %s are not accounted for", n).At("kits").Do("reconcile it first")
		}
	}
	return nil
}

// RecordKitLoss records that a kit cannot be found. It refuses reason_required, value_too_long, kit_not_at_location and
// kit_status.
func RecordKitLoss(s Stock, cmd ReportKitLost, _ domain.Call) ([]StockEvent, error) {
	if err := domain.First(domain.Reason(cmd.Reason), s.eachOnce("kit", "reporting it lost", []KitNumber{cmd.Kit}, func(k Kit) bool {
		return k.Status != KitInTransit && k.Status != KitDestroyed && !k.Status.Lost()
	})); err != nil {
		return nil, err
	}
	lost := KitLost{OfStock: cmd.stock(), Kit: cmd.Kit, Affected: s.slotsOf([]KitNumber{cmd.Kit}), Reason: cmd.Reason}
	lost.Again = s.again(lost)
	return []StockEvent{lost}, nil
}
