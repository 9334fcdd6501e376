// Package refuse holds refusals: the errors by which the domain rejects a request. A refusal has a stable code for
// programs, a sentence for people, and usually a remedy. Every other error is a failure: something broke.
package refuse

import (
	"errors"
	"fmt"
)

// Kind is the kind of a refusal. The API maps it to an HTTP status.
type Kind string

const (
	// KindMalformed means: the request cannot be understood; it would be refused in any state.
	KindMalformed Kind = "malformed"
	// KindUnauthenticated means: the caller's identity is not proven.
	KindUnauthenticated Kind = "unauthenticated"
	// KindForbidden means: the caller may not do or see this.
	KindForbidden Kind = "forbidden"
	// KindNotFound means: something that the request names does not exist.
	KindNotFound Kind = "not_found"
	// KindState means: the current state does not allow this, or it has changed in the meantime.
	KindState Kind = "state"
	// KindRule means: a rule of the protocol, of a regulation or of the instrument forbids it.
	KindRule Kind = "rule"
	// KindOverload means: the system is overloaded; the same request may be sent again later.
	KindOverload Kind = "overload"
)

// Refusal is the error of a refused request. Use As to find one in a chain of errors.
type Refusal struct {
	Kind Kind
	// Code is stable, because programs depend on it.
	Code string
	// Sentence says what was refused and why.
	Sentence string
	// Remedy says what the caller can do about it; it may be empty.
	Remedy string
	// Field names the part of the request that is wrong; it may be empty.
	Field string
}

// Error returns code, sentence and remedy in one line.
func (r *Refusal) Error() string {
	if r.Remedy == "" {
		return r.Code + ": " + r.Sentence
	}
	return r.Code + ": " + r.Sentence + "; " + r.Remedy
}

// Do sets the remedy and returns the refusal.
func (r *Refusal) Do(remedy string) *Refusal {
	r.Remedy = remedy
	return r
}

// At sets the field that is wrong and returns the refusal.
func (r *Refusal) At(field string) *Refusal {
	r.Field = field
	return r
}

// Because refuses a request that a rule forbids (API: 422).
func Because(code, format string, args ...any) *Refusal {
	return newRefusal(KindRule, code, format, args)
}

// Malformed refuses a request that cannot be understood (API: 400).
func Malformed(code, format string, args ...any) *Refusal {
	return newRefusal(KindMalformed, code, format, args)
}

// WrongState refuses a request that the current state does not allow (API: 409).
func WrongState(code, format string, args ...any) *Refusal {
	return newRefusal(KindState, code, format, args)
}

// NotFound refuses a request that names something that does not exist (API: 404).
func NotFound(code, format string, args ...any) *Refusal {
	return newRefusal(KindNotFound, code, format, args)
}

// Forbidden refuses a request for something that the caller may not do or see (API: 403).
func Forbidden(code, format string, args ...any) *Refusal {
	return newRefusal(KindForbidden, code, format, args)
}

// Unauthenticated refuses a caller whose identity is not proven (API: 401).
func Unauthenticated(code, format string, args ...any) *Refusal {
	return newRefusal(KindUnauthenticated, code, format, args)
}

// Overload refuses a request because the system is overloaded (API: 503).
func Overload(code, format string, args ...any) *Refusal {
	return newRefusal(KindOverload, code, format, args)
}

// As returns the refusal in err's chain, or nil and false if there is none.
func As(err error) (*Refusal, bool) {
	if err == nil {
		return nil, false // most calls; what is below takes room on the heap
	}
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
