package commands

import (
	"context"
	"errors"
	"time"

	"casebook/domain/refuse"
	"casebook/domain/security"
	"casebook/eventlog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// keyRecordPause is how long RecordBlindingKey waits before it asks an event store again that does not answer.
const keyRecordPause = 500 * time.Millisecond

// RecordedBlindingKey returns the check of the blinding key that the log's values are sealed with, empty where none is recorded.
func RecordedBlindingKey(ctx context.Context, log *eventlog.Log) (check string, err error) {
	for r, err := range log.ReadSound(ctx, security.KeyDecider.Stream(security.BlindingKey)) {
		if undecodable := (*eventlog.UndecodableError)(nil); errors.As(err, &undecodable) {
			continue
		}
		if err != nil {
			return "", err
		}
		if e, is := r.Event.(security.BlindingKeyRecorded); is {
			check = e.Check
		}
	}
	return check, nil
}

// ErrKeyReplaced means that the log records another blinding key than the one that this program seals values with: it was replaced
// while the program ran. The program has to end, because what it seals would be lost.
var ErrKeyReplaced = errors.New("the blinding key of the log was replaced while this program ran; " +
	"stop all programs of the installation, and start them with the new key")

// keyMustBeRecorded fails with ErrKeyReplaced if the log records another blinding key than this program's. An older log that was put
// in the place of the right one may record none; then this program's key is recorded again.
func (s *stateCache) keyMustBeRecorded(ctx context.Context) error {
	own, err := s.log.BlindingKeyCheck()
	if err != nil {
		return nil //nolint:nilerr // the program has no key, and seals nothing
	}
	recorded, err := RecordedBlindingKey(ctx, s.log)
	switch {
	case err != nil:
		return err
	case recorded == own:
		s.keyRecorded.Store(true)
	case !s.keyRecorded.Load(): // the program is just about to record its own
	case recorded == "":
		return s.recordKey(ctx)
	default:
		return ErrKeyReplaced
	}
	return nil
}

// RecordBlindingKey records which blinding key the log's values are sealed with, unless it is recorded already. replaces is the
// check of a key that was lost before it sealed any value, and reason says what happened; both are empty for none. It refuses
// blinding_key_differs if another key is recorded. It waits for the event store until ctx ends.
func (h *Handler) RecordBlindingKey(ctx context.Context, replaces, reason string) error {
	check, err := h.log.BlindingKeyCheck()
	if err != nil {
		return err
	}
	for {
		err := h.recordSecurity(ctx, "RecordBlindingKey", security.RecordBlindingKey{Check: check, Replaces: replaces, Reason: reason})
		refusal, refused := refuse.As(err)
		switch {
		case err == nil, refused && refusal.Code == "blinding_key_differs":
			return err
		case refused, status.Code(err) == codes.ResourceExhausted:
			// A store that is full, or a record that is damaged, must not keep the program from what it can still do.
			h.logger.Warn("the blinding key could not be recorded; a process with another key would not be noticed", "error", err)
			return nil
		case !eventlog.IsAway(err):
			return err
		}
		h.logger.Warn("waits for the event store to record the blinding key", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(keyRecordPause):
		}
	}
}
