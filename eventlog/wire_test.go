package eventlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"time"

	"casebook/domain"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"pgregory.net/rapid"
)

// decodedByStubs is what the generated messages say of an answer.
func decodedByStubs(t *rapid.T, b []byte) (m readMessage) {
	var answer streams.ReadResp
	if err := proto.Unmarshal(b, &answer); err != nil {
		t.Fatal(err)
	}
	switch content := answer.GetContent().(type) {
	case *streams.ReadResp_Event:
		e := content.Event.GetEvent()
		if content.Event.GetLink() != nil {
			e = content.Event.GetLink()
		}
		m.isEvent = true
		m.event = Recorded{Stream: string(e.GetStreamIdentifier().GetStreamName()), Revision: e.GetStreamRevision(),
			Position: domain.Position{Commit: e.GetCommitPosition(), Prepare: e.GetPreparePosition()},
			Type:     e.GetMetadata()["type"], Data: e.GetData(), RawMetadata: e.GetCustomMetadata()}
		if id := e.GetId().GetStructured(); id != nil {
			binary.BigEndian.PutUint64(m.event.ID[:8], uint64(id.GetMostSignificantBits()))
			binary.BigEndian.PutUint64(m.event.ID[8:], uint64(id.GetLeastSignificantBits()))
		} else if id, err := uuid.Parse(e.GetId().GetString_()); err == nil {
			m.event.ID = id
		}
		if ticks, err := strconv.ParseInt(e.GetMetadata()["created"], 10, 64); err == nil {
			m.event.StoredAt = time.Unix(0, 100*ticks).UTC()
		}
		m.through = m.event.Position
	case *streams.ReadResp_Checkpoint_:
		m.through = domain.Position{Commit: content.Checkpoint.GetCommitPosition(), Prepare: content.Checkpoint.GetPreparePosition()}
	case *streams.ReadResp_CaughtUp_:
		m.caughtUp = true
	}
	return m
}

func drawnEvent(t *rapid.T, name string) *streams.ReadResp_ReadEvent_RecordedEvent {
	e := &streams.ReadResp_ReadEvent_RecordedEvent{
		StreamIdentifier: &shared.StreamIdentifier{StreamName: rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, name+" stream")},
		StreamRevision:   rapid.Uint64().Draw(t, name+" revision"),
		CommitPosition:   rapid.Uint64().Draw(t, name+" commit"), PreparePosition: rapid.Uint64().Draw(t, name+" prepare"),
		Metadata: map[string]string{"type": rapid.String().Draw(t, name+" type"),
			"created": strconv.FormatInt(rapid.Int64Range(0, 1<<56).Draw(t, name+" created"), 10), "content-type": "application/json"},
		CustomMetadata: rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, name+" metadata"),
		Data:           rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, name+" data"),
	}
	switch rapid.IntRange(0, 2).Draw(t, name+" id's form") {
	case 0:
		e.Id = &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
			MostSignificantBits: rapid.Int64().Draw(t, "most"), LeastSignificantBits: rapid.Int64().Draw(t, "least")}}}
	case 1:
		e.Id = &shared.UUID{Value: &shared.UUID_String_{String_: uuid.New().String()}}
	case 2:
		e.Id = &shared.UUID{Value: &shared.UUID_String_{String_: rapid.String().Draw(t, "text")}}
	}
	return e
}

// TestAnswersAreDecodedAsTheStubsDo compares every kind of answer of a read.
func TestAnswersAreDecodedAsTheStubsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answer := &streams.ReadResp{}
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			answer.Content = &streams.ReadResp_Checkpoint_{Checkpoint: &streams.ReadResp_Checkpoint{
				CommitPosition: rapid.Uint64().Draw(t, "commit"), PreparePosition: rapid.Uint64().Draw(t, "prepare")}}
		case 1:
			answer.Content = &streams.ReadResp_CaughtUp_{CaughtUp: &streams.ReadResp_CaughtUp{}}
		case 2:
			answer.Content = &streams.ReadResp_Confirmation{Confirmation: &streams.ReadResp_SubscriptionConfirmation{SubscriptionId: "s"}}
		case 3:
			answer.Content = &streams.ReadResp_LastStreamPosition{LastStreamPosition: rapid.Uint64().Draw(t, "last")}
		default:
			read := &streams.ReadResp_ReadEvent{Event: drawnEvent(t, "event"),
				Position: &streams.ReadResp_ReadEvent_CommitPosition{CommitPosition: rapid.Uint64().Draw(t, "outer")}}
			if rapid.Bool().Draw(t, "has link") {
				read.Link = drawnEvent(t, "link")
			}
			if rapid.Bool().Draw(t, "has no target") && read.Link != nil {
				read.Event = nil
			}
			answer.Content = &streams.ReadResp_Event{Event: read}
		}
		b, err := proto.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		want := decodedByStubs(t, b)
		var got readMessage
		if err := got.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded %+v\nthe stubs say %+v", got, want)
		}
	})
}

// FuzzAnswer: no bytes make decoding an answer panic.
func FuzzAnswer(f *testing.F) {
	answer, err := proto.Marshal(&streams.ReadResp{Content: &streams.ReadResp_Event{Event: &streams.ReadResp_ReadEvent{
		Event: &streams.ReadResp_ReadEvent_RecordedEvent{
			Id:               &shared.UUID{Value: &shared.UUID_String_{String_: "no id"}},
			StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("patient-1")},
			Metadata:         map[string]string{"type": "PatientScreened", "created": "x"}, Data: []byte("{}"),
		}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answer)
	f.Add(answer[:len(answer)-1])
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Fuzz(func(_ *testing.T, b []byte) {
		var m readMessage
		_ = m.UnmarshalBinary(b)
	})
}

// TestAppendsAreEncodedForTheStubs decodes requests by the generated messages.
func TestAppendsAreEncodedForTheStubs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		if rapid.Bool().Draw(t, "has a deadline") {
			within, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			ctx = within
		}
		correlation := rapid.Uint64().Draw(t, "correlation")
		revision := rapid.Int64Min(-1).Draw(t, "revision")
		stream := rapid.String().Draw(t, "stream")
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Recorded {
			return Recorded{ID: uuid.New(), Type: rapid.String().Draw(t, "type"),
				Data:        rapid.SliceOfN(rapid.Byte(), 0, 20_000).Draw(t, "data"),
				RawMetadata: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "metadata")}
		}), 1, 4).Draw(t, "events")

		encoded := newAppendRequest(ctx, correlation, stream, revision, events)
		var decoded streams.BatchAppendReq
		if err := proto.Unmarshal(encoded, &decoded); err != nil {
			t.Fatal(err)
		}
		wanted := &streams.BatchAppendReq{
			CorrelationId: &shared.UUID{Value: &shared.UUID_Structured_{
				Structured: &shared.UUID_Structured{LeastSignificantBits: int64(correlation)}}},
			Options: &streams.BatchAppendReq_Options{
				StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte(stream)},
				ExpectedStreamPosition: &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}},
			},
			IsFinal: true,
		}
		if revision >= 0 {
			wanted.Options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: uint64(revision)}
		}
		if _, bounded := ctx.Deadline(); bounded {
			if rest := decoded.GetOptions().GetDeadline().AsDuration(); rest > time.Hour || rest < 59*time.Minute {
				t.Fatalf("the store has %s for it", rest)
			}
			wanted.Options.DeadlineOption = decoded.Options.DeadlineOption
		}
		for _, e := range events {
			wanted.ProposedMessages = append(wanted.ProposedMessages, &streams.BatchAppendReq_ProposedMessage{
				Id:             &shared.UUID{Value: &shared.UUID_String_{String_: e.ID.String()}},
				Metadata:       map[string]string{"type": e.Type, "content-type": "application/json"},
				CustomMetadata: e.RawMetadata, Data: e.Data,
			})
		}
		if !proto.Equal(&decoded, wanted) {
			t.Fatalf("it says %v, and not %v", &decoded, wanted)
		}
	})
}

// TestAppendsAreAnsweredAsTheStubsSay compares every kind of answer to an append.
func TestAppendsAreAnsweredAsTheStubsSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answer := &streams.BatchAppendResp{}
		id := uuid.New()
		if rapid.Bool().Draw(t, "the id is text") {
			answer.CorrelationId = &shared.UUID{Value: &shared.UUID_String_{String_: id.String()}}
		} else {
			answer.CorrelationId = &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
				MostSignificantBits:  int64(binary.BigEndian.Uint64(id[:8])),
				LeastSignificantBits: int64(binary.BigEndian.Uint64(id[8:]))}}}
		}
		success := &streams.BatchAppendResp_Success{
			CurrentRevisionOption: &streams.BatchAppendResp_Success_CurrentRevision{CurrentRevision: rapid.Uint64().Draw(t, "revision")}}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			success.PositionOption = &streams.BatchAppendResp_Success_Position{Position: &shared.AllStreamPosition{
				CommitPosition: rapid.Uint64().Draw(t, "commit"), PreparePosition: rapid.Uint64().Draw(t, "prepare")}}
			answer.Result = &streams.BatchAppendResp_Success_{Success: success}
		case 1:
			success.PositionOption = &streams.BatchAppendResp_Success_NoPosition{NoPosition: &emptypb.Empty{}}
			answer.Result = &streams.BatchAppendResp_Success_{Success: success}
		case 2:
			answer.Result = &streams.BatchAppendResp_Error{Error: &spb.Status{Message: "Server Is Not Ready"}}
		case 3:
			detail, err := anypb.New(&shared.WrongExpectedVersion{CurrentStreamRevisionOption: &shared.WrongExpectedVersion_CurrentStreamRevision{
				CurrentStreamRevision: rapid.Uint64Max(1<<40).Draw(t, "current")}})
			if err != nil {
				t.Fatal(err)
			}
			answer.Result = &streams.BatchAppendResp_Error{Error: &spb.Status{Code: int32(codes.Unknown), Details: []*anypb.Any{detail}}}
		case 4: // nothing
		}
		b, err := proto.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		var decoded appendAnswer
		if err := decoded.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if decoded.correlation != binary.BigEndian.Uint64(id[8:]) {
			t.Fatalf("it answers %x, and not %s", decoded.correlation, id)
		}
		wanted := answerOf(answer)
		if decoded.position != wanted.position || fmt.Sprint(decoded.err) != fmt.Sprint(wanted.err) {
			t.Fatalf("it says %v, and not %v", decoded.batchAnswer, wanted)
		}
	})
}
