package user

import (
	"context"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// UserDirectory is the view of accounts, with one document per user. It never holds anything of a password.
var UserDirectory = readmodels.View{Name: "user-directory", Version: 5, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("status", "_id"),
	readmodels.IndexOn("status", "lastSignInAt", "_id"),
	readmodels.IndexOn("staffOf", "status", "_id"),
	readmodels.IndexOn("staffOf", "status", "lastSignInAt", "_id"),
}}

// UserStatus says whether an account can be used.
type UserStatus string

// The statuses of an account. Nobody can sign in to a locked or deactivated account.
const (
	UserActive      UserStatus = "active"
	UserLocked      UserStatus = "locked"
	UserDeactivated UserStatus = "deactivated"
)

// UserStatuses are all statuses of an account.
var UserStatuses = []UserStatus{UserActive, UserLocked, UserDeactivated}

// Schema implements domain.HasSchema.
func (UserStatus) Schema() domain.Schema { return domain.OneOf(UserStatuses...) }

// User is an account with its grants (21 CFR 11.10(d) and (g)).
type User struct {
	readmodels.Header `bson:",inline"`
	User              domain.UserID `bson:"user" json:"user" doc:"The user"`
	Name              string        `bson:"name" json:"name" doc:"The person's name"`
	Status            UserStatus    `bson:"status" json:"status" doc:"Whether it can be signed in to"`
	Since             time.Time     `bson:"since" json:"since" doc:"Since when"`
	Reason            string        `bson:"reason,omitempty" json:"reason,omitempty" doc:"Why it was locked or deactivated"`
	RegisteredAt      time.Time     `bson:"registeredAt" json:"registeredAt" doc:"When it was registered"`
	RegisteredBy      domain.UserID `bson:"registeredBy" json:"registeredBy" doc:"By whom"`
	// LastSignInAt is the zero time before the first sign-in. It is stored as such, because lists are sorted by it.
	LastSignInAt  time.Time  `bson:"lastSignInAt" json:"lastSignInAt,omitzero" doc:"When the user signed in last with the password; left out before the first time, and for those who sign in elsewhere"`
	LastFailedAt  *time.Time `bson:"lastFailedAt,omitempty" json:"lastFailedAt,omitempty" doc:"When a sign-in failed last"`
	FailedSignIns int        `bson:"failedSignIns" json:"failedSignIns" doc:"Sign-ins that have failed since the last success"`
	PasswordSetAt *time.Time `bson:"passwordSetAt,omitempty" json:"passwordSetAt,omitempty" doc:"When the password was set; left out for accounts of an identity provider"`
	Grants        []Granted  `bson:"grants" json:"grants" doc:"The roles that the user holds, in the order in which they were given"`
	Proposed      []Granted  `bson:"proposed,omitempty" json:"proposed,omitempty" doc:"Roles that wait for a second administrator (ConfirmRole); by is who proposed each"`
	// MustChangePassword and Unconfirmed are about what other people have done with the account.
	MustChangePassword bool     `bson:"mustChangePassword,omitempty" json:"mustChangePassword,omitempty" doc:"Whether somebody else chose the password, so that the owner has to change it first"`
	Unconfirmed        bool     `bson:"unconfirmed,omitempty" json:"unconfirmed,omitempty" doc:"Whether a second person has to confirm that the account is in its owner's hands (ConfirmAccount)"`
	SecondFactor       bool     `bson:"secondFactor,omitempty" json:"secondFactor,omitempty" doc:"Whether signing in needs a code besides the password"`
	Devices            []Device `bson:"devices,omitempty" json:"devices,omitempty" doc:"The enrolled devices of a patient, in the order in which they were enrolled (RevokeDevice)"`
	// StaffOf are the studies in which the user holds another role than that of a patient. Only administrators see the
	// accounts of patients, because their names are identity data.
	StaffOf []domain.StudyID `bson:"staffOf,omitempty" json:"-"`
}

// Granted is a role, with who granted it and when.
type Granted struct {
	Grant user.Grant    `bson:"grant" json:"grant" doc:"Role and scope"`
	By    domain.UserID `bson:"by" json:"by" doc:"Who has given it"`
	At    time.Time     `bson:"at" json:"at" doc:"When"`
}

// Device is a device on which a patient has signed in, and whose session has not ended.
type Device struct {
	Device     user.DeviceID `bson:"device" json:"device" doc:"The device"`
	Name       string        `bson:"name,omitempty" json:"name,omitempty" doc:"Name by which people know it"`
	EnrolledAt time.Time     `bson:"enrolledAt" json:"enrolledAt" doc:"When it was signed in on last"`
}

// Enrol adds a device, or enrols it anew.
func (u *User) Enrol(d Device) {
	u.Revoke(d.Device)
	u.Devices = append(u.Devices, d)
}

// Revoke removes a device.
func (u *User) Revoke(id user.DeviceID) {
	u.Devices = slices.DeleteFunc(u.Devices, func(d Device) bool { return d.Device == id })
}

// Become changes the status of the account.
func (u *User) Become(status UserStatus, at time.Time) { u.Status, u.Since = status, at }

// Give adds a role, and ends its proposal.
func (u *User) Give(g Granted) {
	u.Grants = append(u.Grants, g)
	u.Withdraw(g.Grant)
	u.staff()
}

// Withdraw ends the proposal of a role.
func (u *User) Withdraw(g user.Grant) {
	u.Proposed = slices.DeleteFunc(u.Proposed, func(p Granted) bool { return p.Grant == g })
}

// Take takes a role away.
func (u *User) Take(g user.Grant) {
	u.Grants = slices.DeleteFunc(u.Grants, func(has Granted) bool { return has.Grant == g })
	u.staff()
}

func (u *User) staff() {
	u.StaffOf = nil
	for _, g := range u.Grants {
		if g.Grant.Study != "" && !g.Grant.Role.IsOfOnePatient() && !slices.Contains(u.StaffOf, g.Grant.Study) {
			u.StaffOf = append(u.StaffOf, g.Grant.Study)
		}
	}
}

// OnlyIn removes what members of a study may not see: roles outside of the study, the roles of patients, and devices.
func (u *User) OnlyIn(study domain.StudyID) {
	hidden := func(g Granted) bool { return g.Grant.Study != study || g.Grant.Role.IsOfOnePatient() }
	u.Devices = nil
	u.Grants, u.Proposed = slices.DeleteFunc(u.Grants, hidden), slices.DeleteFunc(u.Proposed, hidden)
}

var userOrders = []readmodels.Order[User]{
	readmodels.Ascending("user", func(u User) []any { return []any{u.ID} }, "_id"),
	readmodels.Descending("last-sign-in", func(u User) []any { return []any{u.LastSignInAt.UTC(), u.ID} }, "lastSignInAt", "_id"),
	readmodels.Ascending("longest-away", func(u User) []any { return []any{u.LastSignInAt.UTC(), u.ID} }, "lastSignInAt", "_id"),
}

// userSort names the orders of both lists. Users who never signed in come first in the order of the longest absence.
var userSort = readmodels.SortBy(userOrders, "By id, or by the last sign-in, the last or the longest ago in front;")

// users and studyUsers are the queries of all accounts, and of the accounts of those who work in a study.
var (
	users = readmodels.Declare(readmodels.Query{
		Name: "Users", Path: "/api/v1/users", Summary: "Accounts and their grants",
		Doc:    "Every account with the roles that it holds, who gave them and when, and how it stands (21 CFR 11.10(d) and (g)).",
		OpenTo: access.Admins, Reach: readmodels.ReachAnywhere, Views: []readmodels.View{UserDirectory}, Sort: userSort,
	}, ListUsers)
	studyUsers = readmodels.Declare(readmodels.Query{
		Name: "StudyUsers", Path: "/api/v1/studies/{study}/users", Summary: "Who works in a study",
		Doc:    "The accounts that hold a role in the study, with their roles in it alone. Patients are left out.",
		OpenTo: access.To(access.DataManagers, access.Auditors), Reach: readmodels.ReachStudy, Views: []readmodels.View{UserDirectory},
		Sort: userSort,
	}, ListStudyUsers)
)

// UsersQuery asks for accounts; empty fields do not narrow the list.
type UsersQuery struct {
	Status UserStatus `query:"status" doc:"Only accounts with this status"`
	Role   user.Role  `query:"role" doc:"Only holders of this role"`
	readmodels.Page
}

// StudyUsersQuery asks for the accounts that hold a role in a study, patients left out.
type StudyUsersQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	UsersQuery
}

// ListUsers returns a page of the directory. No index has the role; there are some hundreds of accounts per study.
func ListUsers(ctx context.Context, r readmodels.Request, q UsersQuery) (readmodels.List[User], error) {
	filter := bson.D{readmodels.OneOrAny("status", q.Status, UserStatuses)}
	if q.Role != "" {
		filter = append(filter, bson.E{Key: "grants.grant.role", Value: string(q.Role)})
	}
	return readmodels.Listed(ctx, r.Store.Collection(UserDirectory), q.Page, filter, userOrders)
}

// ListStudyUsers returns a page of those who work in a study.
func ListStudyUsers(ctx context.Context, r readmodels.Request, q StudyUsersQuery) (readmodels.List[User], error) {
	filter := bson.D{{Key: "staffOf", Value: string(q.Study)}, readmodels.OneOrAny("status", q.Status, UserStatuses)}
	if q.Role != "" {
		filter = append(filter, bson.E{Key: "grants", Value: bson.D{{Key: "$elemMatch", Value: bson.D{
			{Key: "grant.role", Value: string(q.Role)}, {Key: "grant.study", Value: string(q.Study)}}}}})
	}
	list, err := readmodels.Listed(ctx, r.Store.Collection(UserDirectory), q.Page, filter, userOrders)
	for i := range list.Items {
		list.Items[i].OnlyIn(q.Study)
	}
	return list, err
}
