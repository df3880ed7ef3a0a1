package checkpoint

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root")
		}
		t.Skip("needs root")
	}
}

// disk mounts a file system of so many bytes, which nobody but the calling
// goroutine sees.
func disk(t *testing.T, size string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// However many pages a disk has left, the old file stays until there is room for
// the whole new one beside it.
func TestFullDisk(t *testing.T) {
	const pages = 20
	dir := disk(t, "80k")
	path, ballast := filepath.Join(dir, "c"), filepath.Join(dir, "ballast")
	old, grown := bytes.Repeat([]byte("old "), 1000), bytes.Repeat([]byte("new "), 1250)
	write := func() error { // ten pages and a bit
		return Write(path, header{Seed: 2}, grown, []byte("between"), grown, grown, grown, grown, grown, grown, grown, []byte("end"))
	}
	mustWrite(t, path, header{Seed: 1}, old)
	var failed int
	for {
		os.Remove(ballast)
		if err := os.WriteFile(ballast, make([]byte, (pages-failed)*os.Getpagesize()), 0o600); err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		err := write()
		only(t, path, ballast)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOSPC) || err.Error() != "write checkpoint "+path+": no space left on device" {
			t.Fatalf("with %d pages less taken: %v", failed, err)
		}
		mustRead(t, path, header{Seed: 1}, old)
		failed++
	}
	if failed < 10 {
		t.Errorf("only %d writes failed", failed)
	}
	mustRead(t, path, header{Seed: 2}, grown, []byte("between"), grown, grown, grown, grown, grown, grown, grown, []byte("end"))

	for options, cause := range map[string]error{"nr_inodes=3": unix.ENOSPC, "ro": unix.EROFS} {
		var flags uintptr = unix.MS_REMOUNT
		if options == "ro" {
			flags, options = flags|unix.MS_RDONLY, ""
		}
		if err := unix.Mount("", dir, "", flags, options); err != nil {
			t.Fatal(err)
		}
		if err := write(); !errors.Is(err, cause) {
			t.Errorf("%v, want %v", err, cause)
		}
		only(t, path, ballast)
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "nr_inodes=100"); err != nil {
			t.Fatal(err)
		}
	}
	mustWriteBeside(t, path, ballast)
}

// mustWriteBeside checks that there is nothing left that would hold up a Write.
func mustWriteBeside(t *testing.T, path, other string) {
	t.Helper()
	if err := os.Truncate(other, 0); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, header{Seed: 9}); err != nil {
		t.Fatal(err)
	}
	only(t, path, other)
	mustRead(t, path, header{Seed: 9})
}

// A device is not replaced. This one is a second /dev/null: the machine's own
// would be gone where Write fails this test.
func TestWriteReplacesNoDevice(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "null")
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, header{}); err == nil || err.Error() != "write checkpoint "+path+": a device is there, and no regular file" {
		t.Error(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Errorf("it is %v now, %v", info.Mode(), err)
	}
	only(t, path)
}
