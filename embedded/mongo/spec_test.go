package mongo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// outOfScope lists the drivers' CRUD tests that cannot run here, with the reason. The key is the name of a file and,
// after a colon, words of the description of a test.
var outOfScope = map[string]string{
	"bulkWrite-errorResponse.json":                         "needs fail points, which are a test mode of MongoDB itself",
	"estimatedDocumentCount.json:errors correctly":         "needs fail points",
	"estimatedDocumentCount.json:works correctly on views": "views are refused",
}

// specDir finds the drivers' tests beside the repository.
func specDir(t *testing.T) string {
	dir, err := os.Getwd()
	must(t, err)
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if spec := filepath.Join(dir, "..", "shared", "data", "mongo-crud"); exists(spec) {
			return spec
		}
	}
	t.Skip("the drivers' CRUD tests are not on this machine")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// specFile is the part of a test file that this test uses.
type specFile struct {
	RunOnRequirements []specVersion `bson:"runOnRequirements"`
	InitialData       []specData    `bson:"initialData"`
	Tests             []struct {
		Description       string
		RunOnRequirements []specVersion `bson:"runOnRequirements"`
		Operations        []specOperation
		Outcome           []specData
	}
}

type specVersion struct {
	Min string `bson:"minServerVersion"`
	Max string `bson:"maxServerVersion"`
}

type specData struct {
	CollectionName string `bson:"collectionName"`
	DatabaseName   string `bson:"databaseName"`
	Documents      []bson.D
}

type specOperation struct {
	Name, Object string
	Arguments    bson.Raw
	ExpectResult bson.RawValue `bson:"expectResult"`
	ExpectError  bson.Raw      `bson:"expectError"`
}

// applies reports whether a test applies to a server of version 7.0.
func applies(reqs []specVersion) bool {
	for _, r := range reqs {
		if (r.Min == "" || r.Min < "7.1") && (r.Max == "" || r.Max > "7.0") {
			return true
		}
	}
	return len(reqs) == 0
}

func TestDriversCRUDSpec(t *testing.T) {
	dir := specDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	must(t, err)
	ctx := context.Background()
	client := connect(t, startServer(t))
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		var spec specFile
		must(t, bson.UnmarshalExtJSON(text, false, &spec))
		for _, test := range spec.Tests {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".json")+"/"+test.Description, func(t *testing.T) {
				for out, why := range outOfScope {
					name, words, _ := strings.Cut(out, ":")
					if name == filepath.Base(file) && strings.Contains(test.Description, words) {
						t.Skip(why)
					}
				}
				if !applies(spec.RunOnRequirements) || !applies(test.RunOnRequirements) {
					t.Skip("this test is for another server version")
				}
				db := client.Database("spec")
				must(t, db.Drop(ctx))
				for _, d := range spec.InitialData {
					for _, one := range d.Documents {
						_, err := db.Collection(d.CollectionName).InsertOne(ctx, one)
						must(t, err)
					}
				}
				for _, op := range test.Operations {
					runSpec(t, db.Collection(spec.InitialData[0].CollectionName), op)
				}
				for _, want := range test.Outcome {
					got := find(t, db.Collection(want.CollectionName), bson.D{}, options.Find().SetSort(D("_id", 1)))
					if !sameValue(rawValue(got), rawValue(want.Documents)) && len(got)+len(want.Documents) > 0 {
						t.Errorf("the documents are %v, want %v", got, want.Documents)
					}
				}
			})
		}
	}
}

func sameValue(a, b value) bool { return compare(a, b) == 0 }

func runSpec(t *testing.T, c *driver.Collection, op specOperation) {
	t.Helper()
	if op.Object == "collection1" { // a collection that does not exist
		c = c.Database().Collection("none")
	}
	got, err := specOperations(c, op.Name, op.Arguments)
	if op.ExpectError != nil {
		var se driver.ServerError
		if !errors.As(err, &se) {
			t.Errorf("%s: got error %v, want one from the server", op.Name, err)
		}
	} else if err != nil {
		t.Errorf("%s: %v", op.Name, err)
	}
	if op.ExpectResult.Type == 0 {
		return
	}
	want := value{byte(op.ExpectResult.Type), op.ExpectResult.Value}
	if !specMatches(want, rawValue(got), true) {
		t.Errorf("%s %s\n got %s\nwant %s", op.Name, op.Arguments, shellValue(rawValue(got)), shellValue(want))
	}
}

// specMatches compares a result by the rules of the drivers' tests: at the top level there may be more fields than
// expected.
func specMatches(want, got value, top bool) bool {
	if want.t != tDocument {
		return want.t == tNull && got.isNullish() || !got.missing() && sameValue(want, got)
	}
	if inner := want.doc().lookup("$$unsetOrMatches"); !inner.missing() {
		return got.missing() || specMatches(inner, got, false)
	}
	if got.t != tDocument || !top && got.doc().len() != want.doc().len() {
		return false
	}
	for e, rest := want.doc().first(); e.t != 0; e, rest = nextElem(rest) {
		if !specMatches(e.value, got.doc().lookup(string(e.name)), false) {
			return false
		}
	}
	return true
}

// specArgs are the arguments of all operations.
type specArgs struct {
	Filter, Update, Replacement, Sort, Projection, Document bson.D
	Documents                                               []bson.D
	Pipeline                                                []bson.D
	Requests                                                []map[string]specArgs
	FieldName                                               string `bson:"fieldName"`
	ReturnDocument                                          string `bson:"returnDocument"`
	Comment                                                 any
	Skip, Limit                                             *int64
	BatchSize                                               *int32 `bson:"batchSize"`
	Upsert                                                  bool
	Ordered                                                 *bool
}

func specOperations(c *driver.Collection, name string, args bson.Raw) (any, error) {
	ctx := context.Background()
	var a specArgs
	if args != nil {
		if err := bson.Unmarshal(args, &a); err != nil {
			return nil, err
		}
	}
	all := func(cur *driver.Cursor, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		docs := []bson.D{}
		err = cur.All(ctx, &docs)
		return docs, err
	}
	one := func(r *driver.SingleResult) (any, error) {
		var d bson.D
		if err := r.Decode(&d); errors.Is(err, driver.ErrNoDocuments) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		return d, nil
	}
	updated := func(r *driver.UpdateResult, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		d := D("matchedCount", r.MatchedCount, "modifiedCount", r.ModifiedCount, "upsertedCount", r.UpsertedCount)
		if r.UpsertedCount > 0 {
			d = append(d, D("upsertedId", r.UpsertedID)...)
		}
		return d, nil
	}
	deleted := func(r *driver.DeleteResult, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		return D("deletedCount", r.DeletedCount), nil
	}
	after := options.Before
	if a.ReturnDocument == "After" {
		after = options.After
	}
	switch name {
	case "find":
		o := options.Find().SetSort(a.Sort)
		if a.Sort == nil {
			o = options.Find()
		}
		if a.Skip != nil {
			o.SetSkip(*a.Skip)
		}
		if a.Limit != nil {
			o.SetLimit(*a.Limit)
		}
		if a.BatchSize != nil {
			o.SetBatchSize(*a.BatchSize)
		}
		return all(c.Find(ctx, a.Filter, o))
	case "findOne":
		o := options.FindOne().SetSort(a.Sort)
		if a.Sort == nil {
			o = options.FindOne()
		}
		if a.Skip != nil {
			o.SetSkip(*a.Skip)
		}
		return one(c.FindOne(ctx, a.Filter, o))
	case "aggregate":
		o := options.Aggregate()
		if a.BatchSize != nil {
			o.SetBatchSize(*a.BatchSize)
		}
		if a.Comment != nil {
			o.SetComment(a.Comment)
		}
		return all(c.Aggregate(ctx, a.Pipeline, o))
	case "count":
		var res struct{ N int64 }
		cmd := D("count", c.Name(), "query", a.Filter)
		if a.Skip != nil {
			cmd = append(cmd, D("skip", *a.Skip, "limit", *a.Limit)...)
		}
		err := c.Database().RunCommand(ctx, cmd).Decode(&res)
		return res.N, err
	case "countDocuments":
		o := options.Count()
		if a.Skip != nil {
			o.SetSkip(*a.Skip).SetLimit(*a.Limit)
		}
		if a.Comment != nil {
			o.SetComment(a.Comment)
		}
		return c.CountDocuments(ctx, a.Filter, o)
	case "estimatedDocumentCount":
		return c.EstimatedDocumentCount(ctx)
	case "distinct":
		vals := bson.A{}
		r := c.Distinct(ctx, a.FieldName, a.Filter)
		if r.Err() != nil {
			return nil, r.Err()
		}
		err := r.Decode(&vals)
		return vals, err
	case "insertOne":
		r, err := c.InsertOne(ctx, a.Document)
		if err != nil {
			return nil, err
		}
		return D("insertedId", r.InsertedID), nil
	case "insertMany":
		docs := []any{}
		for _, d := range a.Documents {
			docs = append(docs, d)
		}
		o := options.InsertMany()
		if a.Ordered != nil {
			o.SetOrdered(*a.Ordered)
		}
		r, err := c.InsertMany(ctx, docs, o)
		ids := bson.D{}
		if r != nil {
			for i, id := range r.InsertedIDs {
				ids = append(ids, bson.E{Key: fmt.Sprint(i), Value: id})
			}
		}
		return D("insertedIds", ids), err
	case "replaceOne":
		o := options.Replace().SetUpsert(a.Upsert)
		if a.Sort != nil {
			o.SetSort(a.Sort)
		}
		return updated(c.ReplaceOne(ctx, a.Filter, a.Replacement, o))
	case "updateOne":
		return updated(c.UpdateOne(ctx, a.Filter, a.Update, options.UpdateOne().SetUpsert(a.Upsert)))
	case "updateMany":
		return updated(c.UpdateMany(ctx, a.Filter, a.Update, options.UpdateMany().SetUpsert(a.Upsert)))
	case "deleteOne":
		return deleted(c.DeleteOne(ctx, a.Filter))
	case "deleteMany":
		return deleted(c.DeleteMany(ctx, a.Filter))
	case "findOneAndDelete":
		return one(c.FindOneAndDelete(ctx, a.Filter, options.FindOneAndDelete().SetSort(a.Sort).SetProjection(a.Projection)))
	case "findOneAndReplace":
		o := options.FindOneAndReplace().SetReturnDocument(after).SetUpsert(a.Upsert).SetProjection(a.Projection)
		if a.Sort != nil {
			o.SetSort(a.Sort)
		}
		return one(c.FindOneAndReplace(ctx, a.Filter, a.Replacement, o))
	case "findOneAndUpdate":
		o := options.FindOneAndUpdate().SetReturnDocument(after).SetUpsert(a.Upsert).SetProjection(a.Projection)
		if a.Sort != nil {
			o.SetSort(a.Sort)
		}
		return one(c.FindOneAndUpdate(ctx, a.Filter, a.Update, o))
	case "bulkWrite":
		return specBulk(c, a)
	}
	return nil, fmt.Errorf("operation %s is not known to this test", name)
}

func specBulk(c *driver.Collection, a specArgs) (any, error) {
	var models []driver.WriteModel
	for _, req := range a.Requests {
		for name, r := range req {
			switch name {
			case "insertOne":
				models = append(models, driver.NewInsertOneModel().SetDocument(r.Document))
			case "replaceOne":
				models = append(models, driver.NewReplaceOneModel().SetFilter(r.Filter).SetReplacement(r.Replacement).SetUpsert(r.Upsert))
			case "updateOne":
				models = append(models, driver.NewUpdateOneModel().SetFilter(r.Filter).SetUpdate(r.Update).SetUpsert(r.Upsert))
			case "updateMany":
				models = append(models, driver.NewUpdateManyModel().SetFilter(r.Filter).SetUpdate(r.Update).SetUpsert(r.Upsert))
			case "deleteOne":
				models = append(models, driver.NewDeleteOneModel().SetFilter(r.Filter))
			case "deleteMany":
				models = append(models, driver.NewDeleteManyModel().SetFilter(r.Filter))
			default:
				return nil, fmt.Errorf("write model %s is not known to this test", name)
			}
		}
	}
	o := options.BulkWrite()
	if a.Ordered != nil {
		o.SetOrdered(*a.Ordered)
	}
	r, err := c.BulkWrite(context.Background(), models, o)
	if r == nil {
		return bson.D{}, err
	}
	ids := bson.M{}
	for i, id := range r.UpsertedIDs {
		ids[fmt.Sprint(i)] = id
	}
	return D("insertedCount", r.InsertedCount, "matchedCount", r.MatchedCount, "modifiedCount", r.ModifiedCount,
		"deletedCount", r.DeletedCount, "upsertedCount", r.UpsertedCount, "upsertedIds", ids), err
}
