// Package acceptance tests the server with mongosh, MongoDB's own shell.
//
// Except for starting the server, it uses only the protocol. The shell is installed by `npm ci --omit=optional
// --ignore-scripts` in the folder shell, which pins its version.
package acceptance

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casebook/embedded/mongo"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell is mongosh with a home directory of its own, and a server to connect to.
type shell struct {
	node, program, home string
	connection          string
}

// startShell finds the shell and starts a server for it. Without the shell it skips the test, or fails it in CI.
func startShell(t *testing.T) shell {
	t.Helper()
	return startShellOn(t, mongo.Options{})
}

// startShellOn is startShell for a server with options; its directory is a new one.
func startShellOn(t *testing.T, o mongo.Options) shell {
	t.Helper()
	missing := t.Skipf
	if os.Getenv("CI") == "true" {
		missing = t.Fatalf
	}
	node, err := exec.LookPath("node")
	if err != nil {
		missing("node is missing; running mongosh needs Node.js 20 or later")
	}
	program, err := filepath.Abs("shell/node_modules/mongosh/bin/mongosh.js")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		missing("mongosh is not installed; run `npm ci --omit=optional --ignore-scripts` in embedded/mongo/acceptance/shell")
	}
	o.Dir = t.TempDir()
	s, err := mongo.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	home := t.TempDir()
	settings := filepath.Join(home, ".mongodb", "mongosh")
	if err := os.MkdirAll(settings, 0o700); err != nil {
		t.Fatal(err)
	}
	// The shell must not send telemetry or look for updates.
	config := []byte(`{"enableTelemetry": false, "updateURL": ""}`)
	if err := os.WriteFile(filepath.Join(settings, "config"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	return shell{node, program, home, "mongodb://" + s.Addr() + "/study"}
}

// run starts the shell with arguments, types the input, and returns the output.
func (sh shell) run(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, sh.node, append([]string{sh.program, sh.connection, "--norc"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+sh.home, "NODE_NO_WARNINGS=1")
	cmd.Dir = sh.home
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), errors.Join(err, ctx.Err())
}

func (sh shell) eval(t *testing.T, script string) string {
	t.Helper()
	out, err := sh.run(t, "", "--quiet", "--eval", script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// TestShellPrompt types the commands of a user who explores a store.
func TestShellPrompt(t *testing.T) {
	sh := startShell(t)
	sh.eval(t, `db.patients.insertMany([{_id: "p1", site: "s1"}, {_id: "p2", site: "s2"}]); db.getSiblingDB("other").c.insertOne({})`)
	out, err := sh.run(t, strings.Join([]string{
		"show dbs", "show collections", `db.patients.find({site: "s2"})`, "it", "use other", "show tables", "db.c.stats().count", "exit", "",
	}, "\n"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"7.0.0", "other", "study", "patients", "[ { _id: 'p2', site: 's2' } ]", "switched to db other"} {
		if !strings.Contains(out, want) {
			t.Errorf("the shell does not show %q", want)
		}
	}
	for _, word := range []string{"Error", "not supported", "not provided"} {
		if strings.Contains(out, word) {
			t.Errorf("the shell shows %q", word)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
	if out := sh.eval(t, "show dbs"); !strings.Contains(out, "other") || !strings.Contains(out, "study") {
		t.Errorf("show dbs: %s", out)
	}
	if out := sh.eval(t, "show collections"); out != "patients" {
		t.Errorf("show collections: %s", out)
	}
}

// TestShellFunctions calls the shell's functions. Each step prints one line.
func TestShellFunctions(t *testing.T) {
	sh := startShell(t)
	steps := []struct{ script, want string }{
		{`db.version()`, `"7.0.0"`},
		{`db.runCommand({ping: 1}).ok`, `1`},
		{`db.adminCommand({listDatabases: 1, nameOnly: true}).databases`, `[]`},
		{`db.createCollection("empty").ok`, `1`},
		{`db.patients.insertMany([...Array(300).keys()].map(i => ({_id: i, site: "s" + i % 3, scores: [i % 5, i % 7]}))).acknowledged`, `true`},
		{`db.getCollectionNames().sort()`, `["empty","patients"]`},
		{`db.patients.countDocuments({site: "s1"})`, `100`},
		{`db.patients.estimatedDocumentCount()`, `300`},
		{`db.patients.find({_id: {$gte: 5}}, {scores: 0}).sort({_id: -1}).skip(1).limit(2).toArray()`,
			`[{"_id":298,"site":"s1"},{"_id":297,"site":"s0"}]`},
		{`db.patients.find().toArray().length`, `300`},
		{`db.patients.find().batchSize(7).toArray().length`, `300`},
		{`db.patients.findOne({_id: 7}).scores`, `[2,0]`},
		{`db.patients.distinct("site")`, `["s0","s1","s2"]`},
		{`db.patients.aggregate([{$match: {_id: {$lt: 10}}}, {$unwind: {path: "$scores", includeArrayIndex: "nth"}}, {$match: {nth: 0}},
			{$group: {_id: "$site", n: {$count: {}}, sum: {$sum: "$scores"}, all: {$push: "$scores"}}}, {$sort: {_id: 1}}]).toArray()`,
			`[{"_id":"s0","n":4,"sum":8,"all":[0,3,1,4]},{"_id":"s1","n":3,"sum":7,"all":[1,4,2]},{"_id":"s2","n":3,"sum":5,"all":[2,0,3]}]`},
		{`db.patients.createIndex({site: 1, _id: -1})`, `"site_1__id_-1"`},
		{`db.patients.getIndexes().map(x => x.name)`, `["_id_","site_1__id_-1"]`},
		{`db.patients.find({site: "s1"}).sort({_id: -1}).explain().queryPlanner.winningPlan.inputStage.stage`, `"IXSCAN"`},
		{`db.patients.updateMany({site: "s2"}, {$set: {open: true}}).modifiedCount`, `100`},
		{`db.patients.findOneAndUpdate({_id: 2}, {$inc: {n: 1}}, {returnDocument: "after"}).n`, `1`},
		{`db.patients.replaceOne({_id: 1000}, {site: "s9"}, {upsert: true}).insertedId`, `1000`},
		{`db.patients.bulkWrite([{insertOne: {document: {_id: 2000}}}, {deleteOne: {filter: {_id: 2000}}}]).deletedCount`, `1`},
		{`db.patients.deleteOne({_id: 1000}).deletedCount`, `1`},
		{`db.patients.stats().count`, `300`},
		{`db.patients.dataSize() >= 0`, `true`},
		{`db.stats().objects`, `300`},
		{`db.serverStatus().process`, `"casebook"`},
		{`db.patients.renameCollection("people", true).ok`, `1`},
		{`db.people.dropIndexes().ok`, `1`},
		{`db.empty.drop()`, `true`},
		{`(() => { try { db.people.insertOne({_id: 1}) } catch (e) { return e.code } })()`, `11000`},
		{`(() => {
			try { db.people.aggregate([{$lookup: {from: "a", as: "b", localField: "c", foreignField: "d"}}]).toArray() }
			catch (e) { return e.codeName }
		})()`, `"NotImplemented"`},
		{`(() => { try { db.getUsers() } catch (e) { return e.codeName } })()`, `"CommandNotSupported"`},
		{`db.dropDatabase().dropped`, `"study"`},
		{`db.getMongo().getDBNames()`, `[]`},
	}
	var script strings.Builder
	for _, step := range steps {
		script.WriteString("print(EJSON.stringify(" + step.script + "))\n")
	}
	lines := strings.Split(sh.eval(t, script.String()), "\n")
	for i, step := range steps {
		got := "nothing"
		if i < len(lines) {
			got = lines[i]
		}
		if got != step.want {
			t.Errorf("%s\n got %s\nwant %s", step.script, got, step.want)
		}
	}
}

// TestShellOfAReader looks in as a user who may only read. Without a password the shell sees nothing.
func TestShellOfAReader(t *testing.T) {
	sh := startShellOn(t, mongo.Options{Users: []mongo.User{
		{Name: "casebook", Password: "owner's", Role: mongo.ReadWrite}, {Name: "reader", Password: "reader's", Role: mongo.Read},
	}})
	as := func(user, password string) shell {
		with := sh
		with.connection = strings.Replace(sh.connection, "://", "://"+user+":"+url.PathEscape(password)+"@", 1) + "?authSource=admin"
		return with
	}
	as("casebook", "owner's").eval(t, `db.patients.insertOne({_id: "p1", status: "enrolled"})`)
	reader := as("reader", "reader's")
	if out := reader.eval(t, `db.patients.findOne().status`); out != "enrolled" {
		t.Errorf("the reader sees %q", out)
	}
	for _, script := range []string{
		`db.patients.updateOne({_id: "p1"}, {$set: {status: "withdrawn"}})`, `db.patients.insertOne({})`, `db.patients.deleteMany({})`,
		`db.patients.drop()`, `db.dropDatabase()`, `db.patients.createIndex({status: 1})`,
	} {
		if out, err := reader.run(t, "", "--quiet", "--eval", script); err == nil || !strings.Contains(out, "not authorized") {
			t.Errorf("the reader runs %s: %s", script, out)
		}
	}
	for _, stranger := range []shell{sh, as("reader", "owner's"), as("nobody", "reader's")} {
		if out, err := stranger.run(t, "", "--quiet", "--eval", `db.patients.findOne().status`); err == nil || strings.Contains(out, "enrolled") {
			t.Errorf("a stranger sees %s", out)
		}
	}
}
