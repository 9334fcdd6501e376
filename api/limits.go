package api

import (
	"time"

	"casebook/admission"
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
	// Classes are the bounds of classes of requests that shall not have their admission.DefaultBounds, and OfUser bounds the
	// requests of one user that are under way at a time: 64.
	Classes map[admission.Class]admission.Bounds
	OfUser  int
	// Behind is how far the views may be behind before commands are held back; see admission.Options.
	Behind time.Duration
	// BatchesInFlight bounds the batches that are under way at a time, and BatchesOfUser those of one user: 32 and 4. Each
	// command of a batch besides needs a place in its class.
	BatchesInFlight, BatchesOfUser int
	// RequestTimeout and BatchTimeout bound the time that a request may take once its body is there: 15 s and 60 s.
	RequestTimeout, BatchTimeout time.Duration
	// BodyTimeout is how long a client has to send a body, or to receive an answer: 10 s, and longer for one that is larger,
	// as long as the client keeps up BodyRate: 16 KiB a second.
	BodyTimeout time.Duration
	BodyRate    int
	// SignInsInFlight bounds the sign-ins that are under way or wait at a time: 64 of accounts that have not been signed in
	// to from their network, SignInsOfNetwork of them from one network, 16, and another 64 of accounts that have. So
	// strangers leave the API, and the sign-in, to others.
	SignInsInFlight, SignInsOfNetwork int
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
	orDefault(&l.BatchesInFlight, 32)
	orDefault(&l.BatchesOfUser, 4)
	orDefault(&l.RequestTimeout, 15*time.Second)
	orDefault(&l.BatchTimeout, 60*time.Second)
	orDefault(&l.BodyTimeout, 10*time.Second)
	orDefault(&l.BodyRate, 16<<10)
	orDefault(&l.SignInsInFlight, 64)
	orDefault(&l.SignInsOfNetwork, 16)
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

// How many bodies clients may send, and how many answers they may receive, at a time: of one user, in one network, and in
// all; and how many bytes these may have. Bodies count with their bytes until their requests are answered.
var (
	bodyBounds   = transferBounds{count: [3]int{32, 512, 8192}, bytes: [3]int64{32 << 20, 128 << 20, 256 << 20}}
	answerBounds = transferBounds{count: [3]int{64, 512, 8192}, bytes: [3]int64{64 << 20, 128 << 20, 256 << 20}}
)

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
		return overloaded()
	}
}

func overloaded() error {
	return refuse.Overload("overloaded", "the server has as many requests under way as it takes").
		Do("send the same request again in a moment, with the same Idempotency-Key")
}

func (g gate) leave() {
	if g != nil {
		<-g
	}
}
