package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/refuse"

	"github.com/goccy/go-json/jsontext"
	jsonv2 "github.com/goccy/go-json/v2"
	"golang.org/x/sync/errgroup"
)

// Batch is what a device sends that was offline: its commands, in their order.
type Batch struct {
	Commands []BatchCommand `json:"commands" maxItems:"500" doc:"The commands, in their order"`
}

// BatchCommand is one command of a batch.
type BatchCommand struct {
	Command string `json:"command" doc:"Name of the command" example:"SubmitDiary"`
	// Key does for this command what the header Idempotency-Key does for a single one. A batch is sent again as a whole, so that
	// each of its commands needs one.
	Key  string          `json:"idempotencyKey" minLength:"1" maxLength:"200" doc:"The same key gets the same answer, so that the batch can be sent again" example:"7c0f2f0e-diary-2026-03-01"`
	Body json.RawMessage `json:"body" doc:"The command, as for its own path"`
}

// BatchAnswer answers each command of a batch by itself, in the batch's order.
type BatchAnswer struct {
	Items []BatchItem `json:"items" doc:"One answer for each command, in the batch's order"`
}

// BatchItem is what became of one command of a batch: an answer or a problem.
type BatchItem struct {
	Status  int              `json:"status" doc:"The status that the command would have had by itself" example:"200"`
	Answer  *commands.Answer `json:"answer,omitempty" doc:"What was recorded"`
	Problem *Problem         `json:"problem,omitempty" doc:"Why it was not done"`
}

// postBatch takes commands together. Whatever becomes of one, the others are done.
func (a *API) postBatch(c *call) error {
	if err := c.prove(); err != nil {
		return err
	}
	body, err := c.body(a.limits.BatchBytes)
	if err != nil {
		return err
	}
	defer returnBuffer(body)
	c.startTimeout()
	err = c.inPause(func() error {
		if !a.batches.Take(c.who()) {
			return overloaded()
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer a.batches.Give(c.who())
	if err := c.authenticate(); err != nil {
		if isAccess(err) {
			a.recordRefusedBatch(c, body.Bytes(), err)
		}
		return err
	}
	raw, err := readBatch(body.Bytes(), a.limits.BatchCommands)
	if err != nil {
		return err
	}
	answer := BatchAnswer{Items: make([]BatchItem, len(raw))}
	jobs := make([]batchJob, len(raw))
	for i, text := range raw {
		jobs[i] = a.newBatchJob(i, text)
	}
	for _, stage := range stages(jobs) {
		var group errgroup.Group
		group.SetLimit(a.limits.BatchConcurrency)
		for _, lane := range stage {
			group.Go(func() error {
				for _, j := range lane {
					answer.Items[j.place] = a.runInBatch(c, j)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return c.answer(http.StatusOK, answer)
}

// recordRefusedBatch puts the commands of a batch that is refused as a whole into the security log. An account that was locked
// does not get fewer refusals counted by sending its commands together.
func (a *API) recordRefusedBatch(c *call, body []byte, why error) {
	raw, err := readBatch(body, a.limits.BatchCommands)
	if err != nil {
		return // it names no commands
	}
	for i, text := range raw {
		if j := a.newBatchJob(i, text); j.refused == nil {
			if declared, known := a.handler.Find(j.command.Command); known && !declared.Internal() {
				c.recordRefusalOf(declared.Name(), c.proof.User, noScope, why)
			}
		}
	}
}

// readBatch splits a batch into its commands. Only what makes the batch as a whole unreadable is refused here; names
// given twice and other faults inside a command are that command's own.
func readBatch(body []byte, most int) ([]jsontext.Value, error) {
	var outer struct {
		Commands *[]jsontext.Value `json:"commands"`
	}
	err := jsonv2.Unmarshal(body, &outer, jsonv2.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(true),
		jsontext.AllowInvalidUTF8(true))
	if err != nil {
		// The strict reader words the refusal; what it finds may also be a lesser fault inside a command.
		if err := commands.Decode(body, &outer); err != nil {
			return nil, err
		}
		return nil, refuse.Malformed("malformed_json", "the body cannot be read as a batch").Do(`send {"commands": [...]}`)
	}
	if outer.Commands == nil {
		return nil, refuse.Malformed("malformed_json", "the batch has no commands").At("commands").Do(`send {"commands": [...]}`)
	}
	if n := len(*outer.Commands); n > most {
		return nil, refuse.Malformed("batch_too_large", "the batch has %d commands; the most is %d", n, most).At("commands").
			Do("send it in several batches")
	}
	return *outer.Commands, nil
}

// batchJob is one command of a batch on its way.
type batchJob struct {
	place   int
	command struct {
		Command string         `json:"command"`
		Key     string         `json:"idempotencyKey"`
		Body    jsontext.Value `json:"body"`
	}
	// refused is set where the command cannot be read.
	refused error
	// patient is who the command is about, empty where it is about something else.
	patient domain.PatientID
}

func (a *API) newBatchJob(place int, text jsontext.Value) batchJob {
	j := batchJob{place: place}
	j.refused = commands.Decode(text, &j.command)
	if j.refused == nil && j.command.Command == "" {
		j.refused = refuse.Malformed("malformed_json", "the batch's item has no command").At("command").Do("name the command")
	}
	// Two commands that cannot be read meet in the handler, which puts each stream in order.
	if declared, ok := a.handler.Find(j.command.Command); ok {
		j.patient = declared.Patient(j.command.Body)
	}
	return j
}

// stages orders the commands of a batch. The commands of one patient form a lane and run one after another; the lanes of
// a stage run beside each other. A command about anything else, such as a study, is a stage of its own, because what
// comes behind it may build on it, and it on what came before.
func stages(jobs []batchJob) [][][]batchJob {
	var all [][][]batchJob
	lanes := map[domain.PatientID]int{}
	for _, j := range jobs {
		if j.patient == "" {
			all = append(all, [][]batchJob{{j}})
			clear(lanes)
			continue
		}
		if len(lanes) == 0 {
			all = append(all, nil)
		}
		stage := &all[len(all)-1]
		lane, known := lanes[j.patient]
		if !known {
			lane = len(*stage)
			lanes[j.patient] = lane
			*stage = append(*stage, nil)
		}
		(*stage)[lane] = append((*stage)[lane], j)
	}
	return all
}

// runInBatch runs one command of a batch. It always returns an answer, also after a panic.
func (a *API) runInBatch(c *call, j batchJob) (item BatchItem) {
	answer, name, err := a.tryInBatch(c, j)
	if err == nil {
		a.metrics.commanded(name, "")
		return BatchItem{Status: http.StatusOK, Answer: &answer}
	}
	p := c.problem(err)
	p.Instance += "#" + strconv.Itoa(j.place)
	a.metrics.commanded(name, p.Code)
	return BatchItem{Status: p.Status, Problem: &p}
}

func (a *API) tryInBatch(c *call, j batchJob) (answer commands.Answer, name string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	name = "unknown"
	if j.refused != nil {
		return answer, name, j.refused
	}
	declared, ok := a.handler.Find(j.command.Command)
	if !ok || declared.Internal() {
		return answer, name, unknownCommand(j.command.Command)
	}
	name = declared.Name()
	if j.command.Key == "" {
		return answer, name, refuse.Malformed("value_missing",
			"the batch's item has no idempotency key, and would be done twice if the batch were sent again").At("idempotencyKey").
			Do("choose one when the command is made, and keep it")
	}
	if int64(len(j.command.Body)) > a.limits.CommandBytes {
		return answer, name, tooLarge(a.limits.CommandBytes)
	}
	if len(j.command.Body) == 0 {
		return answer, name, refuse.Malformed("malformed_json", "the batch's item has no body").At("body").Do("send the command as body")
	}
	if err := c.ctx().Err(); err != nil {
		return answer, name, errors.Join(err, errors.New("the batch ran out of time before this command"))
	}
	// A role may be revoked, or the session ended, while a long batch runs: authority is checked at each act (21 CFR 11.10(g)).
	principal, err := a.handler.Authenticated(c.ctx(), c.proof)
	if err != nil {
		if isAccess(err) {
			c.recordRefusalOf(name, c.proof.User, noScope, err)
		}
		return answer, name, err
	}
	place, err := a.admission.Enter(c.ctx(), declared.Class(), "") // the batch counts for its user, not its commands
	if err != nil {
		return answer, name, err
	}
	defer place.Leave()
	request := c.request(name, j.command.Key, j.command.Body)
	request.Principal = principal
	if answer, err = a.handler.Do(c.ctx(), request); err == nil {
		a.admission.Recorded(answer.Position)
	}
	return answer, name, err
}
