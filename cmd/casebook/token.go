package main

import (
	"context"
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/user"
)

type tokenCommand struct {
	toolStore
	operatorFlags
	User     domain.UserID `help:"The user for whom the token is." required:""`
	ValidFor time.Duration `help:"How long the token is valid." default:"1h"`
	KeyFile  string        `help:"File of the token key; the one in --data by default." type:"path" placeholder:"FILE"`
}

// Run prints a token. The token proves the user only, and no sign-in; the user's grants are checked at each request. It
// ends with the account's sessions. Who gets it, for whom and for how long is recorded before it is printed.
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
	return c.with(ctx, c.operator(), func(do doCommand) error {
		now := time.Now()
		if err := do(user.IssueToken{OfUser: domain.ForUser(c.User), Until: now.Add(c.ValidFor).UTC()}); err != nil {
			return err
		}
		token, err := tokens.Sign(c.User, now, c.ValidFor)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, token)
		return err
	})
}
