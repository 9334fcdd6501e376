package randomisation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/enrollment"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// ErrKeysMissing says that a decision needs blinded values, but the program runs without the study's blinding keys. It
// is a failure, not a refusal: the same command may be sent again to a program with the keys.
var ErrKeysMissing = errors.New("the study's blinding keys are missing")

// maxRatio bounds an arm's part of the ratio.
const maxRatio = 100

// scheme is a way to draw: a list or minimisation. States share schemes, so a scheme is never changed.
type scheme struct {
	id      string
	method  Method
	factors []Factor
	// commitment is the commitment to the seed; "" for lists that were made outside of Casebook.
	commitment string
	revealed   bool
	// parts is how many parts of a list are recorded, total how many rows the whole list has. complete says that all parts
	// are recorded.
	parts, total int
	// extensions is how often the list was extended.
	extensions int
	complete   bool
	// sealed says that this program cannot read the blinded values of the scheme.
	sealed bool
	*content
}

// content holds the blinded values of a scheme.
type content struct {
	// hash is the hash that an activation has to name.
	hash         string
	seed         blind.Value[string]
	plan         blind.Value[Plan]
	minimisation blind.Value[Minimisation]

	arms []domain.ArmID
	rows []Row
	// strata hold, for each number of a stratum, the entries of the list in their order, as indexes into rows.
	strata map[int][]int
}

// newScheme returns the factors and arms of a new scheme, in the protocol's order. It refuses an id that is missing,
// too long or used (codes value_missing, value_too_long and scheme_exists), and what factorsAndArms refuses.
func (r Randomisation) newScheme(s study.Study, id domain.StudyID, stage, scheme string) ([]Factor, []domain.ArmID, error) {
	factors, arms, err := factorsAndArms(s, id, stage)
	if err != nil {
		return nil, nil, err
	}
	if err := domain.Text("scheme", scheme, 50); err != nil {
		return nil, nil, err
	}
	if _, exists := r.schemes[scheme]; exists {
		return nil, nil, refuse.WrongState("scheme_exists", "study %s has a scheme %s already", id, scheme).At("scheme").
			Do("choose another id: a scheme never changes")
	}
	return factors, arms, nil
}

// factorsAndArms returns the factors of the protocol in force and the arms of one of its draws. It refuses study_not_found,
// no_protocol, study_not_randomised and stage_not_found.
func factorsAndArms(s study.Study, id domain.StudyID, stage string) ([]Factor, []domain.ArmID, error) {
	if !s.Exists() {
		return nil, nil, refuse.NotFound("study_not_found", "there is no study %s", id).At("study").
			Do("check the id, or create the study first")
	}
	if s.Protocol == nil {
		return nil, nil, refuse.WrongState("no_protocol", "study %s has no protocol in force", id).At("study").
			Do("publish a protocol version first")
	}
	if s.Protocol.Treatment == nil || !s.Protocol.Treatment.Randomised {
		return nil, nil, refuse.WrongState("study_not_randomised", "the protocol of study %s does not randomise", id).At("study").
			Do("publish a protocol version whose treatment is randomised")
	}
	var factors []Factor
	for _, f := range s.Protocol.Treatment.Factors {
		factors = append(factors, Factor{ID: f.ID, Levels: f.Levels})
	}
	arms, err := s.MustHaveStage(id, stage)
	return factors, arms, err
}

// sharesOf returns the ratio in the order of the arms. It refuses invalid_ratio.
func sharesOf(ratio map[domain.ArmID]int, arms []domain.ArmID) ([]Share, error) {
	shares := make([]Share, len(arms))
	for i, arm := range arms {
		part, given := ratio[arm]
		if !given {
			return nil, invalidRatio("the ratio leaves out an arm of the protocol")
		}
		shares[i] = Share{Arm: arm, Ratio: part}
	}
	if len(ratio) > len(arms) {
		return nil, invalidRatio("the ratio has an arm that the protocol does not have")
	}
	return shares, checkShares(shares)
}

func checkShares(shares []Share) error {
	if len(shares) == 0 {
		return invalidRatio("the ratio has no arm")
	}
	for _, s := range shares {
		if s.Ratio < 1 || s.Ratio > maxRatio {
			return invalidRatio("an arm's part of the ratio is %d", s.Ratio)
		}
	}
	return nil
}

func invalidRatio(format string, args ...any) error {
	return refuse.Because("invalid_ratio", format, args...).At("ratio").
		Do(fmt.Sprintf("give every arm of the protocol a whole number from 1 to %d", maxRatio))
}

func armsOf(shares []Share) []domain.ArmID {
	arms := make([]domain.ArmID, len(shares))
	for i, s := range shares {
		arms[i] = s.Arm
	}
	return arms
}

func sumOf(shares []Share) int {
	sum := 0
	for _, s := range shares {
		sum += s.Ratio
	}
	return sum
}

// stratum returns the number of the stratum of the levels. If a level is missing or wrong, or there is an unknown
// factor, it returns a sentence for a refusal; otherwise the sentence is empty.
func (s *scheme) stratum(of map[string]string) (number int, wrong string) {
	for _, f := range s.factors {
		level, given := of[f.ID]
		if !given {
			return 0, "the level of factor " + f.ID + " is missing"
		}
		i := slices.Index(f.Levels, level)
		if i < 0 {
			return 0, "the level of factor " + f.ID + " is not one of the scheme's"
		}
		number = number*len(f.Levels) + i
	}
	if len(of) > len(s.factors) {
		return 0, "there is a factor that the scheme does not have"
	}
	return number, ""
}

// Activate makes a scheme the active one of a stage. Before the first draw it may replace another active scheme. It refuses
// study_not_found, no_protocol, study_not_randomised, stage_not_found, scheme_not_found, scheme_active, scheme_in_use,
// seed_revealed, scheme_outdated (an amendment has changed arms or factors since the scheme was made) and hash_differs. It
// fails with ErrKeysMissing.
func Activate(r Randomisation, s study.Study, cmd ActivateRandomisation, _ domain.Call) ([]Event, error) {
	if _, _, err := factorsAndArms(s, cmd.Study, cmd.Stage); err != nil {
		return nil, err
	}
	if _, err := r.scheme(cmd.Study, cmd.Scheme); err == nil && r.isUsedIn(cmd.Stage) && r.Active(cmd.Stage) != cmd.Scheme {
		return nil, refuse.WrongState("scheme_in_use", "patients of study %s have been drawn by another scheme", cmd.Study).At("scheme").
			Do("continue with the active scheme, or replace it with SupersedeScheme")
	}
	if _, err := r.mayBecomeActive(s, cmd.Study, cmd.Stage, cmd.Scheme, cmd.SHA256); err != nil {
		return nil, err
	}
	return []Event{SchemeActivated{Study: cmd.Study, Stage: cmd.Stage, Scheme: cmd.Scheme}}, nil
}

// isUsedIn says whether a patient has been drawn in a stage by its active scheme, or by one before it.
func (r Randomisation) isUsedIn(stage string) bool {
	st := r.stages[stage]
	s := r.schemes[st.active]
	return s != nil && (st.since > 0 || tallyOf(st.tallies, s, level{}).all > 0) || stage == "" && r.LastNumber > 0
}

// mayBecomeActive returns the scheme if patients may be drawn by it in a stage. It refuses what Activate refuses, except
// scheme_in_use.
func (r Randomisation) mayBecomeActive(s study.Study, id domain.StudyID, stage, name, hash string) (*scheme, error) {
	factors, arms, err := factorsAndArms(s, id, stage)
	if err != nil {
		return nil, err
	}
	chosen, err := r.scheme(id, name)
	if err != nil {
		return nil, err
	}
	for _, st := range r.stages {
		if st.active == name {
			return nil, refuse.WrongState("scheme_active", "the scheme %s is active already", name).At("scheme").Do("there is nothing to do")
		}
	}
	switch {
	case chosen.revealed:
		return nil, refuse.WrongState("seed_revealed", "the seed of scheme %s has been shown", name).At("scheme").Do("make a new scheme")
	case chosen.sealed:
		return nil, ErrKeysMissing
	case !slices.Equal(chosen.arms, arms) || !slices.EqualFunc(chosen.factors, factors, sameFactor):
		return nil, refuse.WrongState("scheme_outdated", "the scheme %s has other arms or factors than the protocol in force", name).
			At("scheme").Do("make a new scheme")
	case !strings.EqualFold(strings.TrimSpace(hash), chosen.hash):
		return nil, refuse.Because("hash_differs", "the scheme %s has another SHA-256 than the one given", name).At("sha256").
			Do("compare the list with the one that was approved")
	}
	return chosen, nil
}

func sameFactor(a, b Factor) bool { return a.ID == b.ID && slices.Equal(a.Levels, b.Levels) }

// scheme returns the scheme, or refuses scheme_not_found.
func (r Randomisation) scheme(id domain.StudyID, name string) (*scheme, error) {
	s := r.schemes[name]
	if s == nil || !s.complete {
		return nil, refuse.NotFound("scheme_not_found", "study %s has no such scheme", id).At("scheme").Do("check the id")
	}
	return s, nil
}

// Reveal makes the seed of a scheme public. That unblinds every patient whom the scheme drew, so the protocol says when
// it is allowed. Reveal only requires that enrolment is closed; even if enrolment is opened again, no patient is drawn
// by the scheme any more. It refuses reason_required, value_too_long, scheme_not_found, no_seed, seed_revealed and
// enrollment_open. It fails with ErrKeysMissing.
func Reveal(r Randomisation, e enrollment.Enrollment, cmd RevealSeed, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	s, err := r.scheme(cmd.Study, cmd.Scheme)
	if err != nil {
		return nil, err
	}
	switch {
	case s.commitment == "":
		return nil, refuse.WrongState("no_seed", "the list %s was made elsewhere and has no seed", cmd.Scheme).At("scheme").
			Do("ask the maker of the list")
	case s.revealed:
		return nil, refuse.WrongState("seed_revealed", "the seed of scheme %s has been shown already", cmd.Scheme).At("scheme").
			Do("read it in the audit trail")
	case e.Open || !e.Opened:
		return nil, refuse.WrongState("enrollment_open", "enrolment of study %s is not over", cmd.Study).At("study").Do("close enrolment first")
	}
	text, open := s.seed.Open()
	if !open {
		return nil, ErrKeysMissing
	}
	return []Event{SeedRevealed{Study: cmd.Study, Scheme: cmd.Scheme, Seed: text, Reason: cmd.Reason}}, nil
}
