package disktest

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// mount makes a file system in memory that no namespace knows. It ends with the file that is returned.
func mount(size int) (*os.File, error) {
	context, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsopen: %w", err)
	}
	defer func() { _ = unix.Close(context) }()
	if err := unix.FsconfigSetString(context, "size", strconv.Itoa(size)); err != nil {
		return nil, fmt.Errorf("fsconfig: %w", err)
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return nil, fmt.Errorf("fsconfig: %w", err)
	}
	mounted, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("fsmount: %w", err)
	}
	return os.NewFile(uintptr(mounted), "a small disk"), nil
}
