package checkpoint

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// writeForever is set to a path in the program that TestKilled kills.
const writeForever = "SYNSCAN_TEST_WRITE_FOREVER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writeForever); path != "" {
		writing(path)
	}
	os.Exit(m.Run())
}

// writing writes checkpoints, one after the other, and the number of each to
// stdout once it is written. It ends by itself if nobody kills it.
func writing(path string) {
	var h header
	if _, err := Read(path, &h); err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Println(err)
		os.Exit(1)
	}
	for began := time.Now(); time.Since(began) < 20*time.Second; {
		h.Seed++
		if err := Write(path, h, numbered(h.Seed)...); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(h.Seed)
	}
	os.Exit(0)
}

// numbered are the sections of a checkpoint, which tell that they belong
// together.
func numbered(n uint64) [][]byte {
	b := []byte(strconv.FormatUint(n, 10) + " ")
	return [][]byte{bytes.Repeat(b, 10), bytes.Repeat(b, 4000), b, bytes.Repeat(b, 700)}
}

// Whenever a program is killed, what it wrote last, or was about to write, is
// there.
func TestKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "c")
	var last uint64 // that was written for sure
	var between int // kills that left an unfinished file
	for i := range 100 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), writeForever+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		told := func() {
			if last, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Error(lines.Text())
			}
		}
		if i%4 != 0 && lines.Scan() {
			told()
		}
		time.Sleep(time.Duration(rng.Int64N(int64(8 * time.Millisecond))))
		cmd.Process.Kill()
		for lines.Scan() {
			told()
		}
		cmd.Wait()

		if _, err := os.Stat(path + suffix); err == nil {
			between++
		}
		var h header
		sections, err := Read(path, &h)
		if errors.Is(err, fs.ErrNotExist) && last == 0 {
			continue
		}
		if err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		if h.Seed != last && h.Seed != last+1 {
			t.Errorf("kill %d: the file is number %d, the last one written is %d", i, h.Seed, last)
		}
		if !same(sections, numbered(h.Seed)) {
			t.Errorf("kill %d: the sections are not those of number %d", i, h.Seed)
		}
		last = h.Seed
	}
	if last < 100 || between == 0 {
		t.Errorf("%d checkpoints, %d kills before the end of one: that tests too little", last, between)
	}
	t.Logf("%d checkpoints, %d of 100 kills in the middle of one", last, between)
	mustWrite(t, path, header{}) // what the last one left is no obstacle
}
