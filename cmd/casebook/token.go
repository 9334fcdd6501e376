package main

import (
	"context"
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/user"
	"casebook/eventlog"
)

type tokenCommand struct {
	toolStore
	User     domain.UserID `help:"The user for whom the token is." required:""`
	ValidFor time.Duration `help:"How long the token is valid." default:"1h"`
	KeyFile  string        `help:"File of the token key; the one in --data by default." type:"path" placeholder:"FILE"`
}

// Run prints a token. The token proves the user only, and no sign-in; the user's grants are checked at each request. It
// ends with the account's sessions.
func (c tokenCommand) Run(ctx context.Context, s streams) error {
	if err := c.User.Validate(); err != nil {
		return err
	}
	if c.ValidFor <= 0 {
		return fmt.Errorf("--valid-for is %s; a token must be valid for some time, such as 1h", c.ValidFor)
	}
	file := c.KeyFile
	if file == "" {
		file = dataDir(c.Data).file(tokenKeyFile)
	}
	tokens, err := loadTokens(file, false)
	if err != nil {
		return err
	}
	return c.reading(ctx, func(log *eventlog.Log) error {
		if err := mustBeActive(ctx, log, c.User); err != nil {
			return err
		}
		token, err := tokens.Sign(c.User, time.Now(), c.ValidFor)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, token)
		return err
	})
}

// mustBeActive fails if there is no such user, or if the account was closed.
func mustBeActive(ctx context.Context, log *eventlog.Log, id domain.UserID) error {
	state := user.Decider.Initial
	for at, err := range log.ReadStream(ctx, user.Decider.Stream(string(id)), 0) {
		if err != nil {
			return err
		}
		if e, ok := at.Event.(user.Event); ok {
			state = user.Decider.Evolve(state, e)
		}
	}
	switch {
	case state.ID == "":
		return fmt.Errorf("there is no user %s; casebook users list shows those that exist", id)
	case state.Deactivated:
		return fmt.Errorf("the account of %s is closed, so a token would be refused", id)
	}
	return nil
}
