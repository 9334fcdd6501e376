package form

import "casebook/domain"

// Schema implements domain.HasSchema.
func (ItemID) Schema() domain.Schema { return domain.Schema{Example: "worst"} }
