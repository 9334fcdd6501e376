package user

import (
	"slices"

	"casebook/domain"
	"casebook/domain/refuse"
)

// GiveRole gives a user a role in a scope. The study need not exist yet, because a data manager needs the role to
// create it. A role that needs two people is proposed, and an administrator has to propose it in person. An account that the
// operator of the machine makes an administrator's has to be confirmed by administrators, unless it is the first one. GiveRole
// refuses user_not_found, account_deactivated, unknown_role, role_not_grantable, invalid_grant_scope, malformed_id, not_oneself,
// role_granted, role_proposed, roles_exclusive, patient_account_named and second_person_required.
func GiveRole(u User, cmd GrantRole, call domain.Call) ([]Event, error) {
	err := domain.First(u.mustBeActive(cmd.User), cmd.Grant.validate(), notOneself(cmd.User, call))
	if err != nil {
		return nil, err
	}
	if slices.Contains(u.Grants, cmd.Grant) {
		return nil, refuse.WrongState("role_granted", "%s holds that role already", cmd.User).At("grant").
			Do("nothing is left to do")
	}
	if err := u.mayHold(cmd.Grant); err != nil {
		return nil, err
	}
	if !cmd.Grant.Role.NeedsSecond(call.Actor) {
		events := []Event{RoleGranted{User: cmd.User, Grant: cmd.Grant}}
		if cmd.Grant.Role == Admin {
			events = append(events, cmd.Administrators.appoint(cmd.User, call))
		}
		return events, nil
	}
	if err := secondPerson(call.Actor); err != nil { // the operator of the machine has to name the two people
		return nil, err
	}
	if p, found := u.proposal(cmd.Grant); found {
		return nil, refuse.WrongState("role_proposed", "%s has proposed that role for %s already", p.By, cmd.User).At("grant").
			Do("have another administrator confirm it")
	}
	return []Event{RoleProposed{User: cmd.User, Grant: cmd.Grant, By: call.Actor}}, nil
}

// ConfirmGrant gives a proposed role. It refuses user_not_found, account_deactivated, grant_not_proposed,
// roles_exclusive, patient_account_named and second_person_required.
func ConfirmGrant(u User, cmd ConfirmRole, call domain.Call) ([]Event, error) {
	if err := u.mustBeActive(cmd.User); err != nil {
		return nil, err
	}
	proposal, found := u.proposal(cmd.Grant)
	if !found {
		return nil, refuse.NotFound("grant_not_proposed", "nobody has proposed that role for %s", cmd.User).At("grant").
			Do("name role and scope as they were proposed")
	}
	if err := domain.First(secondPerson(call.Actor, proposal.By, cmd.User), u.mayHold(cmd.Grant)); err != nil {
		return nil, err
	}
	return []Event{RoleGranted{User: cmd.User, Grant: cmd.Grant}}, nil
}

// mayHold keeps the administration of accounts apart from work in studies: nobody does both, so that an administrator and
// whoever confirms a role are people who have no other part. It also keeps a study's supply apart from its patients: who
// manages kits is not shown to whom they went, and would learn it with a second role. And it keeps who knows the lists of arms apart from
// everybody who treats or looks after the patients.
func (u User) mayHold(grant Grant) error {
	if err := u.mayBePatients(grant); err != nil {
		return err
	}
	for _, held := range u.Grants {
		if held.Role == Caregiver && grant.Role == Caregiver && held.Patient == grant.Patient {
			return refuse.WrongState("role_granted", "the account holds that role with the relation %s", held.Relation).At("grant.relation").
				Do("take the role away first, if the relation is another one")
		}
		if (held.Role == Admin) != (grant.Role == Admin) {
			return refuse.Because("roles_exclusive", "an administrator cannot hold a role in a study").At("grant.role").
				Do("use another account, of another person")
		}
		if held.Study == grant.Study && held.Role.managesSupply() != grant.Role.managesSupply() {
			return refuse.Because("roles_exclusive", "who manages the supply of a study cannot hold the role %s in it", grant.Role).
				At("grant.role").Do("use another account, of another person")
		}
		if held.Study == grant.Study && (held.Role == Statistician) != (grant.Role == Statistician) {
			return refuse.Because("roles_exclusive", "the statistician of a study, who knows arms, holds no other role in it").At("grant.role").
				Do("use another account, of another person")
		}
	}
	return nil
}

// mayBePatients keeps the names of patients out of the log, where nothing can be erased: who a patient is, the identity says alone. An
// account whose name is its id tells no more than that.
func (u User) mayBePatients(grant Grant) error {
	if grant.Role != PatientRole || u.Name == "" || u.Name == string(u.ID) {
		return nil
	}
	return refuse.Because("patient_account_named", "the account %s has a name, and a patient's account must have none", u.ID).At("grant.role").
		Do("have the site open the patient's account with OpenPatientAccount; names of patients belong into RecordIdentity")
}

// managesSupply reports whether the role manages kits without knowing the patients.
func (r Role) managesSupply() bool {
	return r == SupplyManager || r == UnblindedSupplyManager || r == QualifiedPerson
}

// TakeRole takes a role away, from the next request on (21 CFR 11.10(g)), or takes a proposal back. It refuses
// user_not_found, account_deactivated, reason_required, value_too_long, grant_not_found, and not_oneself if administrators
// take away their own role admin.
func TakeRole(u User, cmd RevokeRole, call domain.Call) ([]Event, error) {
	if err := domain.First(u.mustBeActive(cmd.User), domain.Reason(cmd.Reason)); err != nil {
		return nil, err
	}
	if _, found := u.proposal(cmd.Grant); found {
		return []Event{RoleProposalWithdrawn{User: cmd.User, Grant: cmd.Grant, Reason: cmd.Reason}}, nil
	}
	if !slices.Contains(u.Grants, cmd.Grant) {
		return nil, refuse.NotFound("grant_not_found", "%s does not hold that role", cmd.User).At("grant").
			Do("name role and scope as they were granted")
	}
	if cmd.Grant.Role == Admin {
		if err := notOneself(cmd.User, call); err != nil {
			return nil, err
		}
	}
	return []Event{RoleRevoked{User: cmd.User, Grant: cmd.Grant, Reason: cmd.Reason}}, nil
}

// validate refuses a grant whose scope is not that of its role, so that no role reaches further than it should. It
// refuses unknown_role, role_not_grantable, invalid_grant_scope and malformed_id.
func (g Grant) validate() error {
	needs := func(study, site, patient bool) error {
		switch {
		case study != (g.Study != ""):
			return grantScope(g, "grant.study", study)
		case site != (g.Site != ""):
			return grantScope(g, "grant.site", site)
		case patient != (g.Patient != ""):
			return grantScope(g, "grant.patient", patient)
		}
		return nil
	}
	var err error
	switch g.Role {
	case Admin:
		err = needs(false, false, false)
	case CRC, Investigator:
		err = needs(true, true, false)
	case Monitor:
		err = needs(true, g.Site != "", false)
	case PatientRole, Caregiver:
		if err = needs(true, false, true); err == nil && g.Patient.Study() != g.Study {
			err = refuse.Because("invalid_grant_scope", "patient %s does not belong to study %s", g.Patient, g.Study).At("grant.patient").
				Do("name the patient's own study")
		}
	case DataManager, SupplyManager, UnblindedSupplyManager, QualifiedPerson, SafetyOfficer, StudyManager, Statistician, Auditor:
		err = needs(true, false, false)
	case System:
		err = refuse.Because("role_not_grantable", "the role %s is for process managers alone", g.Role).At("grant.role").
			Do("choose a role that people have")
	default:
		err = refuse.Malformed("unknown_role", "%q is not a role", string(g.Role[:min(len(g.Role), 40)])).At("grant.role").
			Do("use patient, caregiver, crc, investigator, monitor, data_manager, supply_manager, unblinded_supply_manager, " +
				"qualified_person, safety_officer, study_manager, statistician, auditor or admin")
	}
	if err != nil {
		return err
	}
	return domain.First(g.validateRelation(), g.validateIDs())
}

// Validate refuses what is no relation (code unknown_code). None is allowed.
func (r Relation) Validate() error {
	if r == "" || slices.Contains(Relations, r) {
		return nil
	}
	return refuse.Malformed("unknown_code", "%q is not a relation", refuse.Shortened(string(r))).At("relation").
		Do("use parent, guardian, spouse, child, sibling, other_relative, professional or other")
}

// validateRelation refuses a caregiver without a known relation to the patient, and a relation of anybody else (code
// invalid_grant_scope).
func (g Grant) validateRelation() error {
	known := g.Relation == ""
	if g.Role == Caregiver {
		known = slices.Contains(Relations, g.Relation)
	}
	if known {
		return nil
	}
	r := refuse.Because("invalid_grant_scope", "a caregiver, and nobody else, has a relation to the patient").At("grant.relation")
	return r.Do("use parent, guardian, spouse, child, sibling, other_relative, professional or other for a caregiver")
}

func (g Grant) validateIDs() error {
	if g.Study != "" {
		if err := g.Study.Validate(); err != nil {
			return domain.At("grant.study", err)
		}
	}
	if g.Site != "" {
		if err := g.Site.Validate(); err != nil {
			return domain.At("grant.site", err)
		}
	}
	if g.Patient != "" {
		return domain.At("grant.patient", g.Patient.Validate())
	}
	return nil
}

func grantScope(g Grant, field string, needed bool) error {
	r := refuse.Because("invalid_grant_scope", "the role %s does not fit this scope", g.Role).At(field)
	if needed {
		return r.Do("name it")
	}
	return r.Do("leave it out")
}
