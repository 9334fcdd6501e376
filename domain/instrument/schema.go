package instrument

import "casebook/domain"

// Schema implements domain.HasSchema.
func (ID) Schema() domain.Schema { return domain.Schema{Example: "pain-diary"} }

// Schema implements domain.HasSchema.
func (Severity) Schema() domain.Schema { return domain.OneOf(SeverityWatch, SeverityUrgent) }
