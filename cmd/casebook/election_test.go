package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/user"
	"casebook/embedded/node/clustertest"
)

// TestElectionIsAPauseForManyUsers: while a leader is elected, which takes longer than requests otherwise wait for a place, more
// commands, queries and batches of many users wait than are served at a time. None is refused, and all are answered when there is a leader.
func TestElectionIsAPauseForManyUsers(t *testing.T) {
	const election = 7 * time.Second
	const users, commandsOfUser, queriesOfUser, batchesOfUser = 24, 5, 3, 2 // more than 64 commands, 32 queries and 32 batches together
	for name, fault := range map[string]func(*clustertest.Cluster) (back func() error){
		"planned": func(c *clustertest.Cluster) func() error {
			c.MoveLeader(c.Followers()[0])
			return func() error { return nil }
		},
		"frozen": func(c *clustertest.Cluster) func() error {
			leader := c.Leader()
			leader.Freeze()
			return leader.Thaw
		},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: each of them keeps two cores busy
			c := clustertest.Run(t, clustertest.Options{Election: election})
			in := serveOn(t, flagsOn(t, c))
			if err := in.bootstrapAdmins(t.Context(), "a password for a test"); err != nil {
				t.Fatal(err)
			}
			const id = domain.StudyID("E1")
			setUp(in, id, in.sign, 0)
			for i := range users {
				u := domain.UserID(fmt.Sprintf("crc%d", i))
				in.must(in.sign(demoAdmin), user.RegisterUser{OfUser: domain.ForUser(u), Name: string(u)})
				in.must(in.sign(demoAdmin), user.GrantRole{OfUser: domain.ForUser(u), Grant: user.Grant{Role: user.CRC, Study: id, Site: "01"}})
			}
			time.Sleep(2 * time.Second) // what was known of rights and states is asked again
			back := fault(c)
			var wait sync.WaitGroup
			answered := func(token, method, path, body string) {
				wait.Go(func() {
					status, answer := ask(t.Context(), token, method, in.url+path, body)
					if status != http.StatusOK || strings.Contains(answer, `"problem":`) {
						t.Errorf("%s is answered %d: %s", path, status, answer)
					}
				})
			}
			screening := func(format string, numbers ...any) string {
				body, err := json.Marshal(patient.ScreenPatient{AtSite: domain.ForSite(id, "01"),
					ScreeningNumber: fmt.Sprintf(format, numbers...), On: "2020-01-01"})
				if err != nil {
					t.Fatal(err)
				}
				return string(body)
			}
			for i := range users {
				token := in.sign(domain.UserID(fmt.Sprintf("crc%d", i)))
				for k := range commandsOfUser {
					answered(token, http.MethodPost, "/api/v1/commands/ScreenPatient", screening("%d-%d", i, k))
				}
				for k := range batchesOfUser {
					answered(token, http.MethodPost, "/api/v1/commands:batch", fmt.Sprintf(
						`{"commands":[{"command":"ScreenPatient","idempotencyKey":"%d-%d","body":%s}]}`, i, k, screening("%d-B%d", i, k)))
				}
				for range queriesOfUser {
					answered(token, http.MethodGet, fmt.Sprintf("/api/v1/studies/%s/patients?site=01", id), "")
				}
			}
			wait.Wait()
			if c.Leader() == nil || len(c.Elections()) != 1 {
				t.Errorf("the requests were answered before the election was over: %s", c.Elections())
			}
			if err := back(); err != nil {
				t.Error(err)
			}
		})
	}
}

// ask sends a request and returns its answer; the status 0 for none.
func ask(ctx context.Context, token, method, url, body string) (status int, answer string) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(raw)
}
