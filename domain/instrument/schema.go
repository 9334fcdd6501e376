package instrument

import "casebook/domain"

// Schema implements domain.Described.
func (ID) Schema() domain.Schema { return domain.Schema{Example: "pain-diary"} }

// Schema implements domain.Described.
func (ItemID) Schema() domain.Schema { return domain.Schema{Example: "worst"} }

// Schema implements domain.Described.
func (Severity) Schema() domain.Schema { return domain.OneOf(SeverityWatch, SeverityUrgent) }
