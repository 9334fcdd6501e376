package commands

// All lists every command that the system takes. A new command is declared beside its neighbours and named here.
func All() []Command {
	return []Command{
		CreateStudy, PublishProtocolVersion, AddSite, ActivateSite, CloseSite,
		OpenEnrollment, CloseEnrollment, SetEnrollmentTarget, ReservePlace, ReleasePlace,
		ScreenPatient, RecordConsent, RecordScreenFailure, EnrollPatient, ConfirmEnrollment, FailEnrollment,
		RecordVisit, WithdrawConsent, DiscontinuePatient, CompletePatient,
		AssignInstrument, SubmitDiary, CorrectDiary, RemindOfDiaries, CloseDiaryWindows,
		OpenDepot, RegisterKits, ReleaseBatch, RecallLot, SetResupplyRule,
		TakeInDelivery, CreateShipment, PlanResupply, CancelShipment, DispatchShipment, ReceiveShipment, ReportShipmentLost,
		QuarantineKits, QuarantineLot, ReleaseKits, ExpireKits, DestroyKits, ReportKitLost,
		HoldStock, ReleaseHold, AllocateKit, SetKitsAside, DispenseKit, ReturnKit, ReconcileKit,
		UploadRandomisationList, GenerateRandomisationList, DefineMinimisation, ActivateRandomisation, SetCohortCaps,
		RandomisePatient, CorrectStratum, BreakBlind, RevealSeed,
		RaiseAlert, ReviewAlert, CloseAlert, EscalateAlert, RecordNotification,
		RetryParkedMessage, AbandonParkedMessage,
		RebuildProjection, CancelRebuild, SkipProjectionEvent, RetryProjection, DropProjectionBuild,
		RegisterUser, ChangePassword, GrantRole, RevokeRole, DeactivateUser,
	}
}

// internal lists what only the product itself sends.
func internal() []Command {
	return []Command{attemptSignIn, recordAccessRefused, takeStep, parkMessage}
}
