package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"casebook/eventlog"
	"casebook/keystore"
)

// identityKeys opens the store of the keys of patients' personal data; nil if there is none. A master key is made only together with a
// new store, of which a log that is not new is warned: one that was restored may need the store that belongs to it.
func (f storeFlags) identityKeys(ctx context.Context, log *eventlog.Log, logger *slog.Logger) (*keystore.Store, error) {
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
	if !shared && missing != nil {
		newest, err := log.NewestEvent(ctx)
		if err != nil {
			return nil, err
		}
		if newest.Commit > 0 {
			logger.Error("the store of the keys of personal data is not there, and a new one is made; if the log was restored or moved, stop this "+
				"process, and put the store and its master key back: what is sealed with keys of the old store cannot be read without them",
				"store", where, "master", masterFile)
		}
	}
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
