package api

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/admission"

	"github.com/labstack/echo/v4"
)

// dial sends the beginning of a request on a connection of its own, from which nothing is read.
func (c client) dial(format string, args ...any) {
	c.t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = connection.Close() })
	if tcp, is := connection.(*net.TCPConn); is {
		_ = tcp.SetReadBuffer(4 << 10) // little is sent that is not read
	}
	if _, err := fmt.Fprintf(connection, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// holdNoPlaces checks that no request holds a place.
func (c client) holdNoPlaces() {
	c.t.Helper()
	for _, class := range admission.Classes() {
		if s := c.api.admission.Stats(class); s.InFlight != 0 {
			c.t.Errorf("%d places of %s are held", s.InFlight, class)
		}
	}
}

// begun waits until so many transfers have begun, and returns how many of them go on.
func begun(r *transfers, n int64) int {
	for {
		if count, _, cut := r.figures(); int64(count)+cut == n {
			return count
		}
		time.Sleep(time.Millisecond)
	}
}

// TestSlowBodiesOfOneUserAreBoundedAcrossAddresses.
func TestSlowBodiesOfOneUserAreBoundedAcrossAddresses(t *testing.T) {
	c := serve(t, func(o *options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	tr := newTrial(t)
	patient := c.as(tr.self)
	const slow = 60
	for i := range slow {
		patient.dial("POST %s HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.%d\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{",
			submit, i, patient.token)
	}
	if n := begun(c.api.bodies, slow); n > bodyBounds.count[ofUser] {
		t.Errorf("%d bodies of one user are read at a time", n)
	}
	c.holdNoPlaces()
	patient.accepted(tr.entry(4))
	if r := c.as(tr.crc).get("/api/v1/me"); r.StatusCode != http.StatusOK {
		t.Errorf("another user is answered %d: %s", r.StatusCode, r.body)
	}
}

// TestSlowReadersHoldNoPlaces: large answers that nobody reads are bounded, and everybody else is served.
func TestSlowReadersHoldNoPlaces(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	large := bytes.Repeat([]byte("x"), 16<<20)
	e := echo.New()
	c.api.route(e, http.MethodGet, "/large", route{action: "Large", timeout: time.Minute}, func(c *call) error {
		if err := c.prove(); err != nil {
			return err
		}
		if err := c.enter(admission.Queries); err != nil {
			return err
		}
		return c.send(http.StatusOK, "text/plain", large)
	})
	other := listen(t, c.api, e).as(tr.crc)
	const slow = 40
	for range slow {
		other.dial("GET /large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", other.token)
	}
	if n := begun(c.api.answers, slow); int64(n) > answerBounds.bytes[ofUser]/int64(len(large)) {
		t.Errorf("%d answers of %d bytes are sent at a time", n, len(large))
	}
	c.holdNoPlaces()
	c.as(tr.self).accepted(tr.entry(4))
	if r := c.as(tr.crc).get("/api/v1/me"); r.StatusCode != http.StatusOK {
		t.Errorf("a query is answered %d: %s", r.StatusCode, r.body)
	}
}

// TestSilentListenersHoldNoPlaces: clients that listen to changes and read nothing are bounded for each user.
func TestSilentListenersHoldNoPlaces(t *testing.T) {
	c := serve(t, func(o *options) { o.changes.ListenersOfUser = 3 })
	tr := newTrial(t)
	crc := c.as(tr.crc)
	for range 3 {
		crc.dial("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", crc.token)
	}
	for len(c.api.streams) < 3 {
		time.Sleep(time.Millisecond)
	}
	if r := crc.get("/api/v1/me"); r.StatusCode != http.StatusOK {
		t.Errorf("a query of the same user is answered %d: %s", r.StatusCode, r.body)
	}
	c.holdNoPlaces()
	patient := c.as(tr.self).hear("") // another user listens
	c.as(tr.self).accepted(tr.entry(4))
	if m := patient.next(); m.event != "change" {
		t.Errorf("told is %+v", m)
	}
}

// TestFuturePositionsAreAnsweredAtOnce, however many there are.
func TestFuturePositionsAreAnsweredAtOnce(t *testing.T) {
	c := serve(t, func(o *options) {
		o.engine.PositionTimeout = time.Hour // a query that waits would not be answered in the time of a test
		o.Limits.RequestTimeout = time.Hour
		o.engine.End = func(ctx context.Context) (uint64, error) {
			end, err := the.log.End(ctx)
			return end.Commit, err
		}
	})
	tr := newTrial(t)
	caughtUp(t, tr.position)
	path := "/api/v1/studies/" + string(tr.study) + "/patients"
	manager := c.as(tr.manager)
	for range 20 {
		manager.get(path, positionHeader, fmt.Sprint(uint64(1)<<60)).refused(t, http.StatusServiceUnavailable, "position_ahead")
	}
	if r := manager.get(path, positionHeader, fmt.Sprint(tr.position)); r.StatusCode != http.StatusOK {
		t.Errorf("a position that was seen is answered %d: %s", r.StatusCode, r.body)
	}
	// An app asks without the header, as the refusal says, and is told what the log has of its entries.
	phone := c.as(tr.self)
	numbered := tr.entry(4)
	numbered.Device, numbered.Sequence = "phone-1", 1
	phone.accepted(numbered)
	const schedule = "/api/v1/me/schedule"
	refused := phone.get(schedule, positionHeader, fmt.Sprint(uint64(1)<<60)).refused(t, http.StatusServiceUnavailable, "position_ahead")
	if !strings.Contains(refused.Remedy, "without Casebook-Position") {
		t.Errorf("the remedy is %q", refused.Remedy)
	}
	if r := phone.get(schedule); r.StatusCode != http.StatusOK || !strings.Contains(string(r.body), `"heldThrough":1`) {
		t.Errorf("without the header, the schedule is answered %d: %s", r.StatusCode, r.body)
	}
}

// TestWaitingQueriesKeepNobodyWaiting: while as many queries wait for a position as may, those for one that the views have seen
// are served, and diaries are taken.
func TestWaitingQueriesKeepNobodyWaiting(t *testing.T) {
	const waiting = 260
	c := serve(t, func(o *options) {
		o.engine.PositionTimeout, o.Limits.RequestTimeout = time.Hour, time.Hour
		o.engine.Waiting, o.engine.WaitingOfUser = waiting, waiting
		o.Limits.OfUser = waiting + 1
	})
	tr := newTrial(t)
	caughtUp(t, tr.position)
	path := "/api/v1/studies/" + string(tr.study) + "/patients"
	manager := c.as(tr.manager)
	ctx, cancel := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	defer gone.Wait()
	defer cancel()
	turnedAway := make(chan struct{}, 1)
	ask := func() {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Authorization", "Bearer "+manager.token)
		request.Header.Set(positionHeader, fmt.Sprint(uint64(1)<<60))
		if r, err := c.http.Do(request); err == nil {
			_ = r.Body.Close()
			select {
			case turnedAway <- struct{}{}:
			default:
			}
		}
	}
	for range waiting + 1 { // the last one is turned away
		gone.Go(ask)
	}
	<-turnedAway
	if r := manager.get(path, positionHeader, fmt.Sprint(tr.position)); r.StatusCode != http.StatusOK {
		t.Errorf("a position that was seen is answered %d: %s", r.StatusCode, r.body)
	}
	c.holdNoPlaces()
	c.as(tr.self).accepted(tr.entry(4))
}
