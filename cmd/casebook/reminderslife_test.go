package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"casebook/api"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/identity"
	"casebook/domain/user"
	"casebook/notify/pushtest"
	identityprocesses "casebook/sagas/identity"

	"github.com/emersion/go-smtp"
)

// mailbox is a mail server that keeps what arrives, by recipient.
type mailbox struct {
	address string

	mu    sync.Mutex
	mails map[string][]string
}

func startMailbox(t *testing.T) *mailbox {
	t.Helper()
	m := &mailbox{mails: map[string][]string{}}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &delivery{box: m}, nil }))
	server.Domain = "localhost"
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = listener.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return m
}

func (m *mailbox) of(recipient string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mails[recipient])
}

type delivery struct {
	box *mailbox
	to  string
}

func (d *delivery) Mail(string, *smtp.MailOptions) error { return nil }
func (d *delivery) Reset()                               {}
func (d *delivery) Logout() error                        { return nil }

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	d.to = to
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	d.box.mu.Lock()
	defer d.box.mu.Unlock()
	d.box.mails[d.to] = append(d.box.mails[d.to], string(text))
	return err
}

// reminding is a running server that reminds patients, with a push service and a mail server.
type reminding struct {
	*diarySite
	pushes *pushtest.Service
	mails  *mailbox
	key    string
}

func openReminding(t *testing.T) reminding {
	t.Helper()
	r := reminding{pushes: pushtest.Start(t), mails: startMailbox(t)}
	flags := flagsFor(t.TempDir())
	flags.Roles = append(flags.Roles, "reminders")
	flags.Push = pushFlags{Contact: "trial@example.org", Services: []string{r.pushes.URL}, roots: r.pushes.Roots}
	flags.Notify.SMTP, flags.Notify.SMTPTLS, flags.Notify.MailFrom = r.mails.address, "none", "diary@example.org"
	r.diarySite = openDiarySiteOn(t, startWithFlags(t, flags, clock{}))
	var shown api.PushKey
	r.query("", "/api/v1/push-key", 0, &shown)
	r.key = shown.Key
	return r
}

// subscribes has the browser on a device of the patient subscribe, and returns where the push service takes what is for it.
func (r reminding) subscribes(of domain.OfPatient, device user.DeviceID, answers ...int) (endpoint string, c identity.SubscribePush) {
	r.t.Helper()
	c = identity.SubscribePush{OfPatient: of, Device: device}
	c.Endpoint, c.P256DH, c.Auth = r.pushes.Subscribe(r.key, answers...)
	r.must(r.phone(of), c)
	return c.Endpoint, c
}

// opens has the instrument asked from today on, so that its window is open and a reminder is due.
func (r reminding) opens(of domain.OfPatient) { r.assign(of, "reminding", r.today, r.today) }

// ends counts the subscriptions of a patient that have ended, by why.
func (r reminding) ends(of domain.OfPatient) map[identity.EndOfPush]int {
	r.t.Helper()
	all := map[identity.EndOfPush]int{}
	for e, err := range r.log.ReadStream(r.t.Context(), identity.Decider.Stream(string(of.Patient)), 0) {
		if err != nil {
			r.t.Fatal(err)
		}
		if ended, is := e.Event.(identity.PushEnded); is {
			all[ended.Why]++
		}
	}
	return all
}

// TestPatientsAreReminded: on their devices and by e-mail, in their language, with nothing that tells strangers of the trial.
func TestPatientsAreReminded(t *testing.T) {
	r := openReminding(t)
	says := func(text string) (n identityprocesses.Notification) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &n); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, word := range []string{"DIARY", "S-0", "pain", "reminding", "Pain", "Schmerz", "01"} {
			if strings.Contains(n.Title+n.Body, word) {
				t.Errorf("the notification says %s: %s", word, text)
			}
		}
		return n
	}

	t.Run("on each device, in the patient's language", func(t *testing.T) {
		of := r.takesPart(54)
		r.must(r.phone(of), diary.SetDiaryLanguage{OfPatient: of, Language: "de-AT"})
		first, command := r.subscribes(of, "phone-1")
		second, _ := r.subscribes(of, "tablet-1", 503) // down for a moment
		if again := r.must(r.phone(of), command); len(again.Events) != 0 {
			t.Errorf("the same subscription is recorded again: %v", again.Events)
		}
		r.opens(of)
		for _, endpoint := range []string{first, second} {
			got := r.pushes.Await(t, endpoint, 1)
			if n := says(got[0].Text); n.Title != "Ihr Tagebuch ist offen" || n.Language != "de" || n.Tag == "" {
				t.Errorf("it says %+v", n)
			}
			if got[0].Contact != "mailto:trial@example.org" {
				t.Errorf("the contact is %s", got[0].Contact)
			}
		}
		if got := r.pushes.Got(first); len(got) != 1 {
			t.Errorf("the first device got %d notifications", len(got)) // although the second needed two attempts
		}
	})

	t.Run("not where it was withdrawn, revoked, or is gone", func(t *testing.T) {
		of := r.takesPart(54)
		subscribes := func(device user.DeviceID, answers ...int) (string, identity.SubscribePush) {
			(&heldSite{r.diarySite}).enrolPhone(of, device)
			return r.subscribes(of, device, answers...)
		}
		here, _ := subscribes("phone-1")
		subscribes("phone-2", http.StatusGone)
		subscribes("phone-3", http.StatusNotFound)
		withdrawn, _ := subscribes("phone-4")
		r.must(r.phone(of), identity.UnsubscribePush{OfPatient: of, Device: "phone-4"})
		revoked, _ := subscribes("phone-5")
		account := domain.UserID("phone." + strings.ToLower(string(of.Patient)))
		r.must(r.phone(of), user.RevokeDevice{OfUser: domain.ForUser(account), Device: "phone-5", Reasoned: domain.Because("Lost")})
		r.opens(of)
		r.pushes.Await(t, here, 1)
		r.eventually("what leads nowhere has ended", func() bool {
			ends := r.ends(of)
			return ends[identity.PushGone] == 2 && ends[identity.PushRevoked] == 1 && ends[identity.PushUnsubscribed] == 1
		})
		if len(r.pushes.Got(withdrawn))+len(r.pushes.Got(revoked)) != 0 {
			t.Error("a device was reminded that was not to be")
		}
	})

	t.Run("by e-mail when no device has taken it", func(t *testing.T) {
		chosen, not, both := r.takesPart(54), r.takesPart(54), r.takesPart(54)
		for of, address := range map[domain.OfPatient]string{chosen: "anna@example.org", not: "bert@example.org", both: "carl@example.org"} {
			r.must(r.crc, identity.RecordIdentity{OfPatient: of, Details: identity.Details{Name: "Somebody", Email: address}})
		}
		r.must(r.crc, diary.SetDiaryLanguage{OfPatient: chosen, Language: "fr"})
		r.must(r.phone(chosen), diary.ChooseReminders{OfPatient: chosen, Email: true})
		r.must(r.phone(both), diary.ChooseReminders{OfPatient: both, Email: true})
		device, _ := r.subscribes(both, "phone-1")
		if shown := r.schedule(r.phone(chosen), ""); !shown.Reminders.Email {
			t.Error("the app is not shown what was chosen")
		}
		r.opens(not)
		r.opens(both)
		r.pushes.Await(t, device, 1)
		r.opens(chosen)
		r.eventually("the mail arrives", func() bool { return len(r.mails.of("anna@example.org")) == 1 })
		mail := r.mails.of("anna@example.org")[0]
		if !strings.Contains(mail, "Votre journal est ouvert") || !strings.Contains(mail, "From: <diary@example.org>") {
			t.Errorf("the mail is\n%s", mail)
		}
		for _, word := range []string{"DIARY", "S-0", "pain", "reminding", "Somebody"} {
			if strings.Contains(mail, word) {
				t.Errorf("the mail says %s:\n%s", word, mail)
			}
		}
		if len(r.mails.of("bert@example.org"))+len(r.mails.of("carl@example.org")) != 0 {
			t.Error("a mail was sent that nobody wanted")
		}
	})

	t.Run("where a device is reached is nowhere in the clear", func(t *testing.T) {
		of := r.takesPart(54)
		endpoint, command := r.subscribes(of, "phone-1")
		answer, _, text := r.command(r.phone(of), "", command)
		if answer != http.StatusOK || strings.Contains(text, endpoint) {
			t.Errorf("the answer is %d %s", answer, text)
		}
		refused := command
		refused.Device, refused.P256DH = "phone-2", "AAAA"
		r.refused(r.phone(of), "malformed_subscription", refused)
		path := []byte(endpoint[strings.LastIndex(endpoint, "/")+1:])
		err := filepath.WalkDir(r.dir, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(file)
			if bytes.Contains(text, path) || bytes.Contains(text, []byte(command.Auth)) {
				t.Errorf("%s holds where the device is reached", file)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})

	t.Run("only by those who answer for the patient", func(t *testing.T) {
		of, other := r.takesPart(54), r.takesPart(54)
		c := identity.SubscribePush{OfPatient: of, Device: "phone-1"}
		c.Endpoint, c.P256DH, c.Auth = r.pushes.Subscribe(r.key)
		for _, token := range []string{r.crc, r.phone(other)} {
			r.refused(token, "not_allowed", c)
		}
		third := r.takesPart(54)
		own := (&heldSite{r.diarySite}).enrolPhone(third, "phone-9")
		c.OfPatient = third
		for _, device := range []user.DeviceID{"phone-1", "phone-8"} { // one is somebody else's, and one nobody's
			c.Device = device
			r.refused(own.token, "device_not_enrolled", c)
		}
		c.OfPatient, c.Device = of, "phone-1"
		parent := r.account("parent.one", user.Grant{Role: user.Caregiver, Study: r.study, Patient: of.Patient, Relation: user.RelationParent})
		r.must(parent, c)
		r.opens(of)
		r.pushes.Await(t, c.Endpoint, 1)
	})
}

// TestWithoutAContactNothingIsPushed: a server that is not told whom push services can ask tells apps so.
func TestWithoutAContactNothingIsPushed(t *testing.T) {
	in := install(t)
	request, err := http.NewRequest(http.MethodGet, in.url+"/api/v1/push-key", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, text := in.do(request, ""); status != http.StatusNotFound || !strings.Contains(text, `"push_unavailable"`) {
		t.Errorf("it is answered %d %s", status, text)
	}
	if _, err := os.Stat(filepath.Join(in.dir, pushKeyFile)); err == nil {
		t.Error("there is a key that nobody needs")
	}
}

// TestAProcessMayDoNothingButRemind: it starts without the keys of tokens and of blinded values.
func TestAProcessMayDoNothingButRemind(t *testing.T) {
	flags := flagsFor(t.TempDir())
	flags.Roles, flags.Push.Contact = []string{"reminders"}, "https://example.org/contact"
	in := startWithFlags(t, flags, clock{})
	if in.httpAddress != "" || in.push == nil {
		t.Errorf("it serves at %q, %v", in.httpAddress, in.push)
	}
	for _, file := range []string{tokenKeyFile, blindingKeyFile} {
		if _, err := os.Stat(filepath.Join(in.dir, file)); err == nil {
			t.Errorf("it has made %s", file)
		}
	}
	request, err := http.NewRequest(http.MethodGet, "http://"+in.adminAddress+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	(&site{installation: in}).eventually("the process is a member of its group", func() bool {
		status, text := in.do(request, "")
		return status == http.StatusOK && strings.Contains(text, "process patient-reminders")
	})
}

// TestThePushKeyStays: devices have subscribed for it, also after a restart.
func TestThePushKeyStays(t *testing.T) {
	dir := dataDir(t.TempDir())
	f := pushFlags{Contact: "trial@example.org"}
	var keys []string
	for range 2 {
		p, err := f.open(storeFlags{Data: string(dir)})
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, p.PublicKey())
	}
	if keys[0] != keys[1] {
		t.Errorf("the keys are %v", keys)
	}
	if _, err := f.open(storeFlags{Data: t.TempDir(), Eventstore: "esdb://es1:2113"}); err == nil {
		t.Error("processes on a real store make keys of their own")
	}
}
