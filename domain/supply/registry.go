package supply

import (
	"cmp"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/persistent"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// Supply is the state of a study's supply as a whole.
type Supply struct {
	Depots map[LocationID]string
	// Deliveries are the registrations. The first has the number 1.
	Deliveries []KitsRegistered
	Lots       map[string]Lot
	Rules      map[domain.SiteID]ResupplyRule
	// Events counts the events.
	Events int

	// GreenLights are the sites and countries that kits may be shipped to, where the protocol asks for it.
	GreenLights GreenLights

	numbers persistent.Map[KitNumber, int]
	// labels are the countries that the labels of kits allow; none for kits that may go everywhere.
	labels persistent.Map[KitNumber, []string]
	// shipDays are the do-not-ship days.
	shipDays map[shipLimit]int
	// ended are the arms of which the rule of a site sends no more kits, and endedTypes the types; endedSealed says that one of them is
	// sealed.
	ended       map[domain.SiteID][]domain.ArmID
	endedTypes  map[domain.SiteID][]study.Kind
	endedSealed bool
	// within is what is known of each delivery, by its number. Deliveries whose contents are sealed are missing.
	within map[int]delivered
}

// batch are the kits of a delivery that are of one lot and kind and expire on the same day, as they were registered.
type batch struct {
	lot    string
	kind   study.Kind
	expiry domain.Date
}

// compare puts batches in order.
func (b batch) compare(other batch) int {
	return cmp.Or(cmp.Compare(b.lot, other.lot), cmp.Compare(b.kind, other.kind), cmp.Compare(b.expiry, other.expiry))
}

// delivered says which lots came in a delivery, and on which days its kits expire.
type delivered struct {
	lots    []string
	batches []batch
	// together says that no lot of it was ever used alone.
	together bool
}

// Lot is the state of a lot.
type Lot struct {
	Released, Recalled bool
	// Extended is until when it may be used by the last extension; "" if there was none. Extensions are all of them.
	Extended   domain.Date
	Extensions []domain.Date
	// Alone says that the lot was released by an earlier program, which did not wait for the other lots of the delivery.
	Alone  bool
	Reason personal.Text
}

// Decider decides on the stream of a study's supply.
var Decider = domain.Decider[Supply, Event]{Category: "supply", Key: domain.ByStudy, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams(), StockDecider.Streams()}

func evolve(s Supply, event Event) Supply {
	s.Events++
	switch e := event.(type) {
	case DepotOpened:
		s.Depots = maps.Clone(s.Depots)
		if s.Depots == nil {
			s.Depots = map[LocationID]string{}
		}
		s.Depots[e.Depot] = e.Name
	case KitsRegistered:
		s.Deliveries = append(slices.Clip(s.Deliveries), e)
		for _, n := range e.Kits {
			s.numbers = s.numbers.Set(n, e.Delivery)
		}
		for _, label := range e.Labels {
			for _, n := range label.Kits {
				s.labels = s.labels.Set(n, label.Countries)
			}
		}
		s = s.withContents(e)
	case BatchReleased:
		s = s.withLot(e.Lot, func(l Lot) Lot { l.Released, l.Alone = true, !e.Together; return l })
	case LotRecalled:
		s = s.withLot(e.Lot, func(l Lot) Lot { l.Recalled, l.Reason = true, e.Reason; return l })
	case LotRecallWithdrawn:
		s = s.withLot(e.Lot, func(l Lot) Lot { l.Recalled, l.Reason = false, ""; return l })
	case LotExpiryExtended:
		to, _ := e.To.Open()
		s = s.withLot(e.Lot, func(l Lot) Lot {
			l.Extended, l.Extensions = to, append(slices.Clip(l.Extensions), to)
			return l
		})
	case ResupplyRuleSet:
		s.Rules = maps.Clone(s.Rules)
		if s.Rules == nil {
			s.Rules = map[domain.SiteID]ResupplyRule{}
		}
		s.Rules[e.Rule.Site] = e.Rule
	case ResupplyOfArmEnded:
		s = s.withArm(e.Sites, e.Arm, true)
	case ResupplyOfArmResumed:
		s = s.withArm(e.Sites, e.Arm, false)
	case ResupplyOfKitTypesEnded:
		s = s.withTypes(e.Sites, e.Types, true)
	case ResupplyOfKitTypesResumed:
		s = s.withTypes(e.Sites, e.Types, false)
	case ShippingApproved:
		s.GreenLights = s.GreenLights.after(e.Site, e.Country, true)
	case ShippingApprovalWithdrawn:
		s.GreenLights = s.GreenLights.after(e.Site, e.Country, false)
	case DoNotShipDaysSet:
		s = s.withShipDays(shipLimit{lot: e.Lot, country: e.Country}, e.Days)
	case DoNotShipDaysOfTypeSet:
		if kind, open := e.Type.Open(); open { // without the keys nobody knows the types of kits, and none is sent
			s = s.withShipDays(shipLimit{e.Lot, e.Country, study.Kind(kind)}, e.Days)
		}
	case ResupplyEnded:
		s.Rules = maps.Clone(s.Rules)
		delete(s.Rules, e.Site)
	case ExpiringKitsShown: // who has looked changes nothing
	}
	return s
}

func (s Supply) withLot(lot string, change func(Lot) Lot) Supply {
	s.Lots = maps.Clone(s.Lots)
	if s.Lots == nil {
		s.Lots = map[string]Lot{}
	}
	s.Lots[lot] = change(s.Lots[lot])
	return s
}

// Registered says whether the kit is known, and in which delivery it came.
func (s Supply) Registered(kit KitNumber) (delivery int, known bool) { return s.numbers.Get(kit) }

// recalled lists the lots that were recalled, in ascending order.
func (s Supply) recalled() []string {
	var all []string
	for name, lot := range s.Lots {
		if lot.Recalled {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// withContents returns the supply with the lots and expiries of a delivery. Deliveries from before lots were used together
// hold them too.
func (s Supply) withContents(e KitsRegistered) Supply {
	contents, open := e.Contents.Open()
	if !open {
		return s
	}
	in := delivered{together: e.Together}
	for _, c := range contents {
		in.lots, in.batches = append(in.lots, c.Lot), append(in.batches, batch{c.Lot, c.kind(), c.Expiry})
	}
	slices.Sort(in.lots)
	slices.SortFunc(in.batches, batch.compare)
	in.lots, in.batches = slices.Compact(in.lots), slices.Compact(in.batches)
	within := map[int]delivered{e.Delivery: in}
	maps.Copy(within, s.within)
	s.within = within
	return s
}

// usable says whether a kit, which is of the lot, may be shipped and given out. If each lot could be used as soon as it is
// released, and the lots of a delivery were of one arm each, then blinded people would see which kits are of one arm.
func (s Supply) usable(kit KitNumber, lot string) bool {
	of := s.Lots[lot]
	delivery, _ := s.numbers.Get(kit)
	return of.Released && !of.Recalled && (of.Alone && !s.within[delivery].together || s.decidedAll(kit))
}

// decidedAll says whether every lot of the kit's delivery is released or recalled.
func (s Supply) decidedAll(kit KitNumber) bool {
	delivery, registered := s.numbers.Get(kit)
	if !registered {
		return true // there is no other lot; every kit of a stock has been registered before
	}
	in, open := s.within[delivery]
	return open && s.decidedLots(in)
}

// decidedLots says whether every lot of a delivery is released or recalled.
func (s Supply) decidedLots(in delivered) bool {
	return !slices.ContainsFunc(in.lots, func(lot string) bool { return !s.Lots[lot].Released && !s.Lots[lot].Recalled })
}

// Open adds a depot. It refuses malformed_id, value_missing, value_too_long, study_not_found, depot_exists and
// location_is_site.
func Open(s Supply, in study.Study, cmd OpenDepot, _ domain.Call) ([]Event, error) {
	err := domain.First(domain.At("depot", cmd.Depot.Validate()), domain.Text("name", cmd.Name, 200), studyMustExist(in, cmd.Study))
	if err != nil {
		return nil, err
	}
	if _, exists := s.Depots[cmd.Depot]; exists {
		return nil, refuse.WrongState("depot_exists", "study %s has a depot %s already", cmd.Study, cmd.Depot).At("depot").Do("choose another id")
	}
	if _, isSite := in.Sites[domain.SiteID(cmd.Depot)]; isSite {
		return nil, refuse.WrongState("location_is_site", "%s is a site of study %s", cmd.Depot, cmd.Study).At("depot").Do("choose another id")
	}
	return []Event{DepotOpened{Study: cmd.Study, Depot: cmd.Depot, Name: cmd.Name}}, nil
}

// maxKitsPerDelivery keeps the registration of a delivery, and the delivery's arrival in stock, within one append each.
const maxKitsPerDelivery = 3_000

// Register registers the kits of a delivery: all kits of the file, or none. It refuses depot_not_found, malformed_csv,
// unknown_column, too_many_kits, unknown_arm, unknown_kit_type, kit_type_contradicted, malformed_date, malformed_country, kit_exists,
// value_missing, value_too_long, value_out_of_range, kit_numbers_reveal_arm, labels_reveal_arm and units_reveal_arm.
func Register(s Supply, in study.Study, cmd RegisterKits, _ domain.Call) ([]Event, error) {
	if err := studyMustExist(in, cmd.Study); err != nil {
		return nil, err
	}
	if _, exists := s.Depots[cmd.Depot]; !exists {
		return nil, refuse.NotFound("depot_not_found", "study %s has no depot %s", cmd.Study, cmd.Depot).At("depot").Do("open it first")
	}
	contents, countries, err := readKits(cmd.CSV, in.Supplied())
	if err != nil {
		return nil, err
	}
	numbers := slices.Sorted(maps.Keys(contents))
	for _, n := range numbers {
		if _, known := s.Registered(n); known {
			return nil, refuse.WrongState("kit_exists", "kit %s is registered already", n).
				At("csv").Do("take it out of the file; nothing of the file was registered")
		}
	}
	if err := domain.First(mustNotRevealKinds(numbers, contents, in),
		marksMustNotRevealArms(contents, in, "labels_reveal_arm", "a label of the delivery", func(n KitNumber) string {
			return strings.Join(countries[n], " ")
		}),
		marksMustNotRevealArms(contents, in, "units_reveal_arm", "a number of units", func(n KitNumber) string {
			return strconv.Itoa(contents[n].Units)
		})); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(cmd.CSV))
	return []Event{KitsRegistered{Study: cmd.Study, Depot: cmd.Depot, Delivery: len(s.Deliveries) + 1, Kits: numbers,
		SHA256: blind.Of(hex.EncodeToString(sum[:])), Contents: blind.Of(contents), Together: true, Labels: labelsOf(countries)}}, nil
}

// The columns of the file of a delivery. Those of the type are only known where the protocol has types.
var (
	kitColumns  = []string{"kit", "arm", "lot", "expiry", "units", "countries"}
	typeColumns = []string{"type", "strength", "form", "label_group", "blinding"}
)

// The values of the column blinding.
const (
	openLabel    = "open"
	blindedLabel = "blinded"
)

// readKits reads the file of a delivery. Its refusals name lines and never quote the file, because refusals are
// recorded, and if columns are mixed up, any value could be an arm. The only exception is the name of an unknown column, of a file
// that has all the names that it needs. It refuses malformed_csv, unknown_column, too_many_kits, unknown_arm, unknown_kit_type,
// kit_type_contradicted, malformed_date, value_missing, value_too_long and value_out_of_range.
// countries are those of the labels.
func readKits(text string, protocol *study.Protocol) (_ KitContents, countries map[KitNumber][]string, _ error) {
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))) // spreadsheets write a byte order mark
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if err != nil {
		return nil, nil, malformedFile("the file has no header line")
	}
	column, err := kitFileColumns(header, protocol)
	if err != nil {
		return nil, nil, err
	}
	contents, countries := KitContents{}, map[KitNumber][]string{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
			return nil, nil, malformedFile("line %d cannot be read: %v", parse.Line, parse.Err)
		}
		line, _ := r.FieldPos(0)
		of := func(name string) string {
			if i, has := column[name]; has {
				return row[i]
			}
			return ""
		}
		number := KitNumber(of("kit"))
		c := Content{Lot: of("lot"), Expiry: domain.Date(of("expiry")), Units: 1}
		if _, has := column["units"]; has {
			if c.Units, err = strconv.Atoi(of("units")); err != nil {
				return nil, nil, malformedFile("units in line %d are no whole number", line)
			}
		}
		if err := domain.First(inLine(line, "the kit number", number.validate()),
			inLine(line, "the lot", domain.First(domain.Text("lot", c.Lot, 50), domain.SealedText("lot", c.Lot, 50))),
			inLine(line, "the expiry", c.Expiry.Validate()), inLine(line, "units", domain.Between("units", c.Units, 1, maxDoses))); err != nil {
			return nil, nil, err
		}
		if i, ok := column["countries"]; ok {
			if countries[number], err = readCountries(row[i]); err != nil {
				return nil, nil, inLine(line, "the countries of the label", err)
			}
		}
		if c, err = c.typed(line, of, protocol); err != nil {
			return nil, nil, err
		}
		if _, twice := contents[number]; twice {
			return nil, nil, malformedFile("the kit in line %d is in the file twice", line)
		}
		if contents[number] = c; len(contents) > maxKitsPerDelivery {
			return nil, nil, refuse.Malformed("too_many_kits", "the file has more than %d kits", maxKitsPerDelivery).
				At("csv").Do("register them in several files")
		}
	}
	if len(contents) == 0 {
		return nil, nil, malformedFile("the file has no kits")
	}
	return contents, countries, nil
}

// hasKitTypes says whether a protocol distinguishes types of kits.
func hasKitTypes(p *study.Protocol) bool {
	return p != nil && p.Treatment != nil && p.Treatment.Plan != nil
}

// kitFileColumns returns the place of each column by its name (codes malformed_csv, unknown_column).
func kitFileColumns(header []string, protocol *study.Protocol) (map[string]int, error) {
	column := map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := column[name]; twice {
			return nil, malformedFile("two columns of the file have the same name")
		}
		column[name] = i
	}
	known, needed := kitColumns, []string{"kit", "arm", "lot", "expiry"}
	if hasKitTypes(protocol) {
		known, needed = slices.Concat(kitColumns, typeColumns), []string{"kit", "type", "lot", "expiry"}
	}
	for _, name := range needed {
		if _, ok := column[name]; !ok {
			return nil, malformedFile("the file has no column %q", name)
		}
	}
	for _, name := range header {
		if name = strings.ToLower(strings.TrimSpace(name)); !slices.Contains(known, name) {
			return nil, refuse.Malformed("unknown_column", "the file has a column %.60q, which means nothing here", name).At("csv").
				Do("leave it out; known are " + strings.Join(known, ", "))
		}
	}
	return column, nil
}

// typed returns the content with the arm or type that a line of the file names (codes unknown_arm, unknown_kit_type,
// kit_type_contradicted).
func (c Content) typed(line int, of func(column string) string, protocol *study.Protocol) (Content, error) {
	if !hasKitTypes(protocol) {
		c.Arm = domain.ArmID(of("arm"))
		if protocol == nil || !protocol.HasArm(string(c.Arm)) {
			return c, refuse.Because("unknown_arm", "line %d names an arm that the protocol does not have", line).
				At("csv").Do("use the protocol's arm ids")
		}
		return c, nil
	}
	is, known := protocol.Treatment.TypeOf(of("type"))
	if !known {
		return c, refuse.Because("unknown_kit_type", "line %d names a type of kits that the protocol does not have", line).
			At("csv").Do("use the ids of the types in the dispensing plan")
	}
	c.Type, c.Arm = is.ID, domain.ArmID(is.Arm)
	blinding := blindedLabel
	if is.Open {
		blinding = openLabel
	}
	for _, says := range [][2]string{{"arm", is.Arm}, {"strength", is.Strength}, {"form", is.Form}, {"label_group", is.LabelGroup},
		{"blinding", blinding}} {
		if got := of(says[0]); got != "" && got != says[1] {
			return c, refuse.Because("kit_type_contradicted", "in line %d the column %s says something else than the type", line, says[0]).
				At("csv").Do("correct the line, or leave the column empty")
		}
	}
	return c, nil
}

func malformedFile(format string, args ...any) error {
	return refuse.Malformed("malformed_csv", format, args...).At("csv").
		Do("send a CSV with a header line and the columns kit, arm, lot, expiry and optionally units and countries; with types of kits, " +
			"type in place of arm")
}

// inLine returns the refusal of a value with its line instead of the value.
func inLine(line int, what string, err error) error {
	r, ok := refuse.As(err)
	if !ok {
		return err
	}
	return refuse.Malformed(r.Code, "%s in line %d cannot be taken", what, line).At("csv").Do(r.Remedy)
}

// Release releases a lot. Its kits can be used once every lot that came in the same delivery is released or recalled. It refuses
// value_missing, value_too_long, lot_recalled and batch_released.
func Release(s Supply, cmd ReleaseBatch, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Text("lot", cmd.Lot, 50), domain.Text("certificate", cmd.Certificate, 200)); err != nil {
		return nil, err
	}
	switch lot := s.Lots[cmd.Lot]; {
	case lot.Recalled:
		return nil, refuse.WrongState("lot_recalled", "lot %s is recalled", cmd.Lot).At("lot").Do("a recalled lot is not released any more")
	case lot.Released:
		return nil, refuse.WrongState("batch_released", "lot %s is released already", cmd.Lot).At("lot").Do("nothing is left to do")
	}
	return []Event{BatchReleased{Study: cmd.Study, Lot: cmd.Lot, Certificate: cmd.Certificate, Together: true}}, nil
}

// Recall stops a lot. It refuses value_missing, value_too_long, reason_required, lot_not_found and lot_recalled.
func Recall(s Supply, in study.Study, cmd RecallLot, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Text("lot", cmd.Lot, 50), domain.Reason(cmd.Reason)); err != nil {
		return nil, err
	}
	if err := s.mustHaveLot(cmd.Lot); err != nil {
		return nil, err
	}
	if s.Lots[cmd.Lot].Recalled {
		return nil, refuse.WrongState("lot_recalled", "lot %s is recalled already", cmd.Lot).At("lot").Do("nothing is left to do")
	}
	return []Event{LotRecalled{Study: cmd.Study, Lot: cmd.Lot, Reason: cmd.Reason, Locations: s.Locations(in)}}, nil
}

// WithdrawRecall ends a recall that was made in error. The kits stay where they are until they are released; patients may use those
// that they have at home. It refuses value_missing,
// value_too_long, reason_required and lot_not_recalled.
func WithdrawRecall(s Supply, in study.Study, cmd WithdrawLotRecall, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Text("lot", cmd.Lot, 50), domain.Reason(cmd.Reason)); err != nil {
		return nil, err
	}
	if !s.Lots[cmd.Lot].Recalled {
		return nil, refuse.WrongState("lot_not_recalled", "lot %s is not recalled", cmd.Lot).At("lot").Do("check the lot")
	}
	return []Event{LotRecallWithdrawn{Study: cmd.Study, Lot: cmd.Lot, Reason: cmd.Reason, Locations: s.Locations(in)}}, nil
}

// Extend lets a lot be used for longer. Its kits may when they have new labels. It refuses value_missing, value_too_long,
// reason_required, malformed_date, lot_not_found, lot_recalled and expiry_not_later.
func Extend(s Supply, cmd ExtendExpiry, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Text("lot", cmd.Lot, 50), domain.Text("certificate", cmd.Certificate, 200), domain.Reason(cmd.Reason),
		domain.At("to", cmd.To.Validate()), s.mustHaveLot(cmd.Lot)); err != nil {
		return nil, err
	}
	lot := s.Lots[cmd.Lot]
	if lot.Recalled {
		return nil, refuse.WrongState("lot_recalled", "lot %s is recalled", cmd.Lot).At("lot").Do("a recalled lot is not used any more")
	}
	latest := lot.Extended
	for _, d := range s.Deliveries {
		contents, _ := d.Contents.Open()
		for _, c := range contents {
			if c.Lot == cmd.Lot {
				latest = max(latest, c.Expiry)
			}
		}
	}
	if cmd.To <= latest {
		return nil, refuse.Because("expiry_not_later", "kits of lot %s may be used until %s already", cmd.Lot,
			latest).At("to").Do("name a later day")
	}
	return []Event{LotExpiryExtended{Study: cmd.Study, Lot: cmd.Lot, To: blind.Of(cmd.To), Certificate: cmd.Certificate,
		Reason: cmd.Reason}}, nil
}

// mustHaveLot refuses a lot that was not released, and of which no kit was registered (code lot_not_found). It returns ErrKeysMissing
// if the program cannot open the contents of a delivery.
func (s Supply) mustHaveLot(lot string) error {
	if _, known := s.Lots[lot]; known {
		return nil // a lot may be released before its kits arrive
	}
	for _, in := range s.within {
		if slices.Contains(in.lots, lot) {
			return nil
		}
	}
	if len(s.within) < len(s.Deliveries) {
		return ErrKeysMissing
	}
	return refuse.NotFound("lot_not_found", "no kit of a lot %.60q was registered", lot).At("lot").Do("check the number of the lot")
}

// Locations lists the depots and sites of a study, in ascending order.
func (s Supply) Locations(in study.Study) []LocationID {
	all := slices.Collect(maps.Keys(s.Depots))
	for id := range in.Sites {
		all = append(all, LocationID(id))
	}
	slices.Sort(all)
	return all
}

// leastSpare is how far the target of a rule must lie above its trigger in a study with several arms. Without it, each used kit
// would leave less than the trigger of its arm, and whether the stock is raised would tell whether the kit that replaces it is
// of the same arm.
const leastSpare = 2

// SetRule says when a site is sent kits. It refuses depot_not_found, site_not_found, value_out_of_range,
// invalid_resupply_rule and resupply_rule_reveals_arms.
func SetRule(s Supply, in study.Study, cmd SetResupplyRule, _ domain.Call) ([]Event, error) {
	r := cmd.Rule
	if _, exists := s.Depots[r.Depot]; !exists {
		return nil, refuse.NotFound("depot_not_found", "study %s has no depot %s", cmd.Study, r.Depot).At("rule.depot").Do("open it first")
	}
	if _, exists := in.Sites[r.Site]; !exists {
		return nil, refuse.NotFound("site_not_found", "study %s has no site %s", cmd.Study, r.Site).At("rule.site").Do("check the id")
	}
	err := domain.First(domain.Between("rule.trigger", r.Trigger, 1, 1000), domain.Between("rule.target", r.Target, 1, 1000),
		domain.Between("rule.overdueDays", r.OverdueDays, 1, 365), domain.Between("rule.predictDays", r.PredictDays, 0, 365),
		domain.Between("rule.enrolments", r.Enrolments, 0, 100))
	if err != nil {
		return nil, err
	}
	if r.Enrolments > 0 && r.PredictDays == 0 {
		return nil, refuse.Because("invalid_resupply_rule", "enrolments are expected, and the rule does not look ahead").
			At("rule.predictDays").Do("say within how many days they are expected")
	}
	if r.Target < r.Trigger {
		return nil, refuse.Because("invalid_resupply_rule", "the target %d lies below the trigger %d", r.Target, r.Trigger).
			At("rule.target").Do("use a target from the trigger up")
	}
	if len(in.Kinds()) > 1 && r.Target < r.Trigger+leastSpare {
		return nil, refuse.Because("resupply_rule_reveals_arms", "with the trigger %d and the target %d, the shipments would follow the arm of "+
			"each kit that is used", r.Trigger, r.Target).At("rule.target").Do("use a target of at least the trigger and 2")
	}
	set := ResupplyRuleSet{Study: cmd.Study, Rule: cmd.Rule}
	if was, had := s.Rules[r.Site]; had {
		set.Was = &was
	}
	return []Event{set}, nil
}

// Validate refuses a malformed id (code malformed_id).
func (l LocationID) Validate() error { return domain.At("location", domain.SiteID(l).Validate()) }

func (n KitNumber) validate() error {
	if err := domain.SiteID(n).Validate(); err != nil {
		return refuse.Malformed("malformed_id", "%.80q is not a kit number", string(n)).
			At("kit").Do("use 1 to 32 letters, digits and hyphens, beginning with a letter or digit")
	}
	return nil
}

func studyMustExist(in study.Study, id domain.StudyID) error {
	if !in.Exists() {
		return refuse.NotFound("study_not_found", "there is no study %s", id).At("study").Do("check the id")
	}
	return nil
}
