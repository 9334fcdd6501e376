package diary_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
	"casebook/domain/user"

	"pgregory.net/rapid"
)

// keyPair is the key of a phone.
type keyPair struct {
	private *ecdsa.PrivateKey
	public  user.DeviceKey
}

func newKeyPair(t testing.TB) keyPair {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{private: private, public: user.DeviceKey(base64.StdEncoding.EncodeToString(der))}
}

// signs returns the signature of an entry as an app makes it.
func (k keyPair) signs(t testing.TB, c diary.SubmitDiary) user.Signature {
	t.Helper()
	content, err := diary.SignedContent(c.Patient, c.Instrument, c.CapturedAt, c.Zone, c.Answers,
		diary.Entered{Device: c.Device, Language: c.Language, Sequence: c.Sequence, MonotonicMs: c.MonotonicMs, Respondent: c.Respondent})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	halves := make([]byte, 64)
	r.FillBytes(halves[:32])
	s.FillBytes(halves[32:])
	return user.Signature(base64.RawURLEncoding.EncodeToString(halves))
}

// signedEvening is the diary of an evening, signed by the phone.
func signedEvening(t *testing.T, k keyPair) diary.SubmitDiary {
	t.Helper()
	c := evenings(t)
	c.MonotonicMs, c.Language = 86_400_000, "de"
	c.Signature = k.signs(t, c)
	c.Sender = diary.Sender{Keys: []user.DeviceKey{k.public}, Signs: true}
	return c
}

func TestR10_AnEntryIsOfTheDeviceWhoseKeyHasSignedIt(t *testing.T) {
	key, other := newKeyPair(t), newKeyPair(t)
	given := march(t)
	sends := func(change func(*diary.SubmitDiary)) func(diary.Diary) ([]diary.Event, error) {
		return sending(t, func(c *diary.SubmitDiary) {
			*c = signedEvening(t, key)
			change(c)
		})
	}
	counts := func(name string, change func(*diary.SubmitDiary)) diary.Submitted {
		t.Helper()
		events, err := sends(change)(given.State())
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: got %v, %v", name, events, err)
		}
		e, is := events[0].(diary.Submitted)
		if !is {
			t.Fatalf("%s: got %+v", name, events[0])
		}
		return e
	}
	if e := counts("signed", func(*diary.SubmitDiary) {}); len(e.Signature) != 86 {
		t.Errorf("the event has the signature %q", e.Signature)
	}
	counts("signed with an earlier key", func(c *diary.SubmitDiary) { c.Sender.Keys = []user.DeviceKey{other.public, key.public} })
	counts("enrolled without a key", func(c *diary.SubmitDiary) { c.Signature, c.Sender = "", diary.Sender{} })
	counts("enrolled when no device had to sign", func(c *diary.SubmitDiary) { c.Signature, c.Sender.Signs = "", false })
	// What says nothing is not signed.
	counts("empty answers", func(c *diary.SubmitDiary) { c.Answers = with(mild(), diary.Answers{"doses": nil}) })
	counts("the usual respondent", func(c *diary.SubmitDiary) { c.Respondent = diary.RespondentPatient })

	for name, wrong := range map[string]struct {
		change func(*diary.SubmitDiary)
		why    diary.Why
	}{
		"no signature": {func(c *diary.SubmitDiary) { c.Signature = "" }, diary.WhyUnsigned},
		"another key":  {func(c *diary.SubmitDiary) { c.Signature = other.signs(t, *c) }, diary.WhyWrongSignature},
		"a device without a right": {func(c *diary.SubmitDiary) { c.Sender = diary.Sender{Device: diary.DeviceIsRevoked} },
			diary.WhyDeviceRevoked},
		"a key that is none": {func(c *diary.SubmitDiary) { c.Sender.Keys = []user.DeviceKey{"AAAA"} }, diary.WhyWrongSignature},
		"a device that may leave it out and does not": {func(c *diary.SubmitDiary) { c.Sender.Signs, c.Signature = false, other.signs(t, *c) },
			diary.WhyWrongSignature},
	} {
		t.Run(name, func(t *testing.T) {
			h := isHeld(t, given, sends(wrong.change), wrong.why)
			if h.For != "2026-03-01/evening" {
				t.Errorf("it is held for the window %q", h.For)
			}
		})
	}
}

// TestWhatCannotBeASignatureIsRefused: the app keeps the entry, and sends it with a signature in the right form. A wrong one is held.
func TestWhatCannotBeASignatureIsRefused(t *testing.T) {
	key := newKeyPair(t)
	right := signedEvening(t, key)
	raw, err := base64.RawURLEncoding.DecodeString(string(right.Signature))
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])})
	if err != nil {
		t.Fatal(err)
	}
	raw[0], raw[1] = 0xfb, 0xff // what base64 and base64url write differently
	given := march(t)
	for name, signature := range map[string]string{"no base64url": "*", "half": string(right.Signature[:43]),
		"DER": base64.RawURLEncoding.EncodeToString(der), "base64": base64.StdEncoding.EncodeToString(raw),
		"hexadecimal": hex.EncodeToString(raw)} {
		for who, sender := range map[string]diary.Sender{"a device that signs": right.Sender, "an account without keys": {}} {
			refused := given.When(sending(t, func(c *diary.SubmitDiary) {
				*c = right
				c.Signature, c.Sender = user.Signature(signature), sender
			})).ThenRefused("invalid_signature")
			if refused.Field != "signature" || refused.Kind != refuse.KindMalformed {
				t.Errorf("%s of %s is refused at %s as %v", name, who, refused.Field, refused.Kind)
			}
		}
	}
	padded := right // what some libraries cannot leave out
	padded.Signature += "=="
	if events, err := sending(t, func(c *diary.SubmitDiary) { *c = padded })(given.State()); err != nil || len(events) != 1 {
		t.Errorf("with padding it is answered %v, %v", events, err)
	} else if _, is := events[0].(diary.Submitted); !is {
		t.Errorf("with padding it is %+v", events[0])
	}
}

// Whatever is changed of an entry that was signed, the signature is not of it.
func TestASignatureIsOfAllThatWasCaptured(t *testing.T) {
	key := newKeyPair(t)
	given := march(t).State()
	given = diary.Decider.Evolve(given, diary.InstrumentAssigned{Patient: anna, Instrument: func() instrument.Definition {
		d := *instrument.PainDiary()
		d.ID = "pain-diary-2"
		return d
	}(), Zone: "Asia/Shanghai", From: "2026-03-01", Until: "2026-03-31"})
	rapid.Check(t, func(r *rapid.T) {
		c := signedEvening(t, key)
		if rapid.Bool().Draw(r, "respondent") {
			c.Respondent = diary.RespondentMinor
		}
		c.Sequence = rapid.Int64Range(1, 1<<53-2).Draw(r, "sequence")
		c.MonotonicMs = rapid.Int64Range(1, 1<<53-2).Draw(r, "monotonic")
		c.CapturedAt = c.CapturedAt.Add(time.Duration(rapid.IntRange(0, 3_000_000).Draw(r, "ms")) * time.Millisecond)
		answers := mild()
		answers["worst"] = float64(rapid.IntRange(0, 6).Draw(r, "worst"))
		c.Answers = answers
		c.Signature = key.signs(t, c)
		who, now := enrolled("Asia/Shanghai"), call(shanghai(t, "2026-03-20 10:00"))
		who.AgeYears = 15
		if events, err := diary.Submit(given, who, c, now); err != nil {
			r.Fatal(err)
		} else if _, is := events[0].(diary.Submitted); !is {
			r.Fatalf("what was signed is answered %+v", events[0])
		}
		what := rapid.SampledFrom([]string{"patient", "instrument", "device", "sequence", "moment", "offset", "zone", "monotonic", "language",
			"respondent", "answer", "one answer less", "one answer more", "signature"}).Draw(r, "what")
		switch what {
		case "patient":
			c.OfPatient = domain.ForPatient("PAIN1.S-0002")
		case "instrument":
			c.Instrument = "pain-diary-2"
		case "device":
			c.Device = "phone-2"
		case "sequence":
			c.Sequence += rapid.SampledFrom([]int64{1, -c.Sequence}).Draw(r, "by")
		case "moment":
			c.CapturedAt = c.CapturedAt.Add(time.Millisecond)
		case "offset": // the same moment
			c.CapturedAt = c.CapturedAt.UTC()
		case "zone":
			c.Zone = rapid.SampledFrom([]string{"Asia/Singapore", ""}).Draw(r, "zone")
		case "monotonic":
			c.MonotonicMs += rapid.SampledFrom([]int64{1, -c.MonotonicMs}).Draw(r, "by")
		case "language":
			c.Language = rapid.SampledFrom([]diary.Language{"en", ""}).Draw(r, "language")
		case "respondent":
			if c.Respondent == "" {
				c.Respondent = diary.RespondentMinor
			} else {
				c.Respondent = ""
			}
		case "answer":
			c.Answers = with(answers, diary.Answers{"worst": answers["worst"].(float64) + 1})
		case "one answer less":
			delete(c.Answers, "rescue")
		case "one answer more":
			c.Answers = with(answers, diary.Answers{"rescue": true, "doses": 1.0})
		case "signature":
			at := rapid.IntRange(0, 84).Draw(r, "at") // the last digit has bits that say nothing
			digit := byte('A')
			if c.Signature[at] == 'A' {
				digit = 'B'
			}
			c.Signature = c.Signature[:at] + user.Signature(digit) + c.Signature[at+1:]
		}
		events, err := diary.Submit(given, who, c, now)
		if err != nil {
			if what == "one answer less" || what == "one answer more" { // not every instrument takes them
				return
			}
			r.Fatal(err)
		}
		if h, is := events[0].(diary.Held); !is || h.Why != diary.WhyWrongSignature || h.Signature != c.Signature {
			r.Fatalf("with another %s it is answered %+v", what, events[0])
		}
	})
}

// The event that records an entry first has all that an auditor needs.
func TestASignatureIsVerifiedFromTheEventAlone(t *testing.T) {
	key := newKeyPair(t)
	c := signedEvening(t, key)
	c.Answers = with(mild(), diary.Answers{"doses": nil})
	who, now := enrolled("Asia/Shanghai"), call(shanghai(t, "2026-03-20 10:00"))
	events, err := diary.Submit(march(t).State(), who, c, now)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(events[0])
	if err != nil {
		t.Fatal(err)
	}
	var e diary.Submitted
	if err := json.Unmarshal(stored, &e); err != nil {
		t.Fatal(err)
	}
	content, err := diary.SignedContent(e.Patient, e.Instrument, e.CapturedAt, "Asia/Shanghai", e.Answers, e.Entered)
	if err != nil {
		t.Fatal(err)
	}
	const want = "casebook-entry-1\n" + `{"answers":{"average":2,"least":1,"now":2,"rescue":false,"worst":3},` +
		`"capturedAt":"2026-03-01T20:30:00+08:00","device":"phone-1","instrument":"pain-diary","language":"de","monotonicMs":86400000,` +
		`"patient":"PAIN1.S-0001","sequence":1,"zone":"Asia/Shanghai"}`
	if string(content) != want {
		t.Errorf("what is signed is\n%s, want\n%s", content, want)
	}
	if !key.public.Signed(content, e.Signature) {
		t.Error("the signature of the event is not verified")
	}
	// A diary that was moved has other values than the signed ones, and no signature.
	entry := diary.EntryOf(events, painNRS, e.Window.ID)
	moved, err := diary.CorrectWindow(march(t).Given(events...).State(), diary.Relocation{Patient: who, Entry: entry},
		diary.CorrectDiaryWindow{OfPatient: domain.ForPatient(anna), Instrument: painNRS, From: e.Window.ID, To: "2026-03-02/evening",
			Reasoned: domain.Because("Wrong day")}, now)
	if err != nil || moved[1].(diary.Submitted).Signature != "" {
		t.Errorf("a diary that was moved is %+v, %v", moved, err)
	}
}

// An entry that is sent again with another signature is the same one.
func TestAnEntryThatIsSignedAgainIsTheSameEntry(t *testing.T) {
	key := newKeyPair(t)
	first, again := signedEvening(t, key), signedEvening(t, key)
	if first.Signature == again.Signature {
		t.Fatal("the signatures are the same")
	}
	who, now := enrolled("Asia/Shanghai"), call(shanghai(t, "2026-03-20 10:00"))
	events, err := diary.Submit(march(t).State(), who, first, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []diary.SubmitDiary{again, first} {
		march(t).Given(events...).When(submit(who, c, now)).Then()
		if !diary.Repeats(c, events[0]) {
			t.Error("it is not known as the same")
		}
	}
	asSent := func(c diary.SubmitDiary) string {
		unsigned, _ := c.WithoutSignature()
		text, err := json.Marshal(unsigned)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if asSent(first) != asSent(again) || strings.Contains(asSent(first), "signature") {
		t.Errorf("the commands are %s and %s", asSent(first), asSent(again))
	}
}

// webCrypto signs an entry as docs/epro.md says, and verifies one that this program has signed.
const webCrypto = `
const { given, key, signature } = JSON.parse(process.argv[1]);
const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
const spki = Buffer.from(await crypto.subtle.exportKey("spki", pair.publicKey)).toString("base64");
const imported = await crypto.subtle.importKey("spki", Buffer.from(key, "base64"), { name: "ECDSA", namedCurve: "P-256" }, false,
  ["verify"]);
const right = await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, imported, Buffer.from(signature, "base64url"),
  new TextEncoder().encode("casebook-entry-1\n" + canonical(given)));
console.log(JSON.stringify({ entry: await signed(given, pair.privateKey), key: spki, right }));
`

// TestPhonesSignWithWebCrypto takes the lines of docs/epro.md as an app would. Without Node.js it proves nothing: it is
// skipped, or fails in CI.
func TestPhonesSignWithWebCrypto(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		missing := t.Skip
		if os.Getenv("CI") == "true" {
			missing = t.Fatal
		}
		missing("there is no Node.js (node) here, so no signature of Web Crypto was verified; install it to prove that phones can sign")
	}
	docs, err := os.ReadFile("../../docs/epro.md")
	if err != nil {
		t.Fatal(err)
	}
	_, lines, found := strings.Cut(string(docs), "```js\nconst canonical")
	if !found {
		t.Fatal("docs/epro.md does not say how an app signs")
	}
	lines, _, _ = strings.Cut("const canonical"+lines, "```")

	key := newKeyPair(t)
	sent := evenings(t)
	sent.Answers = with(mild(), diary.Answers{"worst": 0.1, "average": 1e21, "least": 1e-7,
		"note": "schlimmer, \"viel\" <\u00e4> \u20ac \U0001f600\n"})
	sent.CapturedAt = sent.CapturedAt.Add(120 * time.Millisecond)
	given, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(map[string]any{"given": json.RawMessage(given), "key": key.public, "signature": key.signs(t, sent)})
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), node, "--input-type=module", "-e", lines+webCrypto, string(input))
	var failure bytes.Buffer
	run.Stderr = &failure
	printed, err := run.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, failure.String())
	}
	var made struct {
		Entry diary.SubmitDiary `json:"entry"`
		Key   user.DeviceKey    `json:"key"`
		Right bool              `json:"right"`
	}
	if err := json.Unmarshal(printed, &made); err != nil {
		t.Fatal(err)
	}
	if !made.Right {
		t.Error("Web Crypto does not verify what this program has signed")
	}
	c := made.Entry
	content, err := diary.SignedContent(c.Patient, c.Instrument, c.CapturedAt, c.Zone, c.Answers,
		diary.Entered{Device: c.Device, Sequence: c.Sequence})
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Key.Validate(); err != nil || !made.Key.Signed(content, c.Signature) {
		t.Errorf("what Web Crypto has signed is not verified: %s, %v\n%s", c.Signature, err, content)
	}
}

// TestTheExampleOfTheAppsPageIsSignedRightly reads the example that app developers compare with.
func TestTheExampleOfTheAppsPageIsSignedRightly(t *testing.T) {
	text, err := os.ReadFile("../../docs/epro.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(text), "An example to compare with.")
	parts := strings.Split(example, "```")
	if !found || len(parts) < 5 {
		t.Fatal("the example is not there")
	}
	var entry diary.SubmitDiary
	if err := json.Unmarshal([]byte(strings.TrimPrefix(parts[1], "json")), &entry); err != nil {
		t.Fatal(err)
	}
	content, err := diary.SignedContent(entry.Patient, entry.Instrument, entry.CapturedAt, entry.Zone, entry.Answers,
		diary.Entered{Device: entry.Device, Sequence: entry.Sequence, MonotonicMs: entry.MonotonicMs})
	if shown := strings.Trim(strings.TrimPrefix(parts[3], "text"), "\n"); err != nil || string(content) != shown {
		t.Errorf("signed is\n%s\nand the page shows\n%s", content, shown)
	}
	codes := strings.Split(parts[4], "`")
	if len(codes) < 6 || !user.DeviceKey(codes[1]).Signed(content, user.Signature(codes[3])) {
		t.Fatal("the signature of the page is not right")
	}
	der, err := base64.StdEncoding.DecodeString(codes[5])
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	private, is := parsed.(*ecdsa.PrivateKey)
	if err != nil || !is {
		t.Fatalf("the private key of the page is a %T, %v", parsed, err)
	}
	own := keyPair{private: private}.signs(t, entry)
	if own == user.Signature(codes[3]) || !user.DeviceKey(codes[1]).Signed(content, own) {
		t.Error("what the private key of the page signs is not right by the public one")
	}
}
