package study

import (
	"context"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/study"
	"casebook/readmodels"
)

// StudyArms are the treatments of a study.
type StudyArms struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Arms  []StudyArm     `json:"arms" doc:"The arms of all versions of the protocol, as the newest that has them names them"`
}

// StudyArm is a treatment that patients can be assigned to.
type StudyArm struct {
	Arm   domain.ArmID `json:"arm" example:"walk" doc:"What commands about it name it by"`
	Title string       `json:"title" doc:"What it is"`
}

// ArmsQuery asks for the arms of a study.
type ArmsQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
}

// arms is the query of the arms of a study. It is made from the study's state, because no view that people without arms may read holds
// them.
var arms = readmodels.Declare(readmodels.Query{
	Name: "Arms", Path: "/api/v1/studies/{study}/arms", Summary: "The arms of a study, with their titles",
	Doc:    "For those who know who is in which arm. Others see what a protocol asks for at /api/v1/studies/{study}/protocols/{version}.",
	OpenTo: access.KnowingArms, Reach: readmodels.ReachStudy, OfStates: true,
}, LoadArms)

// LoadArms returns the arms of a study; none before its protocol is published.
func LoadArms(ctx context.Context, r readmodels.Request, q ArmsQuery) (StudyArms, error) {
	s, _, err := readmodels.StateOf(ctx, r, study.Decider, string(q.Study))
	if err != nil {
		return StudyArms{}, err
	}
	shown := StudyArms{Study: q.Study, Arms: []StudyArm{}}
	for _, a := range s.Arms() {
		shown.Arms = append(shown.Arms, StudyArm{Arm: domain.ArmID(a.ID), Title: a.Title})
	}
	return shown, nil
}
