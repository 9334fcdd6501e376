package node

import (
	"context"
	"errors"
	"net/url"
	"strconv"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Clients distinguish errors by these trailers, not by the status.
const (
	trailerException = "exception"
	trailerStream    = "stream-name"
	trailerExpected  = "expected-version"
	trailerActual    = "actual-version"
	trailerMaxAppend = "maximum-append-size"
	trailerGroup     = "group-name"
	trailerReason    = "reason"

	exceptionDeleted      = "stream-deleted"
	exceptionWrongVersion = "wrong-expected-version"
	exceptionTooLarge     = "maximum-append-size-exceeded"
	exceptionAccessDenied = "access-denied"
	exceptionGroupFailed  = "persistent-subscription-failed"
)

// failure is an error for a client: a status with trailers, or an error inside a BatchAppend answer.
type failure struct {
	code    codes.Code
	message string
	trailer metadata.MD
	detail  proto.Message
	// batchCode replaces code in a BatchAppend answer, if set.
	batchCode codes.Code
}

func (f *failure) Error() string { return f.message }

// GRPCStatus returns the status of a call that failed with f.
func (f *failure) GRPCStatus() *status.Status { return status.New(f.code, f.message) }

// rpcStatus returns the failure in the form that a BatchAppend answer carries.
func (f *failure) rpcStatus() *spb.Status {
	code := f.code
	if f.batchCode != codes.OK {
		code = f.batchCode
	}
	s := &spb.Status{Code: int32(code), Message: f.message}
	if f.detail != nil {
		if any, err := anypb.New(f.detail); err == nil {
			s.Details = []*anypb.Any{any}
		}
	}
	return s
}

// refuse sets the failure's trailers on the call and returns the failure as an error.
func refuse(ctx context.Context, f *failure) error {
	if len(f.trailer) > 0 {
		_ = grpc.SetTrailer(ctx, f.trailer) // fails only outside a call
	}
	return f
}

// headerSafe escapes a stream name for a trailer, which allows only ASCII.
func headerSafe(s string) string { return url.PathEscape(s) }

func badRequest(message string) *failure {
	return &failure{code: codes.InvalidArgument, message: message, detail: &shared.BadRequest{Message: message}}
}

func streamDeleted(stream string) *failure {
	return &failure{
		code: codes.FailedPrecondition, batchCode: codes.NotFound,
		message: "stream " + strconv.Quote(stream) + " is deleted; write to another stream",
		trailer: metadata.Pairs(trailerException, exceptionDeleted, trailerStream, headerSafe(stream)),
		detail:  &shared.StreamDeleted{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)}},
	}
}

func tooLarge(limit int) *failure {
	return &failure{
		code:    codes.InvalidArgument,
		message: "the append is larger than the maximum of " + strconv.Itoa(limit) + " bytes, so nothing was written; split it",
		trailer: metadata.Pairs(trailerException, exceptionTooLarge, trailerMaxAppend, strconv.Itoa(limit)),
		detail:  &shared.MaximumAppendSizeExceeded{MaxAppendSize: uint32(limit)},
	}
}

func accessDenied(stream string) *failure {
	return &failure{
		code:    codes.PermissionDenied,
		message: "stream " + strconv.Quote(stream) + " cannot be written to; it is generated from the other streams",
		trailer: metadata.Pairs(trailerException, exceptionAccessDenied, trailerStream, headerSafe(stream)),
		detail:  &shared.AccessDenied{},
	}
}

func wrongVersion(stream string, expected, current int64) *failure {
	detail := &shared.WrongExpectedVersion{}
	if current < 0 {
		detail.CurrentStreamRevisionOption = &shared.WrongExpectedVersion_CurrentNoStream{CurrentNoStream: &emptypb.Empty{}}
	} else {
		detail.CurrentStreamRevisionOption = &shared.WrongExpectedVersion_CurrentStreamRevision{CurrentStreamRevision: uint64(current)}
	}
	switch expected {
	case store.NoStream:
		detail.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: &emptypb.Empty{}}
	case store.Any:
		detail.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedAny{ExpectedAny: &emptypb.Empty{}}
	case store.StreamExists:
		detail.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: &emptypb.Empty{}}
	default:
		detail.ExpectedStreamPositionOption = &shared.WrongExpectedVersion_ExpectedStreamPosition{ExpectedStreamPosition: uint64(expected)}
	}
	message := "stream " + strconv.Quote(stream) + " is at revision " + store.ExpectedString(current) +
		", not at " + store.ExpectedString(expected) + ", so nothing was written; read it and decide again"
	if current < 0 && (expected == store.Any || expected == store.NoStream) {
		message = "stream " + strconv.Quote(stream) + " does not exist, so there is nothing to delete"
	}
	return &failure{
		code: codes.FailedPrecondition, batchCode: codes.AlreadyExists, message: message,
		trailer: metadata.Pairs(trailerException, exceptionWrongVersion, trailerStream, headerSafe(stream),
			trailerExpected, strconv.FormatInt(expected, 10), trailerActual, strconv.FormatInt(current, 10)),
		detail: detail,
	}
}

// outcomeFailure translates the outcome of an append; it returns nil for a success.
func outcomeFailure(a *store.Append, r store.Result) *failure {
	switch {
	case r.Err == nil:
		return nil
	case errors.Is(r.Err, store.ErrWrongRevision):
		return wrongVersion(a.Stream, a.Expected, r.Revision)
	case errors.Is(r.Err, store.ErrStreamDeleted):
		return streamDeleted(a.Stream)
	}
	return storeFailure(r.Err)
}

// storeFailure translates an error of the store or of the call's context.
func storeFailure(err error) *failure {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, store.ErrReserved), errors.Is(err, store.ErrProtected), errors.Is(err, store.ErrReadOnly):
		return &failure{
			code: codes.PermissionDenied, message: err.Error(), trailer: metadata.Pairs(trailerException, exceptionAccessDenied),
			detail: &shared.AccessDenied{},
		}
	case errors.Is(err, store.ErrDeadline):
		return &failure{code: codes.DeadlineExceeded, message: err.Error(), detail: &shared.Timeout{}}
	case errors.Is(err, store.ErrDiskFull):
		return &failure{code: codes.ResourceExhausted, message: err.Error(), detail: &shared.Unknown{}}
	case errors.Is(err, store.ErrQueueFull), errors.Is(err, store.ErrStopped), errors.Is(err, store.ErrClosed):
		return &failure{code: codes.Unavailable, message: err.Error(), detail: &shared.Unknown{}}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{
			code: codes.DeadlineExceeded, message: "no outcome was known before the deadline; the append may have been written",
			detail: &shared.Timeout{},
		}
	case errors.Is(err, context.Canceled):
		return &failure{code: codes.Canceled, message: "the call was cancelled"}
	}
	return &failure{code: codes.Internal, message: err.Error(), detail: &shared.Unknown{}}
}

var errClosing = &failure{code: codes.Unavailable, message: "the node is closing; connect again when it is back"}
