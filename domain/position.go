package domain

// Position is a place in the log of all streams. Both halves are kept, because on some servers they differ, and a
// subscription that goes on from the wrong pair skips an event.
type Position struct {
	Commit  uint64 `json:"commit" bson:"commit"`
	Prepare uint64 `json:"prepare" bson:"prepare"`
}

// Before says whether p lies before q.
func (p Position) Before(q Position) bool {
	return p.Commit < q.Commit || p.Commit == q.Commit && p.Prepare < q.Prepare
}
