package personal_test

import (
	"encoding/json"
	"strings"
	"testing"

	"casebook/domain/personal"

	"pgregory.net/rapid"
)

// TestWhatPeopleWriteIsNoSealedText writes texts that look like the marks of sealed ones: an answer stays the JSON that it is.
func TestWhatPeopleWriteIsNoSealedText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.SampledFrom([]string{`\`, `u0002`, `u0003`, `"`, "a", ":", "YQ==", "é", " ", "\n"})).Draw(t, "parts")
		written := strings.Join(parts, "")
		sealed := string(personal.SealedText("key", []byte("x"), []byte("place")))
		answer, err := json.Marshal([]string{written, written + sealed + written, sealed})
		if err != nil {
			t.Fatal(err)
		}
		opened, err := personal.OpenTexts(t.Context(), nil, answer)
		if err == nil {
			t.Fatal("it says nothing of the missing keys")
		}
		var got []string
		if err := json.Unmarshal(opened, &got); err != nil {
			t.Fatalf("%s becomes %s: %v", answer, opened, err)
		}
		want := []string{written, written + personal.Unavailable + written, personal.Unavailable}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%q is shown as %q", want[i], got[i])
			}
		}
	})
}
