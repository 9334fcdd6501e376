package diary

import (
	"context"
	"slices"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
	"casebook/readmodels"
)

// myImage and studyImage are the queries of the images of instruments.
var (
	myImage = readmodels.Declare(readmodels.Query{
		Name: "MyImage", Path: "/api/v1/me/images/{sha256}", Summary: "An image of an instrument that the patient is asked",
		Doc:    "PNG, JPEG or WebP, as it was published. It never changes: load it once.",
		OpenTo: access.To(access.ThePatient, access.Caregivers), Reach: readmodels.ReachOwn, OfStates: true,
	}, LoadMyImage)
	studyImage = readmodels.Declare(readmodels.Query{
		Name: "StudyImage", Path: "/api/v1/studies/{study}/images/{sha256}", Summary: "An image for the instruments of a study",
		Doc:    "PNG, JPEG or WebP, as it was published. It never changes.",
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, OfStates: true,
	}, LoadStudyImage)
)

// MyImageQuery asks for an image of an instrument that is or was assigned to the caller's own patient.
type MyImageQuery struct {
	SHA256  string           `path:"sha256" pattern:"^[0-9a-f]{64}$" example:"4f6b1c5d0a8e7f3b2c9d4e5f60718293a4b5c6d7e8f9012a3b4c5d6e7f8091a2" doc:"SHA-256 of the image, as the instrument names it"`
	Patient domain.PatientID `query:"patient" doc:"The patient; only for those who answer for several"`
}

// StudyImageQuery asks for an image of a study.
type StudyImageQuery struct {
	Study  domain.StudyID `path:"study" doc:"The study"`
	SHA256 string         `path:"sha256" pattern:"^[0-9a-f]{64}$" example:"4f6b1c5d0a8e7f3b2c9d4e5f60718293a4b5c6d7e8f9012a3b4c5d6e7f8091a2" doc:"SHA-256 of the image, as ImagePublished has it"`
}

// LoadMyImage returns an image. It refuses image_not_found for one that no instrument of the patient refers to.
func LoadMyImage(ctx context.Context, r readmodels.Request, q MyImageQuery) (readmodels.File, error) {
	own, err := loadOwn(ctx, r)
	if err != nil {
		return readmodels.File{}, err
	}
	if !slices.ContainsFunc(own.diary.Assignments(), func(a diary.Assignment) bool {
		return a.Instrument != nil && slices.Contains(a.Instrument.Definition().Images(), q.SHA256)
	}) {
		return readmodels.File{}, noImage(q.SHA256)
	}
	return loadImage(ctx, r, own.patient.Study, q.SHA256)
}

// LoadStudyImage returns an image of a study. It refuses image_not_found.
func LoadStudyImage(ctx context.Context, r readmodels.Request, q StudyImageQuery) (readmodels.File, error) {
	return loadImage(ctx, r, q.Study, q.SHA256)
}

func loadImage(ctx context.Context, r readmodels.Request, of domain.StudyID, hash string) (readmodels.File, error) {
	image, _, err := readmodels.StateOf(ctx, r, instrument.ImageDecider, instrument.ImageStreamID(of, hash))
	if err != nil {
		return readmodels.File{}, err
	}
	if !image.Exists() {
		return readmodels.File{}, noImage(hash)
	}
	return readmodels.File{MediaType: image.MediaType, Content: image.Content}, nil
}

func noImage(hash string) error {
	return refuse.NotFound("image_not_found", "there is no image %s", refuse.Shortened(hash)).At("sha256").
		Do("take the hash of an image from the instrument")
}
