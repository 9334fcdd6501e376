package groups

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"casebook/embedded/node/store"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestScripts runs the files of testdata against groups on a real store. Before the next command runs, the groups have
// done everything that does not depend on time. The commands are:
//
//	append STREAM                     one event per line: "id [type [metadata]]"; ids are names
//	link STREAM                       one link per line: "id revision@stream"
//	metadata STREAM                   sets the metadata to the input
//	create SOURCE NAME [start=N|end|ID] [settings] [prefix=(a,b)] [by-type]
//	update SOURCE NAME [start=N|end] [settings]
//	delete SOURCE NAME
//	connect CONSUMER SOURCE NAME [buffer=N]
//	receive CONSUMER                  prints the deliveries since the last time
//	ack CONSUMER ids...
//	retry, park, skip, stop CONSUMER ids...
//	leave CONSUMER
//	pass SOURCE NAME DURATION         lets deadlines expire as if this time had passed
//	replay SOURCE NAME [limit=N]
//	parked SOURCE NAME                prints the links and their reasons
//	info SOURCE NAME
//	list [source=S]
//	restart                           closes and opens groups and store
//	crash                             does the same without saving checkpoints
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{t: t, dir: t.TempDir(), names: map[store.ID]string{}}
		s.open()
		defer s.close(true)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			return s.run(d)
		})
	})
}

type script struct {
	t         *testing.T
	dir       string
	fs        vfs.FS // nil means the disk
	store     *store.Store
	groups    *Groups
	consumers map[string]*Consumer
	names     map[store.ID]string
}

func (s *script) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) open() {
	var err error
	s.store, err = store.Open(store.Options{Dir: s.dir, FS: s.fs})
	s.must(err)
	s.groups, err = Open(s.store, slog.New(slog.DiscardHandler))
	s.must(err)
	s.consumers = map[string]*Consumer{}
}

func (s *script) close(save bool) {
	if !save {
		for _, g := range s.groups.byName {
			g.stop(errors.New("crash"), false)
		}
		s.groups.byName = nil
	}
	s.groups.Close()
	s.must(s.store.Close())
}

func (s *script) id(name string) store.ID {
	id := store.ID(uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)))
	s.names[id] = name
	return id
}

func (s *script) append(stream string, events []store.Proposed) {
	done := make(chan store.Result, 1)
	s.must(s.store.Submit(&store.Append{
		Stream: stream, Expected: store.Any, Events: events, Done: func(r store.Result) { done <- r },
	}))
	s.must((<-done).Err)
}

// settle lets every group do everything that it can do now.
func (s *script) settle() {
	for range 3 { // parking appends to the store, whose answer comes back to the group as mail
		for _, g := range s.groups.byName {
			s.must(g.do(func() {
				if len(g.consumers) == 0 {
					return
				}
				for g.fill() {
				}
				g.push()
			}))
		}
		const barrier = internalPrefix + "barrier"
		s.append(barrier, []store.Proposed{store.Propose(barrier, store.NewID(), "Barrier", false, nil, nil)})
	}
}

func (s *script) run(d *datadriven.TestData) string {
	var words []string
	options := map[string][]string{}
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 && !slices.Contains([]string{"by-type", "resolve"}, a.Key) {
			words = append(words, a.Key)
			continue
		}
		options[a.Key] = a.Vals
	}
	defer s.settle()
	outcome := func(err error) string {
		var e *Error
		if errors.As(err, &e) {
			return fmt.Sprintf("%s: %s\n", [...]string{"invalid", "not found", "exists", "full", "dropped"}[e.Kind], e.Reason)
		}
		s.must(err)
		return "ok\n"
	}
	switch d.Cmd {
	case "append":
		var events []store.Proposed
		for line := range strings.Lines(d.Input) {
			parts := append(strings.SplitN(strings.TrimSpace(line), " ", 3), "T", "")
			var metadata []byte
			if strings.HasPrefix(parts[2], "{") {
				metadata = []byte(parts[2])
			}
			events = append(events, store.Propose(words[0], s.id(parts[0]), parts[1], true, metadata, nil))
		}
		s.append(words[0], events)
		return "ok\n"
	case "link":
		for line := range strings.Lines(d.Input) {
			name, target, _ := strings.Cut(strings.TrimSpace(line), " ")
			s.append(words[0], []store.Proposed{store.Propose(words[0], s.id(name), store.LinkType, false, nil, []byte(target))})
		}
		return "ok\n"
	case "metadata":
		metastream := store.Metastream(words[0])
		s.append(metastream, []store.Proposed{
			store.Propose(metastream, store.NewID(), store.MetadataType, true, nil, []byte(d.Input)),
		})
		return "ok\n"
	case "create", "update":
		settings, start, filter := s.options(options)
		if d.Cmd == "update" {
			return outcome(s.groups.Update(words[0], words[1], start, settings))
		}
		return outcome(s.groups.Create(words[0], words[1], start, settings, filter))
	case "delete":
		return outcome(s.groups.Delete(words[0], words[1]))
	case "connect":
		buffer := 10
		if v := options["buffer"]; v != nil {
			buffer, _ = strconv.Atoi(v[0])
		}
		c, err := s.groups.Connect(words[1], words[2], buffer, Identity{User: words[0]})
		s.consumers[words[0]] = c
		return outcome(err)
	case "receive":
		return s.receive(s.consumers[words[0]])
	case "ack", "retry", "park", "skip", "stop":
		c := s.consumers[words[0]]
		var ids []store.ID
		for _, name := range words[1:] {
			ids = append(ids, s.idOf(c, name))
		}
		if d.Cmd == "ack" {
			return outcome(c.Ack(ids...))
		}
		return outcome(c.Nack(map[string]Action{"retry": Retry, "park": Park, "skip": Skip, "stop": Stop}[d.Cmd], "no reason", ids...))
	case "leave":
		s.consumers[words[0]].Close()
		return "ok\n"
	case "pass":
		by, err := time.ParseDuration(words[2])
		s.must(err)
		g, err := s.groups.lockAndFind(words[0], words[1])
		s.must(err)
		s.must(g.do(func() { g.tick(time.Now()); g.tick(time.Now().Add(by)) }))
		return "ok\n"
	case "replay":
		limit := 0
		if v := options["limit"]; v != nil {
			limit, _ = strconv.Atoi(v[0])
		}
		return outcome(s.groups.ReplayParked(words[0], words[1], int64(limit)))
	case "parked":
		return s.parked(words[0], words[1])
	case "info":
		i, err := s.groups.Info(words[0], words[1])
		if err != nil {
			return outcome(err)
		}
		saved := "nothing"
		if i.HasCheckpoint {
			saved = s.eventAt(&i, i.Checkpoint)
		}
		return fmt.Sprintf("outstanding %d: buffered %d, in flight %d, retrying %d; parked %d; settled %d; saved up to %s\n",
			i.Outstanding, i.Buffered, i.InFlight, i.Retrying, i.Parked, i.Settled, saved)
	case "list":
		infos, err := s.groups.List(strings.Join(options["source"], ""))
		s.must(err)
		var b strings.Builder
		for _, i := range infos {
			fmt.Fprintf(&b, "%s %s: %d consumers\n", i.Source, i.Name, len(i.Consumers))
		}
		return b.String()
	case "restart", "crash":
		s.close(d.Cmd == "restart")
		s.open()
		return "ok\n"
	}
	s.t.Fatalf("unknown command %q", d.Cmd)
	return ""
}

// eventAt returns the name of the event at a position of the log; for a group of a stream it returns the revision.
func (s *script) eventAt(i *Info, at uint64) string {
	if i.Source != All {
		return strconv.FormatUint(at, 10)
	}
	records, _, err := s.store.ReadForward(at, nil, store.Page{Events: 1, Bytes: 1})
	s.must(err)
	if len(records) == 0 || records[0].Position != at {
		return "nowhere"
	}
	return s.nameOf(records[0])
}

func (s *script) nameOf(r *store.Record) string {
	if name, ok := s.names[r.ID]; ok {
		return name
	}
	return string(r.Type())
}

// idOf returns the id that a consumer acknowledges an event by: that of the link if the event was delivered with one.
func (s *script) idOf(c *Consumer, name string) store.ID {
	id := s.id(name)
	s.must(c.group.do(func() {
		for e := c.group.inFlight.Front(); e != nil; e = e.Next() {
			if m := e.Value.(*message); m.consumer == c && m.link != nil && m.event != nil && m.event.ID == id {
				id = m.id()
				return
			}
		}
	}))
	return id
}

func (s *script) receive(c *Consumer) string {
	s.settle()
	var b strings.Builder
	for {
		select {
		case d, open := <-c.C:
			if !open {
				var e *Error
				if !errors.As(c.Reason(), &e) {
					s.t.Fatal(c.Reason())
				}
				return b.String() + "closed: " + e.Reason + "\n"
			}
			if d.Event == nil {
				b.WriteString("nothing")
			} else {
				b.WriteString(s.nameOf(d.Event))
			}
			if d.Link != nil {
				fmt.Fprintf(&b, " by %s of %s", s.nameOf(d.Link), d.Link.Stream())
			}
			if d.Retries > 0 {
				fmt.Fprintf(&b, ", retry %d", d.Retries)
			}
			b.WriteString("\n")
		default:
			if b.Len() == 0 {
				return "nothing\n"
			}
			return b.String()
		}
	}
}

func (s *script) parked(source, name string) string {
	d := definition{Source: source, Name: name}
	st, err := s.store.Stream(d.parkedStream())
	s.must(err)
	if st.ID == 0 || st.Deleted {
		return "nothing\n"
	}
	links, err := s.store.ReadStreamForward(st.ID, uint64(st.First), nil, store.Page{Events: 100, Bytes: 1 << 20})
	s.must(err)
	var b strings.Builder
	for _, l := range links {
		var why struct {
			Reason string
			Added  time.Time
		}
		s.must(json.Unmarshal(l.CustomMetadata(), &why))
		if time.Since(why.Added) > time.Hour {
			s.t.Errorf("parked at %v", why.Added)
		}
		fmt.Fprintf(&b, "%d: %s: %s\n", l.Revision, l.Data(), why.Reason)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func (s *script) options(o map[string][]string) (Settings, Start, *Filter) {
	settings := Settings{
		MessageTimeout: 30 * time.Second, MaxRetryCount: 10, LiveBufferSize: 500, HistoryBufferSize: 500, ReadBatchSize: 20,
		CheckpointAfter: 2 * time.Second, MinCheckpointCount: 10, MaxCheckpointCount: 1000, Strategy: RoundRobin,
	}
	var start Start
	var filter *Filter
	for name, vals := range o {
		value := ""
		if len(vals) > 0 {
			value = vals[0]
		}
		number := func() int { n, err := strconv.Atoi(value); s.must(err); return n }
		switch name {
		case "start":
			if value == "end" {
				start.End = true
			} else if n, err := strconv.ParseUint(value, 10, 64); err == nil {
				start.At = n
			} else {
				start.At = s.position(value)
			}
		case "strategy":
			settings.Strategy = value
		case "retries":
			settings.MaxRetryCount = number()
		case "batch":
			settings.ReadBatchSize = number()
		case "history":
			settings.HistoryBufferSize = number()
		case "live":
			settings.LiveBufferSize = number()
		case "min":
			settings.MinCheckpointCount = number()
		case "max":
			settings.MaxCheckpointCount = number()
		case "subscribers":
			settings.MaxSubscriberCount = number()
		case "timeout":
			d, err := time.ParseDuration(value)
			s.must(err)
			settings.MessageTimeout = d
		case "resolve":
			settings.ResolveLinks = true
		case "prefix", "by-type", "regex":
			if filter == nil {
				filter = &Filter{}
			}
			switch name {
			case "prefix":
				filter.Prefixes = vals
			case "regex":
				filter.Regex = value
			default:
				filter.ByType = true
			}
		default:
			s.t.Fatalf("unknown option %q", name)
		}
	}
	return settings, start, filter
}

func (s *script) position(name string) uint64 {
	id := s.id(name)
	from := uint64(0)
	for {
		records, _, err := s.store.ReadForward(from, nil, store.Page{Events: 100, Bytes: 1 << 20})
		s.must(err)
		if len(records) == 0 {
			s.t.Fatalf("no event %q", name)
		}
		for _, r := range records {
			if r.ID == id {
				return r.Position
			}
			from = r.Next()
		}
	}
}
