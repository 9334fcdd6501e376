package notify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Channel sends messages to one receiver outside of this program. It is safe for concurrent use.
type Channel interface {
	// Name is stable, such as "broker", "webhook" or "email".
	Name() string
	// Send returns when the receiver has accepted the message. If the error wraps ErrRejected, sending the message again
	// fails again. After any other error the same message may be sent again later; the receiver may already have it. Every
	// call ends within a limited time, even if ctx does not.
	Send(ctx context.Context, m Message) error
	// Close ends running sends and the connection to the receiver. A later Send fails with channel_closed.
	Close() error
}

// ErrRejected marks a message that the receiver, or the channel itself, will never accept as it is.
var ErrRejected = errors.New("the message is rejected for good")

// Problem says why a configuration was refused or a message was not sent.
//
// The codes of configurations are broker_invalid, broker_unknown, broker_in_the_clear, nats_settings_invalid,
// webhook_url_invalid, webhook_in_the_clear, webhook_secret_invalid, webhook_settings_invalid, email_server_invalid,
// email_tls_unknown, email_in_the_clear, email_address_invalid and email_settings_invalid.
//
// The codes of messages are message_id_invalid, message_without_payload, message_too_large, message_payload_invalid,
// message_topic_invalid, message_without_text, message_recipients_invalid, broker_rejected, broker_failed,
// webhook_rejected, webhook_failed, email_rejected, email_failed, channel_resting and channel_closed.
//
// A Problem contains no secret: no password, and of a URL only the host.
type Problem struct {
	// Code is stable and never reworded, because programs depend on it.
	Code string
	// Sentence says what was refused and why.
	Sentence string
	// Remedy says what to do about it; it may be empty.
	Remedy string

	cause       error
	isPermanent bool
}

// Error returns code, sentence, cause and remedy in one line.
func (p *Problem) Error() string {
	text := p.Code + ": " + p.Sentence
	if p.cause != nil {
		text += ": " + oneLine(p.cause.Error())
	}
	if p.Remedy != "" {
		text += "; " + p.Remedy
	}
	return text
}

// Unwrap returns the cause of the problem, if there is one, and ErrRejected if sending again does not help.
func (p *Problem) Unwrap() []error {
	var all []error
	if p.isPermanent {
		all = append(all, ErrRejected)
	}
	if p.cause != nil {
		all = append(all, p.cause)
	}
	return all
}

func refused(code, format string, args ...any) *Problem {
	return &Problem{Code: code, Sentence: fmt.Sprintf(format, args...)}
}

func (p *Problem) do(remedy string) *Problem {
	p.Remedy = remedy
	return p
}

// because adds the cause. It removes the URL that net/url.Error contains, because it may hold a password or a token.
func (p *Problem) because(err error) *Problem {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	p.cause = err
	return p
}

// permanent marks the problem with ErrRejected.
func (p *Problem) permanent() *Problem {
	p.isPermanent = true
	return p
}

// isLoopback reports whether the host is this machine, so that nobody else can read unencrypted data.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}
