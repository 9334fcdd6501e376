package diary

import (
	"fmt"
	"sort"
)

// scoresWithMissing turns version 1 of DiarySubmitted into version 2. Version 1 held the scores as one object from name
// to value; in version 2 each score is an object with the value, the number of unanswered items and the band. The
// upcast cannot add the numbers and bands that version 1 did not record.
func scoresWithMissing(old map[string]any) (map[string]any, error) {
	flat, ok := old["scores"]
	if !ok || flat == nil {
		return old, nil
	}
	values, ok := flat.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("scores are %T, not an object", flat)
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	scores := make([]any, len(names))
	for i, name := range names {
		scores[i] = map[string]any{"id": name, "value": values[name]}
	}
	old["scores"] = scores
	return old, nil
}
