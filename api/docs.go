package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"
)

const (
	// evaluatorRoute is where the module is that evaluates trees of rules.
	evaluatorRoute = "/rules.mjs"
	mediaScript    = "text/javascript; charset=utf-8"
)

// getDocument sends the description. It is the same for everybody and holds nothing but what the program can do.
func (a *API) getDocument(c *call) error {
	return c.sendTagged(a.document, echo.MIMEApplicationJSON)
}

// docsRoutes serves the browsable description, with everything that it needs from this program.
func (a *API) docsRoutes(e *echo.Echo) error {
	ui := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "Casebook", SwaggerJSON: "/openapi.json", BasePath: "/docs/", HideCurl: false,
		SettingsUI: map[string]string{"persistAuthorization": "false", "tryItOutEnabled": "true", "defaultModelsExpandDepth": "1",
			"docExpansion": `"list"`},
	})
	page, err := renderedPage(ui)
	if err != nil {
		return fmt.Errorf("render the page of the description: %w", err)
	}
	policy := docsPolicy(page)
	redirect := func(c *call) error { return c.Redirect(http.StatusFound, "/docs/") }
	a.route(e, http.MethodGet, "/", route{action: "Docs"}, redirect)
	a.route(e, http.MethodGet, "/docs", route{action: "Docs"}, redirect)
	a.route(e, http.MethodGet, "/docs/*", route{action: "Docs"}, func(c *call) error {
		header := c.Response().Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("Cache-Control", "public, max-age=3600")
		if c.Param("*") == "" {
			return c.Blob(http.StatusOK, echo.MIMETextHTMLCharsetUTF8, page)
		}
		asset := assetWriter{ResponseWriter: c.Response()}
		if err := c.sending(0, func() error { ui.ServeHTTP(&asset, c.Request()); return nil }); err != nil {
			return err
		}
		if asset.missing {
			header.Del("Content-Encoding")
			header.Set("Cache-Control", "no-store")
			return notFound()
		}
		return nil
	})
	return nil
}

// assetWriter sends an asset, and only notes where there is none.
type assetWriter struct {
	http.ResponseWriter
	missing bool
}

// WriteHeader implements http.ResponseWriter.
func (w *assetWriter) WriteHeader(status int) {
	if w.missing = status == http.StatusNotFound; !w.missing {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (w *assetWriter) Write(p []byte) (int, error) {
	if w.missing {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// renderedPage renders the page once; it is the same for everybody.
func renderedPage(ui http.Handler) ([]byte, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "/docs/", nil)
	if err != nil {
		return nil, err
	}
	page := pageWriter{header: http.Header{}}
	ui.ServeHTTP(&page, request)
	if page.status > http.StatusOK || !bytes.Contains(page.Bytes(), []byte("swagger-ui")) {
		return nil, fmt.Errorf("status %d", page.status)
	}
	return page.Bytes(), nil
}

// pageWriter keeps what a handler answers.
type pageWriter struct {
	bytes.Buffer
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (p *pageWriter) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *pageWriter) WriteHeader(status int) { p.status = status }

var inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

// docsPolicy lets the page run its own scripts and nothing else: those of this server, and the inline ones by their hash.
func docsPolicy(page []byte) string {
	scripts := []string{"'self'"}
	for _, found := range inlineScript.FindAllSubmatch(page, -1) {
		sum := sha256.Sum256(found[1])
		scripts = append(scripts, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	return "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src " +
		strings.Join(scripts, " ") + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
