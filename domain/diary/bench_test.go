package diary_test

import (
	"testing"

	"casebook/domain/diary"
	"casebook/domain/instrument"
)

func BenchmarkSubmit(b *testing.B) {
	who, captured := enrolled("Asia/Shanghai"), shanghai(b, "2026-03-21 20:30")
	d := diary.Decider.Fold(assigned(instrument.PainDiary()))
	for name, answers := range map[string]diary.Answers{
		"mild":   mild(),
		"severe": {"worst": 9.0, "least": 6.0, "average": 7.0, "now": 8.0, "rescue": true, "doses": 4.0},
	} {
		b.Run(name, func(b *testing.B) {
			decide := submitting(who, captured, answers)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decide(d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEvolve(b *testing.B) {
	d := diary.Decider.Fold(assigned(instrument.PainDiary()))
	e := submitted(b, "2026-03-21", shanghai(b, "2026-03-21 20:30"))
	b.ReportAllocs()
	for b.Loop() {
		diary.Decider.Evolve(d, e)
	}
}

func BenchmarkEvolveAssigned(b *testing.B) {
	e := assigned(instrument.PainDiary())
	b.ReportAllocs()
	for b.Loop() {
		diary.Decider.Evolve(diary.Diary{}, e)
	}
}

func BenchmarkNextDue(b *testing.B) {
	d := diary.Decider.Fold(assigned(instrument.PainDiary()), assigned(instrument.PHQ9()))
	b.ReportAllocs()
	for b.Loop() {
		d.NextDue(enrolled("Asia/Shanghai"))
	}
}
