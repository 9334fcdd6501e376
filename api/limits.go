package api

import (
	"time"

	"casebook/domain/refuse"
)

// Limits bound the resources that requests may use. A zero field means the default.
type Limits struct {
	// CommandBytes and BatchBytes bound bodies: 1 MiB and 8 MiB.
	CommandBytes, BatchBytes int64
	// BatchCommands bounds the commands of one batch: 500.
	BatchCommands int
	// BatchConcurrency is how many patients' commands of one batch run at a time: 16.
	BatchConcurrency int
	// InFlight bounds the requests that are served at a time, and BatchesInFlight the batches among them: 1024 and 32.
	InFlight, BatchesInFlight int
	// RequestTimeout and BatchTimeout bound the time that a request may take: 15 s and 60 s.
	RequestTimeout, BatchTimeout time.Duration
	// SignInsInFlight bounds the sign-ins that are under way or wait at a time, so that a flood of them leaves the API to
	// others: 64.
	SignInsInFlight int
	// SignInsPerMinute and SignInBurst bound to how many accounts sign-ins from one address may fail: 60 a minute, 20 at
	// once. A hospital's staff may share one.
	SignInsPerMinute, SignInBurst int
	// SignInAddresses bounds how many addresses are counted separately, and how many pairs of account and address: 10,000.
	SignInAddresses int
	// Streams bounds how many clients listen to changes at a time: 1000.
	Streams int
	// VerifiedTokens bounds how many tokens are remembered as verified: 20,000.
	VerifiedTokens int
}

func (l Limits) orDefaults() Limits {
	orDefault(&l.CommandBytes, 1<<20)
	orDefault(&l.BatchBytes, 8<<20)
	orDefault(&l.BatchCommands, 500)
	orDefault(&l.BatchConcurrency, 16)
	orDefault(&l.InFlight, 1024)
	orDefault(&l.BatchesInFlight, 32)
	orDefault(&l.RequestTimeout, 15*time.Second)
	orDefault(&l.BatchTimeout, 60*time.Second)
	orDefault(&l.SignInsInFlight, 64)
	orDefault(&l.SignInsPerMinute, 60)
	orDefault(&l.SignInBurst, 20)
	orDefault(&l.SignInAddresses, 10_000)
	orDefault(&l.Streams, 1000)
	orDefault(&l.VerifiedTokens, 20_000)
	return l
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// gate lets a bounded number of requests in at a time. A request that finds it full is turned away at once: a queue
// would only make it wait for an answer that it no longer needs.
type gate chan struct{}

func newGate(size int) gate { return make(gate, size) }

// enter refuses with the code overloaded, or returns nil; then leave has to be called.
func (g gate) enter() error {
	if g == nil {
		return nil
	}
	select {
	case g <- struct{}{}:
		return nil
	default:
		return refuse.Overload("overloaded", "the server has as many requests under way as it takes").
			Do("send the same request again in a moment, with the same Idempotency-Key")
	}
}

func (g gate) leave() {
	if g != nil {
		<-g
	}
}
