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

// Run prints a token. The token proves the user only, and no sign-in; the user's grants are checked at each request. It
// ends with the account's sessions.
func (c tokenCommand) Run(_ context.Context, s streams) error {
	if err := c.User.Validate(); err != nil {
		return err
	}
	file := c.KeyFile
	if file == "" {
		file = storeFlags{Data: c.Data}.keyFile()
	}
	tokens, _, err := loadTokens(file)
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

// loadTokens returns what signs tokens, and what checks second factors, with the key of the file.
func loadTokens(keyFile string) (*access.Tokens, *access.Factors, error) {
	key, err := access.LoadOrCreateKey(keyFile)
	if err != nil {
		return nil, nil, err
	}
	tokens, err := access.NewTokens(key)
	if err != nil {
		return nil, nil, err
	}
	factors, err := access.NewFactors(key)
	return tokens, factors, err
}
