package form_test

import (
	"testing"

	"casebook/domain/form"
)

func BenchmarkEvaluate(b *testing.B) {
	f, given := compiled(b, vitals()), filled()
	b.ReportAllocs()
	for b.Loop() {
		if e := f.Evaluate(given); e.Has(form.Refused) {
			b.Fatal(said(e))
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	d := vitals()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := form.CaseReport.Compile(d); err != nil {
			b.Fatal(err)
		}
	}
}
