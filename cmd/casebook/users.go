package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/eventlog"

	"golang.org/x/term"
)

type usersCommand struct {
	Add    usersAddCommand    `cmd:"" help:"Register a user, for instance the first administrator with --role admin."`
	Grant  usersGrantCommand  `cmd:"" help:"Give a user a role."`
	Revoke usersRevokeCommand `cmd:"" help:"Take a role from a user."`
	List   usersListCommand   `cmd:"" help:"List users and their grants."`
}

// toolStore selects the event store that a tool works on.
type toolStore struct {
	Data       string `help:"Data directory, as for serve, whether the server runs or not." default:"casebook-data" type:"path"`
	Eventstore string `help:"Address of a real event store, esdb://..., instead of the embedded one in --data." placeholder:"URL"`
}

// grantFlags describe one grant.
type grantFlags struct {
	Role    user.Role        `help:"Role: patient, crc, investigator, monitor, data_manager, supply_manager, safety_officer, statistician, auditor or admin."`
	Study   domain.StudyID   `help:"Study of the role; none for admin."`
	Site    domain.SiteID    `help:"Site of the role, if it is limited to one."`
	Patient domain.PatientID `help:"The patient, for the role patient."`
}

func (g grantFlags) grant() user.Grant {
	return user.Grant{Role: g.Role, Study: g.Study, Site: g.Site, Patient: g.Patient}
}

type usersAddCommand struct {
	toolStore
	operatorFlags
	grantFlags
	User          domain.UserID `arg:"" help:"Id to sign in with."`
	Name          string        `help:"The person's name." required:""`
	PasswordStdin bool          `help:"Read the password from standard input."`
	NoPassword    bool          `help:"Register an account without a password, for an identity provider's users."`
}

// Run registers the user. Without a terminal and without --password-stdin it generates a password and prints it once.
func (c usersAddCommand) Run(ctx context.Context, s streams) error {
	password, generated, err := c.password()
	if err != nil {
		return err
	}
	return c.with(ctx, c.operator(), func(do doCommand) error {
		if err := do(user.RegisterUser{OfUser: domain.ForUser(c.User), Name: c.Name, Password: password}); err != nil {
			return err
		}
		fmt.Fprintln(s.out, "registered", c.User)
		if generated {
			fmt.Fprintln(s.out, "password (shown once):", password)
		}
		if c.Role == "" {
			return nil
		}
		if err := do(user.GrantRole{OfUser: domain.ForUser(c.User), Grant: c.grant()}); err != nil {
			return err
		}
		fmt.Fprintln(s.out, "granted", c.Role)
		return nil
	})
}

func (c usersAddCommand) password() (password string, generated bool, err error) {
	switch {
	case c.NoPassword:
		return "", false, nil
	case c.PasswordStdin:
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", false, errors.Join(errors.New("standard input holds no password"), err)
		}
		return line, false, nil
	case term.IsTerminal(int(os.Stdin.Fd())):
		fmt.Fprint(os.Stderr, "password (at least 12 characters): ")
		typed, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(os.Stderr)
		return string(typed), false, err
	}
	return rand.Text(), true, nil
}

type usersGrantCommand struct {
	toolStore
	operatorFlags
	grantFlags
	User domain.UserID `arg:"" help:"The user."`
}

// Run grants the role.
func (c usersGrantCommand) Run(ctx context.Context, s streams) error {
	return c.with(ctx, c.operator(), func(do doCommand) error {
		if err := do(user.GrantRole{OfUser: domain.ForUser(c.User), Grant: c.grant()}); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.out, "granted", c.Role, "to", c.User)
		return err
	})
}

type usersRevokeCommand struct {
	toolStore
	operatorFlags
	grantFlags
	User   domain.UserID `arg:"" help:"The user."`
	Reason string        `help:"Why." required:""`
}

// Run revokes the role.
func (c usersRevokeCommand) Run(ctx context.Context, s streams) error {
	return c.with(ctx, c.operator(), func(do doCommand) error {
		if err := do(user.RevokeRole{OfUser: domain.ForUser(c.User), Grant: c.grant(), Reasoned: domain.Because(c.Reason)}); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.out, "revoked", c.Role, "from", c.User)
		return err
	})
}

type usersListCommand struct {
	toolStore
	JSON bool `help:"Print JSON, one line per user."`
}

// Run reads all streams of users, and prints the users.
func (c usersListCommand) Run(ctx context.Context, s streams) error {
	return c.reading(ctx, func(log *eventlog.Log) error {
		users, order, damages, err := readUsers(ctx, log)
		if err != nil {
			return err
		}
		for _, d := range damages {
			fmt.Fprintf(s.err, "%s is damaged from its event %d on, and listed as it was before: %s\n", d.Stream, d.Revision, d.Reason)
		}
		for _, id := range order {
			u := users[id]
			if c.JSON {
				line, err := json.Marshal(map[string]any{
					"user": u.ID, "name": u.Name, "grants": u.Grants, "locked": u.Locked, "deactivated": u.Deactivated,
				})
				if err != nil {
					return err
				}
				fmt.Fprintln(s.out, string(line))
				continue
			}
			fmt.Fprintf(s.out, "%-24s %-28s %s\n", u.ID, u.Name, describeGrants(u))
		}
		return nil
	})
}

// errCaughtUp ends a subscription at the end of the log.
var errCaughtUp = errors.New("caught up")

// readUsers returns all users by their ids, the ids in the order of registration, and the damaged accounts. Of these it reads
// the sound part.
func readUsers(ctx context.Context, log *eventlog.Log) (map[string]user.User, []string, []domain.Damage, error) {
	users, order, chains := map[string]user.User{}, []string{}, eventlog.NewChains(log.Registry())
	ofUsers := eventlog.Subscription{Categories: []string{user.Decider.Category}, KeepUnreadable: true}
	err := log.Follow(ctx, ofUsers, func(_ context.Context, b eventlog.Batch) error {
		chains.Check(b.Events)
		for _, r := range b.Events {
			if unreadable, is := r.Event.(eventlog.Unreadable); is {
				return unreadable.Err
			}
			id := r.StreamID()
			if _, damaged := r.Event.(eventlog.Damaged); damaged {
				continue
			}
			if _, known := users[id]; !known {
				order = append(order, id)
			}
			if e, ok := r.Event.(user.Event); ok {
				users[id] = user.Decider.Evolve(users[id], e)
			}
		}
		if b.Live {
			return errCaughtUp
		}
		return nil
	})
	if errors.Is(err, errCaughtUp) {
		err = nil
	}
	return users, order, chains.Damages(), err
}

func describeGrants(u user.User) string {
	var words []string
	for _, g := range u.Grants {
		word := string(g.Role)
		for _, part := range []string{string(g.Study), string(g.Site), string(g.Patient)} {
			if part != "" {
				word += "/" + part
			}
		}
		words = append(words, word)
	}
	if u.Locked {
		words = append(words, "(locked)")
	}
	if u.Deactivated {
		words = append(words, "(deactivated)")
	}
	return strings.Join(words, " ")
}

// doCommand sends one command.
type doCommand func(command any) error

// with connects to the store and lets act send commands as the operator. Whoever has the store's credentials can do
// anything, so the commands need no other permission; the log shows which operator sent them.
func (t toolStore) with(ctx context.Context, as access.Principal, act func(doCommand) error) error {
	return t.withLog(ctx, writes, func(log *eventlog.Log) error {
		handler := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Build: buildID()})
		return act(func(command any) error { return sendAs(ctx, handler, as, command, "") })
	})
}

// operator returns the principal under which the tools of the command line send commands.
func operator() access.Principal { return access.Process("operator") }

// sendAs sends a command as a principal.
func sendAs(ctx context.Context, handler *commands.Handler, who access.Principal, command any, key string) error {
	body, err := json.Marshal(command)
	if err != nil {
		return err
	}
	_, err = handler.Do(ctx, commands.Request{
		Name: commandName(command), Body: body, Principal: who, Key: key, App: "casebook command line",
	})
	return err
}

func commandName(command any) string {
	name := fmt.Sprintf("%T", command)
	return name[strings.LastIndexByte(name, '.')+1:]
}

// reading passes the log to act, which changes nothing.
func (t toolStore) reading(ctx context.Context, act func(*eventlog.Log) error) error {
	return t.withLog(ctx, reads, act)
}

// withLog connects to the store, and closes the connection after act.
func (t toolStore) withLog(ctx context.Context, how usage, act func(*eventlog.Log) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stores := toolStores{data: dataDir(t.Data), eventStore: t.Eventstore}
	return stores.use(ctx, how, unused, func(o opened) (err error) {
		connecting, stop := context.WithTimeout(ctx, 5*time.Second)
		defer stop()
		log, err := eventlog.Connect(connecting, eventlog.Options{URL: o.eventStoreURL, Registry: contexts.Registry()})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		return act(log)
	})
}
