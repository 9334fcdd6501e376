package eventlog

import "casebook/domain"

// Chains checks the hash chains of streams that are read from their beginning, without a verifier. It keeps the end of each
// stream, so it is for tools, and for few streams.
type Chains struct {
	registry *Registry
	tails    map[string]Tail
	damages  map[string]domain.Damage
	order    []string
}

// NewChains returns a check that has seen no event yet.
func NewChains(registry *Registry) *Chains {
	return &Chains{registry: registry, tails: map[string]Tail{}, damages: map[string]domain.Damage{}}
}

// Check puts a Damaged in place of those of the next events that are no part of the record. Each stream's events come in
// their order and without gaps.
func (c *Chains) Check(events []Recorded) {
	for i := range events {
		r := &events[i]
		damage, damaged := c.damages[r.Stream]
		if !damaged {
			tail, known := c.tails[r.Stream]
			if !known {
				tail = EmptyTail
			}
			next, found := c.registry.CheckNext(tail, *r)
			if c.tails[r.Stream] = next; found != nil {
				damage, damaged = *found, true
				c.damages[r.Stream] = damage
				c.order = append(c.order, r.Stream)
			}
		}
		if damaged {
			r.Event = Damaged{damage}
		}
	}
}

// Damages returns the damaged streams, in the order in which they were found.
func (c *Chains) Damages() []domain.Damage {
	all := make([]domain.Damage, len(c.order))
	for i, stream := range c.order {
		all[i] = c.damages[stream]
	}
	return all
}
