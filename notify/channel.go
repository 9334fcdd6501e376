package notify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Channel is one way to the outside. It may be used by many goroutines at once.
type Channel interface {
	// Name is stable, such as "broker", "webhook" or "email".
	Name() string
	// Send returns when the receiver has taken the message. An error that wraps ErrRejected will not get better by
	// sending again; after any other the same message may be sent again later, and the receiver may have it already.
	// Every call ends within a bounded time, whatever ctx says.
	Send(ctx context.Context, m Message) error
	// Close ends what is being sent, and lets go of the receiver. A Send after it fails with channel_closed.
	Close() error
}

// ErrRejected marks a message that the receiver, or the channel itself, will never take as it is.
var ErrRejected = errors.New("the message is rejected for good")

// Problem says why a configuration was refused or a message was not sent. Codes of configurations: broker_invalid,
// broker_unknown, broker_in_the_clear, nats_settings_invalid, webhook_url_invalid, webhook_in_the_clear,
// webhook_secret_invalid, webhook_settings_invalid, email_server_invalid, email_tls_unknown, email_in_the_clear,
// email_address_invalid, email_without_recipients, email_settings_invalid. Codes of messages: message_id_invalid,
// message_without_payload, message_too_large, message_payload_invalid, message_topic_invalid, message_without_text,
// message_recipients_invalid, broker_rejected, broker_failed, webhook_rejected, webhook_failed, email_rejected,
// email_failed, channel_resting, channel_closed. It never holds a secret: no password, and no URL beyond its host.
type Problem struct {
	// Code is stable and never reworded: programs depend on it.
	Code string
	// Sentence says what was refused and why.
	Sentence string
	// Remedy says what to do about it; it may be empty.
	Remedy string

	cause   error
	forEver bool
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

// Unwrap returns what caused the problem, and ErrRejected where sending again does not help.
func (p *Problem) Unwrap() []error {
	var all []error
	if p.forEver {
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

// because adds the cause, without the URL that package net/url puts into its errors: it may hold a password or a token.
func (p *Problem) because(err error) *Problem {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	p.cause = err
	return p
}

func (p *Problem) forGood() *Problem {
	p.forEver = true
	return p
}

// isLoopback says whether the host is this machine: nothing on the way can listen.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}
