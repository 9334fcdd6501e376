package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/domain/user"
)

// everyRole lists the roles that can be granted.
var everyRole = []user.Role{user.PatientRole, user.Caregiver, user.CRC, user.Investigator, user.Monitor, user.DataManager,
	user.SupplyManager, user.UnblindedSupplyManager, user.QualifiedPerson, user.SafetyOfficer, user.StudyManager, user.Statistician,
	user.Auditor, user.Admin}

// What a command or query touches.
const (
	theSystem  = "system"
	theStudy   = "study"
	theSite    = "site"
	thePatient = "patient"
	theAlert   = "alert"
	theKit     = "kit"
	ownSites   = "own sites"
	ownPatient = "own patient"
	anywhere   = "anywhere"
	themselves = "themselves"
)

// entitled says who may do what, in the words of the trial. It is written down a second time on purpose: a declaration that
// opens a command to one role too many fails here, and so does a command that nobody has thought about.
var entitled = map[string]struct {
	touches string
	roles   []user.Role
}{
	"CreateStudy":               {theStudy, managers},
	"PublishInstrument":         {theStudy, managers},
	"PublishImage":              {theStudy, managers},
	"PublishProtocolVersion":    {theStudy, managers},
	"CreateBuildDraft":          {theStudy, managers},
	"PutForm":                   {theStudy, managers},
	"PutCodeList":               {theStudy, managers},
	"PutSchedule":               {theStudy, managers},
	"PutChecks":                 {theStudy, managers},
	"RemovePart":                {theStudy, managers},
	"SealBuild":                 {theStudy, managers},
	"PublishBuild":              {theStudy, managers},
	"ReleaseBuild":              {theStudy, managers},
	"AddSite":                   {theStudy, managers},
	"ActivateSite":              {theStudy, managers},
	"CloseSite":                 {theStudy, sponsors},
	"OpenEnrollment":            {theStudy, sponsors},
	"CloseEnrollment":           {theStudy, sponsors},
	"SetEnrollmentTarget":       {theStudy, sponsors},
	"ScreenPatient":             {theSite, siteStaff},
	"RecordConsent":             {thePatient, siteStaff},
	"RecordScreenFailure":       {thePatient, siteStaff},
	"EnrollPatient":             {thePatient, siteStaff},
	"WithdrawConsent":           {thePatient, siteStaff},
	"DiscontinueTreatment":      {thePatient, siteStaff},
	"HoldDose":                  {thePatient, siteStaff},
	"ResumeDose":                {thePatient, siteStaff},
	"EndParticipation":          {thePatient, siteStaff},
	"UndoPatientStep":           {thePatient, append([]user.Role{user.DataManager}, siteStaff...)},
	"VoidRegistration":          {thePatient, append([]user.Role{user.DataManager}, siteStaff...)},
	"DismissDeviationCandidate": {thePatient, []user.Role{user.Monitor, user.DataManager}},
	"TransferPatient":           {thePatient, managers},
	"ApplyProtocolVersion":      {thePatient, append([]user.Role{user.DataManager}, siteStaff...)},
	"RecordReconsentRefusal":    {thePatient, siteStaff},
	"ApproveProtocolAtSite":     {theStudy, managers},
	"WithdrawSiteApproval":      {theStudy, managers},
	"OverrideEligibility":       {thePatient, []user.Role{user.Investigator}},
	"RecordProtocolDeviation":   {thePatient, append([]user.Role{user.Monitor, user.DataManager}, siteStaff...)},
	"CorrectVisitDate":          {thePatient, siteStaff},
	"VoidVisit":                 {thePatient, siteStaff},
	"CorrectConsentDate":        {thePatient, siteStaff},
	"VoidConsent":               {thePatient, siteStaff},
	"CorrectEnrollmentDate":     {thePatient, siteStaff},
	"CorrectScreeningDate":      {thePatient, siteStaff},
	"CorrectEndDate":            {thePatient, siteStaff},
	"CorrectAge":                {thePatient, siteStaff},
	"CorrectSex":                {thePatient, siteStaff},
	"DiscontinuePatient":        {thePatient, siteStaff},
	"CompletePatient":           {thePatient, siteStaff},
	"AssignInstrument":          {thePatient, siteStaff},
	"SubmitDiary":               {thePatient, []user.Role{user.PatientRole, user.Caregiver}},
	"TranscribeDiary":           {thePatient, siteStaff},
	"RecordIdentity":            {thePatient, siteStaff},
	"CorrectIdentity":           {thePatient, siteStaff},
	"ReadIdentity":              {thePatient, siteStaff},
	"SubscribePush":             {thePatient, []user.Role{user.PatientRole, user.Caregiver}},
	"UnsubscribePush":           {thePatient, append([]user.Role{user.PatientRole, user.Caregiver}, siteStaff...)},
	"CorrectDiaryWindow":        {thePatient, []user.Role{user.Investigator}},
	"VoidDiary":                 {thePatient, []user.Role{user.Investigator}},
	"StopInstrument":            {thePatient, siteStaff},
	"ReplaceInstrument":         {thePatient, siteStaff},
	"ChangeZone":                {thePatient, append([]user.Role{user.PatientRole, user.Caregiver}, siteStaff...)},
	"ChooseReminders":           {thePatient, append([]user.Role{user.PatientRole, user.Caregiver}, siteStaff...)},
	"SetDiaryLanguage":          {thePatient, append([]user.Role{user.PatientRole, user.Caregiver}, siteStaff...)},
	"AskDiaryCorrection":        {thePatient, append([]user.Role{user.PatientRole, user.Caregiver}, siteStaff...)},
	"CorrectDiary":              {thePatient, []user.Role{user.Investigator}},
	"DeclineDiaryCorrection":    {thePatient, []user.Role{user.Investigator}},
	"CloseDiaryWindows":         {thePatient, siteStaff},
	"RecordVisit":               {thePatient, siteStaff},
	"SubmitForm":                {thePatient, siteStaff},
	"CorrectItems":              {thePatient, siteStaff},
	"MarkItemNotDone":           {thePatient, siteStaff},
	"MarkFormNotDone":           {thePatient, siteStaff},
	"AddRow":                    {thePatient, siteStaff},
	"RemoveRow":                 {thePatient, siteStaff},
	"RestoreRow":                {thePatient, siteStaff},
	"RaiseQuery":                {thePatient, []user.Role{user.Monitor, user.DataManager, user.SafetyOfficer}},
	"AnswerQuery":               {thePatient, siteStaff},
	"ReopenQuery":               {thePatient, []user.Role{user.Monitor, user.DataManager, user.SafetyOfficer}},
	"CloseQuery":                {thePatient, []user.Role{user.Monitor, user.DataManager, user.SafetyOfficer}},
	"CancelQuery":               {thePatient, []user.Role{user.Monitor, user.DataManager, user.SafetyOfficer}},
	"SkipVisit":                 {thePatient, siteStaff},
	"RecordDoseChange":          {thePatient, siteStaff},
	"OpenDepot":                 {theStudy, suppliers},
	"UploadRandomisationList":   {theStudy, statisticians},
	"GenerateRandomisationList": {theStudy, statisticians},
	"DefineMinimisation":        {theStudy, statisticians},
	"ActivateRandomisation":     {theStudy, statisticians},
	"SetCohortCaps":             {theStudy, statisticians},
	"SetLevelCaps":              {theStudy, append([]user.Role{user.StudyManager}, statisticians...)},
	"SupersedeScheme":           {theStudy, statisticians},
	"CloseArm":                  {theStudy, statisticians},
	"ExtendRandomisationList":   {theStudy, statisticians},
	"SetListAlert":              {theStudy, statisticians},
	"RequestRandomisation":      {thePatient, siteStaff},
	"RevealSeed":                {theStudy, statisticians},
	"CorrectStratum":            {thePatient, []user.Role{user.Investigator, user.DataManager}},
	"BreakBlind":                {thePatient, []user.Role{user.Investigator, user.SafetyOfficer}},
	"RecordCodeBreakOpened":     {thePatient, []user.Role{user.Investigator, user.SafetyOfficer}},
	"RegisterKits":              {theStudy, unblindedSuppliers},
	"ReleaseBatch":              {theStudy, []user.Role{user.QualifiedPerson, user.UnblindedSupplyManager}},
	"ApproveShippingToSite":     {theStudy, qualified},
	"WithdrawShippingToSite":    {theStudy, qualified},
	"ApproveShippingToCountry":  {theStudy, qualified},
	"WithdrawShippingToCountry": {theStudy, qualified},
	"SetDoNotShipDays":          {theStudy, unblindedSuppliers},
	"ShowExpiringKits":          {theStudy, unblindedSuppliers},
	"RecallLot":                 {theStudy, unblindedSuppliers},
	"SetResupplyRule":           {theStudy, append([]user.Role{user.StudyManager}, suppliers...)},
	"CreateShipment":            {theSite, keepers},
	"CancelShipment":            {theSite, keepers},
	"DispatchShipment":          {theSite, keepers},
	"ReceiveShipment":           {theSite, siteStaff}, // at a depot, who keeps it
	"ReportShipmentLost":        {theSite, suppliers},
	"QuarantineKits":            {theSite, keepers},
	"ReleaseKits":               {theSite, suppliers},
	"DestroyKits":               {theSite, siteStaff}, // at a depot, who keeps it
	"PauseSite":                 {theStudy, append([]user.Role{user.SafetyOfficer}, sponsors...)},
	"ResumeSite":                {theStudy, append([]user.Role{user.SafetyOfficer}, sponsors...)},
	"SuspendStudy":              {theStudy, append([]user.Role{user.SafetyOfficer}, sponsors...)},
	"ResumeStudy":               {theStudy, append([]user.Role{user.SafetyOfficer}, sponsors...)},
	"ReopenSite":                {theStudy, sponsors},
	"ApproveDestruction":        {theSite, suppliers},
	"AllowReplacements":         {theSite, suppliers},
	"ReportKitFound":            {theSite, keepers},
	"ConfirmRelabelling":        {theSite, unblindedSuppliers},
	"ReplaceKit":                {thePatient, siteStaff},
	"DispenseUnscheduled":       {thePatient, siteStaff},
	"RecordNotDispensed":        {thePatient, siteStaff},
	"RecordRecallAction":        {thePatient, siteStaff},
	"WithdrawLotRecall":         {theStudy, unblindedSuppliers},
	"ExtendExpiry":              {theStudy, unblindedSuppliers},
	"EndResupply":               {theStudy, append([]user.Role{user.StudyManager}, suppliers...)},
	"EndResupplyOfArm":          {theStudy, unblindedSuppliers},
	"ResumeResupplyOfArm":       {theStudy, unblindedSuppliers},
	"EndResupplyOfKitTypes":     {theStudy, unblindedSuppliers},
	"ResumeResupplyOfKitTypes":  {theStudy, unblindedSuppliers},
	"ReportKitLost":             {theSite, keepers},
	"DispenseKit":               {thePatient, siteStaff},
	"ReturnKit":                 {thePatient, siteStaff},
	"ReconcileKit":              {thePatient, siteStaff},
	"RecountKit":                {thePatient, siteStaff},
	"CorrectDispensingDate":     {thePatient, siteStaff},
	"CorrectReturnDate":         {thePatient, siteStaff},
	"RecordKitNotReturned":      {thePatient, siteStaff},
	"ReviewAlert": {theAlert, append([]user.Role{user.SafetyOfficer},
		siteStaff...)}, // a clinical one; those of supply are also for who moves drug
	"CloseAlert":              {theAlert, append([]user.Role{user.SafetyOfficer}, siteStaff...)},
	"RetryParkedMessage":      {theStudy, managers},
	"AbandonParkedMessage":    {theStudy, managers},
	"RetryProcess":            {theStudy, managers},
	"RebuildProjection":       {theStudy, managers},
	"CancelRebuild":           {theStudy, managers},
	"SkipProjectionEvent":     {theStudy, managers},
	"RetryProjection":         {theStudy, managers},
	"DropProjectionBuild":     {theStudy, managers},
	"ResolveDamage":           {theSystem, admins},
	"ConfirmDamageResolution": {theSystem, admins},

	"RegisterUser":        {theSystem, admins},
	"ChangePassword":      {theSystem, admins},
	"GrantRole":           {theSystem, admins},
	"RevokeRole":          {theSystem, admins},
	"DeactivateUser":      {theSystem, admins},
	"ConfirmRole":         {theSystem, admins},
	"ConfirmAccount":      {theSystem, admins},
	"SignOut":             {theSystem, admins},
	"LockUser":            {theSystem, admins},
	"UnlockUser":          {theSystem, admins},
	"RemoveSecondFactor":  {theSystem, admins},
	"RevokeDevice":        {theSystem, admins},
	"OpenPatientAccount":  {thePatient, siteStaff},
	"IssueActivationCode": {thePatient, siteStaff},
	"OfferSecondFactor":   {theSystem, nil}, // open to the owner of the account alone
	"EnrolSecondFactor":   {theSystem, nil},
	"RequireSecondFactor": {theStudy, managers},

	"Me":                      {themselves, everyRole},
	"MyDiaries":               {ownPatient, []user.Role{user.PatientRole}},
	"MySchedule":              {ownPatient, []user.Role{user.PatientRole, user.Caregiver}},
	"MyInstruments":           {ownPatient, []user.Role{user.PatientRole, user.Caregiver}},
	"MyInstrument":            {ownPatient, []user.Role{user.PatientRole, user.Caregiver}},
	"MyImage":                 {ownPatient, []user.Role{user.PatientRole, user.Caregiver}},
	"Studies":                 {themselves, everyRole},
	"StudyOverview":           {ownSites, members},
	"Pauses":                  {ownSites, members},
	"Protocols":               {ownSites, members},
	"Protocol":                {ownSites, members},
	"StudyImage":              {ownSites, members},
	"Builds":                  {ownSites, members},
	"Build":                   {ownSites, members},
	"BuildForm":               {ownSites, members},
	"BuildPart":               {theStudy, managers},
	"BuildChanges":            {theStudy, managers},
	"Arms":                    {theStudy, []user.Role{user.UnblindedSupplyManager, user.Statistician}},
	"Patients":                {theSite, readers},
	"SameNumbers":             {theStudy, []user.Role{user.DataManager, user.Auditor}},
	"Patient":                 {thePatient, append([]user.Role{user.PatientRole}, readers...)},
	"PatientForms":            {thePatient, readers},
	"PatientDiaries":          {thePatient, readers},
	"PatientDiaryDevices":     {thePatient, append([]user.Role{user.PatientRole, user.Caregiver}, readers...)},
	"HeldDiaries":             {theSite, readers},
	"StudyDiaries":            {theSite, readers},
	"DiaryCorrections":        {theSite, readers},
	"DiaryDevices":            {theSite, readers},
	"PatientVisits":           {thePatient, readers},
	"Compliance":              {theSite, readers},
	"ComplianceBySite":        {ownSites, readers},
	"Processes":               {theSite, members},
	"ParkedMessages":          {theStudy, []user.Role{user.DataManager, user.Auditor}},
	"Alerts":                  {theSite, members},
	"Kits":                    {theSite, members},
	"Kit":                     {theKit, members},
	"Shipments":               {theSite, members},
	"ShippingApprovals":       {theSite, members},
	"RecalledKits":            {theSite, append([]user.Role{user.UnblindedSupplyManager}, readers...)},
	"Accountability":          {ownSites, members},
	"AccountabilityByPatient": {theSite, readers},
	"Reconciliation":          {theSite, readers},
	"DosingCompliance":        {theSite, readers},
	"Deviations":              {theSite, readers},
	"Reconsents":              {theSite, readers},
	"PatientDosing":           {thePatient, readers},
	"WithoutKit":              {theSite, members},
	"EnrollmentBySite":        {ownSites, members},
	"SiteDashboard":           {theSite, readers},
	"SiteClosing":             {theSite, append([]user.Role{user.StudyManager, user.DataManager, user.Monitor}, siteStaff...)},
	"EndingLists":             {theStudy, statisticians},
	"StudyUsers":              {theStudy, []user.Role{user.DataManager, user.Auditor}},
	"Users":                   {theSystem, admins},
	"StudyTrail":              {theSite, []user.Role{user.Investigator, user.Monitor, user.DataManager, user.Auditor}},
	"StudyAccountTrail":       {theStudy, []user.Role{user.Auditor}},
	"SignedEntries":           {thePatient, []user.Role{user.Monitor, user.DataManager, user.Auditor}},
	"AccountTrail":            {theSystem, admins},
	"Projections":             {anywhere, []user.Role{user.DataManager, user.Admin, user.Auditor}},
}

var (
	managers  = []user.Role{user.DataManager}
	sponsors  = []user.Role{user.DataManager, user.StudyManager}
	siteStaff = []user.Role{user.CRC, user.Investigator}
	admins    = []user.Role{user.Admin}

	statisticians = []user.Role{user.Statistician}
	readers       = []user.Role{user.CRC, user.Investigator, user.Monitor, user.DataManager, user.SafetyOfficer, user.Statistician,
		user.Auditor}
	suppliers          = []user.Role{user.SupplyManager, user.UnblindedSupplyManager}
	unblindedSuppliers = []user.Role{user.UnblindedSupplyManager}
	qualified          = []user.Role{user.QualifiedPerson}
	keepers            = append(slices.Clone(suppliers), siteStaff...)
	members            = append(append(slices.Clone(suppliers), user.StudyManager, user.QualifiedPerson), readers...)
)

// asker is a user with one grant, and how the scope of that grant relates to the scope of the request.
type asker struct {
	client
	role user.Role
	// where is own study, own site, other site or other study.
	where string
}

const (
	ownStudy   = "own study"
	ownSite    = "own site"
	otherSite  = "other site"
	otherStudy = "other study"
)

// askers are one user for each role and place that the role can be granted in.
func askers(t *testing.T, c client, tr, elsewhere trial) []asker {
	t.Helper()
	var all []asker
	add := func(role user.Role, where string, g user.Grant) {
		g.Role = role
		all = append(all, asker{client: c.as(account(t, "asker", g)), role: role, where: where})
	}
	for _, role := range everyRole {
		switch role {
		case user.Admin:
			add(role, ownStudy, user.Grant{})
		case user.PatientRole:
			add(role, ownSite, user.Grant{Study: tr.study, Patient: tr.patient})
			add(role, otherSite, user.Grant{Study: tr.study, Patient: tr.other})
			add(role, otherStudy, user.Grant{Study: elsewhere.study, Patient: elsewhere.patient})
		case user.Caregiver:
			add(role, ownSite, user.Grant{Study: tr.study, Patient: tr.patient, Relation: user.RelationParent})
			add(role, otherSite, user.Grant{Study: tr.study, Patient: tr.other, Relation: user.RelationParent})
			add(role, otherStudy, user.Grant{Study: elsewhere.study, Patient: elsewhere.patient, Relation: user.RelationParent})
		default:
			if mayWorkAcross(role) {
				add(role, ownStudy, user.Grant{Study: tr.study})
				add(role, otherStudy, user.Grant{Study: elsewhere.study})
			}
			if mayWorkAtSites(role) {
				add(role, ownSite, user.Grant{Study: tr.study, Site: "01"})
				add(role, otherSite, user.Grant{Study: tr.study, Site: "02"})
				add(role, otherStudy, user.Grant{Study: elsewhere.study, Site: "01"})
			}
		}
	}
	return all
}

func mayWorkAcross(role user.Role) bool { return !slices.Contains(siteStaff, role) }

func mayWorkAtSites(role user.Role) bool {
	return slices.Contains(siteStaff, role) || role == user.Monitor
}

// may says whether a user with this role in this place is entitled to what touches something of the own study's site 01.
func may(name string, a asker) bool {
	e := entitled[name]
	if !slices.Contains(e.roles, a.role) {
		return false
	}
	switch e.touches {
	case themselves, anywhere, ownPatient:
		return true
	case theSystem:
		return a.role == user.Admin
	case theStudy:
		return a.where == ownStudy
	case theSite, thePatient, theAlert, theKit:
		return a.where == ownStudy || a.where == ownSite
	case ownSites:
		return a.where != otherStudy
	}
	return false
}

// TestEntitledNamesWhatThereIs finds rows that were left behind.
func TestEntitledNamesWhatThereIs(t *testing.T) {
	declared := map[string]bool{}
	for _, c := range contexts.Commands() {
		declared[c.Name()] = true
	}
	for _, q := range contexts.Queries() {
		declared[q.Name] = true
	}
	for name := range entitled {
		if !declared[name] {
			t.Errorf("entitled has a row for %s, and there is no such command or query: remove it", name)
		}
	}
}

// TestR4_CommandsAreOpenToWhomTheDomainSaysAndNobodyElse asks every command of every role in every place.
func TestR4_CommandsAreOpenToWhomTheDomainSaysAndNobodyElse(t *testing.T) {
	c := serve(t, nil)
	tr, elsewhere := newTrial(t), newTrial(t)
	all := append(askers(t, c, tr, elsewhere), asker{client: c.as(account(t, "nobody"))})
	for _, declared := range contexts.Commands() {
		if declared.Internal() {
			continue
		}
		name := declared.Name()
		t.Run(name, func(t *testing.T) {
			if _, ok := entitled[name]; !ok {
				t.Fatalf("add a row for %s to entitled in access_test.go: who may send it?", name)
			}
			body := bodyAbout(t, declared.Body(), tr)
			recordsNothing(t, func() {
				var together sync.WaitGroup // each refusal is recorded durably, and together they share the wait
				for _, a := range all {
					if !may(name, a) {
						together.Go(func() {
							a.post("/api/v1/commands/"+name, body).refused(t, http.StatusForbidden, "not_allowed")
						})
					}
				}
				together.Wait()
			})
			for _, a := range all {
				if !may(name, a) {
					continue
				}
				r := a.post("/api/v1/commands/"+name, body)
				if asksForPresence[name] { // their tokens are not from a sign-in
					r.refused(t, http.StatusForbidden, "reauthentication_required")
				} else if r.StatusCode == http.StatusForbidden || r.StatusCode >= 500 {
					t.Errorf("%s (%s) is answered %d: %s", a.role, a.where, r.StatusCode, r.body)
				}
			}
			c.post("/api/v1/commands/"+name, body).refused(t, http.StatusUnauthorized, "token_missing")
		})
	}
}

// asksForPresence are the commands whose sender has to have signed in just now (21 CFR 11.200(a)(1)).
var asksForPresence = map[string]bool{"ActivateRandomisation": true, "SupersedeScheme": true, "CloseArm": true,
	"BreakBlind": true, "RecordCodeBreakOpened": true, "RevealSeed": true, "OverrideEligibility": true,
	"RequireSecondFactor": true, "OfferSecondFactor": true, "EnrolSecondFactor": true,
	"ResolveDamage": true, "ConfirmDamageResolution": true, "PublishBuild": true}

// TestR15_APresentPersonIsAskedForInEveryWay goes through the catalogue: a command that asks for a fresh sign-in asks the
// owner of the account too, and no command that is open to owners gets around it.
func TestR15_APresentPersonIsAskedForInEveryWay(t *testing.T) {
	c := serve(t, nil)
	owner := account(t, "owner")
	owners := 0
	for _, declared := range contexts.Commands() {
		name := declared.Name()
		if declared.AsksForPresence() != asksForPresence[name] {
			t.Errorf("%s: asks for presence: %v, and asksForPresence in access_test.go says %v", name, declared.AsksForPresence(),
				asksForPresence[name])
		}
		if !declared.OpenToOwner() || !declared.AsksForPresence() {
			continue
		}
		owners++
		body, err := json.Marshal(declared.Example())
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(body, &fields); err != nil {
			t.Fatal(err)
		}
		fields["user"] = owner
		if body, err = json.Marshal(fields); err != nil {
			t.Fatal(err)
		}
		c.as(owner).post("/api/v1/commands/"+name, string(body)). // the token is of no sign-in
										refused(t, http.StatusForbidden, "reauthentication_required")
	}
	if owners < 2 {
		t.Errorf("only %d commands were tried", owners)
	}
}

// TestR4_NoAdministratorReachesArms goes through the catalogue of commands and roles: whoever may send a command that shows
// arms, or handles them, has a role that needs two people, and administrators can send nothing that concerns a trial.
func TestR4_NoAdministratorReachesArms(t *testing.T) {
	// handlesArms are the commands whose sender brings or learns what is in which arm.
	handlesArms := []string{"UploadRandomisationList", "GenerateRandomisationList", "DefineMinimisation", "ActivateRandomisation",
		"SetCohortCaps", "SupersedeScheme", "CloseArm", "ExtendRandomisationList", "RevealSeed", "BreakBlind", "RecordCodeBreakOpened",
		"RegisterKits",
		"ReleaseBatch", "RecallLot", "WithdrawLotRecall", "ExtendExpiry", "ConfirmRelabelling", "SetDoNotShipDays", "ShowExpiringKits",
		"EndResupplyOfArm",
		"ResumeResupplyOfArm", "EndResupplyOfKitTypes", "ResumeResupplyOfKitTypes"}
	// signed are commands that ask for presence because somebody answers for them in person, and that show no arm.
	signed := []string{"OverrideEligibility", "PublishBuild"}
	// reporters may only report that a blind was broken by accident, and are shown nothing.
	reporters := map[string][]user.Role{"BreakBlind": {user.CRC, user.Monitor, user.DataManager}}
	operations := []string{"projection", "user", "record"} // keeping views and accounts, and a damaged record going
	shown := 0
	for _, declared := range contexts.Commands() {
		if asksForPresence[declared.Name()] && !slices.Contains(handlesArms, declared.Name()) &&
			!slices.Contains(signed, declared.Name()) && !strings.HasSuffix(declared.Name(), "SecondFactor") && declared.Category() != "record" {
			t.Errorf("%s asks for presence, and is not listed as a command on arms", declared.Name())
		}
		for _, role := range declared.OpenTo() {
			if slices.Contains(handlesArms, declared.Name()) && !slices.Contains(reporters[declared.Name()], role) {
				if shown++; !role.NeedsTwoPeople() {
					t.Errorf("%s is open to the role %s, which one administrator alone can give", declared.Name(), role)
				}
			}
			if role == user.Admin && !slices.Contains(operations, declared.Category()) {
				t.Errorf("administrators may send %s", declared.Name())
			}
		}
	}
	if shown < len(handlesArms) {
		t.Errorf("only %d roles of %d commands were looked at", shown, len(handlesArms))
	}
	if user.Admin.NeedsTwoPeople() || user.Admin.KnowsArms() || user.Admin.MayUnblind() {
		t.Error("an administrator is taken for somebody who sees arms")
	}
	for _, role := range user.Roles {
		if role.KnowsArms() && !role.NeedsTwoPeople() {
			t.Errorf("the role %s knows arms, and one administrator alone can give it", role)
		}
	}
}

// bodyAbout makes a body that names the trial's study, site and patient and nothing else. A caller who may send it is
// therefore refused by a rule, and not for lack of a role.
func bodyAbout(t *testing.T, body reflect.Type, tr trial) string {
	t.Helper()
	fields := map[string]any{}
	for _, field := range reflect.VisibleFields(body) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch field.Type {
		case reflect.TypeFor[domain.StudyID]():
			fields["study"] = tr.study
		case reflect.TypeFor[domain.SiteID]():
			fields[name] = "01"
		case reflect.TypeFor[domain.PatientID]():
			if name == "patient" { // others are about another one
				fields[name] = tr.patient
			}
		case reflect.TypeFor[supply.LocationID]():
			fields[strings.ToLower(field.Name)] = "01"
		case reflect.TypeFor[safety.AlertID]():
			fields["alert"] = tr.alert
		case reflect.TypeFor[domain.UserID]():
			fields[name] = "nobody.at.all"
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestR4_QueriesAreOpenToWhomTheDomainSaysAndNobodyElse asks every query of every role in every place.
func TestR4_QueriesAreOpenToWhomTheDomainSaysAndNobodyElse(t *testing.T) {
	c := serve(t, nil)
	tr, elsewhere := newTrial(t).supplied(t), newTrial(t).supplied(t)
	caughtUp(t, elsewhere.position)
	all := append(askers(t, c, tr, elsewhere), asker{client: c.as(account(t, "nobody"))})
	for _, q := range contexts.Queries() {
		t.Run(q.Name, func(t *testing.T) {
			e, ok := entitled[q.Name]
			if !ok {
				t.Fatalf("add a row for %s to entitled in access_test.go: who may ask it?", q.Name)
			}
			path := tr.path(q)
			if e.touches == theSite && !strings.Contains(q.Path, "{site}") {
				path += "?" + q.BoundBy()[0] + "=01"
			}
			for _, a := range all {
				allowed := may(q.Name, a) || e.touches == themselves
				r := a.get(path)
				if !allowed {
					r.refused(t, http.StatusForbidden, "not_allowed")
				} else if r.StatusCode != http.StatusOK {
					t.Errorf("%s (%s) is answered %d: %s", a.role, a.where, r.StatusCode, r.body)
				}
				shown := strings.Contains(string(r.body), "arm-a") || strings.Contains(string(r.body), "arm-b")
				if shown && (q.Name != "Arms" || !a.role.KnowsArms()) {
					t.Errorf("%s (%s) is shown an arm: %s", a.role, a.where, r.body)
				}
			}
			c.get(path).refused(t, http.StatusUnauthorized, "token_missing")
		})
	}
}

// TestR4_ARoleAtASiteDoesNotReachTheStudy: what is not bound to a site is not for those who are.
func TestR4_ARoleAtASiteDoesNotReachTheStudy(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	for _, path := range []string{"/patients", "/compliance"} {
		p := c.as(tr.crc).get("/api/v1/studies/"+string(tr.study)+path).refused(t, http.StatusBadRequest, "value_missing")
		if p.Field != "site" || !strings.Contains(p.Remedy, "?site=01") {
			t.Errorf("the remedy is %q", p.Remedy)
		}
		c.as(tr.crc).get("/api/v1/studies/"+string(tr.study)+path+"?site=02").refused(t, http.StatusForbidden, "not_allowed")
	}
	for _, path := range []string{"", "/compliance/sites"} {
		r := c.as(tr.crc).get("/api/v1/studies/" + string(tr.study) + path)
		if r.StatusCode != http.StatusOK || bytes.Contains(r.body, []byte(`"02"`)) || bytes.Contains(r.body, []byte("Hospital 02")) {
			t.Errorf("%s tells a coordinator of site 01 about site 02: %d %s", path, r.StatusCode, r.body)
		}
		r = c.as(tr.manager).get("/api/v1/studies/" + string(tr.study) + path)
		if !bytes.Contains(r.body, []byte(`"02"`)) {
			t.Errorf("%s does not tell a data manager about site 02: %s", path, r.body)
		}
	}
}

func TestR9_ARoleThatIsRevokedMidSessionIsGone(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	caughtUp(t, tr.position)
	grant := user.Grant{Role: user.CRC, Study: tr.study, Site: "01"}
	nurse := account(t, "nurse", grant)
	session := c.as(nurse)
	session.accepted(tr.transcription(4))
	list := "/api/v1/studies/" + string(tr.study) + "/patients?site=01"
	if r := session.get(list); r.StatusCode != http.StatusOK {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin}))
	admin.accepted(user.RevokeRole{OfUser: domain.ForUser(nurse), Grant: grant, Reasoned: domain.Because("left the site")})
	recordsNothing(t, func() {
		session.command(tr.transcription(5)).refused(t, http.StatusForbidden, "not_allowed")
		session.get(list).refused(t, http.StatusForbidden, "not_allowed")
		r := session.batch(batchOf(t, tr.transcription(5)))
		if len(r.Items) != 1 || r.Items[0].Status != http.StatusForbidden {
			t.Errorf("the batch is answered %+v", r)
		}
	})
	admin.accepted(user.DeactivateUser{OfUser: domain.ForUser(nurse), Reasoned: domain.Because("left the hospital")})
	session.command(tr.transcription(5)).refused(t, http.StatusUnauthorized, "account_deactivated")
}

// TestRefusedAccessIsRecorded looks for refusals in the security log.
func TestRefusedAccessIsRecorded(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	r := c.as(tr.crc).get("/api/v1/patients/" + string(tr.other))
	p := r.refused(t, http.StatusForbidden, "not_allowed")
	all := recordedRefusals(t, tr.crc)
	if e := all[0]; len(all) != 1 || e.Action != "Patient" || e.Patient != tr.other || e.Site != "02" || e.Address != "127.0.0.1" {
		t.Errorf("of the refusal %s the security log says %+v", p.TraceID, all)
	}
}
