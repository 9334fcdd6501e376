package mongo

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// inProcess counts the commands that the server's own process has it run.
type inProcess struct {
	mu       sync.Mutex
	closing  bool
	commands sync.WaitGroup // guarded by mu while commands begin
}

func (p *inProcess) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.commands.Add(1)
	return true
}

// close refuses new commands and waits until all others have ended.
func (p *inProcess) close() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.commands.Wait()
}

// ErrClosed means that the server is closed, or is being closed.
var ErrClosed = errors.New("the embedded MongoDB is closed")

// Write runs a command that inserts, updates or deletes documents, for a client in the server's own process, and returns the answer
// that a client on the network gets. The command is the same, without the field $db. It needs no account: whoever shares the memory
// of the process holds its passwords.
//
// When ctx ends, Write returns at once, and whether the command was done is unknown, as with a connection that is lost. The command's
// bytes must not be changed after that.
func (s *Server) Write(ctx context.Context, db string, command []byte) (answer []byte, err error) {
	d, err := validate(command)
	if err != nil {
		return nil, fmt.Errorf("mongo: %w", err)
	}
	switch first, _ := d.first(); string(first.name) {
	case "insert", "update", "delete":
	default:
		return nil, fmt.Errorf("mongo: %q does not write documents, send it over the network", first.name)
	}
	if !s.inside.enter() {
		return nil, ErrClosed
	}
	answered := make(chan doc, 1)
	go func() {
		defer s.inside.commands.Done()
		c := &conn{s: s, user: &User{Name: "(the server's process)", Role: ReadWrite}}
		answered <- s.handle(c, &message{db: db, body: d})
	}()
	select {
	case answer := <-answered:
		return answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
