package api

import (
	"context"
	"reflect"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"
	supplyviews "casebook/readmodels/supply"
)

var kits = Query{
	Name: "Kits", Path: "/api/v1/studies/{study}/kits", Summary: "A study's kits", Reach: ReachStudy, Within: []string{"location"}, OpenTo: access.StudyMembers,
	Doc: "Where each kit is and how it stands, as blinded people may see it: a kit that is held for a draw is available. " + patientsLeftOut,
	Parameters: append([]Parameter{studyParameter, placeParameter("location", "Only kits in the hands of this depot or site"), {Name: "status", In: inQuery, Doc: "Only kits that stand so", Enum: texts(supply.KitStatuses...)},
		sorting(supplyviews.KitSorts, "By number, or the last to change in front;")}, paging...),
	Answer: reflect.TypeFor[readmodels.List[supplyviews.KitRow]](), view: &supplyviews.KitInventories,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		list, err := supplyviews.ListKits(ctx, a.store, ask.study, supplyviews.KitFilter{Location: supply.LocationID(ask.values["location"]), Status: supply.KitStatus(ask.values["status"])}, ask.page())
		for i := range list.Items {
			if k := &list.Items[i]; !ask.mayKnowPatientsAt(domain.SiteID(k.Location)) {
				k.WithoutPatient()
			}
		}
		return list, err
	},
}

var kit = Query{
	Name: "Kit", Path: "/api/v1/studies/{study}/kits/{kit}", Summary: "A kit and its chain of custody", Reach: ReachSites, OpenTo: access.StudyMembers,
	Doc:        "Callers who see single sites get the kits that are there. " + patientsLeftOut,
	Parameters: []Parameter{studyParameter, kitParameter}, Answer: reflect.TypeFor[supplyviews.Kit](), view: &supplyviews.KitInventories,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		k, err := supplyviews.LoadKit(ctx, a.store, ask.study, supply.KitNumber(ask.values["kit"]))
		if err != nil {
			return nil, err
		}
		at := domain.SiteID(k.Location)
		if err := ask.mustSee(at); err != nil {
			return nil, err
		}
		if !ask.mayKnowPatientsAt(at) {
			k.WithoutPatient()
		}
		k.Custody = orEmpty(k.Custody)
		return k, nil
	},
}

var shipments = Query{
	Name: "Shipments", Path: "/api/v1/studies/{study}/shipments", Summary: "A study's shipments", Reach: ReachStudy, Within: []string{"to", "from"}, OpenTo: access.StudyMembers,
	Doc: "What was sent from where to where, and how it arrived. Who may see one end of a way sees the shipment.",
	Parameters: append([]Parameter{studyParameter, placeParameter("to", "Only shipments to this depot or site"), placeParameter("from", "Only shipments from this depot or site"),
		{Name: "status", In: inQuery, Doc: "Only shipments that stand so", Enum: texts(supply.ShipmentStatuses...)},
		sorting(supplyviews.ShipmentSorts, "By when they were made;")}, paging...),
	Answer: reflect.TypeFor[readmodels.List[supplyviews.Shipment]](), view: &supplyviews.Shipments,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		list, err := supplyviews.ListShipments(ctx, a.store, ask.study, supplyviews.ShipmentFilter{From: supply.LocationID(ask.values["from"]), To: supply.LocationID(ask.values["to"]),
			Status: supply.ShipmentStatus(ask.values["status"])}, ask.page())
		for i := range list.Items {
			list.Items[i].Kits = orEmpty(list.Items[i].Kits)
		}
		return list, err
	},
}

// AccountabilityList is what places answer for.
type AccountabilityList struct {
	Items []supplyviews.Accountability `json:"items" doc:"The depots and sites that have kits, by id"`
}

var accountability = Query{
	Name: "Accountability", Path: "/api/v1/studies/{study}/accountability", Summary: "What each depot and site answers for", Reach: ReachSites, OpenTo: access.StudyMembers,
	Doc:        "How many kits stand how, in each place. Callers who see single sites get those.",
	Parameters: []Parameter{studyParameter}, Answer: reflect.TypeFor[AccountabilityList](), view: &supplyviews.KitInventories,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		var places []supply.LocationID
		for _, site := range ask.sites { // none where the caller sees the whole study
			places = append(places, supply.LocationID(site))
		}
		items, err := supplyviews.ListAccountability(ctx, a.store, ask.study, places)
		return AccountabilityList{Items: items}, err
	},
}

var accountabilityByPatient = Query{
	Name: "AccountabilityByPatient", Path: "/api/v1/studies/{study}/accountability/patients", Summary: "How the kits of each patient are accounted for", Reach: ReachStudy,
	OpenTo: access.ClinicalReaders, Doc: "Kits dispensed, returned and reconciled, and their doses as the site counted them, by patient and by the site that gave the kits out.",
	Parameters: append([]Parameter{studyParameter, siteParameter}, paging...), Answer: reflect.TypeFor[readmodels.List[supplyviews.PatientAccountability]](), view: &supplyviews.KitInventories,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		return supplyviews.ListAccountabilityByPatient(ctx, a.store, ask.study, supply.LocationID(ask.site()), ask.page())
	},
}
