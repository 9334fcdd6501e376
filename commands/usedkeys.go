package commands

import (
	"cmp"
	"context"
	"log/slog"
	"sync"

	"casebook/domain/refuse"
	"casebook/eventlog"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// rememberedCommands is how many command ids of all streams are remembered, to refuse a key that is used twice.
const rememberedCommands = 100_000

// usedKeys remembers which idempotency keys were used for which commands: by requests to this process, and by those of other
// processes as soon as the log delivers their events. It refuses a key that is used for a second command, on whatever stream. For
// one stream, the stream itself says it too. Two processes that take the same key for two streams within the moment that an event
// needs to arrive both record their command; that is reported.
type usedKeys struct {
	// hashes are the hashes of the latest commands, by the command's id.
	hashes *lru.Cache[uuid.UUID, commandHash]
	logger *slog.Logger
	twice  prometheus.Counter

	mu sync.Mutex
	// claimed holds the ids of the commands that are being run. A channel is closed when its command has ended.
	claimed map[uuid.UUID]chan struct{}
}

func newUsedKeys(logger *slog.Logger) *usedKeys {
	hashes, err := lru.New[uuid.UUID, commandHash](rememberedCommands)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &usedKeys{hashes: hashes, logger: logger, claimed: map[uuid.UUID]chan struct{}{},
		twice: prometheus.NewCounter(prometheus.CounterOpts{Name: "casebook_idempotency_keys_used_twice_total",
			Help: "Commands that were recorded although their Idempotency-Key was used for another one at the same moment."})}
}

// claim waits until no other request with this command id runs in this process, and returns what ends the claim.
func (k *usedKeys) claim(ctx context.Context, id uuid.UUID) (release func(), err error) {
	for {
		k.mu.Lock()
		other, taken := k.claimed[id]
		if !taken {
			own := make(chan struct{})
			k.claimed[id] = own
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.claimed, id)
				k.mu.Unlock()
				close(own)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// remember remembers an accepted command.
func (k *usedKeys) remember(id uuid.UUID, hash commandHash) { k.hashes.Add(id, hash) }

// forget forgets all commands: they were accepted in a past of the log that is lost.
func (k *usedKeys) forget() { k.hashes.Purge() }

// follow remembers the command that recorded an event.
func (k *usedKeys) follow(mark eventlog.CommandMark, r eventlog.Recorded) {
	hash := commandHash{algorithm: mark.HashAlgorithm, sum: mark.Hash}
	first, known, _ := k.hashes.PeekOrAdd(mark.ID, hash)
	if known && first.algorithm == hash.algorithm && first.sum != hash.sum {
		k.twice.Inc()
		k.logger.Error("an Idempotency-Key was used for two commands at two processes at the same moment, and both are recorded",
			"stream", r.Stream, "revision", r.Revision, "commandId", mark.ID)
	}
}

// keyMustBeOf refuses idempotency_key_reused if the command's id is known as that of another command.
func (h *Handler) keyMustBeOf(id uuid.UUID, key string, of fingerprint) error {
	first, known := h.keys.hashes.Get(id)
	if key == "" || !known {
		return nil
	}
	if same, err := of.isOf(h.log, first); err != nil || !same {
		return cmp.Or(err, keyReused(key))
	}
	return nil
}

func keyReused(key string) error {
	return refuse.WrongState("idempotency_key_reused", "the Idempotency-Key %q was used for another command", shortened(key)).
		Do("use a new key for every command, and the same key only to send the same command again")
}
