package domain

// Schema says what the values of a type look like in JSON, for readers outside the program. It says only what the Go type
// leaves open.
type Schema struct {
	// Pattern is a regular expression that every text matches.
	Pattern string
	// Format is a format of JSON Schema, such as date.
	Format string
	// Enum lists all values where they are few.
	Enum []string
	// Members are the JSON types that the members of an object may have.
	Members []string
	// OrText says that an object may also be written as a single text.
	OrText bool
	// Description says what the value means where its name does not.
	Description string
	// Example is a value, as JSON has it.
	Example any
}

// HasSchema is a type that says what its values look like. The description of the API and the parameters of queries are
// made of it.
type HasSchema interface{ Schema() Schema }

// OneOf is the schema of a type that has a few values.
func OneOf[T ~string](values ...T) Schema {
	s := Schema{Enum: make([]string, len(values))}
	for i, v := range values {
		s.Enum[i] = string(v)
	}
	return s
}
