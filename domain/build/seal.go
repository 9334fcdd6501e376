package build

import (
	"casebook/domain"
)

// SealBuild makes a draft a build that never changes.
type SealBuild struct {
	OfBuild
}

// Seal decides about SealBuild. It refuses what Definition.Compile refuses, build_not_found and build_sealed.
func Seal(b Build, cmd SealBuild, _ domain.Call) ([]Event, error) {
	if err := b.mustBeDraft(cmd.OfBuild); err != nil {
		return nil, err
	}
	if _, err := b.definition.Compile(); err != nil {
		return nil, err
	}
	hash, err := b.definition.SHA256()
	if err != nil {
		return nil, parts.Invalid("build", "it cannot be written: %v", err)
	}
	return []Event{Sealed{OfBuild: cmd.OfBuild, SHA256: hash}}, nil
}
