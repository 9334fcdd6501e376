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
	emailName    = "email"
	emailTimeout = 30 * time.Second
	// maxRecipients bounds one message; larger circles need a list at the mail server.
	maxRecipients = 100
	// takenMails is how many mails that servers took are remembered.
	takenMails = 4096
)

// TLSPolicy says how the connection to a mail server is encrypted.
type TLSPolicy string

const (
	// TLSMandatory means: STARTTLS, or nothing is sent. It is the default.
	TLSMandatory TLSPolicy = "mandatory"
	// TLSImplicit means: TLS from the first byte, usually at port 465 (RFC 8314).
	TLSImplicit TLSPolicy = "implicit"
	// TLSNone means: in the clear. It is only taken for a mail server on this machine.
	TLSNone TLSPolicy = "none"
)

// EmailConfig is a mail server that takes our mails.
type EmailConfig struct {
	// SMTP is the server's host and port, such as mail.example:587.
	SMTP string
	// User and Password sign in; nobody signs in where both are empty.
	User, Password string
	// TLS is mandatory where it is empty.
	TLS TLSPolicy
	// From is the sender's address, with a name or without: Casebook <casebook@trial.example>.
	From string
	// To are the recipients of messages that name none.
	To []string
	// Timeout bounds one Send; 0 means 30 seconds.
	Timeout time.Duration
}

// email sends every recipient a mail of their own: so one mailbox that is gone does not keep an alert from the others,
// and nobody sees who else is told.
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
	// taken remembers which mails servers took, so that a repeat for the sake of one recipient does not bother the rest.
	taken *lru.Cache[taken, struct{}]
}

type taken struct{ message, recipient string }

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
	e := &email{host: host, port: port, policy: c.Email.TLS, timeout: c.Email.Timeout,
		tls: &tls.Config{ServerName: host, RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}}
	switch e.policy {
	case "":
		e.policy = TLSMandatory
	case TLSMandatory, TLSImplicit:
	case TLSNone:
		if !isLoopback(host) {
			return nil, refused("email_in_the_clear", "mails to %s would travel in the clear", c.Email.SMTP).
				do("set the TLS policy to mandatory or implicit; none is for this machine alone")
		}
	default:
		return nil, refused("email_tls_unknown", "there is no TLS policy %q", string(e.policy)).do("write mandatory, implicit or none")
	}
	if (c.Email.User == "") != (c.Email.Password == "") {
		return nil, refused("email_settings_invalid", "the mail server is given a user without a password, or a password without a user").do("give both or none")
	}
	if e.timeout < 0 {
		return nil, refused("email_settings_invalid", "the mail server's time-out is below zero").do("leave it 0 for the default")
	}
	if e.timeout == 0 {
		e.timeout = emailTimeout
	}
	if e.from, err = mail.ParseAddress(c.Email.From); err != nil {
		return nil, refused("email_address_invalid", "the sender's address cannot be read").because(err).do("write casebook@trial.example")
	}
	e.domain = e.from.Address[strings.LastIndex(e.from.Address, "@")+1:]
	if e.to, err = parseRecipients(c.Email.To); err != nil {
		return nil, refused("email_address_invalid", "the default recipients cannot be read").because(err).do("write one address for each")
	}
	if e.taken, err = lru.New[taken, struct{}](takenMails); err != nil {
		return nil, refused("email_settings_invalid", "there is no memory of sent mails").because(err)
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

func (e *email) Name() string { return emailName }

// Send gives each recipient's mail to the mail server. When some are refused for good the others have it all the same.
// It fails with message_..., email_rejected, email_failed.
func (e *email) Send(ctx context.Context, m Message) error {
	recipients, err := e.recipients(m)
	if err != nil {
		return err
	}
	if m.Subject == "" && m.Text == "" || len(m.Text) > maxTextBytes {
		return refused("message_without_text", "message %s has nothing for people, or more than %d bytes", m.ID, maxTextBytes).
			do("give it a subject and a short text").forGood()
	}
	recipients = slices.DeleteFunc(recipients, func(r *mail.Address) bool { return e.taken.Contains(taken{m.ID, r.Address}) })
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
			// The library knows the context while it dials; this ends the rest too, and lets no connection linger.
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
		return e.failed(m).because(e.ended(ctx, err))
	}
	refusals, failures := 0, 0
	var refusal, failure error
	for _, recipient := range recipients {
		written := e.write(m, recipient)
		err := client.SendWithSMTPClient(session, written)
		if written.IsDelivered() {
			e.taken.Add(taken{m.ID, recipient.Address}, struct{}{})
			continue
		}
		if code := answerCode(err); code >= 500 {
			refusals, refusal = refusals+1, fmt.Errorf("it answered %d", code)
		} else if code > 0 {
			failures, failure = failures+1, fmt.Errorf("it answered %d", code)
		} else {
			failures, failure = failures+1, e.ended(ctx, stripped(err))
		}
	}
	_ = client.CloseWithSMTPClient(session)
	switch {
	case failures > 0:
		return e.failed(m, fmt.Sprintf(" for %d of %d recipients", failures, len(recipients))).because(failure)
	case refusals > 0:
		return refused("email_rejected", "the mail server at %s will not take message %s for %d of %d recipients", e.host, m.ID, refusals, len(recipients)).
			because(refusal).do("see to the recipients' addresses").forGood()
	}
	return nil
}

// dial forms the address itself: the library's has no brackets around IPv6.
func (e *email) dial(ctx context.Context, network string) (net.Conn, error) {
	address := net.JoinHostPort(e.host, strconv.Itoa(e.port))
	if e.policy == TLSImplicit {
		return (&tls.Dialer{Config: e.tls}).DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// ended returns why the context ended where it did: the broken connection is only what comes of it.
func (e *email) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// stripped returns an error of the library's without the recipients that it names.
func stripped(err error) error {
	var failed *gomail.SendError
	if errors.As(err, &failed) {
		return errors.New(failed.Reason.String())
	}
	return err
}

// answerCode is the code that the mail server answered with; 0 where it did not answer.
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
			return nil, refused("message_recipients_invalid", "message %s names no recipient, and the channel has none of its own", m.ID).
				do("configure recipients").forGood()
		}
		return slices.Clone(e.to), nil
	}
	recipients, err := parseRecipients(m.To)
	if err != nil {
		return nil, refused("message_recipients_invalid", "message %s has recipients that cannot be read", m.ID).because(err).
			do("write one address for each").forGood()
	}
	return recipients, nil
}

// parseRecipients reads addresses, each once. Its errors say which one is wrong, not what it is.
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

// write makes the mail: plain text, with an id that is the same however often it is written.
func (e *email) write(m Message, recipient *mail.Address) *gomail.Msg {
	written := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	written.FromMailAddress(e.from)
	written.ToMailAddress(recipient)
	written.Subject(shortened(oneLine(m.Subject), maxSubjectRunes))
	written.SetMessageIDWithValue(m.ID + "@" + e.domain)
	if !m.OccurredAt.IsZero() {
		written.SetDateWithValue(m.OccurredAt)
	}
	// Mailboxes whose owner is away do not answer such mails (RFC 3834).
	written.SetGenHeader("Auto-Submitted", "auto-generated")
	written.SetBodyString(gomail.TypeTextPlain, m.Text)
	return written
}

func (e *email) failed(m Message, whom ...string) *Problem {
	return refused("email_failed", "the mail server at %s did not take message %s%s", e.host, m.ID, strings.Join(whom, "")).do("send it again later")
}

func (e *email) Close() error { return nil }
