package supply

import (
	"casebook/domain"
	"casebook/domain/personal"
)

// OpenDepot adds a depot to a study.
type OpenDepot struct {
	domain.InStudy
	Depot LocationID `json:"depot" doc:"Id of the depot; no site of the study may have it"`
	Name  string     `json:"name" minLength:"1" maxLength:"200" doc:"Its name"`
}

// RegisterKits makes the kits of a delivery known.
type RegisterKits struct {
	domain.InStudy
	Depot LocationID `json:"depot" doc:"The depot that has them"`
	// CSV has the columns kit, arm, lot, expiry and, where a kit holds more than one dose, units. Where the protocol has types of
	// kits, it has type in place of arm, and may have arm, strength, form, label_group and blinding, which must agree with the type.
	// The countries of a kit are those that its label allows, by their codes, with spaces between them; none for all countries.
	CSV string `json:"csv" minLength:"1" doc:"CSV with the columns kit, arm (or type, if the protocol has types of kits), lot, expiry (YYYY-MM-DD) and optionally units (1) and countries (those that the label allows, such as DE AT)"`
}

// ReleaseBatch releases a lot. Its kits can be shipped and given out once every lot of their delivery is released or recalled.
type ReleaseBatch struct {
	domain.InStudy
	Lot         string `json:"lot" minLength:"1" maxLength:"50" doc:"The lot"`
	Certificate string `json:"certificate" minLength:"1" maxLength:"200" doc:"Reference of the certificate of release"`
}

// RecallLot stops every kit of a lot, wherever it is.
type RecallLot struct {
	domain.InStudy
	Lot             string `json:"lot" minLength:"1" maxLength:"50" doc:"The lot"`
	domain.Reasoned `doc:"Why it is recalled"`
}

// SetResupplyRule says when a site is sent kits. It replaces the site's previous rule.
type SetResupplyRule struct {
	domain.InStudy
	Rule ResupplyRule `json:"rule" doc:"The rule"`
}

// WithdrawLotRecall ends a recall that was made in error.
type WithdrawLotRecall struct {
	domain.InStudy
	Lot             string `json:"lot" minLength:"1" maxLength:"50" doc:"The lot"`
	domain.Reasoned `doc:"Why it is not recalled"`
}

// ExtendExpiry lets a lot be used for longer.
type ExtendExpiry struct {
	domain.InStudy
	Lot             string      `json:"lot" minLength:"1" maxLength:"50" doc:"The lot"`
	To              domain.Date `json:"to" doc:"The last day on which it may be used"`
	Certificate     string      `json:"certificate" minLength:"1" maxLength:"200" doc:"Reference of the stability data"`
	domain.Reasoned `doc:"Why it may be used for longer"`
}

// ConfirmRelabelling records that kits have new labels with the later expiry of their lot.
type ConfirmRelabelling struct {
	AtLocation
	Kits []KitNumber `json:"kits" minItems:"1" maxItems:"1000" doc:"The kits"`
}

// TakeInDelivery is sent by the supply process when kits have been registered.
type TakeInDelivery struct {
	AtDepot
	Delivery int `json:"delivery" doc:"The registration"`
}

// CreateShipment packs kits for another location.
type CreateShipment struct {
	FromLocation    `doc:"The depot, or the site that sends kits back"`
	To              LocationID  `json:"to" doc:"The site, or the depot that takes kits back"`
	Kits            []KitNumber `json:"kits" minItems:"1" maxItems:"1000" doc:"The kits"`
	domain.Reasoned `doc:"Why they are sent, such as initial supply"`
}

// PlanResupply is sent by the resupply process. It creates a shipment if the site's rule demands one now.
type PlanResupply struct {
	AtDepot `doc:"The depot of the site's rule"`
	Site    domain.SiteID `json:"site" doc:"The site"`
	// Patients have come from other sites, and the site has given them no kit yet. Commands of version 1 name none.
	Patients []domain.PatientID `json:"patients,omitempty" doc:"Patients who have come from other sites"`
	// Seed is 32 random bytes in hex, for a location that has no seed yet. The command's declaration sets it.
	Seed string `json:"-"`
}

// CancelShipment puts the kits of a shipment that has not left back into stock.
type CancelShipment struct {
	FromLocation    `doc:"The location that made it"`
	Shipment        ShipmentID `json:"shipment" doc:"The shipment"`
	domain.Reasoned `doc:"Why it is cancelled"`
}

// DispatchShipment hands a shipment to the carrier.
type DispatchShipment struct {
	FromLocation
	Shipment ShipmentID  `json:"shipment" doc:"The shipment"`
	On       domain.Date `json:"on" doc:"Day of dispatch"`
	Carrier  string      `json:"carrier,omitempty" maxLength:"200" doc:"Carrier and reference"`
}

// ReceiveShipment records that a shipment arrived, and in which condition.
type ReceiveShipment struct {
	AtLocation `doc:"The location that receives it"`
	From       LocationID  `json:"from" doc:"The location that sent it"`
	Shipment   ShipmentID  `json:"shipment" doc:"The shipment"`
	On         domain.Date `json:"on" doc:"Day of receipt"`
	Damaged    []KitNumber `json:"damaged,omitempty" doc:"Kits that arrived damaged"`
	Missing    []KitNumber `json:"missing,omitempty" doc:"Kits that were not in it"`
	// Temperature is the reading of the monitor in the parcel.
	Temperature Temperature   `json:"temperature" enum:"in_range,excursion,unknown" doc:"What the temperature monitor says; anything but in_range puts the whole shipment into quarantine"`
	Note        personal.Text `json:"note,omitempty" maxLength:"500" doc:"What was observed"`
}

// Temperature is the reading of a shipment's temperature monitor.
type Temperature string

// The readings of a temperature monitor.
const (
	TemperatureInRange   Temperature = "in_range"
	TemperatureExcursion Temperature = "excursion"
	TemperatureUnknown   Temperature = "unknown"
)

// ReportShipmentLost records that a shipment never arrived.
type ReportShipmentLost struct {
	AtLocation      `doc:"The location that should have received it"`
	From            LocationID `json:"from" doc:"The location that sent it"`
	Shipment        ShipmentID `json:"shipment" doc:"The shipment"`
	domain.Reasoned `doc:"What is known of it"`
}

// QuarantineKits puts kits into quarantine until somebody decides about them.
type QuarantineKits struct {
	AtLocation
	Kits  []KitNumber `json:"kits" minItems:"1" maxItems:"1000" doc:"The kits"`
	Cause Cause       `json:"cause" enum:"excursion,other" doc:"What happened"`
	domain.Reasoned
}

// QuarantineLot is sent by the supply process when a lot has been recalled.
type QuarantineLot struct {
	AtLocation
	Lot             string `json:"lot" doc:"The lot"`
	domain.Reasoned `doc:"Why it was recalled"`
}

// EndLotRecall is sent by the supply process when the recall of a lot was withdrawn.
type EndLotRecall struct {
	AtLocation
	Lot             string `json:"lot" doc:"The lot"`
	domain.Reasoned `doc:"Why it was withdrawn"`
}

// ReleaseKits ends the quarantine of kits.
type ReleaseKits struct {
	AtLocation
	Kits            []KitNumber `json:"kits" minItems:"1" maxItems:"1000" doc:"The kits"`
	domain.Reasoned `doc:"On what grounds"`
}

// HoldStock is sent by the enrolment process before the draw. The answer is StockHeld or StockRefused.
type HoldStock struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Site  domain.SiteID  `json:"site" doc:"The site"`
	domain.OfPatient
	Stage string `json:"stage,omitempty" doc:"The stage of the protocol for which the patient is drawn; empty for the first draw"`
	// Seed is 32 random bytes in hex, for a location that has no seed yet. The command's declaration sets it.
	Seed string `json:"-"`
}

// ReleaseHold releases the kits that are held for a patient.
type ReleaseHold struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Site  domain.SiteID  `json:"site" doc:"The site"`
	domain.OfPatient
	domain.Reasoned
}

// AllocateKit allocates a kit of the patient's arm for a visit, if the patient has none yet or if the allocated one can
// no longer be given out. The answer is KitAllocated or AllocationFailed. The command does not name the arm, which is
// blinded; the decision reads it from its facts.
type AllocateKit struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Site  domain.SiteID  `json:"site" doc:"The site"`
	domain.OfPatient
	Visit string `json:"visit,omitempty" doc:"The visit; empty for the enrolment"`
	// Seed is 32 random bytes in hex, for a location that has no seed yet. The command's declaration sets it.
	Seed string `json:"-"`
}

// SetKitsAside is sent when a patient has left, or a visit did not take place. Allocated kits that were not given out go to no other
// patient.
type SetKitsAside struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Site  domain.SiteID  `json:"site" doc:"The site"`
	domain.OfPatient
	// Visit is the only visit whose kits are set aside; "" for all of them.
	Visit string `json:"visit,omitempty"`
	domain.Reasoned
}

// ReviseKits is sent when the dose of a patient was changed. Kits of another dose that were not given out are set aside, and the patient
// gets others in their place.
type ReviseKits struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Site  domain.SiteID  `json:"site" doc:"The site"`
	domain.OfPatient
	// Seed is 32 random bytes in hex, for a location that has no seed yet. The command's declaration sets it.
	Seed string `json:"-"`
}

// DispenseKit hands a patient the allocated kit.
type DispenseKit struct {
	Site domain.SiteID `json:"site" doc:"The site that has the kit"`
	domain.OfPatient
	Kit KitNumber   `json:"kit" doc:"The kit, as its label says"`
	On  domain.Date `json:"on" doc:"Day"`
}

// ReconcileKit accounts for the doses of a kit that came back, is broken, or does not come back.
type ReconcileKit struct {
	Site domain.SiteID `json:"site" doc:"The site that has the kit"`
	domain.OfPatient
	Kit      KitNumber     `json:"kit" doc:"The kit"`
	Returned int           `json:"returned" minimum:"0" doc:"Doses that came back"`
	Used     int           `json:"used" minimum:"0" doc:"Doses that were taken"`
	Lost     int           `json:"lost" minimum:"0" doc:"Doses that nobody can account for"`
	Note     personal.Text `json:"note,omitempty" maxLength:"500" doc:"What was found"`
}

// ExpireKits is sent by the supply process every day. It takes expired kits out of stock.
type ExpireKits struct {
	AtLocation
	Through domain.Date `json:"through" doc:"Kits that expire on this day or before are taken out"`
}

// DestroyKits records that kits were destroyed.
type DestroyKits struct {
	AtLocation
	Kits        []KitNumber `json:"kits" minItems:"1" maxItems:"1000" doc:"The kits"`
	On          domain.Date `json:"on" doc:"Day"`
	Certificate string      `json:"certificate" minLength:"1" maxLength:"200" doc:"Reference of the certificate of destruction"`
	// Witness is needed at a site, where the destruction needs an approval as well.
	Witness domain.UserID `json:"witness,omitempty" doc:"Who has seen it: at a site, another person of its staff"`
}

// ApproveDestruction lets a site destroy kits.
type ApproveDestruction struct {
	AtLocation      `doc:"The site"`
	Kits            []KitNumber `json:"kits" minItems:"1" maxItems:"1000" doc:"The kits"`
	domain.Reasoned `doc:"On what grounds"`
}

// ReplaceKit gives a patient another kit in place of one that was given out, or allocated.
type ReplaceKit struct {
	Site domain.SiteID `json:"site" doc:"The site that has the kit or gave it out, which is the former one of a patient who was transferred since"`
	domain.OfPatient
	Kit             KitNumber        `json:"kit" doc:"The kit that the patient cannot use"`
	Cause           ReplacementCause `json:"cause" doc:"What happened to it"`
	domain.Reasoned `doc:"What is known"`
	// Seed is 32 random bytes in hex, for a location that has no seed yet. The command's declaration sets it.
	Seed string `json:"-"`
}

// RecordNotDispensed puts an allocated kit back that the patient was not given.
type RecordNotDispensed struct {
	Site domain.SiteID `json:"site" doc:"The site that has the kit"`
	domain.OfPatient
	Kit             KitNumber `json:"kit" doc:"The kit"`
	domain.Reasoned `doc:"Why it was not given out"`
}

// DispenseUnscheduled allocates a kit for a patient between the visits of the protocol.
type DispenseUnscheduled struct {
	Site domain.SiteID `json:"site" doc:"The site of the patient"`
	domain.OfPatient
	domain.Reasoned `doc:"Why the patient needs it"`
	// Seed is 32 random bytes in hex, for a location that has no seed yet. The command's declaration sets it.
	Seed string `json:"-"`
}

// RecordRecallAction records what was done about a recalled kit that a patient has at home.
type RecordRecallAction struct {
	Site domain.SiteID `json:"site" doc:"The site that gave it out, which is the former one of a patient who was transferred since"`
	domain.OfPatient
	Kit    KitNumber     `json:"kit" doc:"The kit"`
	Action RecallAction  `json:"action" doc:"What was done"`
	On     domain.Date   `json:"on" doc:"Day"`
	Note   personal.Text `json:"note,omitempty" maxLength:"500" doc:"What else is known"`
}

// ReportKitFound records that a kit was found that had been reported lost.
type ReportKitFound struct {
	AtLocation      `doc:"The location that had reported it"`
	Kit             KitNumber `json:"kit" doc:"The kit"`
	domain.Reasoned `doc:"Where it was found"`
}

// ReportKitLost records that a kit cannot be found.
type ReportKitLost struct {
	AtLocation      `doc:"The location, or the site of the patient who had it"`
	Kit             KitNumber `json:"kit" doc:"The kit"`
	domain.Reasoned `doc:"What is known"`
}

// AtLocation is embedded by commands on the kits of a location.
type AtLocation struct {
	Study    domain.StudyID `json:"study" doc:"The study"`
	Location LocationID     `json:"location" doc:"The location"`
}

// FromLocation is embedded by commands on shipments that a location sends.
type FromLocation struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	From  LocationID     `json:"from" doc:"The location that sends it"`
}

// AtDepot is embedded by commands on the kits of a depot.
type AtDepot struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Depot LocationID     `json:"depot" doc:"The depot"`
}

// AboutSite returns the location as a site, which is how grants name it.
func (a AtLocation) AboutSite() (domain.StudyID, domain.SiteID) {
	return a.Study, domain.SiteID(a.Location)
}

// AboutSite returns the location as a site, which is how grants name it.
func (f FromLocation) AboutSite() (domain.StudyID, domain.SiteID) {
	return f.Study, domain.SiteID(f.From)
}

// AboutSite returns the depot as a site, which is how grants name it.
func (a AtDepot) AboutSite() (domain.StudyID, domain.SiteID) { return a.Study, domain.SiteID(a.Depot) }

// InLocation returns the stock that the command is about.
func (a AtLocation) InLocation() OfStock { return OfStock(a) }

func (a AtLocation) stock() OfStock   { return OfStock(a) }
func (f FromLocation) stock() OfStock { return OfStock{f.Study, f.From} }
func (a AtDepot) stock() OfStock      { return OfStock{a.Study, a.Depot} }

// atPatientsSite is a command on a patient's kits at a site.
type atPatientsSite interface {
	domain.AboutPatient
	site() domain.SiteID
}

func (c HoldStock) site() domain.SiteID    { return c.Site }
func (c ReleaseHold) site() domain.SiteID  { return c.Site }
func (c AllocateKit) site() domain.SiteID  { return c.Site }
func (c SetKitsAside) site() domain.SiteID { return c.Site }
func (c ReviseKits) site() domain.SiteID   { return c.Site }
func (c DispenseKit) site() domain.SiteID  { return c.Site }
func (c ReconcileKit) site() domain.SiteID { return c.Site }

func (c ReplaceKit) site() domain.SiteID          { return c.Site }
func (c RecordNotDispensed) site() domain.SiteID  { return c.Site }
func (c DispenseUnscheduled) site() domain.SiteID { return c.Site }
func (c RecordRecallAction) site() domain.SiteID  { return c.Site }

// StockOf returns the stock on which a command is decided. It returns false for a command that is not about one stock.
func StockOf(command any) (at OfStock, ok bool) {
	switch c := command.(type) {
	case atPatientsSite:
		return OfStock{Study: c.AboutPatient().Study(), Location: LocationID(c.site())}, true
	case domain.AboutSite:
		study, site := c.AboutSite()
		return OfStock{Study: study, Location: LocationID(site)}, true
	}
	return OfStock{}, false
}

// BetweenLocations is a command whose decision also needs the stock of another location.
type BetweenLocations interface{ OtherLocation() LocationID }

// OtherLocation returns the location that sent the shipment.
func (c ReceiveShipment) OtherLocation() LocationID { return c.From }

// OtherLocation returns the location that sent the shipment.
func (c ReportShipmentLost) OtherLocation() LocationID { return c.From }

// OtherLocation returns the site that is supplied.
func (c PlanResupply) OtherLocation() LocationID { return LocationID(c.Site) }

// byLocation returns the key of the stock's stream that a command is decided on.
func byLocation(command any) (id string, ok bool) {
	at, ok := StockOf(command)
	if !ok {
		return "", false
	}
	return StockID(at.Study, at.Location), true
}
