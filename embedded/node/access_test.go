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

// openWithUsers starts a node with users and TLS, for the official client gives no credentials away without it.
func openWithUsers(t *testing.T) (*Node, *esdb.Client) {
	t.Helper()
	config, pool := selfSigned(t)
	n := openNode(t, withUsers, func(o *Options) { o.TLS = config })
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

// TestAccess asks for everything that access lists know, as everybody, of streams of every kind.
func TestAccess(t *testing.T) {
	n, c := openWithUsers(t)
	admin := as(t, n, "admin")
	put := func(stream, eventType, data string) {
		t.Helper()
		_, err := c.AppendToStream(t.Context(), stream, esdb.AppendToStreamOptions{Authenticated: admin}, event(eventType, data))
		must(t, err)
	}
	for _, stream := range []string{"free", "monitored", "shared", "broken", "$internal", "links"} {
		put(stream, "T", "{}")
	}
	put("$$monitored", "$metadata", `{"$acl":{"$r":"monitors","$w":["anna"],"$d":"$admins","$mr":["monitors","ben"],"$mw":[]}}`)
	put("$$shared", "$metadata", `{"$acl":{"$r":"$all"},"custom":1}`)
	put("$$broken", "$metadata", `{"$acl":7}`)
	put("$$$internal", "$metadata", `{"$acl":{"$r":["$ops"]}}`)

	const (
		read, write, remove, readMeta, writeMeta = "read", "write", "delete", "read metadata", "write metadata"
	)
	do := func(who *esdb.Credentials, what, stream string) error {
		switch what {
		case readMeta, writeMeta:
			stream = "$$" + stream
		}
		switch what {
		case read, readMeta:
			r, err := c.ReadStream(t.Context(), stream, esdb.ReadStreamOptions{Authenticated: who}, 1)
			if err == nil {
				_, err = r.Recv()
				r.Close()
			}
			if e, _ := esdb.FromError(err); e != nil && e.Code() == esdb.ErrorCodeResourceNotFound {
				return nil // it may be read, and is not there
			}
			return err
		case write, writeMeta:
			// No events: whether it is allowed is asked all the same, and nothing changes.
			_, err := c.AppendToStream(t.Context(), stream, esdb.AppendToStreamOptions{Authenticated: who})
			return err
		default:
			// A revision that is wrong for everyone who may delete.
			_, err := c.DeleteStream(t.Context(), stream, esdb.DeleteStreamOptions{Authenticated: who, ExpectedRevision: esdb.Revision(1000)})
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
			for _, what := range everything {
				err := do(as(t, n, user.Name), what, stream)
				want := slices.Contains(allowed[user.Name], what)
				if want != (err == nil) || err != nil && codeOf(err) != codes.PermissionDenied {
					t.Errorf("%s wants to %s %s: %v", user.Name, what, stream, err)
				}
			}
		}
	}

	// The log as a whole, and what is made of it, are for administrators.
	for _, user := range n.opts.Users {
		_, err := readAllAs(t, c, as(t, n, user.Name))
		if (err == nil) != (user.Name == "admin") {
			t.Errorf("%s reads $all: %v", user.Name, err)
		}
		if err := do(as(t, n, user.Name), read, "$streams"); (err == nil) != (user.Name == "admin") {
			t.Errorf("%s reads $streams: %v", user.Name, err)
		}
	}
	// ... unless it was said otherwise, which counts from then on.
	put("$$$all", "$metadata", `{"$acl":{"$r":"ben"}}`)
	if _, err := readAllAs(t, c, as(t, n, "ben")); err != nil {
		t.Error(err)
	}
	put("$settings", "update", `{"$userStreamAcl":{"$w":"anna","$r":["$ops"]},"$systemStreamAcl":{"$r":"ben"}}`)
	for _, tc := range []struct {
		user, what, stream string
		want               bool
	}{
		{"anna", write, "free", true}, {"anna", read, "free", false}, {"anna", remove, "free", true},
		{"ben", write, "free", false}, {"ops", read, "free", true}, {"ben", read, "$system", true}, {"anna", read, "$system", false},
		{"ops", read, "$internal", true}, {"anna", read, "monitored", true}, {"ben", read, "shared", true},
	} {
		if err := do(as(t, n, tc.user), tc.what, tc.stream); (err == nil) != tc.want {
			t.Errorf("with other settings, %s wants to %s %s: %v", tc.user, tc.what, tc.stream, err)
		}
	}
	put("$settings", "update", `{`)
	if err := do(as(t, n, "ops"), read, "free"); err == nil {
		t.Error("settings that cannot be read have opened a stream")
	}
}

// codeOf digs the status out of what the client made of it.
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

// TestLinksOpenNothing lets somebody write links into a stream of his own.
func TestLinksOpenNothing(t *testing.T) {
	n, c := openWithUsers(t)
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
	sub, err := c.SubscribeToPersistentSubscription(t.Context(), "links", "g", esdb.SubscribeToPersistentSubscriptionOptions{Authenticated: ben})
	must(t, err)
	if e := sub.Recv(); e.EventAppeared != nil || status.Code(e.SubscriptionDropped.Error) != codes.PermissionDenied {
		t.Errorf("%+v", e)
	}
}

func TestCredentials(t *testing.T) {
	n, c := openWithUsers(t)
	plain := openNode(t, withUsers)
	for name, tc := range map[string]struct {
		who  *esdb.Credentials
		want codes.Code
	}{
		"none":           {nil, codes.Unauthenticated},
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
		t.Errorf("somebody who does not look after the node: HTTP %d", r.StatusCode)
	}
	// Looking after groups of consumers is for operators; whoever may read the stream may consume it.
	for _, user := range []string{"admin", "ops", "anna"} {
		err := c.CreatePersistentSubscription(t.Context(), "s", "of-"+user, esdb.PersistentStreamSubscriptionOptions{Authenticated: as(t, n, user)})
		if (err == nil) != (user != "anna") {
			t.Errorf("%s creates a group: %v", user, err)
		}
	}
	sub, err := c.SubscribeToPersistentSubscription(t.Context(), "s", "of-ops", esdb.SubscribeToPersistentSubscriptionOptions{Authenticated: as(t, n, "anna")})
	must(t, err)
	must(t, sub.Close())
	if _, err := c.SubscribeToPersistentSubscription(t.Context(), "$s", "of-ops", esdb.SubscribeToPersistentSubscriptionOptions{Authenticated: as(t, n, "anna")}); codeOf(err) != codes.PermissionDenied {
		t.Errorf("consume a system stream: %v", err)
	}
}

func TestUsersAreChecked(t *testing.T) {
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
