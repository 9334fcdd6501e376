package odm

import (
	"runtime"
	"testing"
)

// BenchmarkRead reads a file of 50 MB with 3,400 patients. It reports the most memory in use after a patient, besides what
// the garbage collector has not got to yet.
func BenchmarkRead(b *testing.B) {
	const size = 50_000_000
	b.SetBytes(size)
	b.ReportAllocs()
	var most uint64
	for b.Loop() {
		read := 0
		_, report, err := Read(patients(size), Options{}, func(ClinicalData, Subject) error {
			if read++; read%500 == 0 {
				b.StopTimer()
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
				b.StartTimer()
			}
			return nil
		})
		if err != nil || report.Refused() {
			b.Fatal(err, report.Err())
		}
	}
	b.ReportMetric(float64(most)/(1<<20), "MiB-in-use")
}
