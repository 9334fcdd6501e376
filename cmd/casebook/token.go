package main

import (
	"context"
	"fmt"
	"time"

	"casebook/access"
	"casebook/domain"
)

type tokenCommand struct {
	User     domain.UserID `help:"The user that the token speaks for." required:""`
	ValidFor time.Duration `help:"How long the token holds." default:"1h"`
	Data     string        `help:"Directory that holds the installation's token key." default:"casebook-data" type:"path"`
	KeyFile  string        `help:"The token key itself; the one in --data when not given." type:"path" placeholder:"FILE"`
}

// Run prints a token. What it opens is decided by the user's grants at each request, not by the token.
func (c tokenCommand) Run(_ context.Context, s streams) error {
	if err := c.User.Validate(); err != nil {
		return err
	}
	file := c.KeyFile
	if file == "" {
		file = storeFlags{Data: c.Data}.keyFile()
	}
	tokens, err := loadTokens(file)
	if err != nil {
		return err
	}
	token, err := tokens.Sign(c.User, time.Now(), c.ValidFor)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, token)
	return err
}

func loadTokens(keyFile string) (*access.Tokens, error) {
	key, err := access.LoadOrCreateKey(keyFile)
	if err != nil {
		return nil, err
	}
	return access.NewTokens(key)
}
