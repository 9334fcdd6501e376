package main

import (
	"context"
	"fmt"
	"time"

	"casebook/access"
	"casebook/domain"
)

type tokenCommand struct {
	User     domain.UserID `help:"The user for whom the token is." required:""`
	ValidFor time.Duration `help:"How long the token is valid." default:"1h"`
	Data     string        `help:"Directory that holds the installation's token key." default:"casebook-data" type:"path"`
	KeyFile  string        `help:"File of the token key; the one in --data by default." type:"path" placeholder:"FILE"`
}

// Run prints a token. The token proves the user only; the user's grants are checked at each request.
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
