package loadtest

import (
	"context"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// rival is another system that accepts diaries at POST /diary, with the same kind of token and payload.
type rival struct {
	base, bearer string
}

func newRival(o Options) (*rival, error) {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: "bench", ExpiresAt: jwt.NewNumericDate(time.Now().Add(24 * time.Hour)),
	}).SignedString([]byte(o.RivalKey))
	return &rival{base: o.Rival, bearer: "Bearer " + token}, err
}

func (r *rival) connect(i, _ int) (connection, error) {
	return &rivalConnection{rival: r, client: newClient(r.base), subject: "S-" + strconv.Itoa(i)}, nil
}

type rivalConnection struct {
	*rival
	client  *client
	subject string
	turn    int
	body    []byte
}

func (l *rivalConnection) send(context.Context) error {
	l.turn++
	worst := int64(l.turn % 8)
	b := l.body[:0]
	b = append(b, `{"id":"`...)
	b = append(b, uuid.NewString()...)
	b = append(b, `","subject":"`...)
	b = append(b, l.subject...)
	b = append(b, `","capturedAt":"2026-03-01T20:30:00Z","answers":{"worst":`...)
	b = strconv.AppendInt(b, worst, 10)
	b = append(b, `,"least":0,"average":`...)
	b = strconv.AppendInt(b, worst/2, 10)
	b = append(b, `,"now":`...)
	b = strconv.AppendInt(b, worst/2, 10)
	b = append(b, `,"rescue":false}}`...)
	l.body = b
	_, err := l.client.post("/diary", l.bearer, b)
	return err
}

func (l *rivalConnection) close() { l.client.close() }
