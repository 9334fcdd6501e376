package node

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// The groups with a fixed meaning. Access lists may name other groups.
const (
	// Admins may do everything.
	Admins = "$admins"
	// Operators run the node: they manage groups of consumers and read statistics. They need no access to streams.
	Operators = "$ops"
	// Readers may read everything, and change nothing: they do not write, and do not take events out of groups.
	Readers = "$readers"
)

// User is a name and password that a client may connect with, and the groups that it belongs to.
type User struct {
	Name, Password string
	Groups         []string
}

// users holds the accounts that may connect; nil lets everybody connect. Passwords are kept as digests under a random
// key of this process.
type users struct {
	key    [32]byte
	byName map[string]account
}

type account struct {
	caller caller
	digest []byte
}

// caller identifies the client of a call.
type caller struct {
	name   string
	groups []string
}

// everybody is the caller of every call to a node without users.
var everybody = &caller{name: "anonymous", groups: []string{Admins, Operators}}

func newUsers(list []User) (*users, error) {
	if len(list) == 0 {
		return nil, nil
	}
	u := &users{byName: map[string]account{}}
	rand.Read(u.key[:])
	for _, user := range list {
		switch _, twice := u.byName[user.Name]; {
		case user.Name == "" || strings.Contains(user.Name, ":"):
			return nil, fmt.Errorf("the user name %q is empty or contains a colon, which clients cannot send; choose another", user.Name)
		case user.Password == "":
			return nil, fmt.Errorf("the user %q has no password; give one", user.Name)
		case twice:
			return nil, fmt.Errorf("the user %q is listed twice", user.Name)
		}
		u.byName[user.Name] = account{caller: caller{user.Name, user.Groups}, digest: u.digest(user.Password)}
	}
	return u, nil
}

func (u *users) digest(password string) []byte {
	h := hmac.New(sha256.New, u.key[:])
	h.Write([]byte(password))
	return h.Sum(nil)
}

// authenticate checks a header of basic authentication. It takes the same time for unknown users.
func (u *users) authenticate(header string) (*caller, *failure) {
	unauthenticated := func(message string) *failure {
		return &failure{code: codes.Unauthenticated, message: message, detail: &shared.AccessDenied{}}
	}
	if header == "" {
		return nil, &failure{
			code: codes.PermissionDenied, message: "no credentials were given; connect with a user name and password",
			trailer: metadata.Pairs(trailerException, exceptionAccessDenied), detail: &shared.AccessDenied{},
		}
	}
	wrong := unauthenticated("the user name or the password is wrong")
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "basic") {
		return nil, wrong
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return nil, wrong
	}
	name, password, _ := strings.Cut(string(plain), ":")
	known, exists := u.byName[name]
	if !hmac.Equal(u.digest(password), known.digest) || !exists {
		return nil, wrong
	}
	return &known.caller, nil
}

type callerKey struct{}

// callerOf returns the caller of the call that ctx belongs to.
func callerOf(ctx context.Context) *caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c
	}
	return everybody
}

// publicMethods are the methods that clients call before they send credentials.
var publicMethods = []string{
	serverfeatures.ServerFeatures_GetSupportedMethods_FullMethodName,
	gossip.Gossip_Read_FullMethodName,
}

// identify authenticates a call and adds its caller to the context.
func (u *users) identify(ctx context.Context, method string) (context.Context, *failure) {
	if slices.Contains(publicMethods, method) {
		return ctx, nil
	}
	header := ""
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) > 0 {
		header = values[0]
	}
	who, f := u.authenticate(header)
	if f != nil {
		return nil, f
	}
	return context.WithValue(ctx, callerKey{}, who), nil
}

func (u *users) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	identified, f := u.identify(ctx, info.FullMethod)
	if f != nil {
		return nil, refuse(ctx, f)
	}
	return next(identified, req)
}

func (u *users) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, f := u.identify(stream.Context(), info.FullMethod)
	if f != nil {
		drainRequest(stream, info)
		stream.SetTrailer(f.trailer)
		return f
	}
	return next(srv, identified{stream, ctx})
}

// drainRequest reads what a client sends before it waits for an answer: a client that is refused while it is still
// sending sees a broken stream instead of the reason. In a two-way call that is the first message, otherwise the whole
// request.
func drainRequest(stream grpc.ServerStream, info *grpc.StreamServerInfo) {
	var d discarded
	for info.IsClientStream && stream.RecvMsg(&d) == nil && !info.IsServerStream && d < maxDrained {
	}
}

// discarded ignores the messages that are decoded into it and counts their bytes.
type discarded int

func (d *discarded) parse(b []byte) error { //nolint:unparam // the interface request has an error
	*d += discarded(len(b))
	return nil
}

// identified is a server stream whose context holds the caller.
type identified struct {
	grpc.ServerStream
	ctx context.Context
}

func (i identified) Context() context.Context { return i.ctx }

// access is a kind of access to a stream, under the name that access lists use.
type access string

const (
	toRead      access = "$r"
	toWrite     access = "$w"
	toDelete    access = "$d"
	toReadMeta  access = "$mr"
	toWriteMeta access = "$mw"
	toConsume   access = "consume" // in no access list
)

// authorize returns a failure if the caller has no such access to the stream. It reads the access list at every call,
// so a change takes effect with the next call. Nodes without users skip it.
func (n *Node) authorize(ctx context.Context, to access, stream string) *failure {
	if n.users == nil {
		return nil
	}
	who := callerOf(ctx)
	if slices.Contains(who.groups, Admins) {
		return nil
	}
	if slices.Contains(who.groups, Readers) {
		if to == toRead || to == toReadMeta {
			return nil
		}
		return forbidden(who, to, stream, "; it may only read")
	}
	subject := stream
	if store.IsMetastream(stream) {
		subject = store.Described(stream)
		switch to {
		case toRead:
			to = toReadMeta
		case toWrite, toDelete:
			to = toWriteMeta
		case toReadMeta, toWriteMeta, toConsume:
		}
	}
	allowed, err := n.accessList(subject, to)
	if err != nil {
		return storeFailure(err)
	}
	if who.isOneOf(allowed) {
		return nil
	}
	return forbidden(who, to, subject, "; ask an administrator to change its access list")
}

// forbidden returns the failure of a caller who has no such access to a stream. remedy ends the sentence.
func forbidden(who *caller, to access, stream, remedy string) *failure {
	return &failure{
		code:    codes.PermissionDenied,
		message: "user " + strconv.Quote(who.name) + " may not " + to.verb() + " stream " + strconv.Quote(stream) + remedy,
		trailer: metadata.Pairs(trailerException, exceptionAccessDenied, trailerStream, headerSafe(stream)),
		detail:  &shared.AccessDenied{},
	}
}

// authorizeConsumer returns a failure if the caller may not take events out of the group of consumers of a source.
func (n *Node) authorizeConsumer(ctx context.Context, source string) *failure {
	if who := callerOf(ctx); n.users != nil && slices.Contains(who.groups, Readers) && !slices.Contains(who.groups, Admins) {
		return forbidden(who, toConsume, source, ", because other consumers would miss them; subscribe to the stream instead")
	}
	return n.authorize(ctx, toRead, source)
}

// authorizeOperation returns a failure if the caller is neither an operator nor an administrator. The text what
// completes the sentence "user may not ...".
func (n *Node) authorizeOperation(ctx context.Context, what string) *failure {
	return n.authorizeGroups(ctx, what, Admins, Operators)
}

// authorizeGroups returns a failure if the caller is in none of the groups.
func (n *Node) authorizeGroups(ctx context.Context, what string, groups ...string) *failure {
	who := callerOf(ctx)
	if n.users == nil || who.isOneOf(groups) {
		return nil
	}
	return &failure{
		code:    codes.PermissionDenied,
		message: "user " + strconv.Quote(who.name) + " may not " + what + "; only members of " + strings.Join(groups, " and ") + " may",
		trailer: metadata.Pairs(trailerException, exceptionAccessDenied),
		detail:  &shared.AccessDenied{},
	}
}

func (a access) verb() string {
	switch a {
	case toRead:
		return "read"
	case toWrite:
		return "write to"
	case toDelete:
		return "delete"
	case toReadMeta:
		return "read the metadata of"
	case toWriteMeta:
		return "change the metadata of"
	case toConsume:
		return "take events out of a group of consumers of"
	}
	return "use"
}

func (c *caller) isOneOf(allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return a == allStream || a == c.name || slices.Contains(c.groups, a)
	})
}

// settingsStream holds the default access lists.
const settingsStream = "$settings"

// acl is an access list: for each kind of access the names of users or groups; $all means everyone.
type acl map[access]names

type names []string

func (n *names) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*n = names{one}
		return nil
	}
	var many []string
	err := json.Unmarshal(b, &many)
	*n = many
	return err
}

// accessList returns the names that have access to a stream: from the stream's metadata, else from the node's settings,
// else everyone for user streams and administrators for system streams.
func (n *Node) accessList(stream string, to access) (names, error) {
	meta, err := n.store.Metadata(stream)
	if err != nil {
		return nil, err
	}
	var own struct {
		ACL acl `json:"$acl"`
	}
	if meta != nil && !parses(meta, &own) {
		return names{Admins}, nil // unreadable metadata may have been meant to restrict access
	}
	if allowed, given := own.ACL[to]; given {
		return allowed, nil
	}
	settings, err := n.store.LastEvent(settingsStream)
	if err != nil {
		return nil, err
	}
	var defaults struct {
		User   acl `json:"$userStreamAcl"`
		System acl `json:"$systemStreamAcl"`
	}
	if settings != nil && !parses(settings.Data(), &defaults) {
		return names{Admins}, nil
	}
	list, fallback := defaults.User, names{allStream}
	if strings.HasPrefix(stream, "$") {
		list, fallback = defaults.System, names{Admins}
	}
	if allowed, given := list[to]; given {
		return allowed, nil
	}
	return fallback, nil
}

func parses(data []byte, into any) bool { return json.Unmarshal(data, into) == nil }
