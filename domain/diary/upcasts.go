package diary

import (
	"fmt"
	"sort"
)

// scoresWithMissing reads DiarySubmitted of version 1, which kept scores as an object from name to value. From version 2
// on each is an object of its own, with the number of unanswered items and the band beside the value. What version 1 did
// not record stays unrecorded.
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
