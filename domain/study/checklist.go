package study

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// ClosingItem is something to look at before a site is closed. There will be one for open queries when there are queries.
type ClosingItem string

// The items.
const (
	// OpenParticipants are the patients of the site whose participation has not ended. They stay supplied and treated.
	OpenParticipants ClosingItem = "participants"
	// OpenKits are the kits of the site that are neither destroyed, lost nor sent back.
	OpenKits ClosingItem = "kits"
)

// ClosingItems are all items.
var ClosingItems = []ClosingItem{OpenParticipants, OpenKits}

// Schema implements domain.HasSchema.
func (ClosingItem) Schema() domain.Schema { return domain.OneOf(ClosingItems...) }

// ChecklistItem says how many of something are open.
type ChecklistItem struct {
	Item ClosingItem `bson:"item" json:"item" doc:"What"`
	Open int         `bson:"open" json:"open" minimum:"0" doc:"How many are open"`
}

// checklist refuses a checklist that leaves an item out (code checklist_incomplete).
func checklist(items []ChecklistItem) error {
	if len(items) == 0 {
		return nil
	}
	for _, want := range ClosingItems {
		if i := slices.IndexFunc(items, func(c ChecklistItem) bool { return c.Item == want }); i < 0 || items[i].Open < 0 ||
			len(items) != len(ClosingItems) {
			return refuse.Because("checklist_incomplete", "the checklist does not have each item once").At("checklist").
				Do("confirm the items of the query SiteClosing, or leave the checklist out")
		}
	}
	return nil
}
