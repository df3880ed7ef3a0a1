package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Read reads what Write has written. The header is decoded as by json.Unmarshal,
// and not before the whole file is known to be as it was written; the sections
// share one buffer and are the caller's. It never changes the file. The memory it
// takes is bounded by the size of the file, not by what is said in it.
//
// The error says so if a file is not a checkpoint (ErrForeign), is one of
// another version of the format (ErrVersion), or is not whole (ErrDamaged).
func Read(path string, header any) (sections [][]byte, err error) {
	sections, err = read(path, header)
	if errors.Is(err, ErrForeign) || errors.Is(err, ErrVersion) || errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("read checkpoint: %s %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w", path, bare(err))
	}
	return sections, nil
}

func read(path string, header any) ([][]byte, error) {
	// To open a device may already do something.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, ErrForeign
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Whatever else this is may be larger than our memory.
	begin := make([]byte, min(info.Size(), lineMost))
	if _, err := f.ReadAt(begin, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if _, err := line(begin); err != nil {
		return nil, err
	}
	data := make([]byte, info.Size())
	if n, err := f.ReadAt(data, 0); err == io.EOF {
		data = data[:n] // it has been cut meanwhile
	} else if err != nil {
		return nil, err
	}
	return parse(data, header)
}

// lineMost is more than the first line of any version has.
const lineMost = 64

// line checks the first line of a file and returns what follows it.
func line(data []byte) ([]byte, error) {
	n := min(len(data), len(magic))
	if n == 0 || string(data[:n]) != magic[:n] {
		return nil, ErrForeign
	}
	number, rest, whole := bytes.Cut(data[n:], []byte("\n"))
	if !whole || len(number) == 0 || len(number) > 9 || strings.Trim(string(number), "0123456789") != "" {
		return nil, ErrDamaged
	}
	if string(number) != version {
		return nil, versionError(number)
	}
	return rest, nil
}

// parse is Read of a file's bytes.
func parse(data []byte, header any) ([][]byte, error) {
	rest, err := line(data)
	if err != nil {
		return nil, err
	}
	if len(rest) < sha256.Size {
		return nil, ErrDamaged
	}
	rest = rest[:len(rest)-sha256.Size]
	signed := data[:len(data)-sha256.Size]
	if sum := sha256.Sum256(signed); !bytes.Equal(sum[:], data[len(signed):]) {
		return nil, ErrDamaged
	}
	head, rest, ok := block(rest)
	if !ok || len(rest) < 8 {
		return nil, ErrDamaged
	}
	count := binary.BigEndian.Uint64(rest)
	if rest = rest[8:]; count > uint64(len(rest)/8) { // each has a length
		return nil, ErrDamaged
	}
	sections := make([][]byte, count)
	for i := range sections {
		if sections[i], rest, ok = block(rest); !ok {
			return nil, ErrDamaged
		}
	}
	if len(rest) > 0 {
		return nil, ErrDamaged
	}
	if err := json.Unmarshal(head, header); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	return sections, nil
}

// block takes a length and as many bytes.
func block(data []byte) (content, rest []byte, ok bool) {
	if len(data) < 8 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint64(data)
	if data = data[8:]; n > uint64(len(data)) {
		return nil, nil, false
	}
	return data[:n:n], data[n:], true
}
