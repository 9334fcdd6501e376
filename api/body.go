package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
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

// body reads the request's JSON body of up to limit bytes. The caller gives the buffer back with returnBuffer.
func (c *call) body(limit int64) (*bytes.Buffer, error) {
	r := c.Request()
	if err := takesJSON(r.Header); err != nil {
		return nil, err
	}
	if r.ContentLength > limit {
		c.Response().Header().Set(echo.HeaderConnection, "close") // what is not read cannot be skipped cheaply
		return nil, tooLarge(limit)
	}
	b := borrowBuffer()
	if r.ContentLength > 0 {
		b.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	// A client that sends too slowly must not hold its place among the requests for longer than any other.
	connection := http.NewResponseController(c.Response())
	if deadline, ok := c.ctx().Deadline(); ok {
		_ = connection.SetReadDeadline(deadline) // recorders in tests have none
	}
	_, err := b.ReadFrom(http.MaxBytesReader(c.Response(), r.Body, limit))
	if err == nil {
		_ = connection.SetReadDeadline(time.Time{})
		return b, nil
	}
	returnBuffer(b)
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.Response().Header().Set(echo.HeaderConnection, "close")
		return nil, refuse.Malformed("body_too_slow", "the body did not arrive in time").
			Do("send it again, in smaller parts where the connection is slow")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, refuse.Malformed("malformed_json", "the body ends before its announced length").Do("send it again, whole")
	}
	return nil, fmt.Errorf("%w: %w", errClientGone, err)
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
