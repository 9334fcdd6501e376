// Package supply decides about study drug: kits, their lots, and where each kit is. There are two kinds of streams. The
// stream of a study (category supply) knows every kit number, the lots and the resupply rules. The stream of a location
// (category stock), which is a depot or a site, knows the kits that are there. A shipment is decided on its sender's
// stream until it is dispatched, and on its receiver's stream from then on. So exactly one stream decides about a kit
// at any time, and no kit goes to two patients.
//
// The arm of a kit, its lot and its expiry are blinded values: a lot or an expiry date may occur in one arm only, and
// would then reveal the arm.
package supply

import (
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/personal"
	"casebook/domain/study"
)

// KitNumber is the number that is printed on a kit. It does not reveal what the kit contains.
type KitNumber string

// LocationID is the id of a depot or a site. No depot of a study has the id of one of its sites.
type LocationID string

// ShipmentID consists of the location that sends the shipment and a running number at that location.
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

// Slot says for whom a kit is: for a patient, at the enrolment or at a visit.
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

// Content is what blinded people must not learn about a kit.
type Content struct {
	Arm    domain.ArmID `json:"arm"`
	Lot    string       `json:"lot"`
	Expiry domain.Date  `json:"expiry"`
	// Units is how many doses the kit holds.
	Units int `json:"units"`
	// Type is the type of the kit, where the protocol has types. Arm is then that of the type, "" if it is for patients of every arm.
	Type string `json:"type,omitempty"`
}

// kind is what the kit has in common with those that can replace it: its type, or its arm where there are no types.
func (c Content) kind() study.Kind {
	if c.Type != "" {
		return study.Kind(c.Type)
	}
	return c.Arm
}

// Contents are the contents of several kits. They are sealed together, which takes less space than sealing each kit.
type Contents = blind.Value[KitContents]

// Event is an event of a study's supply as a whole.
type Event interface{ supplyEvent() }

// events are the events of the stream with their stored names.
var events = []domain.EventType{
	domain.Stored[DepotOpened]("DepotOpened").InNoView("decisions read it; the kits show where they are"),
	// Since version 2, the labels of kits may allow some countries only. A program that knows only version 1 would send them elsewhere.
	domain.Stored[KitsRegistered]("KitsRegistered", domain.Unchanged),
	domain.Stored[BatchReleased]("BatchReleased").InNoView("a lot may reveal an arm"),
	domain.Stored[LotRecalled]("LotRecalled").InNoView("a lot may reveal an arm; the kits show their quarantine"),
	domain.Stored[LotRecallWithdrawn]("LotRecallWithdrawn").InNoView("a lot may reveal an arm; the kits show their release"),
	domain.Stored[LotExpiryExtended]("LotExpiryExtended").InNoView("a lot or an expiry date may reveal an arm"),
	// Since version 2, a rule can look ahead. A program that knows only version 1 would send too little.
	domain.Stored[ResupplyRuleSet]("ResupplyRuleSet", domain.Unchanged).InNoView("decisions read it; the shipments show its effect"),
	domain.Stored[ResupplyEnded]("ResupplyEnded").InNoView("decisions read it; the shipments show its effect"),
	domain.Stored[ResupplyOfArmEnded]("ResupplyOfArmEnded").InNoView("that an arm is supplied no more is blinded"),
	domain.Stored[ResupplyOfArmResumed]("ResupplyOfArmResumed").InNoView("that an arm was supplied no more is blinded"),
	domain.Stored[ResupplyOfKitTypesEnded]("ResupplyOfKitTypesEnded").InNoView("that types of kits are supplied no more is blinded"),
	domain.Stored[ResupplyOfKitTypesResumed]("ResupplyOfKitTypesResumed").InNoView("that types of kits were supplied no more is blinded"),
	domain.Stored[ShippingApproved]("ShippingApproved"),
	domain.Stored[ShippingApprovalWithdrawn]("ShippingApprovalWithdrawn"),
	domain.Stored[DoNotShipDaysSet]("DoNotShipDaysSet").InNoView("a lot may reveal an arm"),
	domain.Stored[DoNotShipDaysOfTypeSet]("DoNotShipDaysOfTypeSet").InNoView("a type of kits may reveal an arm"),
	domain.Stored[ExpiringKitsShown]("ExpiringKitsShown").InNoView("the audit trail says who has looked"),
}

// DepotOpened adds a location that stores kits and sends them to sites.
type DepotOpened struct {
	Study domain.StudyID `json:"study"`
	Depot LocationID     `json:"depot"`
	Name  string         `json:"name"`
}

// KitsRegistered registers kits that were delivered to a depot. Their numbers are in ascending order.
type KitsRegistered struct {
	Study domain.StudyID `json:"study"`
	Depot LocationID     `json:"depot"`
	// Delivery is the running number of the registration, from 1.
	Delivery int         `json:"delivery"`
	Kits     []KitNumber `json:"kits"`
	// SHA256 is the hash of the file of the delivery, in hex. It is blinded, because somebody who knows the hash of a
	// short file could find its contents by trying.
	SHA256   blind.Value[string] `json:"sha256"`
	Contents Contents            `json:"contents"`
	// Together says that no kit may be used before a decision has been made about every lot of the delivery. It is false in
	// registrations by earlier programs: of their deliveries, lots that an earlier program released are used alone.
	Together bool `json:"together,omitempty"`
	// Labels are the kits whose labels allow some countries only. Everybody can read a label.
	Labels []Label `json:"labels,omitempty"`
}

// BatchReleased releases a lot, after its certification (EU GMP Annex 16; Annex 13). Its kits may be shipped and given out
// once a decision has been made about every lot that came in the same delivery.
type BatchReleased struct {
	Study       domain.StudyID `json:"study"`
	Lot         string         `json:"lot"`
	Certificate string         `json:"certificate"`
	// Together is false in releases by earlier programs, which let the kits of each lot be used at once (see KitsRegistered).
	Together bool `json:"together,omitempty"`
}

// LotRecalled stops every kit of a lot in the whole study. Each of the Locations has to quarantine its kits of the lot.
type LotRecalled struct {
	Study     domain.StudyID `json:"study"`
	Lot       string         `json:"lot"`
	Reason    personal.Text  `json:"reason"`
	Locations []LocationID   `json:"locations"`
}

// ResupplyRuleSet says when a site is sent new kits, and how many.
type ResupplyRuleSet struct {
	Study domain.StudyID `json:"study"`
	Rule  ResupplyRule   `json:"rule"`
	// Was is the rule before; nil if the site had none, and in events from before they said so.
	Was *ResupplyRule `json:"was,omitempty"`
}

// ResupplyEnded says that a site is sent no more kits by its rule.
type ResupplyEnded struct {
	Study domain.StudyID `json:"study"`
	Site  domain.SiteID  `json:"site"`
	// Depot has supplied it.
	Depot  LocationID    `json:"depot"`
	Reason personal.Text `json:"reason"`
}

// LotRecallWithdrawn ends a recall that was made in error. The kits stay where they are until somebody releases them.
type LotRecallWithdrawn struct {
	Study  domain.StudyID `json:"study"`
	Lot    string         `json:"lot"`
	Reason personal.Text  `json:"reason"`
	// Each of the Locations has to end the recall of what patients have at home. Withdrawals by earlier programs name none.
	Locations []LocationID `json:"locations,omitempty"`
}

// LotExpiryExtended says that a lot may be used for longer (EU GMP Annex 13, 33). Its kits may when they have new labels.
type LotExpiryExtended struct {
	Study domain.StudyID `json:"study"`
	Lot   string         `json:"lot"`
	// To is blinded, like the expiry of a kit.
	To          blind.Value[domain.Date] `json:"to"`
	Certificate string                   `json:"certificate"`
	Reason      personal.Text            `json:"reason"`
}

func (DepotOpened) supplyEvent()        {}
func (KitsRegistered) supplyEvent()     {}
func (BatchReleased) supplyEvent()      {}
func (LotRecalled) supplyEvent()        {}
func (LotRecallWithdrawn) supplyEvent() {}
func (LotExpiryExtended) supplyEvent()  {}
func (ResupplyRuleSet) supplyEvent()    {}
func (ResupplyEnded) supplyEvent()      {}

// StockEvent is an event of the stock of one location.
type StockEvent interface{ stockEvent() }

// stockEvents are the events of a stock with their stored names.
var stockEvents = []domain.EventType{
	domain.Stored[StockSeedRecorded]("StockSeedRecorded").InNoView("decisions read it"),
	domain.Stored[DeliveryTakenIn]("DeliveryTakenIn"),
	domain.Stored[ShipmentCreated]("ShipmentCreated"),
	domain.Stored[ResupplyFellShort]("ResupplyFellShort").ForReaders().InNoView("the alert that it raises is shown"),
	domain.Stored[ResupplyPredicted]("ResupplyPredicted").ForReaders().InNoView("by arm it is blinded; the shipments show its effect"),
	domain.Stored[ResupplyWithheld]("ResupplyWithheld").InNoView("the alert that it raises is shown"),
	domain.Stored[ShipmentCancelled]("ShipmentCancelled"),
	domain.Stored[ShipmentDispatched]("ShipmentDispatched"),
	// Since version 2, they name the kits that stay what they were. A program that knows only version 1 would take such a kit for a new
	// one.
	domain.Stored[ShipmentReceived]("ShipmentReceived", domain.Unchanged),
	domain.Stored[ShipmentLost]("ShipmentLost", domain.Unchanged),
	domain.Stored[KitsQuarantined]("KitsQuarantined"),
	domain.Stored[LotRecallEnded]("LotRecallEnded"),
	domain.Stored[KitsReleased]("KitsReleased", domain.Unchanged),
	domain.Stored[StockHeld]("StockHeld").InNoView("the held kits are blinded; the process monitor shows that there is a hold"),
	domain.Stored[StockRefused]("StockRefused").ForReaders().InNoView("the process monitor shows why"),
	domain.Stored[HoldReleased]("HoldReleased").InNoView("the held kits are blinded"),
	domain.Stored[KitAllocated]("KitAllocated", domain.Unchanged),
	domain.Stored[AllocationFailed]("AllocationFailed").InNoView("the process monitor and the alert show it"),
	domain.Stored[KitsSetAside]("KitsSetAside"),
	domain.Stored[KitDispensed]("KitDispensed"),
	domain.Stored[KitReturned]("KitReturned"),
	domain.Stored[KitPartlyReturned]("KitPartlyReturned"),
	domain.Stored[KitNotReturned]("KitNotReturned"),
	domain.Stored[KitReconciled]("KitReconciled"),
	domain.Stored[KitRecounted]("KitRecounted"),
	domain.Stored[KitsExpired]("KitsExpired"),
	domain.Stored[KitsDestroyed]("KitsDestroyed"),
	domain.Stored[KitLost]("KitLost"),
	domain.Stored[KitFound]("KitFound", domain.Unchanged),
	domain.Stored[KitReplacementAsked]("KitReplacementAsked"),
	domain.Stored[KitPutBack]("KitPutBack"),
	domain.Stored[UnscheduledKitAsked]("UnscheduledKitAsked").InNoView("the kit that is allocated is shown, with its reason"),
	domain.Stored[KitsRelabelled]("KitsRelabelled").InNoView("kits of one lot may be of one arm"),
	domain.Stored[RecallActionRecorded]("RecallActionRecorded"),
	domain.Stored[DestructionApproved]("DestructionApproved"),
	domain.Stored[DispensingDateCorrected]("DispensingDateCorrected"),
	domain.Stored[ReturnDateCorrected]("ReturnDateCorrected"),
	domain.Stored[ReplacementsAllowed]("ReplacementsAllowed").InNoView("the alert that it settles shows it"),
}

// OfStock is embedded by the events of a stock. It names the location and its study.
type OfStock struct {
	Study    domain.StudyID `json:"study"`
	Location LocationID     `json:"location"`
}

// AboutStock returns the stock that the event is about.
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

// ShipmentCreated packs kits for another location. Their numbers are in ascending order, which reveals no arm.
type ShipmentCreated struct {
	OfStock
	Shipment ShipmentID  `json:"shipment"`
	To       LocationID  `json:"to"`
	Kits     []KitNumber `json:"kits"`
	// Resupply says that it follows from a resupply rule, and was not requested by a person.
	Resupply bool `json:"resupply,omitempty"`
	// Raises is by how many kits, of all arms together, a resupply raises the stock that the receiver is kept at. Earlier
	// resupplies filled up each arm, and raised nothing.
	Raises   int           `json:"raises,omitempty"`
	Reason   personal.Text `json:"reason"`
	Contents Contents      `json:"contents"`
	// Choice says how the kits of a resupply were chosen.
	Choice blind.Value[Choice] `json:"choice,omitzero"`
}

// ResupplyFellShort says that a resupply rule demands kits that the depot does not have.
type ResupplyFellShort struct {
	OfStock
	To LocationID `json:"to"`
	// Missing counts the kits by arm.
	Missing blind.Value[MissingKits] `json:"missing"`
}

// ResupplyWithheld says that a resupply rule demands kits that may not be shipped to the site. It is recorded once, and again when
// an approval has changed and the site still lacks one.
type ResupplyWithheld struct {
	OfStock
	To LocationID `json:"to"`
	// Code is that of the refusal of such a shipment: country_not_approved or site_not_approved.
	Code   string        `json:"code"`
	Reason personal.Text `json:"reason"`
	// Changes counts the approvals and withdrawals that were known.
	Changes int `json:"changes"`
}

// ShipmentCancelled puts the kits of a shipment that has not left back into stock.
type ShipmentCancelled struct {
	OfStock
	Shipment ShipmentID    `json:"shipment"`
	Reason   personal.Text `json:"reason"`
}

// ShipmentDispatched hands a shipment to the carrier. From now on the shipment is decided on the receiver's stream.
type ShipmentDispatched struct {
	OfStock
	Shipment ShipmentID  `json:"shipment"`
	To       LocationID  `json:"to"`
	On       domain.Date `json:"on"`
	Carrier  string      `json:"carrier,omitempty"`
}

// ShipmentReceived takes the kits of a shipment into stock, each in the condition in which it arrived.
type ShipmentReceived struct {
	OfStock
	Shipment ShipmentID  `json:"shipment"`
	From     LocationID  `json:"from"`
	On       domain.Date `json:"on"`
	// Available kits can be given out. Missing kits did not arrive.
	Available   []KitNumber `json:"available,omitempty"`
	Quarantined []KitNumber `json:"quarantined,omitempty"`
	Damaged     []KitNumber `json:"damaged,omitempty"`
	Missing     []KitNumber `json:"missing,omitempty"`
	// Returned kits came back from a site, and no patient gets them any more.
	Returned []KitNumber `json:"returned,omitempty"`
	// Kept are kits that could not be given out when they were sent, and cannot now. In receipts by earlier programs, what is missing
	// had been available.
	Kept Keeping `json:"kept,omitempty"`
	// Excursion says that the temperature left its range during the transport, or that this is unknown.
	Excursion bool          `json:"excursion,omitempty"`
	Note      personal.Text `json:"note,omitempty"`
	Contents  Contents      `json:"contents"`
}

// ShipmentLost says that a shipment never arrived.
type ShipmentLost struct {
	OfStock
	Shipment ShipmentID    `json:"shipment"`
	From     LocationID    `json:"from"`
	Kits     []KitNumber   `json:"kits"`
	Reason   personal.Text `json:"reason"`
	// Contents are needed when a kit is found. Losses that were recorded by earlier programs have none.
	Contents Contents `json:"contents,omitzero"`
	// Kept are the kits that could not be given out when they were sent. Losses that were recorded by earlier programs name none.
	Kept Keeping `json:"kept,omitempty"`
}

// Keeping are kits that could not be given out when they were sent, in groups.
type Keeping []Kept

// Kept are kits that could not be given out when they were sent: the status that they have at the receiver, and the one that they have
// when they are found, or released from quarantine. So a kit that a patient had does not become available by being lost.
type Kept struct {
	Status KitStatus   `json:"status"`
	Before KitStatus   `json:"before,omitempty"`
	Kits   []KitNumber `json:"kits"`
}

// KitsQuarantined puts kits into quarantine until somebody decides about them.
type KitsQuarantined struct {
	OfStock
	Kits   []KitNumber   `json:"kits"`
	Cause  Cause         `json:"cause"`
	Reason personal.Text `json:"reason"`
	// Lot is the recalled one, where that is the cause.
	Lot string `json:"lot,omitempty"`
	// Affected are those to whom a kit among them, or one of the recalled lot, had been allocated or dispensed.
	Affected []Slot `json:"affected,omitempty"`
	// AtHome are the kits of the recalled lot that patients have at home, and Holders these patients. Recalls by earlier programs
	// name none.
	AtHome  []KitNumber        `json:"atHome,omitempty"`
	Holders []domain.PatientID `json:"holders,omitempty"`
	// Again are the kits, with these, that were taken from patients or the shelf before they were given out since a shipment has
	// arrived, if there are several. Earlier events name none.
	Again []KitNumber `json:"again,omitempty"`
}

// LotRecallEnded ends a recall that was withdrawn at a location: patients may use what they have at home. If the lot is recalled again,
// all is told again.
type LotRecallEnded struct {
	OfStock
	Lot    string        `json:"lot"`
	Reason personal.Text `json:"reason"`
	// AtHome are the kits of the lot that were recalled while patients had them, and Holders these patients.
	AtHome  []KitNumber        `json:"atHome,omitempty"`
	Holders []domain.PatientID `json:"holders,omitempty"`
	// Affected are the patients and visits that need no other kits any more. Earlier events name none.
	Affected []Slot `json:"affected,omitempty"`
}

// KitsReleased ends the quarantine of kits and gives them back the status that they had before.
type KitsReleased struct {
	OfStock
	Kits []KitNumber `json:"kits"`
	// Affected are the patients and visits that have their kits again by it; none in version 1.
	Affected []Slot        `json:"affected,omitempty"`
	Reason   personal.Text `json:"reason"`
}

// StockHeld reserves, until the draw, a kit of every arm that the patient could get. The kit numbers are blinded,
// because kits that are held together are of different arms.
type StockHeld struct {
	OfStock
	Patient domain.PatientID      `json:"patient"`
	Kits    blind.Value[HeldKits] `json:"kits"`
	// More are the further kits of each arm, where the patient could get more than one.
	More blind.Value[MoreKits] `json:"more,omitzero"`
	// Choice says how the kits were chosen. Holds from before there were seeds have none.
	Choice blind.Value[Choice] `json:"choice,omitzero"`
}

// StockRefused says why no kits were held for a patient.
type StockRefused struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Code    string           `json:"code"`
	Reason  personal.Text    `json:"reason"`
}

// HoldReleased ends a hold, so that its kits are free again.
type HoldReleased struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Reason  personal.Text    `json:"reason"`
}

// KitAllocated reserves a kit for one patient for good. The other kits of the patient's hold are free again.
type KitAllocated struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	// Visit is the visit at which the kit is given out; empty for the kit of the enrolment.
	Visit string `json:"visit,omitempty"`
	// Item is the place of the kit among those of the visit, from 0.
	Item int `json:"item,omitempty"`
	// Replaces is the kit of the same patient and visit that can no longer be given out, if there was one.
	Replaces KitNumber `json:"replaces,omitempty"`
	// Step is the step of the titration for which the kit is, and Rescue says that the patient was on a rescue medication. Step is 0
	// where the protocol has no titration, and in events of version 1.
	Step   int  `json:"step,omitempty"`
	Rescue bool `json:"rescue,omitempty"`
	// Plan is the mark of what was planned for the visit, for all arms together, as study.PlanFor makes it; "" where that is not known.
	Plan string `json:"plan,omitempty"`
	// Choice says how the kit was chosen, or would have been if none had been held.
	Choice blind.Value[Choice] `json:"choice,omitzero"`
}

// AllocationFailed says why a patient gets no kit for now. The kits of the patient's hold are free again.
type AllocationFailed struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Visit   string           `json:"visit,omitempty"`
	Code    string           `json:"code"`
	Reason  personal.Text    `json:"reason"`
	// Waits says that the patient gets a kit as soon as the site has one.
	Waits bool `json:"waits,omitempty"`
	// Withheld says that the patient gets none because of the treatment, which may be resumed.
	Withheld Withholding `json:"withheld,omitempty"`
}

// waiting says that the patient waits for the kits.
func (e AllocationFailed) waiting() bool { return e.Waits || e.Withheld != "" }

// KitsSetAside takes allocated kits that were never given out from a patient who no longer needs them. They go to no
// other patient: a kit that was allocated once is never allocated again.
type KitsSetAside struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kits    []KitNumber      `json:"kits"`
	Reason  personal.Text    `json:"reason"`
	// Affected has the visits that the kits were for. Events from before it was recorded have none.
	Affected []Slot `json:"affected,omitempty"`
}

// KitDispensed hands an allocated kit to its patient.
type KitDispensed struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	Visit   string           `json:"visit,omitempty"`
	On      domain.Date      `json:"on"`
	// DosesPerDay is how many doses of all kits of the visit the patient is to take each day; 0 if the protocol does not say.
	DosesPerDay float64 `json:"dosesPerDay,omitempty"`
}

// KitReconciled accounts for the doses that a patient got: dispensed = returned + used + lost (ICH E6(R3) 3.15.3(c)).
type KitReconciled struct {
	OfStock
	Patient  domain.PatientID `json:"patient"`
	Kit      KitNumber        `json:"kit"`
	Returned int              `json:"returned"`
	Used     int              `json:"used"`
	Lost     int              `json:"lost"`
	Note     personal.Text    `json:"note,omitempty"`
}

// KitsExpired takes expired kits out of stock.
type KitsExpired struct {
	OfStock
	Kits    []KitNumber `json:"kits"`
	Through domain.Date `json:"through"`
	// Affected are the patients and visits that one of the kits was allocated to.
	Affected []Slot `json:"affected,omitempty"`
}

// KitsDestroyed says that kits were destroyed.
type KitsDestroyed struct {
	OfStock
	Kits        []KitNumber `json:"kits"`
	On          domain.Date `json:"on"`
	Certificate string      `json:"certificate"`
	// Witness saw it. Destructions at depots have none.
	Witness domain.UserID `json:"witness,omitempty"`
}

// KitLost says that a kit cannot be found, at its location or with its patient.
type KitLost struct {
	OfStock
	Kit KitNumber `json:"kit"`
	// Affected is the patient and visit that the kit was allocated to, if any.
	Affected []Slot        `json:"affected,omitempty"`
	Reason   personal.Text `json:"reason"`
	// Again are the kits, with this one, that were taken from patients or the shelf before they were given out since a shipment has
	// arrived, if there are several. Earlier events name none.
	Again []KitNumber `json:"again,omitempty"`
}

func (StockSeedRecorded) stockEvent()  {}
func (DeliveryTakenIn) stockEvent()    {}
func (ShipmentCreated) stockEvent()    {}
func (ResupplyFellShort) stockEvent()  {}
func (ResupplyWithheld) stockEvent()   {}
func (ShipmentCancelled) stockEvent()  {}
func (ShipmentDispatched) stockEvent() {}
func (ShipmentReceived) stockEvent()   {}
func (ShipmentLost) stockEvent()       {}
func (KitsQuarantined) stockEvent()    {}
func (LotRecallEnded) stockEvent()     {}
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

// KitFound says that a lost kit was found. One that its patient had is with the patient again. All others wait for a decision.
type KitFound struct {
	OfStock
	Kit KitNumber `json:"kit"`
	// Affected is the patient and visit that has its kit again by it; none in version 1.
	Affected []Slot        `json:"affected,omitempty"`
	Reason   personal.Text `json:"reason"`
}

// ReplacementCause says why a patient gets another kit.
type ReplacementCause string

// The causes of a replacement.
const (
	LostByPatient   ReplacementCause = "lost_by_patient"
	KitWasDamaged   ReplacementCause = "damaged"
	KitMisallocated ReplacementCause = "misallocated"
	KitWasRecalled  ReplacementCause = "recalled"
)

// ReplacementCauses are all causes of a replacement.
var ReplacementCauses = []ReplacementCause{LostByPatient, KitWasDamaged, KitMisallocated, KitWasRecalled}

// Schema implements domain.HasSchema.
func (ReplacementCause) Schema() domain.Schema { return domain.OneOf(ReplacementCauses...) }

// KitReplacementAsked says that a patient is to get another kit in place of one. It is followed by the allocation, or by why there
// is none.
type KitReplacementAsked struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	Visit   string           `json:"visit,omitempty"`
	Cause   ReplacementCause `json:"cause"`
	Reason  personal.Text    `json:"reason"`
	// At is the site that gives the patient another one, where that is not the one that gave this one out: the patient was transferred.
	At domain.SiteID `json:"at,omitempty"`
	// Again are the kits, with this one, that were taken from patients or the shelf before they were given out since a shipment has
	// arrived, if there are several. Earlier events name none.
	Again []KitNumber `json:"again,omitempty"`
}

// KitPutBack takes an allocated kit from a patient who was not given it. Nobody but this patient may get it later, unless it is shelved.
type KitPutBack struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	Visit   string           `json:"visit,omitempty"`
	Reason  personal.Text    `json:"reason"`
	// Shelved says that the kit shows nothing and is available again. No earlier one is.
	Shelved bool `json:"shelved,omitempty"`
}

// UnscheduledKitAsked says that a patient is to get a kit between the visits of the protocol. It is followed by the allocation, or by
// why there is none.
type UnscheduledKitAsked struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	// Visit names the occasion. No visit of the protocol is called so.
	Visit  string        `json:"visit"`
	Reason personal.Text `json:"reason"`
}

// KitsRelabelled says that kits of a lot that may be used for longer have their new labels.
type KitsRelabelled struct {
	OfStock
	// To has the new expiry of each kit. The kits are blinded too: they are of one lot.
	To blind.Value[Expiries] `json:"to"`
}

// Expiries are the days on which kits expire.
type Expiries map[KitNumber]domain.Date

// RecallAction is what was done about a recalled kit that a patient has at home.
type RecallAction string

// The actions of a recall.
const (
	PatientTold       RecallAction = "told"        // the patient knows not to use it
	PatientNotReached RecallAction = "not_reached" // it is tried again
	PatientWillReturn RecallAction = "will_return"
	UsedUp            RecallAction = "used_up" // nothing of it is left
	ThrownAway        RecallAction = "thrown_away"
)

// RecallActions are all actions of a recall.
var RecallActions = []RecallAction{PatientTold, PatientNotReached, PatientWillReturn, UsedUp, ThrownAway}

// Schema implements domain.HasSchema.
func (RecallAction) Schema() domain.Schema { return domain.OneOf(RecallActions...) }

// RecallActionRecorded says what was done about a recalled kit that a patient has at home.
type RecallActionRecorded struct {
	OfStock
	Patient domain.PatientID `json:"patient"`
	Kit     KitNumber        `json:"kit"`
	Action  RecallAction     `json:"action"`
	On      domain.Date      `json:"on"`
	Note    personal.Text    `json:"note,omitempty"`
}

// DestructionApproved allows a site to destroy kits (ICH E6(R3) 3.15.3(c)).
type DestructionApproved struct {
	OfStock
	Kits   []KitNumber   `json:"kits"`
	Reason personal.Text `json:"reason"`
}

func (KitFound) stockEvent()             {}
func (KitReplacementAsked) stockEvent()  {}
func (KitPutBack) stockEvent()           {}
func (UnscheduledKitAsked) stockEvent()  {}
func (KitsRelabelled) stockEvent()       {}
func (RecallActionRecorded) stockEvent() {}
func (DestructionApproved) stockEvent()  {}

// AboutPatient returns the patient that the event is about.
func (e KitReplacementAsked) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e KitPutBack) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e UnscheduledKitAsked) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e RecallActionRecorded) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e StockHeld) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e StockRefused) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e KitAllocated) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e AllocationFailed) AboutPatient() domain.PatientID { return e.Patient }

// Cause says why kits are in quarantine.
type Cause string

// The causes of a quarantine.
const (
	CauseExcursion Cause = "excursion"
	CauseRecall    Cause = "recall"
	CauseOther     Cause = "other"
)

// ResupplyRule says when a site is sent kits. An empty site gets Target kits of each arm. After that, a shipment is made as soon
// as so many kits are missing, of all arms together, that of one of them fewer than Trigger could be left. Kits in transit
// count as there. Chance decides of which arms the new kits are, so that neither the day nor the kits of a shipment tell which
// kits were used. If fewer than Trigger are left of an arm all the same, the site's stock is raised by as many kits of each arm
// as bring this one up to Target.
type ResupplyRule struct {
	Site    domain.SiteID `json:"site" doc:"The site that is supplied"`
	Depot   LocationID    `json:"depot" doc:"The depot that supplies it"`
	Trigger int           `json:"trigger" minimum:"1" doc:"Fewer kits of an arm than this are never left, as long as the depot has some. Kits in transit count"`
	Target  int           `json:"target" minimum:"1" doc:"The number of kits of each arm that an empty site gets; at least 2 above the trigger where there are several arms. Later on there are as many kits altogether, of which arms chance decides, and more where one arm is used more than another"`
	// OverdueDays is the number of days after which a dispatched shipment that was not received is reported.
	OverdueDays int `json:"overdueDays" minimum:"1" doc:"After how many days a shipment that has not arrived is reported"`
	// PredictDays is how far the rule looks ahead: it counts the kits that the visits until then need. 0 for a rule that does not, as
	// all rules of earlier programs.
	PredictDays int `json:"predictDays,omitempty" minimum:"0" maximum:"365" doc:"The rule looks so many days ahead, and keeps the kits ready that visits need until then; 0 for trigger and target alone"`
	// Enrolments is how many patients are expected to be enrolled within the look-ahead.
	Enrolments int `json:"enrolments,omitempty" minimum:"0" maximum:"100" doc:"So many enrolments are expected within these days, each of which needs a kit"`
}
