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

// The strategies that choose the consumer of an event.
const (
	// RoundRobin delivers each event to the next consumer that has room.
	RoundRobin = "RoundRobin"
	// DispatchToSingle delivers all events to one consumer until it has no room.
	DispatchToSingle = "DispatchToSingle"
	// Pinned delivers the events of a stream to the same consumer as long as it is connected.
	Pinned = "Pinned"
	// PinnedByCorrelation does the same for events with the same $correlationId in their metadata. Events without one are
	// pinned by their stream.
	PinnedByCorrelation = "PinnedByCorrelation"
)

// Settings configure a group. They are given when it is created and can be changed by an update.
type Settings struct {
	// ResolveLinks delivers links together with the events that they name.
	ResolveLinks bool `json:"resolveLinks"`
	// ExtraStatistics measures the time that each consumer takes per event.
	ExtraStatistics bool `json:"extraStatistics"`
	// MessageTimeout is the time after which an unanswered event is delivered to another consumer; zero means never.
	MessageTimeout time.Duration `json:"messageTimeout"`
	// MaxRetryCount is how often an event is delivered again before it is parked.
	MaxRetryCount int `json:"maxRetryCount"`
	// LiveBufferSize and HistoryBufferSize bound the events that wait for consumers: the first while the group has read
	// its source to the end, the second while it is behind.
	LiveBufferSize    int `json:"liveBufferSize"`
	HistoryBufferSize int `json:"historyBufferSize"`
	// ReadBatchSize bounds the events read at a time.
	ReadBatchSize int `json:"readBatchSize"`
	// CheckpointAfter is how often the checkpoint is saved if at least MinCheckpointCount events were settled since, or
	// none is unsettled. After MaxCheckpointCount events it is saved at once.
	CheckpointAfter    time.Duration `json:"checkpointAfter"`
	MinCheckpointCount int           `json:"minCheckpointCount"`
	MaxCheckpointCount int           `json:"maxCheckpointCount"`
	// MaxSubscriberCount bounds the number of consumers; zero means no bound.
	MaxSubscriberCount int `json:"maxSubscriberCount"`
	// Strategy is the name of the strategy that chooses the consumer.
	Strategy string `json:"strategy"`
}

// minCheckpointAfter is the least time between two checkpoints that are not forced by MaxCheckpointCount.
const minCheckpointAfter = 10 * time.Millisecond

// check returns an Error of kind Invalid if a setting is out of range.
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
	return invalid("the consumer strategy %q is unknown; use %s, %s, %s or %s",
		s.Strategy, RoundRobin, DispatchToSingle, Pinned, PinnedByCorrelation)
}

// Filter selects events of the whole log. Exactly one of Prefixes and Regex is set.
type Filter struct {
	// ByType matches the event's type instead of its stream's name.
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
	if f.ByType {
		return f.selects(r.Type())
	}
	return f.selects(r.Stream())
}

// selects reports whether the expression matches a name.
func (f *Filter) selects(subject []byte) bool {
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

// definition is the stored form of a group: its configuration and its checkpoint.
type definition struct {
	Source     string     `json:"source"`
	Name       string     `json:"name"`
	Settings   Settings   `json:"settings"`
	Filter     *Filter    `json:"filter,omitempty"`
	Start      uint64     `json:"start"` // a position of the log, or a revision of the stream
	FromEnd    bool       `json:"fromEnd,omitempty"`
	Checkpoint checkpoint `json:"place"`
	Created    time.Time  `json:"created"`
}

// checkpoint is how far a group has come.
type checkpoint struct {
	// Next is the first position or revision that may be unsettled.
	Next uint64 `json:"next"`
	// LastSettled is the last position or revision below Next, if AnySettled is set.
	LastSettled uint64 `json:"done,omitempty"`
	AnySettled  bool   `json:"any,omitempty"`
}

const notePrefix = "group\x00"

// noteName returns the name of a group's note in the store. The length of the source keeps it unique, because sources
// and names may contain any separator.
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
	decoder.DisallowUnknownFields() // settings of a later build must not be dropped silently
	if err := decoder.Decode(&d); err != nil {
		return d, err
	}
	if err := d.Settings.check(); err != nil {
		return d, err
	}
	return d, d.Filter.compile()
}

// parkedStream returns the name of the stream that holds links to the group's parked events.
func (d *definition) parkedStream() string {
	return parkedPrefix + d.Source + "::" + d.Name + "-parked"
}

// checkpointStream returns the name of the stream in which clients find the group's checkpoint.
func (d *definition) checkpointStream() string {
	return parkedPrefix + d.Source + "::" + d.Name + "-checkpoint"
}

const (
	parkedPrefix = "$persistentsubscription-"
	// internalPrefix is the prefix of the streams that groups of $all write to. Their events are not delivered to such
	// groups, because parking one of them would create another.
	internalPrefix = parkedPrefix + All + "::"
)

// Internal reports whether an event was written by a group of $all for its own use. Readers of $all do not get it.
func Internal(r *store.Record) bool {
	return bytes.HasPrefix(r.Stream(), []byte(internalPrefix))
}
