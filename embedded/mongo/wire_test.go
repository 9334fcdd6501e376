package mongo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// frame builds an OP_MSG, with a checksum if the flags contain flagChecksum.
func frame(flags uint32, sections ...[]byte) []byte {
	b := make([]byte, headerLen)
	binary.LittleEndian.PutUint32(b[4:], 42)
	binary.LittleEndian.PutUint32(b[12:], uint32(opMsg))
	b = binary.LittleEndian.AppendUint32(b, flags)
	for _, s := range sections {
		b = append(b, s...)
	}
	n := len(b)
	if flags&flagChecksum != 0 {
		n += 4
	}
	binary.LittleEndian.PutUint32(b, uint32(n))
	if flags&flagChecksum != 0 {
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	return b
}

func body(d bson.D) []byte { return append([]byte{0}, raw(d)...) }

func sequenceOf(name string, docs ...bson.D) []byte {
	b := append([]byte(name), 0)
	for _, d := range docs {
		b = append(b, raw(d)...)
	}
	return append(binary.LittleEndian.AppendUint32([]byte{1}, uint32(4+len(b))), b...)
}

// legacyQuery builds an OP_QUERY.
func legacyQuery(ns string, d bson.D) []byte {
	b := make([]byte, headerLen+4)
	binary.LittleEndian.PutUint32(b[12:], uint32(opQuery))
	b = append(append(b, ns...), 0)
	b = append(b, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF)
	b = append(b, raw(d)...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

func receive(t testing.TB, r io.Reader) doc {
	t.Helper()
	b, err := readFrame(r, nil, func(int64) error { return nil })
	must(t, err)
	if op := le32(b[12:]); op == opReply {
		d, err := validate(b[headerLen+20:])
		must(t, err)
		return d
	}
	m, err := parseMessage(b)
	must(t, err)
	return m.body
}

func ping(t testing.TB, nc net.Conn) {
	t.Helper()
	_, err := nc.Write(frame(0, body(D("ping", 1, "$db", "admin"))))
	must(t, err)
	if d := receive(t, nc); !d.lookup("ok").truthy() {
		t.Fatalf("ping: %s", shellText(d))
	}
}

func TestMessagesOnTheWire(t *testing.T) {
	s := startServer(t)
	nc, err := net.Dial("tcp", s.Addr())
	must(t, err)
	defer nc.Close()
	send := func(b []byte) {
		t.Helper()
		_, err := nc.Write(b)
		must(t, err)
	}
	// The handshake of old drivers.
	for _, cmd := range []bson.D{
		D("isMaster", 1, "helloOk", true), D("ismaster", 1), D("$query", D("isMaster", 1)), D("hello", 1),
	} {
		send(legacyQuery("admin.$cmd", cmd))
		d := receive(t, nc)
		if v, _ := d.lookup("maxWireVersion").wholeNumber(); v != 21 || !d.lookup("ok").truthy() {
			t.Errorf("%v: %s", cmd, shellText(d))
		}
	}
	send(legacyQuery("admin.$cmd", D("find", "c")))
	if code, _ := receive(t, nc).lookup("code").wholeNumber(); code != int64(codeUnsupportedOpQueryCmd) {
		t.Errorf("another OP_QUERY: code %d", code)
	}
	// A message with flagMoreToCome gets no answer: the next answer is for the next message.
	send(frame(flagMoreToCome, body(D("insert", "c", "$db", "test", "writeConcern", D("w", 0))),
		sequenceOf("documents", D("_id", 1), D("_id", 2))))
	send(frame(1<<16, sequenceOf("documents", D("_id", 3)), body(D("insert", "c", "$db", "test"))))
	if n, _ := receive(t, nc).lookup("n").wholeNumber(); n != 1 {
		t.Errorf("inserted %d", n)
	}
	send(frame(flagChecksum, body(D("count", "c", "$db", "test"))))
	if n, _ := receive(t, nc).lookup("n").wholeNumber(); n != 3 {
		t.Errorf("counted %d", n)
	}
	send(frame(0, body(D("ping", 1))))
	if code, _ := receive(t, nc).lookup("code").wholeNumber(); code != int64(codeMissingField) {
		t.Errorf("without $db: code %d", code)
	}
	ping(t, nc)
}

// TestMalformedMessagesEndTheConnection: a malformed message ends its connection, and others are still served.
func TestMalformedMessagesEndTheConnection(t *testing.T) {
	s := startServer(t)
	good := frame(flagChecksum, body(D("ping", 1, "$db", "admin")))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	huge := bytes.Clone(good)
	binary.LittleEndian.PutUint32(huge, maxMessageSize+1)
	negative := bytes.Clone(good)
	binary.LittleEndian.PutUint32(negative, 1<<31)
	compressed := bytes.Clone(good)
	binary.LittleEndian.PutUint32(compressed[12:], 2012)
	deep := bson.D{}
	for range 300 {
		deep = D("d", deep)
	}
	deepBytes, err := bson.Marshal(append(D("ping", 1, "$db", "admin"), deep...))
	must(t, err)
	for name, b := range map[string][]byte{
		"wrong checksum": flipped, "too long": huge, "negative length": negative, "compressed": compressed,
		"unknown flag":            frame(1<<5, body(D("ping", 1))),
		"no body":                 frame(0),
		"two bodies":              frame(0, body(D("ping", 1)), body(D("ping", 1))),
		"unknown section":         frame(0, []byte{7}),
		"incomplete document":     frame(0, body(D("ping", 1))[:8]),
		"the same sequence twice": frame(0, body(D("ping", 1)), sequenceOf("a"), sequenceOf("a")),
		"too deep":                frame(0, append([]byte{0}, deepBytes...)),
		"OP_QUERY elsewhere":      legacyQuery("test.c", D("isMaster", 1)),
	} {
		nc, err := net.Dial("tcp", s.Addr())
		must(t, err)
		_, err = nc.Write(b)
		must(t, err)
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			var ne *net.OpError
			if !errors.As(err, &ne) { // a reset ends the connection too
				t.Errorf("%s: the connection stays open (%v)", name, err)
			}
		}
		nc.Close()
	}
	nc, err := net.Dial("tcp", s.Addr())
	must(t, err)
	defer nc.Close()
	ping(t, nc)
}

func FuzzParseMessage(f *testing.F) {
	f.Add(frame(0, body(D("ping", 1, "$db", "admin"))))
	f.Add(frame(flagChecksum, body(D("insert", "c", "$db", "d")), sequenceOf("documents", D("_id", 1), D("_id", "x"))))
	f.Add(legacyQuery("admin.$cmd", D("isMaster", 1, "client", D("driver", "x"))))
	rare := D("a", numbers[:20], "b", bson.CodeWithScope{Code: "x", Scope: D("y", 1)}, "c", bson.DBPointer{}, "r", bson.Regex{Pattern: "a"})
	f.Add(frame(0, body(rare)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bytes.NewReader(b), nil, func(int64) error { return nil })
		if err == nil && len(got) > len(b) {
			t.Fatal("more bytes were read than there are")
		}
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		walk(m.body)
		for _, s := range m.seqs {
			for _, d := range s.docs {
				walk(d)
			}
		}
	})
}

// walk reads everything in d with the server's functions.
func walk(d doc) {
	_ = keyOf(value{tDocument, d})
	_ = shellText(d)
	for e, rest := d.first(); e.t != 0; e, rest = nextElem(rest) {
		_ = e.truthy()
		_, _ = e.wholeNumber()
		if e.t == tDocument || e.t == tArray {
			walk(e.doc())
		}
	}
}

// FuzzFilter compiles a document as filter, update, sort, projection and index key, and applies each to another
// document.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		`{"a": {"$gt": 1, "$lt": "x", "$in": [1, {"$numberLong": "2"}, null]}}`,
		`{"$or": [{"a.b.0": {"$size": 1}}, {"$nor": [{"x": {"$not": {"$all": [1]}}}]}]}`,
		`{"a": {"$elemMatch": {"b": 1, "c": {"$type": "number"}}}}`,
		`{"a": {"$elemMatch": {"$gt": 1, "$not": {"$mod": [2, 1]}}}}`,
		`{"a": {"$regex": "^a.*b$", "$options": "im"}}`,
		`{"$set": {"a.b": 1}, "$push": {"c": {"$each": [1], "$sort": -1, "$slice": 2}}}`,
		`{"$pull": {"a": {"$gt": 1}}, "$rename": {"b": "c.d"}, "$inc": {"e": 1}}`, `{"a": 1, "b.c": -1}`, `{"a": 0, "b.c": 0, "_id": 1}`,
	} {
		f.Add([]byte(rawJSON(s)), []byte(rawJSON(`{"_id": 1, "a": [{"b": [1]}, 2, "abc"], "b": {"c": 1}, "e": 1.5}`)))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		d, err := validate(a)
		if err != nil {
			return
		}
		target, err := validate(b)
		if err != nil {
			target = d
		}
		if flt, err := parseFilter(d); err == nil {
			flt.match(target)
			_, _ = upsertBase(flt)
			preds := map[string][]test{}
			collectPreds(preds, "", flt.root.(allOf))
			for _, p := range preds {
				intervalsFor(p, false)
				intervalsFor(p, true)
			}
		}
		if u, err := parseUpdate(value{tDocument, d}); err == nil {
			if out, err := u.apply(target, false); err == nil {
				if _, err := validate(out); err != nil {
					t.Fatalf("the updated document is %x: %v", out, err)
				}
			}
		}
		if s, err := parseSort(d); err == nil && s != nil {
			_, _ = s.appendSortKey(nil, target)
		}
		if p, err := parseProjection(d); err == nil {
			if _, err := validate(p.apply(target)); err != nil {
				t.Fatal(err)
			}
		}
		if x, err := newIndex("x", d, false); err == nil {
			var set keySet
			set.reset(1)
			_ = x.keys(target, &set, 0)
		}
	})
}

// FuzzCommand sends a document to a server as a command.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		`{"aggregate": "c", "pipeline": [
			{"$unwind": {"path": "$a.b", "includeArrayIndex": "i.n", "preserveNullAndEmptyArrays": true}},
			{"$group": {"_id": {"a": "$a"}, "n": {"$sum": "$i.n"}, "l": {"$push": ["$$ROOT", {"x": "$a.x"}]}}},
			{"$project": {"_id": "$n", "l": {"$literal": 1}, "x": {"y": 1}}}], "cursor": {}, "$db": "d"}`,
		`{"find": "c", "filter": {"a": 1}, "sort": {"b": 1}, "limit": 2, "projection": {"a": 1}, "$db": "d"}`,
		`{"insert": "c", "documents": [{"a": 1}, {"_id": [1]}], "ordered": false, "$db": "d"}`,
		`{"update": "c", "updates": [{"q": {"a": 1}, "u": {"$inc": {"a": 1}}, "upsert": true, "multi": true}], "$db": "d"}`,
		`{"delete": "c", "deletes": [{"q": {}, "limit": 1}], "$db": "d"}`, `{"count": "c", "query": {}, "$db": "d"}`,
		`{"createIndexes": "c", "indexes": [{"key": {"a": 1, "b.c": -1}, "name": "x", "unique": true}], "$db": "d"}`,
		`{"dropIndexes": "c", "index": "*", "$db": "d"}`,
		`{"aggregate": "c", "pipeline": [{"$match": {}}, {"$group": {"_id": "$a", "n": {"$sum": 1}}}], "cursor": {}, "$db": "d"}`,
		`{"findAndModify": "c", "query": {}, "update": {"$set": {"a": 2}}, "new": true, "$db": "d"}`,
		`{"distinct": "c", "key": "a.0", "$db": "d"}`,
		`{"explain": {"find": "c", "filter": {"a": {"$gt": 1}}}, "$db": "d"}`,
		`{"renameCollection": "d.c", "to": "d.e", "dropTarget": true, "$db": "admin"}`,
		`{"listCollections": 1, "filter": {"name": "c"}, "$db": "d"}`,
		`{"getMore": {"$numberLong": "1"}, "collection": "c", "$db": "d"}`,
		`{"killCursors": "c", "cursors": [1], "$db": "d"}`,
		`{"hello": 1, "$db": "admin"}`,
		`{"getParameter": "*", "$db": "admin"}`,
		`{"dropDatabase": 1, "$db": "d"}`,
	} {
		f.Add([]byte(rawJSON(s)))
	}
	o := Options{Dir: "data", FS: vfs.NewMem()}
	s, err := Open(context.Background(), o)
	must(f, err)
	f.Cleanup(func() { s.Close() })
	here, there := net.Pipe()
	f.Cleanup(func() { here.Close(); there.Close() })
	c := &conn{s: s, nc: here, id: 1}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(frame(0, append([]byte{0}, b...)))
		if err != nil {
			return
		}
		answer, err := s.dispatch(c, &m) // not handle, because it recovers from panics
		if err != nil {
			answer = asCommandError(err).reply()
		}
		if _, err := validate(answer); err != nil {
			t.Fatalf("the answer is malformed: %v", err)
		}
		s.cursors.expire(s.started.Add(s.opts.CursorTimeout * 100))
	})
}
