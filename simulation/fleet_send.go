package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"casebook/domain/diary"
	"casebook/domain/user"

	"golang.org/x/sync/errgroup"
)

// recordOfDevice is what a schedule says that the record has of a device.
type recordOfDevice struct {
	Device      user.DeviceID `json:"device"`
	HeldThrough int64         `json:"heldThrough"`
	Highest     int64         `json:"highest"`
	Gaps        []diary.Span  `json:"gaps"`
}

// has says whether the record has the entry of this number.
func (r recordOfDevice) has(number int64) bool {
	return number <= r.Highest && !slices.ContainsFunc(r.Gaps, func(s diary.Span) bool { return s.First <= number && number <= s.Last })
}

// shownSchedule holds the fields that a phone needs from its schedule.
type shownSchedule struct {
	Position uint64           `json:"position"`
	Devices  []recordOfDevice `json:"devices"`
}

// Send has all phones send what they have captured: in batches of any size and order, some of them again. Each phone goes on until the
// record has everything, as its schedule says: also what was acknowledged, if the record has lost it.
func (f *Fleet) Send(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.Workers)
	for _, p := range f.phones {
		group.Go(func() error {
			if err := f.sendAll(ctx, p); err != nil {
				return fmt.Errorf("phone %s of %s: %w", p.Device, p.Patient, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (f *Fleet) sendAll(ctx context.Context, p *Phone) error {
	for {
		missing, _, err := f.missing(ctx, p)
		if err != nil || len(missing) == 0 {
			return err
		}
		p.random.Shuffle(len(missing), func(i, j int) { missing[i], missing[j] = missing[j], missing[i] })
		for len(missing) > 0 {
			size := 1 + p.random.IntN(3)
			if p.kind == offline {
				size = len(missing)
			}
			batch := missing[:min(size, len(missing))]
			missing = missing[len(batch):]
			for again := true; again; again = p.random.IntN(3) == 0 { // the phone has not heard the answer
				if err := f.sendBatch(ctx, p, batch); err != nil {
					return err
				}
			}
			if p.random.IntN(4) == 0 { // with what was sent before
				if err := f.sendBatch(ctx, p, p.kept[:min(len(p.kept), 3)]); err != nil {
					return err
				}
			}
		}
	}
}

// missing returns the entries that the phone keeps and the record lacks, other than those that were refused, and the position at which
// the record has the others.
func (f *Fleet) missing(ctx context.Context, p *Phone) (missing []*captured, position uint64, err error) {
	var shown shownSchedule
	if err := f.asPhone(ctx, p, http.MethodGet, "/api/v1/me/schedule", nil, nil, &shown); err != nil {
		return nil, 0, err
	}
	for _, c := range p.kept {
		at := slices.IndexFunc(shown.Devices, func(r recordOfDevice) bool { return r.Device == c.command.Device })
		if c.refused == "" && (at < 0 || !shown.Devices[at].has(c.command.Sequence)) {
			missing = append(missing, c)
		}
	}
	return missing, shown.Position, nil
}

// batchItem is an entry in the body of a batch.
type batchItem struct {
	Command string            `json:"command"`
	Key     string            `json:"idempotencyKey"`
	Body    diary.SubmitDiary `json:"body"`
}

type batchBody struct {
	Commands []batchItem `json:"commands"`
}

func batchOf(entries []*captured) (b batchBody) {
	for _, c := range entries {
		b.Commands = append(b.Commands, batchItem{"SubmitDiary", c.key, c.command})
	}
	return b
}

// Batch returns the body of a batch of the first entries that the phone has captured, at most so many, and how many it has.
func (p *Phone) Batch(most int) (body []byte, entries int, err error) {
	entries = min(most, len(p.kept))
	body, err = json.Marshal(batchOf(p.kept[:entries]))
	return body, entries, err
}

func (f *Fleet) sendBatch(ctx context.Context, p *Phone, batch []*captured) error {
	body := batchOf(batch)
	var answered struct {
		Items []struct {
			Status  int      `json:"status"`
			Problem *refusal `json:"problem"`
		} `json:"items"`
	}
	for tries := 0; ; tries++ {
		if err := f.asPhone(ctx, p, http.MethodPost, "/api/v1/commands:batch", nil, body, &answered); err != nil {
			return err
		}
		if len(answered.Items) != len(batch) {
			return fmt.Errorf("%d entries were answered with %d results", len(batch), len(answered.Items))
		}
		shed := false
		for i, a := range answered.Items {
			switch {
			case a.Status == http.StatusOK:
				batch[i].acknowledged = true
			case slices.Contains(sentAgain, a.Status):
				shed = true
			case a.Problem != nil:
				batch[i].refused = a.Problem.Code
			}
		}
		f.Answered(f.sent.Add(int64(len(batch))))
		if !shed {
			return nil
		}
	}
}

// asPhone sends a request with the phone's token, and gets another token when it is no longer good.
func (f *Fleet) asPhone(ctx context.Context, p *Phone, method, path string, headers map[string]string, body, into any) error {
	err := f.exchange(ctx, method, path, p.token, headers, body, into)
	if r, refused := errors.AsType[*refusal](err); !refused || r.Status != http.StatusUnauthorized {
		return err
	}
	var s session
	ask := map[string]string{"refreshToken": p.Refresh}
	if err := f.exchange(ctx, http.MethodPost, "/api/v1/sign-in/refresh", "", nil, ask, &s); err != nil {
		return fmt.Errorf("refresh the session: %w", err)
	}
	p.token = s.Token
	return f.exchange(ctx, method, path, p.token, headers, body, into)
}
