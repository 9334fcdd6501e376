package groups

import (
	"cmp"
	"container/list"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"casebook/embedded/node/store"
)

// message is an event on its way through a group, until it is settled.
type message struct {
	// at is its position in the log, or revision in the stream; parked its revision in the parked stream, if it comes
	// from there, else -1.
	at     uint64
	parked int64
	// before is the place of a group that has settled everything below this message.
	before place

	event *store.Record // what a consumer works on
	link  *store.Record // what led there, if anything did

	retries  int
	pin      uint64 // the hash that pinning strategies go by
	pinned   bool   // it has been computed
	consumer *Consumer
	sent     time.Time
	deadline time.Time
	settled  bool

	unsettled *list.Element // in group.unsettled or group.replaying
	flight    *list.Element // in group.inFlight, while with a consumer
}

// id is what consumers acknowledge by.
func (m *message) id() store.ID {
	if m.link != nil {
		return m.link.ID
	}
	return m.event.ID
}

// group is one group. All its fields but the mailbox belong to its goroutine.
type group struct {
	store  *store.Store
	logger *slog.Logger
	def    definition // never changes; its place is where the group was started
	source source

	mu    sync.Mutex
	mail  []func()
	wake  chan struct{} // one slot: there is mail
	ended chan struct{}
	over  bool

	read   place     // how far the source was read
	live   bool      // there was nothing to read
	readAt time.Time // when to try again, if reading failed

	unsettled *list.List // of *message from the source, in order
	replaying *list.List // of *message from the parked stream, in order
	replay    replay
	retry     []*message // to be delivered before fresh, in order of at
	fresh     []*message
	inFlight  *list.List // of *message, in the order of their delivery, which is that of their deadlines
	consumers []*Consumer
	turn      int    // of the strategies that take turns
	connected uint64 // how many consumers there ever were

	settledSince int // the place was saved
	saved        place
	saveAt       time.Time
	parkAgain    []func() // parking that could not be begun
	parkAt       time.Time

	started         time.Time
	settled, recent int64
}

func startGroup(s *store.Store, logger *slog.Logger, d definition) *group {
	g := &group{
		store: s, logger: logger.With("source", d.Source, "group", d.Name), def: d, source: newSource(s, d.Source),
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
		read: d.Place, saved: d.Place,
		unsettled: list.New(), replaying: list.New(), inFlight: list.New(),
		started: time.Now(),
	}
	go g.run()
	return g
}

// post leaves work for the group's goroutine and does not wait. It reports false if the group has ended.
func (g *group) post(f func()) bool {
	g.mu.Lock()
	ended := g.over
	if !ended {
		g.mail = append(g.mail, f)
	}
	g.mu.Unlock()
	if ended {
		return false
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
	return true
}

// do has the group's goroutine call f and waits for it.
func (g *group) do(f func()) error {
	done := make(chan struct{})
	if g.post(func() { f(); close(done) }) {
		select {
		case <-done:
			return nil
		case <-g.ended:
			select {
			case <-done: // both are ready: it was done
				return nil
			default:
			}
		}
	}
	return &Error{Kind: NotFound, Source: g.def.Source, Name: g.def.Name, Reason: "the group has just been deleted or changed; try again"}
}

// stop ends the group's goroutine: its consumers leave with the reason, and its place is saved if wanted.
func (g *group) stop(reason error, save bool) {
	g.post(func() {
		for _, c := range slices.Clone(g.consumers) {
			g.drop(c, reason)
		}
		if save {
			g.save()
			g.truncateParked(true)
		}
		g.mu.Lock()
		g.over, g.mail = true, nil
		g.mu.Unlock()
	})
	<-g.ended
}

func (g *group) run() {
	defer close(g.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var watcher *store.Watcher
	defer func() {
		if watcher != nil {
			watcher.Close()
		}
	}()
	for {
		if g.work() {
			return
		}
		more := false
		if len(g.consumers) > 0 {
			if watcher == nil {
				watcher = g.source.watch()
			}
			g.push() // what goes out makes room
			more = g.fill()
			g.push()
		} else if watcher != nil {
			watcher.Close()
			watcher = nil
		}
		g.tick(time.Now())
		if more || g.canPush() {
			continue
		}
		timer.Reset(g.nextTick(time.Now()))
		var news <-chan struct{}
		if watcher != nil && g.room() > 0 {
			news = watcher.C
		}
		select {
		case <-g.wake:
		case <-news:
		case <-timer.C:
		}
	}
}

// work does what the mailbox holds. It reports true if that ended the group.
func (g *group) work() bool {
	for {
		g.mu.Lock()
		mail, over := g.mail, g.over
		g.mail = nil
		g.mu.Unlock()
		if over {
			return true
		}
		if len(mail) == 0 {
			return false
		}
		for _, f := range mail {
			f()
			if g.over { // written by this goroutine alone
				return true
			}
		}
	}
}

// room is how many more events may be held ready.
func (g *group) room() int {
	limit := g.def.Settings.HistoryBufferSize
	if g.live {
		limit = g.def.Settings.LiveBufferSize
	}
	return limit - len(g.fresh) - len(g.retry)
}

// maxPageBytes bounds the bytes read at a time, and maxReadyBytes those held ready: the buffers' sizes count events, and
// some are large. Each is exceeded by at most one page.
const (
	maxPageBytes  = 1 << 20
	maxReadyBytes = 16 << 20
)

// readyBytes are held by what is ready for consumers.
func (g *group) readyBytes() (n int) {
	for _, m := range g.fresh {
		n += m.event.Size()
	}
	for _, m := range g.retry {
		n += m.event.Size()
	}
	return n
}

// fill reads at most a page from the parked stream, if a replay is under way, or else from the source. It reports true
// if there may be more.
func (g *group) fill() bool {
	room := g.room()
	if room <= 0 || g.readyBytes() >= maxReadyBytes {
		return false
	}
	room = min(room, g.def.Settings.ReadBatchSize)
	if g.replay.active() {
		if err := g.fillFromParked(room); err != nil {
			g.logger.Error("reading parked events failed, trying again", "error", err)
			g.readAt = time.Now().Add(readDelay)
			return false
		}
		return true
	}
	read, err := g.source.read(g.read.Next, store.Page{Events: room, Bytes: maxPageBytes}, g.def.Filter)
	g.readAt = time.Time{}
	if err != nil {
		// The store's own trouble is not the group's to mend.
		g.logger.Error("reading events for consumers failed, trying again", "at", g.read.Next, "error", err)
		g.readAt = time.Now().Add(readDelay)
		return false
	}
	before := g.read
	for _, e := range read.events {
		m := &message{at: e.at, before: place{Next: e.at, Done: e.before, Any: true}, parked: -1, event: e.record}
		if e.first {
			m.before.Done, m.before.Any = before.Done, before.Any
		}
		if g.def.Settings.ResolveLinks && string(e.record.Type()) == store.LinkType {
			m.link = e.record
			if m.event, err = g.store.Resolve(e.record, g.store.Now()); err != nil {
				g.logger.Error("resolving a link failed, trying again", "at", e.at, "error", err)
				g.readAt = time.Now().Add(readDelay)
				return false
			}
		}
		g.read = place{Next: e.at + 1, Done: e.at, Any: true}
		if m.event == nil {
			g.settledSince++ // a link that leads nowhere gives a consumer nothing to do
			continue
		}
		m.unsettled = g.unsettled.PushBack(m)
		g.fresh = append(g.fresh, m)
	}
	if read.considered {
		g.read.Done, g.read.Any = read.last, true
	}
	g.read.Next = max(g.read.Next, read.next)
	g.live = !read.more
	return read.more
}

// readDelay is how long to wait before reading is tried again after it failed.
const readDelay = time.Second

// Consumer is one of those who share a group's events.
type Consumer struct {
	group  *group
	number uint64
	buffer int
	who    Identity

	// C delivers events. It has room for as many as the consumer may hold, and is closed after the last when the
	// consumer was dropped.
	C chan Delivery

	// Of the group's goroutine:
	held            map[store.ID]*message // one per id, because it answers by id
	pins            map[uint64]int        // how many of what it holds are pinned alike
	count           int
	gone            bool
	ahead           bool // it answers before it can have received
	reason          error
	settled, recent int64
	since           time.Time
	times           observed
}

// Delivery is an event for a consumer. Of a link, Event is what it leads to.
type Delivery struct {
	Event, Link *store.Record
	Retries     int
}

func (g *group) connect(buffer int, who Identity) (*Consumer, error) {
	c := &Consumer{
		group: g, buffer: buffer, who: who, C: make(chan Delivery, buffer),
		held: map[store.ID]*message{}, pins: map[uint64]int{}, since: time.Now(),
	}
	var refused error
	err := g.do(func() {
		if most := g.def.Settings.MaxSubscriberCount; most > 0 && len(g.consumers) >= most {
			refused = &Error{Kind: Full, Source: g.def.Source, Name: g.def.Name, Reason: "the group has as many consumers as its maximum subscriber count allows; raise it or disconnect one"}
			return
		}
		if g.def.Settings.ExtraStatistics {
			c.times = newObserved()
		}
		g.connected++
		c.number = g.connected
		g.consumers = append(g.consumers, c)
	})
	if err = cmp.Or(err, refused); err != nil {
		return nil, err
	}
	return c, nil
}

// Close removes the consumer; what it held goes to others. It may be called more than once.
func (c *Consumer) Close() {
	// If the group has ended there is nothing left to leave.
	_ = c.group.do(func() {
		c.group.drop(c, &Error{Kind: Dropped, Source: c.group.def.Source, Name: c.group.def.Name, Reason: "the consumer left"})
	})
}

// Reason says why the consumer was dropped. It is for after C was closed.
func (c *Consumer) Reason() error { return c.reason }

// Ack settles events that the consumer holds, by their ids; of those that came over a link by the link's. Ids that it
// does not hold are passed over: they may have gone to another consumer meanwhile.
func (c *Consumer) Ack(ids ...store.ID) error {
	return c.group.do(func() {
		for _, id := range ids {
			if m := c.take(id); m != nil {
				c.group.settle(m)
			}
		}
	})
}

// Action is what a consumer wants done with an event that it could not handle.
type Action int

const (
	// Retry delivers it again, until it was often enough.
	Retry Action = iota
	// Park puts it aside.
	Park
	// Skip settles it.
	Skip
	// Stop gives it back and drops the consumer.
	Stop
)

// Nack gives events back.
func (c *Consumer) Nack(action Action, reason string, ids ...store.ID) error {
	g := c.group
	return g.do(func() {
		for _, id := range ids {
			m := c.take(id)
			if m == nil {
				continue
			}
			switch action {
			case Retry:
				g.retryLater(m, "a consumer asked for it to be retried: "+reason)
			case Park:
				g.park(m, "a consumer parked it: "+reason)
			case Skip:
				g.settle(m)
			case Stop:
				g.giveBack(m)
			}
		}
		if action == Stop {
			g.drop(c, &Error{Kind: Dropped, Source: g.def.Source, Name: g.def.Name, Reason: "the consumer was dropped, as it asked: " + reason})
		}
	})
}

// take removes the message with the id from what the consumer holds.
func (c *Consumer) take(id store.ID) *message {
	m := c.held[id]
	if m == nil {
		return nil
	}
	c.release(m)
	if c.times.on() {
		c.times.record(time.Since(m.sent).Milliseconds())
	}
	c.settled++
	c.recent++
	return m
}

// release forgets that the consumer holds the message.
func (c *Consumer) release(m *message) {
	delete(c.held, m.id())
	if m.pinned {
		if c.pins[m.pin]--; c.pins[m.pin] == 0 {
			delete(c.pins, m.pin)
		}
	}
	c.count--
	c.group.inFlight.Remove(m.flight)
	m.flight = nil
}

// free is how many more events the consumer may hold.
func (c *Consumer) free() int {
	if c.ahead {
		return 0
	}
	return c.buffer - c.count
}

// canTake tells whether the consumer may hold the message as well. Of two events with the same id it holds one at a time:
// its answer could settle either, and the other one would be lost with the connection.
func (c *Consumer) canTake(m *message) bool { return c.free() > 0 && c.held[m.id()] == nil }

// push hands out messages as long as somebody has room for them.
func (g *group) push() {
	if len(g.retry) > 0 {
		g.retry = g.handOut(g.retry)
	}
	g.fresh = g.handOut(g.fresh)
}

// canPush tells whether a deadline has just given back what a consumer has room for.
func (g *group) canPush() bool {
	if !slices.ContainsFunc(g.consumers, func(c *Consumer) bool { return c.free() > 0 }) {
		return false
	}
	return slices.ContainsFunc(g.retry, func(m *message) bool {
		if pins(g.def.Settings.Strategy) {
			return g.choosePinned(m) != nil
		}
		return slices.ContainsFunc(g.consumers, func(c *Consumer) bool { return c.canTake(m) })
	})
}

// handOut delivers what it can and returns the rest, in order.
func (g *group) handOut(waiting []*message) []*message {
	free := 0
	for _, c := range g.consumers {
		free += c.free()
	}
	rest := waiting[:0]
	for i, m := range waiting {
		if free == 0 {
			rest = append(rest, waiting[i:]...)
			break
		}
		c := g.choose(m)
		if c == nil {
			rest = append(rest, m) // nobody may take this one now; others may be luckier
			continue
		}
		if !g.deliver(m, c) {
			rest = append(rest, waiting[i:]...)
			break
		}
		free--
	}
	clear(waiting[len(rest):])
	return rest
}

// deliver reports false if the consumer has answered what it did not receive yet: then what was left for it fills its
// channel, though it holds nothing.
func (g *group) deliver(m *message, c *Consumer) bool {
	select {
	case c.C <- Delivery{Event: m.event, Link: m.link, Retries: m.retries}:
	default:
		c.ahead = true
		g.post(func() {
			g.drop(c, &Error{Kind: Dropped, Source: g.def.Source, Name: g.def.Name, Reason: "the consumer was dropped, because it answered events before they were sent to it"})
		})
		return false
	}
	m.consumer, m.sent = c, time.Now()
	m.deadline = m.sent.Add(g.def.Settings.MessageTimeout)
	m.flight = g.inFlight.PushBack(m)
	c.held[m.id()] = m
	if m.pinned {
		c.pins[m.pin]++
	}
	c.count++
	return true
}

// settle is the end of a message.
func (g *group) settle(m *message) {
	if m.settled {
		return
	}
	m.settled = true
	g.settled++
	g.recent++
	if m.parked >= 0 {
		g.replaySettled(m)
		return
	}
	g.unsettled.Remove(m.unsettled)
	g.settledSince++
}

// giveBack puts a message in front of what waits.
func (g *group) giveBack(m *message) {
	i, _ := slices.BinarySearchFunc(g.retry, m, func(a, b *message) int {
		return cmp.Or(cmp.Compare(a.parked, b.parked), cmp.Compare(a.at, b.at)) // what was not parked comes first
	})
	g.retry = slices.Insert(g.retry, i, m)
}

// retryLater gives a message back, or parks it if that was done often enough.
func (g *group) retryLater(m *message, why string) {
	if m.retries >= g.def.Settings.MaxRetryCount {
		g.park(m, "it was delivered as often as the maximum retry count allows; the last time "+why)
		return
	}
	m.retries++
	g.giveBack(m)
}

// drop removes a consumer; others get what it held.
func (g *group) drop(c *Consumer, reason error) {
	if c.gone {
		return
	}
	c.gone, c.reason = true, reason
	g.consumers = slices.DeleteFunc(g.consumers, func(other *Consumer) bool { return other == c })
	for e := g.inFlight.Front(); e != nil; {
		m := e.Value.(*message)
		e = e.Next()
		if m.consumer == c {
			c.release(m)
			g.giveBack(m)
		}
	}
	close(c.C)
}

// tick does what is due by time alone.
func (g *group) tick(now time.Time) {
	if g.def.Settings.MessageTimeout > 0 {
		for e := g.inFlight.Front(); e != nil; e = g.inFlight.Front() {
			m := e.Value.(*message)
			if m.deadline.After(now) {
				break
			}
			m.consumer.release(m)
			g.retryLater(m, "the consumer did not answer within the message time-out")
		}
	}
	if len(g.parkAgain) > 0 && !g.parkAt.After(now) {
		again := g.parkAgain
		g.parkAgain = nil
		for _, f := range again {
			f()
		}
	}
	g.truncateParked(false)
	if g.settledSince >= g.def.Settings.MaxCheckpointCount {
		g.save()
	}
	if g.place() == g.saved {
		g.saveAt = time.Time{}
		return
	}
	switch {
	case g.saveAt.IsZero():
		g.saveAt = now.Add(max(g.def.Settings.CheckpointAfter, minCheckpointAfter))
	case !g.saveAt.After(now):
		g.saveAt = time.Time{}
		// With nothing left to settle the place is saved however few it were: a restart repeats less.
		if g.settledSince >= g.def.Settings.MinCheckpointCount || g.unsettled.Len() == 0 {
			g.save()
		}
	}
}

// nextTick is how long nothing falls due.
func (g *group) nextTick(now time.Time) time.Duration {
	wait := time.Minute
	until := func(t time.Time) { wait = min(wait, max(t.Sub(now), time.Millisecond)) }
	if e := g.inFlight.Front(); e != nil && g.def.Settings.MessageTimeout > 0 {
		until(e.Value.(*message).deadline)
	}
	if len(g.parkAgain) > 0 {
		until(g.parkAt)
	}
	if !g.saveAt.IsZero() {
		until(g.saveAt)
	}
	if !g.readAt.IsZero() {
		until(g.readAt)
	}
	return wait
}

// place is below what everything is settled.
func (g *group) place() place {
	if e := g.unsettled.Front(); e != nil {
		return e.Value.(*message).before
	}
	return g.read
}

// save makes the place durable. If it cannot, it will be tried again; until then a restart repeats more.
func (g *group) save() {
	at := g.place()
	if at == g.saved {
		return
	}
	d := g.def
	d.Place = at
	if err := d.save(g.store); err != nil {
		if !errors.Is(err, store.ErrClosed) {
			g.logger.Error("saving the place of a group failed", "error", err)
		}
		return
	}
	g.saved, g.settledSince = at, 0
}

func (g *group) info() (Info, error) {
	var (
		info   Info
		failed error
	)
	err := g.do(func() {
		info = Info{
			Source: g.def.Source, Name: g.def.Name, Settings: g.def.Settings, Start: g.def.Start, FromEnd: g.def.FromEnd,
			Live: g.live, SavedPlace: g.saved.Done, Saved: g.saved.Any, Created: g.def.Created,
			Settled: g.settled, Recent: g.recent, PerSecond: perSecond(g.settled, g.started),
			Buffered: len(g.fresh), Retrying: len(g.retry), InFlight: g.inFlight.Len(),
			Outstanding: g.unsettled.Len() + g.replaying.Len(),
		}
		g.recent = 0
		for _, c := range g.consumers {
			info.Consumers = append(info.Consumers, ConsumerInfo{
				Identity: c.who, PerSecond: perSecond(c.settled, c.since), Settled: c.settled, Recent: c.recent,
				Free: c.free(), InFlight: c.count, ObservedMilliseconds: c.times.measurements(),
			})
			c.recent = 0
		}
		if info.Parked, failed = g.parkedCount(); failed == nil {
			info.LastKnown, info.Known, failed = g.source.last()
		}
	})
	return info, cmp.Or(err, failed)
}

func perSecond(n int64, since time.Time) int {
	if n == 0 {
		return 0
	}
	return int(float64(n) / max(time.Since(since).Seconds(), 1))
}
