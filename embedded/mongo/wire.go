package mongo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

const (
	opReply int32 = 1
	opQuery int32 = 2004
	opMsg   int32 = 2013

	headerLen      = 16
	maxMessageSize = 48_000_000
	maxWriteBatch  = 100_000
)

// OP_MSG flag bits. The lower 16 must be understood by the receiver, the upper ones need not be.
const (
	flagChecksum   uint32 = 1 << 0
	flagMoreToCome uint32 = 1 << 1
	flagRequired   uint32 = 0xFFFF
)

var errFrame = errors.New("malformed message")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// message is one request. Its documents point into the frame's buffer.
type message struct {
	id         int32
	legacy     bool // it is an OP_QUERY and needs an OP_REPLY
	moreToCome bool // the client wants no answer
	db         string
	body       doc
	seqs       []sequence
}

// sequence is a section of kind 1: a list of documents beside the body, such as the documents of an insert.
type sequence struct {
	name string
	docs []doc
}

// readFrame reads one message into buf, which grows as needed, and returns buf. It calls begun with the size of the
// message before it reads the rest.
func readFrame(r io.Reader, buf []byte, begun func(size int64) error) ([]byte, error) {
	if cap(buf) < headerLen {
		buf = make([]byte, 0, 4<<10)
	}
	buf = buf[:headerLen]
	if _, err := io.ReadFull(r, buf); err != nil {
		return buf, err
	}
	n := int64(int32(binary.LittleEndian.Uint32(buf)))
	if n < headerLen || n > maxMessageSize {
		return buf, fmt.Errorf("%w: its length is %d bytes, at most %d are accepted", errFrame, n, maxMessageSize)
	}
	if err := begun(n); err != nil {
		return buf, err
	}
	// Grow the buffer with the bytes that arrive, because the length may be false.
	for int64(len(buf)) < n {
		have := len(buf)
		step := min(n-int64(have), max(64<<10, int64(have)))
		if int64(cap(buf)) < int64(have)+step {
			grown := make([]byte, have, min(n, 2*(int64(have)+step)))
			copy(grown, buf)
			buf = grown
		}
		buf = buf[:int64(have)+step]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// parseMessage parses a whole frame, including its header.
func parseMessage(frame []byte) (message, error) {
	if len(frame) < headerLen || int(le32(frame)) != len(frame) {
		return message{}, fmt.Errorf("%w: wrong length", errFrame)
	}
	m := message{id: le32(frame[4:])}
	switch op := le32(frame[12:]); op {
	case opMsg:
		return m, m.parseMsg(frame)
	case opQuery:
		return m, m.parseQuery(frame[headerLen:])
	default:
		return m, fmt.Errorf("%w: opcode %d is not supported, only OP_MSG and the OP_QUERY handshake", errFrame, op)
	}
}

func (m *message) parseMsg(frame []byte) error {
	b := frame[headerLen:]
	if len(b) < 4 {
		return fmt.Errorf("%w: no flags", errFrame)
	}
	flags := binary.LittleEndian.Uint32(b)
	if unknown := flags & flagRequired &^ (flagChecksum | flagMoreToCome); unknown != 0 {
		return fmt.Errorf("%w: unknown flags 0x%x", errFrame, unknown)
	}
	m.moreToCome = flags&flagMoreToCome != 0
	b = b[4:]
	if flags&flagChecksum != 0 {
		if len(b) < 4 {
			return fmt.Errorf("%w: no checksum", errFrame)
		}
		sum := binary.LittleEndian.Uint32(b[len(b)-4:])
		if got := crc32.Checksum(frame[:len(frame)-4], castagnoli); got != sum {
			return fmt.Errorf("%w: its checksum is %08x instead of %08x", errFrame, got, sum)
		}
		b = b[:len(b)-4]
	}
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		switch kind {
		case 0:
			if m.body != nil {
				return fmt.Errorf("%w: two bodies", errFrame)
			}
			d, err := validate(b)
			if err != nil {
				return err
			}
			m.body, b = d, b[len(d):]
		case 1:
			if len(b) < 4 || le32(b) < 5 || int64(le32(b)) > int64(len(b)) {
				return fmt.Errorf("%w: a document sequence of wrong length", errFrame)
			}
			section := b[4:le32(b)]
			b = b[le32(b):]
			n := cstringLen(section)
			if section[n-1] != 0 {
				return fmt.Errorf("%w: a document sequence without a name", errFrame)
			}
			seq := sequence{name: string(section[:n-1])}
			for section = section[n:]; len(section) > 0; {
				d, err := validate(section)
				if err != nil {
					return err
				}
				seq.docs = append(seq.docs, d)
				section = section[len(d):]
			}
			for _, other := range m.seqs {
				if other.name == seq.name {
					return fmt.Errorf("%w: two document sequences %q", errFrame, seq.name)
				}
			}
			m.seqs = append(m.seqs, seq)
		default:
			return fmt.Errorf("%w: section of kind %d", errFrame, kind)
		}
	}
	if m.body == nil {
		return fmt.Errorf("%w: no body", errFrame)
	}
	if db := m.body.lookup("$db"); db.t == tString {
		m.db = db.str()
	}
	return nil
}

// parseQuery parses the legacy handshake: {isMaster: 1} or {hello: 1} on the $cmd of a database.
func (m *message) parseQuery(b []byte) error {
	m.legacy = true
	if len(b) < 5 {
		return fmt.Errorf("%w: OP_QUERY is cut off", errFrame)
	}
	b = b[4:]
	n := cstringLen(b)
	if b[n-1] != 0 || len(b) < n+8 {
		return fmt.Errorf("%w: OP_QUERY is cut off", errFrame)
	}
	db, ok := strings.CutSuffix(string(b[:n-1]), ".$cmd")
	if !ok {
		return fmt.Errorf("%w: OP_QUERY is supported for the handshake only", errFrame)
	}
	d, err := validate(b[n+8:])
	if err != nil {
		return err
	}
	// Some drivers wrap the command to add a read preference.
	if inner := d.lookup("$query"); inner.t == tDocument {
		d = inner.doc()
	}
	m.db, m.body = db, d
	return nil
}

// appendReply frames d as the answer to m.
func appendReply(dst []byte, m *message, id int32, d doc) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(id))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(m.id))
	if m.legacy {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(opReply))
		dst = binary.LittleEndian.AppendUint32(dst, 8) // the flag AwaitCapable, which all servers since 1.6 set
		dst = append(dst, make([]byte, 12)...)         // no cursor, starting from 0
		dst = binary.LittleEndian.AppendUint32(dst, 1) // one document
	} else {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(opMsg))
		dst = append(dst, 0, 0, 0, 0, 0) // no flags, a section of kind 0
	}
	dst = append(dst, d...)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}
