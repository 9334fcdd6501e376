package diary

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"casebook/domain/form"
	"casebook/domain/instrument"
	"casebook/domain/personal"
	"casebook/domain/user"
)

// An app that is not sure whether an entry has arrived sends it again, perhaps under another key. It is the same entry if the device,
// the moment of the capture, the instrument and the answers are the same, apart from free texts: it is recorded once, whatever has become
// of it since.

// seenEntry is an entry from a device that the record has, wherever it counts now.
type seenEntry struct {
	capturedAt int64 // Unix time in nanoseconds
	print      uint64
	// doubted says that it is held for one of the doubts.
	doubted bool
	// wordless says that no instrument told its options from its free texts, so that the print has neither.
	wordless bool
}

// doubts are the reasons for holding an entry that the device can mend, by a signature, by its enrolment or by the right zone: what it
// sends then is another entry.
var doubts = []Why{WhyDeviceNotEnrolled, WhyUnsigned, WhyWrongSignature, WhyZoneContradicts}

// printOf tells entries of one patient apart by their content. It is a part of a SHA-256, of 64 bits, so that even among a million
// entries of one patient two different ones share a print with a probability of one in thirty million.
func printOf(id instrument.ID, device user.DeviceID, at time.Time, answers Answers) uint64 {
	items := make([]form.ItemID, 0, len(answers))
	for item := range answers {
		items = append(items, item)
	}
	slices.Sort(items)
	content := make([]byte, 0, 512) // most entries are no longer, so that this stays on the stack
	content = appendText(content, string(id))
	content = appendText(content, string(device))
	content = binary.BigEndian.AppendUint64(content, uint64(at.UnixNano())) //nolint:gosec // its bits
	for _, item := range items {
		switch value := plainAnswer(answers[item]).(type) {
		case nil:
			continue
		case personal.Text: // a print could be tried out with names, and the text is sealed anew each time
		case bool:
			content = appendText(content, string(item))
			content = appendText(content, map[bool]string{true: "t", false: "f"}[value])
		case float64:
			content = appendText(content, string(item))
			content = appendText(content, "n")
			content = binary.BigEndian.AppendUint64(content, math.Float64bits(value))
		case string:
			content = appendText(content, string(item))
			content = appendText(content, "s")
			content = appendText(content, value)
		}
	}
	print := sha256.Sum256(content)
	return binary.BigEndian.Uint64(print[:])
}

// appendText appends the length of s before s itself, so that two texts never read like two others.
func appendText(to []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(to, uint64(len(s))), s...)
}

// plainAnswer returns an answer in the form in which it is read back from the log.
func plainAnswer(answer any) any {
	switch n := answer.(type) {
	case int:
		return float64(n)
	case int64:
		return float64(n)
	case json.Number:
		if f, err := n.Float64(); err == nil {
			return f
		}
	}
	return answer
}

// sent returns the entry of a device that an event has recorded first, where it is recorded: an entry that was moved is that of its
// former window, and what staff enter is from no device.
func sent(e Event) (id instrument.ID, device user.DeviceID, at time.Time, answers Answers, ok bool) {
	switch e := e.(type) {
	case Submitted:
		return e.Instrument, e.Device, e.CapturedAt, e.Answers, !e.Mode.ByStaff() && e.MovedFrom == ""
	case Held:
		return e.Instrument, e.Device, e.CapturedAt, e.Answers, true
	}
	return id, device, at, nil, false
}

// withEntry notes an entry of a device.
func (d Diary) withEntry(e Event) Diary {
	id, device, at, answers, ok := sent(e)
	if !ok {
		return d
	}
	held, is := e.(Held)
	written, known := d.written(id, answers)
	d.seen = d.seen.with(seenEntry{capturedAt: at.UnixNano(), print: printOf(id, device, at, written),
		doubted: is && slices.Contains(doubts, held.Why), wordless: !known})
	return d
}

// seenEntries are the entries in the order of the events. States share the full chunks, so that a new state copies one chunk at most.
type seenEntries struct {
	full [][]seenEntry
	last []seenEntry
}

// seenChunk is how many entries a chunk has.
const seenChunk = 64

func (s seenEntries) with(e seenEntry) seenEntries {
	s.last = append(append(make([]seenEntry, 0, len(s.last)+1), s.last...), e)
	if len(s.last) == seenChunk {
		s.full, s.last = append(slices.Clip(s.full), s.last), nil
	}
	return s
}

// has says whether there is an entry of this moment, with the print that print returns, with or without all texts. For one that is beyond
// doubt, none that is not counts: whoever knows what a patient will send could send it before, unsigned, and have the true one taken for
// it.
func (s seenEntries) has(capturedAt int64, trusted bool, print func(wordless bool) uint64) bool {
	same := func(e seenEntry) bool {
		return e.capturedAt == capturedAt && !(trusted && e.doubted) && e.print == print(e.wordless)
	}
	return slices.ContainsFunc(s.last, same) ||
		slices.ContainsFunc(s.full, func(chunk []seenEntry) bool { return slices.ContainsFunc(chunk, same) })
}

// hasRecorded says whether the record has this very entry. trusted says that nothing speaks against the entry.
func (d Diary) hasRecorded(cmd SubmitDiary, trusted bool) bool {
	return d.seen.has(cmd.CapturedAt.UnixNano(), trusted, func(wordless bool) uint64 {
		answers, _ := d.written(cmd.Instrument, cmd.Answers)
		if wordless {
			answers = answers.withTexts(answers.strings())
		}
		return printOf(cmd.Instrument, cmd.Device, cmd.CapturedAt, answers)
	})
}

// Repeats says whether an event has recorded this very entry, which was sent before. What was held for a doubt is another entry than one
// about which there is none.
func Repeats(cmd SubmitDiary, e Event) bool {
	id, device, at, answers, ok := sent(e)
	if !ok || id != cmd.Instrument || device != cmd.Device || !at.Equal(cmd.CapturedAt) ||
		printOf(id, device, at, answers) != printOf(cmd.Instrument, cmd.Device, cmd.CapturedAt, cmd.Answers.withTextsOf(answers)) {
		return false
	}
	held, is := e.(Held)
	return !is || !slices.Contains(doubts, held.Why) || cmd.isDoubted()
}

// isDoubted says whether the entry would be held for one of the doubts.
func (c SubmitDiary) isDoubted() bool {
	entered, err := c.receivable()
	return err == nil && (slices.Contains(doubts, c.ofAnotherDevice(entered)) || c.zoneContradicts())
}

// BesideStream returns the key of the stream that holds an entry beside a damaged one, from the id of the entry.
func BesideStream(held string) (key string, ok bool) {
	_, key, ok = strings.Cut(held, besideMark)
	return key, ok && strings.HasPrefix(held, heldPrefix)
}
