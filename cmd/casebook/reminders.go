package main

import (
	"crypto/x509"
	"log/slog"
	"slices"

	"casebook/cmd/casebook/contexts"
	"casebook/notify"
	"casebook/sagas"
	identityprocesses "casebook/sagas/identity"
)

// pushFlags configure notifications to patients' devices.
type pushFlags struct {
	Contact  string   `help:"Whom push services can ask about this server, an e-mail address or an https URL. Without it, devices are sent no notifications." placeholder:"ADDRESS"`
	KeyFile  string   `help:"Secret that the key pair for push services is made from; made in --data by default, but not with --eventstore. All processes with the roles api and reminders need the same. Another one ends all subscriptions." type:"path" placeholder:"FILE"`
	Services []string `help:"Origins of push services in private networks, such as https://push.example.org:8443. Others must have public addresses." placeholder:"ORIGIN"`

	// roots verify the services' certificates; nil for the roots of the system.
	roots *x509.CertPool
}

// open opens what sends notifications to devices; nil where nobody may be asked about them.
func (f pushFlags) open(stores storeFlags) (*notify.Push, error) {
	if f.Contact == "" {
		return nil, nil
	}
	file := f.KeyFile
	if file == "" {
		file = stores.dir().file(pushKeyFile)
	}
	secret, err := loadKey(file, "--push-key-file", stores.Eventstore == "" && f.KeyFile == "")
	if err != nil {
		return nil, err
	}
	return notify.OpenPush(notify.PushConfig{Secret: secret, Contact: f.Contact, Services: f.Services, RootCAs: f.roots})
}

// takesEvents says whether the process has processes that take events by consumer groups.
func (f serverFlags) takesEvents() bool {
	return slices.Contains(f.Roles, "sagas") || slices.Contains(f.Roles, "reminders")
}

// reminders are the processes that remind patients: none without the keys of personal data, in which is how patients are reached.
func (s *server) reminders(logger *slog.Logger) []sagas.Process {
	by := identityprocesses.Senders{Push: s.push}
	if at := slices.IndexFunc(s.channels, func(c notify.Channel) bool { return c.Name() == notify.EmailName }); at >= 0 {
		by.Mail = s.channels[at]
	}
	all := contexts.Reminders(by)
	if len(all) > 0 && s.identities == nil {
		logger.Warn("patients are not reminded: this process has the role reminders, and no keys of personal data; " +
			"name them with --identity-keys")
		return nil
	}
	return all
}

// pushKey is the public key for browsers; empty where devices are sent no notifications.
func (s *server) pushKey() string {
	if s.push == nil {
		return ""
	}
	return s.push.PublicKey()
}
