package domain

// Mark names one event of the log for certain: by its place, and by its id. The id follows from the bytes of the event, which
// hold the hash of the event before it in its stream. Who has followed the log keeps the mark of the last event, to tell later
// whether the log still has the past that was followed, or another one, as after the restore of an older backup.
type Mark struct {
	Stream   string   `json:"stream" bson:"stream"`
	Revision uint64   `json:"revision" bson:"revision"`
	ID       string   `json:"id" bson:"id"`
	Position Position `json:"position" bson:"position"`
}

// IsZero says that the mark names no event.
func (m Mark) IsZero() bool { return m == Mark{} }
