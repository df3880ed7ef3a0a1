// Package services reads the system's names of TCP ports, services(5). It needs
// no more than the file: a system without one has no names, which is no error.
package services

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// File is where the system keeps its list.
const File = "/etc/services"

// Names are the names of TCP ports. The zero value knows none. It may be read
// by many goroutines at once.
type Names struct{ byPort map[uint16]string }

// Load reads a list; one that does not exist is empty.
func Load(path string) (Names, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Names{}, nil
	}
	if err != nil {
		return Names{}, fmt.Errorf("read the names of services: %w", err)
	}
	defer f.Close()
	names, err := Parse(f)
	if err != nil {
		return Names{}, fmt.Errorf("read the names of services: %s: %w", path, err)
	}
	return names, nil
}

// Parse reads lines of a name, a port with its protocol, and aliases:
//
//	http  80/tcp  www  # WorldWideWeb HTTP
//
// As getservbyport(3) does, it takes the first name of a port and passes over
// what is no such line.
func Parse(r io.Reader) (Names, error) {
	names := Names{map[uint16]string{}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		number, protocol, _ := strings.Cut(words[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || protocol != "tcp" {
			continue
		}
		if _, known := names.byPort[uint16(port)]; !known {
			names.byPort[uint16(port)] = words[0]
		}
	}
	return names, lines.Err()
}

// Name returns the name of a port, or "".
func (n Names) Name(port uint16) string { return n.byPort[port] }
