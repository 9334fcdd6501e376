package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/user"
)

// attack is what one person tries who has the machine, and the account of the administrator whose password is demoPassword.
type attack struct {
	installation
	t     *testing.T
	store string
}

const attackersPassword, demoPassword = "gravel lantern oboe thicket", "a password for a test"

// add makes an account on the machine, and changes its password as its owner would.
func (a attack) add(id domain.UserID, flags ...string) {
	a.t.Helper()
	args := append([]string{"users", "add", string(id), "--name", string(id), a.store}, flags...)
	a.takeOver(id, tool(a.t, exitOK, args...))
}

// takeOver signs in with a password that a tool has printed, and changes it.
func (a attack) takeOver(id domain.UserID, printed string) {
	a.t.Helper()
	if !strings.Contains(printed, "password (shown once)") {
		return
	}
	handedOut := passwordIn(a.t, printed)
	_, session := a.signIn(id, handedOut)
	a.must(session.Token, user.ChangePassword{OfUser: domain.ForUser(id), Password: attackersPassword, CurrentPassword: handedOut})
}

// fails has a tool fail, with these lines as its input.
func (a attack) fails(code string, args []string, lines ...string) {
	a.t.Helper()
	typed(a.t, lines...)
	if printed := tool(a.t, exitFailure, append(args, a.store)...); !strings.Contains(printed, code) {
		a.t.Errorf("%v is answered: %s", args, printed)
	}
}

// cannotAct says that a person who signs in as id neither administers, nor confirms others, nor signs.
func (a attack) cannotAct(id domain.UserID) {
	a.t.Helper()
	_, session := a.signIn(id, attackersPassword)
	for _, command := range []any{
		user.RegisterUser{OfUser: domain.ForUser("puppet"), Name: "Puppet"}, user.ConfirmAccount{OfUser: domain.ForUser("puppet")},
		user.GrantRole{OfUser: domain.ForUser("puppet"), Grant: user.Grant{Role: user.Admin}},
		user.ConfirmRole{OfUser: domain.ForUser("puppet"), Grant: user.Grant{Role: user.Admin}},
	} {
		if status, _, text := a.command(session.Token, "", command); status != http.StatusForbidden ||
			!strings.Contains(text, "account_not_confirmed") && !strings.Contains(text, "not_allowed") {
			a.t.Errorf("%s sends %T and is answered %d %s", id, command, status, text)
		}
	}
	if all, err := a.handler.Administrators(a.t.Context()); err != nil || slices.Contains(all.Usable, id) {
		a.t.Errorf("the administrators are %+v, %v", all, err)
	}
}

// TestR4_OnePersonOnTheMachineIsNotTwoPeople walks the ways in which the operator of the machine could become a second
// person. Two administrators exist, and the account of one of them is the attacker's own.
func TestR4_OnePersonOnTheMachineIsNotTwoPeople(t *testing.T) {
	for name, walk := range map[string]func(attack){
		"a new administrator": func(a attack) {
			a.add("eve", "--role", "admin")
			a.cannotAct("eve")
			a.fails("account_not_confirmed", []string{"users", "confirm", "eve", "--as", "eve"}, attackersPassword)
		},
		"two new administrators who confirm each other": func(a attack) {
			a.add("eve", "--role", "admin")
			a.add("eva", "--role", "admin")
			a.fails("account_not_confirmed", []string{"users", "confirm", "eva", "--as", "eve"}, attackersPassword)
			a.cannotAct("eva")
		},
		"an account that becomes an administrator's later": func(a attack) {
			a.add("eve")
			tool(a.t, exitOK, "users", "grant", "eve", "--role", "admin", a.store)
			a.cannotAct("eve")
		},
		"the subject of an identity provider": func(a attack) {
			tool(a.t, exitOK, "users", "add", "eve", "--name", "Eve", "--no-password", "--role", "admin", a.store)
			token, err := a.tokens.Sign("eve", time.Now(), time.Hour)
			if err != nil {
				a.t.Fatal(err)
			}
			if status, _, text := a.command(token, "", user.ConfirmAccount{OfUser: domain.ForUser("eve")}); status != http.StatusForbidden {
				a.t.Errorf("answered %d %s", status, text)
			}
		},
		"confirming one's own puppet as an administrator": func(a attack) {
			a.add("eve", "--role", "admin")
			typed(a.t, demoPassword)
			printed := tool(a.t, exitOK, "users", "confirm", "eve", "--as", string(demoAdmin), a.store)
			if !strings.Contains(printed, "a second administrator") {
				a.t.Errorf("it is answered: %s", printed)
			}
			a.cannotAct("eve")
			a.fails("second_person_required", []string{"users", "confirm", "eve", "--as", string(demoAdmin)}, demoPassword)
		},
		"another administrator's password": func(a attack) {
			a.takeOver(demoDeputy, tool(a.t, exitOK, "users", "set-password", string(demoDeputy), a.store))
			a.cannotAct(demoDeputy)
			a.fails("administrators_exist", []string{"users", "recover", string(demoDeputy), "--reason", "x"})
		},
		"an account that was locked": func(a attack) {
			a.add("eve")
			typed(a.t, demoPassword)
			tool(a.t, exitOK, "users", "confirm", "eve", "--as", string(demoAdmin), a.store)
			a.send(administrator(demoDeputy), user.ConfirmAccount{OfUser: domain.ForUser("eve")})
			a.send(administrator(demoDeputy), user.LockUser{OfUser: domain.ForUser("eve"), Reasoned: domain.Because("suspicious")})
			tool(a.t, exitOK, "users", "unlock", "eve", "--reason", "x", a.store)
			for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) { // the tool has its own connection to the log
				who, err := a.handler.Principal(a.t.Context(), "eve")
				if err == nil && who.Unconfirmed {
					break
				}
				if time.Since(begun) > 10*time.Second {
					a.t.Fatalf("the account is %+v, %v", who, err)
				}
			}
		},
		"locking all administrators, and beginning anew": func(a attack) {
			for _, id := range []domain.UserID{demoAdmin, demoDeputy} {
				tool(a.t, exitOK, "users", "lock", string(id), "--reason", "x", a.store)
			}
			a.add("eve", "--role", "admin")
			a.cannotAct("eve")
		},
		"taking the role from all administrators, and beginning anew": func(a attack) {
			for _, id := range []domain.UserID{demoAdmin, demoDeputy} {
				tool(a.t, exitOK, "users", "revoke", string(id), "--role", "admin", "--reason", "x", a.store)
			}
			a.add("eve", "--role", "admin")
			a.cannotAct("eve")
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := install(t)
			if err := in.bootstrapAdmins(t.Context(), demoPassword); err != nil {
				t.Fatal(err)
			}
			walk(attack{installation: in, t: t, store: "--eventstore=" + in.stores.eventStoreURL})
		})
	}
}

// TestR4_WhatTheOperatorDoesAloneIsRecorded: what the operator can do alone shows who did it, and on which machine.
func TestR4_WhatTheOperatorDoesAloneIsRecorded(t *testing.T) {
	in := install(t)
	store := "--eventstore=" + in.stores.eventStoreURL
	tool(t, exitOK, "users", "add", "anna", "--name", "Anna", "--no-password", "--role", "admin", "--as", "carla", store)
	tool(t, exitOK, "users", "lock", "anna", "--reason", "x", store)
	tool(t, exitOK, "users", "add", "boris", "--name", "Boris", "--no-password", "--role", "admin", store)
	tool(t, exitOK, "users", "recover", "boris", "--reason", "Anna has left", "--as", "carla", store)
	found := map[string]bool{}
	for _, id := range []string{"anna", "boris"} {
		for r, err := range in.log.ReadStream(t.Context(), user.Decider.Stream(id), 0) {
			if err != nil {
				t.Fatal(err)
			}
			switch e := r.Event.(type) {
			case user.FirstAdministratorAppointed:
				found[r.Type] = e.User == "anna" && e.By == "process:operator/carla" && e.Machine != "" && r.Metadata.Address == e.Machine
			case user.AdministrationRecovered:
				found[r.Type] = e.User == "boris" && e.By == "process:operator/carla" && e.Machine != "" && e.Reason == "Anna has left"
			}
		}
	}
	if !found["FirstAdministratorAppointed"] || !found["AdministrationRecovered"] {
		t.Errorf("recorded are %v", found)
	}
	if all, err := in.handler.Administrators(t.Context()); err != nil || !slices.Equal(all.Usable, []domain.UserID{"boris"}) {
		t.Errorf("the administrators are %+v, %v", all, err)
	}
}
