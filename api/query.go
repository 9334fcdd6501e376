package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"casebook/domain/refuse"
	"casebook/readmodels"

	"github.com/labstack/echo/v4"
)

// getQuery serves a query: it proves who asks, hands the question to the engine, and sends what that answers.
func (a *API) getQuery(q readmodels.Query) func(*call) error {
	return func(c *call) error {
		if err := c.prove(); err != nil {
			return err
		}
		if err := c.enter(q.Class); err != nil {
			return err
		}
		if err := c.authenticate(); err != nil {
			return err
		}
		question := readmodels.Question{Query: q.Name, Caller: c.caller(), Path: map[string]string{}, Given: c.QueryParams(), Aside: c.aside}
		for _, p := range q.Parameters {
			if p.InPath {
				question.Path[p.Name] = c.Param(p.Name)
			}
		}
		named := c.Request().Header.Get(positionHeader)
		if named != "" {
			position, err := strconv.ParseUint(named, 10, 64)
			if err != nil {
				return refuse.Malformed("malformed_position", "the header %s is not a log position", positionHeader).At(positionHeader).
					Do("give the position of a command's answer")
			}
			question.Position = position
		}
		answer, err := a.engine.Answer(c.ctx(), question)
		if err != nil {
			return err
		}
		if named != "" && (len(q.Views) > 0 || q.OfStates) {
			c.Response().Header().Set(positionHeader, named)
		}
		if not := a.engine.NotKept(c.ctx(), q.Name); len(not) > 0 {
			c.Response().Header().Set(notKeptHeader, strings.Join(not, ", "))
		}
		if file, is := answer.(readmodels.File); is {
			return c.answerFile(file)
		}
		return c.answerTagged(answer)
	}
}

// answerFile sends a file, which the caller may keep for ever, but no cache that others use: it may be of one study only.
func (c *call) answerFile(file readmodels.File) error {
	c.Response().Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	return c.sendTagged(file.Content, file.MediaType)
}

// notKeptHeader names the views of an answer that no process keeps: what it shows grows old.
const notKeptHeader = "Casebook-Not-Kept"

// caller is who sent the request.
func (c *call) caller() readmodels.Caller {
	return readmodels.Caller{Principal: c.principal, Address: c.RealIP(), TraceID: c.trace}
}

// answerTagged sends a value as JSON with its tag, or only says that the caller has it already.
func (c *call) answerTagged(value any) error {
	b := borrowBuffer()
	defer returnBuffer(b)
	if err := encodeTo(b, value); err != nil {
		return err
	}
	return c.sendTagged(c.withTexts(b.Bytes()), "application/json")
}

// sendTagged sends an answer with its tag, packed if the caller takes that and it is worth it. The packed answer has a tag of
// its own (RFC 9110, 8.8.3.3); either tells that the caller has the answer.
func (c *call) sendTagged(body []byte, mediaType string) error {
	sum := sha256.Sum256(body)
	base := base64.RawURLEncoding.EncodeToString(sum[:15])
	plain, packed := `"`+base+`"`, `"`+base+packedTag+`"`
	header := c.Response().Header()
	header.Add(echo.HeaderVary, echo.HeaderAcceptEncoding)
	asked := c.Request().Header
	tag, packs := plain, !isPacked(mediaType) && len(body) >= packedFrom && takesPacked(asked.Values(echo.HeaderAcceptEncoding))
	if packs {
		tag = packed
	}
	header.Set("Etag", tag)
	if given := asked.Values("If-None-Match"); matches(given, plain) || matches(given, packed) {
		return c.NoContent(http.StatusNotModified)
	}
	if !packs {
		return c.send(http.StatusOK, mediaType, body)
	}
	b := borrowBuffer()
	defer returnBuffer(b)
	if err := pack(b, body); err != nil {
		return err
	}
	header.Set(echo.HeaderContentEncoding, packing)
	return c.send(http.StatusOK, mediaType, b.Bytes())
}

// isPacked says whether content of a type is packed in itself.
func isPacked(mediaType string) bool { return strings.HasPrefix(mediaType, "image/") }

// matches says whether one of the tags is ours (RFC 9110, 13.1.2: compared without regard to weakness).
func matches(lines []string, tag string) bool {
	for _, line := range lines {
		for given := range strings.SplitSeq(line, ",") {
			if given = strings.TrimPrefix(strings.TrimSpace(given), "W/"); given == tag || given == "*" {
				return true
			}
		}
	}
	return false
}
