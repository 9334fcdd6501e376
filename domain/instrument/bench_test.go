package instrument_test

import (
	"testing"

	"casebook/domain/instrument"
)

// filled returns instruments with complete answers: the pain diary, the PHQ-9, and one with items of all types.
func filled(b *testing.B) map[string]struct {
	of      *instrument.Instrument
	answers answers
} {
	b.Helper()
	pain, err := instrument.Compile(instrument.PainDiary())
	if err != nil {
		b.Fatal(err)
	}
	return map[string]struct {
		of      *instrument.Instrument
		answers answers
	}{
		"pain": {pain, answers{"worst": 9.0, "least": 6.0, "average": 7.0, "now": 8.0, "rescue": true, "doses": 4.0, "interference": 3.0}},
		"phq9": {phq9(b), answers{"phq1": "1", "phq2": "0", "phq3": "2", "phq4": "3", "phq5": "1", "phq6": "0", "phq7": "1", "phq8": "0",
			"phq9": "0", "difficulty": "1"}},
		"all": {everything(b), answers{"n": 2.0, "x": 0.5, "b": true, "note": "fünf!", "c": "high", "d": "2026-02-28", "ratio": 1.0}},
	}
}

func BenchmarkCheck(b *testing.B) {
	for name, f := range filled(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.of.Check(f.answers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkScores(b *testing.B) {
	for name, f := range filled(b) {
		clean, err := f.of.Check(f.answers)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.of.Scores(clean)
			}
		})
	}
}

func BenchmarkRisks(b *testing.B) {
	for name, f := range filled(b) {
		clean, err := f.of.Check(f.answers)
		if err != nil {
			b.Fatal(err)
		}
		scores := f.of.Scores(clean)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.of.Risks(clean, scores)
			}
		})
	}
}

// BenchmarkCompile compiles a definition again, as the program does for every event of an assignment.
func BenchmarkCompile(b *testing.B) {
	for name, d := range map[string]*instrument.Definition{"pain": instrument.PainDiary(), "phq9": instrument.PHQ9()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := instrument.Compile(d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
