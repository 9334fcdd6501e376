// Package supply holds study drug: kits, the lots that they come from, and where each kit is. Two kinds of streams decide
// it. One per study (category supply) knows every kit number, the lots and the resupply rules. One per place (category
// stock), a depot or a site, knows the kits that lie there; who sends a shipment decides about it until it is dispatched,
// who receives it from then on. So a kit is always in exactly one stream's hands, and never goes to two patients.
//
// Which arm a kit holds, its lot and its expiry are blinded values: lots and expiry dates may go with an arm, and what
// goes with an arm tells it.
package supply

import (
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
)

// KitNumber is what is printed on a kit. It tells nothing of what the kit holds.
type KitNumber string

// LocationID names a depot, or a site by its own id. Depots and sites of a study never share one.
type LocationID string

// ShipmentID names a shipment: the place that sends it, and a running number there.
type ShipmentID string

// Validate refuses a malformed number (code malformed_id).
func (n KitNumber) Validate() error { return domain.At("kit", domain.SiteID(n).Validate()) }

// Schema implements domain.HasSchema.
func (KitNumber) Schema() domain.Schema {
	return domain.Schema{Pattern: domain.NamePattern, Example: "K-10017"}
}

// Schema implements domain.HasSchema.
func (LocationID) Schema() domain.Schema {
	return domain.Schema{Pattern: domain.NamePattern, Example: "DE-01"}
}

// Schema implements domain.HasSchema.
func (ShipmentID) Schema() domain.Schema { return domain.Schema{Example: "DEPOT-0001"} }

// Slot is one kit that a patient is to get: at the enrolment, or at a visit.
type Slot struct {
	Patient domain.PatientID `json:"patient"`
	Visit   string           `json:"visit,omitempty"`
}

// PatientsOf returns the patients of the slots, each once.
func PatientsOf(slots []Slot) []domain.PatientID {
	var all []domain.PatientID
	for _, s := range slots {
		if !slices.Contains(all, s.Patient) {
			all = append(all, s.Patient)
		}
	}
	return all
}

// Content is what blinded people must not learn of a kit.
type Content struct {
	Arm    domain.ArmID `json:"arm"`
	Lot    string       `json:"lot"`
	Expiry domain.Date  `json:"expiry"`
	// Units is how many doses the kit holds.
	Units int `json:"units"`
}

// Contents are those of several kits. They are sealed together: kits that are sealed one by one take more room.
type Contents = blind.Value[KitContents]

// Event is what can happen to a study's supply as a whole.
type Event interface{ supplyEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[DepotOpened]("DepotOpened").InNoView("decisions read it; the kits show where they are"),
	domain.Stored[KitsRegistered]("KitsRegistered"),
	domain.Stored[BatchReleased]("BatchReleased").InNoView("lots may go with an arm"),
	domain.Stored[LotRecalled]("LotRecalled").InNoView("lots may go with an arm; the kits show that they are set aside"),
	domain.Stored[ResupplyRuleSet]("ResupplyRuleSet").InNoView("decisions read it; the shipments show what comes of it"),
}

// DepotOpened adds a place that keeps kits and sends them to sites.
type DepotOpened struct {
	Study domain.StudyID `json:"study"`
	Depot LocationID     `json:"depot"`
	Name  string         `json:"name"`
}

// KitsRegistered makes kits known that have been delivered to a depot. Their numbers are in ascending order.
type KitsRegistered struct {
	Study domain.StudyID `json:"study"`
	Depot LocationID     `json:"depot"`
	// Delivery is the running number of the registration, from 1.
	Delivery int         `json:"delivery"`
	Kits     []KitNumber `json:"kits"`
	// SHA256 is that of the file that told of them, in hex. It is blinded: who knows it could try what a short file says.
	SHA256   blind.Value[string] `json:"sha256"`
	Contents Contents            `json:"contents"`
}

// BatchReleased lets the kits of a lot be shipped and given out, after its certification (EU GMP Annex 16; Annex 13).
type BatchReleased struct {
	Study       domain.StudyID `json:"study"`
	Lot         string         `json:"lot"`
	Certificate string         `json:"certificate"`
}

// LotRecalled stops every kit of a lot in the whole study. Locations are the places that have to set theirs aside.
type LotRecalled struct {
	Study     domain.StudyID `json:"study"`
	Lot       string         `json:"lot"`
	Reason    string         `json:"reason"`
	Locations []LocationID   `json:"locations"`
}

// ResupplyRuleSet says when a site is sent new kits, and how many.
type ResupplyRuleSet struct {
	Study domain.StudyID `json:"study"`
	Rule  ResupplyRule   `json:"rule"`
}

func (DepotOpened) supplyEvent()     {}
func (KitsRegistered) supplyEvent()  {}
func (BatchReleased) supplyEvent()   {}
func (LotRecalled) supplyEvent()     {}
func (ResupplyRuleSet) supplyEvent() {}

// StockEvent is what can happen to the kits of one place.
type StockEvent interface{ stockEvent() }

// stockEvents are the events of a place's kits, under the names that the log knows them by.
var stockEvents = []domain.EventType{
	domain.Stored[StockSeedRecorded]("StockSeedRecorded").InNoView("decisions read it"),
	domain.Stored[DeliveryTakenIn]("DeliveryTakenIn"),
	domain.Stored[ShipmentCreated]("ShipmentCreated"),
	domain.Stored[ResupplyFellShort]("ResupplyFellShort").ForReaders().InNoView("the alert that it raises is shown"),
	domain.Stored[ShipmentCancelled]("ShipmentCancelled"),
	domain.Stored[ShipmentDispatched]("ShipmentDispatched"),
	domain.Stored[ShipmentReceived]("ShipmentReceived"),
	domain.Stored[ShipmentLost]("ShipmentLost"),
	domain.Stored[KitsQuarantined]("KitsQuarantined"),
	domain.Stored[KitsReleased]("KitsReleased"),
	domain.Stored[StockHeld]("StockHeld").InNoView("which kits are held is blinded; the process monitor shows that some are"),
	domain.Stored[StockRefused]("StockRefused").ForReaders().InNoView("the process monitor shows why"),
	domain.Stored[HoldReleased]("HoldReleased").InNoView("which kits were held is blinded"),
	domain.Stored[KitAllocated]("KitAllocated"),
	domain.Stored[AllocationFailed]("AllocationFailed").InNoView("the process monitor and the alert show it"),
	domain.Stored[KitsSetAside]("KitsSetAside"),
	domain.Stored[KitDispensed]("KitDispensed"),
	domain.Stored[KitReturned]("KitReturned"),
	domain.Stored[KitReconciled]("KitReconciled"),
	domain.Stored[KitsExpired]("KitsExpired"),
	domain.Stored[KitsDestroyed]("KitsDestroyed"),
	domain.Stored[KitLost]("KitLost"),
}

// OfStock is which place an event of a stock is about.
type OfStock struct {
	Study    domain.StudyID `json:"study"`
	Location LocationID     `json:"location"`
}

// AboutStock returns the place that the event is about.
func (p OfStock) AboutStock() OfStock { return p }

// StockSeedRecorded fixes the seed from which the choices among equal kits follow at a location. It is recorded once, with
// the first choice.
type StockSeedRecorded struct {
	OfStock
	// Commitment is the SHA-256 of the seed's 32 bytes, in hex. It proves later that the seed was not changed.
	Commitment string              `json:"commitment"`
	Seed       blind.Value[string] `json:"seed"`
}

// DeliveryTakenIn puts registered kits into a depot's stock.
type DeliveryTakenIn struct {
	OfStock
	Delivery int         `json:"delivery"`
	Kits     []KitNumber `json:"kits"`
	Contents Contents    `json:"contents"`
}

// ShipmentCreated sets kits aside for a way. Their numbers are in ascending order, which tells nothing of the arms.
type ShipmentCreated struct {
	OfStock
	Shipment ShipmentID  `json:"shipment"`
	To       LocationID  `json:"to"`
	Kits     []KitNumber `json:"kits"`
	// Resupply says that a rule asked for it, not a person.
	Resupply bool     `json:"resupply,omitempty"`
	Reason   string   `json:"reason"`
	Contents Contents `json:"contents"`
	// Choice says how the kits of a resupply were chosen.
	Choice blind.Value[Choice] `json:"choice,omitzero"`
}

// ResupplyFellShort says that a rule asked for kits that the depot does not have.
type ResupplyFellShort struct {
	OfStock
	To LocationID `json:"to"`
	// Missing counts the kits by arm.
	Missing blind.Value[MissingKits] `json:"missing"`
}

// ShipmentCancelled puts the kits of a shipment that has not left back into stock.
type ShipmentCancelled struct {
	OfStock
	Shipment ShipmentID `json:"shipment"`
	Reason   string     `json:"reason"`
}

// ShipmentDispatched hands a shipment to the carrier. From here on the receiving place decides about it.
type ShipmentDispatched struct {
	OfStock
	Shipment ShipmentID  `json:"shipment"`
	To       LocationID  `json:"to"`
	On       domain.Date `json:"on"`
	Carrier  string      `json:"carrier,omitempty"`
}

// ShipmentReceived takes a shipment's kits into stock, each as it arrived.
type ShipmentReceived struct {
	OfStock
	Shipment ShipmentID  `json:"shipment"`
	From     LocationID  `json:"from"`
	On       domain.Date `json:"on"`
	// Available can be given out; Damaged and Quarantined are set aside, Missing did not arrive.
	Available   []KitNumber `json:"available,omitempty"`
	Quarantined []KitNumber `json:"quarantined,omitempty"`
	Damaged     []KitNumber `json:"damaged,omitempty"`
	Missing     []KitNumber `json:"missing,omitempty"`
	// Returned came back from a site and go to nobody any more.
	Returned []KitNumber `json:"returned,omitempty"`
	// Excursion says that the temperature left its range on the way, or that nobody knows whether it did.
	Excursion bool     `json:"excursion,omitempty"`
	Note      string   `json:"note,omitempty"`
	Contents  Contents `json:"contents"`
}

// ShipmentLost ends a shipment that never arrived.
type ShipmentLost struct {
	OfStock
	Shipment ShipmentID  `json:"shipment"`
	From     LocationID  `json:"from"`
	Kits     []KitNumber `json:"kits"`
	Reason   string      `json:"reason"`
}

// KitsQuarantined sets kits aside until somebody decides about them.
type KitsQuarantined struct {
	OfStock
	Kits   []KitNumber `json:"kits"`
	Cause  Cause       `json:"cause"`
	Reason string      `json:"reason"`
	// Lot is the recalled one, where that is the cause.
	Lot string `json:"lot,omitempty"`
	// Affected are those to whom a kit among them, or one of the recalled lot, had been allocated or dispensed.
	Affected []Slot `json:"affected,omitempty"`
}

// KitsReleased puts quarantined kits back to where they stood.
type KitsReleased struct {
	OfStock
	Kits   []KitNumber `json:"kits"`
	Reason string      `json:"reason"`
}

// StockHeld keeps a kit of every arm that the patient could get until the draw. Which kits is blinded: two kits that are
// held together hold different arms.
type StockHeld struct {
	OfStock
	Patient domain.PatientID      `json:"patient"`
	Kits    blind.Value[HeldKits] `json:"kits"`
	// Choice says how the kits were chosen. Holds from before there were seeds have none.
	Choice blind.Value[Choice] `json:"choice,omitzero"`
}

// StockRefused says why no kits were held for a patient.
type StockRefused struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Code    string           `json:"code"`
	Reason  string           `json:"reason"`
}

// HoldReleased gives held kits back.
type HoldReleased struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Reason  string           `json:"reason"`
}

// KitAllocated gives a kit to one patient for good; what else was held for the patient is free again.
type KitAllocated struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	// Visit is the visit at which it is given out; empty for the kit of the enrolment.
	Visit string `json:"visit,omitempty"`
	// Replaces is the kit that cannot be given out any more.
	Replaces KitNumber `json:"replaces,omitempty"`
	// Choice says how the kit was chosen, or would have been if none had been held.
	Choice blind.Value[Choice] `json:"choice,omitzero"`
}

// AllocationFailed says why a patient got no kit for now; what was held for the patient is free again.
type AllocationFailed struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Visit   string           `json:"visit,omitempty"`
	Code    string           `json:"code"`
	Reason  string           `json:"reason"`
	// Waits says that the patient gets a kit as soon as there is one.
	Waits bool `json:"waits,omitempty"`
}

// KitsSetAside takes allocated kits that were never given out from a patient who needs them no more. They go to nobody
// else: whatever was promised to one patient is not given to another.
type KitsSetAside struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kits    []KitNumber      `json:"kits"`
	Reason  string           `json:"reason"`
}

// KitDispensed hands an allocated kit to its patient.
type KitDispensed struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	Visit   string           `json:"visit,omitempty"`
	On      domain.Date      `json:"on"`
}

// KitReturned takes a dispensed kit back from its patient.
type KitReturned struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	On      domain.Date      `json:"on"`
}

// KitReconciled accounts for what a patient got: dispensed = returned + used + lost (ICH E6(R3) 3.15.3(c)).
type KitReconciled struct {
	OfStock
	Patient  domain.PatientID `json:"patient"`
	Kit      KitNumber        `json:"kit"`
	Returned int              `json:"returned"`
	Used     int              `json:"used"`
	Lost     int              `json:"lost"`
	Note     string           `json:"note,omitempty"`
}

// KitsExpired takes kits out of stock whose time has run out.
type KitsExpired struct {
	OfStock
	Kits    []KitNumber `json:"kits"`
	Through domain.Date `json:"through"`
	// Affected are those to whom one of them had been allocated.
	Affected []Slot `json:"affected,omitempty"`
}

// KitsDestroyed ends kits.
type KitsDestroyed struct {
	OfStock
	Kits        []KitNumber `json:"kits"`
	On          domain.Date `json:"on"`
	Certificate string      `json:"certificate"`
}

// KitLost ends a kit that cannot be found, at its place or at its patient's.
type KitLost struct {
	OfStock
	Kit KitNumber `json:"kit"`
	// Affected is to whom it had been allocated, if anybody.
	Affected []Slot `json:"affected,omitempty"`
	Reason   string `json:"reason"`
}

func (StockSeedRecorded) stockEvent()  {}
func (DeliveryTakenIn) stockEvent()    {}
func (ShipmentCreated) stockEvent()    {}
func (ResupplyFellShort) stockEvent()  {}
func (ShipmentCancelled) stockEvent()  {}
func (ShipmentDispatched) stockEvent() {}
func (ShipmentReceived) stockEvent()   {}
func (ShipmentLost) stockEvent()       {}
func (KitsQuarantined) stockEvent()    {}
func (KitsReleased) stockEvent()       {}
func (StockHeld) stockEvent()          {}
func (StockRefused) stockEvent()       {}
func (HoldReleased) stockEvent()       {}
func (KitAllocated) stockEvent()       {}
func (AllocationFailed) stockEvent()   {}
func (KitsSetAside) stockEvent()       {}
func (KitDispensed) stockEvent()       {}
func (KitReturned) stockEvent()        {}
func (KitReconciled) stockEvent()      {}
func (KitsExpired) stockEvent()        {}
func (KitsDestroyed) stockEvent()      {}
func (KitLost) stockEvent()            {}

// AboutPatient returns the patient that the event is about.
func (e StockHeld) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e StockRefused) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e KitAllocated) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e AllocationFailed) AboutPatient() domain.PatientID { return e.Patient }

// Cause says what put a kit into quarantine.
type Cause string

// The causes of a quarantine.
const (
	CauseExcursion Cause = "excursion"
	CauseRecall    Cause = "recall"
	CauseOther     Cause = "other"
)

// ResupplyRule says when a site is sent kits. A shipment that fills every arm up to Target is made as soon as so many kits
// are missing, of all arms together, that of one of them fewer than Trigger could be left. Kits under way count as there.
// As the arms are looked at together and filled up together, neither day nor size of a shipment tells which kits were used.
type ResupplyRule struct {
	Site    domain.SiteID `json:"site" doc:"The site that is supplied"`
	Depot   LocationID    `json:"depot" doc:"The depot that supplies it"`
	Trigger int           `json:"trigger" minimum:"1" doc:"A shipment is made before fewer kits of an arm than this are left, those under way counted; it looks at all arms together"`
	Target  int           `json:"target" minimum:"1" doc:"To how many kits each arm is filled up"`
	// OverdueDays is when a dispatched shipment that has not been received is reported.
	OverdueDays int `json:"overdueDays" minimum:"1" doc:"After how many days a shipment that has not arrived is reported"`
}
