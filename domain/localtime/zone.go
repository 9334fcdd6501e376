// Package localtime turns local days and wall-clock times of an IANA zone into moments, and back. It handles the two
// hard cases of daylight saving: the hour that occurs twice and the hour that does not exist. Begin reading at Resolve.
//
// The rules of zones are reference data: they come with the program (or the machine), they are the same for every
// caller, and they change with a release of the IANA database, as code does. Therefore time.LoadLocation is the one
// exception to the rule that the domain reads nothing. Decisions that were made with older rules stay valid, because
// events hold the resolved moments.
package localtime

import (
	"strings"
	"time"
	_ "time/tzdata"

	"casebook/domain/refuse"
	"casebook/domain/rule/bounded"
)

// maxNameChars bounds a zone's name; the longest of the IANA database has 32 characters.
const maxNameChars = 64

// zones holds the zones in use; the IANA database has about 600 names.
var zones = bounded.New[string, *Zone](1024)

// Zone is an IANA time zone with its rules.
type Zone struct {
	name     string
	location *time.Location
}

// Load returns the zone with this IANA name, such as Europe/Berlin or UTC. It refuses every other name (code
// unknown_zone). It also refuses Go's "Local", which depends on the machine, and the empty name, which hides a mistake.
func Load(name string) (*Zone, error) {
	if zone, ok := zones.Get(name); ok {
		return zone, nil
	}
	if name == "" || name == "Local" || len(name) > maxNameChars {
		return nil, unknownZone(name)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, unknownZone(name)
	}
	name = strings.Clone(name)
	return zones.Add(name, &Zone{name: name, location: location}), nil
}

// Name returns the zone's IANA name.
func (z *Zone) Name() string { return z.name }

// In returns t as the clocks of the zone show it.
func (z *Zone) In(t time.Time) time.Time { return t.In(z.location) }

// DayAt returns the local day on which t falls.
func (z *Zone) DayAt(t time.Time) Day {
	_, offset := t.In(z.location).Zone()
	return Day(floorDiv(t.Unix()+int64(offset), secondsPerDay))
}

func unknownZone(name string) error {
	if len(name) > maxNameChars {
		name = name[:maxNameChars] + "..."
	}
	return refuse.Malformed("unknown_zone", "%q is not a time zone of the IANA database", name).
		Do("use a name such as Europe/Berlin")
}
