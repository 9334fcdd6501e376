package readmodels_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// standIn is a server that speaks as much of MongoDB's protocol as a driver needs to connect. It answers hello as it is told
// to, and everything else with ok.
type standIn struct {
	hello bson.D
	// failures are the codes of the errors with which it answers the first commands hello that are no handshake.
	failures []int32
	// slow delays the answer to the command of a name.
	slow map[string]time.Duration

	mu       sync.Mutex
	commands []bson.M
}

func (s *standIn) start(t *testing.T) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer c.Close(); s.serve(c) })
		}
	})
	return "mongodb://" + listener.Addr().String() + "/?directConnection=true&serverMonitoringMode=poll"
}

// serve answers the messages of a connection: OP_MSG, and OP_QUERY, by which a driver says hello.
func (s *standIn) serve(c net.Conn) {
	const opReply, opQuery, opMessage = 1, 2004, 2013
	in := bufio.NewReader(c)
	for {
		head := make([]byte, 16)
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		body := make([]byte, binary.LittleEndian.Uint32(head)-16)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		var document bson.Raw
		operation, prefix := uint32(opMessage), []byte{0, 0, 0, 0, 0}
		switch binary.LittleEndian.Uint32(head[12:]) {
		case opMessage:
			document = bson.Raw(body[5:])
		case opQuery:
			_, rest, _ := strings.Cut(string(body[4:]), "\x00")
			document = bson.Raw(rest[8:])
			operation, prefix = opReply, append(make([]byte, 16), 1, 0, 0, 0)
		}
		document = document[:binary.LittleEndian.Uint32(document)]
		answer, err := bson.Marshal(s.answer(document))
		if err != nil {
			return
		}
		reply := make([]byte, 16, 16+len(prefix)+len(answer))
		copy(reply[8:], head[4:8])
		binary.LittleEndian.PutUint32(reply[12:], operation)
		reply = append(append(reply, prefix...), answer...)
		binary.LittleEndian.PutUint32(reply, uint32(len(reply)))
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

func (s *standIn) answer(command bson.Raw) bson.D {
	first, err := command.IndexErr(0)
	if err != nil {
		return bson.D{{Key: "ok", Value: 0}}
	}
	name := first.Key()
	if failed := s.fails(name, command); failed != nil {
		return failed
	}
	if name == "hello" || strings.EqualFold(name, "isMaster") {
		return append(bson.D{{Key: "ok", Value: 1}, {Key: "isWritablePrimary", Value: true}, {Key: "ismaster", Value: true},
			{Key: "helloOk", Value: true}, {Key: "maxBsonObjectSize", Value: 16 << 20}, {Key: "maxMessageSizeBytes", Value: 48_000_000},
			{Key: "maxWriteBatchSize", Value: 100_000}, {Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 21}}, s.hello...)
	}
	var decoded bson.M
	if bson.Unmarshal(command, &decoded) == nil {
		s.mu.Lock()
		s.commands = append(s.commands, decoded)
		s.mu.Unlock()
	}
	time.Sleep(s.slow[name])
	return bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 1}, {Key: "nModified", Value: 1},
		{Key: "cursor", Value: bson.D{{Key: "firstBatch", Value: bson.A{}}, {Key: "id", Value: int64(0)}, {Key: "ns", Value: "db.x"}}}}
}

// fails returns the error of the next command hello that is to fail; nil for none.
func (s *standIn) fails(name string, command bson.Raw) bson.D {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, handshake := command.Lookup("client").DocumentOK(); name != "hello" || handshake || len(s.failures) == 0 {
		return nil
	}
	code := s.failures[0]
	s.failures = s.failures[1:]
	return bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: code}, {Key: "codeName", Value: "AnError"}, {Key: "errmsg", Value: "an error"}}
}

// TestOnlyWhatLastsIsNotWaitedFor: a server that starts, stops or elects a primary answers with many codes. What somebody has to
// change is an error at once.
func TestOnlyWhatLastsIsNotWaitedFor(t *testing.T) {
	// InternalError, HostUnreachable, ShutdownInProgress, NotPrimaryNoSecondaryOk, and one that nobody knows.
	passing := &standIn{failures: []int32{1, 6, 91, 13435, 999_999}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	store, err := readmodels.Await(ctx, slog.New(slog.DiscardHandler), passing.start(t), "views", nil)
	if err != nil {
		t.Fatalf("it ends with %v", err)
	}
	if err := store.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, code := range []int32{13, 18} { // a right is missing, the password is wrong
		lasting := &standIn{failures: []int32{code, code, code, code}}
		_, err := readmodels.Await(ctx, slog.New(slog.DiscardHandler), lasting.start(t), "views", nil)
		if !errors.Is(err, readmodels.ErrRefused) {
			t.Errorf("with code %d it ends with %v", code, err)
		}
	}
	for _, address := range []string{"mongodb:/nowhere", "mongodb://127.0.0.1:1/?readPreference=secondary"} {
		if _, err := readmodels.Await(ctx, slog.New(slog.DiscardHandler), address, "views", nil); err == nil || ctx.Err() != nil {
			t.Errorf("%s: it ends with %v", address, err)
		}
	}
}

// concerns returns write and read concern of the last command of a name.
func (s *standIn) concern(name, kind string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.commands) - 1; i >= 0; i-- {
		if _, is := s.commands[i][name]; !is {
			continue
		}
		concern, _ := s.commands[i][kind].(bson.D)
		for _, e := range concern {
			if e.Key == "w" || e.Key == "level" {
				return e.Value.(string)
			}
		}
	}
	return ""
}

// TestMajorityCounts asks what concerns go to each kind of server.
func TestMajorityCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		hello bson.D
		want  string
	}{
		"standalone":  {nil, ""},
		"replica set": {bson.D{{Key: "setName", Value: "rs0"}, {Key: "hosts", Value: bson.A{}}}, "majority"},
		"mongos":      {bson.D{{Key: "msg", Value: "isdbgrid"}}, "majority"},
	} {
		t.Run(name, func(t *testing.T) {
			server := &standIn{hello: tc.hello}
			s, err := readmodels.Connect(t.Context(), server.start(t), "db", contexts.Views())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close(context.Background()) }()
			if err := s.SaveCheckpoint(t.Context(), readmodels.Checkpoint{Collection: "c", Position: domain.Position{Commit: 1}}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.LoadBuildCheckpoint(t.Context(), patientviews.PatientLists, "c"); err != nil {
				t.Fatal(err)
			}
			if w, r := server.concern("update", "writeConcern"), server.concern("find", "readConcern"); w != tc.want || r != tc.want {
				t.Errorf("writes ask for %q, reads for %q", w, r)
			}
		})
	}
}

// TestIndexesMayTakeLong has a server that takes longer for an index than any other call may last.
func TestIndexesMayTakeLong(t *testing.T) {
	server := &standIn{slow: map[string]time.Duration{"createIndexes": 2 * time.Second}}
	s, err := readmodels.Connect(t.Context(), server.start(t), "db", contexts.Views(), options.Client().SetTimeout(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(context.Background()) }()
	if err := s.IndexBuild(t.Context(), patientviews.PatientLists, "c"); err != nil {
		t.Errorf("the index: %v", err)
	}
	asked := 0
	server.mu.Lock()
	for _, c := range server.commands {
		if _, is := c["createIndexes"]; is {
			asked++
		}
	}
	server.mu.Unlock()
	if asked != 1 {
		t.Errorf("the server was asked %d times", asked)
	}
}

func TestSecondariesAreNotRead(t *testing.T) {
	for _, mode := range []string{"secondary", "secondaryPreferred", "nearest", "primaryPreferred"} {
		_, err := readmodels.Connect(t.Context(), mongoURL+"&readPreference="+mode, "db", contexts.Views())
		if err == nil || !strings.Contains(err.Error(), "readPreference="+mode) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	s, err := readmodels.Connect(t.Context(), mongoURL+"&readPreference=primary", "db", contexts.Views())
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close(context.Background())
}
