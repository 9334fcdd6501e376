package codebreak

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"
)

// contents are the contents of all envelopes as the log says them so far. Patients who were not drawn have none.
type contents struct {
	studies  map[domain.StudyID]study.Study
	patients map[domain.PatientID]*ofPatient
	// changed are the patients whose envelopes have to be written again.
	changed map[domain.PatientID]bool
}

type ofPatient struct {
	Content
	// state says which version of the protocol the patient follows, and the dose.
	state patient.Patient
	drawn bool
	// levels are those of the draw, with later corrections.
	levels map[string]string
}

func newContents() *contents {
	return &contents{studies: map[domain.StudyID]study.Study{}, patients: map[domain.PatientID]*ofPatient{},
		changed: map[domain.PatientID]bool{}}
}

// follow takes an event over. Events of a patient change the patient's envelope even where they change nothing in it.
func (c *contents) follow(at eventlog.Recorded) {
	switch e := at.Event.(type) {
	case study.Event:
		c.ofStudy(at.Metadata.Study, e)
	case patient.Event:
		p := c.patient(at.Metadata.Patient)
		p.ofPatient(e)
	case randomisation.PatientRandomised:
		c.patient(e.Patient).randomised(e, at)
	case randomisation.StratumCorrected:
		c.patient(e.Patient).levels = e.Factors
	case supply.StockEvent:
		c.kits(e)
	}
}

// patient returns a patient, whose envelope has to be written again.
func (c *contents) patient(id domain.PatientID) *ofPatient {
	if c.patients[id] == nil {
		c.patients[id] = &ofPatient{Content: Content{Study: id.Study(), Patient: id}}
	}
	c.changed[id] = true
	return c.patients[id]
}

// ofStudy has all envelopes of a study written again with a new protocol: if only those were that it changes, the time of
// writing would tell who is in the arm that it changes.
func (c *contents) ofStudy(id domain.StudyID, e study.Event) {
	c.studies[id] = study.Decider.Evolve(c.studies[id], e)
	if _, is := e.(study.ProtocolVersionPublished); !is {
		return
	}
	for p, known := range c.patients {
		if known.drawn && known.Study == id {
			c.changed[p] = true
		}
	}
}

func (p *ofPatient) ofPatient(e patient.Event) {
	p.state = patient.Decider.Evolve(p.state, e)
	p.Treatment, p.PatientNumber = p.state.Treatment, p.state.PatientNumber
	if p.state.Site != "" { // otherwise it is that of the draw
		p.Site = p.state.Site
	}
}

// randomised notes the arm. It stays unknown where this program has no blinding keys, which Exporter does not allow.
func (p *ofPatient) randomised(e randomisation.PatientRandomised, at eventlog.Recorded) {
	arm, open := e.Arm.Open()
	if !open {
		return
	}
	p.Arm.ID, p.drawn, p.DrawnAt, p.levels = arm, true, at.Metadata.RecordedAt.UTC(), e.Factors
	if p.Site == "" {
		p.Site = e.Site
	}
}

func (c *contents) kits(e supply.StockEvent) {
	switch e := e.(type) {
	case supply.KitAllocated:
		p := c.patient(e.Patient)
		if e.Replaces != "" {
			p.kit(Kit{Kit: e.Replaces, Visit: e.Visit, Status: "replaced"})
		}
		p.kit(Kit{Kit: e.Kit, Visit: e.Visit, Status: "allocated"})
	case supply.KitDispensed:
		c.patient(e.Patient).kit(Kit{Kit: e.Kit, Visit: e.Visit, Status: "dispensed", On: e.On})
	case supply.KitReturned:
		c.patient(e.Patient).kit(Kit{Kit: e.Kit, Status: "returned", On: e.On})
	case supply.DispensingDateCorrected:
		c.patient(e.Patient).correct(e.Kit, e.From, e.To, "dispensed", "recalled")
	case supply.ReturnDateCorrected:
		c.patient(e.Patient).correct(e.Kit, e.From, e.To, "returned", "not_returned")
	case supply.KitPutBack:
		c.patient(e.Patient).kit(Kit{Kit: e.Kit, Visit: e.Visit, Status: "put_back"})
	case supply.KitReplacementAsked:
		c.patient(e.Patient).kit(Kit{Kit: e.Kit, Visit: e.Visit, Status: "replaced"})
	case supply.KitsSetAside:
		for _, k := range e.Kits {
			c.patient(e.Patient).kit(Kit{Kit: k, Status: "set_aside"})
		}
	case supply.KitLost:
		for _, slot := range e.Affected {
			c.patient(slot.Patient).kit(Kit{Kit: e.Kit, Visit: slot.Visit, Status: "lost"})
		}
	case supply.KitFound:
		c.become(e.Study, "found", e.Kit)
	case supply.KitNotReturned:
		c.patient(e.Patient).kit(Kit{Kit: e.Kit, Status: "not_returned", On: e.On})
	case supply.KitsQuarantined:
		c.become(e.Study, "recalled", e.AtHome...)
	case supply.LotRecallEnded:
		c.become(e.Study, "dispensed", e.AtHome...)
	}
}

// become gives kits of patients a status. Kits that no patient has had are in no envelope.
func (c *contents) become(in domain.StudyID, status string, kits ...supply.KitNumber) {
	if len(kits) == 0 {
		return
	}
	for id, p := range c.patients {
		if p.Study != in {
			continue
		}
		for i := range p.Kits {
			if slices.Contains(kits, p.Kits[i].Kit) {
				p.Kits[i].Status, c.changed[id] = status, true
			}
		}
	}
}

// kit notes what became of a kit.
func (p *ofPatient) kit(k Kit) {
	i := slices.IndexFunc(p.Kits, func(known Kit) bool { return known.Kit == k.Kit })
	if i < 0 {
		p.Kits = append(p.Kits, k)
		return
	}
	if k.Visit == "" {
		k.Visit = p.Kits[i].Visit
	}
	p.Kits[i] = k
}

// correct changes the day of what a kit is, if it is one of these and the day is the one that is corrected.
func (p *ofPatient) correct(n supply.KitNumber, from, to domain.Date, statuses ...string) {
	for i, k := range p.Kits {
		if k.Kit == n && k.On == from && slices.Contains(statuses, k.Status) {
			p.Kits[i].On = to
		}
	}
}

// takeChanged returns the drawn patients whose envelopes have to be written, by study, and forgets that they have to.
func (c *contents) takeChanged() map[domain.StudyID][]domain.PatientID {
	changed := map[domain.StudyID][]domain.PatientID{}
	for _, id := range slices.Sorted(maps.Keys(c.changed)) {
		if p := c.patients[id]; p.drawn {
			changed[p.Study] = append(changed[p.Study], id)
		}
	}
	clear(c.changed)
	return changed
}

// of returns the content of a patient's envelope, and all arms that could be in its place.
func (c *contents) of(id domain.PatientID) (Content, []Arm) {
	p, in := c.patients[id], c.studies[id.Study()]
	content := p.Content
	content.StudyTitle, content.SiteName = in.Title, in.Sites[content.Site].Name
	content.Kits = slices.Clone(content.Kits)
	content.Arm.Emergency = p.state.Emergency(in, content.Arm.ID, p.levels)
	var all []Arm
	for arm, of := range p.state.Emergencies(in, p.levels) {
		all = append(all, Arm{ID: arm, Emergency: of})
	}
	return content, all
}
