package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"casebook/audit"
	"casebook/eventlog"
)

type auditCommand struct {
	Verify  auditVerifyCommand  `cmd:"" help:"Check that nothing in the record was altered or put there: hash chains, revisions, event ids, schemas, the draws, and the choices of kits."`
	Resolve auditResolveCommand `cmd:"" help:"Decide, as two administrators, that the damaged events of a stream are disregarded, so that it can go on. The log is not changed."`
}

type auditVerifyCommand struct {
	Eventstore      string `help:"Address of the event store, esdb://... By default that of the data directory, whether a server runs on it or not." placeholder:"URL"`
	Data            string `help:"Data directory; none of its files is changed." default:"casebook-data" type:"path" placeholder:"DIR"`
	BlindingKeyFile string `help:"Key that seals arms and kit contents; that of the data directory by default. Without it draws and choices of kits are not repeated." type:"path" placeholder:"FILE"`
	JSON            bool   `help:"Print JSON, one line per finding, and the summary as the last line."`
}

// errFindings says that the record was found to be touched.
var errFindings = errors.New("the record is not as it was recorded; keep this report and a copy of the store for the investigation")

// Run verifies the record, and prints a line per finding and a summary.
func (c auditVerifyCommand) Run(ctx context.Context, s streams) error {
	stores := toolStores{data: dataDir(c.Data), eventStore: c.Eventstore}
	return stores.use(ctx, reads, unused, func(o opened) (err error) {
		keys, err := blindingKeysIn(c.BlindingKeyFile, dataDir(c.Data), c.Eventstore)
		if err != nil {
			return err
		}
		log, err := toolLog(ctx, eventlog.Options{URL: o.eventStoreURL, BlindingKeys: keys})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		return c.verify(ctx, s, log)
	})
}

// blindingKeysIn returns the keys of blinded values for a tool: those of a file, or of the data directory unless the tool works
// on another event store; nil where there are none.
func blindingKeysIn(file string, dir dataDir, eventStore string) (*eventlog.BlindingKeys, error) {
	if file == "" {
		if file = dir.file(blindingKeyFile); eventStore != "" {
			return nil, nil
		}
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
	}
	key, err := loadKey(file, "--blinding-key-file", false)
	if err != nil {
		return nil, err
	}
	return eventlog.NewBlindingKeys(key)
}

func (c auditVerifyCommand) verify(ctx context.Context, s streams, log *eventlog.Log) error {
	began, lines := time.Now(), json.NewEncoder(s.out)
	summary, err := audit.Verify(ctx, log, func(f audit.Finding) {
		switch {
		case c.JSON:
			_ = lines.Encode(f)
		case f.Check == audit.Draws || f.Check == audit.Kits:
			fmt.Fprintf(s.out, "%-9s %s: %s\n", f.Check, f.Stream, f.Problem)
		default:
			fmt.Fprintf(s.out, "%-9s %s@%d, position %d, %s: %s\n", f.Check, f.Stream, f.Revision, f.Position, f.Type, f.Problem)
		}
	})
	if err != nil {
		return err
	}
	if c.JSON {
		if err := lines.Encode(summary); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(s.out, "events    %d in %d streams, up to position %d\n", summary.Events, summary.Streams, summary.Through.Commit)
		fmt.Fprintf(s.out, "draws     repeated for %d studies, and choices of kits for %d locations; not repeated for %d, without the key\n",
			summary.Studies, summary.Locations, summary.Sealed)
		fmt.Fprintf(s.out, "findings  %d, in %d damaged streams; %d notices, with %d resolved damages\n", summary.Findings, summary.Damaged,
			summary.Notices, summary.Resolved)
		fmt.Fprintf(s.out, "time      %s\n", time.Since(began).Round(time.Millisecond))
	}
	if summary.Findings > 0 {
		return fmt.Errorf("%d findings: %w", summary.Findings, errFindings)
	}
	return nil
}
