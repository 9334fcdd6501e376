package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/api"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/loadtest"
	"casebook/readmodels"
	studyviews "casebook/readmodels/study"
	userviews "casebook/readmodels/user"
)

// tool runs a command line, which has to end with the code, and returns what it printed.
func tool(t *testing.T, wantCode int, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := run(context.Background(), args, &out, &errOut); code != wantCode {
		t.Fatalf("casebook %v ends with %d: %s%s", args, code, out.String(), errOut.String())
	}
	return out.String() + errOut.String()
}

// TestUsersAreManagedFromTheCommandLine registers the first administrator of a running server, signs in with the
// printed password, registers a second user, and grants and revokes a role.
func TestUsersAreManagedFromTheCommandLine(t *testing.T) {
	in := install(t)
	store := "--eventstore=" + in.stores.eventStoreURL
	printed := tool(t, exitOK, "users", "add", "anna", "--name", "Anna Weber", "--role", "admin", store)
	if status, session := in.signIn("anna", passwordIn(t, printed)); status != http.StatusOK || !session.MustChangePassword {
		t.Fatalf("sign-in is answered %d %+v", status, session)
	}
	tool(t, exitOK, "users", "add", "berta", "--name", "Berta", "--no-password", "--role", "crc", "--study", "S1", "--site", "01", store)
	tool(t, exitOK, "users", "grant", "berta", "--role", "monitor", "--study", "S1", store)
	list := tool(t, exitOK, "users", "list", store)
	if !strings.Contains(list, "anna") || !strings.Contains(list, "crc/S1/01 monitor/S1") {
		t.Errorf("the list is:\n%s", list)
	}
	tool(t, exitOK, "users", "revoke", "berta", "--role", "monitor", "--study", "S1", "--reason", "left", store)
	if list := tool(t, exitOK, "users", "list", "--json", store); strings.Contains(list, "monitor") {
		t.Errorf("after the revocation the list is:\n%s", list)
	}
	if refused := tool(t, exitFailure, "users", "add", "anna", "--name", "Another Anna", store); !strings.Contains(refused, "user_exists") {
		t.Errorf("a second anna is answered: %s", refused)
	}
}

func TestTokenFromTheCommandLineIsAccepted(t *testing.T) {
	in := install(t)
	in.account("anna")
	token := strings.TrimSpace(tool(t, exitOK, "token", "--user", "anna", "--data", in.dataDir()))
	request, err := http.NewRequest(http.MethodGet, in.url+"/api/v1/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, text := in.do(request, token); status != http.StatusOK || !strings.Contains(text, "anna") {
		t.Errorf("the token is answered %d %s", status, text)
	}
	tool(t, exitUsage, "token", "--user", "No User", "--data", in.dataDir())
}

func TestProjectionsAreListed(t *testing.T) {
	in := install(t)
	in.account("anna")
	for range 200 { // the views store their positions a moment after the first event
		list := tool(t, exitOK, "projections", "list", "--mongo", in.stores.mongoURL)
		if strings.Count(list, "live ") == 2*len(contexts.Views()) && // as the role and as the state of each build
			strings.Contains(list, "patient-view") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the views do not become live")
}

func TestOpenAPIIsPrinted(t *testing.T) {
	var document struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(tool(t, exitOK, "openapi")), &document); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(document.OpenAPI, "3.1") || document.Paths["/api/v1/commands/SubmitDiary"] == nil {
		t.Errorf("the description has version %s and %d paths", document.OpenAPI, len(document.Paths))
	}
}

// TestFlagsAreReadFromFileAndEnvironment gives the same flag in a file, with a hyphen and with an underscore, and in the
// environment. A name that no flag has is refused.
func TestFlagsAreReadFromFileAndEnvironment(t *testing.T) {
	nothing := t.TempDir()
	config := func(text string) string {
		file := filepath.Join(t.TempDir(), "casebook.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	key := func(dir string) string { return filepath.Join(dir, "some.key") }
	for name, text := range map[string]string{
		"hyphen": fmt.Sprintf(`{"key-file":%q}`, key("/hyphen")), "underscore": fmt.Sprintf(`{"key_file":%q}`, key("/underscore")),
		"another command's": fmt.Sprintf(`{"key-file":%q,"blinding-key-file":"/b","node-listen":"127.0.0.1:1"}`, key("/another")),
	} {
		printed := tool(t, exitFailure, "--config", config(text), "token", "--user", "anna", "--data", nothing)
		if !strings.Contains(printed, "some.key") {
			t.Errorf("%s: the flag was not read from the file: %s", name, printed)
		}
	}
	for name, text := range map[string]string{
		"misspelt": `{"blinding-keyfile":"/b"}`, "twice": `{"key-file":"/a","key_file":"/b"}`, "trailing": `{"key-file":"/a"} {}`, "list": `[]`,
	} {
		if printed := tool(t, exitUsage, "--config", config(text), "token", "--user", "anna", "--data", nothing); name == "misspelt" &&
			!strings.Contains(printed, "blinding-keyfile") {
			t.Errorf("%s: it prints %s", name, printed)
		}
	}
	t.Setenv("CASEBOOK_KEY_FILE", key("/environment"))
	if printed := tool(t, exitFailure, "token", "--user", "anna", "--data", nothing); !strings.Contains(printed, key("/environment")) {
		t.Errorf("the flag was not read from the environment: %s", printed)
	}
}

// dataDir returns the directory of the installation.
func (in installation) dataDir() string { return in.dir }

// BenchmarkSubmitDiary measures diaries over HTTP on embedded stores, with the server and the load in one process.
// `casebook bench diary` runs the server in a process of its own.
func BenchmarkSubmitDiary(b *testing.B) {
	in := install(b)
	if err := in.bootstrapAdmins(context.Background(), "a password for a test"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		report, err := loadtest.Diary(context.Background(), loadtest.Options{
			BaseURL: in.url, Admin: demoAdmin, Connections: []int{1, 8, 64}, Duration: 3 * time.Second, Patients: 256,
			SignAs: signedInAs(in.tokens, time.Hour),
		})
		if err != nil {
			b.Fatal(err)
		}
		for _, row := range report.Rows {
			b.ReportMetric(row.Casebook[0].PerSecond, fmt.Sprintf("diaries/s@%d", row.Connections))
		}
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	for connection, want := range map[string]string{
		"esdb://admin:s3cret@es1:2113?tls=true":            "esdb://admin:xxxxx@es1:2113?tls=true",
		"esdb://admin:s3cret@es1:2113,es2:2113,es3:2113":   "esdb://admin:xxxxx@es1:2113,es2:2113,es3:2113",
		"esdb://127.0.0.1:2113?tls=false":                  "esdb://127.0.0.1:2113?tls=false",
		"mongodb://casebook:s3@cret@m1,m2/?replicaSet=rs0": "mongodb://casebook:xxxxx@m1,m2/?replicaSet=rs0",
		"esdb://admin:s3%zzcret@es1:2113":                  "esdb://es1:2113",
		"admin:s3cret@es1\x00":                             "(as configured)",
	} {
		if got := withoutPassword(connection); got != want {
			t.Errorf("%q is shown as %q", connection, got)
		}
	}
}

// TestViewsAreManagedFromTheCommandLine rebuilds a view of a running server, verifies it, prints it as of a past time,
// compares it with its old build, and drops the old build.
func TestViewsAreManagedFromTheCommandLine(t *testing.T) {
	in := install(t)
	in.account("anna")
	projections := func(code int, args ...string) string {
		args = append([]string{"projections"}, args...)
		return tool(t, code, append(args, "--eventstore="+in.stores.eventStoreURL, "--mongo="+in.stores.mongoURL)...)
	}
	prints := func(want string, code int, args ...string) {
		t.Helper()
		if printed := projections(code, args...); !strings.Contains(printed, want) {
			t.Errorf("casebook projections %v does not print %q but:\n%s", args, want, printed)
		}
	}
	// A view that is not built yet does with its first build what was asked before.
	in.waitForViews(t, lastRecorded(t, in.log))
	first := studyviews.StudyOverviews.Collection()
	prints(first+"_b2", exitOK, "rebuild", "study-overview", "--reason", "to see")
	prints("differing  0", exitOK, "verify", "study-overview")
	if printed := projections(exitOK, "as-of", "study-overview", "--time", "2020-01-01T00:00:00Z"); strings.Contains(printed, "_id") {
		t.Errorf("in 2020 the view had documents: %s", printed)
	}
	prints("no such build", exitFailure, "diff", "study-overview")
	prints(`"differing": 0`, exitOK, "diff", "study-overview", "--build", first, "--json")
	prints("dropped", exitOK, "drop", "study-overview", first, "--reason", "space")
	for _, wrong := range [][]string{
		{"rebuild", "nothing"}, {"verify", "nothing"}, {"skip", "alerts", "--reason", "x"}, {"cancel", "alerts", "--reason", "x"},
	} {
		projections(exitFailure, wrong...)
	}
	projections(exitUsage, "as-of", "alerts")
	// Decisions that can have no effect are refused and not recorded.
	prints(errNoRebuild.Error(), exitFailure, "cancel", "study-overview", "--reason", "it is done already")
	prints(errShowsAll.Error(), exitFailure, "retry", "alerts", "--reason", "x")
	prints(errShowsAll.Error(), exitFailure, "skip", "alerts", "--reason", "x")
	prints(errActiveBuild.Error(), exitFailure, "drop", "study-overview", first+"_b2", "--reason", "x")
	prints(errNoBuild.Error(), exitFailure, "drop", "study-overview", "study-overview_v9", "--reason", "x")
	for view, want := range map[string]int{"study-overview": 2, "alerts": 0} {
		recorded := 0
		for _, err := range in.log.ReadStream(t.Context(), "projection-"+view, 0) {
			if err != nil {
				t.Fatal(err)
			}
			recorded++
		}
		if recorded != want {
			t.Errorf("%d decisions about %s are recorded, of %d", recorded, view, want)
		}
	}
}

// TestARebuildOfAViewThatWasNeverBuiltWaitsForItsFirstBuild: nothing has folded the log when the rebuild is asked for.
func TestARebuildOfAViewThatWasNeverBuiltWaitsForItsFirstBuild(t *testing.T) {
	flags := flagsFor(t.TempDir())
	flags.Roles = []string{"api"}
	s, err := start(context.Background(), flags, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	in := installation{server: s, t: t, url: s.url()}
	for n := range 5 {
		in.account(domain.UserID(fmt.Sprintf("user-%d", n)))
	}
	// The build that does what was asked has begun, and has not caught up.
	begun := readmodels.Builds{View: "user-directory", Token: 1, Request: 1,
		Active: readmodels.Build{Collection: userviews.UserDirectory.Collection(), Version: userviews.UserDirectory.Version}}
	at := readmodels.Checkpoint{Collection: begun.Active.Collection, View: begun.View, Version: begun.Active.Version, Token: 1,
		State: readmodels.CatchingUp, At: time.Now()}
	if err := errors.Join(s.views.SaveBuilds(t.Context(), begun), s.views.SaveCheckpoint(t.Context(), at)); err != nil {
		t.Fatal(err)
	}
	watched := make(chan error, 1)
	go func() {
		watched <- views{store: s.views, log: s.log}.watch(t.Context(), streams{out: io.Discard, err: io.Discard}, userviews.UserDirectory, 1)
	}()
	select {
	case err := <-watched:
		t.Fatalf("the rebuild is done before the build has caught up: %v", err)
	case <-time.After(2 * watchEvery):
	}
	at.Complete = true
	if err := errors.Join(s.views.SaveCheckpoint(t.Context(), at), <-watched, s.views.DropAll(t.Context()), s.close()); err != nil {
		t.Fatal(err)
	}
	view := func(command ...string) string {
		return tool(t, exitOK, slices.Concat([]string{"projections"}, command, []string{"user-directory", "--data", flags.Stores.Data})...)
	}
	printed := view("rebuild", "--reason", "to see")
	now := fmt.Sprintf("the active build of user-directory is now %s:", userviews.UserDirectory.Collection())
	if !strings.Contains(printed, now) || strings.Contains(printed, " 0 events") {
		t.Errorf("the rebuild prints: %s", printed)
	}
	if printed := view("verify"); !strings.Contains(printed, "differing  0") {
		t.Errorf("verify prints: %s", printed)
	}
}

// TestR4_TwoAdministratorsGiveRolesThatSeeArms goes from an empty installation to the first investigator, on the machine.
func TestR4_TwoAdministratorsGiveRolesThatSeeArms(t *testing.T) {
	in := install(t)
	store := "--eventstore=" + in.stores.eventStoreURL
	own := map[domain.UserID]string{"anna": "gravel lantern oboe thicket", "boris": "marble ferry willow cobalt"}
	handedOut := map[domain.UserID]string{}
	for _, id := range []domain.UserID{"anna", "boris"} {
		handedOut[id] = passwordIn(t, tool(t, exitOK, "users", "add", string(id), "--name", string(id), "--role", "admin", store))
	}
	tool(t, exitOK, "users", "add", "dr.shen", "--name", "Dr. Shen", "--no-password", store)
	grant := []string{"users", "grant", "dr.shen", "--role", "investigator", "--study", "S1", "--site", "01", store}
	two := append(slices.Clone(grant), "--as", "anna", "--confirmed-by", "boris")
	refused := func(code string, args []string, lines ...string) {
		t.Helper()
		typed(t, lines...)
		if printed := tool(t, exitFailure, args...); !strings.Contains(printed, code) {
			t.Errorf("%v is answered: %s", args, printed)
		}
	}
	refused("needs two people", grant)
	refused("needs two people", append(slices.Clone(grant), "--as", "anna"))
	refused("needs two people", []string{"users", "add", "dr.x", "--name", "X", "--role", "statistician", "--study", "S1", store})
	refused("password_change_required", two, handedOut["anna"], handedOut["boris"])
	for id, password := range own {
		_, session := in.signIn(id, handedOut[id])
		in.must(session.Token, user.ChangePassword{OfUser: domain.ForUser(id), Password: password, CurrentPassword: handedOut[id]})
	}
	refused("sign_in_failed", two, own["anna"], "wrong")
	refused("account_not_confirmed", two, own["anna"], own["boris"])
	typed(t, own["anna"])
	tool(t, exitOK, "users", "confirm", "boris", "--as", "anna", store)
	refused("second_person_required", append(slices.Clone(grant), "--as", "anna", "--confirmed-by", "anna"), own["anna"], own["anna"])
	typed(t, own["anna"], own["boris"])
	if printed := tool(t, exitOK, two...); !strings.Contains(printed, "by anna and boris") {
		t.Errorf("it is answered: %s", printed)
	}
	if list := tool(t, exitOK, "users", "list", store); !strings.Contains(list, "investigator/S1/01") {
		t.Errorf("the list is:\n%s", list)
	}

	// Administrators appoint another one together.
	tool(t, exitOK, "users", "add", "dora.admin", "--name", "Dora", "--no-password", store)
	typed(t, own["anna"], own["boris"])
	tool(t, exitOK, "users", "grant", "dora.admin", "--role", "admin", "--as", "anna", "--confirmed-by", "boris", store)
	account, err := commands.Read(t.Context(), in.handler.Reader(), user.Decider, "dora.admin")
	if err != nil || len(account.Grants) != 1 || len(account.Proposals) != 0 {
		t.Errorf("the third administrator is %+v, %v", account, err)
	}

	// What the operator does names the person.
	tool(t, exitOK, "users", "lock", "anna", "--reason", "the phone is lost", "--as", "carla", store)
	tool(t, exitOK, "users", "unlock", "anna", "--reason", "the phone is found", "--as", "carla", store)
	handedOut["anna"] = passwordIn(t, tool(t, exitOK, "users", "set-password", "anna", "--as", "carla", store))
	by := map[string]domain.UserID{}
	for r, err := range in.log.ReadStream(t.Context(), user.Decider.Stream("anna"), 0) {
		if err != nil {
			t.Fatal(err)
		}
		by[r.Type] = r.Metadata.Actor
	}
	for _, event := range []string{"UserLocked", "UserUnlocked", "PasswordHandedOut"} {
		if by[event] != "process:operator/carla" {
			t.Errorf("%s is recorded as of %s", event, by[event])
		}
	}
	// After a reset the account administers nothing before the other administrator has confirmed it.
	_, session := in.signIn("anna", handedOut["anna"])
	in.must(session.Token, user.ChangePassword{OfUser: domain.ForUser("anna"), Password: "another phrase of words",
		CurrentPassword: handedOut["anna"]})
	_, session = in.signIn("anna", "another phrase of words")
	register := user.RegisterUser{OfUser: domain.ForUser("dora"), Name: "Dora"}
	if status, _, text := in.command(session.Token, "", register); status != http.StatusForbidden ||
		!strings.Contains(text, "account_not_confirmed") {
		t.Errorf("before the confirmation it is answered %d %s", status, text)
	}
	typed(t, own["boris"])
	tool(t, exitOK, "users", "confirm", "anna", "--as", "boris", store)
	in.must(session.Token, register)
}

// passwordIn returns the password that a tool has printed.
func passwordIn(t *testing.T, printed string) string {
	t.Helper()
	_, password, found := strings.Cut(printed, "password (shown once): ")
	if !found {
		t.Fatalf("no password was printed: %s", printed)
	}
	password, _, _ = strings.Cut(password, "\n")
	return password
}

// typed makes lines the standard input of the next tool.
func typed(t *testing.T, lines ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	input, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = input
	t.Cleanup(func() {
		os.Stdin = before
		_ = input.Close()
	})
}

// signIn signs a user in over the API.
func (in installation) signIn(id domain.UserID, password string) (status int, session api.Session) {
	in.t.Helper()
	body, err := json.Marshal(api.SignIn{User: id, Password: password})
	if err != nil {
		in.t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, in.url+"/api/v1/sign-in", bytes.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	status, text := in.do(request, "")
	if err := json.Unmarshal([]byte(text), &session); err != nil {
		in.t.Fatalf("sign-in is answered %d %s", status, text)
	}
	return status, session
}
