package projections_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEachViewHasOneHomeInEachRoom: the document, the indexes and the queries of a view are in readmodels/CONTEXT/VIEW.go,
// and its fold is in the file of the same name in projections/CONTEXT.
func TestEachViewHasOneHomeInEachRoom(t *testing.T) {
	documents, folds := filesWith(t, "../readmodels", " readmodels.View{"), filesWith(t, ".", " projections.New(")
	if len(documents) == 0 {
		t.Fatal("no view is found")
	}
	for _, file := range documents {
		if !slices.Contains(folds, file) {
			t.Errorf("readmodels/%s declares a view, and there is no fold for it: it belongs in projections/%s", file, file)
		}
	}
	for _, file := range folds {
		if !slices.Contains(documents, file) {
			t.Errorf("projections/%s folds a view, and there is no document for it: it belongs in readmodels/%s", file, file)
		}
	}
}

// filesWith returns the files of a room's contexts, CONTEXT/FILE.go, that hold a text.
func filesWith(t *testing.T, room, text string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(room + "/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), text) && !strings.HasSuffix(file, "_test.go") {
			all = append(all, filepath.ToSlash(strings.TrimPrefix(file, room+"/")))
		}
	}
	return all
}
