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

// message is an event in a group, from reading it until it is settled.
type message struct {
	// at is the event's position in the log, or its revision in the stream.
	at uint64
	// parked is the revision in the parked stream if the message comes from there, else -1.
	parked int64
	// before is the checkpoint of a group that has settled everything below this message.
	before checkpoint

	event *store.Record // the event that the consumer processes; nil if the link has no target
	link  *store.Record // the link that was resolved to it; nil if there was none

	retries  int
	pin      uint64 // the hash by which pinning strategies choose the consumer
	pinned   bool   // pin has been computed
	consumer *Consumer
	sent     time.Time
	deadline time.Time
	settled  bool

	unsettled *list.Element // in group.unsettled or group.replaying
	flight    *list.Element // in group.inFlight, while a consumer has it
}

// id returns the id that consumers acknowledge the message by.
func (m *message) id() store.ID {
	if m.link != nil {
		return m.link.ID
	}
	return m.event.ID
}

// group is one group of consumers. All fields except the mailbox belong to its goroutine.
type group struct {
	store  *store.Store
	logger *slog.Logger
	def    definition // never changes; its checkpoint is the one that the group was started from
	source source

	// The mailbox.
	mu      sync.Mutex
	mail    []func()
	wake    chan struct{} // one slot: mail is waiting
	stopped bool          // no more mail is accepted
	ended   chan struct{} // closed when the goroutine has ended

	read   checkpoint // how far the source has been read
	live   bool       // the last read found the end of the source
	readAt time.Time  // when to read again after a failure

	unsettled *list.List // of *message from the source, in order
	replaying *list.List // of *message from the parked stream, in order
	replay    replay
	retry     []*message // to be delivered before fresh, in order of at
	fresh     []*message
	inFlight  *list.List // of *message, in the order of delivery, which is also the order of deadlines
	consumers []*Consumer
	turn      int    // index of the next consumer for strategies that take turns
	connected uint64 // number of consumers that ever connected

	settledSince int        // number of events settled since the checkpoint was saved
	saved        checkpoint // the durable one
	published    bool       // the checkpoint stream exists
	saveAt       time.Time
	parkAgain    []func() // appends to the group's own streams that have to be tried again
	parkAt       time.Time

	started         time.Time
	settled, recent int64
}

func startGroup(s *store.Store, logger *slog.Logger, d definition) *group {
	g := &group{
		store: s, logger: logger.With("source", d.Source, "group", d.Name), def: d, source: newSource(s, d.Source),
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
		read: d.Checkpoint, saved: d.Checkpoint,
		unsettled: list.New(), replaying: list.New(), inFlight: list.New(),
		started: time.Now(),
	}
	go g.run()
	return g
}

// refusal returns an error about this group.
func (g *group) refusal(kind Kind, reason string) *Error {
	return &Error{Kind: kind, Source: g.def.Source, Name: g.def.Name, Reason: reason}
}

// post queues f for the group's goroutine and does not wait. It reports false if the group has ended.
func (g *group) post(f func()) bool {
	g.mu.Lock()
	stopped := g.stopped
	if !stopped {
		g.mail = append(g.mail, f)
	}
	g.mu.Unlock()
	if stopped {
		return false
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
	return true
}

// do has the group's goroutine call f and waits for it. It fails with NotFound if the group has ended.
func (g *group) do(f func()) error {
	done := make(chan struct{})
	if g.post(func() { f(); close(done) }) {
		select {
		case <-done:
			return nil
		case <-g.ended:
			select {
			case <-done: // f may have been called before the group ended
				return nil
			default:
			}
		}
	}
	return g.refusal(NotFound, "the group has just been deleted or changed; try again")
}

// stop ends the group's goroutine. It drops the consumers with the reason and saves the checkpoint if wanted.
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
		g.stopped, g.mail = true, nil
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
			g.push() // delivering makes room for reading
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
		var appended <-chan struct{}
		if watcher != nil && g.room() > 0 {
			appended = watcher.C
		}
		select {
		case <-g.wake:
		case <-appended:
		case <-timer.C:
		}
	}
}

// work calls the functions in the mailbox. It reports true if one of them ended the group.
func (g *group) work() bool {
	for {
		g.mu.Lock()
		mail, stopped := g.mail, g.stopped
		g.mail = nil
		g.mu.Unlock()
		if stopped {
			return true
		}
		if len(mail) == 0 {
			return false
		}
		for _, f := range mail {
			f()
			if g.stopped { // only this goroutine writes it
				return true
			}
		}
	}
}

// room returns how many more events the buffers may hold.
func (g *group) room() int {
	limit := g.def.Settings.HistoryBufferSize
	if g.live {
		limit = g.def.Settings.LiveBufferSize
	}
	return limit - len(g.fresh) - len(g.retry)
}

// The sizes of the buffers count events, which may be large, so bytes are bounded too: maxPageBytes per read and
// maxReadyBytes in the buffers. Each bound is exceeded by at most one page.
const (
	maxPageBytes  = 1 << 20
	maxReadyBytes = 16 << 20
)

// readyBytes returns the size of the buffered events.
func (g *group) readyBytes() (n int) {
	for _, m := range g.fresh {
		n += m.size()
	}
	for _, m := range g.retry {
		n += m.size()
	}
	return n
}

// size returns the bytes of the event, or of the link if it has no target.
func (m *message) size() int {
	if m.event == nil {
		return m.link.Size()
	}
	return m.event.Size()
}

// fill reads at most a page, from the parked stream during a replay, else from the source. It reports true if there may
// be more to read.
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
		// The group cannot repair the store; it can only try again.
		g.logger.Error("reading events for consumers failed, trying again", "at", g.read.Next, "error", err)
		g.readAt = time.Now().Add(readDelay)
		return false
	}
	before := g.read
	for _, e := range read.events {
		m := &message{
			at: e.at, before: checkpoint{Next: e.at, LastSettled: e.before, AnySettled: true}, parked: -1, event: e.record,
		}
		if e.first {
			m.before.LastSettled, m.before.AnySettled = before.LastSettled, before.AnySettled
		}
		if g.def.Settings.ResolveLinks && store.IsLink(e.record) {
			m.link = e.record
			if m.event, err = g.store.Resolve(e.record, g.store.Now()); err != nil {
				g.logger.Error("resolving a link failed, trying again", "at", e.at, "error", err)
				g.readAt = time.Now().Add(readDelay)
				return false
			}
		}
		g.read = checkpoint{Next: e.at + 1, LastSettled: e.at, AnySettled: true}
		m.unsettled = g.unsettled.PushBack(m)
		g.fresh = append(g.fresh, m)
	}
	if read.anyConsidered {
		g.read.LastSettled, g.read.AnySettled = read.last, true
	}
	g.read.Next = max(g.read.Next, read.next)
	g.live = !read.more
	return read.more
}

// readDelay is the time between attempts to read after a failure.
const readDelay = time.Second

// Consumer is a connected client that receives some of a group's events.
type Consumer struct {
	group  *group
	number uint64
	buffer int
	who    Identity

	// C delivers events. It has room for as many as the consumer may hold. It is closed when the consumer is dropped.
	C chan Delivery

	// These fields belong to the group's goroutine.
	held            map[store.ID]*message // unsettled messages, one per id, because the consumer answers by id
	pins            map[uint64]int        // by pin, the number of held messages
	count           int                   // of held messages
	gone            bool                  // it was dropped
	ahead           bool                  // it answered events before it received them
	reason          error
	settled, recent int64
	since           time.Time
	times           observed
}

// Delivery is an event for a consumer. If Link is set, Event is the event that it names, nil if there is none.
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
			refused = g.refusal(Full,
				"the group has as many consumers as its maximum subscriber count allows; raise it or disconnect one")
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

// Close removes the consumer; its unsettled events go to others. It may be called more than once.
func (c *Consumer) Close() {
	// It fails only if the group has ended, which removes the consumer too.
	_ = c.group.do(func() { c.group.drop(c, c.group.refusal(Dropped, "the consumer left")) })
}

// Reason returns why the consumer was dropped. Call it only after C was closed.
func (c *Consumer) Reason() error { return c.reason }

// Ack settles events that the consumer holds. The ids are those of the events, or of the links for resolved links. Ids
// that the consumer does not hold are ignored, because the events may have gone to another consumer meanwhile.
func (c *Consumer) Ack(ids ...store.ID) error {
	return c.group.do(func() {
		for _, id := range ids {
			if m := c.take(id); m != nil {
				c.group.settle(m)
			}
		}
	})
}

// Action is how the group treats an event that its consumer could not process.
type Action int

const (
	// Retry delivers the event again, and parks it after MaxRetryCount retries.
	Retry Action = iota
	// Park puts the event aside until a replay.
	Park
	// Skip settles the event.
	Skip
	// Stop gives the event back to the group and drops the consumer.
	Stop
)

// Nack gives events back that the consumer could not process. The ids are those that Ack takes.
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
			g.drop(c, g.refusal(Dropped, "the consumer was dropped, as it asked: "+reason))
		}
	})
}

// take removes the held message with the id; it returns nil if there is none.
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

// release removes a message from those that the consumer holds.
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

// free returns how many more events the consumer may hold.
func (c *Consumer) free() int {
	if c.ahead {
		return 0
	}
	return c.buffer - c.count
}

// canTake tells whether the consumer may hold the message as well. Of two events with the same id it holds one at a time:
// its answer could settle either, and the other one would be lost with the connection.
func (c *Consumer) canTake(m *message) bool { return c.free() > 0 && c.held[m.id()] == nil }

// push delivers messages as long as consumers have room for them.
func (g *group) push() {
	if len(g.retry) > 0 {
		g.retry = g.deliverAll(g.retry)
	}
	g.fresh = g.deliverAll(g.fresh)
}

// canPush reports whether a message waits for a retry and a consumer has room for it, as after a missed deadline.
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

// deliverAll delivers as many of the messages as it can and returns the rest, in order.
func (g *group) deliverAll(waiting []*message) []*message {
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
			rest = append(rest, m) // no consumer may take it now, but the next message may have another consumer
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

// deliver sends a message to a consumer. It reports false, and drops the consumer, if the consumer has answered events
// that it has not received yet: those still fill its channel although it counts as holding none.
func (g *group) deliver(m *message, c *Consumer) bool {
	select {
	case c.C <- Delivery{Event: m.event, Link: m.link, Retries: m.retries}:
	default:
		c.ahead = true
		g.post(func() {
			g.drop(c, g.refusal(Dropped, "the consumer was dropped, because it answered events before they were sent to it"))
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

// settle ends the work on a message; later calls for the same message do nothing.
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

// giveBack queues a message for delivery before the fresh ones.
func (g *group) giveBack(m *message) {
	i, _ := slices.BinarySearchFunc(g.retry, m, func(a, b *message) int {
		return cmp.Or(cmp.Compare(a.parked, b.parked), cmp.Compare(a.at, b.at)) // messages that were not parked come first
	})
	g.retry = slices.Insert(g.retry, i, m)
}

// retryLater queues a message for another delivery, or parks it after MaxRetryCount retries.
func (g *group) retryLater(m *message, why string) {
	if m.retries >= g.def.Settings.MaxRetryCount {
		g.park(m, "it was delivered as often as the maximum retry count allows; the last time "+why)
		return
	}
	m.retries++
	g.giveBack(m)
}

// drop removes a consumer and gives the messages that it held to others.
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

// tick does everything that is due at a time: expired deadlines, repeated appends and checkpoints.
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
	if g.checkpoint() == g.saved {
		g.saveAt = time.Time{}
		return
	}
	switch {
	case g.saveAt.IsZero():
		g.saveAt = now.Add(max(g.def.Settings.CheckpointAfter, minCheckpointAfter))
	case !g.saveAt.After(now):
		g.saveAt = time.Time{}
		// If nothing is unsettled, even a few events are worth a checkpoint: a restart then repeats fewer.
		if g.settledSince >= g.def.Settings.MinCheckpointCount || g.unsettled.Len() == 0 {
			g.save()
		}
	}
}

// nextTick returns the time until tick has something to do.
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

// checkpoint returns the checkpoint below which every event is settled.
func (g *group) checkpoint() checkpoint {
	if e := g.unsettled.Front(); e != nil {
		return e.Value.(*message).before
	}
	return g.read
}

// save makes the checkpoint durable. After a failure it is tried again; until then a restart repeats more events.
func (g *group) save() {
	at := g.checkpoint()
	if at == g.saved {
		return
	}
	d := g.def
	d.Checkpoint = at
	if err := d.save(g.store); err != nil {
		if !errors.Is(err, store.ErrClosed) {
			g.logger.Error("saving the checkpoint of a group failed", "error", err)
		}
		return
	}
	if g.settledSince > 0 { // otherwise writing a checkpoint would lead to the next one
		g.publish(at)
	}
	g.saved, g.settledSince = at, 0
}

// readsAll reports whether the group's buffers have room for all events of its source that are not settled.
func (g *group) readsAll() bool {
	if g.live && len(g.consumers) > 0 {
		return true
	}
	room := g.room()
	last, any, err := g.source.last()
	if err != nil || room <= 0 {
		return false
	}
	if !any || last < g.read.Next {
		return true
	}
	read, err := g.source.read(g.read.Next, store.Page{Events: room, Bytes: maxReadyBytes}, g.def.Filter)
	return err == nil && read.next > last
}

func (g *group) info() (Info, error) {
	var (
		info   Info
		failed error
	)
	err := g.do(func() {
		info = Info{
			Source: g.def.Source, Name: g.def.Name, Settings: g.def.Settings, Start: g.def.Start, FromEnd: g.def.FromEnd,
			Live: g.readsAll(), Checkpoint: g.saved.LastSettled, HasCheckpoint: g.saved.AnySettled, Created: g.def.Created,
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
