// Package randomisation holds a study's draws: the lists and the minimisation by which patients are drawn, who was
// drawn, and whose arm was shown to whom. Each study has one stream, so that the log puts the requests of two sites in
// order.
//
// Everything that could reveal an arm, a list, a block size, a seed or the course of a draw is a blind.Value in every
// event. A program without the study's blinding keys can fold the stream and knows who was drawn, but it cannot draw;
// see ErrKeysMissing.
//
// Nothing in this package is random: every draw follows from the stream and from a seed. The seed was fixed before the
// first draw, and its hash was published (the commitment). Replay repeats all draws of a stream. Begin reading in
// draw.go.
package randomisation

import (
	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
)

// Event is an event of a study's randomisation.
type Event interface{ randomisationEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[ListUploaded]("ListUploaded").InNoView("lists are blinded"),
	domain.Stored[ListGenerated]("ListGenerated").InNoView("lists are blinded"),
	domain.Stored[MinimisationDefined]("MinimisationDefined").InNoView("how patients are drawn is blinded"),
	// Since version 2, a scheme, a draw and a skipped entry can belong to a later stage than the first.
	domain.Stored[SchemeActivated]("SchemeActivated", domain.Unchanged).InNoView("decisions read it"),
	domain.Stored[SchemeSuperseded]("SchemeSuperseded").InNoView("decisions read it"),
	domain.Stored[ListExtended]("ListExtended").InNoView("lists are blinded"),
	domain.Stored[ListAlertSet]("ListAlertSet").InNoView("decisions read it"),
	domain.Stored[ListRanLow]("ListRanLow"),
	domain.Stored[ArmClosed]("ArmClosed").InNoView("closed arms are blinded"),
	domain.Stored[LevelCapsSet]("LevelCapsSet").InNoView("decisions read it"),
	domain.Stored[CohortCapsSet]("CohortCapsSet").InNoView("decisions read it"),
	domain.Stored[PatientRandomised]("PatientRandomised",
		domain.Unchanged).InNoView("the process monitor shows that it was drawn, and the arm is blinded"),
	domain.Stored[EntrySkipped]("EntrySkipped", domain.Unchanged).NotInAuditIndex().InNoView("lists are blinded"),
	domain.Stored[AllocationForced]("AllocationForced").ForReaders().NotInAuditIndex().InNoView("the alert that it raises is shown to some"),
	domain.Stored[RandomisationRefused]("RandomisationRefused").InNoView("the process monitor shows why"),
	domain.Stored[StratumCorrected]("StratumCorrected").InNoView("the audit trail shows it"),
	// Versions 1 and 2 are of a time when every unblinding was an emergency.
	domain.Stored[BlindBroken]("BlindBroken", domain.Unchanged, inEmergency).ForReaders().InNoView("the alert that it raises is shown"),
	domain.Stored[BlindShownAgain]("BlindShownAgain").ForReaders().InNoView("the audit trail shows it"),
	domain.Stored[CodeBreaksExported]("CodeBreaksExported").ForReaders().InNoView("the audit trail shows it"),
	domain.Stored[SeedRevealed]("SeedRevealed").InNoView("the audit trail shows it"),
}

// ListUploaded records a list that was made outside of Casebook, or a part of one, because the size of an event is
// limited.
type ListUploaded struct {
	Study  domain.StudyID `json:"study"`
	Scheme string         `json:"scheme"`
	// Part counts from 1 to Parts. All parts are recorded at once.
	Part  int `json:"part"`
	Parts int `json:"parts"`
	// Rows is how many entries the whole list has.
	Rows int `json:"rows"`
	// Factors are the factors of the list's strata, in the order of its columns. Only the first part has them.
	Factors []Factor `json:"factors,omitempty"`
	// SHA256 is the hash of the list in its canonical form, in hex. Short lists have none, because somebody could find the
	// list by trying all lists.
	SHA256 string                `json:"sha256,omitempty"`
	List   blind.Value[ListPart] `json:"list"`
}

// ListGenerated records a list of permuted blocks, or a part of one.
type ListGenerated struct {
	Study   domain.StudyID `json:"study"`
	Scheme  string         `json:"scheme"`
	Part    int            `json:"part"`
	Parts   int            `json:"parts"`
	Rows    int            `json:"rows"`
	Factors []Factor       `json:"factors,omitempty"`
	// SHA256 is the hash of the seed's bytes and the list in its canonical form, in hex.
	SHA256 string `json:"sha256"`
	// SeedCommitment is the SHA-256 of the seed's 32 bytes, in hex. It proves later that the seed was not changed.
	SeedCommitment string                `json:"seedCommitment"`
	Seed           blind.Value[string]   `json:"seed"`
	Plan           blind.Value[Plan]     `json:"plan"`
	List           blind.Value[ListPart] `json:"list"`
}

// MinimisationDefined defines a scheme that draws patients by minimisation.
type MinimisationDefined struct {
	Study   domain.StudyID `json:"study"`
	Scheme  string         `json:"scheme"`
	Factors []Factor       `json:"factors"`
	// SeedCommitment is the SHA-256 of the seed's 32 bytes, in hex.
	SeedCommitment string                    `json:"seedCommitment"`
	Seed           blind.Value[string]       `json:"seed"`
	Minimisation   blind.Value[Minimisation] `json:"minimisation"`
}

// SchemeActivated makes a scheme the active one, by which patients are drawn. It replaces the scheme before it.
type SchemeActivated struct {
	Study domain.StudyID `json:"study"`
	// Stage is the stage of the protocol; "" is the first draw.
	Stage  string `json:"stage,omitempty"`
	Scheme string `json:"scheme"`
}

// CohortCapsSet replaces all caps of cohorts.
type CohortCapsSet struct {
	Study domain.StudyID `json:"study"`
	// Levels are the caps of levels of factors, Arms those of arms.
	Levels []CohortCap          `json:"levels,omitempty"`
	Arms   blind.Value[ArmCaps] `json:"arms"`
	Reason personal.Text        `json:"reason"`
}

// PatientRandomised assigns a patient to an arm. The assignment never changes; a later stage adds one.
type PatientRandomised struct {
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	Patient domain.PatientID `json:"patient"`
	// Stage is the stage of the protocol; "" is the first draw. Scheme is "" for the only arm of a stage.
	Stage  string `json:"stage,omitempty"`
	Scheme string `json:"scheme"`
	// Number is the running number of the draw in the study, from 1.
	Number int `json:"number"`
	// Factors are the patient's levels that the draw used.
	Factors map[string]string         `json:"factors,omitempty"`
	Arm     blind.Value[domain.ArmID] `json:"arm"`
	Draw    blind.Value[Draw]         `json:"draw"`
}

// EntrySkipped says that a draw skipped an entry of a list, because the entry's arm was not in stock or had reached its
// cap. The entry waits: as soon as its arm is available, it is used before all later entries of its stratum.
type EntrySkipped struct {
	Study   domain.StudyID   `json:"study"`
	Patient domain.PatientID `json:"patient"`
	Stage   string           `json:"stage,omitempty"`
	// Number is the number of the draw, which follows in the stream.
	Number  int                  `json:"number"`
	Skipped blind.Value[Skipped] `json:"skipped"`
}

// AllocationForced says that a draw was limited to the arms in stock. It does not tell the arms. Two patients whose draws
// were forced shortly after each other may be in the same arm, so that only roles that know arms are told.
type AllocationForced struct {
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	Patient domain.PatientID `json:"patient"`
	// Number is the number of the draw.
	Number int `json:"number"`
}

// RandomisationRefused says why a patient was not drawn. Neither its code nor its reason depends on the arm that would
// have been drawn. Request is the number of the refused request.
type RandomisationRefused struct { //nolint:revive // an event's type is its name in the log
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	Patient domain.PatientID `json:"patient"`
	Code    string           `json:"code"`
	Reason  personal.Text    `json:"reason"`
	Request int              `json:"ask,omitempty"`
}

// StratumCorrected records the true levels of a patient who was drawn with others.
type StratumCorrected struct {
	Study   domain.StudyID   `json:"study"`
	Patient domain.PatientID `json:"patient"`
	// Was are the levels before the correction: those of the draw, or of an earlier correction.
	Was     map[string]string `json:"was"`
	Factors map[string]string `json:"factors"`
	Reason  personal.Text     `json:"reason"`
}

// AboutPatient returns the patient that the event is about.
func (e StratumCorrected) AboutPatient() domain.PatientID { return e.Patient }

// SeedRevealed makes the seed of a scheme public. From then on, no patient is drawn by the scheme.
type SeedRevealed struct {
	Study  domain.StudyID `json:"study"`
	Scheme string         `json:"scheme"`
	// Seed is 32 bytes in hex.
	Seed   string        `json:"seed"`
	Reason personal.Text `json:"reason"`
}

func (ListUploaded) randomisationEvent()         {}
func (ListGenerated) randomisationEvent()        {}
func (MinimisationDefined) randomisationEvent()  {}
func (SchemeActivated) randomisationEvent()      {}
func (CohortCapsSet) randomisationEvent()        {}
func (PatientRandomised) randomisationEvent()    {}
func (EntrySkipped) randomisationEvent()         {}
func (SchemeSuperseded) randomisationEvent()     {}
func (ListExtended) randomisationEvent()         {}
func (ListAlertSet) randomisationEvent()         {}
func (ListRanLow) randomisationEvent()           {}
func (ArmClosed) randomisationEvent()            {}
func (LevelCapsSet) randomisationEvent()         {}
func (AllocationForced) randomisationEvent()     {}
func (RandomisationRefused) randomisationEvent() {}
func (StratumCorrected) randomisationEvent()     {}
func (SeedRevealed) randomisationEvent()         {}

// AboutPatient returns the patient that the event is about.
func (e PatientRandomised) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e RandomisationRefused) AboutPatient() domain.PatientID { return e.Patient }

// Factor is a factor of the protocol at the time when a scheme was made.
type Factor struct {
	ID     string   `json:"id"`
	Levels []string `json:"levels"`
}

// ListPart holds consecutive entries of a list.
type ListPart struct {
	// SHA256 is the hash of the whole list, even if the event does not show it.
	SHA256 string `json:"sha256"`
	// Arms are the arms of the list. The rows hold their numbers in this order.
	Arms []domain.ArmID `json:"arms"`
	Rows []Row          `json:"rows"`
}

// Row is one entry of a list: the number of its stratum and the number of its arm, both from 0. The number of a stratum
// is made of the numbers of its levels like a number of its digits: the last factor has the weight 1, the factor before
// it has the number of the last factor's levels as its weight, and so on.
type Row [2]int

// Stratum returns the number of the entry's stratum.
func (r Row) Stratum() int { return r[0] }

// Arm returns the number of the entry's arm.
func (r Row) Arm() int { return r[1] }

// Share is an arm with its part of the ratio.
type Share struct {
	Arm   domain.ArmID `json:"arm"`
	Ratio int          `json:"ratio"`
}

// Plan is what a list was generated from, in addition to the seed and the factors.
type Plan struct {
	Shares     []Share `json:"shares"`
	BlockSizes []int   `json:"blockSizes"`
	PerStratum int     `json:"perStratum"`
}

// Minimisation is how patients are drawn, in addition to the seed and the factors.
type Minimisation struct {
	Shares []Share `json:"shares"`
	// Weights are the weights of the factors, in the factors' order.
	Weights []float64 `json:"weights"`
	Metric  Metric    `json:"metric"`
	P       float64   `json:"p"`
}

// Metric says how minimisation measures imbalance. For each factor, every metric uses the number of patients in each
// arm who have the new patient's level, divided by the arm's part of the ratio.
type Metric string

const (
	// MetricRange is the largest number minus the smallest, with the new patient counted in the arm; it is summed over the
	// factors (Pocock and Simon 1975).
	MetricRange Metric = "range"
	// MetricVariance is the variance of these numbers, with the new patient counted in the arm, summed over the factors.
	MetricVariance Metric = "variance"
	// MetricMarginalSum is the arm's own number without the new patient, summed over the factors (Taves 1974; Pocock
	// 1983).
	MetricMarginalSum Metric = "marginal_sum"
)

// Method says how a patient was drawn.
type Method string

// The methods.
const (
	MethodList         Method = "list"
	MethodMinimisation Method = "minimisation"
	// MethodOnlyArm is the assignment to the only arm of a stage.
	MethodOnlyArm Method = "only_arm"
)

// Draw holds everything that is needed to repeat a draw, together with the events before it.
type Draw struct {
	Method Method `json:"method"`
	Scheme string `json:"scheme"`
	Number int    `json:"number"`
	// Stratum is the number of the patient's stratum; see Row.
	Stratum int `json:"stratum"`
	// Arms are the arms below their cap. Counts, Scores and Probabilities have one number for each of them, in this order.
	Arms []domain.ArmID `json:"arms"`
	// InStock are the arms of the scheme that were in stock; nil if the study has no kits.
	InStock []domain.ArmID `json:"inStock,omitempty"`
	// Forced says that the draw was limited to the arms in stock, because not all arms were in stock.
	Forced bool `json:"forced,omitempty"`
	// Row is the entry of the list that was used, from 1; 0 for minimisation.
	Row int `json:"row,omitempty"`
	// Counts are, for each factor, how many patients of each arm have the new patient's level.
	Counts [][]int `json:"counts,omitempty"`
	// Scores are the imbalance, by the scheme's metric, if the patient were drawn into each arm.
	Scores []float64 `json:"scores,omitempty"`
	// Preferred are the arms in stock with the lowest score.
	Preferred []domain.ArmID `json:"preferred,omitempty"`
	// Probabilities are the probabilities of the arms in the draw.
	Probabilities []float64 `json:"probabilities,omitempty"`
	// U is the draw's number from the seed, at least 0 and less than 1. The drawn arm is the first one whose probability,
	// added to those before it, exceeds U.
	U   float64      `json:"u,omitempty"`
	Arm domain.ArmID `json:"arm"`
}

// Skipped is an entry of a list that a draw skipped.
type Skipped struct {
	Scheme string `json:"scheme"`
	// Row is the entry's number in the list, from 1.
	Row int          `json:"row"`
	Arm domain.ArmID `json:"arm"`
}
