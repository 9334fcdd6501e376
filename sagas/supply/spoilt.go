package supply

import (
	"fmt"
	"strings"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/sagas"
)

// spoilt is what the process of a site's spoilt kits remembers: the open alert, and where the log has the last loss, or what ended the
// losses last. What is older is no news.
type spoilt struct {
	Alert safety.AlertID `json:"alert,omitempty"`
	Since uint64         `json:"since,omitempty"`
}

// Spoilt is the process that tells supply of kits which a site with patients has lost or quarantined, one after another or at once,
// before anybody was given them. One alert names all of them, until kits arrive or somebody of supply lets them be replaced again.
var Spoilt = sagas.Define("spoilt-kits",
	sagas.Sends(safety.RaiseAlert{}, safety.SettleAlert{}),
	sagas.On[supply.KitLost](byStock, spoilt.kitLost),
	sagas.On[supply.KitsQuarantined](byStock, spoilt.kitsQuarantined),
	sagas.On[supply.KitReplacementAsked](byStock, spoilt.replacementAsked),
	sagas.On[supply.ReplacementsAllowed](byStock, spoilt.allowed),
	sagas.On[supply.ShipmentReceived](byStock, spoilt.shipmentReceived),
	// Version 1 took events in the order in which they came.
).Upcast(domain.Unchanged)

func (s spoilt) kitLost(e supply.KitLost, o sagas.Occurrence) (sagas.Reaction[spoilt], bool) {
	return s.tell(e.OfStock, e.Again, o)
}

func (s spoilt) kitsQuarantined(e supply.KitsQuarantined, o sagas.Occurrence) (sagas.Reaction[spoilt], bool) {
	return s.tell(e.OfStock, e.Again, o)
}

func (s spoilt) replacementAsked(e supply.KitReplacementAsked, o sagas.Occurrence) (sagas.Reaction[spoilt], bool) {
	return s.tell(e.OfStock, e.Again, o)
}

func (s spoilt) allowed(_ supply.ReplacementsAllowed, o sagas.Occurrence) (sagas.Reaction[spoilt], bool) {
	return s.end("Supply lets the kits be replaced.", o)
}

func (s spoilt) shipmentReceived(_ supply.ShipmentReceived, o sagas.Occurrence) (sagas.Reaction[spoilt], bool) {
	return s.end("Kits have arrived.", o)
}

// mostNamed bounds the kits that an alert names: the last ones.
const mostNamed = 20

// tell raises an alert in place of the one that is open.
func (s spoilt) tell(at supply.OfStock, kits []supply.KitNumber, o sagas.Occurrence) (sagas.Reaction[spoilt], bool) {
	if len(kits) == 0 || o.Position < s.Since { // the alert names it, or it is over
		return sagas.Reaction[spoilt]{}, false
	}
	r := s.settle("One more kit was lost, and another alert names all of them.", o)
	of := sagas.AlertFrom(at.Study, o.ID+"/spoilt") // the patients whose kits were quarantined are told of in another alert
	names := make([]string, 0, mostNamed)
	for _, n := range kits[max(0, len(kits)-mostNamed):] {
		names = append(names, string(n))
	}
	raise := safety.RaiseAlert{OfAlert: of, Study: at.Study, Site: domain.SiteID(at.Location), Kind: safety.KitsSpoiltAgain,
		Severity: safety.Routine, Source: o.ID, OccurredAt: o.At,
		Summary: fmt.Sprintf("Site %s has lost or quarantined %d kits before they were given out: %s.", at.Location,
			len(kits), strings.Join(names, ", "))}
	if len(kits) > supply.MaxSpoilt {
		raise.Severity = safety.Urgent
		raise.Summary += " Patients whose kits are among them wait until supply has looked at it and allows replacements, or kits arrive."
	}
	r.State.Alert, r.Stage, r.Outcome = of.Alert, "kits were lost again", process.Held
	r.Commands = append(r.Commands, raise)
	return r, true
}

// end settles the alert, and remembers that what was lost before is not told any more.
func (s spoilt) end(why string, o sagas.Occurrence) (sagas.Reaction[spoilt], bool) {
	if o.Position < s.Since {
		return sagas.Reaction[spoilt]{}, false
	}
	return s.settle(why, o), true
}

func (s spoilt) settle(why string, o sagas.Occurrence) sagas.Reaction[spoilt] {
	r := sagas.Reaction[spoilt]{State: spoilt{Since: o.Position}, Stage: "nothing to look at", Outcome: process.Completed}
	if s.Alert != "" {
		r.Commands = []any{sagas.Settle(s.Alert, why)}
	}
	return r
}
