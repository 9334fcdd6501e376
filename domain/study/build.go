package study

import (
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// Limits of a protocol version. People could not follow a protocol that comes close to them.
const (
	maxArms        = 20
	maxVisits      = 500
	maxForms       = 500
	maxInstruments = 50
	maxCriteria    = 200
	maxFactors     = 10
	maxLevels      = 50
	maxFormBytes   = 256 * 1024
	maxIDChars     = 50
	maxTitleChars  = 300
	// maxInstructionChars bounds what the protocol says to do in an emergency.
	maxInstructionChars = 2000
	// maxVisitDays limits planned days and allowances. It is a century, longer than any follow-up.
	maxVisitDays = 36_525
)

// Create creates a study. It refuses study_exists, malformed_id, value_missing and value_too_long.
func Create(s Study, cmd CreateStudy, _ domain.Call) ([]Event, error) {
	if s.Exists() {
		return nil, refuse.WrongState("study_exists", "the study %s exists already", cmd.Study).At("study").Do("choose another id")
	}
	err := domain.First(cmd.Study.Validate(), domain.Text("title", cmd.Title, 300), domain.Text("sponsor", cmd.Sponsor, 200),
		domain.OptionalText("phase", cmd.Phase, 20))
	if err != nil {
		return nil, err
	}
	return []Event{Created{Study: cmd.Study, Title: cmd.Title, Sponsor: cmd.Sponsor, Phase: cmd.Phase}}, nil
}

// Publish publishes a protocol version. A first version is in force everywhere, unless it asks for the approval of each site. An
// amendment is applied to each patient who is enrolled already. The version numbers have no gaps. An instrument whose content changed
// must have a higher version than before, even if a protocol version in between left it out, so that no recorded answer
// changes its meaning. A protocol contains an instrument, or refers by version and hash to one that was published on
// its own. published holds the states of the streams of all these instruments (see NamedInstruments).
//
// It refuses study_not_found, protocol_version_order, instrument_version_order, unknown_instrument_version,
// instrument_hash_mismatch, invalid_protocol, plan_reveals_arms, invalid_instrument, invalid_rule, value_missing, value_too_long,
// value_out_of_range, malformed_date and captured_in_future.
func Publish(s Study, published PublishedInstruments, cmd PublishProtocolVersion, call domain.Call) ([]Event, error) {
	if err := s.mustExist(cmd.Study); err != nil {
		return nil, err
	}
	if want := s.protocolVersion() + 1; cmd.Protocol.Version != want {
		return nil, refuse.WrongState("protocol_version_order", "protocol version %d cannot follow version %d", cmd.Protocol.Version, want-1).
			At("protocol.version").Do("publish it as the next version")
	}
	if err := cmd.Protocol.validate(); err != nil {
		return nil, err
	}
	if err := s.mayUse(&cmd.Protocol, published); err != nil {
		return nil, err
	}
	protocol, err := cmd.Protocol.rollout(s.Protocol, call)
	if err != nil {
		return nil, err
	}
	return []Event{ProtocolVersionPublished{Study: cmd.Study, Protocol: protocol, ByPatient: true}}, nil
}

func (s Study) protocolVersion() int {
	if s.Protocol == nil {
		return 0
	}
	return s.Protocol.Version
}

func (s Study) mustExist(id domain.StudyID) error {
	if !s.Exists() {
		return refuse.NotFound("study_not_found", "there is no study %s", id).At("study").Do("check the id, or create the study first")
	}
	return nil
}

func (p Protocol) validate() error {
	if err := domain.Text("protocol.consentVersion", p.ConsentVersion, 50); err != nil {
		return err
	}
	err := domain.First(atMost("arms", len(p.Arms), maxArms), atMost("visits", len(p.Visits), maxVisits),
		atMost("forms", len(p.Forms), maxForms), atMost("instruments", len(p.Instruments)+len(p.InstrumentReferences), maxInstruments))
	if err != nil {
		return err
	}
	if err := p.validateArmsAndForms(); err != nil {
		return err
	}
	if err := p.validateVisits(); err != nil {
		return err
	}
	if err := p.validateTreatment(); err != nil {
		return err
	}
	return p.validateInstruments()
}

func (p Protocol) validateTreatment() error {
	if err := atMost("criteria", len(p.Criteria), maxCriteria); err != nil {
		return err
	}
	if err := uniqueIDs("criteria", p.Criteria, func(c Criterion) (string, string) { return c.ID, c.Title }); err != nil {
		return err
	}
	if a := p.Alerts; a != nil {
		err := domain.First(domain.Between("protocol.alerts.reviewMinutes", a.ReviewMinutes, 1, 7*24*60),
			domain.Between("protocol.alerts.missedInARow", a.MissedInARow, 1, 100))
		if w := a.MissedWithin; w != nil {
			err = domain.First(err, domain.Between("protocol.alerts.missedWithin.missed", w.Missed, 1, 100),
				domain.Between("protocol.alerts.missedWithin.days", w.Days, 1, 366))
		}
		if err != nil {
			return err
		}
	}
	t := p.Treatment
	if t == nil {
		return nil
	}
	if err := domain.First(domain.Between("protocol.treatment.doNotDispenseDays", t.DoNotDispenseDays, 0, maxVisitDays),
		domain.OptionalText("protocol.treatment.inEmergency", t.InEmergency, maxInstructionChars), t.Unblinding().validate()); err != nil {
		return err
	}
	switch {
	case t.Randomised && len(p.Arms) < 2:
		return invalidProtocol("treatment", "patients are randomised among %d arms", len(p.Arms)).Do("give the protocol two arms or more")
	case t.Kits && !t.Randomised && len(p.Arms) != 1:
		return invalidProtocol("treatment", "there are kits, no randomisation, and %d arms", len(p.Arms)).
			Do("give the protocol the one arm that all patients are in")
	case t.ForcedAllocation && !(t.Randomised && t.Kits):
		return invalidProtocol("treatment", "an allocation can only be forced where patients are randomised and get kits").
			Do("leave forcedAllocation out")
	case t.GreenLights && !t.Kits:
		return invalidProtocol("treatment", "kits need a green light, and there are none").Do("set kits, or leave greenLights out")
	case len(t.DispensingVisits) > 0 && !t.Kits:
		return invalidProtocol("treatment", "visits dispense kits, and there are none").Do("set kits, or leave dispensingVisits out")
	}
	for _, id := range t.DispensingVisits {
		if !slices.ContainsFunc(p.Visits, func(v Visit) bool { return v.ID == id }) {
			return invalidProtocol("treatment", "kits are dispensed at the visit %.80q, which the protocol does not have", id).
				Do("add the visit, or take it from the list")
		}
	}
	if err := domain.First(uniqueIDs("treatment.dispensingVisits", t.DispensingVisits, func(v string) (string, string) { return v, "" }),
		atMost("treatment.factors", len(t.Factors), maxFactors),
		uniqueIDs("treatment.factors", t.Factors, func(f Factor) (string, string) { return f.ID, f.Title })); err != nil {
		return err
	}
	for _, f := range t.Factors {
		if len(f.Levels) == 0 || len(f.Levels) > maxLevels {
			return invalidProtocol("treatment.factors", "factor %s has %d levels", f.ID, len(f.Levels)).Do(fmt.Sprintf("use 1 to %d", maxLevels))
		}
		if err := uniqueIDs("treatment.factors.levels", f.Levels, func(l string) (string, string) { return l, "" }); err != nil {
			return err
		}
		if err := f.validateSource(); err != nil {
			return err
		}
	}
	return domain.First(p.validateStages(), p.validatePlan())
}

func (p Protocol) validateArmsAndForms() error {
	if err := uniqueIDs("arms", p.Arms, func(a Arm) (string, string) { return a.ID, a.Title }); err != nil {
		return err
	}
	for _, a := range p.Arms {
		if err := domain.SealedText("protocol.arms.id", a.ID, maxIDChars); err != nil {
			return err
		}
		if err := domain.First(domain.OptionalText("arms.dose", a.Dose, maxTitleChars),
			domain.OptionalText("arms.inEmergency", a.InEmergency, maxInstructionChars)); err != nil {
			return err
		}
	}
	if err := uniqueIDs("forms", p.Forms, func(f Form) (string, string) { return f.ID, f.Title }); err != nil {
		return err
	}
	for _, f := range p.Forms {
		if len(f.Definition) > maxFormBytes {
			return invalidProtocol("forms", "the definition of form %s has %d bytes", f.ID, len(f.Definition)).Do("stay within 256 KiB")
		}
	}
	return nil
}

func (p Protocol) validateVisits() error {
	if err := uniqueIDs("visits", p.Visits, func(v Visit) (string, string) { return v.ID, v.Title }); err != nil {
		return err
	}
	forms := map[string]bool{}
	for _, f := range p.Forms {
		forms[f.ID] = true
	}
	for _, v := range p.Visits {
		if v.DaysBefore < 0 || v.DaysAfter < 0 {
			return invalidProtocol("visits", "visit %s has a negative allowance of days", v.ID).Do("use 0 or more")
		}
		err := domain.First(domain.Between("protocol.visits.day", v.Day, -maxVisitDays, maxVisitDays),
			domain.Between("protocol.visits.daysBefore", v.DaysBefore, 0, maxVisitDays),
			domain.Between("protocol.visits.daysAfter", v.DaysAfter, 0, maxVisitDays))
		if err != nil {
			return err
		}
		if v.OutOfWindow != "" && v.OutOfWindow != FlagVisit && v.OutOfWindow != RefuseVisit {
			return invalidProtocol("visits", "visit %s is %.40q outside of its window", v.ID, string(v.OutOfWindow)).Do("use flag or refuse")
		}
		used := map[string]bool{}
		for _, f := range v.Forms {
			if !forms[f] {
				return invalidProtocol("visits", "visit %s uses the form %.80q, which the protocol does not have", v.ID, f).
					Do("add the form, or take it from the visit")
			}
			if used[f] {
				return invalidProtocol("visits", "visit %s uses the form %q twice", v.ID, f).Do("name every form once")
			}
			used[f] = true
		}
	}
	return nil
}

func atMost(list string, n, most int) error {
	if n > most {
		return invalidProtocol(list, "the protocol has %d %s", n, list).Do(fmt.Sprintf("use at most %d", most))
	}
	return nil
}

// uniqueIDs refuses ids that are missing, too long or used twice in a list of the protocol, and titles that are too
// long.
func uniqueIDs[T any](list string, all []T, of func(T) (id, title string)) error {
	field := "protocol." + list
	seen := map[string]bool{}
	for _, one := range all {
		id, title := of(one)
		if err := domain.First(domain.Text(field+".id", id, maxIDChars), domain.OptionalText(field+".title", title, maxTitleChars)); err != nil {
			return err
		}
		if seen[id] {
			return invalidProtocol(list, "%q is twice among the protocol's %s", id, list).Do("give every one its own id")
		}
		seen[id] = true
	}
	return nil
}

func invalidProtocol(list, format string, args ...any) *refuse.Refusal {
	return refuse.Because("invalid_protocol", format, args...).At("protocol." + list)
}
