package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	gomail "github.com/wneessen/go-mail"
)

const (
	// EmailName is the name of the channel that sends mails.
	EmailName    = "email"
	emailTimeout = 30 * time.Second
	// maxRecipients is the maximum number of recipients of one message. A larger group needs a mailing list.
	maxRecipients = 100
	// rememberedMails is how many accepted mails are remembered, so that they are not repeated.
	rememberedMails = 4096
)

// TLSPolicy says how the connection to a mail server is encrypted.
type TLSPolicy string

const (
	// TLSMandatory requires STARTTLS; without it nothing is sent. It is the default.
	TLSMandatory TLSPolicy = "mandatory"
	// TLSImplicit uses TLS from the first byte, usually at port 465 (RFC 8314).
	TLSImplicit TLSPolicy = "implicit"
	// TLSNone does not encrypt. It is allowed only for a mail server on this machine.
	TLSNone TLSPolicy = "none"
)

// EmailConfig configures the mail server.
type EmailConfig struct {
	// SMTP is the server's host and port, such as mail.example:587.
	SMTP string
	// User and Password are the credentials for the server. If both are empty, none are sent.
	User, Password string
	// TLS is the policy; mandatory when it is empty.
	TLS TLSPolicy
	// From is the sender's address, with or without a name: Casebook <casebook@trial.example>.
	From string
	// To are the recipients of messages without recipients.
	To []string
	// Timeout is how long one Send may take; 0 means 30 seconds.
	Timeout time.Duration
}

// email is the channel that sends mails. Each recipient gets a mail of their own, so that a mailbox that no longer
// exists does not stop the mails to the others, and recipients do not see each other.
type email struct {
	host    string
	port    int
	options []gomail.Option
	tls     *tls.Config
	policy  TLSPolicy
	from    *mail.Address
	domain  string
	to      []*mail.Address
	timeout time.Duration
	// accepted holds the mails that the server has accepted, so that a repeat goes only to the recipients that failed.
	accepted *lru.Cache[acceptedMail, struct{}]
}

type acceptedMail struct{ message, recipient string }

func openEmail(_ context.Context, c Config) (Channel, error) {
	if c.Email.SMTP == "" {
		return nil, nil
	}
	e, err := newEmail(c)
	if err != nil {
		return nil, err
	}
	return newGuard(e, c.Logger), nil
}

func newEmail(c Config) (*email, error) {
	host, port, err := parseMailServer(c.Email.SMTP)
	if err != nil {
		return nil, err
	}
	e := &email{
		host: host, port: port, policy: c.Email.TLS, timeout: c.Email.Timeout,
		tls: &tls.Config{ServerName: host, RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
	}
	switch e.policy {
	case "":
		e.policy = TLSMandatory
	case TLSMandatory, TLSImplicit:
	case TLSNone:
		if !isLoopback(host) {
			return nil, refused("email_in_the_clear", "mails to %s would be sent unencrypted", c.Email.SMTP).
				do("set the TLS policy to mandatory or implicit; none is for this machine only")
		}
	default:
		return nil, refused("email_tls_unknown", "there is no TLS policy %q", string(e.policy)).do("write mandatory, implicit or none")
	}
	if (c.Email.User == "") != (c.Email.Password == "") {
		return nil, refused("email_settings_invalid", "the mail server has a user without a password, or a password without a user").
			do("give both or none")
	}
	if e.timeout < 0 {
		return nil, refused("email_settings_invalid", "the mail server's time-out is below zero").do("leave it 0 for the default")
	}
	if e.timeout == 0 {
		e.timeout = emailTimeout
	}
	if e.from, err = mail.ParseAddress(c.Email.From); err != nil {
		return nil, refused("email_address_invalid", "the sender's address is invalid").because(err).do("write casebook@trial.example")
	}
	e.domain = e.from.Address[strings.LastIndex(e.from.Address, "@")+1:]
	if e.to, err = parseRecipients(c.Email.To); err != nil {
		return nil, refused("email_address_invalid", "the default recipients are invalid").because(err).do("write one address for each")
	}
	if e.accepted, err = lru.New[acceptedMail, struct{}](rememberedMails); err != nil {
		return nil, refused("email_settings_invalid", "sent mails cannot be remembered").because(err)
	}
	e.options = append(e.options, gomail.WithPort(e.port), gomail.WithTLSConfig(e.tls), gomail.WithoutNoop(), gomail.WithoutRset())
	switch e.policy {
	case TLSImplicit:
		e.options = append(e.options, gomail.WithSSL())
	case TLSNone:
		e.options = append(e.options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		e.options = append(e.options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if c.Email.User != "" {
		e.options = append(e.options, gomail.WithUsername(c.Email.User), gomail.WithPassword(c.Email.Password),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	return e, nil
}

func parseMailServer(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	number, numberErr := strconv.ParseUint(text, 10, 16)
	if err != nil || numberErr != nil || host == "" || number == 0 || strings.ContainsAny(host, "/@ \t\r\n") {
		return "", 0, refused("email_server_invalid", "the mail server's address is not a host and a port").do("write mail.example:587")
	}
	return host, int(number), nil
}

func (e *email) Name() string { return EmailName }

// Send sends a mail to each recipient. If the server rejects some of them, the others are sent all the same. It fails
// with message_..., email_rejected or email_failed.
func (e *email) Send(ctx context.Context, m Message) error {
	recipients, err := e.recipients(m)
	if err != nil {
		return err
	}
	if m.Subject == "" && m.Text == "" || len(m.Text) > maxTextBytes {
		return refused("message_without_text", "message %s has neither subject nor text, or more than %d bytes", m.ID, maxTextBytes).
			do("give it a subject and a short text").permanent()
	}
	recipients = slices.DeleteFunc(recipients, func(r *mail.Address) bool {
		return e.accepted.Contains(acceptedMail{m.ID, r.Address})
	})
	if len(recipients) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	var hangUp func()
	client, err := gomail.NewClient(e.host, append(slices.Clone(e.options),
		gomail.WithTimeout(e.timeout), gomail.WithDialContextFunc(func(dialling context.Context, network, _ string) (net.Conn, error) {
			conn, err := e.dial(dialling, network)
			if err != nil {
				return nil, err
			}
			// The library uses the context only while it dials. This ends everything after that, and the connection, too.
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			hangUp = func() {
				stop()
				_ = conn.Close()
			}
			return conn, nil
		}))...)
	if err != nil {
		return e.failed(m).because(err)
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if hangUp != nil {
		defer hangUp()
	}
	if err != nil {
		return e.failed(m).because(e.causeOf(ctx, err))
	}
	refusals, failures := 0, 0
	var refusal, failure error
	for _, recipient := range recipients {
		written := e.write(m, recipient)
		err := client.SendWithSMTPClient(session, written)
		if written.IsDelivered() {
			e.accepted.Add(acceptedMail{m.ID, recipient.Address}, struct{}{})
			continue
		}
		if code := answerCode(err); code >= 500 {
			refusals, refusal = refusals+1, fmt.Errorf("it answered %d", code)
		} else if code > 0 {
			failures, failure = failures+1, fmt.Errorf("it answered %d", code)
		} else {
			failures, failure = failures+1, e.causeOf(ctx, withoutRecipients(err))
		}
	}
	_ = client.CloseWithSMTPClient(session)
	switch {
	case failures > 0:
		return e.failed(m, fmt.Sprintf(" for %d of %d recipients", failures, len(recipients))).because(failure)
	case refusals > 0:
		return refused("email_rejected", "the mail server at %s rejects message %s for %d of %d recipients",
			e.host, m.ID, refusals, len(recipients)).because(refusal).do("correct the recipients' addresses").permanent()
	}
	return nil
}

// dial connects to the server. It does not use the library's address, which lacks the brackets around IPv6.
func (e *email) dial(ctx context.Context, network string) (net.Conn, error) {
	address := net.JoinHostPort(e.host, strconv.Itoa(e.port))
	if e.policy == TLSImplicit {
		return (&tls.Dialer{Config: e.tls}).DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// causeOf returns why the context ended, if it has ended: then err is only the broken connection that follows. Otherwise
// it returns err. The deadline of the connection is just behind that of the context and may be noticed before it.
func (e *email) causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if deadline, has := ctx.Deadline(); has && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return err
}

// withoutRecipients returns an error of the library without the recipients that it names.
func withoutRecipients(err error) error {
	var failed *gomail.SendError
	if errors.As(err, &failed) {
		return errors.New(failed.Reason.String())
	}
	return err
}

// answerCode returns the code of the mail server's answer; 0 if it did not answer.
func answerCode(err error) int {
	var failed *gomail.SendError
	if errors.As(err, &failed) {
		return failed.ErrorCode()
	}
	return 0
}

func (e *email) recipients(m Message) ([]*mail.Address, error) {
	if len(m.To) == 0 {
		if len(e.to) == 0 {
			return nil, refused("message_recipients_invalid", "message %s has no recipient, and the channel has no default recipients", m.ID).
				do("configure recipients").permanent()
		}
		return slices.Clone(e.to), nil
	}
	recipients, err := parseRecipients(m.To)
	if err != nil {
		return nil, refused("message_recipients_invalid", "message %s has invalid recipients", m.ID).because(err).
			do("write one address for each").permanent()
	}
	return recipients, nil
}

// parseRecipients parses addresses, and drops repeated ones. Its errors name the invalid address by its number only,
// because addresses are personal data.
func parseRecipients(list []string) ([]*mail.Address, error) {
	if len(list) > maxRecipients {
		return nil, fmt.Errorf("there are %d recipients, more than %d", len(list), maxRecipients)
	}
	var all []*mail.Address
	for i, text := range list {
		address, err := mail.ParseAddress(text)
		if err != nil || strings.ContainsAny(address.Address, "\r\n") {
			return nil, fmt.Errorf("recipient %d is not an e-mail address", i+1)
		}
		if !slices.ContainsFunc(all, func(a *mail.Address) bool { return a.Address == address.Address }) {
			all = append(all, address)
		}
	}
	return all, nil
}

// write makes a recipient's mail: plain text, with a Message-ID that is always the same for the message.
func (e *email) write(m Message, recipient *mail.Address) *gomail.Msg {
	written := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	written.FromMailAddress(e.from)
	written.ToMailAddress(recipient)
	written.Subject(shortened(oneLine(m.Subject), maxSubjectRunes))
	written.SetMessageIDWithValue(m.ID + "@" + e.domain)
	if !m.OccurredAt.IsZero() {
		written.SetDateWithValue(m.OccurredAt)
	}
	// Automatic responders do not answer such mails (RFC 3834).
	written.SetGenHeader("Auto-Submitted", "auto-generated")
	written.SetBodyString(gomail.TypeTextPlain, m.Text)
	return written
}

func (e *email) failed(m Message, whom ...string) *Problem {
	return refused("email_failed", "the mail server at %s did not accept message %s%s", e.host, m.ID, strings.Join(whom, "")).
		do("send it again later")
}

func (e *email) Close() error { return nil }
