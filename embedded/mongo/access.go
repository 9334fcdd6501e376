package mongo

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/xdg-go/scram"
)

// Role is what a user may do, in all databases.
type Role int

const (
	// Read allows all commands that change nothing.
	Read Role = iota
	// ReadWrite allows all commands.
	ReadWrite
)

// User is a name and password that a client may connect with. Users belong to the database admin.
type User struct {
	Name, Password string
	Role           Role
}

// ErrExposed means that other machines could reach the server without credentials or without encryption.
var ErrExposed = errors.New("other machines could reach the database without credentials or without encryption, and read and " +
	"change everything; give it users and a certificate, or listen on a loopback address")

// right is what a command needs.
type right int

const (
	// forAll marks commands that clients send before they authenticate.
	forAll right = iota
	// forReaders marks commands that change nothing.
	forReaders
	// forWriters marks commands that change documents or the catalog.
	forWriters
)

const (
	// mechanism is the only way to authenticate: passwords and data are never sent, and both sides prove themselves
	// (RFC 7677).
	mechanism = "SCRAM-SHA-256"
	// scramIterations is the least that drivers accept. Passwords are random, so more would not protect them better.
	scramIterations = 4096
	authDatabase    = "admin"
)

// accounts are the users of a server; nil lets everybody do everything.
type accounts struct {
	scram  *scram.Server
	byName map[string]User
}

func newAccounts(users []User) (*accounts, error) {
	if len(users) == 0 {
		return nil, nil
	}
	a := &accounts{byName: map[string]User{}}
	stored := map[string]scram.StoredCredentials{}
	for _, u := range users {
		if _, twice := a.byName[u.Name]; u.Name == "" || u.Password == "" || twice {
			return nil, fmt.Errorf("the user %q has no name or no password, or is listed twice", u.Name)
		}
		client, err := scram.SHA256.NewClient(u.Name, u.Password, "")
		if err != nil {
			return nil, fmt.Errorf("the user %q: %w", u.Name, err)
		}
		salt := make([]byte, 28)
		rand.Read(salt)
		credentials, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: scramIterations})
		if err != nil {
			return nil, fmt.Errorf("the user %q: %w", u.Name, err)
		}
		stored[u.Name], a.byName[u.Name] = credentials, u
	}
	var err error
	a.scram, err = scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
		if c, ok := stored[name]; ok {
			return c, nil
		}
		return scram.StoredCredentials{}, fmt.Errorf("there is no user %q", name)
	})
	return a, err
}

// authentication is the exchange of a connection that proves its user.
type authentication struct {
	exchange  *scram.ServerConversation
	skipEmpty bool // the client does not send an empty last message
}

// conversationID is the same for all exchanges, because a connection has one at a time.
const conversationID = 1

// authorize refuses a command that the connection's user may not run.
func (r *request) authorize(needs right) error {
	if r.s.accounts == nil || needs == forAll {
		return nil
	}
	if r.c.user == nil {
		return refuse(codeUnauthorized, "command %s requires authentication", r.name)
	}
	if needs == forWriters && r.c.user.Role != ReadWrite {
		return refuse(codeUnauthorized, "not authorized on %s to execute command %s: user %s may only read",
			r.db, r.name, r.c.user.Name)
	}
	return nil
}

var errAuthentication = refuse(codeAuthenticationFailed, "Authentication failed.")

// saslStart begins to authenticate the connection.
func (r *request) saslStart() (doc, error) {
	if r.s.accounts == nil {
		return nil, noAuthentication(r.name)
	}
	r.c.user = nil
	started := &authentication{}
	var payload value
	err := r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "mechanism":
			if e.t != tString || e.str() != mechanism {
				return true, refuse(codeMechanismUnavailable, "the only mechanism of authentication here is %s", mechanism)
			}
		case "payload":
			payload = e.value
		case "options":
			if e.t == tDocument {
				started.skipEmpty = e.doc().lookup("skipEmptyExchange").truthy()
			}
		case "autoAuthorize", "db":
		default:
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	started.exchange = r.s.accounts.scram.NewConversation()
	r.c.authentication = started
	return r.saslStep(payload)
}

// saslContinue goes on with an authentication.
func (r *request) saslContinue() (doc, error) {
	if r.s.accounts == nil {
		return nil, noAuthentication(r.name)
	}
	var payload value
	err := r.fields(func(name string, e elem) (bool, error) {
		switch name {
		case "payload":
			payload = e.value
		case "conversationId":
		default:
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if r.c.authentication == nil {
		return nil, refuse(codeProtocolError, "no authentication has been begun on this connection")
	}
	return r.saslStep(payload)
}

// saslStep answers one message of the exchange. When it is done, the connection has a user.
func (r *request) saslStep(payload value) (doc, error) {
	a := r.c.authentication
	if r.db != authDatabase || payload.t != tBinary {
		r.c.authentication = nil
		return nil, errAuthentication
	}
	if a.exchange.Done() { // the empty last message
		r.c.authentication = nil
		return saslAnswer("", true), nil
	}
	answer, err := a.exchange.Step(string(payload.b[5:]))
	if err != nil {
		r.c.authentication = nil
		r.s.log.Warn("authentication failed", "conn", r.c.id, "from", r.c.nc.RemoteAddr())
		return nil, errAuthentication
	}
	done := false
	if a.exchange.Done() {
		if !a.exchange.Valid() {
			r.c.authentication = nil
			return nil, errAuthentication
		}
		user := r.s.accounts.byName[a.exchange.Username()]
		r.c.user = &user
		if done = a.skipEmpty; done {
			r.c.authentication = nil
		}
	}
	return saslAnswer(answer, done), nil
}

func saslAnswer(payload string, done bool) doc {
	b := make([]byte, 5, 5+len(payload))
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	w := newBuilder()
	w.int32("conversationId", conversationID).bool("done", done).val("payload", value{tBinary, append(b, payload...)})
	return w.ok().done()
}

// logout ends the authentication of the connection.
func (r *request) logout() (doc, error) {
	r.c.user, r.c.authentication = nil, nil
	return newBuilder().ok().done(), nil
}

func noAuthentication(command string) error {
	return refuse(codeCommandNotSupported,
		"command %s is not supported: there is no authentication here, connect without user name and password", command)
}

// mechanisms adds the ways in which a user can authenticate, for which drivers ask in the first message.
func (r *request) mechanisms(w *builder) {
	asked := r.body.lookup("saslSupportedMechs")
	if r.s.accounts == nil || asked.t != tString {
		return
	}
	w.array("saslSupportedMechs")
	if db, _, found := strings.Cut(asked.str(), "."); found && db == authDatabase {
		w.str("", mechanism)
	}
	w.end()
}
