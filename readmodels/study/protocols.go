package study

import (
	"context"
	"errors"
	"fmt"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Protocols is the view of what the versions of protocols ask for, with one document per version.
var Protocols = readmodels.View{Name: "protocols", Version: 1, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "version", "_id"),
}}

// ProtocolDocument is what a version of the protocol asks of a site: criteria, factors, visits, instruments and consents. Nothing
// of the arms, of what their patients get, or of titles that may name an arm is in it; only what is listed here is.
type ProtocolDocument struct {
	readmodels.Header `bson:",inline"`
	Study             domain.StudyID       `bson:"study" json:"study" doc:"The study"`
	Version           int                  `bson:"version" json:"version" doc:"The version"`
	PublishedOn       domain.Date          `bson:"publishedOn,omitempty" json:"publishedOn,omitempty" doc:"Day of publication"`
	ConsentVersion    string               `bson:"consentVersion" json:"consentVersion" doc:"The informed consent form that patients sign"`
	SiteApproval      bool                 `bson:"siteApproval,omitempty" json:"siteApproval,omitempty" doc:"Whether a site works by it only after its approval"`
	Reconsent         *ProtocolReconsent   `bson:"reconsent,omitempty" json:"reconsent,omitempty" doc:"Who signs again when it is applied to them; nobody when left out"`
	AgeOfMajority     int                  `bson:"ageOfMajority,omitempty" json:"ageOfMajority,omitempty" doc:"A legal representative signs for patients below this age, years"`
	AssentFrom        int                  `bson:"assentFrom,omitempty" json:"assentFrom,omitempty" doc:"Minors of this age or older give their assent, years"`
	Phases            []study.Phase        `bson:"phases,omitempty" json:"phases" doc:"The parts of the study after the enrolment, in order"`
	Criteria          []ProtocolCriterion  `bson:"criteria,omitempty" json:"criteria" doc:"Who may be enrolled: EnrollPatient answers each"`
	Factors           []ProtocolFactor     `bson:"factors,omitempty" json:"factors" doc:"What EnrollPatient gives a level of, where it does not follow from the record"`
	Visits            []ProtocolVisit      `bson:"visits,omitempty" json:"visits" doc:"The schedule of visits"`
	Instruments       []ProtocolInstrument `bson:"instruments,omitempty" json:"instruments" doc:"What patients answer themselves"`
	Stages            []ProtocolStage      `bson:"stages,omitempty" json:"stages,omitempty" doc:"Later draws, which RequestRandomisation asks for"`
	DrawnLater        bool                 `bson:"drawnLater,omitempty" json:"drawnLater,omitempty" doc:"Whether the first draw is asked for by RequestRandomisation some time after the enrolment"`
	DoseSteps         int                  `bson:"doseSteps,omitempty" json:"doseSteps,omitempty" doc:"Steps of the dose, the same in all arms; left out where doses are not changed"`
	Rescue            bool                 `bson:"rescue,omitempty" json:"rescue,omitempty" doc:"Whether there is rescue medication"`
	// ForEverybody says that the version was in force for all sites and patients at once.
	ForEverybody bool `bson:"forEverybody,omitempty" json:"-"`
}

// ProtocolReconsent says who signs again when a version is applied to them.
type ProtocolReconsent struct {
	Who        study.ReconsentGroup `bson:"who" json:"who" doc:"Who signs again"`
	WithinDays int                  `bson:"withinDays" json:"withinDays" doc:"How many days after the version is applied to the patient"`
	Blocks     []study.Blocked      `bson:"blocks,omitempty" json:"blocks,omitempty" doc:"What the patient does not get before"`
}

// CriterionKind says how a criterion is met.
type CriterionKind string

// The kinds of criteria: who is enrolled meets each inclusion, and no exclusion.
const (
	Inclusion CriterionKind = "inclusion"
	Exclusion CriterionKind = "exclusion"
)

// Schema implements domain.HasSchema.
func (CriterionKind) Schema() domain.Schema { return domain.OneOf(Inclusion, Exclusion) }

// ProtocolCriterion is a criterion of eligibility.
type ProtocolCriterion struct {
	ID   string        `bson:"id" json:"id" example:"pain-4" doc:"What EnrollPatient answers it by"`
	Text string        `bson:"text" json:"text" doc:"What it says"`
	Kind CriterionKind `bson:"kind" json:"kind" doc:"Who is enrolled answers each inclusion with true, and each exclusion with false"`
}

// ProtocolFactor is a property of patients by which they are drawn.
type ProtocolFactor struct {
	ID          string             `bson:"id" json:"id" example:"age" doc:"The factor"`
	Title       string             `bson:"title" json:"title" doc:"What it is"`
	Levels      []string           `bson:"levels" json:"levels" doc:"Its levels"`
	DerivedFrom study.FactorSource `bson:"derivedFrom,omitempty" json:"derivedFrom,omitempty" doc:"What in the record the level follows from; nobody gives it then"`
	Bounds      []int              `bson:"bounds,omitempty" json:"bounds,omitempty" doc:"For the age: the ages at which the second level and each later one begins"`
}

// ProtocolVisit is a planned visit.
type ProtocolVisit struct {
	ID          string             `bson:"id" json:"id" example:"week-1" doc:"What RecordVisit names it by"`
	Title       string             `bson:"title" json:"title" doc:"What it is"`
	Day         int                `bson:"day" json:"day" doc:"Planned day, counted from the enrolment, which is day 0"`
	Earliest    int                `bson:"earliest" json:"earliest" doc:"First day of its window"`
	Latest      int                `bson:"latest" json:"latest" doc:"Last day of its window"`
	OutOfWindow study.WindowPolicy `bson:"outOfWindow,omitempty" json:"outOfWindow,omitempty" doc:"What becomes of it outside of the window; absent for a visit that has none, which may take place on any day"`
	Dispenses   bool               `bson:"dispenses,omitempty" json:"dispenses" doc:"Whether the patient gets drug"`
}

// ProtocolInstrument is something that patients answer.
type ProtocolInstrument struct {
	ID      instrument.ID `bson:"id" json:"id" doc:"The instrument, as AssignInstrument names it"`
	Version int           `bson:"version" json:"version" doc:"Version of its definition"`
	Title   string        `bson:"title,omitempty" json:"title,omitempty" doc:"What the patient sees as heading; left out where it was published on its own"`
	// Phases are those in which it is assigned to every patient.
	Phases []study.Phase `bson:"phases,omitempty" json:"phases,omitempty" doc:"The phases in which patients are assigned it by themselves; a person assigns it where none is named"`
}

// ProtocolStage is a later draw.
type ProtocolStage struct {
	ID            string `bson:"id" json:"id" example:"extension" doc:"The stage"`
	OpenExtension bool   `bson:"openExtension,omitempty" json:"openExtension,omitempty" doc:"Whether its patients are in the phase open_extension"`
}

// ProtocolKey returns the key of a version's document.
func ProtocolKey(id domain.StudyID, version int) string { return fmt.Sprintf("%s/%06d", id, version) }

// protocols and protocol are the queries of the versions of a study's protocol.
var (
	protocols = readmodels.Declare(readmodels.Query{
		Name: "Protocols", Path: "/api/v1/studies/{study}/protocols", Summary: "What the versions of the protocol ask for",
		Doc: "Every published version, the first in front, as the query Protocol shows it. Which of them a site works by follows from its " +
			"approvals in the study's overview, and which a patient follows is in the patient's view.",
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, Views: []readmodels.View{Protocols},
	}, ListProtocols)
	protocol = readmodels.Declare(readmodels.Query{
		Name: "Protocol", Path: "/api/v1/studies/{study}/protocols/{version}", Summary: "What a version of the protocol asks for",
		Doc: "The criteria, factors with their levels, visits with their days, instruments, phases and the consent form, with the ids by which " +
			"commands name them. Arms, and what their patients get, are not in it.",
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, Views: []readmodels.View{Protocols},
	}, LoadProtocol)
)

// ProtocolsQuery asks for the versions of a study's protocol.
type ProtocolsQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	readmodels.Page
}

// ProtocolQuery asks for a version of a study's protocol.
type ProtocolQuery struct {
	Study   domain.StudyID `path:"study" doc:"The study"`
	Version int            `path:"version" example:"1" minimum:"1" maximum:"1000000" doc:"The version"`
}

var protocolOrders = []readmodels.Order[ProtocolDocument]{
	readmodels.Ascending("version", func(p ProtocolDocument) []any { return []any{p.Version, p.ID} }, "version", "_id"),
}

// ListProtocols returns a page of the versions of a study's protocol.
func ListProtocols(ctx context.Context, r readmodels.Request, q ProtocolsQuery) (readmodels.List[ProtocolDocument], error) {
	return readmodels.Listed(ctx, r.Store.Collection(Protocols), q.Page, bson.D{{Key: "study", Value: string(q.Study)}}, protocolOrders)
}

// LoadProtocol returns a version of the protocol. It refuses protocol_version_not_found.
func LoadProtocol(ctx context.Context, r readmodels.Request, q ProtocolQuery) (p ProtocolDocument, err error) {
	err = r.Store.Collection(Protocols).FindOne(ctx, bson.D{{Key: "_id", Value: ProtocolKey(q.Study, q.Version)}}).Decode(&p)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return p, refuse.NotFound("protocol_version_not_found", "study %s has no version %d of the protocol", q.Study, q.Version).
			At("version").Do("the study's overview names the newest; versions count from 1")
	}
	return p, err
}
