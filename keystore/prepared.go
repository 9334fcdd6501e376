package keystore

import (
	"context"
	"crypto/cipher"
	"errors"
	"sync"
	"time"

	"casebook/domain/personal"
)

const (
	// preparedAtOnce is how many keys are stored in one write.
	preparedAtOnce = 32
	// storeTimeout bounds that write.
	storeTimeout = 10 * time.Second
	// failurePause is how long those who need a key are refused after the store has failed, before it is asked again.
	failurePause = 500 * time.Millisecond
)

var errClosed = errors.New("the store of personal keys is closed")

// prepared are keys that are durable before somebody needs one. A text is sealed while its stream waits for it, which must not depend on
// how fast the store is. The keys that nobody has used when the process ends stay in the store, and open nothing.
type prepared struct {
	start   sync.Once
	ctx     context.Context // done when the store is closed
	close   context.CancelFunc
	ended   sync.WaitGroup
	keys    chan preparedKey
	failing chan error // offers the failure of the store to those who wait
}

// preparedKey is a key that nobody has sealed with.
type preparedKey struct {
	id     personal.KeyID
	cipher cipher.AEAD
}

func newPrepared() *prepared {
	p := &prepared{keys: make(chan preparedKey, preparedAtOnce), failing: make(chan error)}
	p.ctx, p.close = context.WithCancel(context.Background())
	return p
}

// take returns a key. It waits only if more keys are needed than the store writes.
func (p *prepared) take(ctx context.Context, add func(context.Context, int) ([]preparedKey, error)) (preparedKey, error) {
	if p.ctx.Err() != nil {
		return preparedKey{}, errClosed
	}
	p.start.Do(func() { p.ended.Go(func() { p.run(add) }) })
	select {
	case key := <-p.keys:
		return key, nil
	default:
	}
	select {
	case key := <-p.keys:
		return key, nil
	case err := <-p.failing:
		return preparedKey{}, err
	case <-p.ctx.Done():
		return preparedKey{}, errClosed
	case <-ctx.Done():
		return preparedKey{}, ctx.Err()
	}
}

// run keeps keys prepared until the store is closed.
func (p *prepared) run(add func(context.Context, int) ([]preparedKey, error)) {
	for p.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(p.ctx, storeTimeout)
		keys, err := add(ctx, preparedAtOnce)
		cancel()
		if err != nil {
			p.refuse(err)
			continue
		}
		for _, key := range keys {
			select {
			case p.keys <- key:
			case <-p.ctx.Done():
				return
			}
		}
	}
}

// refuse answers a failure of the store to all who need a key, for a while.
func (p *prepared) refuse(err error) {
	pause := time.NewTimer(failurePause)
	defer pause.Stop()
	for {
		select {
		case p.failing <- err:
		case <-pause.C:
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// stop ends the preparation.
func (p *prepared) stop() {
	p.close()
	p.ended.Wait()
}
