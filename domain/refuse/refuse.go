// Package refuse holds refusals: the domain's way to say no. A refusal has a stable code for programs, a sentence for
// people and, where there is one, the thing to do. Everything else that is an error is a failure: something broke.
package refuse

import (
	"errors"
	"fmt"
)

// Kind says what sort of no it is; the API maps it to a status.
type Kind string

const (
	// KindMalformed means: the request cannot be understood; it would be refused in any state.
	KindMalformed Kind = "malformed"
	// KindUnauthenticated means: who asks is not known.
	KindUnauthenticated Kind = "unauthenticated"
	// KindForbidden means: who asks may not do or see this.
	KindForbidden Kind = "forbidden"
	// KindNotFound means: what the request names does not exist.
	KindNotFound Kind = "not_found"
	// KindState means: the thing is not in a state that allows this, or changed meanwhile.
	KindState Kind = "state"
	// KindRule means: a rule of the protocol, of a regulation or of the instrument forbids it.
	KindRule Kind = "rule"
	// KindOverload means: the system protects itself; the same request may be sent again later.
	KindOverload Kind = "overload"
)

// Refusal is a no with its reason. It is an error; use As to find one in a chain.
type Refusal struct {
	Kind Kind
	// Code is stable and never reworded: programs depend on it.
	Code string
	// Sentence says what was refused and why.
	Sentence string
	// Remedy says what to do about it; it may be empty.
	Remedy string
	// Field names the part of the request that is at fault, where there is one.
	Field string
}

// Error returns code, sentence and remedy in one line.
func (r *Refusal) Error() string {
	if r.Remedy == "" {
		return r.Code + ": " + r.Sentence
	}
	return r.Code + ": " + r.Sentence + "; " + r.Remedy
}

// Do returns the refusal with the thing to do about it.
func (r *Refusal) Do(remedy string) *Refusal {
	r.Remedy = remedy
	return r
}

// At returns the refusal with the field that is at fault.
func (r *Refusal) At(field string) *Refusal {
	r.Field = field
	return r
}

// Because refuses by a rule (API: 422).
func Because(code, format string, args ...any) *Refusal {
	return newRefusal(KindRule, code, format, args)
}

// Malformed refuses what cannot be understood (API: 400).
func Malformed(code, format string, args ...any) *Refusal {
	return newRefusal(KindMalformed, code, format, args)
}

// WrongState refuses what the present state does not allow (API: 409).
func WrongState(code, format string, args ...any) *Refusal {
	return newRefusal(KindState, code, format, args)
}

// NotFound refuses what names something that does not exist (API: 404).
func NotFound(code, format string, args ...any) *Refusal {
	return newRefusal(KindNotFound, code, format, args)
}

// Forbidden refuses what the caller may not do or see (API: 403).
func Forbidden(code, format string, args ...any) *Refusal {
	return newRefusal(KindForbidden, code, format, args)
}

// Unauthenticated refuses a caller whose identity is not proven (API: 401).
func Unauthenticated(code, format string, args ...any) *Refusal {
	return newRefusal(KindUnauthenticated, code, format, args)
}

// Overload refuses for now, to protect the system (API: 503).
func Overload(code, format string, args ...any) *Refusal {
	return newRefusal(KindOverload, code, format, args)
}

// As finds the refusal in err's chain; nil and false where there is none.
func As(err error) (*Refusal, bool) {
	var r *Refusal
	ok := errors.As(err, &r)
	return r, ok
}

func newRefusal(kind Kind, code, format string, args []any) *Refusal {
	return &Refusal{Kind: kind, Code: code, Sentence: fmt.Sprintf(format, args...)}
}

// Shortened keeps what somebody sent short enough to be shown in a sentence: 80 characters and dots.
func Shortened(s string) string {
	if runes := []rune(s[:min(len(s), 400)]); len(runes) > 80 {
		return string(runes[:80]) + "..."
	}
	return s
}
