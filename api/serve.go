package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// What a connection may take. Bodies are bounded by their size and by the request's own time-out; these stop clients
// that send or read so slowly that they hold a connection for nothing.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = 60 * time.Second
	writeTimeout   = 120 * time.Second // profiles of the admin side take 30 s by default
	idleTimeout    = 120 * time.Second
	maxHeaderBytes = 32 << 10
	drainTimeout   = 20 * time.Second
)

// Serve answers on the listener until ctx ends. It then takes no new connections and gives requests that are under way
// 20 seconds to finish; those that have not are cut off, which is an error. It closes the listener.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	// Requests keep their values and lose ctx's end: they are to be finished, not cut off, when the process stops.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(politely{listener}) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := server.Shutdown(draining)
	if err != nil {
		err = fmt.Errorf("requests were still under way on %s after %s: %w", listener.Addr(), drainTimeout, err)
		cut()
		err = errors.Join(err, server.Close())
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
