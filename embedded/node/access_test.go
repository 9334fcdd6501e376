package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// openWithUsers starts a node with users and TLS: without TLS the official client sends no credentials.
func openWithUsers(t *testing.T, users func(*Options)) (*Node, *esdb.Client) {
	t.Helper()
	config, pool := selfSigned(t)
	n := openNode(t, users, func(o *Options) { o.TLS = config })
	settings, err := esdb.ParseConnectionString(n.ConnectionString())
	must(t, err)
	settings.RootCAs, settings.Logger = pool, func(esdb.LogLevel, string, ...any) {}
	c, err := esdb.NewClient(settings)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return n, c
}

func withUsers(o *Options) {
	o.Users = []User{
		{Name: "admin", Password: "changeit", Groups: []string{Admins}},
		{Name: "ops", Password: "change:it", Groups: []string{Operators}},
		{Name: "anna", Password: "a", Groups: []string{"monitors"}},
		{Name: "ben", Password: "b"},
	}
}

func as(t *testing.T, n *Node, name string) *esdb.Credentials {
	t.Helper()
	for _, u := range n.opts.Users {
		if u.Name == name {
			return &esdb.Credentials{Login: u.Name, Password: u.Password}
		}
	}
	t.Fatal("no user", name)
	return nil
}

// TestAccessLists tries every kind of access as every user, on streams of every kind.
func TestAccessLists(t *testing.T) {
	n, c := openWithUsers(t, withUsers)
	admin := as(t, n, "admin")
	appendAsAdmin := func(stream, eventType, data string) {
		t.Helper()
		_, err := c.AppendToStream(t.Context(), stream, esdb.AppendToStreamOptions{Authenticated: admin}, event(eventType, data))
		must(t, err)
	}
	for _, stream := range []string{"free", "monitored", "shared", "broken", "$internal", "links"} {
		appendAsAdmin(stream, "T", "{}")
	}
	appendAsAdmin("$$monitored", "$metadata",
		`{"$acl":{"$r":"monitors","$w":["anna"],"$d":"$admins","$mr":["monitors","ben"],"$mw":[]}}`)
	appendAsAdmin("$$shared", "$metadata", `{"$acl":{"$r":"$all"},"custom":1}`)
	appendAsAdmin("$$broken", "$metadata", `{"$acl":7}`)
	appendAsAdmin("$$$internal", "$metadata", `{"$acl":{"$r":["$ops"]}}`)

	const (
		read, write, remove, readMeta, writeMeta = "read", "write", "delete", "read metadata", "write metadata"
	)
	try := func(who *esdb.Credentials, action, stream string) error {
		switch action {
		case readMeta, writeMeta:
			stream = "$$" + stream
		}
		switch action {
		case read, readMeta:
			r, err := c.ReadStream(t.Context(), stream, esdb.ReadStreamOptions{Authenticated: who}, 1)
			if err == nil {
				_, err = r.Recv()
				r.Close()
			}
			if e, _ := esdb.FromError(err); e != nil && e.Code() == esdb.ErrorCodeResourceNotFound {
				return nil // access is allowed, but the stream does not exist
			}
			return err
		case write, writeMeta:
			// An append without events checks the access and changes nothing.
			_, err := c.AppendToStream(t.Context(), stream, esdb.AppendToStreamOptions{Authenticated: who})
			return err
		default:
			// With a wrong revision a permitted delete changes nothing either.
			o := esdb.DeleteStreamOptions{Authenticated: who, ExpectedRevision: esdb.Revision(1000)}
			_, err := c.DeleteStream(t.Context(), stream, o)
			if codeOf(err) == codes.FailedPrecondition {
				return nil
			}
			return err
		}
	}
	everything := []string{read, write, remove, readMeta, writeMeta}
	may := map[string]map[string][]string{
		"free":      {"admin": everything, "ops": everything, "anna": everything, "ben": everything},
		"monitored": {"admin": everything, "anna": {read, write, readMeta}, "ben": {readMeta}},
		"shared":    {"admin": everything, "ops": everything, "anna": everything, "ben": everything},
		"broken":    {"admin": everything},
		"$internal": {"admin": everything, "ops": {read}},
	}
	for stream, allowed := range may {
		for _, user := range n.opts.Users {
			for _, action := range everything {
				err := try(as(t, n, user.Name), action, stream)
				want := slices.Contains(allowed[user.Name], action)
				if want != (err == nil) || err != nil && codeOf(err) != codes.PermissionDenied {
					t.Errorf("%s tries to %s %s: %v", user.Name, action, stream, err)
				}
			}
		}
	}

	// By default only administrators may read $all and the generated streams.
	for _, user := range n.opts.Users {
		_, err := readAllAs(t, c, as(t, n, user.Name))
		if (err == nil) != (user.Name == "admin") {
			t.Errorf("%s reads $all: %v", user.Name, err)
		}
		if err := try(as(t, n, user.Name), read, "$streams"); (err == nil) != (user.Name == "admin") {
			t.Errorf("%s reads $streams: %v", user.Name, err)
		}
	}
	// An access list for $all takes effect at once.
	appendAsAdmin("$$$all", "$metadata", `{"$acl":{"$r":"ben"}}`)
	if _, err := readAllAs(t, c, as(t, n, "ben")); err != nil {
		t.Error(err)
	}
	// So do other defaults.
	appendAsAdmin("$settings", "update", `{"$userStreamAcl":{"$w":"anna","$r":["$ops"]},"$systemStreamAcl":{"$r":"ben"}}`)
	for _, tc := range []struct {
		user, action, stream string
		want                 bool
	}{
		{"anna", write, "free", true}, {"anna", read, "free", false}, {"anna", remove, "free", true},
		{"ben", write, "free", false}, {"ops", read, "free", true}, {"ben", read, "$system", true}, {"anna", read, "$system", false},
		{"ops", read, "$internal", true}, {"anna", read, "monitored", true}, {"ben", read, "shared", true},
	} {
		if err := try(as(t, n, tc.user), tc.action, tc.stream); (err == nil) != tc.want {
			t.Errorf("with other settings, %s tries to %s %s: %v", tc.user, tc.action, tc.stream, err)
		}
	}
	appendAsAdmin("$settings", "update", `{`)
	if err := try(as(t, n, "ops"), read, "free"); err == nil {
		t.Error("malformed settings give access to a stream")
	}
}

// codeOf returns the gRPC status inside an error of the official client.
func codeOf(err error) codes.Code {
	for e := (*esdb.Error)(nil); errors.As(err, &e); {
		err = e.Err()
	}
	return status.Code(err)
}

func readAllAs(t *testing.T, c *esdb.Client, who *esdb.Credentials) (int, error) {
	r, err := c.ReadAll(t.Context(), esdb.ReadAllOptions{Authenticated: who}, 1)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	_, err = r.Recv()
	return 1, err
}

// TestLinksGiveNoAccess has a user write links to a stream that he may not read into a stream of his own.
func TestLinksGiveNoAccess(t *testing.T) {
	n, c := openWithUsers(t, withUsers)
	admin, ben := as(t, n, "admin"), as(t, n, "ben")
	for _, e := range []struct {
		who               *esdb.Credentials
		stream, eventType string
		data              string
	}{
		{admin, "secret", "T", `{"arm":"A"}`}, {admin, "$$secret", "$metadata", `{"$acl":{"$r":"$admins"}}`}, {admin, "open", "T", "{}"},
		{ben, "links", "$>", "0@secret"}, {ben, "links", "$>", "0@open"},
	} {
		_, err := c.AppendToStream(t.Context(), e.stream, esdb.AppendToStreamOptions{Authenticated: e.who}, event(e.eventType, e.data))
		must(t, err)
	}
	r, err := c.ReadStream(t.Context(), "links", esdb.ReadStreamOptions{Authenticated: ben, ResolveLinkTos: true}, 10)
	got := drain(t, r, err)
	if len(got) != 2 || got[0].Event != nil || got[1].Event == nil {
		t.Errorf("%+v", got)
	}
	must(t, c.CreatePersistentSubscription(t.Context(), "links", "g", esdb.PersistentStreamSubscriptionOptions{
		Authenticated: admin, StartFrom: esdb.Start{}, Settings: func() *esdb.PersistentSubscriptionSettings {
			s := esdb.SubscriptionSettingsDefault()
			s.ResolveLinkTos = true
			return &s
		}(),
	}))
	sub, err := c.SubscribeToPersistentSubscription(t.Context(), "links", "g",
		esdb.SubscribeToPersistentSubscriptionOptions{Authenticated: ben})
	must(t, err)
	if e := sub.Recv(); e.EventAppeared != nil || status.Code(e.SubscriptionDropped.Error) != codes.PermissionDenied {
		t.Errorf("%+v", e)
	}
}

func TestCredentials(t *testing.T) {
	n, c := openWithUsers(t, withUsers)
	plain := openNode(t, withUsers)
	for name, tc := range map[string]struct {
		who  *esdb.Credentials
		want codes.Code
	}{
		"none":           {nil, codes.PermissionDenied},
		"wrong password": {&esdb.Credentials{Login: "admin", Password: "change"}, codes.Unauthenticated},
		"no password":    {&esdb.Credentials{Login: "admin"}, codes.Unauthenticated},
		"nobody":         {&esdb.Credentials{Login: "nobody", Password: "changeit"}, codes.Unauthenticated},
		"other's":        {&esdb.Credentials{Login: "ops", Password: "changeit"}, codes.Unauthenticated},
		"with colon":     {&esdb.Credentials{Login: "ops", Password: "change:it"}, codes.OK},
		"right":          {&esdb.Credentials{Login: "admin", Password: "changeit"}, codes.OK},
	} {
		_, err := c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{Authenticated: tc.who}, event("T", "{}"))
		if codeOf(err) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
		if tc.who == nil {
			continue
		}
		r := basicRequest(t, "http://"+plain.Addr()+"/stats", tc.who)
		if want := map[codes.Code]int{codes.Unauthenticated: 401, codes.OK: 200}[tc.want]; r.StatusCode != want {
			t.Errorf("%s: HTTP %d", name, r.StatusCode)
		}
	}
	if r := basicRequest(t, "http://"+plain.Addr()+"/stats", as(t, n, "ben")); r.StatusCode != http.StatusForbidden {
		t.Errorf("a user who is no operator: HTTP %d", r.StatusCode)
	}
	// Operators manage groups of consumers. Every user who may read the stream may consume it.
	for _, user := range []string{"admin", "ops", "anna"} {
		err := c.CreatePersistentSubscription(t.Context(), "s", "of-"+user,
			esdb.PersistentStreamSubscriptionOptions{Authenticated: as(t, n, user)})
		if (err == nil) != (user != "anna") {
			t.Errorf("%s creates a group: %v", user, err)
		}
	}
	anna := esdb.SubscribeToPersistentSubscriptionOptions{Authenticated: as(t, n, "anna")}
	sub, err := c.SubscribeToPersistentSubscription(t.Context(), "s", "of-ops", anna)
	must(t, err)
	must(t, sub.Close())
	if _, err := c.SubscribeToPersistentSubscription(t.Context(), "$s", "of-ops", anna); codeOf(err) != codes.PermissionDenied {
		t.Errorf("consume a system stream: %v", err)
	}
}

func TestInvalidUsersAreRefused(t *testing.T) {
	for name, users := range map[string][]User{
		"no name":     {{Password: "x"}},
		"colon":       {{Name: "a:b", Password: "x"}},
		"no password": {{Name: "a"}},
		"twice":       {{Name: "a", Password: "x"}, {Name: "a", Password: "y"}},
	} {
		if n, err := Open(context.Background(), Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: users}); err == nil {
			t.Errorf("%s: opened", name)
			_ = n.Close()
		} else if !strings.Contains(fmt.Sprint(err), "user") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
