package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"casebook/keystore"
)

// identityKeys opens the store of the keys of patients' personal data; nil if there is none. A master key is made only together with a
// new store.
func (f storeFlags) identityKeys(ctx context.Context) (*keystore.Store, error) {
	where, masterFile := f.IdentityKeys, f.IdentityKeyFile
	if where == "" {
		if f.Eventstore != "" {
			return nil, nil
		}
		where = f.dir().file(identityKeysFile)
	}
	if masterFile == "" {
		masterFile = f.dir().file(identityKeyFile)
	}
	shared := strings.HasPrefix(where, "mongodb://") || strings.HasPrefix(where, "mongodb+srv://")
	_, missing := os.Stat(where)
	master, err := loadKey(masterFile, "--identity-key-file", !shared && missing != nil)
	if err != nil {
		return nil, err
	}
	open := keystore.OpenFile
	if shared {
		open = keystore.OpenMongo
	}
	keys, err := open(ctx, where, master)
	if err != nil {
		return nil, fmt.Errorf("the keys of personal data, with the master key %s: %w", masterFile, err)
	}
	return keys, nil
}
