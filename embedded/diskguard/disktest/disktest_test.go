package disktest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"casebook/embedded/diskguard/disktest"
)

// TestMountIsNotListed: no namespace knows the file system, so that nothing has to be unmounted after a process was killed. Other
// processes reach it as long as this one holds it.
func TestMountIsNotListed(t *testing.T) {
	mounts := func() string {
		t.Helper()
		all, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			t.Skip(err)
		}
		return string(all)
	}
	before := mounts()
	disk := disktest.Mount(t, 1<<20)
	if err := os.WriteFile(filepath.Join(disk, "file"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "cat", filepath.Join(disk, "file")).CombinedOutput()
	if err != nil || string(out) != "hello" {
		t.Errorf("another process reads %q: %v", out, err)
	}
	if after := mounts(); after != before {
		t.Errorf("it is mounted:\n%s", after)
	}
	if info, err := os.Stat(disktest.Fill(t, disk)); err != nil || info.Size() > 1<<20 {
		t.Errorf("it takes more than its size: %+v, %v", info, err)
	}
}
