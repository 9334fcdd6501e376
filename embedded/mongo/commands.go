package mongo

import (
	"context"
	"strings"
	"time"
)

// request is one command that is being run.
type request struct {
	ctx  context.Context
	s    *Server
	c    *conn
	name string // of the command
	arg  value  // the value of the command's field, mostly the collection's name
	db   string
	body doc
	seqs []sequence

	durable bool // answer only after a sync
}

type handler func(*request) (doc, error)

// command is a supported command.
type command struct {
	run   handler
	needs right
}

// commandTable holds the supported commands by name. init fills it, because some handlers use it.
var commandTable map[string]command

func init() {
	commandTable = map[string]command{
		// The handshake and information about the server.
		"hello": {(*request).hello, forAll}, "isMaster": {(*request).hello, forAll}, "ismaster": {(*request).hello, forAll},
		"ping":      {(*request).ping, forAll},
		"saslStart": {(*request).saslStart, forAll}, "saslContinue": {(*request).saslContinue, forAll}, "logout": {(*request).logout, forAll},
		"buildInfo": {(*request).buildInfo, forAll}, "buildinfo": {(*request).buildInfo, forAll},
		"connectionStatus": {(*request).connectionStatus, forAll}, "whatsmyuri": {(*request).whatsMyURI, forAll},
		"getParameter": {(*request).getParameter, forReaders}, "getCmdLineOpts": {(*request).getCmdLineOpts, forReaders},
		"getLog": {(*request).getLog, forReaders}, "hostInfo": {(*request).hostInfo, forReaders},
		"serverStatus": {(*request).serverStatus, forReaders}, "listCommands": {(*request).listCommands, forReaders},
		"dbStats": {(*request).dbStats, forReaders}, "dbstats": {(*request).dbStats, forReaders},
		"collStats": {(*request).collStats, forReaders}, "collstats": {(*request).collStats, forReaders},
		"endSessions": {(*request).sessions, forAll}, "refreshSessions": {(*request).sessions, forReaders},
		"killSessions": {(*request).sessions, forReaders}, "startSession": {(*request).startSession, forReaders},
		// The catalog.
		"listDatabases": {(*request).listDatabases, forReaders}, "listCollections": {(*request).listCollections, forReaders},
		"listIndexes": {(*request).listIndexes, forReaders},
		"create":      {(*request).create, forWriters}, "drop": {(*request).drop, forWriters},
		"dropDatabase": {(*request).dropDatabase, forWriters}, "renameCollection": {(*request).renameCollection, forWriters},
		"createIndexes": {(*request).createIndexes, forWriters}, "dropIndexes": {(*request).dropIndexes, forWriters},
		// Documents.
		"insert": {(*request).insert, forWriters}, "update": {(*request).update, forWriters}, "delete": {(*request).delete, forWriters},
		"findAndModify": {(*request).findAndModify, forWriters}, "findandmodify": {(*request).findAndModify, forWriters},
		"find": {(*request).find, forReaders}, "getMore": {(*request).getMore, forReaders},
		"killCursors": {(*request).killCursors, forReaders}, "count": {(*request).count, forReaders},
		"distinct": {(*request).distinct, forReaders}, "aggregate": {(*request).aggregate, forReaders},
		"explain": {(*request).explain, forReaders},
	}
}

// notSupported are MongoDB's commands that this server refuses, with the reason or an alternative.
var notSupported = map[string]string{
	"authenticate": "the only mechanism of authentication is SCRAM-SHA-256", "usersInfo": "users are given when the server is started",
	"createUser": "users are given when the server is started", "updateUser": "users are given when the server is started",
	"dropUser": "users are given when the server is started", "rolesInfo": "users are given when the server is started",
	"createRole": "users are given when the server is started", "dropRole": "users are given when the server is started",
	"commitTransaction": "transactions need a replica set", "abortTransaction": "transactions need a replica set",
	"mapReduce": "use aggregate", "bulkWrite": "it is not part of server version 7.0: use insert, update and delete",
	"replSetGetStatus": "this is a standalone server", "replSetInitiate": "this is a standalone server",
	"replSetGetConfig": "this is a standalone server", "listShards": "this is a standalone server",
	"collMod":                 "drop the index or collection and create it again",
	"convertToCapped":         "capped collections are not provided here",
	"cloneCollectionAsCapped": "capped collections are not provided here",
	"currentOp":               "running commands are not listed here", "killOp": "running commands are not listed here: give them maxTimeMS",
	"profile": "there is no profiler here", "setParameter": "options are set when the server is started",
	"validate": "indexes are written together with the documents", "reIndex": "drop the index and create it again",
	"compact": "the store compacts itself", "fsync": "ask for {j: true} with a write",
	"shutdown": "end the server's process", "top": "use serverStatus", "dataSize": "use collStats",
}

// aboutServer holds the commands that do not touch the store.
var aboutServer = map[string]bool{
	"hello": true, "isMaster": true, "ismaster": true, "ping": true, "saslStart": true, "saslContinue": true, "logout": true,
	"buildInfo": true, "buildinfo": true, "connectionStatus": true, "whatsmyuri": true, "endSessions": true,
}

// dispatch runs the command in m and returns its answer.
func (s *Server) dispatch(c *conn, m *message) (doc, error) {
	first, _ := m.body.first()
	if first.t == 0 {
		return nil, refuse(codeFailedToParse, "the message has an empty body: its first field must be the command")
	}
	r := &request{ctx: s.life, s: s, c: c, name: string(first.name), arg: first.value, db: m.db, body: m.body, seqs: m.seqs}
	known, ok := commandTable[r.name]
	switch {
	case m.legacy && r.name != "hello" && !strings.EqualFold(r.name, "isMaster"):
		return nil, refuse(codeUnsupportedOpQueryCmd,
			"Unsupported OP_QUERY command: %s. The client driver may require an upgrade", truncated(r.name, 64))
	case !ok && notSupported[r.name] != "":
		return nil, refuse(codeCommandNotSupported, "command %s is not supported: %s", r.name, notSupported[r.name])
	case !ok:
		return nil, refuse(codeCommandNotFound, "no such command: '%s'", truncated(r.name, 64))
	}
	if r.db == "" {
		return nil, refuse(codeMissingField, "command %s lacks the field $db, a string", r.name)
	}
	limit, err := r.common()
	if err != nil {
		return nil, err
	}
	if limit > 0 {
		ctx, cancel := context.WithTimeout(s.life, limit)
		defer cancel()
		r.ctx = ctx
	}
	if err := r.authorize(known.needs); err != nil {
		return nil, err
	}
	if s.shut != nil && !aboutServer[r.name] {
		return nil, s.shut
	}
	answer, err := known.run(r)
	if err == nil && len(answer) > maxDocSize+(16<<10) {
		return nil, refuse(codeBSONObjectTooLarge, "the answer to %s has %d bytes, at most %d can be sent", r.name, len(answer), maxDocSize)
	}
	return answer, err
}

// isCommon reports whether every command accepts a field of this name.
func isCommon(name string) bool {
	switch name {
	case "$db", "lsid", "$clusterTime", "$readPreference", "readConcern", "writeConcern", "maxTimeMS", "comment",
		"apiVersion", "apiStrict", "apiDeprecationErrors", "txnNumber", "autocommit", "startTransaction", "$client",
		"maxTimeMSOpOnly", "$audit", "mayBypassWriteBlocking":
		return true
	}
	return false
}

// common reads the fields that every command accepts. It returns the time limit, 0 for none.
func (r *request) common() (limit time.Duration, err error) {
	for e, rest := r.body.first(); e.t != 0; e, rest = nextElem(rest) {
		switch string(e.name) {
		case "txnNumber", "autocommit", "startTransaction":
			if r.body.lookup("startTransaction").truthy() {
				return 0, refuse(codeOpNotInTransaction, "transactions are not provided by a standalone server: command %s", r.name)
			}
			return 0, refuse(codeIllegalOperation, "Transaction numbers are only allowed on a replica set member or mongos")
		case "maxTimeMS":
			n, ok := e.wholeNumber()
			if !ok || n < 0 || n > 1<<31-1 {
				return 0, refuse(codeBadValue, "maxTimeMS must be a whole number from 0 to %d", 1<<31-1)
			}
			limit = time.Duration(n) * time.Millisecond
		case "lsid":
			if e.t != tDocument {
				return 0, wrongType(r, e, "object")
			}
		case "apiVersion":
			if e.t != tString || e.str() != "1" {
				return 0, refuse(322, "API version must be \"1\"")
			}
		case "readConcern":
			if e.t != tDocument {
				return 0, wrongType(r, e, "object")
			}
			if err := checkReadConcern(e.doc()); err != nil {
				return 0, err
			}
		case "writeConcern":
			if e.t != tDocument {
				return 0, wrongType(r, e, "object")
			}
			if err := r.writeConcern(e.doc()); err != nil {
				return 0, err
			}
		}
	}
	return limit, nil
}

func checkReadConcern(d doc) error {
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		switch name := string(e.name); name {
		case "level":
			if e.t != tString {
				return refuse(codeTypeMismatch, "readConcern.level must be a string")
			}
			switch level := e.str(); level {
			case "local", "available", "majority": // equal on a single server
			case "linearizable", "snapshot":
				return refuse(123, "read concern %q needs a replica set", level)
			default:
				return refuse(codeFailedToParse, "read concern level %q is not known", level)
			}
		case "provenance":
		default:
			return refuse(codeNotImplemented, "read concern option %q needs a replica set", name)
		}
	}
	return nil
}

func (r *request) writeConcern(d doc) error {
	// As on a standalone MongoDB, "majority" waits for a sync unless j is given.
	if w := d.lookup("w"); w.t == tString && w.str() == "majority" && d.lookup("j").missing() {
		r.durable = true
	}
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		switch name := string(e.name); name {
		case "w":
			if e.t == tString {
				if e.str() != "majority" {
					return refuse(79, "no write concern mode named %q", e.str())
				}
				continue
			}
			n, ok := e.wholeNumber()
			if !ok || n < 0 {
				return refuse(codeFailedToParse, "writeConcern.w must be a whole number or \"majority\"")
			}
			if n > 1 {
				return refuse(codeBadValue, "cannot use 'w' > 1 when a host is not replicated")
			}
		case "j", "fsync":
			if e.t != tBool && !e.isNumber() {
				return refuse(codeFailedToParse, "writeConcern.%s must be a boolean", name)
			}
			r.durable = r.durable || e.truthy()
		case "wtimeout", "provenance", "wtimeoutMS":
		default:
			return refuse(codeUnknownField, "write concern option %q is not known", name)
		}
	}
	return nil
}

// fields calls f with every field that is not common to all commands. f reports whether it knows the field; an unknown
// one is refused.
func (r *request) fields(f func(name string, e elem) (known bool, err error)) error {
	_, rest := r.body.first()
	for e, rest := nextElem(rest); e.t != 0; e, rest = nextElem(rest) {
		name := string(e.name)
		if isCommon(name) {
			continue
		}
		known, err := f(name, e)
		if err != nil {
			return err
		}
		if !known {
			return refuse(codeUnknownField, "BSON field '%s.%s' is an unknown field.", r.name, truncated(name, 64))
		}
	}
	return nil
}

// collection reads the command's value as the name of a collection.
func (r *request) collection() (namespace, error) {
	if r.arg.t != tString {
		return namespace{}, refuse(codeInvalidNamespace, "collection name has invalid type %s", r.arg.typeName())
	}
	ns := namespace{r.db, r.arg.str()}
	if ns.coll == "" || strings.IndexByte(ns.coll, 0) >= 0 {
		return namespace{}, refuse(codeInvalidNamespace, "invalid namespace specified '%s'", ns)
	}
	return ns, nil
}

// docs returns the documents of an argument that is sent as a document sequence or as an array in the body.
func (r *request) docs(name string) ([]doc, error) {
	for _, s := range r.seqs {
		if s.name == name {
			return s.docs, nil
		}
	}
	v := r.body.lookup(name)
	if v.missing() {
		return nil, refuse(codeMissingField, "BSON field '%s.%s' is missing but a required field", r.name, name)
	}
	if v.t != tArray {
		return nil, refuse(codeTypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected type 'array'", r.name, name, v.typeName())
	}
	var docs []doc
	for e, rest := v.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		if e.t != tDocument {
			return nil, refuse(codeTypeMismatch,
				"BSON field '%s.%s.%s' is the wrong type '%s', expected type 'object'", r.name, name, e.name, e.typeName())
		}
		docs = append(docs, e.doc())
	}
	return docs, nil
}

func wrongType(r *request, e elem, want string) error {
	return refuse(codeTypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected type '%s'",
		r.name, truncated(string(e.name), 64), e.typeName(), want)
}

// The want functions read an argument of a certain type. Null means not given, except for strings.

func (r *request) wantDoc(e elem, p *doc) error {
	switch e.t {
	case tNull:
	case tDocument:
		*p = e.doc()
	default:
		return wrongType(r, e, "object")
	}
	return nil
}

func (r *request) wantString(e elem, p *string) error {
	if e.t != tString {
		return wrongType(r, e, "string")
	}
	*p = e.str()
	return nil
}

func (r *request) wantBool(e elem, p *bool) error {
	if e.t != tBool && e.t != tNull && !e.isNumber() {
		return wrongType(r, e, "bool")
	}
	*p = e.truthy()
	return nil
}

// wantCount reads a number that is not negative.
func (r *request) wantCount(e elem, p *int64) error {
	if e.t == tNull {
		return nil
	}
	if !e.isNumber() {
		return wrongType(r, e, "long")
	}
	n, ok := e.wholeNumber()
	if !ok || n < 0 {
		return refuse(codeBadValue, "BSON field '%s.%s' must be a whole number that is not negative", r.name, e.name)
	}
	*p = n
	return nil
}

// unset refuses an option that is not provided, unless its value is neutral: false, null, zero or empty.
func (r *request) unset(e elem) error { return unsetOption(r.name, e) }

func unsetOption(of string, e elem) error {
	neutral := !e.truthy()
	if e.t == tDocument || e.t == tArray {
		neutral = e.doc().isEmpty()
	}
	if neutral {
		return nil
	}
	return refuse(codeNotImplemented, "option %s of %s is not provided here", e.name, of)
}

// collation refuses every collation except the comparison byte by byte.
func collation(of string, e elem) error {
	if e.t == tNull {
		return nil
	}
	if e.t != tDocument {
		return refuse(codeTypeMismatch, "collation of %s must be an object", of)
	}
	if l := e.doc().lookup("locale"); e.doc().isEmpty() || l.t == tString && l.str() == "simple" {
		return nil
	}
	return refuse(codeNotImplemented, "collations are not provided here: strings are compared byte by byte, as with locale \"simple\"")
}
