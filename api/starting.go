package api

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
)

// Starting answers while a process waits for its stores: it lives, is not ready, and says what it waits for. Serve hands all
// requests over to the process's own handler. It is safe for concurrent use.
type Starting struct {
	build string
	waits atomic.Pointer[string]
	next  atomic.Pointer[http.Handler]
}

// NewStarting returns a Starting of a build that waits for something, which is named as a check of readiness.
func NewStarting(build, waitsFor string) *Starting {
	s := &Starting{build: build}
	s.WaitsFor(waitsFor)
	return s
}

// WaitsFor names what the process waits for.
func (s *Starting) WaitsFor(name string) { s.waits.Store(&name) }

// Serve hands all further requests to a handler.
func (s *Starting) Serve(next http.Handler) { s.next.Store(&next) }

// ServeHTTP implements http.Handler.
func (s *Starting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if next := s.next.Load(); next != nil {
		(*next).ServeHTTP(w, r)
		return
	}
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // who is gone receives nothing
	}
	switch r.URL.Path {
	case "/healthz":
		answer(http.StatusOK, Health{Status: "ok", Build: s.build})
	case "/readyz":
		answer(http.StatusServiceUnavailable, Readiness{Checks: []Check{{Name: *s.waits.Load(), Needed: true}}})
	default:
		p := failure(http.StatusServiceUnavailable, "store_unreachable",
			"the server is starting and waits for its stores; send the same request again in a moment", 1)
		p.Instance = r.URL.Path
		_ = p.write(w) // who is gone receives nothing
	}
}
