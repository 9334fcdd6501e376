package acceptance

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNodeJSClient runs nodejs/script.mjs with the official Node.js client, in the version that package-lock.json pins.
func TestNodeJSClient(t *testing.T) {
	slow(t)
	t.Parallel()
	for _, tool := range []string{"npm", "node"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing; the test of the Node.js client needs Node.js 20 or later", tool)
		}
	}
	dir := t.TempDir()
	for _, file := range []string{"package.json", "package-lock.json", "script.mjs"} {
		if err := copyFile(filepath.Join(dir, file), filepath.Join("nodejs", file)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := buildBinary(); err != nil { // before the two minutes begin, since a build without a cache takes longer
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	inDir(ctx, t, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")

	writeCertificates(t, filepath.Join(dir, "certs"))
	for mode, flags := range modes(t, filepath.Join(dir, "certs")) {
		t.Run(mode, func(t *testing.T) {
			n := runNode(t, t.TempDir(), flags...)
			connection := "esdb://" + n.endpoint + "?tls=false"
			if mode == "TLS" {
				connection = "esdb://admin:changeit@" + n.endpoint + "?tls=true&tlsCAFile=" + filepath.Join(dir, "certs", "ca", "ca.crt")
			}
			out := inDir(ctx, t, dir, "node", "script.mjs", connection)
			if !strings.Contains(out, "steps passed") {
				t.Fatalf("the script did not get to its end:\n%s", out)
			}
			t.Log(strings.TrimSpace(out))
		})
	}
}

func inDir(ctx context.Context, t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), errors.Join(err, ctx.Err()), out)
	}
	return string(out)
}
