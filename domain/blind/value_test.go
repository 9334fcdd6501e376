package blind_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"casebook/domain/blind"
)

type event struct {
	Patient string
	Arm     blind.Value[string]
	Kits    blind.Value[map[string]string]
}

// However it is printed, logged or marshalled, a blinded value shows nothing.
func TestNothingShows(t *testing.T) {
	e := event{"P1", blind.Of("ARM-X7"), blind.Of(map[string]string{"K1": "ARM-X7"})}
	text, err := json.Marshal(map[string]any{"e": e, "p": &e, "v": e.Arm})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "event", e, "arm", e.Arm, "pointer", &e.Arm)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "event", e, "arm", e.Arm)
	shown := string(text) + log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		shown += fmt.Sprintf(verb+verb+verb+verb, e, &e, e.Arm, &e.Arm)
	}
	for _, token := range []string{"ARM-X7", "K1", "41524d2d5837"} {
		if strings.Contains(shown, token) {
			t.Errorf("%s shows in %s", token, shown)
		}
	}
	if !strings.Contains(string(text), blind.Shown) {
		t.Errorf("the JSON is %s", text)
	}
}

func TestSealedAndOpen(t *testing.T) {
	v := blind.Of("ARM-X7")
	sealed, err := v.SealWith(func(plain []byte) (string, error) { return "sealed " + string(plain), nil })
	if err != nil || sealed != `sealed "ARM-X7"` {
		t.Fatal(sealed, err)
	}
	var back blind.Value[string]
	if !back.Sealed() {
		t.Error("the zero value is open")
	}
	if _, err := back.SealWith(func([]byte) (string, error) { return "", nil }); err == nil {
		t.Error("a sealed value was written down")
	}
	if err := json.Unmarshal([]byte(`"sealed:..."`), &back); err != nil || !back.Sealed() {
		t.Errorf("what is read without keys is %v, %v", back.Sealed(), err)
	}
	if back.Equal(v) || !v.Equal(blind.Of("ARM-X7")) || v.Equal(blind.Of("other")) {
		t.Error("values are compared wrongly")
	}
	if err := back.UnsealFrom([]byte(`"ARM-X7"`)); err != nil || !back.Equal(v) {
		t.Error(err)
	}
	if err := back.UnsealFrom([]byte(`7`)); err == nil {
		t.Error("a number became a text")
	}
}
