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

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/eventlog"

	"golang.org/x/term"
)

type usersCommand struct {
	Add         usersAddCommand         `cmd:"" help:"Register a user, for instance the first administrator with --role admin."`
	Grant       usersGrantCommand       `cmd:"" help:"Give a user a role. A role that sees arms needs two administrators: --as and --confirmed-by."`
	Revoke      usersRevokeCommand      `cmd:"" help:"Take a role from a user."`
	SetPassword usersSetPasswordCommand `cmd:"" help:"Set a password that the user has to change before anything else."`
	Lock        usersLockCommand        `cmd:"" help:"Lock an account and end its sessions."`
	Unlock      usersUnlockCommand      `cmd:"" help:"Unlock an account."`
	Confirm     usersConfirmCommand     `cmd:"" help:"Confirm, as a second administrator, that a new or reset account is in its owner's hands."`
	Recover     usersRecoverCommand     `cmd:"" help:"Confirm an administrator alone, when no administrator can use an account any more."`
	List        usersListCommand        `cmd:"" help:"List users and their grants."`
}

// toolStore selects the event store that a tool works on.
type toolStore struct {
	Data       string `help:"Data directory, as for serve, whether the server runs or not." default:"casebook-data" type:"path"`
	Eventstore string `help:"Address of a real event store, esdb://..., instead of the embedded one in --data." placeholder:"URL"`
}

// grantFlags describe one grant.
type grantFlags struct {
	Role    user.Role        `help:"Role: patient, crc, investigator, monitor, data_manager, supply_manager, unblinded_supply_manager, qualified_person, safety_officer, study_manager, statistician, auditor or admin."`
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
	passwordFlags
	User       domain.UserID `arg:"" help:"Id to sign in with."`
	Name       string        `help:"The person's name." required:""`
	NoPassword bool          `help:"Register an account without a password, for an identity provider's users."`
}

// Run registers the user. Without a terminal and without --password-stdin it generates a password and prints it once.
// The user has to change the password at the first sign-in. The first administrator of a record needs nobody else; every
// other account has to be confirmed by administrators before it can sign, unblind or administer.
func (c usersAddCommand) Run(ctx context.Context, s streams) (err error) {
	if c.Role.NeedsTwoPeople() {
		return fmt.Errorf("the role %s sees arms and needs two people; register the user without it, and then use "+
			"casebook users grant --as A --confirmed-by B", c.Role)
	}
	var password string
	var generated bool
	if !c.NoPassword {
		if password, generated, err = c.read(); err != nil {
			return err
		}
	}
	return c.withOperator(ctx, c.operator(), func(h *commands.Handler, do doCommand) error {
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
		return hintToConfirm(ctx, s, h, c.User, c.Role)
	})
}

// hintToConfirm tells the operator what is left to do for a new administrator whose account others have to confirm.
func hintToConfirm(ctx context.Context, s streams, h *commands.Handler, id domain.UserID, role user.Role) error {
	if role != user.Admin {
		return nil
	}
	account, err := commands.ReadNewest(ctx, h.Reader(), user.Decider, string(id))
	if err == nil && account.Unconfirmed {
		_, err = fmt.Fprintln(s.out, id, "can administer once other administrators have confirmed the account "+
			"(ConfirmAccount, or casebook users confirm)")
	}
	return err
}

// passwordFlags say where a new password comes from.
type passwordFlags struct {
	PasswordStdin bool `help:"Read the password from standard input."`
}

// read returns a password from standard input or the terminal. Where there is neither, it makes one.
func (f passwordFlags) read() (password string, generated bool, err error) {
	if !f.PasswordStdin && !term.IsTerminal(int(os.Stdin.Fd())) {
		return rand.Text(), true, nil
	}
	password, err = askSecret(bufio.NewReader(os.Stdin), "password (at least 12 characters)")
	return password, false, err
}

// askSecret reads a secret: from the terminal without showing it, otherwise as a line of the input.
func askSecret(input *bufio.Reader, what string) (string, error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		fmt.Fprintf(os.Stderr, "%s: ", what)
		typed, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(os.Stderr)
		return string(typed), err
	}
	line, err := input.ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.Join(fmt.Errorf("standard input holds no %s", what), err)
	}
	return line, nil
}

type usersGrantCommand struct {
	toolStore
	operatorFlags
	grantFlags
	KeyFile     string        `help:"Token key of the installation, for people with a second factor; the one in --data by default." type:"path" placeholder:"FILE"`
	ConfirmedBy domain.UserID `help:"Another administrator, for roles that see arms. The passwords of both --as and this one are asked for." placeholder:"USER"`
	User        domain.UserID `arg:"" help:"The user."`
}

// Run grants the role. A role that sees arms is granted by two administrators, who both enter their passwords; on standard
// input these are lines, first that of --as. A person with a second factor enters a code on the next line.
func (c usersGrantCommand) Run(ctx context.Context, s streams) error {
	grant := user.GrantRole{OfUser: domain.ForUser(c.User), Grant: c.grant()}
	if c.ConfirmedBy == "" {
		if c.Role.NeedsTwoPeople() {
			return fmt.Errorf("the role %s sees arms and needs two people: name two administrators with --as and --confirmed-by", c.Role)
		}
		return c.withOperator(ctx, c.operator(), func(h *commands.Handler, do doCommand) error {
			if err := do(grant); err != nil {
				return err
			}
			fmt.Fprintln(s.out, "granted", c.Role, "to", c.User)
			return hintToConfirm(ctx, s, h, c.User, c.Role)
		})
	}
	return c.withHandler(ctx, c.KeyFile, nil, func(h *commands.Handler) error {
		input := bufio.NewReader(os.Stdin)
		first, err := signInHere(ctx, h, input, domain.UserID(c.As))
		if err != nil {
			return err
		}
		second, err := signInHere(ctx, h, input, c.ConfirmedBy)
		if err != nil {
			return err
		}
		err = sendAs(ctx, h, first, grant, "")
		if r, refused := refuse.As(err); err != nil && !(refused && r.Code == "role_proposed") { // the other one may confirm it all the same
			return err
		}
		if c.Role.NeedsSecond(first.User) {
			if err := sendAs(ctx, h, second, user.ConfirmRole{OfUser: grant.OfUser, Grant: grant.Grant}, ""); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(s.out, "granted %s to %s, by %s and %s\n", c.Role, c.User, c.As, c.ConfirmedBy)
		return err
	})
}

// signInHere has a person prove an account on this machine.
func signInHere(ctx context.Context, h *commands.Handler, input *bufio.Reader, id domain.UserID) (access.Principal, error) {
	password, err := askSecret(input, "password of "+string(id))
	if err != nil {
		return access.Principal{}, err
	}
	entered := usercommands.Entered{User: id, Password: password, Address: "localhost"}
	who, err := usercommands.SignIn(ctx, h, entered)
	if r, ok := refuse.As(err); ok && r.Code == "code_required" {
		if entered.Code, err = askSecret(input, "code of "+string(id)); err != nil {
			return access.Principal{}, err
		}
		who, err = usercommands.SignIn(ctx, h, entered)
	}
	if err != nil {
		return access.Principal{}, fmt.Errorf("sign in %s: %w", id, err)
	}
	return who, who.MustHaveOwnPassword()
}

type usersConfirmCommand struct {
	toolStore
	KeyFile string        `help:"Token key of the installation, for people with a second factor; the one in --data by default." type:"path" placeholder:"FILE"`
	As      domain.UserID `help:"The administrator who confirms it, whose password is asked for." required:"" placeholder:"USER"`
	User    domain.UserID `arg:"" help:"The user."`
}

// Run confirms the account.
func (c usersConfirmCommand) Run(ctx context.Context, s streams) error {
	return c.withHandler(ctx, c.KeyFile, nil, func(h *commands.Handler) error {
		who, err := signInHere(ctx, h, bufio.NewReader(os.Stdin), c.As)
		if err != nil {
			return err
		}
		if err := sendAs(ctx, h, who, user.ConfirmAccount{OfUser: domain.ForUser(c.User)}, ""); err != nil {
			return err
		}
		account, err := commands.ReadNewest(ctx, h.Reader(), user.Decider, string(c.User))
		if err != nil {
			return err
		}
		if account.Unconfirmed {
			_, err = fmt.Fprintln(s.out, "confirmed", c.User+"; a second administrator has to confirm the account too")
		} else {
			_, err = fmt.Fprintln(s.out, "confirmed", c.User)
		}
		return err
	})
}

type usersRecoverCommand struct {
	toolStore
	operatorFlags
	User   domain.UserID `arg:"" help:"The administrator."`
	Reason string        `help:"Why nobody else can confirm the account." required:""`
}

// Run confirms the administrator.
func (c usersRecoverCommand) Run(ctx context.Context, s streams) error {
	return c.with(ctx, c.operator(), func(do doCommand) error {
		if err := do(user.RecoverAdministration{OfUser: domain.ForUser(c.User), Reasoned: domain.Because(c.Reason)}); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.out, "confirmed", c.User, "alone; the audit trail of accounts shows it, with your name and this machine's")
		return err
	})
}

type usersSetPasswordCommand struct {
	toolStore
	operatorFlags
	passwordFlags
	User domain.UserID `arg:"" help:"The user."`
}

// Run sets the password. Without a terminal and without --password-stdin it generates one and prints it once.
func (c usersSetPasswordCommand) Run(ctx context.Context, s streams) error {
	password, generated, err := c.read()
	if err != nil {
		return err
	}
	return c.with(ctx, c.operator(), func(do doCommand) error {
		if err := do(user.ChangePassword{OfUser: domain.ForUser(c.User), Password: password}); err != nil {
			return err
		}
		fmt.Fprintln(s.out, "set the password of",
			c.User+"; it has to be changed at the next sign-in, and administrators have to confirm the account")
		if generated {
			fmt.Fprintln(s.out, "password (shown once):", password)
		}
		return nil
	})
}

// lockFlags are what locking and unlocking need.
type lockFlags struct {
	toolStore
	operatorFlags
	User   domain.UserID `arg:"" help:"The user."`
	Reason string        `help:"Why." required:""`
}

type usersLockCommand struct{ lockFlags }

// Run locks the account.
func (c usersLockCommand) Run(ctx context.Context, s streams) error {
	return c.with(ctx, c.operator(), func(do doCommand) error {
		if err := do(user.LockUser{OfUser: domain.ForUser(c.User), Reasoned: domain.Because(c.Reason)}); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.out, "locked", c.User)
		return err
	})
}

type usersUnlockCommand struct{ lockFlags }

// Run unlocks the account.
func (c usersUnlockCommand) Run(ctx context.Context, s streams) error {
	return c.with(ctx, c.operator(), func(do doCommand) error {
		if err := do(user.UnlockUser{OfUser: domain.ForUser(c.User), Reasoned: domain.Because(c.Reason)}); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.out, "unlocked", c.User)
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
			if d.Resolution != nil {
				continue
			}
			fmt.Fprintf(s.err, "%s is damaged from its event %d on, and listed as it was before: %s\n", d.Stream, d.Revision, d.Reason)
		}
		for _, id := range order {
			u := users[id]
			if c.JSON {
				line, err := json.Marshal(map[string]any{
					"user": u.ID, "name": u.Name, "grants": u.Grants, "locked": u.Locked, "deactivated": u.Deactivated, "unconfirmed": u.Unconfirmed,
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

// readUsers returns all users by their ids, the ids in the order of registration, and the damaged accounts. Of these it reads
// the sound part.
func readUsers(ctx context.Context, log *eventlog.Log) (map[string]user.User, []string, []domain.Damage, error) {
	users, order, chains := map[string]user.User{}, []string{}, eventlog.NewChains(log)
	ofUsers := eventlog.Subscription{Categories: []string{user.Decider.Category}, KeepUnreadable: true}
	err := log.FollowToEnd(ctx, ofUsers, func(ctx context.Context, b eventlog.Batch) error {
		if err := chains.Check(ctx, b.Events); err != nil {
			return err
		}
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
		return nil
	})
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
	if u.Unconfirmed {
		words = append(words, "(account not confirmed)")
	}
	if u.Deactivated {
		words = append(words, "(deactivated)")
	}
	return strings.Join(words, " ")
}

// doCommand sends one command.
type doCommand func(command any) error

// with connects to the store and lets act send commands as the operator. Anybody with the store's credentials can do
// anything, so the commands need no other permission; the log shows which operator sent them.
func (t toolStore) with(ctx context.Context, as access.Principal, act func(doCommand) error) error {
	return t.withOperator(ctx, as, func(_ *commands.Handler, do doCommand) error { return act(do) })
}

// withOperator does the same for an act that also reads what the commands have made.
func (t toolStore) withOperator(ctx context.Context, as access.Principal, act func(*commands.Handler, doCommand) error) error {
	return t.withLog(ctx, writes, func(log *eventlog.Log) error {
		handler := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Build: buildID()})
		return act(handler, func(command any) error { return sendAs(ctx, handler, as, command, "") })
	})
}

// withHandler connects to the store and lets act use a handler, which checks second factors with the key of the file, or
// of the directory; without either, only recovery codes count. prepare, if it is not nil, prepares the log.
func (t toolStore) withHandler(ctx context.Context, keyFile string, prepare func(*eventlog.Log), act func(*commands.Handler) error) error {
	if keyFile == "" {
		keyFile = dataDir(t.Data).file(tokenKeyFile)
	}
	factors, err := loadFactors(keyFile)
	if err != nil && !errors.Is(err, errKeyMissing) {
		return err
	}
	return t.withLog(ctx, writes, func(log *eventlog.Log) error {
		if prepare != nil {
			prepare(log)
		}
		return act(commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Build: buildID(), Factors: factors}))
	})
}

// operator returns the principal of the tools of the command line where no person is known.
func operator() access.Principal { return access.Process("operator") }

// sendAs sends a command as a principal. The events name this machine.
func sendAs(ctx context.Context, handler *commands.Handler, who access.Principal, command any, key string) error {
	body, err := json.Marshal(command)
	if err != nil {
		return err
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "localhost"
	}
	_, err = handler.Do(ctx, commands.Request{
		Name: commandName(command), Body: body, Principal: who, Key: key, Address: machine, App: "casebook command line",
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
		log, err := toolLog(ctx, eventlog.Options{URL: o.eventStoreURL})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		return act(log)
	})
}
