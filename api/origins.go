package api

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

// preflightSeconds is how long a browser may remember what it was told about an address.
const preflightSeconds = 600

// checkOrigins refuses what is no origin as browsers write it, such as one with a path, and *, which is everybody.
func checkOrigins(origins []string) error {
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || origin != u.Scheme+"://"+u.Host {
			return fmt.Errorf("%q is no web origin: write it like https://diary.example.org, without a path", origin)
		}
	}
	return nil
}

// fromOrigins lets pages of other origins call the API (CORS), without the browser's credentials.
func fromOrigins(origins []string) echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOrigins: origins,
		AllowMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost},
		AllowHeaders: []string{echo.HeaderAuthorization, echo.HeaderContentType, keyHeader, positionHeader, "If-None-Match", lastEventID,
			"Traceparent"},
		ExposeHeaders: []string{"Etag", positionHeader, notKeptHeader, echo.HeaderRetryAfter, "Trace-Id", "Date"},
		MaxAge:        preflightSeconds,
	})
}
