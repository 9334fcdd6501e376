package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"mime"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const mailUser, mailPassword = "casebook", "hunter2"

// receivedMail is a mail that the server accepted.
type receivedMail struct {
	From, To, Body, User string
	Encrypted            bool
	Header               mail.Header
}

// mailServer is a real SMTP server. It accepts all mails, except to recipients that have an entry in answers.
type mailServer struct {
	address string
	stopped chan struct{}

	mu       sync.Mutex
	received []receivedMail
	answers  map[string][]error // by recipient, one for each attempt
	hang     func()             // if set, the server calls it for the next mail and stops answering
}

// startMailServer runs a mail server until the test ends. Without secured it has no TLS.
func startMailServer(t *testing.T, secured *tls.Config, change ...func(*smtp.Server) net.Listener) *mailServer {
	t.Helper()
	m := &mailServer{answers: map[string][]error{}, stopped: make(chan struct{})}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, encrypted := c.TLSConnectionState()
		return &mailSession{server: m, conn: c.Conn(), mail: receivedMail{Encrypted: encrypted}}, nil
	}))
	server.Domain, server.TLSConfig, server.AllowInsecureAuth = "localhost", secured, true
	server.ErrorLog = silent{}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	m.address = listener.Addr().String()
	if len(change) > 0 {
		_ = listener.Close()
		listener = change[0](server)
		m.address = listener.Addr().String()
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		close(m.stopped)
		_ = server.Close()
		_ = listener.Close() // in a short test the server may not know its listener yet
		<-served
	})
	return m
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

func (m *mailServer) mails() []receivedMail {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.received)
}

// answer sets the answers to the next attempts for a recipient.
func (m *mailServer) answer(recipient string, errs ...error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[recipient] = errs
}

type mailSession struct {
	server *mailServer
	conn   net.Conn
	mail   receivedMail
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != mailUser || password != mailPassword {
			return smtp.ErrAuthFailed
		}
		s.mail.User = user
		return nil
	}), nil
}

func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	s.server.mu.Lock()
	hang := s.server.hang
	s.server.mu.Unlock()
	if hang != nil {
		hang()
		<-s.server.stopped
	}
	s.mail.From = from
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if answers := s.server.answers[to]; len(answers) > 0 {
		s.server.answers[to] = answers[1:]
		if errors.Is(answers[0], errHangUp) {
			_ = s.conn.Close()
		}
		if answers[0] != nil {
			return answers[0]
		}
	}
	s.mail.To = to
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	parsed, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(parsed.Body)
	if err != nil {
		return err
	}
	received := s.mail
	received.Header, received.Body = parsed.Header, strings.TrimSpace(strings.ReplaceAll(string(body), "\r\n", "\n"))
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.received = append(s.server.received, received)
	return nil
}

func (s *mailSession) Reset()        {}
func (s *mailSession) Logout() error { return nil }

// config returns a channel's configuration for the mail server.
func (m *mailServer) config(roots *x509.CertPool, policy TLSPolicy) Config {
	return Config{RootCAs: roots, Email: EmailConfig{
		SMTP: m.address, User: mailUser, Password: mailPassword, TLS: policy,
		From: "Casebook <casebook@trial.example>", To: []string{"duty@trial.example"},
	}}
}

// startTLSMailServer runs a mail server with STARTTLS, and returns a channel's configuration for it.
func startTLSMailServer(t *testing.T) (*mailServer, Config) {
	t.Helper()
	pair, roots := selfSigned(t)
	m := startMailServer(t, pair)
	return m, m.config(roots, "")
}

// errHangUp is an answer that breaks the connection.
var errHangUp = errors.New("hang up")

var (
	mailboxGone = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	tryLater    = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try later"}
)

func TestMailIsSentEncryptedAndAuthenticated(t *testing.T) {
	server, config := startTLSMailServer(t)
	m := anAlert()
	must(t, open(t, config).Send(t.Context(), m))
	mails := server.mails()
	if len(mails) != 1 {
		t.Fatalf("the server accepted %d mails, want one", len(mails))
	}
	got := mails[0]
	header := got.Header
	got.Header = nil
	want := receivedMail{From: "casebook@trial.example", To: "safety@trial.example", Body: m.Text, User: mailUser, Encrypted: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"Message-Id": "<" + m.ID + "@trial.example>", "Date": "Sun, 01 Mar 2026 20:30:00 +0000", "Subject": m.Subject,
		"From": `"Casebook" <casebook@trial.example>`, "To": "<safety@trial.example>", "Auto-Submitted": "auto-generated",
		"Content-Type": "text/plain; charset=UTF-8",
	} {
		if diff := cmp.Diff([]string{want}, header[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestMessageWithoutRecipientsGoesToTheDefaultRecipients(t *testing.T) {
	server, config := startTLSMailServer(t)
	m := anAlert()
	m.To = nil
	must(t, open(t, config).Send(t.Context(), m))
	if mails := server.mails(); len(mails) != 1 || mails[0].To != "duty@trial.example" {
		t.Errorf("the server accepted %v", mails)
	}
	config.Email.To = nil
	wantProblem(t, open(t, config).Send(t.Context(), m), "message_recipients_invalid", true)
}

func TestAServerWithoutSTARTTLSGetsNothing(t *testing.T) {
	server := startMailServer(t, nil)
	wantProblem(t, open(t, server.config(nil, "")).Send(t.Context(), anAlert()), "email_failed", false)
	if mails := server.mails(); len(mails) != 0 {
		t.Errorf("the server accepted %v", mails)
	}
}

func TestServerWithAnUntrustedCertificateGetsNothing(t *testing.T) {
	pair, _ := selfSigned(t)
	server := startMailServer(t, pair)
	wantProblem(t, open(t, server.config(x509.NewCertPool(), "")).Send(t.Context(), anAlert()), "email_failed", false)
	if mails := server.mails(); len(mails) != 0 {
		t.Errorf("the server accepted %v", mails)
	}
}

func TestUnencryptedMailAndImplicitTLS(t *testing.T) {
	unencrypted := startMailServer(t, nil)
	must(t, open(t, unencrypted.config(nil, TLSNone)).Send(t.Context(), anAlert()))
	if mails := unencrypted.mails(); len(mails) != 1 || mails[0].Encrypted {
		t.Errorf("the server accepted %v", mails)
	}

	pair, roots := selfSigned(t)
	implicit := startMailServer(t, pair, func(s *smtp.Server) net.Listener {
		listener, err := tls.Listen("tcp", "127.0.0.1:0", pair)
		must(t, err)
		return listener
	})
	must(t, open(t, implicit.config(roots, TLSImplicit)).Send(t.Context(), anAlert()))
	if mails := implicit.mails(); len(mails) != 1 || !mails[0].Encrypted || mails[0].User != mailUser {
		t.Errorf("the server accepted %v", mails)
	}
}

func TestAWrongPasswordIsAFailureAndIsNotShown(t *testing.T) {
	_, config := startTLSMailServer(t)
	config.Email.Password = "hunter3"
	log := &logBuffer{}
	config.Logger = log.logger()
	err := open(t, config).Send(t.Context(), anAlert())
	wantProblem(t, err, "email_failed", false)
	config.Logger.Info("configured", "config", config, "email", config.Email)
	wantNoSecret(t, "hunter3", err, config, config.Email, log)
}

func TestRejectedRecipientDoesNotStopTheOtherMails(t *testing.T) {
	server, config := startTLSMailServer(t)
	server.answer("b@trial.example", mailboxGone)
	m := anAlert()
	m.To = []string{"a@trial.example", "b@trial.example", "c@trial.example"}
	err := open(t, config).Send(t.Context(), m)
	wantProblem(t, err, "email_rejected", true)
	wantNoSecret(t, "b@trial.example", err)
	if diff := cmp.Diff([]string{"a@trial.example", "c@trial.example"}, recipientsOf(server)); diff != "" {
		t.Error(diff)
	}
}

func TestRepeatGoesOnlyToRecipientsThatFailed(t *testing.T) {
	server, config := startTLSMailServer(t)
	server.answer("b@trial.example", tryLater)
	channel := open(t, config)
	m := anAlert()
	m.To = []string{"a@trial.example", "b@trial.example"}
	wantProblem(t, channel.Send(t.Context(), m), "email_failed", false)
	must(t, channel.Send(t.Context(), m))
	must(t, channel.Send(t.Context(), m))
	if diff := cmp.Diff([]string{"a@trial.example", "b@trial.example"}, recipientsOf(server)); diff != "" {
		t.Error(diff)
	}
	other := anAlert()
	other.To = m.To[:1]
	must(t, channel.Send(t.Context(), other))
	if n := len(server.mails()); n != 3 {
		t.Errorf("the server accepted %d mails, want 3: another message is not a repeat", n)
	}
}

func TestAServerThatHangsUpIsAFailure(t *testing.T) {
	server, config := startTLSMailServer(t)
	server.answer("safety@trial.example", errHangUp)
	channel := open(t, config)
	m := anAlert()
	err := channel.Send(t.Context(), m)
	wantProblem(t, err, "email_failed", false)
	wantNoSecret(t, "safety@trial.example", err)
	must(t, channel.Send(t.Context(), m))
	if diff := cmp.Diff(m.To, recipientsOf(server)); diff != "" {
		t.Error(diff)
	}
}

func recipientsOf(server *mailServer) []string {
	var all []string
	for _, l := range server.mails() {
		all = append(all, l.To)
	}
	return all
}

func TestAMailEndsWithItsContextAndItsTimeout(t *testing.T) {
	server, config := startTLSMailServer(t)
	config.Email.Timeout = time.Hour // so that the context ends this Send
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the caller gave up")
	server.hang = func() { cancel(reason) }
	err := open(t, config).Send(ctx, anAlert())
	wantProblem(t, err, "email_failed", false)
	if !errors.Is(err, reason) {
		t.Errorf("%v does not wrap the cause of the context's end", err)
	}

	config.Email.Timeout = 100 * time.Millisecond
	err = open(t, config).Send(t.Context(), anAlert())
	wantProblem(t, err, "email_failed", false)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not wrap the context's error", err)
	}
}

func TestInvalidMailsAreRejected(t *testing.T) {
	server, config := startTLSMailServer(t)
	channel := open(t, config)
	for code, change := range map[string]func(*Message){
		"message_without_text":       func(m *Message) { m.Subject, m.Text = "", "" },
		"message_recipients_invalid": func(m *Message) { m.To = []string{"a@trial.example\r\nRCPT TO:<b@trial.example>"} },
		"message_id_invalid":         func(m *Message) { m.ID = "7>\r\nBcc: b@trial.example" },
	} {
		m := anAlert()
		change(&m)
		wantProblem(t, channel.Send(t.Context(), m), code, true)
	}
	m := anAlert()
	m.To = slices.Repeat([]string{"a@trial.example"}, maxRecipients+1)
	wantProblem(t, channel.Send(t.Context(), m), "message_recipients_invalid", true)
	m = anAlert()
	m.Text = strings.Repeat("a", maxTextBytes+1)
	wantProblem(t, channel.Send(t.Context(), m), "message_without_text", true)
	if mails := server.mails(); len(mails) != 0 {
		t.Errorf("the server accepted %v", mails)
	}
}

// A message cannot add a header to the mail, and its subject is shown as it was written.
func TestMessageTextCannotAddHeaders(t *testing.T) {
	e, err := newEmail(Config{Email: EmailConfig{SMTP: "127.0.0.1:25", From: "casebook@trial.example"}})
	must(t, err)
	known := []string{
		"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To",
	}
	header := rapid.StringMatching("[a-z äß€😀]{0,90}\r?\n?(Bcc|To|Subject): [a-z]@b.example(\r\n\r\n)?[a-z]{0,9}")
	texts := rapid.OneOf(rapid.String(), header)
	recipients, err := parseRecipients([]string{`"Safety, Team" <safety@trial.example>`})
	must(t, err)
	rapid.Check(t, func(t *rapid.T) {
		m := anAlert()
		m.Subject, m.Text = texts.Draw(t, "subject"), texts.Draw(t, "text")
		var written bytes.Buffer
		if _, err := e.write(m, recipients[0]).WriteTo(&written); err != nil {
			t.Fatal(err)
		}
		parsed, err := mail.ReadMessage(&written)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range parsed.Header {
			if !slices.Contains(known, name) || len(values) != 1 {
				t.Errorf("the mail has the header %s: %q", name, values)
			}
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
		if want := shortened(oneLine(m.Subject), maxSubjectRunes); err != nil || subject != want {
			t.Errorf("the subject is %q (%v), want %q", subject, err, want)
		}
	})
}
