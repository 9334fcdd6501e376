package eventlog

import (
	"context"

	"casebook/domain"
)

// Chains checks the hash chains of streams that are read from their beginning, without a verifier. It keeps the end of each
// stream, so it is for tools, and for few streams.
type Chains struct {
	log     *Log
	streams map[string]*StreamCheck
	damages []domain.Damage
}

// NewChains returns a check that has seen no event yet.
func NewChains(log *Log) *Chains { return &Chains{log: log, streams: map[string]*StreamCheck{}} }

// Check puts a Damaged in place of those of the next events that are no part of the record. Each stream's events come in
// their order and without gaps.
func (c *Chains) Check(ctx context.Context, events []Recorded) error {
	for i := range events {
		r := &events[i]
		check := c.streams[r.Stream]
		if check == nil {
			check = c.log.CheckStream(r.Stream, EmptyTail)
			c.streams[r.Stream] = check
		}
		before := check.damage
		damage, err := check.Next(ctx, *r)
		if err != nil {
			return err
		}
		if damage == nil {
			continue
		}
		if damage != before {
			c.damages = append(c.damages, *damage)
		}
		r.Event = Damaged{*damage}
	}
	return nil
}

// Damages returns the damages of the streams, in the order in which they were found.
func (c *Chains) Damages() []domain.Damage { return c.damages }
