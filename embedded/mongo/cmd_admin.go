package mongo

import (
	"crypto/rand"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The commands in this file describe the server to drivers and shells.

const (
	serverVersion  = "7.0.0"
	maxWireVersion = 21 // of MongoDB 7.0
)

func (r *request) hello() (doc, error) {
	w := newBuilder()
	if r.name == "hello" {
		w.bool("isWritablePrimary", true)
	} else {
		w.bool("ismaster", true)
	}
	if r.body.lookup("helloOk").truthy() {
		w.bool("helloOk", true)
	}
	w.int32("maxBsonObjectSize", maxDocSize).int32("maxMessageSizeBytes", maxMessageSize).
		int32("maxWriteBatchSize", maxWriteBatch).date("localTime", time.Now().UnixMilli()).
		int32("logicalSessionTimeoutMinutes", 30).int32("connectionId", int32(r.c.id)).
		int32("minWireVersion", 0).int32("maxWireVersion", maxWireVersion).bool("readOnly", false)
	r.mechanisms(w)
	return w.ok().done(), nil
}

// ping fails while the server takes no writes, so that whoever asks for its health is told.
func (r *request) ping() (doc, error) {
	if !r.s.opts.ReadOnly {
		if err := r.s.unwritable(); err != nil {
			return nil, err
		}
	}
	return newBuilder().ok().done(), nil
}

func (r *request) buildInfo() (doc, error) {
	w := newBuilder()
	w.str("version", serverVersion).str("gitVersion", "casebook").array("modules").end().
		str("sysInfo", runtime.Version()).array("versionArray").int32("", 7).int32("", 0).int32("", 0).int32("", 0).end().
		int32("bits", 64).bool("debug", false).int32("maxBsonObjectSize", maxDocSize).
		array("storageEngines").str("", "pebble").end()
	return w.ok().done(), nil
}

func (r *request) getParameter() (doc, error) {
	w := newBuilder()
	found := false
	params := func(w *builder, name string) {
		if name == "featureCompatibilityVersion" {
			w.doc(name).str("version", "7.0").end()
			found = true
		}
	}
	all := r.arg.t == tString && r.arg.str() == "*"
	if all {
		params(w, "featureCompatibilityVersion")
	}
	err := r.fields(func(name string, e elem) (bool, error) {
		if !all && name != "allParameters" {
			params(w, name)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, refuse(codeInvalidOptions, "no option found to get")
	}
	return w.ok().done(), nil
}

func (r *request) getCmdLineOpts() (doc, error) {
	return newBuilder().array("argv").end().doc("parsed").end().ok().done(), nil
}

func (r *request) connectionStatus() (doc, error) {
	w := newBuilder()
	w.doc("authInfo").array("authenticatedUsers")
	if u := r.c.user; u != nil {
		w.doc("").str("user", u.Name).str("db", authDatabase).end()
	}
	w.end().array("authenticatedUserRoles")
	if u := r.c.user; u != nil {
		role := "readAnyDatabase"
		if u.Role == ReadWrite {
			role = "root"
		}
		w.doc("").str("role", role).str("db", authDatabase).end()
	}
	w.end().end()
	return w.ok().done(), nil
}

func (r *request) whatsMyURI() (doc, error) {
	return newBuilder().str("you", r.c.nc.RemoteAddr().String()).ok().done(), nil
}

func (r *request) getLog() (doc, error) {
	return newBuilder().int32("totalLinesWritten", 0).array("log").end().ok().done(), nil
}

func (r *request) hostInfo() (doc, error) {
	w := newBuilder()
	w.doc("system").date("currentTime", time.Now().UnixMilli()).int32("numCores", int32(runtime.NumCPU())).
		str("cpuArch", runtime.GOARCH).end()
	w.doc("os").str("type", runtime.GOOS).end()
	return w.ok().done(), nil
}

func (r *request) serverStatus() (doc, error) {
	st := r.s.stats()
	w := newBuilder()
	w.str("host", r.s.Addr()).str("version", serverVersion).str("process", "casebook").
		double("uptime", time.Since(r.s.started).Seconds()).date("localTime", time.Now().UnixMilli())
	w.doc("connections").int32("current", int32(st.Connections)).int32("available", int32(r.s.opts.MaxConns-st.Connections)).end()
	w.doc("metrics").doc("cursor").doc("open").int64("total", int64(st.Cursors)).end().end().
		doc("commands").int64("total", st.Commands).int64("failed", st.FailedCommands).end().end()
	w.doc("storageEngine").str("name", "pebble").bool("persistent", true).end()
	return w.ok().done(), nil
}

func (r *request) listCommands() (doc, error) {
	w := newBuilder()
	w.doc("commands")
	for _, name := range slices.Sorted(maps.Keys(commandTable)) {
		w.doc(name).end()
	}
	w.end()
	return w.ok().done(), nil
}

// scale reads the scale option of dbStats and collStats, by which they divide sizes.
func (r *request) scale() (int64, error) {
	scale := int64(1)
	err := r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "scale":
			if e.t == tNull {
				return true, nil
			}
			n, ok := e.wholeNumber()
			if !ok || n < 1 {
				return true, refuse(codeBadValue, "BSON field '%s.scale' must be a whole number from 1", r.name)
			}
			scale = n
			return true, nil
		case "freeStorage":
			return true, r.unset(e)
		}
		return false, nil
	})
	return scale, err
}

func (r *request) dbStats() (doc, error) {
	scale, err := r.scale()
	if err != nil {
		return nil, err
	}
	var objects, size, indexes, indexSize int64
	colls := r.s.store.collections(r.db)
	for _, c := range colls {
		objects += c.count.Load()
		size += c.bytes.Load()
		indexes++ // the _id index
		for _, x := range *c.indexes.Load() {
			indexes++
			indexSize += r.s.store.sizeOf(c, x)
		}
	}
	w := newBuilder()
	w.str("db", r.db).int64("collections", int64(len(colls))).int64("views", 0).int64("objects", objects).
		double("avgObjSize", average(size, objects)).int64("dataSize", size/scale).int64("storageSize", size/scale).
		int64("indexes", indexes).int64("indexSize", indexSize/scale).int64("totalSize", (size+indexSize)/scale).
		int64("scaleFactor", scale)
	return w.ok().done(), nil
}

// average returns size/n, or 0 if n is 0.
func average(size, n int64) float64 {
	if n == 0 {
		return 0
	}
	return float64(size) / float64(n)
}

func (r *request) collStats() (doc, error) {
	ns, err := r.collection()
	if err != nil {
		return nil, err
	}
	scale, err := r.scale()
	if err != nil {
		return nil, err
	}
	w := newBuilder()
	w.str("ns", ns.String())
	r.storageStats(w, r.s.store.lookup(ns), scale)
	return w.ok().done(), nil
}

// storageStats appends the sizes of a collection; c is nil if it does not exist. The _id index is the documents
// themselves and takes no space of its own.
func (r *request) storageStats(w *builder, c *collection, scale int64) {
	var count, size, indexSize int64
	sizes := newBuilder()
	var indexes []*index
	if c != nil {
		count, size, indexes = c.count.Load(), c.bytes.Load(), *c.indexes.Load()
		sizes.int64(c.primary.name, 0)
	}
	for _, x := range indexes {
		n := r.s.store.sizeOf(c, x)
		indexSize += n
		sizes.int64(x.name, n/scale)
	}
	w.int64("size", size/scale).int64("count", count).double("avgObjSize", average(size, count)).
		int64("storageSize", size/scale).bool("capped", false)
	d := sizes.done()
	w.int32("nindexes", int32(d.len())).rawDoc("indexSizes", d).int64("totalIndexSize", indexSize/scale).
		int64("totalSize", (size+indexSize)/scale).int64("scaleFactor", scale)
}

// collStatsStage returns the source of a pipeline that begins with $collStats: one document about the collection.
func (r *request) collStatsStage(ns namespace, arg value) (source, error) {
	if arg.t != tDocument {
		return nil, refuse(40166, "$collStats must take a nested object but found a value of type %s", arg.typeName())
	}
	c := r.s.store.lookup(ns)
	if c == nil {
		return nil, refuse(codeNamespaceNotFound, "unable to retrieve the statistics of collection %s: it does not exist", ns)
	}
	w := newBuilder()
	w.str("ns", ns.String()).str("host", r.s.Addr()).date("localTime", time.Now().UnixMilli())
	for e, rest := arg.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		if e.t != tDocument {
			return nil, refuse(codeTypeMismatch, "option %s of $collStats must be an object", truncated(string(e.name), 64))
		}
		switch name := string(e.name); name {
		case "count":
			w.int64("count", c.count.Load())
		case "storageStats":
			scale := int64(1)
			if v := e.doc().lookup("scale"); !v.isNullish() {
				n, ok := v.wholeNumber()
				if !ok || n < 1 {
					return nil, refuse(codeBadValue, "scale of $collStats must be a whole number from 1")
				}
				scale = n
			}
			w.doc("storageStats")
			r.storageStats(w, c, scale)
			w.end()
		case "latencyStats", "queryExecStats", "operationStats":
			return nil, refuse(codeNotImplemented, "option %s of $collStats is not provided here", name)
		default:
			return nil, refuse(codeUnknownField, "BSON field '$collStats.%s' is an unknown field.", truncated(name, 64))
		}
	}
	return &listSource{[]doc{w.done()}}, nil
}

// sessions answers the commands that refresh or end sessions. It does nothing, because the server keeps no sessions.
func (r *request) sessions() (doc, error) {
	if r.arg.t != tArray {
		return nil, refuse(codeTypeMismatch, "BSON field '%s' is the wrong type '%s', expected type 'array'", r.name, r.arg.typeName())
	}
	return newBuilder().ok().done(), nil
}

func (r *request) startSession() (doc, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	w := newBuilder()
	w.doc("id").val("id", uuidValue(id)).end().int32("timeoutMinutes", 30)
	return w.ok().done(), nil
}

// needAdmin refuses a command about the whole server if it is not sent to the database admin.
func (r *request) needAdmin() error {
	if !strings.EqualFold(r.db, "admin") {
		return refuse(codeUnauthorized, "%s may only be run against the admin database.", r.name)
	}
	return nil
}
