package projections

import "time"

// Former returns the fold of the version before, where it is kept; nil where none is.
func (p Projection) Former() *Projection { return p.former }

// Alike says that the projection folds events of all types alike.
func (p Projection) Alike() bool { return p.alike }

// AskAgainAfter sets how long a view waits before it asks again for what the store has refused, or whether the right log is back.
func (e *Engine) AskAgainAfter(pause time.Duration) { e.refusedPause, e.lostPause = pause, pause }

// TogetherFrom sets how far behind the log's end, in bytes, views have to be to catch up together.
func (e *Engine) TogetherFrom(bytes uint64) { e.convoys.from = bytes }
