package notify

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestOpenMakesTheConfiguredChannels(t *testing.T) {
	channels, err := Open(t.Context(), Config{})
	if err != nil || len(channels) != 0 {
		t.Fatalf("without a configuration: got %v, %v", channels, err)
	}
	channels, err = Open(t.Context(), Config{
		Broker: "inprocess:", Webhook: WebhookConfig{URL: "https://hooks.example/a", Secret: aSecret},
		Email: EmailConfig{SMTP: "mail.example:587", From: "casebook@trial.example"},
	})
	must(t, err)
	var names []string
	for _, c := range channels {
		names = append(names, c.Name())
		must(t, c.Close())
	}
	if diff := cmp.Diff([]string{"broker", "webhook", "email"}, names); diff != "" {
		t.Error(diff)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ended, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefusesInvalidConfigurations(t *testing.T) {
	hook := func(url, secret string) Config {
		return Config{Broker: "inprocess:", Webhook: WebhookConfig{URL: url, Secret: secret}}
	}
	post := func(change func(*EmailConfig)) Config {
		c := EmailConfig{SMTP: "mail.example:587", From: "casebook@trial.example", To: []string{"duty@trial.example"}}
		change(&c)
		return Config{Broker: "inprocess:", Email: c}
	}
	for name, c := range map[string]struct {
		code   string
		config Config
	}{
		"unknown broker":             {"broker_unknown", Config{Broker: "amqp://u:hunter2@host"}},
		"no scheme":                  {"broker_unknown", Config{Broker: "hunter2"}},
		"unknown TLS":                {"broker_unknown", Config{Broker: "nats+ssl://u:hunter2@host"}},
		"no host":                    {"broker_invalid", Config{Broker: "nats://"}},
		"one host missing":           {"broker_invalid", Config{Broker: "kafka://a:9092,,b:9092"}},
		"port not a number":          {"broker_invalid", Config{Broker: "kafka://a:hunter2"}},
		"port too large":             {"broker_invalid", Config{Broker: "kafka://a:70000"}},
		"a path":                     {"broker_invalid", Config{Broker: "nats://a:4222/hunter2"}},
		"a password without a user":  {"broker_invalid", Config{Broker: "nats+tls://:hunter2@a:4222"}},
		"not percent-encoded":        {"broker_invalid", Config{Broker: "nats+tls://u:hunter2%@a:4222"}},
		"unencrypted password":       {"broker_in_the_clear", Config{Broker: "nats://u:hunter2@broker.example"}},
		"unencrypted to one of two":  {"broker_in_the_clear", Config{Broker: "kafka://u:hunter2@127.0.0.1,10.0.0.9"}},
		"negative replicas":          {"nats_settings_invalid", Config{Broker: "nats://a", NATS: NATSConfig{Replicas: -1}}},
		"webhook without scheme":     {"webhook_url_invalid", hook("hooks.example/hunter2", aSecret)},
		"webhook without host":       {"webhook_url_invalid", hook("https:///hunter2", aSecret)},
		"webhook by FTP":             {"webhook_url_invalid", hook("ftp://hooks.example/hunter2", aSecret)},
		"webhook not an URL":         {"webhook_url_invalid", hook("https://hooks.example/%hunter2", aSecret)},
		"unencrypted webhook":        {"webhook_in_the_clear", hook("http://hooks.example/hunter2", aSecret)},
		"webhook in a private net":   {"webhook_in_the_clear", hook("http://10.0.0.9/hunter2", aSecret)},
		"webhook to all addresses":   {"webhook_in_the_clear", hook("http://0.0.0.0/hunter2", aSecret)},
		"name that looks like local": {"webhook_in_the_clear", hook("http://localhost.example/", aSecret)},
		"no secret":                  {"webhook_secret_invalid", hook("https://hooks.example/", "")},
		"secret without prefix":      {"webhook_secret_invalid", hook("https://hooks.example/", strings.TrimPrefix(aSecret, secretPrefix))},
		"short secret":               {"webhook_secret_invalid", hook("https://hooks.example/", "whsec_aHVudGVyMg==")},
		"secret not base64":          {"webhook_secret_invalid", hook("https://hooks.example/", "whsec_hunter2!")},
		"negative webhook time-out": {"webhook_settings_invalid",
			Config{Webhook: WebhookConfig{URL: "https://hooks.example/", Secret: aSecret, Timeout: -1}}},
		"mail without port":      {"email_server_invalid", post(func(c *EmailConfig) { c.SMTP = "mail.example" })},
		"mail to port 0":         {"email_server_invalid", post(func(c *EmailConfig) { c.SMTP = "mail.example:0" })},
		"mail server as URL":     {"email_server_invalid", post(func(c *EmailConfig) { c.SMTP = "smtp://u:hunter2@mail.example:587" })},
		"unencrypted mail":       {"email_in_the_clear", post(func(c *EmailConfig) { c.TLS = TLSNone })},
		"unknown TLS policy":     {"email_tls_unknown", post(func(c *EmailConfig) { c.TLS = "maybe" })},
		"user without password":  {"email_settings_invalid", post(func(c *EmailConfig) { c.User = "u" })},
		"password without user":  {"email_settings_invalid", post(func(c *EmailConfig) { c.Password = "hunter2" })},
		"negative mail time-out": {"email_settings_invalid", post(func(c *EmailConfig) { c.Timeout = -time.Second })},
		"no sender":              {"email_address_invalid", post(func(c *EmailConfig) { c.From = "" })},
		"invalid recipient":      {"email_address_invalid", post(func(c *EmailConfig) { c.To = []string{"nobody"} })},
	} {
		t.Run(name, func(t *testing.T) {
			channels, err := Open(t.Context(), c.config)
			wantProblem(t, err, c.code, false)
			if len(channels) != 0 {
				t.Errorf("Open returns %v together with the error", channels)
			}
			wantNoSecret(t, "hunter2", err, c.config)
		})
	}
}

func TestIsLoopback(t *testing.T) {
	for _, host := range []string{"localhost", "LOCALHOST", "127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"} {
		if !isLoopback(host) {
			t.Errorf("isLoopback(%q) is false", host)
		}
	}
	for _, host := range []string{"", "localhost.", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example", "::ffff:10.0.0.1"} {
		if isLoopback(host) {
			t.Errorf("isLoopback(%q) is true", host)
		}
	}
}

func TestParseBroker(t *testing.T) {
	for address, want := range map[string]brokerAddress{
		"nats://a":                           {kind: "nats", hosts: []string{"a:4222"}},
		"kafka://a,b:9093/":                  {kind: "kafka", hosts: []string{"a:9092", "b:9093"}},
		"kafka+tls://u:p%40%2Fss@[::1]:1,b":  {kind: "kafka", hosts: []string{"[::1]:1", "b:9092"}, tls: true, user: "u", password: "p@/ss"},
		"nats://token@127.0.0.1:4222":        {kind: "nats", hosts: []string{"127.0.0.1:4222"}, user: "token"},
		"nats+tls://u:a:b@broker.example:99": {kind: "nats", hosts: []string{"broker.example:99"}, tls: true, user: "u", password: "a:b"},
	} {
		got, err := parseBroker(address)
		must(t, err)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(brokerAddress{})); diff != "" {
			t.Errorf("%s: %s", address, diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`hunter[0-9]{6}`).Draw(t, "secret")
		address := rapid.SampledFrom([]string{"nats", "kafka", "nats+tls", "kafka+tls", "amqp", ""}).Draw(t, "scheme") + "://u:" +
			rapid.StringMatching(`[%@:/,]{0,3}`).Draw(t, "before") + secret + rapid.StringMatching(`[%@:/,#?]{0,3}`).Draw(t, "after") +
			"@" + rapid.StringMatching(`[a-z0-9.:,\[\]/%]{0,20}`).Draw(t, "hosts")
		_, err := parseBroker(address)
		wantNoSecret(t, secret, err, Config{Broker: address})
	})
}

func TestInvalidMessagesAreRejected(t *testing.T) {
	p := openInProcessUntilEnd(t)
	for _, topic := range []string{"", ".", "a..b", ".a", "a.", "a b", "a*", "a.>", "ä", strings.Repeat("a", maxTopicBytes+1), "a\r\nPUB b"} {
		m := anAlert()
		m.Topic = topic
		wantProblem(t, p.Send(t.Context(), m), "message_topic_invalid", true)
	}
	for _, id := range []string{"", "7", "urn:uuid:4f0d2c1e-0000-4000-8000-000000000000", "{4f0d2c1e-0000-4000-8000-000000000000}"} {
		m := anAlert()
		m.ID = id
		wantProblem(t, p.Send(t.Context(), m), "message_id_invalid", true)
	}
	for _, topic := range []string{"a", "casebook.alerts", "A-1_b.c", strings.Repeat("a", maxTopicBytes)} {
		m := anAlert()
		m.Topic = topic
		must(t, p.Send(t.Context(), m))
	}
}

func TestOneLineHasNoLineBreaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		got := oneLine(text)
		for _, r := range got {
			if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
				t.Errorf("%q keeps %q", got, r)
			}
		}
		if again := oneLine(got); again != got {
			t.Errorf("%q becomes %q the second time", got, again)
		}
	})
	if got := oneLine(" Severe\r\npain\tat\u2028 night "); got != "Severe pain at night" {
		t.Errorf("got %q", got)
	}
}
