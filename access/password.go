package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"casebook/domain/refuse"

	"golang.org/x/crypto/argon2"
)

// Argon2id with the second recommended set of parameters of RFC 9106, section 4: 64 MiB, three passes.
const (
	argonMemoryKiB = 64 * 1024
	argonPasses    = 3
	argonLanes     = 4
	argonKeyBytes  = 32
	argonSaltBytes = 16
)

// Share is the share of the pool of digests that a request uses.
type Share uint8

const (
	// OfStrangers is for sign-ins to accounts that have not been signed in to from the network of the request.
	OfStrangers Share = iota
	// OfOwners is for all others. Strangers never use the whole pool, so that a flood of them does not delay owners.
	OfOwners
)

// argonSlots limits how many digests are computed at a time, because each takes 64 MiB and four threads. Strangers compute one
// at a time. argonQueues limit how many requests of a share compute a digest or wait for it.
var (
	argonSlots    = make(chan struct{}, 2)
	argonStranger = make(chan struct{}, 1)
	argonQueues   = [...]chan struct{}{OfStrangers: make(chan struct{}, 32), OfOwners: make(chan struct{}, 32)}
)

// DigestPassword returns the argon2id digest of a password in PHC string format, with a new random salt. It uses the share of
// owners, because only people who are proven set passwords.
func DigestPassword(ctx context.Context, password string) (string, error) {
	salt := make([]byte, argonSaltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make a salt: %w", err)
	}
	key, err := argon(ctx, OfOwners, password, salt, argonPasses, argonMemoryKiB, argonLanes)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonPasses, argonLanes,
		b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// PasswordMatches reports whether the digest is that of the password. An empty digest matches no password, and takes as
// long to check.
func PasswordMatches(ctx context.Context, share Share, digest, password string) (bool, error) {
	known := digest != ""
	if !known {
		digest = noDigest
	}
	var version, memory, passes int
	var lanes uint8
	parts := strings.Split(digest, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, fmt.Errorf("the stored digest is not of argon2id")
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, fmt.Errorf("the stored digest has an unknown version %q", parts[2])
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil {
		return false, fmt.Errorf("the stored digest has unreadable parameters: %w", err)
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) != argonKeyBytes {
		return false, fmt.Errorf("the stored digest is damaged")
	}
	got, err := argon(ctx, share, password, salt, passes, memory, lanes)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && known, nil
}

// noDigest is checked for accounts without a password, so that response times do not tell which accounts have none.
var noDigest = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonPasses, argonLanes,
	strings.Repeat("A", 22), strings.Repeat("A", 43))

// argon computes an argon2id key, when a slot is free. It refuses (code overloaded) when too many requests of the share wait.
func argon(ctx context.Context, share Share, password string, salt []byte, passes, memory int, lanes uint8) ([]byte, error) {
	queue := argonQueues[share]
	select {
	case queue <- struct{}{}:
	default:
		return nil, refuse.Overload("overloaded", "too many passwords are being checked").Do("send the same request again in a moment")
	}
	defer func() { <-queue }()
	if share == OfStrangers {
		select {
		case argonStranger <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		defer func() { <-argonStranger }()
	}
	select {
	case argonSlots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-argonSlots }()
	return argon2.IDKey([]byte(password), salt, uint32(passes), uint32(memory), lanes, argonKeyBytes), nil
}
