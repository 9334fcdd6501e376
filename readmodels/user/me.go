package user

import (
	"context"

	"casebook/domain"
	"casebook/domain/user"
	"casebook/readmodels"
)

// Me is the caller's account and grants.
type Me struct {
	User   domain.UserID `json:"user" doc:"The caller"`
	Grants []user.Grant  `json:"grants" doc:"The caller's roles and where they hold"`
	// Devices are there for patients alone.
	Devices []OwnDevice `json:"devices,omitempty" doc:"The caller's enrolled devices (RevokeDevice)"`
}

// OwnDevice is an enrolled device of the caller.
type OwnDevice struct {
	Device user.DeviceID `json:"device" doc:"The device"`
	Name   string        `json:"name,omitempty" doc:"Name by which people know it"`
}

// me is the query of the caller's own account and grants.
var me = readmodels.Declare(readmodels.Query{
	Name: "Me", Path: "/api/v1/me", Summary: "Who asks, and what they may do", Reach: readmodels.ReachSelf,
}, whoAsks)

// MeQuery asks for the caller's own account and grants.
type MeQuery struct{}

func whoAsks(_ context.Context, r readmodels.Request, _ MeQuery) (Me, error) {
	answer := Me{User: r.Caller.User, Grants: r.Caller.Grants}
	for _, d := range r.Caller.Devices {
		answer.Devices = append(answer.Devices, OwnDevice{Device: d.ID, Name: d.Name})
	}
	return answer, nil
}
