package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"google.golang.org/protobuf/encoding/protowire"
)

// block is a part of the program, by words of which one is in the name of a function of it.
type block struct {
	name  string
	words []string
}

// blocks are the parts of the program. A sample counts for the first one that has a function on its stack.
var blocks = []block{
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge"}},
	{"compaction and flushes of the stores", []string{"pebble/v2.(*DB).compact", "pebble/v2.(*DB).flush", "pebble/v2.(*DB).runCompaction"}},
	{"embedded MongoDB", []string{"casebook/embedded/mongo."}},
	{"embedded event store", []string{"casebook/embedded/node"}},
	{"MongoDB's driver", []string{"mongo-driver/"}},
	{"reading and decoding events", []string{"casebook/eventlog.(*Log).decode", "casebook/eventlog.(*arrivals)",
		"casebook/eventlog.(*Log).batch"}},
	{"verifying hashes", []string{"casebook/eventlog.(*Verifier)", "casebook/eventlog.(*Registry).linksOf"}},
	{"folding and encoding documents", []string{"casebook/projections", "casebook/readmodels"}},
	{"processes", []string{"casebook/sagas"}},
	{"commands", []string{"casebook/commands", "casebook/eventlog."}},
	{"HTTP and the API", []string{"casebook/api", "casebook/access", "net/http."}},
	{"gRPC", []string{"google.golang.org/grpc"}},
	{"scheduler", []string{"runtime.mcall", "runtime.mstart", "runtime.schedule", "runtime.park_m"}},
}

// share is what of a profile a block takes.
type share struct {
	Block string  `json:"block"`
	Part  float64 `json:"part"`
}

// sharesOf returns what each block takes of a CPU profile, the largest first.
func sharesOf(profile []byte) ([]share, error) {
	p, err := decodeProfile(profile)
	if err != nil {
		return nil, err
	}
	taken, all := map[string]int64{}, int64(0)
	for _, s := range p.samples {
		all += s.value
		taken[p.blockOf(s)] += s.value
	}
	if all == 0 {
		return nil, nil
	}
	var shares []share
	for name := range maps.Keys(taken) {
		shares = append(shares, share{name, float64(taken[name]) / float64(all)})
	}
	slices.SortFunc(shares, func(a, b share) int { return cmp.Or(cmp.Compare(b.Part, a.Part), cmp.Compare(a.Block, b.Block)) })
	return shares, nil
}

// writeShares writes the table of where the processor time goes. each is the time of one unit of work, in microseconds.
func writeShares(w io.Writer, shares []share, each float64) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range shares {
		fmt.Fprintf(table, "  %s\t%5.1f %%\t%6.2f us\n", s.Block, 100*s.Part, each*s.Part)
	}
	return table.Flush()
}

// cpuProfile is what is needed of a profile of package runtime/pprof.
type cpuProfile struct {
	samples   []profileSample
	locations map[uint64][]uint64 // the functions of each place in the program
	functions map[uint64]int64    // the name of each function, as an index of texts
	texts     []string
}

type profileSample struct {
	locations []uint64
	value     int64
}

// blockOf returns the block of a sample.
func (p *cpuProfile) blockOf(s profileSample) string {
	for _, b := range blocks {
		for _, at := range s.locations {
			for _, f := range p.locations[at] {
				name := p.texts[p.functions[f]]
				if slices.ContainsFunc(b.words, func(word string) bool { return strings.Contains(name, word) }) {
					return b.name
				}
			}
		}
	}
	return "everything else"
}

// errNoProfile means that bytes are no profile.
var errNoProfile = errors.New("this is no profile of runtime/pprof")

// decodeProfile decodes a profile (github.com/google/pprof/blob/main/proto/profile.proto).
func decodeProfile(packed []byte) (*cpuProfile, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(unpacked)
	if err != nil {
		return nil, err
	}
	p := &cpuProfile{locations: map[uint64][]uint64{}, functions: map[uint64]int64{}}
	const sample, location, function, text = 2, 4, 5, 6
	err = eachField(b, func(field protowire.Number, n uint64, value []byte) error {
		switch field {
		case sample:
			var s profileSample
			err := eachField(value, func(field protowire.Number, n uint64, value []byte) error {
				switch field {
				case 1: // location_id
					return eachNumber(n, value, func(n uint64) { s.locations = append(s.locations, n) })
				case 2: // value; the last one is the time
					return eachNumber(n, value, func(n uint64) { s.value = int64(n) })
				}
				return nil
			})
			p.samples = append(p.samples, s)
			return err
		case location:
			id, functions, err := decodeLocation(value)
			p.locations[id] = functions
			return err
		case function:
			var id uint64
			var name int64
			err := eachField(value, func(field protowire.Number, n uint64, _ []byte) error {
				switch field {
				case 1:
					id = n
				case 2:
					name = int64(n)
				}
				return nil
			})
			p.functions[id] = name
			return err
		case text:
			p.texts = append(p.texts, string(value))
		}
		return nil
	})
	for _, name := range p.functions {
		if name < 0 || name >= int64(len(p.texts)) {
			return nil, errNoProfile
		}
	}
	if err == nil && len(p.texts) == 0 {
		err = errNoProfile
	}
	return p, err
}

// decodeLocation returns the id of a place, and its functions.
func decodeLocation(b []byte) (id uint64, functions []uint64, err error) {
	const line = 4
	err = eachField(b, func(field protowire.Number, n uint64, value []byte) error {
		switch field {
		case 1:
			id = n
		case line:
			return eachField(value, func(field protowire.Number, n uint64, _ []byte) error {
				if field == 1 {
					functions = append(functions, n)
				}
				return nil
			})
		}
		return nil
	})
	return id, functions, err
}

// eachField calls f for each field of a message, with its number or its bytes.
func eachField(b []byte, f func(field protowire.Number, n uint64, value []byte) error) error {
	for len(b) > 0 {
		field, kind, length := protowire.ConsumeTag(b)
		if length < 0 {
			return errNoProfile
		}
		b = b[length:]
		var n uint64
		var value []byte
		switch kind {
		case protowire.VarintType:
			n, length = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			value, length = protowire.ConsumeBytes(b)
		default:
			length = protowire.ConsumeFieldValue(field, kind, b)
		}
		if length < 0 {
			return errNoProfile
		}
		if err := f(field, n, value); err != nil {
			return err
		}
		b = b[length:]
	}
	return nil
}

// eachNumber calls f for each number of a field that may be packed.
func eachNumber(n uint64, packed []byte, f func(n uint64)) error {
	if packed == nil {
		f(n)
		return nil
	}
	for len(packed) > 0 {
		n, length := protowire.ConsumeVarint(packed)
		if length < 0 {
			return errNoProfile
		}
		f(n)
		packed = packed[length:]
	}
	return nil
}
