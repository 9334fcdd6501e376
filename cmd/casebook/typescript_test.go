package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// typescript is a folder in which an app is built from the description of a running server, by tools of npm.
type typescript struct {
	t   *testing.T
	dir string
}

// openTypescript makes the folder, with the description of the server. Without Node.js or the tools it skips the test, or fails it in CI.
func openTypescript(t *testing.T) (*diarySite, typescript) {
	t.Helper()
	missing := t.Skipf
	if os.Getenv("CI") == "true" {
		missing = t.Fatalf
	}
	if _, err := exec.LookPath("node"); err != nil {
		missing("node is missing; the test of the TypeScript client needs Node.js 20.19 or later")
	}
	source, err := filepath.Abs("../../api/acceptance/typescript")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(source, "node_modules", ".bin", "tsc")); err != nil {
		missing("the TypeScript compiler is not installed; run `npm ci --omit=optional --ignore-scripts` in api/acceptance/typescript")
	}
	ts := typescript{t, t.TempDir()}
	for _, name := range []string{"package.json", "tsconfig.json", "redocly.yaml", "app.ts"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatal(err)
		}
		ts.write(name, text)
	}
	if err := os.Symlink(filepath.Join(source, "node_modules"), filepath.Join(ts.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	s := openDiarySite(t)
	r := s.ask(http.MethodGet, "/openapi.json", "")
	if r.status != http.StatusOK {
		t.Fatalf("the description is answered %d", r.status)
	}
	ts.write("openapi.json", []byte(r.body))
	return s, ts
}

func (ts typescript) write(name string, text []byte) {
	ts.t.Helper()
	if err := os.WriteFile(filepath.Join(ts.dir, name), text, 0o600); err != nil {
		ts.t.Fatal(err)
	}
}

// run runs a program of Node.js in the folder, which has to succeed, and returns what it printed.
func (ts typescript) run(env []string, args ...string) string {
	ts.t.Helper()
	ctx, cancel := context.WithTimeout(ts.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = ts.dir
	cmd.Env = append(append(os.Environ(), "NODE_NO_WARNINGS=1", "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true"), env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.t.Fatalf("node %s: %v\n%s", strings.Join(args, " "), errors.Join(err, ctx.Err()), out)
	}
	return string(out)
}

// TestAnAppIsBuiltFromTheDescriptionAlone has a linter look at the description that a running server gives. It then generates types from
// it, checks an app against them as strictly as the compiler can, and has it live through its first days: activation, session, schedule,
// entries kept offline, a held one, a correction.
func TestAnAppIsBuiltFromTheDescriptionAlone(t *testing.T) {
	s, ts := openTypescript(t)
	ts.run(nil, "node_modules/@redocly/cli/bin/cli.js", "lint", "openapi.json", "--config", "redocly.yaml") // fails at a warning, too
	ts.run(nil, "node_modules/openapi-typescript/bin/cli.js", "openapi.json", "--output", "api.d.ts")
	ts.run(nil, "node_modules/typescript/bin/tsc")
	of := s.takesPart(54, "pain", "sleep")
	out := ts.run([]string{"CASEBOOK_URL=" + s.url, "CASEBOOK_CRC=" + s.crc, "CASEBOOK_INVESTIGATOR=" + s.investigator(false),
		"CASEBOOK_PATIENT=" + string(of.Patient), "CASEBOOK_INSTRUMENT=pain", "CASEBOOK_TRANSLATED=sleep"}, "built/app.js")
	if !strings.Contains(out, "the app has got to its end") {
		t.Errorf("the app ended early:\n%s", out)
	}
}
