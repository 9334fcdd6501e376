package node

import (
	"context"
	"errors"
	"testing"

	"casebook/embedded/node/store"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
)

// TestProtectedStreamsOnlyGrow tries to delete, tombstone and truncate a protected stream as an administrator. Other
// streams keep the whole protocol.
func TestProtectedStreamsOnlyGrow(t *testing.T) {
	n := openNode(t, func(o *Options) { o.Protected = []string{"patient-"} })
	c := connect(t, n)
	for _, stream := range []string{"patient-1", "scratch-1"} {
		_, err := c.AppendToStream(t.Context(), stream, esdb.AppendToStreamOptions{}, event("T", "{}"))
		must(t, err)
		want := codes.OK
		if stream == "patient-1" {
			want = codes.PermissionDenied
		}
		tries := map[string]func() error{
			"truncate": func() error {
				_, err := c.AppendToStream(t.Context(), "$$"+stream, esdb.AppendToStreamOptions{}, event("$metadata", `{"$tb":1}`))
				return err
			},
			"set metadata": func() error {
				m := esdb.StreamMetadata{}
				m.SetMaxCount(1)
				_, err := c.SetStreamMetadata(t.Context(), stream, esdb.AppendToStreamOptions{}, m)
				return err
			},
			"write metadata of the metadata": func() error {
				_, err := c.AppendToStream(t.Context(), "$$$$"+stream, esdb.AppendToStreamOptions{}, event("$metadata", `{}`))
				return err
			},
			"delete": func() error {
				_, err := c.DeleteStream(t.Context(), stream, esdb.DeleteStreamOptions{})
				return err
			},
		}
		for name, try := range tries {
			if err := try(); codeOf(err) != want {
				t.Errorf("%s %s: %v", name, stream, err)
			}
		}
		if _, err := c.TombstoneStream(t.Context(), stream, esdb.TombstoneStreamOptions{}); codeOf(err) != want {
			t.Errorf("tombstone %s: %v", stream, err)
		}
	}
	r, err := c.ReadStream(t.Context(), "patient-1", esdb.ReadStreamOptions{}, 10)
	if got := drain(t, r, err); len(got) != 1 {
		t.Errorf("the protected stream has %d events", len(got))
	}
	_, err = c.AppendToStream(t.Context(), "patient-1", esdb.AppendToStreamOptions{}, event("T", "{}"))
	must(t, err)
}

// TestReadersOnlyRead lets a reader look at everything, and refuses whatever changes something, also for others.
func TestReadersOnlyRead(t *testing.T) {
	n, c := openWithUsers(t, func(o *Options) {
		o.Users = []User{{Name: "owner", Password: "o", Groups: []string{Admins}}, {Name: "reader", Password: "r", Groups: []string{Readers}}}
	})
	owner, reader := as(t, n, "owner"), as(t, n, "reader")
	_, err := c.AppendToStream(t.Context(), "patient-1", esdb.AppendToStreamOptions{Authenticated: owner}, event("T", "{}"))
	must(t, err)
	must(t, c.CreatePersistentSubscription(t.Context(), "patient-1", "g", esdb.PersistentStreamSubscriptionOptions{Authenticated: owner}))

	if _, err := readAllAs(t, c, reader); err != nil {
		t.Errorf("a reader reads $all: %v", err)
	}
	for name, err := range map[string]error{
		"append": func() error {
			_, err := c.AppendToStream(t.Context(), "patient-1", esdb.AppendToStreamOptions{Authenticated: reader}, event("T", "{}"))
			return err
		}(),
		"metadata": func() error {
			_, err := c.AppendToStream(t.Context(), "$$patient-1", esdb.AppendToStreamOptions{Authenticated: reader}, event("$metadata", "{}"))
			return err
		}(),
		"delete": func() error {
			_, err := c.DeleteStream(t.Context(), "patient-1", esdb.DeleteStreamOptions{Authenticated: reader})
			return err
		}(),
		"tombstone": func() error {
			_, err := c.TombstoneStream(t.Context(), "patient-1", esdb.TombstoneStreamOptions{Authenticated: reader})
			return err
		}(),
		"create a group": c.CreatePersistentSubscription(t.Context(), "patient-1", "h",
			esdb.PersistentStreamSubscriptionOptions{Authenticated: reader}),
		"delete a group": c.DeletePersistentSubscription(t.Context(), "patient-1", "g",
			esdb.DeletePersistentSubscriptionOptions{Authenticated: reader}),
	} {
		if codeOf(err) != codes.PermissionDenied {
			t.Errorf("a reader tries to %s: %v", name, err)
		}
	}
	_, err = c.SubscribeToPersistentSubscription(t.Context(), "patient-1", "g",
		esdb.SubscribeToPersistentSubscriptionOptions{Authenticated: reader})
	if codeOf(err) != codes.PermissionDenied {
		t.Errorf("a reader takes events out of a group: %v", err)
	}
}

// TestOtherMachinesNeedCredentialsAndEncryption tries addresses that other machines can reach.
func TestOtherMachinesNeedCredentialsAndEncryption(t *testing.T) {
	config, _ := selfSigned(t)
	users := []User{{Name: "a", Password: "b"}}
	for name, o := range map[string]Options{"nothing": {}, "no encryption": {Users: users}, "no users": {TLS: config}} {
		for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
			o.Dir, o.Listen = t.TempDir(), listen
			if n, err := Open(context.Background(), o); !errors.Is(err, ErrExposed) {
				t.Errorf("%s on %s: %v", name, listen, err)
				if err == nil {
					_ = n.Close()
				}
			}
		}
	}
	openNode(t, func(o *Options) { o.Listen, o.Insecure = "0.0.0.0:0", true })
	openNode(t, func(o *Options) { o.Listen, o.Users, o.TLS = "0.0.0.0:0", users, config })
}

// TestReadOnlyNodeServesAndDoesNotWrite serves a log for reading only.
func TestReadOnlyNodeServesAndDoesNotWrite(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(context.Background(), Options{Dir: dir + "/none", Listen: "127.0.0.1:0", ReadOnly: true})
	if !errors.Is(err, store.ErrNoStore) {
		t.Errorf("a missing directory: %v", err)
	}
	n, err := Open(context.Background(), Options{Dir: dir, Listen: "127.0.0.1:0"})
	must(t, err)
	_, err = connect(t, n).AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{}, event("T", "{}"))
	must(t, err)
	must(t, n.Close())

	n = openNode(t, func(o *Options) { o.Dir, o.ReadOnly = dir, true })
	c := connect(t, n)
	r, err := c.ReadStream(t.Context(), "s", esdb.ReadStreamOptions{}, 10)
	if got := drain(t, r, err); len(got) != 1 {
		t.Errorf("%d events", len(got))
	}
	if _, err := c.AppendToStream(t.Context(), "s", esdb.AppendToStreamOptions{}, event("T", "{}")); codeOf(err) != codes.PermissionDenied {
		t.Errorf("append: %v", err)
	}
	if report, err := n.Verify(t.Context()); err != nil || report.Damage != nil || report.Events != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}
