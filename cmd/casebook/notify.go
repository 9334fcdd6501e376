package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"casebook/notify"
)

// notifyFlags configure the receivers of messages about alerts.
type notifyFlags struct {
	Broker string `help:"Broker that alerts are published to: inprocess:, nats://HOST:PORT or kafka://HOST:PORT,HOST:PORT (nats+tls, kafka+tls over TLS)." default:"inprocess:" placeholder:"URL"`

	NATSCreateStream bool `name:"nats-create-stream" help:"Create a stream for the alerts on a NATS broker that has none for them." default:"true" negatable:""`
	NATSReplicas     int  `name:"nats-replicas" help:"Servers that keep a created stream; by default 3 on a cluster of three or more, and 1 otherwise." placeholder:"N"`

	WebhookURL        string `name:"webhook-url" help:"Address that alerts are posted to, signed according to Standard Webhooks." placeholder:"URL"`
	WebhookSecretFile string `help:"File with the secret that signs them, whsec_..." type:"path" placeholder:"FILE"`

	SMTP             string   `name:"smtp" help:"Mail server that alerts are sent by." placeholder:"HOST:PORT"`
	SMTPUser         string   `name:"smtp-user" help:"User at the mail server."`
	SMTPPasswordFile string   `name:"smtp-password-file" help:"File with the password at the mail server." type:"path" placeholder:"FILE"`
	SMTPTLS          string   `name:"smtp-tls" help:"Whether the connection to the mail server is encrypted: mandatory (STARTTLS), implicit, or none." default:"mandatory" enum:"mandatory,implicit,none"`
	MailFrom         string   `help:"Sender of alerts by mail."`
	MailTo           []string `help:"Recipients of alerts by mail."`
}

// open opens the configured channels.
func (f notifyFlags) open(ctx context.Context, logger *slog.Logger) ([]notify.Channel, error) {
	secret, err := secretFrom(f.WebhookSecretFile)
	if err != nil {
		return nil, err
	}
	password, err := secretFrom(f.SMTPPasswordFile)
	if err != nil {
		return nil, err
	}
	return notify.Open(ctx, notify.Config{
		Broker: f.Broker, Logger: logger, NATS: notify.NATSConfig{Provision: f.NATSCreateStream, Replicas: f.NATSReplicas},
		Webhook: notify.WebhookConfig{URL: f.WebhookURL, Secret: secret},
		Email: notify.EmailConfig{
			SMTP: f.SMTP, User: f.SMTPUser, Password: password, TLS: notify.TLSPolicy(f.SMTPTLS), From: f.MailFrom, To: f.MailTo,
		},
	})
}

// secretFrom reads a secret from a file. Secrets are not flags, because lists of processes show flags.
func secretFrom(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the operator names the file
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
