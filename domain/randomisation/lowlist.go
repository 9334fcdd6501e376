package randomisation

import (
	"maps"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/personal"
)

// SetListAlert says when somebody is told that a list ends soon.
type SetListAlert struct {
	domain.InStudy
	Remaining       int `json:"remaining" minimum:"0" maximum:"1000" doc:"An alert is raised when a stratum has fewer unused entries than this; 0 asks for none before the end"`
	domain.Reasoned `doc:"Why"`
}

// ListAlertSet says when somebody is told that a list ends soon.
type ListAlertSet struct {
	Study     domain.StudyID `json:"study"`
	Remaining int            `json:"remaining"`
	Reason    personal.Text  `json:"reason"`
	// Was is what held before; 0 if nobody was told before the end.
	Was int `json:"was,omitempty"`
}

// Changed implements domain.Changing.
func (e ListAlertSet) Changed() []domain.ChangedValue {
	return domain.ChangedNumber("remaining", e.Was, e.Remaining)
}

// ListRanLow says how many entries of a stratum are left, where they are few or where there are enough again. The number
// counts the unused entries of all arms, closed ones too: it follows from the length of the list and the number of draws, and
// tells no arm.
type ListRanLow struct {
	Study  domain.StudyID `json:"study"`
	Stage  string         `json:"stage,omitempty"`
	Scheme string         `json:"scheme"`
	// Factors are the levels of the stratum.
	Factors   map[string]string `json:"factors,omitempty"`
	Remaining int               `json:"remaining"`
	// Exhausted says that a patient could not be drawn. Remaining is then 0, whatever is left: how many entries cannot be used
	// would tell how many of the others belong to an arm.
	Exhausted bool `json:"exhausted,omitempty"`
	// Few is false when the list was extended or replaced, and the entries are not few any more.
	Few bool `json:"few,omitempty"`
	// Tell says that somebody has to be told: the entries have just become few, or there is none for a patient.
	Tell bool `json:"tell,omitempty"`
}

// maxAlertBelow bounds the number of entries that are few.
const maxAlertBelow = 1000

// Watch decides about SetListAlert. It refuses reason_required, value_too_long and value_out_of_range.
func Watch(r Randomisation, cmd SetListAlert, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), domain.Between("remaining", cmd.Remaining, 0, maxAlertBelow)); err != nil {
		return nil, err
	}
	return []Event{ListAlertSet{Study: cmd.Study, Remaining: cmd.Remaining, Reason: cmd.Reason, Was: r.alertBelow}}, nil
}

// runsLow returns what is told about the patient's stratum after another one of its entries is used.
func (r Randomisation) runsLow(cmd RandomisePatient, c choice) []Event {
	if c.scheme.method != MethodList {
		return nil
	}
	left := c.stage.unused(c.scheme, c.stratum) - 1
	if left >= r.alertBelow {
		return nil
	}
	_, known := r.low.Get(stratumKey(cmd.Stage, c.scheme.id, cmd.Factors))
	return []Event{ListRanLow{Study: cmd.Study, Stage: cmd.Stage, Scheme: c.scheme.id, Factors: maps.Clone(cmd.Factors), Remaining: left,
		Few: true, Tell: !known || left == 0}}
}

// exhausted returns what is told when no entry can be used for a patient. It is told once until the list is extended.
func (r Randomisation) exhausted(cmd RandomisePatient, c choice) []Event {
	if told, known := r.low.Get(stratumKey(cmd.Stage, c.scheme.id, cmd.Factors)); known && told.Exhausted {
		return nil
	}
	return []Event{ListRanLow{Study: cmd.Study, Stage: cmd.Stage, Scheme: c.scheme.id, Factors: maps.Clone(cmd.Factors), Exhausted: true,
		Few: true, Tell: true}}
}

// withLow remembers a stratum whose entries are few, and whether it was told that there is none for a patient.
func (r Randomisation) withLow(e ListRanLow) Randomisation {
	if key := stratumKey(e.Stage, e.Scheme, e.Factors); e.Few {
		r.low = r.low.Set(key, &e)
	} else {
		r.low = r.low.Delete(key)
	}
	return r
}

// stratumKey names a stratum of a list.
func stratumKey(stage, scheme string, factors map[string]string) string {
	parts := []string{stage, scheme}
	for _, factor := range slices.Sorted(maps.Keys(factors)) {
		parts = append(parts, factor, factors[factor])
	}
	return strings.Join(parts, "\x1f")
}

// replenished returns what is told about the strata that had few entries before a list was extended.
func (r Randomisation) replenished(study domain.StudyID, name string) []Event {
	var events []Event
	for _, id := range slices.Sorted(maps.Keys(r.stages)) {
		if r.stages[id].active == name {
			events = append(events, r.lowStrata(study, id, func(left int) ListRanLow {
				return ListRanLow{Remaining: left, Few: left < max(r.alertBelow, 1)}
			})...)
		}
	}
	return events
}

// lowStrata returns what is told about each stratum of a stage that is known to have few entries.
func (r Randomisation) lowStrata(study domain.StudyID, id string, tell func(left int) ListRanLow) []Event {
	st := r.stages[id]
	s := r.schemes[st.active]
	if s == nil || s.method != MethodList {
		return nil
	}
	low := r.low.Plain()
	var events []Event
	for _, key := range slices.Sorted(maps.Keys(low)) {
		of := low[key]
		stratum, wrong := s.stratum(of.Factors)
		if of.Stage != id || of.Scheme != s.id || wrong != "" {
			continue
		}
		e := tell(st.unused(s, stratum))
		e.Study, e.Stage, e.Scheme, e.Factors = study, id, s.id, of.Factors
		events = append(events, e)
	}
	return events
}
