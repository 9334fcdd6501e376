package supply

import (
	"cmp"
	"maps"
	"slices"

	"casebook/domain"
)

// Dosing is how a patient takes the study drug, as it follows from the kits that the patient got and brought back.
type Dosing struct {
	// Intervals are by the visit at which the patient got the kits, "" for the enrolment; at most MaxDosingIntervals.
	Intervals map[string]DosingInterval `json:"intervals,omitempty"`
	// Held are the times in which the dose was held, at most MaxDosingIntervals.
	Held []HeldDose `json:"held,omitempty"`
}

// MaxDosingIntervals bounds the intervals, and the times in which a dose was held; the newest are kept. A patient has about a dozen.
const MaxDosingIntervals = 200

// DosingInterval is the time in which a patient used the kits of a visit.
type DosingInterval struct {
	// From is the day on which the first kit was given out.
	From domain.Date `json:"from"`
	// DosesPerDay is 0 if the protocol does not say.
	DosesPerDay float64               `json:"dosesPerDay,omitempty"`
	Kits        map[KitNumber]UsedKit `json:"kits"`
}

// UsedKit is a kit of an interval.
type UsedKit struct {
	// Given is the day on which it was given out; "" for one that was given out before this was noted.
	Given domain.Date `json:"given,omitempty"`
	// Reconciled says that its doses are accounted for, and Used how many of them were taken.
	Reconciled bool `json:"reconciled,omitempty"`
	Used       int  `json:"used,omitempty"`
	// Back is the day until which it was used; "" as long as it has not come back.
	Back domain.Date `json:"back,omitempty"`
}

// HeldDose is a time in which a patient takes no study drug.
type HeldDose struct {
	// From is the first day without study drug, Until the first day with study drug again; "" while the dose is held.
	From  domain.Date `json:"from"`
	Until domain.Date `json:"until,omitempty"`
}

// DosingStep is something that changes what a patient has taken, or should have.
type DosingStep struct {
	What DosingStepKind `json:"what"`
	// On is the day that it is about, and Was the wrong one in its place.
	On  domain.Date `json:"on,omitempty"`
	Was domain.Date `json:"was,omitempty"`
	// Kit is the kit, given out by the site for the visit with the doses that are planned each day, and Used how many of its doses were
	// taken.
	Kit         KitNumber     `json:"kit,omitempty"`
	Visit       string        `json:"visit,omitempty"`
	Site        domain.SiteID `json:"site,omitempty"`
	DosesPerDay float64       `json:"dosesPerDay,omitempty"`
	Used        int           `json:"used,omitempty"`
}

// DosingStepKind is what a step is.
type DosingStepKind string

// The kinds of steps: a kit is given out, comes back in whole or in part or is lost, is counted, or is found again; the dose is held, and
// goes on. The days on which a kit was given out or came back are corrected.
const (
	KitGiven    DosingStepKind = "given"
	KitBack     DosingStepKind = "back"
	KitCounted  DosingStepKind = "counted"
	KitThere    DosingStepKind = "found"
	DoseHeld    DosingStepKind = "held"
	DoseResumed DosingStepKind = "resumed"
	GivenOnDay  DosingStepKind = "given_on_other_day"
	BackOnDay   DosingStepKind = "back_on_other_day"
)

// DosingStepOf returns the step that an event is, which was recorded on a day; false if it is none.
func DosingStepOf(e StockEvent, recordedOn domain.Date) (DosingStep, bool) {
	switch e := e.(type) {
	case KitDispensed:
		return DosingStep{What: KitGiven, Kit: e.Kit, Visit: e.Visit, On: e.On, Site: domain.SiteID(e.Location), DosesPerDay: e.DosesPerDay}, true
	case KitPartlyReturned:
		return DosingStep{What: KitBack, Kit: e.Kit, On: e.On}, true
	case KitReturned:
		return DosingStep{What: KitBack, Kit: e.Kit, On: e.On}, true
	case KitNotReturned:
		return DosingStep{What: KitBack, Kit: e.Kit, On: e.On}, true
	case KitLost:
		return DosingStep{What: KitBack, Kit: e.Kit, On: recordedOn}, true
	case KitReplacementAsked:
		return DosingStep{What: KitBack, Kit: e.Kit, On: recordedOn}, true
	case KitFound:
		return DosingStep{What: KitThere, Kit: e.Kit}, true
	case KitReconciled:
		return DosingStep{What: KitCounted, Kit: e.Kit, Used: e.Used}, true
	case KitRecounted:
		return DosingStep{What: KitCounted, Kit: e.Kit, Used: e.To.Used}, true
	case DispensingDateCorrected:
		return DosingStep{What: GivenOnDay, Kit: e.Kit, On: e.To, Was: e.From}, true
	case ReturnDateCorrected:
		return DosingStep{What: BackOnDay, Kit: e.Kit, On: e.UsedUntil, Was: e.From}, true
	}
	return DosingStep{}, false
}

// After returns the dosing after one more step.
func (d Dosing) After(s DosingStep) Dosing {
	switch s.What {
	case KitGiven:
		return d.given(s)
	case KitBack:
		return d.ofKit(s.Kit, func(k *UsedKit) { k.Back = max(k.Back, s.On) })
	case KitCounted:
		return d.ofKit(s.Kit, func(k *UsedKit) { k.Reconciled, k.Used = true, s.Used })
	case KitThere: // what was counted of it was wrong
		return d.ofKit(s.Kit, func(k *UsedKit) { *k = UsedKit{Given: k.Given} })
	case GivenOnDay:
		return d.givenOn(s)
	case BackOnDay:
		return d.ofKit(s.Kit, func(k *UsedKit) { k.Back = s.backOn(k.Back) })
	case DoseHeld:
		held := append(slices.Clone(d.Held), HeldDose{From: s.On})
		d.Held = held[max(0, len(held)-MaxDosingIntervals):]
	case DoseResumed:
		if last := len(d.Held) - 1; last >= 0 {
			d.Held = slices.Clone(d.Held)
			d.Held[last].Until = s.On
		}
	}
	return d
}

// given adds a kit that was given out.
func (d Dosing) given(s DosingStep) Dosing {
	in, begun := d.Intervals[s.Visit]
	if !begun {
		in.From = s.On
	}
	in.From, in.DosesPerDay = min(in.From, s.On), max(in.DosesPerDay, s.DosesPerDay)
	in = in.with(s.Kit, UsedKit{Given: s.On})
	d = d.with(s.Visit, in)
	if len(d.Intervals) > MaxDosingIntervals {
		delete(d.Intervals, d.Visits()[0])
	}
	return d
}

// givenOn corrects the day on which a kit was given out. The interval begins with the first of its kits.
func (d Dosing) givenOn(s DosingStep) Dosing {
	for visit, in := range d.Intervals {
		if _, has := in.Kits[s.Kit]; !has {
			continue
		}
		from := s.On
		for n, k := range in.Kits {
			if n != s.Kit {
				from = min(from, cmp.Or(k.Given, in.From))
			}
		}
		in.From = from
		d = d.with(visit, in)
	}
	return d.ofKit(s.Kit, func(k *UsedKit) { k.Given = s.On })
}

// backOn returns the day until which a kit was used, after a correction; back is the one before. A loss that was reported later stays the
// last day, and a kit that is at home again has none.
func (s DosingStep) backOn(back domain.Date) domain.Date {
	switch back {
	case "":
		return ""
	case s.Was:
		return s.On
	}
	return max(back, s.On)
}

func (d Dosing) ofKit(kit KitNumber, change func(*UsedKit)) Dosing {
	for visit, in := range d.Intervals {
		if k, has := in.Kits[kit]; has {
			change(&k)
			return d.with(visit, in.with(kit, k)) // a kit is given out for one visit
		}
	}
	return d
}

func (d Dosing) with(visit string, in DosingInterval) Dosing {
	d.Intervals = maps.Clone(d.Intervals)
	if d.Intervals == nil {
		d.Intervals = map[string]DosingInterval{}
	}
	d.Intervals[visit] = in
	return d
}

func (in DosingInterval) with(kit KitNumber, k UsedKit) DosingInterval {
	in.Kits = maps.Clone(in.Kits)
	if in.Kits == nil {
		in.Kits = map[KitNumber]UsedKit{}
	}
	in.Kits[kit] = k
	return in
}

// Visits returns the visits of the intervals, the earliest first.
func (d Dosing) Visits() []string {
	return slices.SortedFunc(maps.Keys(d.Intervals), func(a, b string) int {
		return cmp.Or(cmp.Compare(d.Intervals[a].From, d.Intervals[b].From), cmp.Compare(a, b))
	})
}

// Has says whether a kit was given to the patient.
func (d Dosing) Has(kit KitNumber) bool {
	for _, in := range d.Intervals {
		if _, has := in.Kits[kit]; has {
			return true
		}
	}
	return false
}

// IntervalDoses are the doses planned and taken in an interval.
type IntervalDoses struct {
	// Until is the day on which the last of the kits came back, or the last day on which it was used; "" as long as none has come back.
	Until domain.Date `json:"until,omitempty"`
	// Planned are those of the days from the first kit until then on which the dose was not held.
	Planned float64 `json:"planned,omitempty"`
	Taken   int     `json:"taken,omitempty"`
	// Known says that all kits are accounted for.
	Known bool `json:"known,omitempty"`
}

// Doses returns the doses of the interval that began with a visit.
func (d Dosing) Doses(visit string) IntervalDoses {
	in := d.Intervals[visit]
	doses := IntervalDoses{Known: true}
	for _, k := range in.Kits {
		doses.Until, doses.Taken = max(doses.Until, k.Back), doses.Taken+k.Used
		doses.Known = doses.Known && k.Reconciled
	}
	if doses.Until == "" {
		doses.Known = false
		return doses
	}
	doses.Planned = in.DosesPerDay * float64(d.days(in.From, doses.Until))
	return doses
}

// days returns on how many days from a day before another doses are planned.
func (d Dosing) days(from, until domain.Date) int {
	n := max(0, until.DaysSince(from))
	for _, h := range d.Held {
		end := until
		if h.Until != "" {
			end = min(until, h.Until)
		}
		n -= max(0, end.DaysSince(max(from, h.From)))
	}
	return max(0, n)
}
