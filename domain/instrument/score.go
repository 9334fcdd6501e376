package instrument

import "math"

// ScoreResult is a computed score. Value is nil if too many items were unanswered.
type ScoreResult struct {
	ID    string   `json:"id"`
	Value *float64 `json:"value"`
	// Missing is the number of the score's unanswered items, including items that were not asked.
	Missing int    `json:"missing,omitempty"`
	Band    string `json:"band,omitempty"`
}

// Scores computes every score of the instrument from checked answers. The points of a number are its value, those of a
// choice the score of its option, those of a boolean 1 or 0.
//
// With more than MaxMissing unanswered items there is no score. Otherwise a sum is scaled up as if the unanswered items
// had the mean of the others, and a mean or maximum is that of the answered items.
func (i *Instrument) Scores(answers map[ItemID]any) []ScoreResult {
	if len(i.scores) == 0 {
		return nil
	}
	results := make([]ScoreResult, len(i.scores))
	for n := range i.scores {
		results[n] = i.score(&i.scores[n], answers)
	}
	return results
}

func (i *Instrument) score(s *score, answers map[ItemID]any) ScoreResult {
	result := ScoreResult{ID: s.ID}
	sum, highest, answered := 0.0, math.Inf(-1), 0
	for n, index := range s.items {
		points, ok := i.form.Points(index, answers[s.Items[n]])
		if !ok {
			continue
		}
		answered++
		sum += points
		highest = max(highest, points)
	}
	result.Missing = len(s.items) - answered
	if answered == 0 || result.Missing > s.MaxMissing {
		return result
	}
	value := sum
	switch s.Method {
	case Mean:
		value = sum / float64(answered)
	case Max:
		value = highest
	case Sum:
		if result.Missing > 0 {
			value = sum * float64(len(s.items)) / float64(answered)
		}
	}
	if s.Decimals != nil {
		scale := math.Pow10(*s.Decimals)
		value = math.Round(value*scale) / scale
	}
	result.Value = &value
	result.Band = s.band(value)
	return result
}

// band returns the label of the band that contains the score, or "" if no band does.
func (s *score) band(value float64) string {
	for _, b := range s.Bands {
		if b.From <= value && value <= b.To {
			return b.Label
		}
	}
	return ""
}
