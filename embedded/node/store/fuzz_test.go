package store

import (
	"bytes"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/protobuf/proto"
)

// FuzzParseRecord decodes arbitrary bytes. Decoding must not panic, and the parts of a record must lie within the
// bytes.
func FuzzParseRecord(f *testing.F) {
	p := Propose("diary-1", number(7), "DiarySubmitted", true, []byte(`{"actor":"p"}`), []byte(`{"pain":9}`))
	sound := newChain(Hash{}).appendRecord(nil, &p, 64, 64, 3, 17_000_000_000_000_000)
	f.Add(uint64(64), sound)
	f.Add(uint64(64), sound[:wireOffset])
	f.Add(uint64(0), []byte{})
	f.Add(uint64(0), bytes.Repeat([]byte{0xff}, wireOffset+10))
	link := Propose("$by-type", number(8), LinkType, false, nil, []byte("12@diary-1"))
	f.Add(uint64(900), newChain(Hash{1}).appendRecord(nil, &link, 900, 64, 3, 1))
	f.Fuzz(func(t *testing.T, pos uint64, value []byte) {
		r, err := parseRecord(pos, value)
		if err != nil {
			return
		}
		if r.Size() != len(value) || len(r.Stream()) > len(value) || len(r.Type()) > len(value) {
			t.Fatalf("parts of %d bytes lie outside of them", len(value))
		}
		r.Data()
		r.CustomMetadata()
		parseLink(r.Data())
		parseLimits(r.Data())
		newChain(Hash{}).advance(pos, value)
	})
}

// FuzzProposedEventIsReadBack checks that protobuf decodes what the store encodes by hand.
func FuzzProposedEventIsReadBack(f *testing.F) {
	f.Add("diary-1", "DiarySubmitted", []byte(`{"a":1}`), []byte(`{}`), uint64(3), uint64(64), true)
	f.Add("", "", []byte(nil), []byte(nil), uint64(0), uint64(1<<62), false)
	f.Fuzz(func(t *testing.T, stream, eventType string, metadata, data []byte, revision, pos uint64, json bool) {
		id := ID(bytes.Repeat([]byte{byte(revision), 0}, 8))
		p := Propose(stream, id, eventType, json, metadata, data)
		r, err := parseRecord(pos, newChain(Hash{}).appendRecord(nil, &p, pos, 64, revision, 17))
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Stream()) != stream || string(r.Type()) != eventType ||
			!bytes.Equal(r.Data(), data) || !bytes.Equal(r.CustomMetadata(), metadata) {
			t.Fatalf("read back %q %q %q %q", r.Stream(), r.Type(), r.Data(), r.CustomMetadata())
		}
		var m streams.ReadResp_ReadEvent_RecordedEvent
		err = proto.Unmarshal(r.Wire(), &m)
		if err != nil {
			return // text that is not UTF-8; requests with it are refused
		}
		content := contentBinary
		if json {
			content = contentJSON
		}
		if m.StreamRevision != revision || m.CommitPosition != pos || m.PreparePosition != pos ||
			string(m.StreamIdentifier.StreamName) != stream || m.Metadata["type"] != eventType ||
			m.Metadata["content-type"] != content || m.Metadata["created"] != "17" ||
			!bytes.Equal(m.Data, data) || !bytes.Equal(m.CustomMetadata, metadata) {
			t.Fatalf("protobuf decodes %v", &m)
		}
		if err := proto.Unmarshal(r.WireWithTextID("0-0"), &m); err != nil || m.Id.GetString_() != "0-0" || !bytes.Equal(m.Data, data) {
			t.Fatalf("with a text id protobuf decodes %v, %v", &m, err)
		}
	})
}
