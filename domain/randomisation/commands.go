package randomisation

import (
	"casebook/domain"
)

// UploadRandomisationList records a list that was made outside of Casebook. No patient is drawn from the list before it
// is activated.
type UploadRandomisationList struct {
	domain.InStudy
	Scheme string `json:"scheme" minLength:"1" maxLength:"50" doc:"Id of the new scheme, unique in the study"`
	CSV    string `json:"csv" minLength:"1" doc:"The list: a header with the id of every factor of the protocol's treatment and arm, then one row per entry, in the order in which the entries of a stratum are used"`
}

// GenerateRandomisationList makes a list of permuted blocks, stratified by all combinations of the factors' levels.
type GenerateRandomisationList struct {
	domain.InStudy
	Scheme string               `json:"scheme" minLength:"1" maxLength:"50" doc:"Id of the new scheme, unique in the study"`
	Ratio  map[domain.ArmID]int `json:"ratio" doc:"The share of every arm of the protocol, such as 2 and 1"`
	// BlockSizes are the sizes that a block may have; each is equally likely.
	BlockSizes []int `json:"blockSizes" minItems:"1" doc:"Sizes of the blocks, each a multiple of the ratio's sum; several sizes make the end of a block hard to guess"`
	// PerStratum is rounded up to whole blocks.
	PerStratum int `json:"perStratum" minimum:"1" doc:"How many entries each stratum has at least; the last block is always whole"`
	// Seed is 32 random bytes in hex. The command's declaration sets it before the decision.
	Seed string `json:"-"`
}

// DefineMinimisation defines a scheme that draws patients by minimisation (Pocock and Simon 1975).
type DefineMinimisation struct {
	domain.InStudy
	Scheme  string               `json:"scheme" minLength:"1" maxLength:"50" doc:"Id of the new scheme, unique in the study"`
	Ratio   map[domain.ArmID]int `json:"ratio" doc:"The share of every arm of the protocol, such as 2 and 1"`
	Weights map[string]float64   `json:"weights,omitempty" doc:"How much each factor counts, by its id; 1 where left out"`
	Metric  Metric               `json:"metric" enum:"range,variance,marginal_sum" doc:"How imbalance is measured"`
	P       float64              `json:"p" minimum:"0.5" maximum:"0.99" doc:"The probability with which the smallest arm is drawn when it is preferred"`
	// Seed is 32 random bytes in hex. The command's declaration sets it before the decision.
	Seed string `json:"-"`
}

// ActivateRandomisation makes a scheme the active one, by which patients are drawn.
type ActivateRandomisation struct {
	domain.InStudy
	Scheme string `json:"scheme" minLength:"1" doc:"The scheme"`
	SHA256 string `json:"sha256" minLength:"1" doc:"What the SHA-256 of the list, or for minimisation the commitment to its seed, is believed to be, in hex"`
}

// SetCohortCaps bounds how many patients of an arm, or of a level of a factor, may be drawn. It replaces all earlier
// caps.
type SetCohortCaps struct {
	domain.InStudy
	Caps            []CohortCap `json:"caps" doc:"All caps that hold from now on; none lifts them"`
	domain.Reasoned `doc:"Why the caps change"`
}

// RandomisePatient requests the draw of a patient. The enrolment process sends it. The answer is PatientRandomised or
// RandomisationRefused. The requests of a patient are numbered from 1 (Request): after one was refused, an earlier request
// that arrives late draws nothing.
type RandomisePatient struct {
	domain.InStudy
	Site domain.SiteID `json:"site" doc:"The patient's site"`
	domain.OfPatient
	Factors map[string]string `json:"factors,omitempty" doc:"The patient's level of every factor, by the factor's id"`
	Request int               `json:"ask,omitempty" doc:"Which request for the patient's draw this is, counted from 1"`
}

// CorrectStratum records the true levels of a patient who was drawn with wrong ones. The assignment stays.
type CorrectStratum struct {
	domain.InStudy
	domain.OfPatient
	Factors         map[string]string `json:"factors" doc:"The true level of every factor, by the factor's id"`
	domain.Reasoned `doc:"Why the levels were wrong"`
}

// RevealSeed makes the seed of a scheme public, so that anybody can repeat its draws. Everybody with the seed can find
// out every patient's arm.
type RevealSeed struct {
	domain.InStudy
	Scheme          string `json:"scheme" minLength:"1" doc:"The scheme"`
	domain.Reasoned `doc:"Why the seed is shown"`
}

// CohortCap bounds how many patients of one arm, or of one level of one factor, may be drawn.
type CohortCap struct {
	Arm    domain.ArmID `json:"arm,omitempty" doc:"The arm, for a cap of an arm"`
	Factor string       `json:"factor,omitempty" doc:"The factor, for a cap of a level"`
	Level  string       `json:"level,omitempty" doc:"The level, for a cap of a level"`
	Most   int          `json:"most" minimum:"0" doc:"How many patients may be drawn; 0 closes the cohort"`
}
