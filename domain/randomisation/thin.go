package randomisation

import (
	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/persistent"
	"casebook/domain/study"
)

type Event interface{ randomisationEvent() }

type PatientRandomised struct {
	Study   domain.StudyID            `json:"study"`
	Site    domain.SiteID             `json:"site"`
	Patient domain.PatientID          `json:"patient"`
	Number  int                       `json:"number"`
	Factors map[string]string         `json:"factors"`
	Arm     blind.Value[domain.ArmID] `json:"arm"`
}
type RandomisationRefused struct {
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	Patient domain.PatientID `json:"patient"`
	Code    string           `json:"code"`
	Reason  string           `json:"reason"`
}
type BlindBroken struct {
	Study   domain.StudyID   `json:"study"`
	Patient domain.PatientID `json:"patient"`
	Reason  string           `json:"reason"`
}

func (PatientRandomised) randomisationEvent()    {}
func (RandomisationRefused) randomisationEvent() {}
func (BlindBroken) randomisationEvent()          {}

type Randomisation struct {
	drawn persistent.Map[domain.PatientID, PatientRandomised]
}

var Decider = domain.Decider[Randomisation, Event]{Category: "randomisation", Evolve: func(r Randomisation, e Event) Randomisation {
	if e, ok := e.(PatientRandomised); ok {
		r.drawn = r.drawn.Set(e.Patient, e)
	}
	return r
}}

func (r Randomisation) ArmOf(p domain.PatientID) (blind.Value[domain.ArmID], bool) {
	d, ok := r.drawn.Get(p)
	return d.Arm, ok
}

type RandomisePatient struct {
	Study   domain.StudyID    `json:"study"`
	Site    domain.SiteID     `json:"site"`
	Patient domain.PatientID  `json:"patient"`
	Factors map[string]string `json:"factors,omitempty"`
}
type Facts struct {
	Study   study.Study
	InStock []domain.ArmID
}

func Randomise(r Randomisation, f Facts, cmd RandomisePatient, _ domain.Call) ([]Event, error) {
	if _, ok := r.drawn.Get(cmd.Patient); ok {
		return nil, nil
	}
	arm := f.Study.Protocol.Arms[r.drawn.Len()%len(f.Study.Protocol.Arms)].ID
	return []Event{PatientRandomised{Study: cmd.Study, Site: cmd.Site, Patient: cmd.Patient, Number: r.drawn.Len() + 1, Factors: cmd.Factors, Arm: blind.Of(domain.ArmID(arm))}}, nil
}
