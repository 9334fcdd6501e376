package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

type storesCommand struct {
	Data  string `help:"Data directory." default:"casebook-data" type:"path"`
	Owner bool   `help:"Print the addresses with the password that may change everything, for Casebook's own processes."`
	Only  string `help:"Print the address of one store alone: eventstore or mongo." enum:",eventstore,mongo" default:""`
	JSON  bool   `help:"Print JSON."`
}

// Run prints the addresses of the embedded stores that run on the directory, with the password of a user who may only read.
func (c storesCommand) Run(s streams) error {
	dir := dataDir(c.Data)
	if err := dir.isNoStore(); err != nil {
		return err
	}
	if _, err := os.Stat(c.Data); err != nil {
		return fmt.Errorf("%w in %s: %w", errNoData, c.Data, err)
	}
	eventStore, err := dir.runningEventStore(!c.Owner)
	if errors.Is(err, errNotRunning) && c.Only != "eventstore" {
		err = nil
	}
	if err != nil {
		return err
	}
	mongo, err := dir.runningMongo(!c.Owner)
	if errors.Is(err, errNotRunning) && c.Only != "mongo" {
		err = nil
	}
	switch {
	case err != nil:
		return err
	case eventStore == "" && mongo == "":
		return fmt.Errorf("%w: %s", errNotRunning, c.Data)
	case c.JSON:
		return json.NewEncoder(s.out).Encode(map[string]string{"eventstore": eventStore, "mongo": mongo})
	case c.Only == "eventstore":
		_, err = fmt.Fprintln(s.out, eventStore)
	case c.Only == "mongo":
		_, err = fmt.Fprintln(s.out, mongo)
	default:
		_, err = fmt.Fprintf(s.out, "event store  %s\nMongoDB      %s\n", orNothing(eventStore), orNothing(mongo))
	}
	return err
}
