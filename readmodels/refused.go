package readmodels

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
)

// ErrRefused says that the store refuses what was asked of it for good: another attempt is refused as well, until somebody
// has changed something at the store.
var ErrRefused = errors.New("the store of the read models refuses")

// The remedies by MongoDB's error codes.
var remedies = map[int]string{
	13: "the account of the address lacks a right; grant it readWrite and dbAdmin on the database of the views",
	18: "the user name or the password of the address is wrong",
	67: "the server cannot make this index",
	85: "the collection has an index of this name or key with other options; drop that index",
	86: "the collection has another index of this name; drop that index",
	// The embedded server and those that only speak MongoDB's protocol may lack a function.
	115: "the server does not have this command; use MongoDB or the embedded server",
	238: "the server does not have this function; use MongoDB or the embedded server",
}

// Refusal returns an ErrRefused, with what is to be done, if an error of the store is a refusal for good. Otherwise it
// returns nil.
func Refusal(err error) error {
	if errors.Is(err, ErrRefused) {
		return err
	}
	var answer mongo.ServerError
	if errors.As(err, &answer) {
		for code, remedy := range remedies {
			if answer.HasErrorCode(code) {
				return fmt.Errorf("%w: %s: %w", ErrRefused, remedy, err)
			}
		}
	}
	var unproven *auth.Error
	if errors.As(err, &unproven) {
		return fmt.Errorf("%w: %s: %w", ErrRefused, remedies[18], err)
	}
	return nil
}
