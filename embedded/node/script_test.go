package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/cockroachdb/datadriven"
	"github.com/google/uuid"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// TestScripts runs the files of testdata/scripts against a node, each twice: with appends through the official client
// and through BatchAppend, which must behave alike. The commands are:
//
//	append stream=s expect=none|any|exists|N     one event per line: "id type data"; ids are names
//	read stream=s from=start|end|N back count=N resolve
//	read-all from=start|end|NAME back count=N resolve
//	subscribe stream=s from=...                  prints everything up to CaughtUp
//	subscribe-all from=... stream-prefix=(a,b) type-regex=... window=N every=N
//	delete, tombstone stream=s expect=...
//	scavenge keep=(prefix,...) dry-run
//	clock +5s
//	reopen
func TestScripts(t *testing.T) {
	for _, via := range []string{"append", "batchappend"} {
		t.Run(via, func(t *testing.T) {
			datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
				s := newScript(t, via == "batchappend")
				datadriven.RunTest(t, path, s.run)
			})
		})
	}
}

type script struct {
	t        *testing.T
	batch    bool
	options  Options
	node     *Node
	client   *esdb.Client
	skew     atomic.Int64 // nanoseconds that the node's clock is ahead
	names    map[uuid.UUID]string
	position map[string]esdb.Position // by event name
}

func newScript(t *testing.T, batch bool) *script {
	s := &script{t: t, batch: batch, names: map[uuid.UUID]string{}, position: map[string]esdb.Position{}}
	s.options = Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"}
	s.options.clock = func() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) }
	s.open()
	t.Cleanup(func() {
		_ = s.client.Close()
		if err := s.node.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *script) open() {
	n, err := Open(context.Background(), s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	config, err := esdb.ParseConnectionString(n.ConnectionString())
	if err != nil {
		s.t.Fatal(err)
	}
	config.Logger = func(esdb.LogLevel, string, ...any) {}
	if s.client, err = esdb.NewClient(config); err != nil {
		s.t.Fatal(err)
	}
	s.node = n
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	a := arguments{from: "start", expect: "any", count: math.MaxInt64, window: 32, every: 1}
	for _, arg := range d.CmdArgs {
		value := ""
		if len(arg.Vals) > 0 {
			value = arg.Vals[0]
		}
		number := func() int { n, err := strconv.Atoi(value); must(t, err); return n }
		switch arg.Key {
		case "stream":
			a.stream = value
		case "expect":
			a.expect = value
		case "from":
			a.from = value
		case "back":
			a.direction = esdb.Backwards
		case "resolve":
			a.resolve = true
		case "keep":
			a.keep = arg.Vals
		case "dry-run":
			a.dry = true
		case "count":
			a.count = uint64(number())
		case "window":
			a.window = number()
		case "every":
			a.every = number()
		case "stream-prefix":
			a.filter = &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Prefixes: arg.Vals}
		case "type-prefix":
			a.filter = &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Prefixes: arg.Vals}
		case "stream-regex":
			a.filter = &esdb.SubscriptionFilter{Type: esdb.StreamFilterType, Regex: value}
		case "type-regex":
			a.filter = &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Regex: value}
		default:
			a.word = arg.Key
		}
	}
	switch d.Cmd {
	case "append":
		events := s.events(d.Input)
		if s.batch {
			return s.appendBatch(a, events)
		}
		return s.appendOne(a, events)
	case "read":
		o := esdb.ReadStreamOptions{From: a.revision(t), Direction: a.direction, ResolveLinkTos: a.resolve}
		r, err := s.client.ReadStream(t.Context(), a.stream, o, a.count)
		return s.list(r, err, false)
	case "read-all":
		o := esdb.ReadAllOptions{From: s.allPosition(a), Direction: a.direction, ResolveLinkTos: a.resolve}
		r, err := s.client.ReadAll(t.Context(), o, a.count)
		return s.list(r, err, true)
	case "subscribe":
		o := esdb.SubscribeToStreamOptions{From: a.revision(t), ResolveLinkTos: a.resolve}
		sub, err := s.client.SubscribeToStream(t.Context(), a.stream, o)
		return s.follow(sub, err)
	case "subscribe-all":
		sub, err := s.client.SubscribeToAll(t.Context(), esdb.SubscribeToAllOptions{
			From: s.allPosition(a), ResolveLinkTos: a.resolve,
			Filter: a.filter, MaxSearchWindow: a.window, CheckpointInterval: a.every,
		})
		return s.follow(sub, err)
	case "delete":
		r, err := s.client.DeleteStream(t.Context(), a.stream, esdb.DeleteStreamOptions{ExpectedRevision: a.expected(t)})
		return s.removed(r, err)
	case "tombstone":
		r, err := s.client.TombstoneStream(t.Context(), a.stream, esdb.TombstoneStreamOptions{ExpectedRevision: a.expected(t)})
		return s.removed(r, err)
	case "scavenge":
		s.notePositions() // so that scripts can name the positions of removed events
		report, err := s.node.Scavenge(t.Context(), ScavengeOptions{Keep: a.keep, By: "keeper", DryRun: a.dry})
		must(t, err)
		return fmt.Sprintf("%d events of %d streams\n", report.Events, report.Streams)
	case "clock":
		by, err := time.ParseDuration(a.word)
		must(t, err)
		s.skew.Add(int64(by))
		return "ok\n"
	case "reopen":
		must(t, s.client.Close())
		must(t, s.node.Close())
		s.open()
		report, err := s.node.Verify(t.Context())
		must(t, err)
		if report.Damage != nil {
			return report.Damage.Error() + "\n"
		}
		return "sound\n"
	}
	return "unknown command\n"
}

type arguments struct {
	stream, expect, from, word string
	direction                  esdb.Direction
	resolve, dry               bool
	keep                       []string
	count                      uint64
	filter                     *esdb.SubscriptionFilter
	window, every              int
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (a arguments) revision(t *testing.T) esdb.StreamPosition {
	switch a.from {
	case "start":
		return esdb.Start{}
	case "end":
		return esdb.End{}
	}
	n, err := strconv.ParseUint(a.from, 10, 64)
	must(t, err)
	return esdb.Revision(n)
}

func (s *script) allPosition(a arguments) esdb.AllPosition {
	switch a.from {
	case "start":
		return esdb.Start{}
	case "end":
		return esdb.End{}
	}
	s.notePositions()
	p, ok := s.position[a.from]
	if !ok {
		s.t.Fatalf("no event %q", a.from)
	}
	return p
}

func (a arguments) expected(t *testing.T) esdb.ExpectedRevision {
	switch a.expect {
	case "none":
		return esdb.NoStream{}
	case "any":
		return esdb.Any{}
	case "exists":
		return esdb.StreamExists{}
	}
	n, err := strconv.ParseUint(a.expect, 10, 64)
	must(t, err)
	return esdb.Revision(n)
}

// events parses lines "id type data"; type and data are optional.
func (s *script) events(input string) []esdb.EventData {
	var events []esdb.EventData
	for line := range strings.Lines(input) {
		parts := strings.SplitN(strings.TrimSpace(line), " ", 3)
		id := uuid.NewSHA1(uuid.NameSpaceOID, []byte(parts[0]))
		s.names[id] = parts[0]
		e := esdb.EventData{EventID: id, EventType: "T", ContentType: esdb.ContentTypeJson}
		if len(parts) > 1 {
			e.EventType = parts[1]
		}
		if len(parts) > 2 {
			e.Data = []byte(parts[2])
		}
		events = append(events, e)
	}
	return events
}

// notePositions remembers the position of every event in the log.
func (s *script) notePositions() {
	r, err := s.client.ReadAll(s.t.Context(), esdb.ReadAllOptions{}, math.MaxInt64)
	for _, e := range drain(s.t, r, err) {
		s.position[s.name(e.Event)] = e.Event.Position
	}
}

func (s *script) name(e *esdb.RecordedEvent) string {
	if name, ok := s.names[e.EventID]; ok {
		return name
	}
	return "(by the store)"
}

// at returns the name of the event at a position, or "nowhere" if there is none.
func (s *script) at(commit, prepare uint64) string {
	if commit != prepare {
		return fmt.Sprintf("commit %d is not prepare %d", commit, prepare)
	}
	r, err := s.client.ReadAll(s.t.Context(), esdb.ReadAllOptions{From: esdb.Position{Commit: commit, Prepare: prepare}}, 1)
	got := drain(s.t, r, err)
	if len(got) == 0 || got[0].Event.Position.Commit != commit {
		return "nowhere"
	}
	return s.name(got[0].Event)
}

func (s *script) appendOne(a arguments, events []esdb.EventData) string {
	r, err := s.client.AppendToStream(s.t.Context(), a.stream, esdb.AppendToStreamOptions{ExpectedRevision: a.expected(s.t)}, events...)
	if err != nil {
		return refusal(err)
	}
	if len(events) == 0 {
		return fmt.Sprintf("ok: revision %d, nothing written\n", r.NextExpectedVersion)
	}
	return fmt.Sprintf("ok: revision %d, at %s\n", r.NextExpectedVersion, s.at(r.CommitPosition, r.PreparePosition))
}

func refusal(err error) string {
	var e *esdb.Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("error: %v\n", err)
	}
	switch e.Code() {
	case esdb.ErrorCodeWrongExpectedVersion:
		_, text, _ := strings.Cut(e.Err().Error(), "expecting ")
		return "wrong version: expecting " + text + "\n"
	case esdb.ErrorCodeStreamDeleted:
		return "stream deleted\n"
	case esdb.ErrorCodeResourceNotFound:
		return "not found\n"
	}
	return fmt.Sprintf("refused: %s: %s\n", status.Code(e.Err()), status.Convert(e.Err()).Message())
}

// appendBatch sends the append in as many parts as it has events, and prints the answer like appendOne.
func (s *script) appendBatch(a arguments, events []esdb.EventData) string {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	call, err := dialStreams(s.t, s.node).BatchAppend(ctx)
	must(s.t, err)
	o := &streams.BatchAppendReq_Options{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(a.stream)}}
	switch e := a.expected(s.t).(type) {
	case esdb.NoStream:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}}
	case esdb.Any:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}
	case esdb.StreamExists:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamExists{StreamExists: &emptypb.Empty{}}
	case esdb.StreamRevision:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: e.Value}
	}
	correlation := uuid.NewString()
	part := &streams.BatchAppendReq{CorrelationId: &shared.UUID{Value: &shared.UUID_String_{String_: correlation}}, Options: o}
	for _, e := range events {
		content := "application/octet-stream"
		if e.ContentType == esdb.ContentTypeJson {
			content = "application/json"
		}
		part.ProposedMessages = []*streams.BatchAppendReq_ProposedMessage{{
			Id:       &shared.UUID{Value: &shared.UUID_String_{String_: e.EventID.String()}},
			Metadata: map[string]string{"type": e.EventType, "content-type": content}, CustomMetadata: e.Metadata, Data: e.Data,
		}}
		must(s.t, call.Send(part))
		part.Options, part.ProposedMessages = nil, nil
	}
	part.IsFinal = true
	must(s.t, call.Send(part))
	must(s.t, call.CloseSend())
	resp, err := call.Recv()
	must(s.t, err)
	if _, err := call.Recv(); !errors.Is(err, io.EOF) {
		s.t.Fatalf("after the only answer: %v", err)
	}
	if resp.CorrelationId.GetString_() != correlation || string(resp.StreamIdentifier.GetStreamName()) != a.stream {
		s.t.Fatalf("the answer is for another append: %v", resp)
	}
	if failure := resp.GetError(); failure != nil {
		for _, d := range failure.Details {
			m, err := d.UnmarshalNew()
			must(s.t, err)
			switch m := m.(type) {
			case *shared.WrongExpectedVersion:
				return "wrong version: expecting " + expectedOf(m) + " but got " + currentOf(m) + "\n"
			case *shared.StreamDeleted:
				return "stream deleted\n"
			}
		}
		return fmt.Sprintf("refused: %s: %s\n", status.FromProto(failure).Code(), failure.Message)
	}
	success := resp.GetSuccess()
	if len(events) == 0 {
		return fmt.Sprintf("ok: revision %d, nothing written\n", success.GetCurrentRevision())
	}
	position := success.GetPosition()
	return fmt.Sprintf("ok: revision %d, at %s\n",
		success.GetCurrentRevision(), s.at(position.GetCommitPosition(), position.GetPreparePosition()))
}

func expectedOf(m *shared.WrongExpectedVersion) string {
	switch e := m.ExpectedStreamPositionOption.(type) {
	case *shared.WrongExpectedVersion_ExpectedAny:
		return "'any'"
	case *shared.WrongExpectedVersion_ExpectedNoStream:
		return "'no_stream'"
	case *shared.WrongExpectedVersion_ExpectedStreamExists:
		return "'stream_exists'"
	case *shared.WrongExpectedVersion_ExpectedStreamPosition:
		return fmt.Sprintf("'%d'", e.ExpectedStreamPosition)
	}
	return "nothing"
}

func currentOf(m *shared.WrongExpectedVersion) string {
	if m.GetCurrentNoStream() != nil {
		return "'no_stream'"
	}
	return fmt.Sprintf("'%d'", m.GetCurrentStreamRevision())
}

func (s *script) removed(r *esdb.DeleteResult, err error) string {
	if err != nil {
		return refusal(err)
	}
	return fmt.Sprintf("ok, at %s\n", s.at(r.Position.Commit, r.Position.Prepare))
}

func (s *script) list(r *esdb.ReadStream, err error, all bool) string {
	must(s.t, err)
	defer r.Close()
	var b strings.Builder
	last := uint64(0)
	for {
		e, err := r.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b.String() + refusal(err)
		}
		if original := e.OriginalEvent(); original != nil && all {
			if last == original.Position.Commit {
				b.WriteString("the same position again\n")
			}
			last = original.Position.Commit
		}
		b.WriteString(s.describe(e) + "\n")
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func (s *script) describe(e *esdb.ResolvedEvent) string {
	one := func(r *esdb.RecordedEvent) string {
		if r == nil {
			return "nothing"
		}
		text := fmt.Sprintf("%s/%d %s %s", r.StreamID, r.EventNumber, s.name(r), r.EventType)
		if r.EventNumber == math.MaxInt64 {
			text = fmt.Sprintf("%s/max %s %s", r.StreamID, s.name(r), r.EventType)
		}
		if r.EventType == store.ScavengeType {
			var a struct {
				By      string
				Keep    []string
				Events  int
				Streams int
			}
			must(s.t, json.Unmarshal(r.Data, &a))
			return text + fmt.Sprintf(" %d events of %d streams by %s, kept %v", a.Events, a.Streams, a.By, a.Keep)
		}
		if len(r.Data) > 0 {
			text += " " + string(r.Data)
		}
		return text
	}
	if e.Link != nil {
		return one(e.Link) + " -> " + one(e.Event)
	}
	return one(e.Event)
}

func (s *script) follow(sub *esdb.Subscription, err error) string {
	if err != nil {
		return refusal(err)
	}
	defer sub.Close()
	var b strings.Builder
	for {
		e := sub.Recv()
		switch {
		case e.SubscriptionDropped != nil:
			return b.String() + refusal(e.SubscriptionDropped.Error)
		case e.CheckPointReached != nil:
			fmt.Fprintf(&b, "checkpoint at %s\n", s.at(e.CheckPointReached.Commit, e.CheckPointReached.Prepare))
		case e.CaughtUp != nil:
			return b.String() + "caught up\n"
		case e.EventAppeared != nil:
			b.WriteString(s.describe(e.EventAppeared) + "\n")
		}
	}
}
