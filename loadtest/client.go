package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// client is an HTTP client that needs little CPU, because it runs on the same machine as the server that it measures.
type client struct {
	base string
	http *fasthttp.Client
}

const requestTimeout = 30 * time.Second

func newClient(base string) *client {
	return &client{base: base, http: &fasthttp.Client{
		Name: "casebook-bench", ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		NoDefaultUserAgentHeader: true, DisablePathNormalizing: true, MaxConnsPerHost: 64,
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// post sends a body and returns the position from the answer; 0 if the answer has none.
func (c *client) post(path, bearer string, body []byte) (uint64, error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(c.base + path)
	request.Header.SetMethod(fasthttp.MethodPost)
	request.Header.SetContentType("application/json")
	request.Header.Set("Authorization", bearer)
	request.SetBodyRaw(body)
	if err := c.http.DoTimeout(request, response, requestTimeout); err != nil {
		return 0, err
	}
	if status := response.StatusCode(); status >= 300 {
		return 0, problemOf(status, response.Body())
	}
	return positionOf(response.Body()), nil
}

// positionOf finds the position in an answer without decoding the whole answer.
func positionOf(body []byte) uint64 {
	_, rest, found := bytes.Cut(body, []byte(`"position":`))
	if !found {
		return 0
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(string(rest[:end]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// command sends a command that prepares the study. It sends it again while the server is overloaded.
func (c *client) command(ctx context.Context, token string, command any) error {
	body, err := json.Marshal(command)
	if err != nil {
		return err
	}
	name := reflect.TypeOf(command).Name()
	for {
		_, err := c.post("/api/v1/commands/"+name, "Bearer "+token, body)
		var p *problem
		if !errors.As(err, &p) || p.Status != fasthttp.StatusServiceUnavailable && p.Status != fasthttp.StatusTooManyRequests {
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// get sends a query that waits until its view has reached a position.
func (c *client) get(ctx context.Context, path, token string, position uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(c.base + path)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Casebook-Position", strconv.FormatUint(position, 10))
	if err := c.http.DoTimeout(request, response, requestTimeout); err != nil {
		return err
	}
	if status := response.StatusCode(); status >= 300 {
		return problemOf(status, response.Body())
	}
	return nil
}
