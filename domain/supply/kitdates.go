package supply

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// CorrectDispensingDate corrects the day on which a patient was given a kit.
type CorrectDispensingDate struct {
	Site domain.SiteID `json:"site" doc:"The site that gave it out"`
	domain.OfPatient
	Kit             KitNumber   `json:"kit" doc:"The kit"`
	From            domain.Date `json:"from" doc:"The day as it was recorded"`
	To              domain.Date `json:"to" doc:"The right day"`
	domain.Reasoned `doc:"Why the day was wrong"`
}

// CorrectReturnDate corrects the day on which a patient gave a kit back, or some of its doses; or the last day on which the patient
// used a kit that does not come back.
type CorrectReturnDate struct {
	Site domain.SiteID `json:"site" doc:"The site that gave it out"`
	domain.OfPatient
	Kit             KitNumber   `json:"kit" doc:"The kit"`
	From            domain.Date `json:"from" doc:"The day as it was recorded; all that came back on it came back on the right one"`
	To              domain.Date `json:"to" doc:"The right day"`
	domain.Reasoned `doc:"Why the day was wrong"`
}

func (c CorrectDispensingDate) site() domain.SiteID { return c.Site }
func (c CorrectReturnDate) site() domain.SiteID     { return c.Site }

// DispensingDateCorrected says on which day a patient was given a kit.
type DispensingDateCorrected struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	// Visit is the one that the kit was for; "" for the enrolment.
	Visit  string        `json:"visit,omitempty"`
	From   domain.Date   `json:"from"`
	To     domain.Date   `json:"to"`
	Reason personal.Text `json:"reason"`
}

// ReturnDateCorrected says on which day a kit, or some of its doses, came back, or was used last.
type ReturnDateCorrected struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	From    domain.Date      `json:"from"`
	To      domain.Date      `json:"to"`
	Reason  personal.Text    `json:"reason"`
	// BackOn is the last day on which some of it came back, from now on; "" if none did. UsedUntil is the last day of all.
	BackOn    domain.Date `json:"backOn,omitempty"`
	UsedUntil domain.Date `json:"usedUntil"`
}

func (DispensingDateCorrected) stockEvent() {}
func (ReturnDateCorrected) stockEvent()     {}

// OfKits implements OfKits.
func (e DispensingDateCorrected) OfKits() (domain.StudyID, []KitNumber) {
	return e.Study, []KitNumber{e.Kit}
}

// OfKits implements OfKits.
func (e ReturnDateCorrected) OfKits() (domain.StudyID, []KitNumber) {
	return e.Study, []KitNumber{e.Kit}
}

// Changed implements domain.Changing.
func (e DispensingDateCorrected) Changed() []domain.ChangedValue {
	return domain.ChangedText("dispensedOn."+string(e.Kit), e.From, e.To)
}

// Changed implements domain.Changing.
func (e ReturnDateCorrected) Changed() []domain.ChangedValue {
	return domain.ChangedText("returnedOn."+string(e.Kit), e.From, e.To)
}

// CorrectDispensing decides about CorrectDispensingDate, whatever has become of the kit and the patient since. The expiry of the kit is
// not looked at: whoever may try several days would learn it, and it may tell an arm. It refuses reason_required, value_too_long,
// malformed_date, captured_in_future, kit_not_at_location, kit_not_allocated_to_patient, kit_not_dispensed, other_value_recorded,
// nothing_to_correct, dispensed_before_receipt, dispensed_before_enrollment, and before_dispensing for a day after the kit came back, was
// used last, or was the subject of a recall's action.
func CorrectDispensing(s Stock, f Facts, cmd CorrectDispensingDate, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.To.NotAfterToday("to", call)); err != nil {
		return nil, err
	}
	k, err := s.dispensedTo(cmd.Kit, cmd.Patient, "correcting the day", KitStatuses...)
	if err != nil {
		return nil, err
	}
	if err := domain.First(domain.MayCorrect(k.GivenOn, cmd.From, cmd.To),
		cmd.To.NotBefore(k.ArrivedOn, "dispensed_before_receipt", "to", "giving the kit out", "its receipt")); err != nil {
		return nil, err
	}
	if !f.Study.GivesBeforeDraw(s.plannedFor(cmd.Patient, k.Visit)) {
		err := cmd.To.NotBefore(f.EnrolledOn, "dispensed_before_enrollment", "to", "giving the kit out", "the enrolment")
		if err != nil {
			return nil, err
		}
	}
	for _, later := range append([]domain.Date{k.LastUsedOn, k.FirstActedOn}, k.ReturnedOn...) {
		if later == "" {
			continue
		}
		if err := later.NotBefore(cmd.To, "before_dispensing", "to", "what happened to the kit at the patient's home",
			"giving it out"); err != nil {
			return nil, err
		}
	}
	return []StockEvent{DispensingDateCorrected{OfStock: OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}, Patient: cmd.Patient,
		Kit: cmd.Kit, Visit: k.Visit, From: cmd.From, To: cmd.To, Reason: cmd.Reason}}, nil
}

// CorrectReturn decides about CorrectReturnDate, whatever has become of the kit since. It refuses reason_required, value_too_long,
// malformed_date, captured_in_future, kit_not_at_location, kit_not_allocated_to_patient, kit_not_dispensed, kit_not_returned,
// other_value_recorded, nothing_to_correct and before_dispensing.
func CorrectReturn(s Stock, cmd CorrectReturnDate, call domain.Call) ([]StockEvent, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.To.NotAfterToday("to", call)); err != nil {
		return nil, err
	}
	k, err := s.dispensedTo(cmd.Kit, cmd.Patient, "correcting the day", KitStatuses...)
	if err != nil {
		return nil, err
	}
	recorded := k.usedUntil()
	if recorded == "" {
		return nil, refuse.WrongState("kit_not_returned", "nothing of kit %s has come back", cmd.Kit).At("kit").Do("record its return first")
	}
	if k.LastUsedOn == cmd.From || slices.Contains(k.ReturnedOn, cmd.From) {
		recorded = cmd.From
	}
	err = domain.First(domain.MayCorrect(recorded, cmd.From, cmd.To), domain.At("to", k.notBeforeGiven(cmd.To, "the return")))
	if err != nil {
		return nil, err
	}
	corrected := ReturnDateCorrected{OfStock: OfStock{cmd.Patient.Study(), LocationID(cmd.Site)}, Patient: cmd.Patient, Kit: cmd.Kit,
		From: cmd.From, To: cmd.To, Reason: cmd.Reason}
	after := k.backOnAnotherDay(corrected)
	corrected.BackOn, corrected.UsedUntil = after.backOn(), after.usedUntil()
	return []StockEvent{corrected}, nil
}

// backOn returns the last day on which some of the kit came back; "" if none did.
func (k Kit) backOn() (last domain.Date) {
	for _, on := range k.ReturnedOn {
		last = max(last, on)
	}
	return last
}

// usedUntil returns the last day on which some of the kit came back, or it was used; "" as long as neither is recorded.
func (k Kit) usedUntil() domain.Date { return max(k.backOn(), k.LastUsedOn) }

// returnedOn returns the kit after some of it came back on a day.
func (k Kit) returnedOn(on domain.Date) Kit {
	k.ReturnedOn = append(slices.Clip(k.ReturnedOn), on)
	return k
}

// backOnAnotherDay returns the kit after a correction of the day on which it came back, or was used last.
func (k Kit) backOnAnotherDay(e ReturnDateCorrected) Kit {
	k.ReturnedOn = slices.Clone(k.ReturnedOn)
	for i, on := range k.ReturnedOn {
		if on == e.From {
			k.ReturnedOn[i] = e.To
		}
	}
	if k.LastUsedOn == e.From {
		k.LastUsedOn = e.To
	}
	return k
}

// actedOn returns the kit after an action of a recall on a day.
func (k Kit) actedOn(on domain.Date) Kit {
	if k.FirstActedOn == "" || on < k.FirstActedOn {
		k.FirstActedOn = on
	}
	return k
}

// FirstGivenOn returns the earliest day on which this location gave a patient a kit that is not given before the enrolment; "" if it
// gave none.
func (s Stock) FirstGivenOn(p domain.PatientID, gives func(visit string) (beforeDraw bool)) (first domain.Date) {
	for _, n := range s.KitsOf(p) {
		k, _ := s.Kits.Get(n)
		if k.Dispensed && !gives(s.plannedFor(p, k.Visit)) && (first == "" || k.GivenOn < first) {
			first = k.GivenOn
		}
	}
	return first
}
