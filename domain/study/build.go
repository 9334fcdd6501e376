package study

import (
	"bytes"
	"encoding/json"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
)

// Bounds of a protocol version. A definition that comes near them is no longer a protocol that people can follow.
const (
	maxArms        = 20
	maxVisits      = 500
	maxForms       = 500
	maxInstruments = 50
	maxFormBytes   = 256 * 1024
)

// Create begins a study. It refuses study_exists, and what is missing or too long.
func Create(s Study, cmd CreateStudy, _ domain.Call) ([]Event, error) {
	if s.Exists() {
		return nil, refuse.WrongState("study_exists", "the study %s exists already", cmd.Study).Do("choose another id")
	}
	err := domain.First(cmd.Study.Validate(), domain.Text("title", cmd.Title, 300), domain.Text("sponsor", cmd.Sponsor, 200),
		domain.OptionalText("phase", cmd.Phase, 20))
	if err != nil {
		return nil, err
	}
	return []Event{Created(cmd)}, nil
}

// Publish puts a protocol version in force. Versions follow one another without gap, and an instrument whose content
// changed has a higher version than before, also where a version of the protocol in between left it out, so that no
// recorded answer changes its meaning. It refuses study_not_found,
// protocol_version_order, instrument_version_order, invalid_protocol and invalid_instrument.
func Publish(s Study, cmd PublishProtocolVersion, _ domain.Call) ([]Event, error) {
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
	for i := range cmd.Protocol.Instruments {
		next := &cmd.Protocol.Instruments[i]
		before := s.published[next.ID]
		if before == nil || next.Version > before.Version {
			continue
		}
		same, err := sameContent(before, next)
		if err != nil {
			return nil, err
		}
		if !same {
			return nil, refuse.WrongState("instrument_version_order", "instrument %s changed but has version %d, after %d", next.ID, next.Version, before.Version).
				Do("give the changed instrument a higher version")
		}
	}
	return []Event{ProtocolVersionPublished(cmd)}, nil
}

// sameContent compares instruments as they are stored: an empty list and none are the same there.
func sameContent(a, b *instrument.Definition) (bool, error) {
	left, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	right, err := json.Marshal(b)
	return bytes.Equal(left, right), err
}

func (s Study) protocolVersion() int {
	if s.Protocol == nil {
		return 0
	}
	return s.Protocol.Version
}

func (s Study) mustExist(id domain.StudyID) error {
	if !s.Exists() {
		return refuse.NotFound("study_not_found", "there is no study %s", id).Do("check the id, or create the study first")
	}
	return nil
}

func (p Protocol) validate() error {
	if err := domain.Text("protocol.consentVersion", p.ConsentVersion, 50); err != nil {
		return err
	}
	if len(p.Arms) > maxArms || len(p.Visits) > maxVisits || len(p.Forms) > maxForms || len(p.Instruments) > maxInstruments {
		return refuse.Because("invalid_protocol", "the protocol has too many arms, visits, forms or instruments").
			Do("stay within 20 arms, 500 visits, 500 forms and 50 instruments")
	}
	forms, err := uniqueIDs("form", p.Forms, func(f Form) string { return f.ID })
	if err != nil {
		return err
	}
	if _, err := uniqueIDs("arm", p.Arms, func(a Arm) string { return a.ID }); err != nil {
		return err
	}
	if _, err := uniqueIDs("visit", p.Visits, func(v Visit) string { return v.ID }); err != nil {
		return err
	}
	if _, err := uniqueIDs("instrument", p.Instruments, func(d instrument.Definition) string { return string(d.ID) }); err != nil {
		return err
	}
	for _, f := range p.Forms {
		if len(f.Definition) > maxFormBytes {
			return refuse.Because("invalid_protocol", "the definition of form %s has %d bytes", f.ID, len(f.Definition)).Do("stay within 256 KiB")
		}
	}
	for _, v := range p.Visits {
		if v.DaysBefore < 0 || v.DaysAfter < 0 {
			return refuse.Because("invalid_protocol", "visit %s has a negative allowance of days", v.ID).Do("use 0 or more")
		}
		for _, f := range v.Forms {
			if !forms[f] {
				return refuse.Because("invalid_protocol", "visit %s uses the form %q, which the protocol does not have", v.ID, f).
					Do("add the form, or take it from the visit")
			}
		}
	}
	for i := range p.Instruments {
		if err := p.Instruments[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}

func uniqueIDs[T any](what string, all []T, idOf func(T) string) (map[string]bool, error) {
	seen := map[string]bool{}
	for _, one := range all {
		id := idOf(one)
		if err := domain.Text(what+" id", id, 50); err != nil {
			return nil, err
		}
		if seen[id] {
			return nil, refuse.Because("invalid_protocol", "the protocol has the %s %q twice", what, id).Do("give every one its own id")
		}
		seen[id] = true
	}
	return seen, nil
}
