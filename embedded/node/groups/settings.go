package groups

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"casebook/embedded/node/store"
)

// All is the source of a group that consumes the whole log.
const All = "$all"

// The ways to choose the consumer of an event.
const (
	// RoundRobin gives each event to the next consumer that has room.
	RoundRobin = "RoundRobin"
	// DispatchToSingle gives everything to one consumer until it has no room.
	DispatchToSingle = "DispatchToSingle"
	// Pinned gives the events of a stream to the same consumer as long as it is there.
	Pinned = "Pinned"
	// PinnedByCorrelation does so with events of the same $correlationId in their metadata, or else the same stream.
	PinnedByCorrelation = "PinnedByCorrelation"
)

// Settings are what a group is told when it is created, and can be told otherwise by an update.
type Settings struct {
	// ResolveLinks delivers the event that a link leads to, beside the link.
	ResolveLinks bool `json:"resolveLinks"`
	// ExtraStatistics measures how long each consumer takes.
	ExtraStatistics bool `json:"extraStatistics"`
	// MessageTimeout is how long a consumer may take before an event is given to another; zero: for ever.
	MessageTimeout time.Duration `json:"messageTimeout"`
	// MaxRetryCount is how often an event is delivered again before it is parked.
	MaxRetryCount int `json:"maxRetryCount"`
	// LiveBufferSize and HistoryBufferSize bound the events held ready for consumers: while the group keeps up with
	// its source, and while it is behind.
	LiveBufferSize    int `json:"liveBufferSize"`
	HistoryBufferSize int `json:"historyBufferSize"`
	// ReadBatchSize bounds the events read at a time.
	ReadBatchSize int `json:"readBatchSize"`
	// CheckpointAfter is how often the place is saved if at least MinCheckpointCount events were settled meanwhile, or
	// none is left; after MaxCheckpointCount it is saved at once.
	CheckpointAfter    time.Duration `json:"checkpointAfter"`
	MinCheckpointCount int           `json:"minCheckpointCount"`
	MaxCheckpointCount int           `json:"maxCheckpointCount"`
	// MaxSubscriberCount bounds the consumers; zero: no bound.
	MaxSubscriberCount int `json:"maxSubscriberCount"`
	// Strategy chooses the consumer.
	Strategy string `json:"strategy"`
}

// minCheckpointAfter keeps a group from saving its place in a loop.
const minCheckpointAfter = 10 * time.Millisecond

func (s *Settings) check() error {
	positive := func(n int, name string) error {
		if n <= 0 {
			return &Error{Kind: Invalid, Reason: fmt.Sprintf("the %s is %d, but must be at least 1", name, n)}
		}
		return nil
	}
	for _, c := range []struct {
		n    int
		name string
	}{
		{s.LiveBufferSize, "live buffer size"}, {s.HistoryBufferSize, "history buffer size"},
		{s.ReadBatchSize, "read batch size"}, {s.MaxCheckpointCount, "maximum checkpoint count"},
	} {
		if err := positive(c.n, c.name); err != nil {
			return err
		}
	}
	invalid := func(format string, args ...any) error {
		return &Error{Kind: Invalid, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.HistoryBufferSize <= s.ReadBatchSize:
		return invalid("the history buffer size %d must be larger than the read batch size %d", s.HistoryBufferSize, s.ReadBatchSize)
	case s.MinCheckpointCount < 0 || s.MinCheckpointCount > s.MaxCheckpointCount:
		return invalid("the minimum checkpoint count %d must lie between 0 and the maximum, %d", s.MinCheckpointCount, s.MaxCheckpointCount)
	case s.MessageTimeout < 0 || s.CheckpointAfter < 0:
		return invalid("the message time-out and the time between checkpoints cannot be negative")
	case s.MaxRetryCount < 0 || s.MaxSubscriberCount < 0:
		return invalid("the maximum retry count and the maximum subscriber count cannot be negative")
	}
	switch s.Strategy {
	case RoundRobin, DispatchToSingle, Pinned, PinnedByCorrelation:
		return nil
	}
	return invalid("the consumer strategy %q is unknown; use %s, %s, %s or %s", s.Strategy, RoundRobin, DispatchToSingle, Pinned, PinnedByCorrelation)
}

// Filter chooses events of the whole log. Exactly one of Prefixes and Regex is set.
type Filter struct {
	// ByType looks at the event's type instead of its stream's name.
	ByType   bool     `json:"byType,omitempty"`
	Prefixes []string `json:"prefixes,omitempty"`
	Regex    string   `json:"regex,omitempty"`

	regex *regexp.Regexp
}

func (f *Filter) compile() (err error) {
	if f != nil && f.Regex != "" {
		f.regex, err = regexp.Compile(f.Regex)
	}
	return err
}

func (f *Filter) matches(r *store.Record) bool {
	if f == nil {
		return true
	}
	subject := r.Stream()
	if f.ByType {
		subject = r.Type()
	}
	if f.regex != nil {
		return f.regex.Match(subject)
	}
	for _, p := range f.Prefixes {
		if len(subject) >= len(p) && string(subject[:len(p)]) == p {
			return true
		}
	}
	return false
}

// definition is what is kept of a group: what it was told, and its place.
type definition struct {
	Source   string    `json:"source"`
	Name     string    `json:"name"`
	Settings Settings  `json:"settings"`
	Filter   *Filter   `json:"filter,omitempty"`
	Start    uint64    `json:"start"` // as told: a position of the log, or a revision of the stream
	FromEnd  bool      `json:"fromEnd,omitempty"`
	Place    place     `json:"place"`
	Created  time.Time `json:"created"`
}

// place is how far a group has come.
type place struct {
	// Next is the first position or revision that may be unsettled.
	Next uint64 `json:"next"`
	// Done is the last one below it, if Any was settled.
	Done uint64 `json:"done,omitempty"`
	Any  bool   `json:"any,omitempty"`
}

const notePrefix = "group\x00"

// noteName is unique for every source and name, whatever separators they contain.
func noteName(source, name string) string {
	return fmt.Sprintf("%s%08x%s%s", notePrefix, len(source), source, name)
}

func isNote(name string) bool { return strings.HasPrefix(name, notePrefix) }

func (d *definition) save(s *store.Store) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return s.PutNote(noteName(d.Source, d.Name), b)
}

func parseDefinition(b []byte) (definition, error) {
	var d definition
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields() // a later build's settings must not be dropped silently
	if err := decoder.Decode(&d); err != nil {
		return d, err
	}
	if err := d.Settings.check(); err != nil {
		return d, err
	}
	return d, d.Filter.compile()
}

// parkedStream is where the group's parked events are linked from.
func (d *definition) parkedStream() string {
	return parkedPrefix + d.Source + "::" + d.Name + "-parked"
}

const (
	parkedPrefix = "$persistentsubscription-"
	// internalPrefix begins the names of streams that groups of $all write to: were these events delivered to such a
	// group, parking one of them would make the next.
	internalPrefix = parkedPrefix + All + "::"
)

// Internal tells whether an event of $all belongs to the bookkeeping of groups that consume $all.
func Internal(r *store.Record) bool {
	return bytes.HasPrefix(r.Stream(), []byte(internalPrefix))
}
