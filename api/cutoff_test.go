package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	"casebook/readmodels"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// cutOff starts an API whose process reaches the event store through a proxy.
func cutOff(t *testing.T) (client, *toxiproxy.Proxy) {
	t.Helper()
	if strings.Contains(the.eventStoreURL, "discover") || strings.Contains(the.eventStoreURL, ",") {
		t.Skip("a proxy stands before one node; " + storetest.EventStoreVariable + " names a cluster")
	}
	to, err := url.Parse(the.eventStoreURL)
	if err != nil {
		t.Fatal(err)
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "event store", "127.0.0.1:0", to.Host)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	to.Host = proxy.Listen
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: to.String(), Registry: contexts.Registry()})
	if err != nil {
		t.Fatal(err)
	}
	h := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Now: func() time.Time { return now }})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
		proxy.Stop()
	})
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return serve(t, func(o *options) {
		o.Handler, o.engine.ScopeOf, o.engine.RecordRefusal = h, h.PatientScope, h.RecordRefusal
		o.Limits.RequestTimeout = 2 * time.Second
	}), proxy
}

// TestR9_AProcessCutOffFromTheLogGrantsNothing revokes a role while one process hears nothing of the event store: because nothing
// comes through any more, or because the connection is gone.
func TestR9_AProcessCutOffFromTheLogGrantsNothing(t *testing.T) {
	for name, cut := range map[string]func(*testing.T, *toxiproxy.Proxy) (mend func()){
		"frozen": func(t *testing.T, p *toxiproxy.Proxy) func() {
			for _, toxic := range []string{`{"name":"up","type":"timeout","stream":"upstream","attributes":{"timeout":0}}`,
				`{"name":"down","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`} {
				if _, err := p.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
					t.Fatal(err)
				}
			}
			return func() { p.Toxics.ResetToxics(context.Background()) }
		},
		"cut": func(t *testing.T, p *toxiproxy.Proxy) func() {
			p.Stop()
			return func() {
				if err := p.Start(); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, proxy := cutOff(t)
			tr := newTrial(t)
			caughtUp(t, tr.position)
			grant := user.Grant{Role: user.Investigator, Study: tr.study, Site: "01"}
			u := account(t, "investigator", grant)
			asked := c.as(u)
			path := tr.path(readmodels.Query{Path: "/api/v1/studies/{study}"})
			if r := asked.get(path); r.StatusCode != http.StatusOK {
				t.Fatalf("before, answered %d: %s", r.StatusCode, r.body)
			}
			mend := cut(t, proxy)
			doAs(t, administrator("first.admin"), user.RevokeRole{OfUser: domain.ForUser(u), Grant: grant, Reasoned: domain.Because("left")})
			time.Sleep(1100 * time.Millisecond)
			asked.get(path).refused(t, http.StatusServiceUnavailable, "rights_not_known")
			asked.command(tr.entry(5)).refused(t, http.StatusServiceUnavailable, "rights_not_known")
			mend()
			for {
				r := asked.get(path)
				if r.StatusCode == http.StatusServiceUnavailable {
					continue // otherwise the test's own time-out ends the loop
				}
				r.refused(t, http.StatusForbidden, "not_allowed")
				return
			}
		})
	}
}
