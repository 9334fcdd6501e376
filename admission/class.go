package admission

// Class says how important it is that a request is served while others have to be refused. Less important classes are
// refused first.
type Class uint8

// The classes, the least important first. A query belongs to Queries and a command to Commands unless its declaration says
// otherwise.
const (
	// Queries are questions of people and their streams of changes: they can be asked again.
	Queries Class = iota
	// Exports are questions whose answers are kept elsewhere, page by page, such as the audit trails.
	Exports
	// Commands are what people record.
	Commands
	// Diaries are what patients hand in. A diary that comes too late is lost to the trial.
	Diaries
	// Unblinding is what the treatment of a patient in an emergency depends on.
	Unblinding

	classes
)

// Classes returns all classes, the least important first.
func Classes() []Class { return []Class{Queries, Exports, Commands, Diaries, Unblinding} }

// String returns the name of the class, as metrics and logs have it.
func (c Class) String() string {
	switch c {
	case Queries:
		return "queries"
	case Exports:
		return "exports"
	case Commands:
		return "commands"
	case Diaries:
		return "diaries"
	case Unblinding:
		return "unblinding"
	case classes:
	}
	return "none"
}
