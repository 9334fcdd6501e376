package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime"
	"time"

	"casebook/embedded/node/store"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc/codes"
)

// newWeb returns the node's HTTP server: health checks, statistics, metrics and backups.
func (n *Node) newWeb() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /health/ready", n.ready)
	mux.HandleFunc("GET /info", n.info)
	mux.Handle("GET /stats", n.forOperators(http.HandlerFunc(n.stats)))
	mux.Handle("GET /metrics", n.forOperators(promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{})))
	// A backup holds all streams, including those that operators may not read.
	mux.Handle("POST /admin/backup", n.forGroups(http.HandlerFunc(n.sendBackup), Admins))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusNotFound, "there is no "+r.Method+" "+r.URL.Path+
			" here; see GET /info, /stats, /metrics, /health/live, /health/ready and POST /admin/backup")
	})
	return &http.Server{
		Handler: withoutBody(mux), ReadHeaderTimeout: sniffTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
}

// withoutBody refuses requests with a body, because no page takes one: waiting for a body that never arrives would keep
// the connection open as long as the client likes.
func withoutBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// The server reads the rest of a body before it answers; this bounds the time for it.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
			w.Header().Set("Connection", "close")
			writeProblem(w, http.StatusRequestEntityTooLarge, "requests to the node have no body; send none")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bodyTime is the time that an unwanted body may take to arrive.
const bodyTime = time.Second

// forOperators requires the credentials of an operator, a reader or an administrator, if the node has users.
func (n *Node) forOperators(next http.Handler) http.Handler {
	return n.forGroups(next, Admins, Operators, Readers)
}

// forGroups requires the credentials of a member of one of the groups, if the node has users.
func (n *Node) forGroups(next http.Handler, groups ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.users != nil {
			header := r.Header.Get("Authorization")
			who, f := n.users.authenticate(header)
			if f == nil {
				r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
				f = n.authorizeGroups(r.Context(), "do this", groups...)
			}
			if f != nil {
				status := http.StatusForbidden
				if header == "" || f.code == codes.Unauthenticated {
					w.Header().Set("WWW-Authenticate", `Basic realm="event store", charset="UTF-8"`)
					status = http.StatusUnauthorized
				}
				writeProblem(w, status, f.message)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (n *Node) ready(w http.ResponseWriter, _ *http.Request) {
	if err := n.store.Failure(); err != nil {
		writeProblem(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (n *Node) info(w http.ResponseWriter, _ *http.Request) {
	authentication := "insecure"
	if n.users != nil {
		authentication = "internal"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"dbVersion": serverVersion, "esVersion": serverVersion, "state": "leader",
		"nodeId":         uuid.UUID(n.store.NodeID()).String(),
		"features":       map[string]bool{"projections": false, "userManagement": false, "atomPub": false, "persistentSubscriptions": true},
		"authentication": map[string]string{"type": authentication},
	})
}

func (n *Node) stats(w http.ResponseWriter, _ *http.Request) {
	s := n.Stats()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	failure := ""
	if s.Failure != nil {
		failure = s.Failure.Error()
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"events": s.Events, "lastPosition": s.LastPosition, "end": s.End, "diskBytes": s.DiskBytes, "failure": failure,
		"uptimeSeconds": int64(time.Since(n.opened).Seconds()),
		"appends": map[string]any{
			"succeeded": s.Appends, "repeated": s.Repeated, "conflicts": s.Conflicts,
			"queued": s.QueuedAppends, "queuedBytes": s.QueuedBytes,
		},
		"commits": map[string]any{"count": s.Commits, "events": s.CommittedEvents, "largest": s.LargestBatch},
		"tail":    map[string]any{"events": s.TailEvents, "bytes": s.TailBytes},
		"calls": map[string]any{
			"subscriptions": s.Subscriptions, "batchStreams": s.BatchStreams, "reads": s.Reads, "watchers": s.Watchers,
		},
		"eventsSent": s.EventsSent,
		"memory": map[string]any{
			"heapBytes": memory.HeapAlloc, "systemBytes": memory.Sys, "goroutines": runtime.NumGoroutine(),
		},
	})
}

// sendBackup answers with a backup archive. It is a POST because it costs the node work, so that following a link does
// not start it.
func (n *Node) sendBackup(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-tar")
	sent := &counting{Writer: w}
	_, err := n.Backup(r.Context(), sent)
	switch {
	case err == nil:
	case sent.n == 0:
		status := http.StatusInternalServerError
		if errors.Is(err, store.ErrBackupRuns) {
			status = http.StatusConflict
		}
		writeProblem(w, status, err.Error())
	default:
		n.logger.Warn("a backup was broken off", "error", err)
		panic(http.ErrAbortHandler) // so that the client sees that the archive is incomplete
	}
}

// counting is a writer that counts the bytes that it passes on.
type counting struct {
	io.Writer
	n int64
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	return n, err
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have gone
}

// writeProblem answers with an error in the form of RFC 9457.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
