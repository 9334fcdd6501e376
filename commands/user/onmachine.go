package user

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain/user"
)

// onMachine returns the administrators of the record, if the operator of the machine sends the command. Nothing of that
// counts in the commands of people.
func onMachine(ctx context.Context, h *commands.Handler, r commands.Request) (user.Administrators, error) {
	if !access.IsProcess(r.Principal.User) {
		return user.Administrators{}, nil
	}
	all, err := h.Administrators(ctx)
	all.Machine = r.Address
	return all, err
}
