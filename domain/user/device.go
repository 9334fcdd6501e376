package user

import (
	"regexp"
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// TooManyDevices is the code of a sign-in whose device finds no room in the account, although the secrets are right.
const TooManyDevices = "too_many_devices"

// maxDevices is how many devices of an account may be enrolled at a time.
const maxDevices = 10

// DeviceID names a device of an account: 1 to 64 letters, digits and . _ -, which the app on the device chooses.
type DeviceID string

const devicePattern = `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`

var isDevice = regexp.MustCompile(devicePattern).MatchString

// Schema implements domain.HasSchema.
func (DeviceID) Schema() domain.Schema {
	return domain.Schema{Pattern: devicePattern, Example: "3f2b8c1e-6d0a-4b57-9a43-c5e1f07d2b88"}
}

// Validate refuses a malformed id (code malformed_id).
func (d DeviceID) Validate() error {
	if !isDevice(string(d)) {
		return refuse.Malformed("malformed_id", "the id of the device is malformed").At("device").
			Do("use 1 to 64 letters, digits and . _ -, beginning with a letter or digit, such as a UUID")
	}
	return nil
}

// Device is an enrolled device of a patient's or a caregiver's account.
type Device struct {
	ID   DeviceID
	Name string
	// Enrolment numbers the enrolments of the account. A token of an earlier enrolment of the device proves nothing.
	Enrolment int
	// Key is its public key; "" of a device that has none.
	Key DeviceKey
}

// DeviceAtSignIn is the device that a sign-in names. The zero value is a sign-in without a device.
type DeviceAtSignIn struct {
	ID   DeviceID `json:"id" doc:"Id that the app chooses once for the device, such as a UUID"`
	Name string   `json:"name,omitempty" maxLength:"100" doc:"Name by which people know the device"`
	// Key stays in the device's keeping with its private half.
	Key DeviceKey `json:"key,omitempty" maxLength:"200" doc:"Public key of the device, ECDSA on P-256: base64 of its SubjectPublicKeyInfo. From then on the device signs its entries"`
}

// Validate refuses malformed_id, value_too_long, malformed_key and what else no text may hold.
func (d DeviceAtSignIn) Validate() error {
	if d == (DeviceAtSignIn{}) {
		return nil
	}
	return domain.First(domain.At("device.id", d.ID.Validate()), domain.OptionalText("device.name", d.Name, 100), d.Key.Validate())
}

// OnlyPatient says that the grants are those of a patient or a caregiver, and of nobody else.
func OnlyPatient(grants []Grant) bool {
	return len(grants) > 0 && !slices.ContainsFunc(grants, func(g Grant) bool { return !g.Role.IsOfOnePatient() })
}

// HasDevice says whether this enrolment of the device still holds.
func (u User) HasDevice(id DeviceID, enrolment int) bool {
	return slices.ContainsFunc(u.Devices, func(d Device) bool { return d.ID == id && d.Enrolment == enrolment })
}

// enrols says whether the sign-in enrols its device: the sessions of staff end by themselves, so they need none.
func (u User) enrols(d DeviceAtSignIn) bool { return d.ID != "" && OnlyPatient(u.Grants) }

func (u User) hasRoomFor(id DeviceID) bool { return len(u.devicesWithout(id)) < maxDevices }

// devicesEnrolled returns the event that enrols the device of a sign-in, if there is one. A device that is enrolled already
// is enrolled anew, so that its earlier tokens end.
func (u User) devicesEnrolled(id domain.UserID, d DeviceAtSignIn) []Event {
	if !u.enrols(d) {
		return nil
	}
	return []Event{DeviceEnrolled{User: id, Device: d.ID, Name: d.Name, Enrolment: u.Enrolments + 1, Key: d.Key, Signs: d.Key != ""}}
}

// Revoke ends the sessions of one device; the account's other devices go on. The device may be enrolled again at a sign-in.
// Revoke refuses user_not_found, account_deactivated, reason_required, value_too_long and device_not_found.
func Revoke(u User, cmd RevokeDevice, _ domain.Call) ([]Event, error) {
	if err := domain.First(u.mustBeActive(cmd.User), domain.Reason(cmd.Reason)); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(u.Devices, func(d Device) bool { return d.ID == cmd.Device }) {
		return nil, refuse.NotFound("device_not_found", "%s has no such device enrolled", cmd.User).At("device").
			Do("take the id from the devices of the account; one that was revoked, or whose sessions have ended, needs nothing more")
	}
	return []Event{DeviceRevoked{User: cmd.User, Device: cmd.Device, Reason: cmd.Reason}}, nil
}

// evolveDevices folds the events of devices.
func (u User) evolveDevices(e Event) User {
	switch e := e.(type) {
	case DeviceEnrolled:
		u.Devices = append(u.devicesWithout(e.Device), Device{ID: e.Device, Name: e.Name, Enrolment: e.Enrolment, Key: e.Key})
		u.Revoked, u.Former = withoutDevice(u.Revoked, e.Device), withoutDevice(u.Former, e.Device)
		u.Enrolments = e.Enrolment
		u = u.withDeviceKey(e)
	case DeviceRevoked:
		u.Devices, u.Former = u.devicesWithout(e.Device), withoutDevice(u.Former, e.Device)
		u.Revoked = withDevice(u.Revoked, e.Device)
		u = u.withoutDeviceKeys(e.Device)
	}
	return u
}

// maxFormerDevices bounds the devices of the past that an account remembers.
const maxFormerDevices = 100

func withDevice(all []DeviceID, id DeviceID) []DeviceID {
	all = append(withoutDevice(all, id), id)
	return all[max(0, len(all)-maxFormerDevices):]
}

func withoutDevice(all []DeviceID, id DeviceID) []DeviceID {
	return slices.DeleteFunc(slices.Clone(all), func(d DeviceID) bool { return d == id })
}

// HasEnrolled says whether the device is enrolled, or was until all sessions of the account ended: nobody has revoked it.
func (u User) HasEnrolled(id DeviceID) bool {
	return slices.Contains(u.Former, id) || slices.ContainsFunc(u.Devices, func(d Device) bool { return d.ID == id })
}

// Trusts says whether entries of the device, and what is about it, can be the account's: it is enrolled, or the account knows of no
// devices at all, such as that of an identity provider.
func (u User) Trusts(id DeviceID) bool { return id == "" || u.Enrolments == 0 || u.HasEnrolled(id) }

// HasRevoked says whether the device was revoked, and not enrolled again.
func (u User) HasRevoked(id DeviceID) bool { return slices.Contains(u.Revoked, id) }

func (u User) devicesWithout(id DeviceID) []Device {
	return slices.DeleteFunc(slices.Clone(u.Devices), func(d Device) bool { return d.ID == id })
}
