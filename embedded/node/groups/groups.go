package groups

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"casebook/embedded/node/store"
)

// Kind is the kind of a refusal.
type Kind int

const (
	// Invalid means that a parameter is out of range or malformed.
	Invalid Kind = iota
	// NotFound means that the group does not exist or was just deleted.
	NotFound
	// Exists means that the group exists already.
	Exists
	// Full means that the group has its maximum number of consumers.
	Full
	// Dropped means that the consumer was removed, at its own request or because the group changed.
	Dropped
)

// Error is a refused operation on a group.
type Error struct {
	Kind         Kind
	Source, Name string // of the group
	Reason       string // a sentence for people
}

func (e *Error) Error() string { return e.Reason }

// refusal returns an error about the named group of a source.
func refusal(kind Kind, source, name, format string, args ...any) *Error {
	return &Error{Kind: kind, Source: source, Name: name, Reason: fmt.Sprintf(format, args...)}
}

// ErrClosed means that the groups were closed.
var ErrClosed = errors.New("the groups of consumers are closed")

// Groups are all groups of consumers of one store.
type Groups struct {
	store  *store.Store
	logger *slog.Logger

	mu     sync.Mutex // held while a group is created, changed or deleted, also while the store syncs it
	byName map[string]*group
	closed bool
}

// Open loads the groups that are kept in the store. A group begins to read when its first consumer connects.
func Open(s *store.Store, logger *slog.Logger) (*Groups, error) {
	g := &Groups{store: s, logger: logger}
	return g, g.load()
}

func (gs *Groups) load() error {
	gs.byName = map[string]*group{}
	return gs.store.Notes(func(name string, value []byte) error {
		if !isNote(name) {
			return nil
		}
		d, err := parseDefinition(value)
		if err != nil {
			return fmt.Errorf("read the group %q of consumers: %w", strings.TrimPrefix(name, notePrefix), err)
		}
		gs.byName[name] = startGroup(gs.store, gs.logger, d)
		return nil
	})
}

// Close drops all consumers and saves the checkpoint of every group.
func (gs *Groups) Close() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.closed = true
	gs.stopAll()
}

func (gs *Groups) stopAll() {
	for _, g := range gs.byName {
		g.stop(g.refusal(Dropped, "the consumer was dropped, because the node's groups are being restarted; connect again"), true)
	}
	gs.byName = nil
}

// Restart drops all consumers and loads all groups again.
func (gs *Groups) Restart() error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.closed {
		return ErrClosed
	}
	gs.stopAll()
	return gs.load()
}

// Start is where a group begins.
type Start struct {
	// End lets the group begin behind the last event at the time of its creation; At is then ignored.
	End bool
	// At is the first position of the log, or revision of the stream, that is delivered.
	At uint64
}

// begin returns the first position or revision that a group delivers.
func (gs *Groups) begin(source string, start Start) (uint64, error) {
	if !start.End {
		return start.At, nil
	}
	if source == All {
		return gs.store.End(), nil
	}
	st, err := gs.store.Stream(source)
	if err != nil {
		return 0, err
	}
	if st.Tombstoned {
		return 0, nil // the stream has no events and gets none
	}
	return uint64(st.Last + 1), nil
}

// Create creates a group. Only a group of the whole log may have a filter. It fails with Exists or Invalid.
func (gs *Groups) Create(source, name string, start Start, settings Settings, filter *Filter) error {
	if name == "" {
		return refusal(Invalid, source, name, "the group's name is missing")
	}
	if err := settings.check(); err != nil {
		return err
	}
	if err := filter.compile(); err != nil {
		return refusal(Invalid, source, name, "the filter's regular expression is not RE2, which has no look-around: %v", err)
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.closed {
		return ErrClosed
	}
	key := noteName(source, name)
	if gs.byName[key] != nil {
		return refusal(Exists, source, name, "the group %q of %q exists already; update it or choose another name", name, source)
	}
	at, err := gs.begin(source, start)
	if err != nil {
		return err
	}
	d := definition{
		Source: source, Name: name, Settings: settings, Filter: filter,
		Start: at, FromEnd: start.End, Checkpoint: checkpoint{Next: at}, Created: gs.store.Now().UTC(),
	}
	if err := d.save(gs.store); err != nil {
		return err
	}
	gs.byName[key] = startGroup(gs.store, gs.logger, d)
	return nil
}

// Update changes a group's settings and drops its consumers. The group keeps its checkpoint; if it has settled no event
// yet, it begins at start instead. It fails with NotFound or Invalid.
func (gs *Groups) Update(source, name string, start Start, settings Settings) error {
	if err := settings.check(); err != nil {
		return err
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g, err := gs.find(source, name)
	if err != nil {
		return err
	}
	// From here on every path must start the group again, with the new settings or with the old ones.
	g.stop(refusal(Dropped, source, name,
		"the consumer was dropped, because the group %q of %q was updated; connect again", name, source), true)
	d := g.def
	d.Checkpoint = g.saved // safe to read, because the group's goroutine has ended
	before := d
	d.Settings = settings
	if !d.Checkpoint.AnySettled {
		if d.Start, err = gs.begin(source, start); err == nil {
			d.FromEnd, d.Checkpoint = start.End, checkpoint{Next: d.Start}
		}
	}
	if err == nil {
		err = d.save(gs.store)
	}
	if err != nil {
		d = before
	}
	gs.byName[noteName(source, name)] = startGroup(gs.store, gs.logger, d)
	return err
}

// Delete removes a group with its checkpoint and its parked events, and drops its consumers. It fails with NotFound.
func (gs *Groups) Delete(source, name string) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g, err := gs.find(source, name)
	if err != nil {
		return err
	}
	if err := gs.store.DeleteNote(noteName(source, name)); err != nil {
		return err
	}
	delete(gs.byName, noteName(source, name))
	g.stop(refusal(Dropped, source, name,
		"the consumer was dropped, because the group %q of %q was deleted", name, source), false)
	return g.deleteStreams()
}

func (gs *Groups) find(source, name string) (*group, error) {
	if gs.closed {
		return nil, ErrClosed
	}
	if g := gs.byName[noteName(source, name)]; g != nil {
		return g, nil
	}
	return nil, refusal(NotFound, source, name, "there is no group %q of %q; create it first", name, source)
}

// lockAndFind is find for callers that do not hold the lock.
func (gs *Groups) lockAndFind(source, name string) (*group, error) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return gs.find(source, name)
}

// ReplayParked delivers the group's parked events again, at most limit of them if it is above zero.
func (gs *Groups) ReplayParked(source, name string, limit int64) error {
	g, err := gs.lockAndFind(source, name)
	if err != nil {
		return err
	}
	return g.replayParked(limit)
}

// Connect adds a consumer that will hold at most buffer unsettled events. It fails with NotFound, Full or Invalid.
func (gs *Groups) Connect(source, name string, buffer int, who Identity) (*Consumer, error) {
	if buffer <= 0 {
		return nil, refusal(Invalid, source, name, "the buffer size is %d, but must be at least 1", buffer)
	}
	g, err := gs.lockAndFind(source, name)
	if err != nil {
		return nil, err
	}
	return g.connect(min(buffer, maxBuffer), who)
}

// maxBuffer bounds the unsettled events of one consumer.
const maxBuffer = 10000

// Info describes a group. It fails with NotFound.
func (gs *Groups) Info(source, name string) (Info, error) {
	g, err := gs.lockAndFind(source, name)
	if err != nil {
		return Info{}, err
	}
	return g.info()
}

// List describes the groups of a source, or all groups if it is empty, ordered by source and name.
func (gs *Groups) List(source string) ([]Info, error) {
	gs.mu.Lock()
	var chosen []*group
	for _, g := range gs.byName {
		if source == "" || g.def.Source == source {
			chosen = append(chosen, g)
		}
	}
	gs.mu.Unlock()
	var infos []Info
	for _, g := range chosen {
		info, err := g.info()
		var gone *Error
		if errors.As(err, &gone) {
			continue // the group was deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b Info) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Name, b.Name))
	})
	return infos, nil
}

// Identity describes a consumer's client in Info.
type Identity struct {
	Address, User, Connection string
}

// Info describes the state of a group.
type Info struct {
	Source, Name string
	Settings     Settings
	// Start is the position or revision that the group began at. If FromEnd is set, it was the end at that time.
	Start   uint64
	FromEnd bool
	// Live reports whether the group has read its source to the end.
	Live bool
	// Checkpoint is the durable checkpoint: the position or revision up to which every event is settled. HasCheckpoint is
	// false as long as there is none.
	Checkpoint    uint64
	HasCheckpoint bool
	// LastKnown is the last position or revision of the source; Known is false if the source is empty.
	LastKnown uint64
	Known     bool
	// Settled counts the events since the group was started, Recent those since the last Info. PerSecond is the average
	// since the start.
	Settled, Recent int64
	PerSecond       int
	// Buffered and Retrying events wait for a consumer, InFlight ones were delivered to one, Outstanding ones are not
	// settled, and Parked ones wait for a replay.
	Buffered, Retrying, InFlight, Outstanding int
	Parked                                    int64
	Consumers                                 []ConsumerInfo
	Created                                   time.Time
}

// ConsumerInfo describes the state of a consumer. Free is the number of events that it has room for.
type ConsumerInfo struct {
	Identity
	PerSecond            int
	Settled, Recent      int64
	Free, InFlight       int
	ObservedMilliseconds []Measurement
}

// Measurement is a statistic of the time that a consumer takes per event, in milliseconds.
type Measurement struct {
	Key   string
	Value int64
}
