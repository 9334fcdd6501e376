package mongo

import (
	"errors"
	"fmt"
)

// ErrListen means that the server cannot listen on its address, mostly because the port is in use.
var ErrListen = errors.New("cannot listen")

// errCode is a MongoDB error code. Drivers recognise errors by these numbers and names.
type errCode int32

const (
	codeInternalError            errCode = 1
	codeBadValue                 errCode = 2
	codeFailedToParse            errCode = 9
	codeUnauthorized             errCode = 13
	codeTypeMismatch             errCode = 14
	codeProtocolError            errCode = 17
	codeAuthenticationFailed     errCode = 18
	codeMechanismUnavailable     errCode = 334
	codeOverflow                 errCode = 15
	codeIllegalOperation         errCode = 20
	codeNamespaceNotFound        errCode = 26
	codeIndexNotFound            errCode = 27
	codePathNotViable            errCode = 28
	codeConflictingUpdate        errCode = 40
	codeCursorNotFound           errCode = 43
	codeNamespaceExists          errCode = 48
	codeMaxTimeMSExpired         errCode = 50
	codeDollarPrefixedFieldName  errCode = 52
	codeInvalidIDField           errCode = 53
	codeCommandNotFound          errCode = 59
	codeImmutableField           errCode = 66
	codeCannotCreateIndex        errCode = 67
	codeInvalidOptions           errCode = 72
	codeInvalidNamespace         errCode = 73
	codeIndexOptionsConflict     errCode = 85
	codeIndexKeySpecsConflict    errCode = 86
	codeCommandNotSupported      errCode = 115
	codeExceededMemoryLimit      errCode = 146
	codeInvalidPipelineOperator  errCode = 168
	codeCannotIndexParallel      errCode = 171
	codeQueryPlanKilled          errCode = 175
	codeInvalidIndexSpec         errCode = 197
	codeNotImplemented           errCode = 238
	codeSortMemoryExceeded       errCode = 292
	codeOpNotInTransaction       errCode = 263
	codeBSONObjectTooLarge       errCode = 10334
	codeDuplicateKey             errCode = 11000
	codeInterruptedAtShutdown    errCode = 11600
	codeUnknownField             errCode = 40415
	codeMissingField             errCode = 40414
	codeUnknownPipelineStage     errCode = 40324
	codePipelineStageFields      errCode = 40323
	codeBadRegex                 errCode = 51091
	codeProjectionMixExclude     errCode = 31253
	codeProjectionMixInclude     errCode = 31254
	codeProjectionPathCollision  errCode = 31249
	codeUnknownAccumulator       errCode = 15952
	codeGroupNeedsID             errCode = 15955
	codeGroupAccumulatorNotDoc   errCode = 40234
	codeCountFieldName           errCode = 40156
	codeSkipNotNumber            errCode = 15956
	codeLimitNotPositive         errCode = 15958
	codeMatchNotDocument         errCode = 15959
	codeSortNotDocument          errCode = 15973
	codeUnsupportedOpQueryCmd    errCode = 352
	codeOutOfDiskSpace           errCode = 14031
	codeNotExactValueFieldUpsert errCode = 54
)

var codeNames = map[errCode]string{
	codeInternalError: "InternalError", codeBadValue: "BadValue", codeFailedToParse: "FailedToParse",
	codeUnauthorized:  "Unauthorized", //nolint:misspell // MongoDB's own name
	codeProtocolError: "ProtocolError", codeAuthenticationFailed: "AuthenticationFailed",
	codeMechanismUnavailable: "MechanismUnavailable",
	codeTypeMismatch:         "TypeMismatch", codeOverflow: "Overflow", codeIllegalOperation: "IllegalOperation",
	codeNamespaceNotFound: "NamespaceNotFound", codeIndexNotFound: "IndexNotFound", codePathNotViable: "PathNotViable",
	codeConflictingUpdate: "ConflictingUpdateOperators", codeCursorNotFound: "CursorNotFound",
	codeNamespaceExists: "NamespaceExists", codeMaxTimeMSExpired: "MaxTimeMSExpired",
	codeDollarPrefixedFieldName: "DollarPrefixedFieldName", codeInvalidIDField: "InvalidIdField",
	codeCommandNotFound: "CommandNotFound", codeImmutableField: "ImmutableField",
	codeCannotCreateIndex: "CannotCreateIndex", codeInvalidOptions: "InvalidOptions",
	codeInvalidNamespace: "InvalidNamespace", codeIndexOptionsConflict: "IndexOptionsConflict",
	codeIndexKeySpecsConflict: "IndexKeySpecsConflict",
	codeCommandNotSupported:   "CommandNotSupported", codeExceededMemoryLimit: "ExceededMemoryLimit",
	codeCannotIndexParallel: "CannotIndexParallelArrays", codeQueryPlanKilled: "QueryPlanKilled",
	codeInvalidPipelineOperator: "InvalidPipelineOperator", codeInvalidIndexSpec: "InvalidIndexSpecificationOption",
	codeNotImplemented: "NotImplemented", codeSortMemoryExceeded: "QueryExceededMemoryLimitNoDiskUseAllowed",
	codeOpNotInTransaction: "OperationNotSupportedInTransaction",
	codeOutOfDiskSpace:     "OutOfDiskSpace",
	codeBSONObjectTooLarge: "BSONObjectTooLarge", codeDuplicateKey: "DuplicateKey",
	codeInterruptedAtShutdown: "InterruptedAtShutdown",
	codeUnsupportedOpQueryCmd: "UnsupportedOpQueryCommand", codeNotExactValueFieldUpsert: "NotExactValueField",
}

func (c errCode) name() string {
	if n, ok := codeNames[c]; ok {
		return n
	}
	return fmt.Sprintf("Location%d", int32(c))
}

// commandError is an error that is sent to the client.
type commandError struct {
	code errCode
	msg  string
	// keyPattern and keyValue are the index and the value of a duplicate key.
	keyPattern, keyValue doc
}

func (e *commandError) Error() string {
	return fmt.Sprintf("%s (%d): %s", e.code.name(), int32(e.code), e.msg)
}

// refuse returns a commandError. Its message says what was refused and why, and what to do if that is not obvious.
func refuse(code errCode, format string, args ...any) error {
	return &commandError{code: code, msg: fmt.Sprintf(format, args...)}
}

// asCommandError returns err as a commandError; any other error becomes an internal error.
func asCommandError(err error) *commandError {
	var ce *commandError
	if errors.As(err, &ce) {
		return ce
	}
	return &commandError{code: codeInternalError, msg: err.Error()}
}

// reply returns the answer to a command that failed as a whole.
func (e *commandError) reply() doc {
	w := newBuilder()
	w.double("ok", 0).str("errmsg", e.msg).int32("code", int32(e.code)).str("codeName", e.code.name())
	e.appendKeys(w)
	return w.done()
}

// appendWriteError appends the error of one statement to a writeErrors array.
func (e *commandError) appendWriteError(w *builder, index int) {
	w.doc("").int32("index", int32(index)).int32("code", int32(e.code)).str("errmsg", e.msg)
	e.appendKeys(w)
	w.end()
}

func (e *commandError) appendKeys(w *builder) {
	if e.keyPattern != nil {
		w.rawDoc("keyPattern", e.keyPattern).rawDoc("keyValue", e.keyValue)
	}
}
