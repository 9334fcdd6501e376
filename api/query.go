package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/readmodels"
)

// Query is a declared question about the present. Everything about it derives from its declaration: the route, the
// authorisation, the description and the access tests.
type Query struct {
	// Name is the query's name in the description, in logs and in the security log.
	Name string
	// Path holds the ids in braces: /api/v1/studies/{study}.
	Path string
	// Summary is one line, Doc the rest that a caller has to know.
	Summary, Doc string
	// Parameters are those of the path and of the query.
	Parameters []Parameter
	// Answer is the Go type of the answer.
	Answer reflect.Type
	// OpenTo lists the roles that the query is open to; everybody who has signed in for ReachSelf.
	OpenTo access.Permission
	// Reach says in which scope one of these roles has to be held.
	Reach Reach
	// Within names the parameters of which each binds a ReachStudy query to one site; site where it is empty.
	Within []string

	// view is the read model that is asked, and that a Casebook-Position waits for; nil where there is none. also are
	// those that an answer is made of besides.
	view *readmodels.View
	also []readmodels.View
	read func(context.Context, *API, asked) (any, error)
}

// Reach says how a query's scope is found.
type Reach string

const (
	// ReachSelf is for answers that hold nothing but what the caller's own grants name.
	ReachSelf Reach = "self"
	// ReachAnywhere wants the role held somewhere, no matter where; the answer tells of no study.
	ReachAnywhere Reach = "anywhere"
	// ReachStudy is the study as a whole, or one site where a parameter names it (see Query.Within).
	ReachStudy Reach = "study"
	// ReachSites is as much of the study as the caller's grants cover, the whole or single sites.
	ReachSites Reach = "sites"
	// ReachPatient is the patient of the path.
	ReachPatient Reach = "patient"
)

// Parameter is a parameter of a query.
type Parameter struct {
	Name string
	// In is path or query.
	In  string
	Doc string
	// Enum lists the values allowed; all where it is empty.
	Enum []string
	// Min and Max bound a number; the parameter is text where Max is 0.
	Min, Max int
	// Default is the number where none is given.
	Default int
	Example string
	// Pattern describes an id.
	Pattern string
	check   func(string) error
}

// asked is a query with its parameters and what the caller may see.
type asked struct {
	principal access.Principal
	study     domain.StudyID
	patient   domain.PatientID
	values    map[string]string
	// sites are those that the answer is bound to; all where whole is set.
	sites []domain.SiteID
	whole bool
	// mustSee refuses, and records the refusal, where the answer turns out to be about a site that the caller may not see.
	mustSee func(domain.SiteID) error
}

func (q asked) site() domain.SiteID { return domain.SiteID(q.values["site"]) }

// mayKnowPatientsAt says whether the caller may read clinical data at a site; with none named, in the study as a whole.
// Others, such as supply managers, need not know whom things are about.
func (q asked) mayKnowPatientsAt(site domain.SiteID) bool {
	_, err := q.principal.Authorize("", access.ClinicalReaders, domain.Scope{Study: q.study, Site: site})
	return err == nil
}

func (q asked) limit() int {
	n, err := strconv.Atoi(q.values["limit"])
	if err != nil {
		return defaultPage
	}
	return n
}

const (
	defaultPage = 50
	maxPage     = 200
	maxCursor   = 500
)

// ask serves a query: prove who asks, read the parameters, authorise, wait for the position, read, answer.
func (a *API) ask(q Query) func(*call) error {
	return func(c *call) error {
		if err := c.authenticate(); err != nil {
			return err
		}
		ask, err := c.parameters(q)
		if err != nil {
			return err
		}
		if err := c.authorize(q, &ask); err != nil {
			return err
		}
		if err := c.waitForPosition(q); err != nil {
			return err
		}
		// A store that does not answer is given up while there is still time to say so.
		ctx, cancel := context.WithTimeout(c.ctx(), a.limits.ReadTimeout)
		defer cancel()
		value, err := q.read(ctx, a, ask)
		if err != nil {
			return err
		}
		return c.answerTagged(value)
	}
}

// parameters reads and checks the parameters. One that the query does not have is refused: it is a filter that the
// caller believes in, and leaving it out would answer another question.
func (c *call) parameters(q Query) (asked, error) {
	ask := asked{principal: c.principal, values: map[string]string{}}
	given := c.QueryParams()
	for name, values := range given {
		if !q.takes(name) {
			return ask, refuse.Malformed("unknown_parameter", "the query has no parameter %q", shortened(name)).At(shortened(name)).
				Do("remove it; /openapi.json lists the parameters of every query")
		}
		if len(values) != 1 {
			return ask, refuse.Malformed("malformed_parameter", "the parameter %s is given %d times", name, len(values)).At(name).Do("give it once")
		}
	}
	for _, p := range q.Parameters {
		value := c.Param(p.Name)
		if p.In == inQuery {
			value = given.Get(p.Name)
			if _, present := given[p.Name]; !present {
				if p.Max > 0 {
					ask.values[p.Name] = strconv.Itoa(p.Default)
				}
				continue
			}
		}
		if err := p.verify(value); err != nil {
			return ask, err
		}
		ask.values[p.Name] = value
	}
	ask.study, ask.patient = domain.StudyID(ask.values["study"]), domain.PatientID(ask.values["patient"])
	return ask, nil
}

const (
	inPath  = "path"
	inQuery = "query"
)

func (q Query) takes(name string) bool {
	for _, p := range q.Parameters {
		if p.Name == name && p.In == inQuery {
			return true
		}
	}
	return false
}

// verify refuses a value that the parameter cannot have.
func (p Parameter) verify(value string) error {
	if p.Max > 0 {
		n, err := strconv.Atoi(value)
		if err != nil || n < p.Min || n > p.Max {
			return refuse.Malformed("malformed_parameter", "%s is no whole number from %d to %d", p.Name, p.Min, p.Max).At(p.Name).
				Do("give a number in that range")
		}
		return nil
	}
	if len(p.Enum) > 0 {
		for _, allowed := range p.Enum {
			if value == allowed {
				return nil
			}
		}
		return refuse.Malformed("malformed_parameter", "%s cannot be %q", p.Name, shortened(value)).At(p.Name).
			Do("give one of " + strings.Join(p.Enum, ", "))
	}
	if p.check == nil {
		return nil
	}
	err := p.check(value)
	if r, ok := refuse.As(err); ok && r.Field == "" {
		return r.At(p.Name)
	}
	return err
}

// authorize refuses a caller to whom the query is not open here, and says in ask how much of the study may be seen.
func (c *call) authorize(q Query, ask *asked) error {
	scope, err := domain.Scope{}, error(nil)
	switch q.Reach {
	case ReachSelf:
		return nil
	case ReachAnywhere:
		for _, g := range c.principal.Grants {
			scope = domain.Scope{Study: g.Study, Site: g.Site}
			if _, err = c.principal.Authorize(q.Name, q.OpenTo, scope); err == nil {
				return nil
			}
		}
		scope = noScope
		_, err = c.principal.Authorize(q.Name, nil, scope)
	case ReachSites:
		scope = domain.Scope{Study: ask.study}
		ask.mustSee = func(site domain.SiteID) error {
			_, err := c.principal.Authorize(q.Name, q.OpenTo, domain.Scope{Study: ask.study, Site: site})
			if err != nil {
				c.recordRefusal(c.principal.User, domain.Scope{Study: ask.study, Site: site}, err)
			}
			return err
		}
		if ask.sites, ask.whole = c.principal.Sites(q.OpenTo, ask.study); ask.whole || len(ask.sites) > 0 {
			return nil
		}
		_, err = c.principal.Authorize(q.Name, q.OpenTo, scope)
	case ReachStudy:
		for _, name := range q.within() {
			if ask.values[name] == "" {
				continue
			}
			// Where several are given, the answer is about both ends of a way, and who may see one sees it.
			scope = domain.Scope{Study: ask.study, Site: domain.SiteID(ask.values[name])}
			if _, err = c.principal.Authorize(q.Name, q.OpenTo, scope); err == nil {
				return nil
			}
		}
		if scope.Site == "" {
			scope, ask.whole = domain.Scope{Study: ask.study}, true
			if _, err = c.principal.Authorize(q.Name, q.OpenTo, scope); err != nil {
				err = c.namingSites(q, ask.study, err)
			}
		}
	case ReachPatient:
		if scope, _, err = commands.PatientScope(c.ctx(), c.api.handler.Look(), ask.patient); err != nil {
			return c.orForbidden(q, ask.patient, err)
		}
		_, err = c.principal.Authorize(q.Name, q.OpenTo, scope)
	}
	if err != nil {
		c.recordRefusal(c.principal.User, scope, err)
	}
	return err
}

// orForbidden hides from callers who have no part in the study which of its patients do not exist.
func (c *call) orForbidden(q Query, patient domain.PatientID, err error) error {
	sites, whole := c.principal.Sites(q.OpenTo, patient.Study())
	if problemStatus(err) != http.StatusNotFound || whole || len(sites) > 0 {
		return err
	}
	scope := domain.Scope{Study: patient.Study(), Patient: patient}
	if _, err = c.principal.Authorize(q.Name, nil, scope); err != nil {
		c.recordRefusal(c.principal.User, scope, err)
	}
	return err
}

// namingSites tells a caller who may see single sites of the study how to ask for one.
func (c *call) namingSites(q Query, study domain.StudyID, err error) error {
	sites, _ := c.principal.Sites(q.OpenTo, study)
	r, ok := refuse.As(err)
	if !ok || len(sites) == 0 {
		return err
	}
	var words []string
	for _, s := range sites {
		for _, name := range q.within() {
			words = append(words, "?"+name+"="+string(s))
		}
	}
	return r.Do("your roles are bound to sites; ask for one of them with " + strings.Join(words, " or ")).At(q.within()[0])
}

// within are the parameters that bind the query to one site.
func (q Query) within() []string {
	if len(q.Within) == 0 {
		return []string{"site"}
	}
	return q.Within
}

// waitForPosition waits until the query's view has seen the position that the request names, for a bounded time.
func (c *call) waitForPosition(q Query) error {
	named := c.Request().Header.Get(positionHeader)
	if named == "" {
		return nil
	}
	position, err := strconv.ParseUint(named, 10, 64)
	if err != nil {
		return refuse.Malformed("malformed_position", "the header %s is not a log position", positionHeader).At(positionHeader).
			Do("give the position of a command's answer")
	}
	if q.view == nil {
		return nil
	}
	// Waiting costs a place among those who wait, so that positions from the future cannot use up the server.
	if err := c.api.waiting.enter(); err != nil {
		return err
	}
	defer c.api.waiting.leave()
	ctx, cancel := context.WithTimeout(c.ctx(), c.api.limits.WaitForPosition)
	defer cancel()
	for _, view := range append([]readmodels.View{*q.view}, q.also...) {
		if err := c.api.store.WaitFor(ctx, view, position); err != nil {
			return err
		}
	}
	c.Response().Header().Set(positionHeader, named)
	return nil
}

// answerTagged sends a value as JSON with its tag, or only says that the caller has it already.
func (c *call) answerTagged(value any) error {
	b := borrowBuffer()
	defer returnBuffer(b)
	if err := encodeTo(b, value); err != nil {
		return err
	}
	return c.sendTagged(b.Bytes(), "application/json")
}

func (c *call) sendTagged(body []byte, mediaType string) error {
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
	header := c.Response().Header()
	header.Set("Etag", tag)
	if matches(c.Request().Header.Values("If-None-Match"), tag) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, mediaType, body)
}

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

func shortened(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
