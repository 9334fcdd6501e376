package readmodels

// File is the answer of a query that is no JSON: bytes that never change, under a name that is made of them.
type File struct {
	// MediaType is one of FileTypes.
	MediaType string
	Content   []byte
}

// FileTypes are the media types of files.
var FileTypes = []string{"image/png", "image/jpeg", "image/webp"}
