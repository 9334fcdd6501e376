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

// The groups that mean something to the node. Others may be named in access lists.
const (
	// Admins may do everything.
	Admins = "$admins"
	// Operators may look after the node: groups of consumers, figures, backups. They need not see what streams hold.
	Operators = "$ops"
)

// User may connect to a node that has users.
type User struct {
	Name, Password string
	Groups         []string
}

// users are those who may connect; nil if anybody may. Passwords are kept as digests under a key that ends with the
// process.
type users struct {
	key    [32]byte
	byName map[string]account
}

type account struct {
	caller caller
	digest []byte
}

// caller is who makes a call.
type caller struct {
	name   string
	groups []string
}

// everybody is who calls a node without users.
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
			return nil, fmt.Errorf("the user name %q is empty or has a colon, which clients cannot send; choose another", user.Name)
		case user.Password == "":
			return nil, fmt.Errorf("the user %q has no password; give one", user.Name)
		case twice:
			return nil, fmt.Errorf("the user %q is there twice", user.Name)
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

// authenticate reads a header of basic authentication. It takes as long for a user who does not exist.
func (u *users) authenticate(header string) (*caller, *failure) {
	if header == "" {
		return nil, &failure{code: codes.Unauthenticated, message: "no credentials were given; connect with a user name and password", detail: &shared.AccessDenied{}}
	}
	wrong := &failure{code: codes.Unauthenticated, message: "the user name or the password is wrong", detail: &shared.AccessDenied{}}
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

// callerOf is who makes the call that the context belongs to.
func callerOf(ctx context.Context) *caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c
	}
	return everybody
}

// open are the methods that clients call before they give credentials.
var open = []string{serverfeatures.ServerFeatures_GetSupportedMethods_FullMethodName, gossip.Gossip_Read_FullMethodName}

// identify puts the caller into the context of a call.
func (u *users) identify(ctx context.Context, method string) (context.Context, error) {
	if slices.Contains(open, method) {
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
	ctx, err := u.identify(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (u *users) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := u.identify(stream.Context(), info.FullMethod)
	if err != nil {
		hearOut(stream, info)
		return err
	}
	return next(srv, identified{stream, ctx})
}

// hearOut takes what a client sends before it looks for an answer: told off while it sends, it would see a broken stream
// instead of the reason. Where both sides talk at a time that is the first message, else all.
func hearOut(stream grpc.ServerStream, info *grpc.StreamServerInfo) {
	var d discarded
	for info.IsClientStream && stream.RecvMsg(&d) == nil && !info.IsServerStream && d < maxDrained {
	}
}

// discarded is a message that nobody wants; it counts the bytes.
type discarded int

func (d *discarded) parse(b []byte) error { //nolint:unparam // as request has it
	*d += discarded(len(b))
	return nil
}

// identified is a stream whose context knows the caller.
type identified struct {
	grpc.ServerStream
	ctx context.Context
}

func (i identified) Context() context.Context { return i.ctx }

// access is what somebody wants to do with a stream, by its name in access lists.
type access string

const (
	toRead      access = "$r"
	toWrite     access = "$w"
	toDelete    access = "$d"
	toReadMeta  access = "$mr"
	toWriteMeta access = "$mw"
)

// authorize refuses what the caller may not do with a stream. Access lists are read afresh, so that a change counts
// for the next call; it is for nodes with users alone that this costs anything.
func (n *Node) authorize(ctx context.Context, to access, stream string) *failure {
	if n.users == nil {
		return nil
	}
	who := callerOf(ctx)
	if slices.Contains(who.groups, Admins) {
		return nil
	}
	subject := stream
	if store.IsMetastream(stream) {
		subject = store.Described(stream)
		switch to {
		case toRead:
			to = toReadMeta
		case toWrite, toDelete:
			to = toWriteMeta
		case toReadMeta, toWriteMeta:
		}
	}
	allowed, err := n.accessList(subject, to)
	if err != nil {
		return storeFailure(err)
	}
	if who.isOneOf(allowed) {
		return nil
	}
	return &failure{
		code:    codes.PermissionDenied,
		message: "user " + strconv.Quote(who.name) + " may not " + to.verb() + " stream " + strconv.Quote(subject) + "; ask an administrator to change its access list",
		trailer: metadata.Pairs(trailerException, exceptionAccessDenied, trailerStream, headerSafe(subject)),
		detail:  &shared.AccessDenied{},
	}
}

// authorizeOperation refuses what only those may do who look after the node.
func (n *Node) authorizeOperation(ctx context.Context, what string) *failure {
	return n.authorizeGroups(ctx, what, Admins, Operators)
}

// authorizeGroups refuses what only members of these groups may do.
func (n *Node) authorizeGroups(ctx context.Context, what string, groups ...string) *failure {
	who := callerOf(ctx)
	if n.users == nil || who.isOneOf(groups) {
		return nil
	}
	return &failure{
		code:    codes.PermissionDenied,
		message: "user " + strconv.Quote(who.name) + " may not " + what + "; that is for " + strings.Join(groups, " and "),
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
	}
	return "use"
}

func (c *caller) isOneOf(allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		return a == allStream || a == c.name || slices.Contains(c.groups, a)
	})
}

// settingsStream holds the access lists of streams that have none of their own.
const settingsStream = "$settings"

// acl is an access list: for each kind of access one name or several, of users or groups; $all is everyone.
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

// accessList returns who may do something with a stream: what its metadata say, else the node's settings, else everyone
// for streams of users and administrators for those of the system.
func (n *Node) accessList(stream string, to access) (names, error) {
	meta, err := n.store.Metadata(stream)
	if err != nil {
		return nil, err
	}
	var own struct {
		ACL acl `json:"$acl"`
	}
	if meta != nil && !parses(meta, &own) {
		return names{Admins}, nil // what cannot be read may have been meant to close something
	}
	if allowed, said := own.ACL[to]; said {
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
	list, otherwise := defaults.User, names{allStream}
	if strings.HasPrefix(stream, "$") {
		list, otherwise = defaults.System, names{Admins}
	}
	if allowed, said := list[to]; said {
		return allowed, nil
	}
	return otherwise, nil
}

func parses(data []byte, into any) bool { return json.Unmarshal(data, into) == nil }
