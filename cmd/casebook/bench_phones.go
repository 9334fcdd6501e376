package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"casebook/domain"
	"casebook/loadtest"
	"casebook/simulation"
)

type benchEveningCommand struct {
	Phones   int           `help:"How many patients have a phone." default:"2000"`
	Within   time.Duration `help:"The time in which all phones begin." default:"3m"`
	Schedule int           `help:"How many schedules are asked for alone, one after the other." default:"2000"`
	Seed     uint64        `help:"Seed of who begins when." default:"1"`
	JSON     bool          `help:"Print JSON."`

	On benchServerFlags `embed:""`
}

// Run measures the evening of a fleet of phones.
func (c benchEveningCommand) Run(ctx context.Context, s streams) error {
	return c.On.with(ctx, s, func(server benchedServer) error {
		fleet, err := c.fleet(ctx, s, server)
		if err != nil {
			return err
		}
		var phones []loadtest.EveningPhone
		for _, p := range fleet.Phones() {
			phones = append(phones, loadtest.EveningPhone{RefreshToken: p.Refresh, Batch: p.Batch})
		}
		report, err := loadtest.Evening(ctx, loadtest.EveningOptions{BaseURL: server.base, Phones: phones, Within: c.Within,
			Schedules: c.Schedule, Seed: c.Seed, ServerPID: server.process.Process.Pid, Say: s.say})
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(s.out).Encode(report)
		}
		return report.WriteTable(s.out)
	})
}

func (c benchEveningCommand) fleet(ctx context.Context, s streams, server benchedServer) (*simulation.Fleet, error) {
	o := fleetFor(server, s, c.Phones, c.Seed)
	o.Days, o.Steady = loadtest.EveningEntries, true
	return builtFleet(ctx, s, o)
}

type benchFleetCommand struct {
	Phones int    `help:"How many patients have phones." default:"2000"`
	Days   int    `help:"How many evenings each phone has captured." default:"9"`
	Seed   uint64 `help:"Seed of what the patients and their phones do." default:"1"`
	JSON   bool   `help:"Print JSON."`

	On benchServerFlags `embed:""`
}

// Run has a fleet of phones send what they have captured, and checks what the record has.
func (c benchFleetCommand) Run(ctx context.Context, s streams) error {
	return c.On.with(ctx, s, func(server benchedServer) error {
		o := fleetFor(server, s, c.Phones, c.Seed)
		o.Days = c.Days
		fleet, err := builtFleet(ctx, s, o)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := fleet.Send(ctx); err != nil {
			return err
		}
		took := time.Since(began)
		report, err := fleet.Check(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			err = json.NewEncoder(s.out).Encode(report)
		} else {
			err = report.Write(s.out, took)
		}
		if err == nil && report.Wrong > 0 {
			err = errors.New("the record is not what the phones have captured")
		}
		return err
	})
}

func fleetFor(server benchedServer, s streams, patients int, seed uint64) simulation.FleetOptions {
	return simulation.FleetOptions{BaseURL: server.base, SignAs: signedInAs(server.tokens, 24*time.Hour), Admin: demoAdmin,
		Study: domain.StudyID(fmt.Sprintf("FLEET%d", time.Now().UnixMilli()%1_000_000_000)), Patients: patients,
		Today: domain.DateOf(time.Now().UTC()), Seed: seed, Workers: 16, Say: s.say}
}

func builtFleet(ctx context.Context, s streams, o simulation.FleetOptions) (*simulation.Fleet, error) {
	fleet, err := simulation.NewFleet(o)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := fleet.Build(ctx); err != nil {
		return nil, fmt.Errorf("set up the study: %w", err)
	}
	s.say("%d phones are activated and have captured %d diaries, after %s", len(fleet.Phones()), fleet.Captured(),
		time.Since(began).Round(time.Second))
	return fleet, nil
}
