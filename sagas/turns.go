package sagas

import (
	"context"
	"errors"
	"time"

	"casebook/domain/process"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// TurnStore keeps when instances of processes by the clock take their next turns, so that the next program need not have each of them
// take one, which reads its streams. What is lost, or is not believed, is found out again.
type TurnStore interface {
	LoadTurns(ctx context.Context, process string) (process.Turns, error)
	SaveTurns(ctx context.Context, t process.Turns) error
}

const (
	// turnsEvery is how often turns are saved. A program that is killed forgets at most so much.
	turnsEvery = 5 * time.Minute
	// maxSavedTurns bounds the instances whose turns are saved. With more, every start finds them out.
	maxSavedTurns = 100_000
	// turnsTimeout bounds how long the end of a program waits for turns to be saved.
	turnsTimeout = 2 * time.Second
)

// savedTurns saves and loads the turns of a clock; nil does nothing.
type savedTurns struct {
	store TurnStore
	// program is the version of this program. Turns of another one are not believed.
	program string
	log     *eventlog.Log

	// resumed says that what was saved is known, and saved when turns were saved last.
	resumed bool
	saved   time.Time
	// ended are the instances that take no further turn, with the events that began them.
	ended map[string]uuid.UUID
}

// resume has instances go on with the turns that were saved. An instance that has begun again since takes its turn as it is.
func (c *Clock) resume(ctx context.Context) {
	s := c.saved
	if s == nil || s.resumed {
		return
	}
	s.resumed, s.saved, s.ended = true, time.Now(), map[string]uuid.UUID{}
	turns, err := s.store.LoadTurns(ctx, c.process.Name)
	if err == nil && turns.Program == s.program && !turns.Through.IsZero() {
		err = s.log.Recognise(ctx, turns.Through.Position, turns.Through, 0)
	} else if err == nil {
		return
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, eventlog.ErrOtherPast) {
			c.runner.Logger.Warn("a process by the clock finds out anew when it has to act", "process", c.process.Name, "error", err)
		}
		return
	}
	for _, t := range turns.Next {
		f, follows := c.turns.get(t.Of)
		if !follows || f.began.id.String() != t.Began {
			continue
		}
		if t.At.IsZero() {
			s.ended[t.Of] = f.began.id
			c.turns.remove(t.Of)
		} else {
			c.turns.put(t.Of, f, t.At)
		}
	}
}

// end notes that an instance takes no further turn.
func (s *savedTurns) end(of string, began uuid.UUID) {
	if s != nil && s.ended != nil && began != uuid.Nil && len(s.ended) <= maxSavedTurns {
		s.ended[of] = began
	}
}

// saveTurns saves the turns if they have not been saved for a while, or now.
func (c *Clock) saveTurns(ctx context.Context, now bool) {
	s := c.saved
	if s == nil || !s.resumed || !c.live || !now && time.Since(s.saved) < turnsEvery {
		return
	}
	s.saved = time.Now()
	if len(c.turns.of)+len(s.ended) > maxSavedTurns {
		return
	}
	err := func() error {
		// The turns were found from what the log holds by now at most.
		end, err := s.log.End(ctx)
		if err != nil {
			return err
		}
		through, err := s.log.MarkAt(ctx, end)
		if err != nil {
			return err
		}
		turns := process.Turns{Process: c.process.Name, Program: s.program, Through: through}
		for of, turn := range c.turns.of {
			turns.Next = append(turns.Next, process.Turn{Of: of, Began: turn.value.began.id.String(), At: turn.at})
		}
		for of, began := range s.ended {
			if _, again := c.turns.get(of); !again {
				turns.Next = append(turns.Next, process.Turn{Of: of, Began: began.String()})
			}
		}
		return s.store.SaveTurns(ctx, turns)
	}()
	if err != nil {
		c.runner.Logger.Warn("when a process by the clock acts next could not be saved; the next program finds it out", "process",
			c.process.Name, "error", err)
	}
}
