package odm

import (
	"fmt"
	"slices"

	"casebook/domain/refuse"
)

// Outcome says what becomes of a construct.
type Outcome string

// The outcomes.
const (
	// Becomes is a construct that fields of the model hold.
	Becomes Outcome = "becomes"
	// KeptUnused is a construct that is kept as it stands and written again, and has no effect.
	KeptUnused Outcome = "kept_unused"
	// Ignored is a construct that the model does not keep.
	Ignored Outcome = "ignored"
	// Refused is a construct that the file cannot be imported with.
	Refused Outcome = "refused"
)

// Finding says what becomes of a construct of a file. A construct that is there many times with the same outcome is one
// finding; only those that are refused are named one by one.
type Finding struct {
	Code string
	// Path is where the construct stands first.
	Path      string
	Construct string
	Outcome   Outcome
	// Why says what is wrong and what to do; only what is refused, and what needs an explanation, has it.
	Why string
	// Count is how often it is there.
	Count int
}

// Report is what becomes of a file.
type Report struct {
	Findings []Finding
	// Refusals is how many constructs were refused. Findings name the first 1,000 of them.
	Refusals int
	at       map[findingKey]int
}

type findingKey struct {
	code, construct string
	outcome         Outcome
}

// maxRefusals and maxFindings bound the report; constructs beyond are counted under the last.
const (
	maxRefusals = 1_000
	maxFindings = 5_000
)

func (r *Report) add(outcome Outcome, code, construct string, at *place, why string) {
	if n, known := r.at[findingKey{code, construct, outcome}]; known {
		r.Findings[n].Count++ // without the cost of a path
		return
	}
	r.addAt(outcome, code, construct, at.String(), why)
}

func (r *Report) addAt(outcome Outcome, code, construct, path, why string) {
	if outcome == Refused {
		if r.Refusals++; r.Refusals <= maxRefusals {
			r.Findings = append(r.Findings, Finding{Code: code, Path: path, Construct: construct, Outcome: outcome, Why: why, Count: 1})
		}
		return
	}
	if len(r.at) >= maxFindings {
		construct, code, why = "", "findings_full", "There are more constructs than a report names one by one; these are counted here."
	}
	key := findingKey{code, construct, outcome}
	if n, known := r.at[key]; known {
		r.Findings[n].Count++
		return
	}
	if r.at == nil {
		r.at = map[findingKey]int{}
	}
	r.at[key] = len(r.Findings)
	r.Findings = append(r.Findings, Finding{Code: code, Path: path, Construct: construct, Outcome: outcome, Why: why, Count: 1})
}

func (r *Report) refuse(code, construct string, at *place, format string, values ...any) {
	r.add(Refused, code, construct, at, fmt.Sprintf(format, values...))
}

// Refused reports whether the file cannot be imported.
func (r *Report) Refused() bool { return r.Refusals > 0 }

// Has reports whether a finding has the code.
func (r *Report) Has(code string) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code == code })
}

// Err returns nil for a file that can be imported, and else the refusal odm_refused, which names the first thing that is
// wrong and how many there are.
func (r *Report) Err() error {
	for _, f := range r.Findings {
		if f.Outcome == Refused {
			return refuse.Malformed("odm_refused", "%s at %s: %s There are %d refusals in the file.", f.Code, f.Path, f.Why, r.Refusals).
				Do("Mend the file at the places that the report names, and import it again.")
		}
	}
	return nil
}
