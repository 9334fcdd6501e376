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

// Kind tells why something was refused.
type Kind int

const (
	// Invalid says that the request cannot be meant.
	Invalid Kind = iota
	// NotFound says that there is no such group, or none any more.
	NotFound
	// Exists says that there is such a group already.
	Exists
	// Full says that the group has as many consumers as it may have.
	Full
	// Dropped says that the consumer was removed: it asked for that, or the group was changed.
	Dropped
)

// Error is a refusal.
type Error struct {
	Kind         Kind
	Source, Name string
	Reason       string
}

func (e *Error) Error() string { return e.Reason }

// ErrClosed says that the groups were closed.
var ErrClosed = errors.New("the groups of consumers are closed")

// Groups are all groups of one store.
type Groups struct {
	store  *store.Store
	logger *slog.Logger

	mu     sync.Mutex // held while groups come and go, also across the store's sync
	byName map[string]*group
	closed bool
}

// Open loads the groups that the store knows. They begin to read when consumers connect.
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

// Close ends all consumers and saves the place of every group.
func (gs *Groups) Close() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.closed = true
	gs.stopAll()
}

func (gs *Groups) stopAll() {
	for _, g := range gs.byName {
		g.stop(&Error{Kind: Dropped, Source: g.def.Source, Name: g.def.Name, Reason: "the consumer was dropped, because the node's groups are being restarted; connect again"}, true)
	}
	gs.byName = nil
}

// Restart ends all consumers and loads all groups afresh.
func (gs *Groups) Restart() error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.closed {
		return ErrClosed
	}
	gs.stopAll()
	return gs.load()
}

// Start says where a group begins.
type Start struct {
	// End begins behind what there is at the moment of creation; then At counts for nothing.
	End bool
	// At is the first position of the log, or revision of the stream, that is delivered.
	At uint64
}

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
		return 0, nil // there is nothing, and will be nothing
	}
	return uint64(st.Last + 1), nil
}

// Create makes a group. Only a group of the whole log may have a filter. It fails with Exists or Invalid.
func (gs *Groups) Create(source, name string, start Start, settings Settings, filter *Filter) error {
	if name == "" {
		return &Error{Kind: Invalid, Source: source, Reason: "the group's name is missing"}
	}
	if err := settings.check(); err != nil {
		return err
	}
	if err := filter.compile(); err != nil {
		return &Error{Kind: Invalid, Source: source, Name: name, Reason: "the filter's regular expression is not RE2, which has no look-around: " + err.Error()}
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.closed {
		return ErrClosed
	}
	key := noteName(source, name)
	if gs.byName[key] != nil {
		return &Error{Kind: Exists, Source: source, Name: name, Reason: fmt.Sprintf("the group %q of %q exists already; update it or choose another name", name, source)}
	}
	at, err := gs.begin(source, start)
	if err != nil {
		return err
	}
	d := definition{
		Source: source, Name: name, Settings: settings, Filter: filter,
		Start: at, FromEnd: start.End, Place: place{Next: at}, Created: gs.store.Now().UTC(),
	}
	if err := d.save(gs.store); err != nil {
		return err
	}
	gs.byName[key] = startGroup(gs.store, gs.logger, d)
	return nil
}

// Update changes a group's settings and drops its consumers. Its place stays, unless nothing was settled yet: then it
// begins where start says. It fails with NotFound or Invalid.
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
	// Whatever comes now, a running group must be left: with the new settings, or as it was.
	g.stop(&Error{Kind: Dropped, Source: source, Name: name, Reason: fmt.Sprintf("the consumer was dropped, because the group %q of %q was updated; connect again", name, source)}, true)
	d := g.def
	d.Place = g.saved // the group has ended, so this is nobody else's any more
	before := d
	d.Settings = settings
	if !d.Place.Any {
		if d.Start, err = gs.begin(source, start); err == nil {
			d.FromEnd, d.Place = start.End, place{Next: d.Start}
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

// Delete removes a group, its place and its parked events, and drops its consumers. It fails with NotFound.
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
	g.stop(&Error{Kind: NotFound, Source: source, Name: name, Reason: fmt.Sprintf("the consumer was dropped, because the group %q of %q was deleted", name, source)}, false)
	return g.forgetParked()
}

func (gs *Groups) find(source, name string) (*group, error) {
	if gs.closed {
		return nil, ErrClosed
	}
	if g := gs.byName[noteName(source, name)]; g != nil {
		return g, nil
	}
	return nil, &Error{Kind: NotFound, Source: source, Name: name, Reason: fmt.Sprintf("there is no group %q of %q; create it first", name, source)}
}

func (gs *Groups) locked(source, name string) (*group, error) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return gs.find(source, name)
}

// ReplayParked delivers the group's parked events again, at most limit of them if it is above zero.
func (gs *Groups) ReplayParked(source, name string, limit int64) error {
	g, err := gs.locked(source, name)
	if err != nil {
		return err
	}
	return g.replayParked(limit)
}

// Connect adds a consumer that will hold at most buffer unsettled events. It fails with NotFound, Full or Invalid.
func (gs *Groups) Connect(source, name string, buffer int, who Identity) (*Consumer, error) {
	if buffer <= 0 {
		return nil, &Error{Kind: Invalid, Source: source, Name: name, Reason: fmt.Sprintf("the buffer size is %d, but must be at least 1", buffer)}
	}
	g, err := gs.locked(source, name)
	if err != nil {
		return nil, err
	}
	return g.connect(min(buffer, maxBuffer), who)
}

// maxBuffer bounds what one consumer may hold, whatever it asks for.
const maxBuffer = 10000

// Info describes a group. It fails with NotFound.
func (gs *Groups) Info(source, name string) (Info, error) {
	g, err := gs.locked(source, name)
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
			continue // deleted meanwhile
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

// Identity says who a consumer is, for those who look at the group.
type Identity struct {
	Address, User, Connection string
}

// Info describes a group at one moment.
type Info struct {
	Source, Name string
	Settings     Settings
	// Start is where the group was told to begin; FromEnd tells that this was the end at that time.
	Start   uint64
	FromEnd bool
	// Live tells whether the group has delivered all that there is.
	Live bool
	// SavedPlace is the last position or revision below which everything is settled, as it would be found after a
	// crash; Saved is false before the first.
	SavedPlace uint64
	Saved      bool
	// LastKnown is the last position or revision of the source; Known is false if it is empty.
	LastKnown uint64
	Known     bool
	// Settled counts since the group was started, Recent since the last Info, PerSecond is the average.
	Settled, Recent int64
	PerSecond       int
	// Buffered and Retrying wait for a consumer, InFlight are with one, Outstanding are not settled, Parked wait for
	// a replay.
	Buffered, Retrying, InFlight, Outstanding int
	Parked                                    int64
	Consumers                                 []ConsumerInfo
	Created                                   time.Time
}

// ConsumerInfo describes a consumer.
type ConsumerInfo struct {
	Identity
	PerSecond            int
	Settled, Recent      int64
	Free, InFlight       int
	ObservedMilliseconds []Measurement
}

// Measurement is a figure about the time that a consumer takes per event.
type Measurement struct {
	Key   string
	Value int64
}
