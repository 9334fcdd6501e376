package process

import (
	"time"

	"casebook/domain"
)

// Turns says when the instances of a process by the clock take their next turns, as a program knew it that has ended. Whoever knows
// them need not have every instance take a turn to find out. They follow from the record, and count for it alone.
type Turns struct {
	Process string
	// Program is the version of the program that took the turns before. Another one may find other times.
	Program string
	// Through is the last event of the log at that time. In a log that does not hold it, the turns may have been others.
	Through domain.Mark
	Next    []Turn
}

// Turn is the next turn of an instance.
type Turn struct {
	Of string
	// Began is the id of the event that began the instance last. One that has begun again since takes its turn anew.
	Began string
	// At is the zero time if the instance has ended.
	At time.Time
}
