package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of asking.
const (
	askTime = 10 * time.Second
	askSize = 64 << 20
)

// ask reads the Document of the detector that answers at a socket.
func ask(path string) (*Document, error) {
	conn, err := net.DialTimeout("unix", path, askTime)
	if err != nil {
		remedy := "is synwatch running? --control names another socket"
		if errors.Is(err, unix.EACCES) {
			remedy = "run this with sudo"
		}
		return nil, fmt.Errorf("ask the detector at %s: %w: %s", path, systemError(err), remedy)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(askTime))
	doc := new(Document)
	if err := json.NewDecoder(io.LimitReader(conn, askSize)).Decode(doc); err != nil {
		return nil, fmt.Errorf("read the detector's answer at %s: %w", path, err)
	}
	if doc.Error != "" {
		return nil, fmt.Errorf("ask the detector at %s: %s", path, doc.Error)
	}
	return doc, nil
}
