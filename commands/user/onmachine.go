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

// withAdministrators returns what sets a field of a command to what onMachine returns.
func withAdministrators[C any](field func(*C) *user.Administrators) func(context.Context, *commands.Handler, commands.Request, *C) error {
	return func(ctx context.Context, h *commands.Handler, r commands.Request, c *C) (err error) {
		*field(c), err = onMachine(ctx, h, r)
		return err
	}
}
