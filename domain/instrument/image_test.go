package instrument_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/scenario"

	"pgregory.net/rapid"
)

// webp is an image of one pixel.
const webp = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="

// asPNG is a grey image of this size.
func asPNG(t testing.TB, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func bringing(content []byte, alt string) func(instrument.StudyImage) ([]instrument.ImageEvent, error) {
	return scenario.SentWithFacts(instrument.BringImage, instrument.Publication{StudyExists: true},
		instrument.PublishImage{InStudy: domain.ForStudy(study), Content: content, Alt: alt}, call)
}

func TestImagesOfAStudy(t *testing.T) {
	var asJPEG, asGIF bytes.Buffer
	dot := image.NewGray(image.Rect(0, 0, 3, 2))
	if jpeg.Encode(&asJPEG, dot, nil) != nil || gif.Encode(&asGIF, dot, nil) != nil {
		t.Fatal("no image was written")
	}
	asWebP, err := base64.StdEncoding.DecodeString(webp)
	if err != nil {
		t.Fatal(err)
	}
	for media, of := range map[string]struct {
		content       []byte
		width, height int
	}{"image/png": {asPNG(t, 4096, 1), 4096, 1}, "image/jpeg": {asJPEG.Bytes(), 3, 2}, "image/webp": {asWebP, 1, 1}} {
		given := scenario.For(t, instrument.ImageDecider).Strict()
		events, err := bringing(of.content, "A dot")(given.State())
		if err != nil || len(events) != 2 {
			t.Fatalf("%s: %v, %v", media, events, err)
		}
		e, _ := events[0].(instrument.ImagePublished)
		if e.MediaType != media || e.Width != of.width || e.Height != of.height || e.Bytes != len(of.content) || len(e.SHA256) != 64 {
			t.Errorf("%s is recorded as %+v", media, e)
		}
		had := given.Given(events...)
		if !bytes.Equal(had.State().Content, of.content) || !had.State().Exists() {
			t.Errorf("the content of %s is another one", media)
		}
		had.When(bringing(of.content, "Another text")).Then() // it is there
	}
	given := scenario.For(t, instrument.ImageDecider).Strict()
	for name, of := range map[string]struct {
		content    []byte
		alt, field string
	}{
		"SVG":         {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`), "A dot", "content"},
		"GIF":         {asGIF.Bytes(), "A dot", "content"},
		"nothing":     {nil, "A dot", "content"},
		"cut off":     {asPNG(t, 1, 1)[:20], "A dot", "content"},
		"too large":   {append(asPNG(t, 1, 1), make([]byte, 128<<10)...), "A dot", "content"},
		"too wide":    {asPNG(t, 4097, 1), "A dot", "content"},
		"without alt": {asPNG(t, 1, 1), "", "alt"},
		"long alt":    {asPNG(t, 1, 1), strings.Repeat("a", 501), "alt"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := given.When(bringing(of.content, of.alt)).ThenRefused("invalid_image"); r.Field != of.field {
				t.Errorf("it is refused at %q", r.Field)
			}
		})
	}
	given.When(scenario.SentWithFacts(instrument.BringImage, instrument.Publication{},
		instrument.PublishImage{InStudy: domain.ForStudy(study), Content: asPNG(t, 1, 1), Alt: "A dot"}, call)).ThenRefused("study_not_found")
}

// Whatever bytes somebody sends, they are an image or refused.
func TestNoBytesOfAnImagePanic(t *testing.T) {
	asWebP, _ := base64.StdEncoding.DecodeString(webp)
	whole := [][]byte{asPNG(t, 2, 2), asWebP, nil}
	rapid.Check(t, func(t *rapid.T) {
		content := append([]byte{}, rapid.SampledFrom(whole).Draw(t, "from")...)
		for n := range rapid.SliceOfN(rapid.IntRange(0, 200), 0, 6).Draw(t, "at") {
			if n < len(content) {
				content[n] = rapid.Byte().Draw(t, "byte")
			}
		}
		content = append(content, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "more")...)
		events, err := bringing(content, "x")(instrument.StudyImage{})
		if (err == nil) != (len(events) == 2) {
			t.Fatalf("%d events, %v", len(events), err)
		}
	})
}

// An instrument does not refer to an image that the study does not have.
func TestAnInstrumentNeedsItsImages(t *testing.T) {
	d := translated()
	publish := func(images ...string) decision {
		return scenario.SentWithFacts(instrument.Publish, instrument.Publication{StudyExists: true, Images: images},
			instrument.PublishInstrument{InStudy: domain.ForStudy(study), Instrument: *d}, call)
	}
	begun(t).When(publish()).ThenRefused("unknown_image")
	begun(t).When(publish(strings.Repeat("0", 64))).ThenRefused("unknown_image")
	begun(t).When(publish(smile)).Then(published(t, d))
}
