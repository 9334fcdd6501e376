package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The keys of the database:
//
//	e<position>            -> record, or the stub of a scavenged record
//	s<stream id><revision> -> position; stubs have no entry, except the stream's last one before a tombstone
//	n<stream name>         -> stream id
//	p<name>                -> a value kept beside the log, see PutNote
//	i, j, l, m             -> the indexes, see index.go
//	v                      -> schema version, node id, end of the log, number of events, hash of the last record
const (
	prefixEvent  = 'e'
	prefixStream = 's'
	prefixName   = 'n'
)

var keyState = []byte{'v'}

func eventKey(position uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixEvent}, position)
}

func streamKey(id, revision uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{prefixStream}, id), revision)
}

func nameKey(name string) []byte {
	b := make([]byte, 0, 1+len(name))
	return append(append(b, prefixName), name...)
}

// position decodes the value of an index entry.
func position(value []byte) (uint64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: an index entry of %d bytes", ErrDamaged, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

const (
	schemaVersion = 1
	stateSize     = 4 + 16 + 8 + 8 + hashSize
)

// state is the state of the log as a whole. It is written with every batch.
type state struct {
	nodeID [16]byte
	next   uint64 // the position behind the last event
	events uint64
	hash   Hash
}

func (s *state) encode(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b[:0], schemaVersion)
	b = append(b, s.nodeID[:]...)
	b = binary.BigEndian.AppendUint64(b, s.next)
	b = binary.BigEndian.AppendUint64(b, s.events)
	return append(b, s.hash[:]...)
}

// ErrSchema means that a build with another format wrote the directory.
var ErrSchema = errors.New("unknown schema version of the event log")

func decodeState(b []byte) (state, error) {
	if len(b) >= 4 {
		if v := binary.BigEndian.Uint32(b); v != schemaVersion {
			return state{}, fmt.Errorf("%w: it is %d, but this build reads %d; open the directory with the build that wrote it",
				ErrSchema, v, schemaVersion)
		}
	}
	if len(b) != stateSize {
		return state{}, fmt.Errorf("%w: the log's state has %d bytes instead of %d", ErrDamaged, len(b), stateSize)
	}
	return state{
		nodeID: [16]byte(b[4:20]),
		next:   binary.BigEndian.Uint64(b[20:]),
		events: binary.BigEndian.Uint64(b[28:]),
		hash:   Hash(b[36:]),
	}, nil
}
