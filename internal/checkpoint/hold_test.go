package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func mustHold(t *testing.T, path string) *File {
	t.Helper()
	f, err := Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// busy checks that a file is somebody else's, and stays as it is.
func busy(t *testing.T, path string, h header) {
	t.Helper()
	if _, err := Hold(path); !errors.Is(err, ErrBusy) || err.Error() != "use checkpoint "+path+": another scan is writing it: wait for its end" {
		t.Errorf("hold: %v", err)
	}
	if err := Write(path, header{Seed: 99}); !errors.Is(err, ErrBusy) {
		t.Errorf("write: %v", err)
	}
	mustRead(t, path, h)
	only(t, path)
}

// Who holds a file is alone with it, however often it is replaced, until the end.
func TestHeldFileIsOneProgramsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	f := mustHold(t, path) // there is none yet
	for seed := range uint64(3) {
		if err := f.Write(header{Seed: seed}); err != nil {
			t.Fatal(err)
		}
		busy(t, path, header{Seed: seed})
	}
	f.Close()
	g := mustHold(t, path)
	busy(t, path, header{Seed: 2})
	// One that had the name before, and was closed, is no obstacle.
	if err := g.Write(header{Seed: 3}); err != nil {
		t.Fatal(err)
	}
	g.Close()
	mustWrite(t, path, header{Seed: 4})
}

// Of two that begin before there is a file, the first to write it has it.
func TestHoldersOfNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	f, g := mustHold(t, path), mustHold(t, path)
	if err := g.Write(header{Seed: 1}); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(header{Seed: 2}); !errors.Is(err, ErrBusy) {
		t.Errorf("both write: %v", err)
	}
	mustRead(t, path, header{Seed: 1})
	// A file that was taken away, or moved, is nobody's.
	if err := os.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(header{Seed: 3}); err != nil {
		t.Fatal(err)
	}
	if err := g.Write(header{Seed: 4}); !errors.Is(err, ErrBusy) {
		t.Errorf("both write: %v", err)
	}
	mustRead(t, path, header{Seed: 3})
	mustRead(t, path+"2", header{Seed: 1})
}

func TestHoldWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	f := mustHold(t, dir)
	if err := f.Write(header{}); err == nil || err.Error() != "write checkpoint "+dir+": a folder is there, and no regular file" {
		t.Error(err)
	}
	if _, err := Read(filepath.Join(dir, "none"), new(header)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
