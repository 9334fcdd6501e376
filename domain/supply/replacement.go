package supply

import (
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/refuse"
)

// Replace gives a patient another kit in place of one: of the kits that can be given out, or as soon as there is one. In place of a kit
// that a patient brought along to another site, that site gives another one. It refuses
// unknown_code, reason_required, value_too_long, patient_ended, treatment_ended, patient_transferred, dose_held,
// reconsent_required, draw_not_confirmed, not_randomised, kit_not_at_location, kit_not_allocated_to_patient, kit_status,
// kit_replaced, kit_not_recalled and kit_not_dispensed.
func Replace(s Stock, f Facts, cmd ReplaceKit, call domain.Call) ([]StockEvent, error) {
	asIs, _ := s.Kits.Get(cmd.Kit)
	elsewhere := f.Withheld == PatientIsTransferred && asIs.Patient == cmd.Patient && asIs.Dispensed
	if elsewhere {
		f.Withheld = "" // the present site decides whether the patient gets a kit now
	} else {
		f = f.forSlot(asIs.Visit)
	}
	if err := domain.First(domain.Reason(cmd.Reason), cmd.Cause.validate(),
		f.mustBeTreated(cmd.Patient, s.plannedFor(cmd.Patient, asIs.Visit))); err != nil {
		return nil, err
	}
	k, err := s.ofPatient(cmd.Kit, cmd.Patient, "replacing it", KitIsAllocated, KitIsDispensed, KitLostByPatient, KitIsReturned)
	if err != nil && !(k.Patient == cmd.Patient && k.Wanted) { // who asks twice hears that it was asked for
		return nil, err
	}
	c, known := s.contents.Get(cmd.Kit)
	switch {
	case !known:
		return nil, ErrKeysMissing
	case k.Replaced || k.Wanted:
		return nil, refuse.WrongState("kit_replaced", "another kit was asked for in place of kit %s already", cmd.Kit).At("kit").
			Do("look which kit the patient has now")
	case cmd.Cause == KitWasRecalled && !f.Supply.Lots[c.Lot].Recalled:
		return nil, refuse.Because("kit_not_recalled", "kit %s is not recalled", cmd.Kit).At("cause").Do("name what happened to it")
	case cmd.Cause == LostByPatient && !k.Dispensed:
		return nil, refuse.WrongState("kit_not_dispensed", "kit %s was not given out", cmd.Kit).At("cause").Do("report it lost at the site")
	}
	at := OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}
	asked := KitReplacementAsked{OfStock: at, Patient: cmd.Patient, Kit: cmd.Kit, Visit: k.Visit, Cause: cmd.Cause, Reason: cmd.Reason}
	if elsewhere {
		asked.At = f.PatientsSite
		return []StockEvent{asked}, nil
	}
	if _, has := evolveStock(s, asked).placesOf(Slot{cmd.Patient, k.Visit}, f); has {
		return nil, refuse.WrongState("kit_replaced", "patient %s has newer kits in place of kit %s, such as those of a changed dose",
			cmd.Patient, cmd.Kit).At("kit").Do("give out the newer kits, or have them replaced")
	}
	asked.Again = s.again(asked)
	return s.allocatedAfter(asked, f, cmd.Patient, cmd.Site, k.Visit, cmd.Seed, call)
}

// AskUnscheduled allocates a kit for a patient between the visits of the protocol, at once or as soon as there is one. The one before it
// has to be given out or put back first: whoever could ask for one patient until there is none left would see who else gets none, and so
// who is of the same arm. It refuses reason_required, value_too_long, patient_ended, treatment_ended, patient_transferred, dose_held,
// reconsent_required, draw_not_confirmed, not_randomised and unscheduled_kit_waiting.
func AskUnscheduled(s Stock, f Facts, cmd DispenseUnscheduled, call domain.Call) ([]StockEvent, error) {
	n, _ := s.Unscheduled.Get(cmd.Patient)
	visit := fmt.Sprintf("%s%d", unscheduledVisit, n+1)
	f = f.forSlot(visit)
	if err := domain.First(domain.Reason(cmd.Reason), f.mustBeTreated(cmd.Patient, s.plannedFor(cmd.Patient, visit))); err != nil {
		return nil, err
	}
	before, _ := s.Allocated.Get(Slot{cmd.Patient, fmt.Sprintf("%s%d", unscheduledVisit, n)})
	for _, kit := range before {
		if k, _ := s.Kits.Get(kit); k.Status == KitIsAllocated {
			return nil, refuse.WrongState("unscheduled_kit_waiting", "kit %s is there for patient %s, and has not been given out", kit, cmd.Patient).
				At("patient").Do("give it out, or record that it was not dispensed")
		}
	}
	at := OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}
	asked := UnscheduledKitAsked{OfStock: at, Patient: cmd.Patient, Visit: visit, Reason: cmd.Reason}
	return s.allocatedAfter(asked, f, cmd.Patient, cmd.Site, visit, cmd.Seed, call)
}

// allocatedAfter returns an event, and the allocation that it leads to.
func (s Stock) allocatedAfter(asked StockEvent, f Facts, p domain.PatientID, at domain.SiteID, visit, seed string, call domain.Call,
) ([]StockEvent, error) {
	allocated, err := Allocate(evolveStock(s, asked), f,
		AllocateKit{Study: p.Study(), Site: at, OfPatient: domain.ForPatient(p), Visit: visit, Seed: seed}, call)
	if err != nil {
		return nil, err
	}
	return append([]StockEvent{asked}, allocated...), nil
}

// mustBeTreated refuses a patient who gets no kits now, or who has no arm (code not_randomised, and those of mustGetKits).
func (f Facts) mustBeTreated(p domain.PatientID, visit string) error {
	if err := f.mustGetKits(p, visit); err != nil {
		return err
	}
	if f.Arm == "" && !f.Study.GivesBeforeDraw(visit) {
		return refuse.WrongState("not_randomised", "patient %s has not been randomised", p).At("patient").Do("enrol the patient first")
	}
	return nil
}

func (c ReplacementCause) validate() error {
	if slices.Contains(ReplacementCauses, c) {
		return nil
	}
	return refuse.Malformed("unknown_code", "%.40q is no cause of a replacement", string(c)).At("cause").
		Do("use lost_by_patient, damaged, misallocated or recalled")
}

func (a RecallAction) validate() error {
	if slices.Contains(RecallActions, a) {
		return nil
	}
	return refuse.Malformed("unknown_code", "%.40q is no action of a recall", string(a)).At("action").
		Do("use told, not_reached, will_return, used_up or thrown_away")
}

// PutBack puts an allocated kit back that the patient was not given. It goes to nobody else: a kit that was allocated once shows what
// its patient gets. Where no version of the protocol draws patients, it shows nothing, and is available again. It refuses
// reason_required, value_too_long, kit_not_at_location, kit_not_allocated_to_patient and kit_status.
func PutBack(s Stock, f Facts, cmd RecordNotDispensed, _ domain.Call) ([]StockEvent, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	k, err := s.ofPatient(cmd.Kit, cmd.Patient, "putting it back", KitIsAllocated)
	if err != nil {
		return nil, err
	}
	return []StockEvent{KitPutBack{OfStock: OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}, Patient: cmd.Patient, Kit: cmd.Kit,
		Visit: k.Visit, Reason: cmd.Reason, Shelved: !f.Study.Randomises()}}, nil
}

// RecordAction records what was done about a recalled kit that a patient has at home. It may be recorded as often as something is
// done. It refuses unknown_code, malformed_date, captured_in_future, value_too_long, kit_not_at_location,
// kit_not_allocated_to_patient, kit_status, kit_not_recalled and before_dispensing.
func RecordAction(s Stock, cmd RecordRecallAction, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(cmd.Action.validate(), cmd.On.NotAfterToday("on", call), domain.OptionalText("note", cmd.Note,
		500)); err != nil {
		return nil, err
	}
	k, err := s.ofPatient(cmd.Kit, cmd.Patient, "an action of a recall", KitIsDispensed, KitLostByPatient, KitIsReturned)
	if err != nil {
		return nil, err
	}
	if !k.Recalled {
		return nil, refuse.Because("kit_not_recalled", "kit %s is not recalled", cmd.Kit).At("kit").Do("check the number on the label")
	}
	if err := k.notBeforeGiven(cmd.On, "the action"); err != nil {
		return nil, err
	}
	return []StockEvent{RecallActionRecorded{OfStock: OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}, Patient: cmd.Patient,
		Kit: cmd.Kit, Action: cmd.Action, On: cmd.On, Note: cmd.Note}}, nil
}

// RecordFound records that a lost kit was found. Its patient has it again, or somebody has to decide about it. If its lot was recalled
// meanwhile, the patient is told as in the recall. It refuses
// reason_required, value_too_long, kit_not_at_location and kit_status.
func RecordFound(s Stock, f Facts, cmd ReportKitFound, _ domain.Call) ([]StockEvent, error) {
	if err := domain.First(domain.Reason(cmd.Reason), s.eachOnce("kit", "reporting it found", []KitNumber{cmd.Kit},
		func(k Kit) bool { return k.Status.Lost() })); err != nil {
		return nil, err
	}
	c, known := s.contents.Get(cmd.Kit)
	if !known {
		return nil, refuse.WrongState("kit_status", "what kit %s holds was not recorded when its shipment was lost", cmd.Kit).At("kit").
			Do("register it again under another number, or have it destroyed")
	}
	kits := []KitNumber{cmd.Kit}
	found := KitFound{OfStock: cmd.stock(), Kit: cmd.Kit, Reason: cmd.Reason}
	lot := f.Supply.Lots[c.Lot]
	if k, _ := s.Kits.Get(cmd.Kit); k.found().Status == KitIsDispensed && !k.Recalled && lot.Recalled {
		return []StockEvent{found, KitsQuarantined{OfStock: cmd.stock(), Kits: []KitNumber{}, Cause: CauseRecall, Reason: lot.Reason, Lot: c.Lot,
			Affected: s.slotsOf(kits), AtHome: kits, Holders: PatientsOf(s.slotsOf(kits))}}, nil
	}
	found.Affected = s.backBy(found, kits)
	return []StockEvent{found}, nil
}

// Relabel records that kits have new labels with the later expiry of their lot. One that has expired before it got its label waits in
// quarantine: somebody has to decide whether it was kept well. It refuses value_out_of_range, kit_not_at_location,
// kit_named_twice, kit_status and expiry_not_extended.
func Relabel(s Stock, f Facts, cmd ConfirmRelabelling, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(domain.Between("kits", len(cmd.Kits), 1, 1000), s.eachOnce("kits", "new labels", cmd.Kits, func(k Kit) bool {
		return slices.Contains([]KitStatus{KitAvailable, KitIsAllocated, KitQuarantined, KitUnavailable, KitExpired}, k.Status) ||
			k.Status == KitPacked && k.Packed == KitAvailable
	})); err != nil {
		return nil, err
	}
	to, expired := Expiries{}, []KitNumber{}
	for _, n := range cmd.Kits {
		c, known := s.contents.Get(n)
		if !known {
			return nil, ErrKeysMissing
		}
		extended := f.Supply.Lots[c.Lot].Extended
		if extended <= c.Expiry {
			return nil, refuse.Because("expiry_not_extended", "kit %s may not be used for longer than its label says", n).At("kits").
				Do("extend the expiry of its lot first")
		}
		to[n] = extended
		if k, _ := s.Kits.Get(n); k.Status == KitExpired && extended > today(call) {
			expired = append(expired, n)
		}
	}
	events := []StockEvent{KitsRelabelled{OfStock: cmd.stock(), To: blind.Of(to)}}
	if len(expired) > 0 {
		slices.Sort(expired)
		events = append(events, KitsQuarantined{OfStock: cmd.stock(), Kits: expired, Cause: CauseOther,
			Reason: "new labels after the former expiry"})
	}
	return events, nil
}
