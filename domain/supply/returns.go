package supply

import (
	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// maxDoses bounds the doses of a kit.
const maxDoses = 10_000

// ReturnKit records that a patient gave a dispensed kit back, or some of its doses. It may be sent several times for a kit.
type ReturnKit struct {
	Site domain.SiteID `json:"site" doc:"The site that has the kit"`
	domain.OfPatient
	Kit KitNumber   `json:"kit" doc:"The kit"`
	On  domain.Date `json:"on" doc:"Day"`
	// Units are the doses that came back now; 0 if they were not counted.
	Units int `json:"units,omitempty" minimum:"0" maximum:"10000" doc:"Doses that came back now, where somebody has counted them"`
	// KeepsRest says that the patient has the kit still.
	KeepsRest bool `json:"keepsRest,omitempty" doc:"Whether the patient keeps the kit and what is left in it"`
}

// RecordKitNotReturned records that a patient will not bring a dispensed kit back. No other kit replaces it.
type RecordKitNotReturned struct {
	Site domain.SiteID `json:"site" doc:"The site that gave it out"`
	domain.OfPatient
	Kit             KitNumber   `json:"kit" doc:"The kit"`
	On              domain.Date `json:"on" doc:"Last day on which the patient used it"`
	domain.Reasoned `doc:"Why it does not come back"`
}

// RecountKit corrects the doses of a kit that were accounted for.
type RecountKit struct {
	Site domain.SiteID `json:"site" doc:"The site that has the kit"`
	domain.OfPatient
	Kit             KitNumber `json:"kit" doc:"The kit"`
	Returned        int       `json:"returned" minimum:"0" doc:"Doses that came back"`
	Used            int       `json:"used" minimum:"0" doc:"Doses that were taken"`
	Lost            int       `json:"lost" minimum:"0" doc:"Doses that nobody can account for"`
	domain.Reasoned `doc:"Why they were counted again"`
}

func (c ReturnKit) site() domain.SiteID            { return c.Site }
func (c RecordKitNotReturned) site() domain.SiteID { return c.Site }
func (c RecountKit) site() domain.SiteID           { return c.Site }

// KitReturned says that the patient gave a dispensed kit back.
type KitReturned struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	On      domain.Date      `json:"on"`
	// Units are the doses in it; 0 if they were not counted then.
	Units int `json:"units,omitempty"`
}

// KitPartlyReturned says that the patient gave back some doses of a kit: of one that the patient keeps, or that had come back before.
type KitPartlyReturned struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	On      domain.Date      `json:"on"`
	Units   int              `json:"units"`
}

// KitNotReturned says that a patient will not bring a kit back. On is the last day on which the patient used it.
type KitNotReturned struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	On      domain.Date      `json:"on"`
	Reason  personal.Text    `json:"reason"`
}

// Doses says what became of the doses of a kit.
type Doses struct {
	Returned int `json:"returned"`
	Used     int `json:"used"`
	Lost     int `json:"lost"`
}

// sum is how many doses they are together.
func (d Doses) sum() int { return d.Returned + d.Used + d.Lost }

// KitRecounted corrects what became of the doses of a kit.
type KitRecounted struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	From    Doses            `json:"from"`
	To      Doses            `json:"to"`
	Reason  personal.Text    `json:"reason"`
}

func (KitPartlyReturned) stockEvent() {}
func (KitNotReturned) stockEvent()    {}
func (KitRecounted) stockEvent()      {}

// OfKits implements OfKits.
func (e KitPartlyReturned) OfKits() (domain.StudyID, []KitNumber) {
	return e.Study, []KitNumber{e.Kit}
}

// OfKits implements OfKits.
func (e KitNotReturned) OfKits() (domain.StudyID, []KitNumber) { return e.Study, []KitNumber{e.Kit} }

// OfKits implements OfKits.
func (e KitRecounted) OfKits() (domain.StudyID, []KitNumber) { return e.Study, []KitNumber{e.Kit} }

// Return records that a patient gave a dispensed kit back, or some of its doses. What turns up later of a kit that came back may be
// recorded as well, as long as the kit is not accounted for. It refuses malformed_date, captured_in_future, value_out_of_range,
// value_missing, kit_not_at_location, kit_not_allocated_to_patient, kit_not_dispensed, before_dispensing, kit_status, kit_reconciled and
// too_many_doses.
func Return(s Stock, cmd ReturnKit, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(cmd.On.NotAfterToday("on", call), domain.Between("units", cmd.Units, 0, maxDoses)); err != nil {
		return nil, err
	}
	k, err := s.dispensedTo(cmd.Kit, cmd.Patient, "returning it", KitIsDispensed, KitIsReturned)
	if err != nil {
		return nil, err
	}
	if err := k.notBeforeGiven(cmd.On, "the return"); err != nil {
		return nil, err
	}
	again := k.Status == KitIsReturned
	switch {
	case again && k.Reconciled:
		return nil, refuse.WrongState("kit_reconciled", "kit %s is accounted for already", cmd.Kit).At("kit").Do("recount it")
	case again && cmd.Units == 0:
		return nil, refuse.WrongState("kit_status", "kit %s came back already", cmd.Kit).At("kit").Do("name the doses that came back now")
	case cmd.KeepsRest && cmd.Units == 0:
		return nil, refuse.Malformed("value_missing", "units is missing").At("units").Do("name the doses that came back")
	}
	if cmd.Units > 0 {
		c, known := s.contents.Get(cmd.Kit)
		switch {
		case !known:
			return nil, ErrKeysMissing
		case k.Back+cmd.Units > c.Units: // the number of doses in a kit may depend on its arm, so the refusal does not say it
			return nil, refuse.Because("too_many_doses", "more doses of kit %s came back than it held", cmd.Kit).At("units").Do("count again")
		}
	}
	at := OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}
	if again || cmd.KeepsRest {
		return []StockEvent{KitPartlyReturned{OfStock: at, Patient: cmd.Patient, Kit: cmd.Kit, On: cmd.On, Units: cmd.Units}}, nil
	}
	return []StockEvent{KitReturned{OfStock: at, Patient: cmd.Patient, Kit: cmd.Kit, On: cmd.On, Units: cmd.Units}}, nil
}

// NotReturned records that a patient will not bring a kit back. It refuses malformed_date, captured_in_future, reason_required,
// value_too_long, kit_not_at_location, kit_not_allocated_to_patient, kit_not_dispensed, before_dispensing and
// kit_status.
func NotReturned(s Stock, cmd RecordKitNotReturned, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(cmd.On.NotAfterToday("on", call), domain.Reason(cmd.Reason)); err != nil {
		return nil, err
	}
	k, err := s.dispensedTo(cmd.Kit, cmd.Patient, "giving it up", KitIsDispensed)
	if err != nil {
		return nil, err
	}
	if err := k.notBeforeGiven(cmd.On, "giving the kit up"); err != nil {
		return nil, err
	}
	return []StockEvent{KitNotReturned{OfStock: OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}, Patient: cmd.Patient, Kit: cmd.Kit,
		On: cmd.On, Reason: cmd.Reason}}, nil
}

// Reconcile accounts for the doses of a kit that came back, is broken or does not come back: returned, used and lost doses together
// must be the doses that it held (ICH E6(R3) 3.15.3(c); R36). If the doses were counted when they came back, another number needs a
// note. It refuses value_out_of_range, value_too_long, kit_not_at_location, kit_not_allocated_to_patient, kit_not_dispensed,
// kit_status, kit_reconciled, doses_do_not_add_up and count_differs.
func Reconcile(s Stock, cmd ReconcileKit, _ domain.Call) ([]StockEvent, error) {
	doses := Doses{cmd.Returned, cmd.Used, cmd.Lost}
	if err := domain.First(doses.validate(), domain.OptionalText("note", cmd.Note, 500)); err != nil {
		return nil, err
	}
	k, err := s.dispensedTo(cmd.Kit, cmd.Patient, "reconciling it", KitIsReturned, KitDamaged, KitLostByPatient)
	if err != nil {
		return nil, err
	}
	if k.Reconciled {
		return nil, refuse.WrongState("kit_reconciled", "kit %s is accounted for already", cmd.Kit).At("kit").Do("recount it if it is wrong")
	}
	if err := s.mustAddUp(cmd.Kit, doses); err != nil {
		return nil, err
	}
	if k.Back > 0 && k.Back != cmd.Returned && cmd.Note == "" {
		return nil, refuse.Because("count_differs", "%d doses of kit %s were counted when they came back, and %d are now", k.Back, cmd.Kit,
			cmd.Returned).At("note").Do("say why in the note, or count again")
	}
	at := OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}
	return []StockEvent{KitReconciled{OfStock: at, Patient: cmd.Patient, Kit: cmd.Kit,
		Returned: cmd.Returned, Used: cmd.Used, Lost: cmd.Lost, Note: cmd.Note}}, nil
}

// Recount corrects the doses of a kit that were accounted for. It refuses reason_required, value_too_long, value_out_of_range,
// kit_not_at_location, kit_not_allocated_to_patient, kit_not_dispensed, kit_status, kit_not_reconciled, doses_do_not_add_up and
// nothing_to_correct.
func Recount(s Stock, cmd RecountKit, _ domain.Call) ([]StockEvent, error) {
	doses := Doses{cmd.Returned, cmd.Used, cmd.Lost}
	if err := domain.First(domain.Reason(cmd.Reason), doses.validate()); err != nil {
		return nil, err
	}
	k, err := s.dispensedTo(cmd.Kit, cmd.Patient, "recounting it", KitIsReturned, KitDamaged, KitLostByPatient, KitPendingDestruction)
	if err != nil {
		return nil, err
	}
	if !k.Reconciled {
		return nil, refuse.WrongState("kit_not_reconciled", "the doses of kit %s are not accounted for", cmd.Kit).At("kit").
			Do("reconcile it first")
	}
	if err := s.mustAddUp(cmd.Kit, doses); err != nil {
		return nil, err
	}
	if k.Doses == doses {
		return nil, refuse.Because("nothing_to_correct", "these are the doses that are recorded").At("used").Do("nothing is left to do")
	}
	return []StockEvent{KitRecounted{OfStock: OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}, Patient: cmd.Patient, Kit: cmd.Kit,
		From: k.Doses, To: doses, Reason: cmd.Reason}}, nil
}

func (d Doses) validate() error {
	return domain.First(domain.Between("returned", d.Returned, 0, maxDoses), domain.Between("used", d.Used, 0, maxDoses),
		domain.Between("lost", d.Lost, 0, maxDoses))
}

// mustAddUp refuses doses that are not those that a kit held (code doses_do_not_add_up).
func (s Stock) mustAddUp(n KitNumber, doses Doses) error {
	c, known := s.contents.Get(n)
	if !known {
		return ErrKeysMissing
	}
	if doses.sum() != c.Units {
		// The number of doses in a kit may depend on its arm, so the refusal does not say it.
		return refuse.Because("doses_do_not_add_up", "returned, used and lost together are %d doses, which is not what kit %s held",
			doses.sum(), n).At("used").Do("count again")
	}
	return nil
}

// dispensedTo returns a kit that was given to the patient and is in one of the statuses (codes kit_not_at_location,
// kit_not_allocated_to_patient, kit_not_dispensed, kit_status).
func (s Stock) dispensedTo(n KitNumber, p domain.PatientID, what string, want ...KitStatus) (Kit, error) {
	k, here := s.Kits.Get(n)
	if here && k.Patient == p && !k.Dispensed {
		return k, refuse.WrongState("kit_not_dispensed", "kit %s was not given out; %s is not possible", n, what).At("kit").
			Do("record that it was dispensed, or that it was not")
	}
	return s.ofPatient(n, p, what, want...)
}
