package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"casebook/domain/refuse"

	"github.com/labstack/echo/v4"
)

// buffers holds the buffers of bodies and answers between requests.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keptBuffer is the largest buffer that goes back into the pool: one batch must not make the pool hold megabytes.
const keptBuffer = 64 << 10

func borrowBuffer() *bytes.Buffer {
	b := buffers.Get().(*bytes.Buffer)
	b.Reset()
	return b
}

func returnBuffer(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		buffers.Put(b)
	}
}

// body reads the request's JSON body of up to limit bytes, within the bounds of bodies. It is called before the request takes
// a place among those that are served, so that slow clients hold none. The caller gives the buffer back with returnBuffer.
func (c *call) body(limit int64) (*bytes.Buffer, error) {
	r := c.Request()
	if err := takesJSON(r.Header); err != nil {
		return nil, err
	}
	if r.ContentLength > limit {
		c.Response().Header().Set(echo.HeaderConnection, "close") // what is not read cannot be skipped cheaply
		return nil, tooLarge(limit)
	}
	connection := http.NewResponseController(c.Response())
	c.api.bodies.begin(&c.incoming, string(c.proof.User), c.network(), func() { _ = connection.SetReadDeadline(longAgo) })
	b := borrowBuffer()
	err := c.fill(b, http.MaxBytesReader(c.Response(), r.Body, limit), connection)
	if c.api.bodies.arrived(&c.incoming) && err == nil {
		_ = connection.SetReadDeadline(time.Time{}) // recorders in tests have none
		c.bodyRead = true
		return b, nil
	}
	returnBuffer(b)
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	case err == nil, c.incoming.ended, errors.Is(err, os.ErrDeadlineExceeded):
		c.Response().Header().Set(echo.HeaderConnection, "close")
		return nil, refuse.Malformed("body_too_slow", "the body did not arrive in time").
			Do("send it again, in smaller parts where the connection is slow, and fewer at a time")
	case errors.Is(err, errNoRoom):
		c.Response().Header().Set(echo.HeaderConnection, "close")
		return nil, refuse.Overload("overloaded", "the server holds as many bodies as it takes").
			Do("send the same request again in a moment, with the same Idempotency-Key")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, refuse.Malformed("malformed_json", "the body ends before its announced length").Do("send it again, whole")
	}
	return nil, fmt.Errorf("%w: %w", errClientGone, err)
}

// longAgo is a deadline that makes reading and writing fail at once.
var longAgo = time.Unix(1, 0)

// errNoRoom says that the bodies hold as much memory as they may.
var errNoRoom = errors.New("no room for a body")

// freeBytes of each transfer are bounded by the number of transfers alone.
const freeBytes = 16 << 10

// fill reads a body. A client has BodyTimeout for it, and longer for a larger one as long as it sends BodyRate.
func (c *call) fill(b *bytes.Buffer, body io.Reader, connection *http.ResponseController) error {
	began := time.Now()
	l := c.api.limits
	_ = connection.SetReadDeadline(began.Add(l.BodyTimeout))
	announced, counted, paced := c.Request().ContentLength, freeBytes, 0
	if announced > 0 {
		b.Grow(int(min(announced, freeBytes)) + bytes.MinRead)
	}
	for {
		if b.Len() >= counted { // what is announced takes no memory before it comes
			if !c.api.bodies.grow(&c.incoming, int64(counted)) {
				return errNoRoom
			}
			counted *= 2
		}
		if b.Available() < bytes.MinRead {
			b.Grow(max(bytes.MinRead, min(b.Len(), counted-b.Len())))
		}
		n, err := body.Read(b.AvailableBuffer()[:b.Available()])
		b.Write(b.AvailableBuffer()[:n])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if b.Len() >= paced+freeBytes {
			paced = b.Len()
			_ = connection.SetReadDeadline(began.Add(l.BodyTimeout + l.timeFor(paced)))
		}
	}
}

// timeFor is how long a client may take for so many bytes beyond BodyTimeout.
func (l Limits) timeFor(bytes int) time.Duration {
	return time.Duration(bytes) * time.Second / time.Duration(l.BodyRate)
}

// skipBody bounds how long the server looks for the end of a body that is not wanted, for the sake of the next request on
// the connection.
func (c *call) skipBody() {
	if c.bodyRead || c.Request().ContentLength == 0 {
		return
	}
	_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(skipTimeout))
}

const skipTimeout = time.Second

// send sends an answer that is complete. The request gives its place back before, so that a slow client does not hold it.
func (c *call) send(status int, mediaType string, body []byte) error {
	c.leave()
	c.Response().Header().Set(echo.HeaderContentLength, strconv.Itoa(len(body)))
	if len(body) <= freeBytes {
		return c.Blob(status, mediaType, body)
	}
	return c.sending(len(body), func() error { return c.Blob(status, mediaType, body) })
}

// sending writes an answer of about so many bytes, within the bounds of answers.
func (c *call) sending(size int, write func() error) error {
	connection, l := http.NewResponseController(c.Response()), c.api.limits
	c.api.answers.begin(&c.outgoing, string(c.proof.User), c.network(), func() { _ = connection.SetWriteDeadline(longAgo) })
	defer c.api.answers.over(&c.outgoing)
	_ = connection.SetWriteDeadline(time.Now().Add(l.BodyTimeout + l.timeFor(size)))
	c.api.answers.grow(&c.outgoing, int64(size))
	return write()
}

func tooLarge(limit int64) error {
	return refuse.Malformed("body_too_large", "the body has more than %d bytes", limit).Do("send it in several requests")
}

// takesJSON refuses bodies that are declared as something other than plain JSON. A body without a declared type is read
// as JSON, because many small clients send none.
func takesJSON(h http.Header) error {
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return refuse.Malformed("wrong_content_type", "the body is encoded, which is not read here").Do("send it without Content-Encoding")
	}
	declared := h.Get("Content-Type")
	if declared == "" || declared == "application/json" {
		return nil
	}
	media, parameters, err := mime.ParseMediaType(declared)
	charset := parameters["charset"]
	isJSON := media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	if err != nil || !isJSON || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return refuse.Malformed("wrong_content_type", "the body is not declared as JSON").Do("send Content-Type: application/json")
	}
	return nil
}
