// Package randomisation holds a study's draws: the lists and the minimisation that patients are drawn by, who was drawn,
// and who learnt an arm. One stream per study decides it, so that two sites that ask at once are put in order by the log.
//
// What tells an arm, a list, a block size, a seed or how a draw came about is a blind.Value in every event. A program
// without the study's blinding keys can fold the stream and knows who was drawn; it can draw nobody, see ErrKeysMissing.
//
// Nothing is random in here: every draw follows from the stream and a seed that was fixed, and committed to, before the
// first one. Replay draws all of a stream again. Begin reading in draw.go.
package randomisation

import (
	"casebook/domain"
	"casebook/domain/blind"
)

// Event is what can happen to a study's draws.
type Event interface{ randomisationEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[ListUploaded]("ListUploaded").InNoView("lists are blinded"),
	domain.Stored[ListGenerated]("ListGenerated").InNoView("lists are blinded"),
	domain.Stored[MinimisationDefined]("MinimisationDefined").InNoView("how patients are drawn is blinded"),
	domain.Stored[SchemeActivated]("SchemeActivated").InNoView("decisions read it"),
	domain.Stored[CohortCapsSet]("CohortCapsSet").InNoView("decisions read it"),
	domain.Stored[PatientRandomised]("PatientRandomised").InNoView("the process monitor shows that it was drawn, and the arm is blinded"),
	domain.Stored[EntrySkipped]("EntrySkipped").NotInAuditIndex().InNoView("lists are blinded"),
	domain.Stored[RandomisationRefused]("RandomisationRefused").InNoView("the process monitor shows why"),
	domain.Stored[StratumCorrected]("StratumCorrected").InNoView("the audit trail shows it"),
	domain.Stored[BlindBroken]("BlindBroken").ForReaders().InNoView("the alert that it raises is shown"),
	domain.Stored[SeedRevealed]("SeedRevealed").InNoView("the audit trail shows it"),
}

// ListUploaded brings a list that was made elsewhere, or a part of one: an append to the log is bounded.
type ListUploaded struct {
	Study  domain.StudyID `json:"study"`
	Scheme string         `json:"scheme"`
	// Part counts from 1 to Parts. All parts are recorded at once.
	Part  int `json:"part"`
	Parts int `json:"parts"`
	// Rows is how many places the whole list has.
	Rows int `json:"rows"`
	// Factors are what the list is stratified by, in the order of its columns; in the first part only.
	Factors []Factor `json:"factors,omitempty"`
	// SHA256 is the hash of the list in its canonical form, in hex. It is left out of short lists, which could be
	// guessed from it.
	SHA256 string                `json:"sha256,omitempty"`
	List   blind.Value[ListPart] `json:"list"`
}

// ListGenerated brings a list of permuted blocks, or a part of one.
type ListGenerated struct {
	Study   domain.StudyID `json:"study"`
	Scheme  string         `json:"scheme"`
	Part    int            `json:"part"`
	Parts   int            `json:"parts"`
	Rows    int            `json:"rows"`
	Factors []Factor       `json:"factors,omitempty"`
	// SHA256 is the hash of the seed's bytes and the list in its canonical form, in hex.
	SHA256 string `json:"sha256"`
	// SeedCommitment is the SHA-256 of the seed's 32 bytes, in hex: it proves later that the seed was not chosen anew.
	SeedCommitment string                `json:"seedCommitment"`
	Seed           blind.Value[string]   `json:"seed"`
	Plan           blind.Value[Plan]     `json:"plan"`
	List           blind.Value[ListPart] `json:"list"`
}

// MinimisationDefined lets patients be drawn by minimisation.
type MinimisationDefined struct {
	Study   domain.StudyID `json:"study"`
	Scheme  string         `json:"scheme"`
	Factors []Factor       `json:"factors"`
	// SeedCommitment is the SHA-256 of the seed's 32 bytes, in hex.
	SeedCommitment string                    `json:"seedCommitment"`
	Seed           blind.Value[string]       `json:"seed"`
	Minimisation   blind.Value[Minimisation] `json:"minimisation"`
}

// SchemeActivated lets patients be drawn by a scheme; it takes the place of the one before.
type SchemeActivated struct {
	Study  domain.StudyID `json:"study"`
	Scheme string         `json:"scheme"`
}

// CohortCapsSet replaces all caps of cohorts.
type CohortCapsSet struct {
	Study domain.StudyID `json:"study"`
	// Levels are the caps of levels of factors, Arms those of arms.
	Levels []CohortCap              `json:"levels,omitempty"`
	Arms   blind.Value[[]CohortCap] `json:"arms"`
	Reason string                   `json:"reason"`
}

// PatientRandomised assigns a patient to an arm, for good.
type PatientRandomised struct {
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	Patient domain.PatientID `json:"patient"`
	Scheme  string           `json:"scheme"`
	// Number is the running number of the draw in the study, from 1.
	Number int `json:"number"`
	// Factors are the levels that the draw went by.
	Factors map[string]string         `json:"factors,omitempty"`
	Arm     blind.Value[domain.ArmID] `json:"arm"`
	Draw    blind.Value[Draw]         `json:"draw"`
}

// EntrySkipped says that a draw passed over a place of a list, because its arm was not in stock or had reached its cap.
// The place waits, and is used before any later one of its stratum as soon as its arm can be had.
type EntrySkipped struct {
	Study   domain.StudyID   `json:"study"`
	Patient domain.PatientID `json:"patient"`
	// Number is the number of the draw, which follows in the stream.
	Number  int                  `json:"number"`
	Skipped blind.Value[Skipped] `json:"skipped"`
}

// RandomisationRefused tells why a patient was not drawn. Neither code nor reason depends on what would have been drawn.
// Ask is the number of the ask that it answers.
type RandomisationRefused struct { //nolint:revive // an event's type is its name in the log
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	Patient domain.PatientID `json:"patient"`
	Code    string           `json:"code"`
	Reason  string           `json:"reason"`
	Ask     int              `json:"ask,omitempty"`
}

// StratumCorrected records the true levels of a patient who was drawn with others.
type StratumCorrected struct {
	Study   domain.StudyID   `json:"study"`
	Patient domain.PatientID `json:"patient"`
	// Was is what counted until now: the levels of the draw, or of an earlier correction.
	Was     map[string]string `json:"was"`
	Factors map[string]string `json:"factors"`
	Reason  string            `json:"reason"`
}

// BlindBroken records that the patient's arm was asked for, and why. It does not hold the arm.
type BlindBroken struct {
	Study   domain.StudyID   `json:"study"`
	Patient domain.PatientID `json:"patient"`
	Reason  string           `json:"reason"`
}

// SeedRevealed shows the seed of a scheme. Nobody is drawn by the scheme any more.
type SeedRevealed struct {
	Study  domain.StudyID `json:"study"`
	Scheme string         `json:"scheme"`
	// Seed is 32 bytes in hex.
	Seed   string `json:"seed"`
	Reason string `json:"reason"`
}

func (ListUploaded) randomisationEvent()         {}
func (ListGenerated) randomisationEvent()        {}
func (MinimisationDefined) randomisationEvent()  {}
func (SchemeActivated) randomisationEvent()      {}
func (CohortCapsSet) randomisationEvent()        {}
func (PatientRandomised) randomisationEvent()    {}
func (EntrySkipped) randomisationEvent()         {}
func (RandomisationRefused) randomisationEvent() {}
func (StratumCorrected) randomisationEvent()     {}
func (BlindBroken) randomisationEvent()          {}
func (SeedRevealed) randomisationEvent()         {}

// AboutPatient returns the patient that the event is about.
func (e PatientRandomised) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e RandomisationRefused) AboutPatient() domain.PatientID { return e.Patient }


// Factor is a factor of the protocol as it was when a scheme was made.
type Factor struct {
	ID     string   `json:"id"`
	Levels []string `json:"levels"`
}

// ListPart holds consecutive places of a list.
type ListPart struct {
	// SHA256 is the hash of the whole list, also where the event does not show it.
	SHA256 string `json:"sha256"`
	// Arms are what the rows' second numbers count through.
	Arms []domain.ArmID `json:"arms"`
	Rows []Row          `json:"rows"`
}

// Row is one place of a list: the number of its stratum and the number of its arm, both from 0. Strata are numbered as
// digits are: the last factor's level counts single, the one before it as many times as the last has levels, and so on.
type Row [2]int

// Stratum returns the number of the place's stratum.
func (r Row) Stratum() int { return r[0] }

// Arm returns the number of the place's arm.
func (r Row) Arm() int { return r[1] }

// Share is an arm with its part of the ratio.
type Share struct {
	Arm   domain.ArmID `json:"arm"`
	Ratio int          `json:"ratio"`
}

// Plan is what a list was generated from, beside the seed and the factors.
type Plan struct {
	Shares     []Share `json:"shares"`
	BlockSizes []int   `json:"blockSizes"`
	PerStratum int     `json:"perStratum"`
}

// Minimisation is what patients are drawn by, beside the seed and the factors.
type Minimisation struct {
	Shares []Share `json:"shares"`
	// Weights are those of the factors, in their order.
	Weights []float64 `json:"weights"`
	Metric  Metric    `json:"metric"`
	P       float64   `json:"p"`
}

// Metric says how minimisation measures imbalance. All of them look at the numbers of patients who share a level with the
// new one, each divided by its arm's part of the ratio.
type Metric string

const (
	// MetricRange is the largest number less the smallest, as if the patient were in the arm already; it is summed over the
	// factors (Pocock and Simon 1975).
	MetricRange Metric = "range"
	// MetricVariance is the variance of these numbers, likewise.
	MetricVariance Metric = "variance"
	// MetricMarginalSum is the arm's own sum over the factors, without the patient (Taves 1974; Pocock 1983).
	MetricMarginalSum Metric = "marginal_sum"
)

// Method says how a patient was drawn.
type Method string

// The methods.
const (
	MethodList         Method = "list"
	MethodMinimisation Method = "minimisation"
)

// Draw is all that a draw can be repeated from, given the events before it.
type Draw struct {
	Method Method `json:"method"`
	Scheme string `json:"scheme"`
	Number int    `json:"number"`
	// Stratum is the number of the patient's stratum; see Row.
	Stratum int `json:"stratum"`
	// Arms are those below their cap. What follows with one number per arm goes in their order.
	Arms []domain.ArmID `json:"arms"`
	// InStock are the arms of the scheme that were in stock; nil where the study has no kits.
	InStock []domain.ArmID `json:"inStock,omitempty"`
	// Forced says that the draw was made among the arms in stock, because not all were.
	Forced bool `json:"forced,omitempty"`
	// Row is the place of the list that was used, from 1; 0 for minimisation.
	Row int `json:"row,omitempty"`
	// Counts are, by factor, how many patients of each arm share the new patient's level.
	Counts [][]int `json:"counts,omitempty"`
	// Scores are the imbalance that each arm would bring, by the scheme's metric.
	Scores []float64 `json:"scores,omitempty"`
	// Preferred are the arms in stock with the lowest score.
	Preferred []domain.ArmID `json:"preferred,omitempty"`
	// Probabilities are those with which each arm was drawn.
	Probabilities []float64 `json:"probabilities,omitempty"`
	// U is the draw's number from the seed, at least 0 and less than 1; the arm is where it falls among the probabilities
	// laid end to end.
	U   float64      `json:"u,omitempty"`
	Arm domain.ArmID `json:"arm"`
}

// Skipped is a place of a list that a draw passed over.
type Skipped struct {
	Scheme string `json:"scheme"`
	// Row is the place in the list, from 1.
	Row int          `json:"row"`
	Arm domain.ArmID `json:"arm"`
}
