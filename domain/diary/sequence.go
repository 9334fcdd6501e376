package diary

import (
	"slices"

	"casebook/domain/refuse"
	"casebook/domain/user"
)

// A device numbers its entries for a patient from 1 on, so that it is known which of them the record has. After a restore of an older
// log, the device sends again what comes behind HeldThrough.

// Numbers are the numbers of a device's entries that the record has, as spans without gaps, in order.
type Numbers []Span

// Span is the numbers from First to Last.
type Span struct {
	First int64 `bson:"first" json:"first" doc:"The first number"`
	Last  int64 `bson:"last" json:"last" doc:"The last number"`
}

// maxSpans bounds the gaps that are remembered. Of a device that leaves out more numbers, the highest are forgotten: it sends these
// again, which changes nothing.
const maxSpans = 100

// With returns the numbers with another one. The receiver stays as it is.
func (n Numbers) With(number int64) Numbers {
	at, within := slices.BinarySearchFunc(n, number, func(s Span, number int64) int {
		switch {
		case s.Last < number:
			return -1
		case s.First > number:
			return 1
		}
		return 0
	})
	if within || number < 1 {
		return n
	}
	next := slices.Insert(slices.Clone(n), at, Span{First: number, Last: number})
	if at+1 < len(next) && next[at+1].First == number+1 {
		next[at].Last = next[at+1].Last
		next = slices.Delete(next, at+1, at+2)
	}
	if at > 0 && next[at-1].Last == number-1 {
		next[at-1].Last = next[at].Last
		next = slices.Delete(next, at, at+1)
	}
	return next[:min(len(next), maxSpans)]
}

// HeldThrough returns the number up to which none is missing; 0 if the first is missing.
func (n Numbers) HeldThrough() int64 {
	if len(n) == 0 || n[0].First > 1 {
		return 0
	}
	return n[0].Last
}

// Highest returns the highest number; 0 if there is none.
func (n Numbers) Highest() int64 {
	if len(n) == 0 {
		return 0
	}
	return n[len(n)-1].Last
}

// Gaps returns the numbers below the highest that are missing.
func (n Numbers) Gaps() []Span {
	var gaps []Span
	through := int64(0)
	for _, s := range n {
		if s.First > through+1 {
			gaps = append(gaps, Span{First: through + 1, Last: s.First - 1})
		}
		through = s.Last
	}
	return gaps
}

// DeviceNumbers are the numbers of a device's entries that the record has.
type DeviceNumbers struct {
	Device user.DeviceID
	Numbers
}

// Devices returns the devices that have captured the patient's entries, the one whose entry was recorded last at the end. Of an entry
// that was held beside a damaged record, the number is known when the site has taken it.
func (d Diary) Devices() []DeviceNumbers { return slices.Clone(d.devices) }

// withNumber notes the number of an entry.
func (d Diary) withNumber(e Entered) Diary {
	if e.Device == "" {
		return d
	}
	of := DeviceNumbers{Device: e.Device}
	others := make([]DeviceNumbers, 0, len(d.devices)+1)
	for _, known := range d.devices {
		if known.Device == e.Device {
			of = known
		} else {
			others = append(others, known)
		}
	}
	of.Numbers = of.With(e.Sequence)
	others = append(others, of)
	d.devices = others
	return d
}

// Numbered says whether the number of an entry that is held for this reason is one of its device. Where the signature says nothing, or the
// account has never enrolled the device, anybody could have sent the entry, and the device would take its own entry of the number for
// recorded.
func (w Why) Numbered() bool {
	return w != WhyUnsigned && w != WhyWrongSignature && w.NumberedWhenDecided()
}

// NumberedWhenDecided says whether the number of an entry that was held for this reason is one of its device once the site has decided
// about the entry. A device that the account has never enrolled may be that of another account, which has sent nothing: a decision
// about somebody else's entry says nothing about its own.
func (w Why) NumberedWhenDecided() bool { return w != WhyDeviceNotEnrolled }

// maxSequence is the highest number that every JSON reader keeps.
const maxSequence = 1<<53 - 1

// checkSequence refuses value_out_of_range, and value_missing if the entry is numbered and names no device.
func (c SubmitDiary) checkSequence() error {
	if c.Sequence < 0 || c.Sequence > maxSequence {
		return refuse.Malformed("value_out_of_range", "%d cannot be the number of an entry", c.Sequence).At("sequence").
			Do("number the entries of the device from 1 on, or leave the number out")
	}
	if c.MonotonicMs < 0 || c.MonotonicMs > maxSequence {
		return refuse.Malformed("value_out_of_range", "%d cannot be a time since a start", c.MonotonicMs).At("monotonicMs").
			Do("send milliseconds, or leave them out")
	}
	if c.Sequence > 0 && c.Device == "" {
		return refuse.Malformed("value_missing", "the entry has a number, and names no device").At("device").
			Do("name the device whose number it is")
	}
	return nil
}
