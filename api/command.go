package api

import (
	"net/http"
	"strconv"

	"casebook/admission"
	"casebook/commands"
	"casebook/domain/refuse"

	"github.com/goccy/go-json"
	"github.com/labstack/echo/v4"
)

// keyHeader makes a command safe to send again: the same key gets the same answer.
const keyHeader = "Idempotency-Key"

// positionHeader carries a log position: in an answer the position that it has seen, in a query the one to wait for.
const positionHeader = "Casebook-Position"

// maxAppName bounds what is kept of the client's name in metadata.
const maxAppName = 200

// postCommand takes one command.
func (a *API) postCommand(c *call) error {
	name := c.Param("command")
	declared, known := a.handler.Find(name)
	class := admission.Commands
	if known = known && !declared.Internal(); known {
		c.action, class = declared.Name(), declared.Class()
	}
	if err := c.prove(); err != nil {
		return err
	}
	if !known {
		if err := c.authenticate(); err != nil {
			return err
		}
		return unknownCommand(name)
	}
	body, err := c.body(a.limits.CommandBytes)
	if err != nil {
		return c.commanded(c.action, err)
	}
	defer returnBuffer(body)
	if err := c.enter(class); err != nil {
		return c.commanded(c.action, err)
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	answer, err := a.handler.Do(c.ctx(), c.request(c.action, c.Request().Header.Get(keyHeader), body.Bytes()))
	if err != nil {
		return c.commanded(c.action, err)
	}
	a.admission.Recorded(answer.Position)
	a.metrics.commanded(c.action, "")
	header := c.Response().Header()
	if answer.Revision != nil {
		header.Set("Etag", `"`+strconv.FormatInt(*answer.Revision, 10)+`"`)
	}
	header.Set(positionHeader, strconv.FormatUint(answer.Position, 10))
	return c.answer(http.StatusOK, answer)
}

// request describes a command of this call to its handler.
func (c *call) request(name, key string, body []byte) commands.Request {
	app := c.Request().UserAgent()
	if len(app) > maxAppName {
		app = app[:maxAppName]
	}
	return commands.Request{Name: name, Body: body, Key: key, Principal: c.principal, Address: c.RealIP(), App: app, TraceID: c.trace}
}

// commanded counts a command that was not accepted, and passes its error on.
func (c *call) commanded(command string, err error) error {
	c.api.metrics.commanded(command, problemOf(c.ctx(), err).Code)
	return err
}

func unknownCommand(name string) error {
	if len(name) > 80 {
		name = name[:80] + "..."
	}
	return refuse.NotFound("command_not_found", "there is no command %q", name).Do("/openapi.json lists the commands")
}

// answer sends a value as JSON.
func (c *call) answer(status int, value any) error {
	b := borrowBuffer()
	defer returnBuffer(b)
	if err := encodeTo(b, value); err != nil {
		return err
	}
	return c.send(status, echo.MIMEApplicationJSON, c.withTexts(b.Bytes()))
}

// withTexts returns an answer with its texts opened, which are sealed in the log and in the views. The answer is sent all the same where
// that fails: what else it shows may be needed at once.
func (c *call) withTexts(answer []byte) []byte {
	opened, err := c.api.handler.Reader().OpenTexts(c.ctx(), answer)
	if err != nil {
		c.api.logger.WarnContext(c.ctx(), "the texts of an answer cannot be opened", "error", err)
	}
	return opened
}

// encodeTo writes a value as JSON. Characters that mean something in HTML stay as they are: the answer is no page.
func encodeTo(w interface{ Write([]byte) (int, error) }, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
