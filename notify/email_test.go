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

// letter is what a mail server took.
type letter struct {
	From, To, Body, UserSignedIn string
	Encrypted                    bool
	Header                       mail.Header
}

// mailServer is a real SMTP server that takes what it gets, but for the recipients that it has an answer for.
type mailServer struct {
	address string
	stopped chan struct{}

	mu      sync.Mutex
	taken   []letter
	answers map[string][]error // by recipient, one for each try
	hanging func()             // where it is set, it is called, and then the server answers no more
}

// startMailServer runs it until the test ends; without a configuration for TLS it has none.
func startMailServer(t *testing.T, secured *tls.Config, change ...func(*smtp.Server) net.Listener) *mailServer {
	t.Helper()
	m := &mailServer{answers: map[string][]error{}, stopped: make(chan struct{})}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, encrypted := c.TLSConnectionState()
		return &mailSession{server: m, conn: c.Conn(), letter: letter{Encrypted: encrypted}}, nil
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
		_ = listener.Close() // the server does not know it yet when the test was quick
		<-served
	})
	return m
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

func (m *mailServer) letters() []letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.taken)
}

// answer lets the next tries to a recipient end as told.
func (m *mailServer) answer(recipient string, errs ...error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[recipient] = errs
}

type mailSession struct {
	server *mailServer
	conn   net.Conn
	letter letter
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != mailUser || password != mailPassword {
			return smtp.ErrAuthFailed
		}
		s.letter.UserSignedIn = user
		return nil
	}), nil
}

func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	s.server.mu.Lock()
	hanging := s.server.hanging
	s.server.mu.Unlock()
	if hanging != nil {
		hanging()
		<-s.server.stopped
	}
	s.letter.From = from
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
	s.letter.To = to
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
	taken := s.letter
	taken.Header, taken.Body = parsed.Header, strings.TrimSpace(strings.ReplaceAll(string(body), "\r\n", "\n"))
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.taken = append(s.server.taken, taken)
	return nil
}

func (s *mailSession) Reset()        {}
func (s *mailSession) Logout() error { return nil }

// config is a channel's configuration for the mail server.
func (m *mailServer) config(roots *x509.CertPool, policy TLSPolicy) Config {
	return Config{RootCAs: roots, Email: EmailConfig{
		SMTP: m.address, User: mailUser, Password: mailPassword, TLS: policy,
		From: "Casebook <casebook@trial.example>", To: []string{"duty@trial.example"},
	}}
}

// startTLSMailServer is a mail server with STARTTLS, and a channel's configuration for it.
func startTLSMailServer(t *testing.T) (*mailServer, Config) {
	t.Helper()
	pair, roots := aCertificate(t)
	m := startMailServer(t, pair)
	return m, m.config(roots, "")
}

// errHangUp lets the server break the connection rather than answer.
var errHangUp = errors.New("hang up")

var (
	gone  = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	later = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try later"}
)

func TestAMailIsSentEncryptedAndSigned(t *testing.T) {
	server, config := startTLSMailServer(t)
	m := anAlert()
	must(t, open(t, config).Send(t.Context(), m))
	letters := server.letters()
	if len(letters) != 1 {
		t.Fatalf("the server took %d mails, want one", len(letters))
	}
	got := letters[0]
	header := got.Header
	got.Header = nil
	want := letter{From: "casebook@trial.example", To: "safety@trial.example", Body: m.Text, UserSignedIn: mailUser, Encrypted: true}
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

func TestAMailWithoutRecipientsGoesToTheChannelsOwn(t *testing.T) {
	server, config := startTLSMailServer(t)
	m := anAlert()
	m.To = nil
	must(t, open(t, config).Send(t.Context(), m))
	if letters := server.letters(); len(letters) != 1 || letters[0].To != "duty@trial.example" {
		t.Errorf("the server took %v", letters)
	}
	config.Email.To = nil
	wantProblem(t, open(t, config).Send(t.Context(), m), "message_recipients_invalid", true)
}

func TestAServerWithoutSTARTTLSGetsNothing(t *testing.T) {
	server := startMailServer(t, nil)
	wantProblem(t, open(t, server.config(nil, "")).Send(t.Context(), anAlert()), "email_failed", false)
	if letters := server.letters(); len(letters) != 0 {
		t.Errorf("the server took %v", letters)
	}
}

func TestAServerWhomNobodyVouchesForGetsNothing(t *testing.T) {
	pair, _ := aCertificate(t)
	server := startMailServer(t, pair)
	wantProblem(t, open(t, server.config(x509.NewCertPool(), "")).Send(t.Context(), anAlert()), "email_failed", false)
	if letters := server.letters(); len(letters) != 0 {
		t.Errorf("the server took %v", letters)
	}
}

func TestMailInTheClearAndOverTLSFromTheStart(t *testing.T) {
	clear := startMailServer(t, nil)
	must(t, open(t, clear.config(nil, TLSNone)).Send(t.Context(), anAlert()))
	if letters := clear.letters(); len(letters) != 1 || letters[0].Encrypted {
		t.Errorf("the server took %v", letters)
	}

	pair, roots := aCertificate(t)
	implicit := startMailServer(t, pair, func(s *smtp.Server) net.Listener {
		listener, err := tls.Listen("tcp", "127.0.0.1:0", pair)
		must(t, err)
		return listener
	})
	must(t, open(t, implicit.config(roots, TLSImplicit)).Send(t.Context(), anAlert()))
	if letters := implicit.letters(); len(letters) != 1 || !letters[0].Encrypted || letters[0].UserSignedIn != mailUser {
		t.Errorf("the server took %v", letters)
	}
}

func TestAWrongPasswordIsAFailureAndIsNotShown(t *testing.T) {
	_, config := startTLSMailServer(t)
	config.Email.Password = "hunter3"
	log := &logged{}
	config.Logger = log.logger()
	err := open(t, config).Send(t.Context(), anAlert())
	wantProblem(t, err, "email_failed", false)
	config.Logger.Info("configured", "config", config, "email", config.Email)
	wantNoSecret(t, "hunter3", err, config, config.Email, log)
}

func TestOneMailboxThatIsGoneDoesNotKeepTheMailFromTheOthers(t *testing.T) {
	server, config := startTLSMailServer(t)
	server.answer("b@trial.example", gone)
	m := anAlert()
	m.To = []string{"a@trial.example", "b@trial.example", "c@trial.example"}
	err := open(t, config).Send(t.Context(), m)
	wantProblem(t, err, "email_rejected", true)
	wantNoSecret(t, "b@trial.example", err)
	if diff := cmp.Diff([]string{"a@trial.example", "c@trial.example"}, recipientsOf(server)); diff != "" {
		t.Error(diff)
	}
}

func TestARepeatGoesToThoseAloneWhoseServerDidNotTakeIt(t *testing.T) {
	server, config := startTLSMailServer(t)
	server.answer("b@trial.example", later)
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
	if n := len(server.letters()); n != 3 {
		t.Errorf("the server took %d mails, want 3: another message is no repeat", n)
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
	for _, l := range server.letters() {
		all = append(all, l.To)
	}
	return all
}

func TestAMailEndsWithItsContextAndItsTimeout(t *testing.T) {
	server, config := startTLSMailServer(t)
	config.Email.Timeout = time.Hour // it is the context that ends this one
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("nobody waits any more")
	server.hanging = func() { cancel(reason) }
	err := open(t, config).Send(ctx, anAlert())
	wantProblem(t, err, "email_failed", false)
	if !errors.Is(err, reason) {
		t.Errorf("%v does not say why it ended", err)
	}

	config.Email.Timeout = 100 * time.Millisecond
	err = open(t, config).Send(t.Context(), anAlert())
	wantProblem(t, err, "email_failed", false)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not say that it took too long", err)
	}
}

func TestAMailNeedsSomethingForPeople(t *testing.T) {
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
	if letters := server.letters(); len(letters) != 0 {
		t.Errorf("the server took %v", letters)
	}
}

// Whatever a message says, it cannot add a header, and what people read is what was written.
func TestNoTextBecomesAHeader(t *testing.T) {
	e, err := newEmail(Config{Email: EmailConfig{SMTP: "127.0.0.1:25", From: "casebook@trial.example"}})
	must(t, err)
	known := []string{"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To"}
	texts := rapid.OneOf(rapid.String(), rapid.StringMatching("[a-z äß€😀]{0,90}\r?\n?(Bcc|To|Subject): [a-z]@b.example(\r\n\r\n)?[a-z]{0,9}"))
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
