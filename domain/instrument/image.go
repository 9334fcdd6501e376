package instrument

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"image"
	_ "image/jpeg" // the formats that phones show
	_ "image/png"
	"regexp"
	"slices"

	"casebook/domain"
	"casebook/domain/form"
	"casebook/domain/refuse"

	_ "golang.org/x/image/webp"
)

// The bounds of images. A phone loads an image once, and shows it in full.
const (
	maxImageBytes  = 128 << 10
	maxImagePixels = 4096 // wide, and high
	// maxImages is how many images one instrument may have.
	maxImages = 100
)

// mediaTypes are the formats of images that are taken, by the names of their decoders. SVG is none: it can hold programs.
var mediaTypes = map[string]string{"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}

// PublishImage brings an image into a study, for its instruments to refer to.
type PublishImage struct {
	domain.InStudy
	Content []byte `json:"content" doc:"The image as PNG, JPEG or WebP, in base64; at most 128 KiB, and 4096 pixels wide and high"`
	Alt     string `json:"alt" doc:"What it shows, for those who choose among the images of the study"`
}

// ImagePublished says that an image was brought into a study. ImageContentRecorded has its bytes.
type ImagePublished struct {
	Study domain.StudyID `json:"study"`
	// SHA256 is the hash of the image's bytes, by which instruments refer to it.
	SHA256    string `json:"sha256"`
	MediaType string `json:"mediaType"`
	// Bytes is its size; Width and Height are in pixels.
	Bytes  int    `json:"bytes"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Alt    string `json:"alt"`
}

// ImageContentRecorded has the bytes of an image. It is apart, so that the audit trail shows what was published without them.
type ImageContentRecorded struct {
	Study  domain.StudyID `json:"study"`
	SHA256 string         `json:"sha256"`
	// Content is in base64.
	Content string `json:"content"`
}

// ImageEvent is an event of an image.
type ImageEvent interface{ imageEvent() }

func (ImagePublished) imageEvent()       {}
func (ImageContentRecorded) imageEvent() {}

// imageEvents are the events of the stream with their stored names.
var imageEvents = []domain.EventType{
	domain.Stored[ImagePublished]("ImagePublished").InNoView("apps and the site get the image itself"),
	domain.Stored[ImageContentRecorded]("ImageContentRecorded").NeverShown().InNoView("apps and the site get the image itself"),
}

// ImageDecider decides on an image's stream.
var ImageDecider = domain.Decider[StudyImage, ImageEvent]{Category: "image", Key: byImage, Events: imageEvents, Evolve: evolveImage}

func byImage(command any) (id string, ok bool) {
	c, ok := command.(PublishImage)
	if !ok {
		return "", false
	}
	return ImageStreamID(c.Study, c.sha256()), true
}

// ImageStreamID returns the id of an image's stream.
func ImageStreamID(study domain.StudyID, sha256 string) string { return string(study) + "." + sha256 }

// StudyImage is the state of an image's stream. The zero value is an image that nobody has published.
type StudyImage struct {
	ImagePublished
	Content []byte
}

// Exists says whether the image was published.
func (s StudyImage) Exists() bool { return len(s.Content) > 0 }

func evolveImage(s StudyImage, e ImageEvent) StudyImage {
	switch e := e.(type) {
	case ImagePublished:
		s.ImagePublished = e
	case ImageContentRecorded:
		s.Content, _ = base64.StdEncoding.DecodeString(e.Content) // what is none is no image
	}
	return s
}

func (c PublishImage) sha256() string {
	sum := sha256.Sum256(c.Content)
	return hex.EncodeToString(sum[:])
}

// BringImage decides about PublishImage. It records nothing for an image that the study has. It refuses malformed_id, study_not_found
// and invalid_image.
func BringImage(s StudyImage, facts Publication, cmd PublishImage, _ domain.Call) ([]ImageEvent, error) {
	if err := facts.mustHave(cmd.Study); err != nil {
		return nil, err
	}
	if s.Exists() {
		return nil, nil
	}
	e, err := cmd.examined()
	if err != nil {
		return nil, err
	}
	content := base64.StdEncoding.EncodeToString(cmd.Content)
	return []ImageEvent{e, ImageContentRecorded{Study: cmd.Study, SHA256: e.SHA256, Content: content}}, nil
}

// examined returns what the image is. It refuses invalid_image, by its format, size and text.
func (c PublishImage) examined() (ImagePublished, error) {
	e := ImagePublished{Study: c.Study, SHA256: c.sha256(), Bytes: len(c.Content), Alt: c.Alt}
	if err := imageParts.Required("alt", c.Alt, maxLabelChars); err != nil {
		return e, err
	}
	if len(c.Content) > maxImageBytes {
		return e, imageParts.Invalid("content", "the image has %d bytes, more than %d", len(c.Content), maxImageBytes)
	}
	config, format, err := image.DecodeConfig(bytes.NewReader(c.Content))
	if err != nil {
		return e, imageParts.Invalid("content", "it is not an image that can be read; PNG, JPEG and WebP can, and SVG cannot")
	}
	media, known := mediaTypes[format]
	if !known {
		return e, imageParts.Invalid("content", "it is of the format %s; use PNG, JPEG or WebP", format)
	}
	e.MediaType = media
	if e.Width, e.Height = config.Width, config.Height; min(e.Width, e.Height) < 1 || max(e.Width, e.Height) > maxImagePixels {
		return e, imageParts.Invalid("content", "it has %d by %d pixels, and can have %d each way", e.Width, e.Height, maxImagePixels)
	}
	return e, nil
}

// imageParts are the parts of an image that are refused.
var imageParts = form.Parts{Code: "invalid_image"}

// imageHash is the form of an image's hash.
var imageHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// compileImages refuses images without a hash or a text.
func (i *Instrument) compileImages() error {
	d := &i.definition
	if n := len(d.Images()); n > maxImages {
		return parts.Invalid("items", "they have %d images, more than %d", n, maxImages)
	}
	for n := range d.Items {
		it, at := &d.Items[n], fmt.Sprintf("items[%d]", n)
		if err := domain.First(parts.AtMost(at+".unitLabel", it.UnitLabel, maxLabelChars), it.Image.check(at+".image")); err != nil {
			return err
		}
		if it.UnitLabel != "" && it.Unit == "" {
			return parts.Invalid(at+".unitLabel", "the item %s has no unit", it.ID)
		}
		for m := range it.Options {
			if err := it.Options[m].Image.check(fmt.Sprintf("%s.options[%d].image", at, m)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (i *Image) check(at string) error {
	if i == nil {
		return nil
	}
	if !imageHash.MatchString(i.SHA256) {
		return parts.Invalid(at+".sha256", "%q is not a hash of an image, 64 digits of lower-case hexadecimal", refuse.Shortened(i.SHA256))
	}
	return parts.Required(at+".alt", i.Alt, maxLabelChars)
}

// saying returns the image with its text in another language; nil without an image.
func (i *Image) saying(alt string) *Image {
	if i == nil {
		return nil
	}
	return &Image{SHA256: i.SHA256, Alt: alt}
}

// Images returns the hashes of the images that the definition refers to, each once.
func (d *Definition) Images() []string {
	var all []string
	add := func(i *Image) {
		if i != nil && !slices.Contains(all, i.SHA256) {
			all = append(all, i.SHA256)
		}
	}
	for n := range d.Items {
		add(d.Items[n].Image)
		for m := range d.Items[n].Options {
			add(d.Items[n].Options[m].Image)
		}
	}
	return all
}
